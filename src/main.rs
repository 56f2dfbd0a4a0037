//! The command line's entry: parse, run, exit.

use std::io::Write as _;
use std::process::ExitCode;
use telemetron_sync::{cli, commands, time};

fn main() -> ExitCode {
    let began = time::instant();
    match commands::run(cli::parse(), began) {
        Ok(exit) => exit.into(),
        Err(error) => {
            // A closed standard error has nobody to tell.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            error.exit().into()
        }
    }
}
