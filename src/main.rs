//! The command line's entry: parse, run, exit.

use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use telemetron_sync::app::cli;
use telemetron_sync::domain::exit::Exit;
use telemetron_sync::{commands, time};

fn main() -> ExitCode {
    let began = time::instant();
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tell(&format!("this is a fault of telemetron-sync ({place}). Please report it."));
    }));
    let cli = cli::parse();
    match panic::catch_unwind(AssertUnwindSafe(|| commands::run(cli, began))) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => {
            tell(&error.to_string());
            error.exit().into()
        }
        Err(_) => Exit::Unusable.into(),
    }
}

/// A closed standard error has nobody to tell.
fn tell(error: &str) {
    let _ = writeln!(std::io::stderr(), "error: {error}");
}
