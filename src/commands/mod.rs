//! The commands: one file each, and the only wiring.

pub mod completions;
pub mod doctor;
pub mod man;
pub mod forget;
pub mod publish;
pub mod restore;
pub mod report;
pub mod runs;
pub mod sandbox;
pub mod sync;

use crate::app::cli::{Cli, Command};
use crate::app::error::Error;
use crate::domain::exit::Exit;
use crate::time::Clock;
use std::io::{self, Write as _};

/// Does what was typed, in a process that begins now by this clock.
///
/// # Errors
/// Why the command could not do its job.
pub fn run(cli: Cli, clock: &Clock) -> Result<Exit, Error> {
    let began = clock.now().mono;
    match cli.command {
        Command::Sync(args) => sync::run(*args, clock),
        Command::Report(args) => report::run(&args),
        Command::Runs(args) => runs::run(&args),
        Command::Forget(args) => forget::run(&args, clock),
        Command::Publish(args) => publish::run(&args, began),
        Command::Restore(args) => restore::run(&args, began),
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Doctor(args) => doctor::run(*args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// Writes results to standard output. Who closes it early has seen enough.
fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Stdout(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
