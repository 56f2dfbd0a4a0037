//! `runs`: lists the runs of a store, the newest first.

use crate::app::cli::RunsArgs;
use crate::app::error::Error;
use crate::app::settings::read_store_path;
use crate::commands::print;
use crate::commands::report::as_it_is;
use crate::display::{escaped, grouped, human_duration};
use crate::domain::exit::Exit;
use crate::store::{open_to_read, runs};
use std::fmt::Write as _;

/// Prints the list.
///
/// # Errors
/// The store cannot be read.
pub fn run(args: &RunsArgs) -> Result<Exit, Error> {
    let path = read_store_path(&args.store);
    let store = open_to_read(&path)?;
    let mut text = format!(
        "{:>5}  {:<20}  {:<9}  {:>11}  {:>11}  {:>11}  {:>12}  source\n",
        "run", "started", "status", "planned", "pending", "failed", "time"
    );
    for run in runs::list(&store)? {
        let run = as_it_is(run, &path);
        let counts = &run.counts;
        let started = run.started_at.split('.').next().unwrap_or_default();
        let _ = writeln!(
            text,
            "{:>5}  {:<20}  {:<9}  {:>11}  {:>11}  {:>11}  {:>12}  {}",
            run.run_id,
            started,
            run.status.name(),
            grouped(counts.planned),
            grouped(counts.pending),
            grouped(counts.unanswered()),
            human_duration(run.seconds),
            escaped(&run.source)
        );
    }
    print(&text)?;
    Ok(Exit::Complete)
}
