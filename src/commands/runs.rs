//! `runs`: lists the runs of a store, the newest first.

use crate::app::cli::{RunsArgs, RunsFormat};
use crate::app::error::Error;
use crate::app::settings::read_store_path;
use crate::commands::print;
use crate::commands::report::as_it_is;
use crate::display::{escaped, escaped_json, grouped, human_duration};
use crate::domain::exit::Exit;
use crate::domain::run::RunReport;
use crate::store::{open_to_read, runs};

/// Prints the list.
///
/// # Errors
/// The store cannot be read.
pub fn run(args: &RunsArgs) -> Result<Exit, Error> {
    let path = read_store_path(&args.store);
    let store = open_to_read(&path)?;
    let runs = runs::list(&store, args.limit)?;
    let runs: Vec<RunReport> = runs.into_iter().map(|run| as_it_is(run, &path)).collect();
    let text = match args.format {
        RunsFormat::Text => table(&runs),
        RunsFormat::Json => {
            let json = serde_json::to_string_pretty(&runs).map_err(Error::bug)?;
            format!("{}\n", escaped_json(&json))
        }
    };
    print(&text)?;
    Ok(Exit::Complete)
}

/// Two lines a run: its numbers in 80 columns, and its source.
fn table(runs: &[RunReport]) -> String {
    let mut text =
        row(["run", "started (UTC)", "status", "planned", "found", "failed", "pending", "time"]);
    for run in runs {
        let counts = &run.counts;
        text.push_str(&row([
            &run.run_id.to_string(),
            &started(run),
            run.status.name(),
            &grouped(counts.planned),
            &grouped(counts.found),
            &grouped(counts.unanswered()),
            &grouped(counts.pending),
            &human_duration(run.seconds),
        ]));
        text.push_str(&format!("      {}\n", escaped(&run.source)));
    }
    text
}

/// `2026-11-25 04:00`, in UTC.
fn started(run: &RunReport) -> String {
    run.started_at.chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

fn row(cells: [&str; 8]) -> String {
    let [run, started, status, planned, found, failed, pending, time] = cells;
    format!(
        "{run:>4}  {started:<16} {status:<8} {planned:>9} {found:>9} {failed:>7} {pending:>9} {time:>10}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::counts::Counts;

    #[test]
    fn numbers_fit_into_80_columns() {
        let counts = Counts {
            planned: 9_999_999,
            found: 9_000_000,
            failed: 99_999,
            pending: 900_000,
            ..Counts::default()
        };
        let started = "2026-11-25T04:00:00.000Z".to_owned();
        let mut run = RunReport::planned(9999, "list.csv".into(), started, counts);
        run.seconds = 35_999.0;
        let table = table(&[run]);
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
        assert!(table.contains("9,000,000") && table.contains("      list.csv"), "{table}");
    }
}
