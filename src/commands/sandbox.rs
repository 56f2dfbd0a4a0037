//! `sandbox`: serves the local API with made-up customers until it is stopped.

use crate::app::cli::SandboxArgs;
use crate::app::error::Error;
use crate::app::run_options;
use crate::commands::print;
use crate::display::grouped;
use crate::domain::exit::Exit;
use crate::sandbox::{Organization, start};

/// How many organizations are listed.
const MOST_LISTED: usize = 10;

/// Serves until the process is ended.
///
/// # Errors
/// The address cannot be listened on.
pub fn run(args: &SandboxArgs) -> Result<Exit, Error> {
    let settings = run_options::sandbox(args);
    let organizations = settings.organizations();
    let sandbox = start(settings).map_err(Error::Sandbox)?;
    print(&greeting(&sandbox.url(), &organizations))?;
    sandbox.wait();
    Ok(Exit::Complete)
}

fn greeting(url: &str, organizations: &[Organization]) -> String {
    let mut text = format!("The sandbox serves made-up customers at {url} until Ctrl-C.\n");
    if let [Organization { key, .. }] = organizations {
        text += &format!(
            "Use it with: TELEMETRON_API_KEY={key} telemetron-sync sync FILE --store sandbox.db \
             --api-url {url}\n"
        );
        return text;
    }
    text += "Organizations and their keys:\n";
    for Organization { id, key } in organizations.iter().take(MOST_LISTED) {
        text += &format!("  {id}  {key}\n");
    }
    let more = organizations.len().saturating_sub(MOST_LISTED);
    if more > 0 {
        text += &format!("  … and {} more\n", grouped(more as u64));
    }
    text
}
