//! The command line's entry: parse, run, exit.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use telemetron_sync::app::cli::{self, LogFormat};
use telemetron_sync::app::{logging, stderr};
use telemetron_sync::commands;
use telemetron_sync::domain::exit::Exit;
use telemetron_sync::time::Clock;

fn main() -> ExitCode {
    let clock = Clock::real();
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = format!("This is a bug in telemetron-sync ({place}). Please report it.");
        logging::print_error(&text, Exit::Failed);
    }));
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && cli::log_format() == LogFormat::Json => {
            logging::print_error(&error.to_string(), Exit::Usage);
            stderr::flush();
            return Exit::Usage.into();
        }
        Err(error) => error.exit(),
    };
    let exit = match panic::catch_unwind(AssertUnwindSafe(|| commands::run(cli, &clock))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            logging::print_error(&error.to_string(), error.exit());
            error.exit()
        }
        Err(_) => Exit::Failed,
    };
    stderr::flush();
    exit.into()
}
