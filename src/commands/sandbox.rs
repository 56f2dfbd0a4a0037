//! `sandbox`: serves the stand-in for the API until it is stopped.

use crate::app::cli::SandboxArgs;
use crate::app::error::Error;
use crate::app::settings;
use crate::commands::print;
use crate::domain::exit::Exit;
use crate::sandbox::{SANDBOX_KEY, start};

/// Serves until the process is ended.
///
/// # Errors
/// The address cannot be listened on.
pub fn run(args: &SandboxArgs) -> Result<Exit, Error> {
    let sandbox = start(settings::sandbox(args)).map_err(Error::Sandbox)?;
    let url = sandbox.url();
    print(&format!(
        "The sandbox serves made-up customers at {url}\n\
         Ask it with: TELEMETRON_API_KEY={SANDBOX_KEY} telemetron-sync sync FILE --api-url {url}\n\
         Ctrl-C ends it.\n"
    ))?;
    sandbox.wait();
    Ok(Exit::Complete)
}
