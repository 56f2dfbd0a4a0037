//! `restore`: creates a store from what was published.

use crate::app::cli::RestoreArgs;
use crate::app::error::Error;
use crate::app::publishing::target;
use crate::app::settings::{read_store_path, store_option};
use crate::commands::print;
use crate::display::{counted, escaped, shown};
use crate::domain::exit::Exit;
use crate::publish::{Restored, restore};
use crate::time;
use std::time::Instant;

/// Restores, in a process that began at `began`.
///
/// # Errors
/// There is a store already, or it cannot be made.
pub fn run(args: &RestoreArgs, began: Instant) -> Result<Exit, Error> {
    let target = target(&args.target.url.0, Some(&args.target.schema))?;
    let path = read_store_path(&args.store);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let restored = runtime.block_on(restore(&target, &args.organization, &path))?;
    let Restored { customers, lookups, changes, runs } = restored;
    let seconds = time::instant().duration_since(began).as_secs_f64();
    print(&format!(
        "Restored {} from {target} to {}: {}, {}, {}, {}; {seconds:.1} s. Continue with: \
         telemetron-sync sync SOURCE --resume --max-age TIME{}\n",
        escaped(&args.organization),
        shown(&path),
        counted(customers, "customer"),
        counted(lookups, "lookup"),
        counted(changes, "change"),
        counted(runs, "run"),
        store_option(&path)
    ))?;
    Ok(Exit::Complete)
}
