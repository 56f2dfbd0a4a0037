//! `report`: prints a stored run's report.

use crate::app::cli::ReportArgs;
use crate::app::error::Error;
use crate::app::progress;
use crate::app::run_options::RunOptions;
use crate::app::settings::{read_store_path, store_option};
use crate::commands::print;
use crate::domain::exit::Exit;
use crate::domain::run::{RunReport, Status};
use crate::report::Format;
use crate::store::lock;
use crate::store::report_data;
use crate::store::{open_to_read, runs};
use std::path::Path;

/// Prints the report.
///
/// # Errors
/// The store cannot be read, or has no such run.
pub fn run(args: &ReportArgs) -> Result<Exit, Error> {
    let path = read_store_path(&args.store);
    let store = open_to_read(&path)?;
    let run = runs::load(&store, args.run)?;
    let no_run = |run| Error::NoRun { run, store: path.clone() };
    let run = run.ok_or_else(|| args.run.map_or(Error::NoRuns, no_run))?;
    let mut run = as_it_is(run, &path);
    // What cannot be read is left out of the next command, no more.
    let options = runs::load_settings(&store, run.run_id)?;
    run.api_option = RunOptions::kept(options.as_deref()).unwrap_or_default().api_option();
    let data = report_data::load(&store, &run)?;
    let mut text = args.format.render(&run, &data);
    if run.status == Status::Running && args.format == Format::Text {
        text.push_str(&format!("Progress: {}\n", progress::line(&run)));
    }
    print(&text)?;
    Ok(Exit::Complete)
}

/// A run that is `running` while nobody holds the lock was killed.
pub fn as_it_is(mut run: RunReport, store: &Path) -> RunReport {
    run.store_option = store_option(store);
    if run.status == Status::Running && !lock::is_held(store) {
        return runs::as_killed(run);
    }
    run
}
