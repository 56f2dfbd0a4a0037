//! The check of what the environment sets: each option of `sync`, and the files that it names.

use super::Check;
use crate::app::error::Error;
use crate::app::settings::SyncSettings;
use crate::app::{cli, environment};
use crate::commands::sync::check_outputs;
use crate::display::escaped;

const NAME: &str = "settings";

/// The check of the environment for a run of `sync` over `source`; of a resumed one, if there is none.
pub(super) fn check(source: Option<&str>) -> Vec<Check> {
    let mut checks = vec![match of_sync(source) {
        Ok(()) => Check::ok(NAME, set_options()),
        Err(reason) => Check::failed(NAME, reason),
    }];
    checks.extend(environment::unknown_variables().into_iter().map(|it| Check::warning(NAME, it)));
    checks
}

fn of_sync(source: Option<&str>) -> Result<(), String> {
    let args = cli::sync_by_environment(source).map_err(|error| first_line(&error.to_string()))?;
    let settings = SyncSettings::new(args).map_err(|error| Error::from(error).to_string())?;
    check_outputs(&settings).map_err(|error| error.to_string())
}

/// The sentence of an error in the command line, without the hint at the help of `sync`.
fn first_line(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    escaped(line.strip_prefix("error: ").unwrap_or(line)).into_owned()
}

fn set_options() -> String {
    let set: Vec<String> = cli::variables().into_iter().filter(|it| is_set(it)).collect();
    if set.is_empty() {
        "the environment sets no option of sync".to_owned()
    } else {
        format!("set in the environment: {}", set.join(", "))
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}
