//! A report for Prometheus, by way of the node exporter's textfile collector.

use crate::domain::outcome::ChangeKind;
use crate::domain::run::RunReport;
use crate::report::count_lines;
use jiff::Timestamp;
use std::fmt::Write as _;

/// The run in Prometheus' text format. Numbers alone: no text from outside is a label.
pub fn render(run: &RunReport) -> String {
    let mut metrics = String::new();
    write(run, &mut metrics).expect("a String takes any text");
    metrics
}

fn write(run: &RunReport, metrics: &mut String) -> std::fmt::Result {
    head(metrics, "emails", "Rows and emails of the last run, by what became of them")?;
    for (_, name, count) in count_lines(&run.counts) {
        let state = name.replace(' ', "_");
        writeln!(metrics, "telemetron_sync_emails{{state=\"{state}\"}} {count}")?;
    }
    head(metrics, "changes", "Changes that the last run brought, by kind")?;
    for kind in ChangeKind::ALL {
        let (name, count) = (kind.name(), run.changes.get(kind));
        writeln!(metrics, "telemetron_sync_changes{{kind=\"{name}\"}} {count}")?;
    }
    head(metrics, "responses", "Responses to the last run's requests, by status")?;
    for (status, count) in &run.http.statuses {
        writeln!(metrics, "telemetron_sync_responses{{status=\"{status}\"}} {count}")?;
    }
    gauge(metrics, ("requests", "Requests of the last run"), run.http.requests as f64)?;
    gauge(metrics, ("retries", "Retries among these"), run.http.retries as f64)?;
    gauge(metrics, ("seconds", "How long the last run took"), run.seconds)?;
    let run_id = run.run_id as f64;
    gauge(metrics, ("run_id", "The number of the last run"), run_id)?;
    gauge(metrics, ("start_time_seconds", "When the last run began"), seconds(&run.started_at))?;
    if let (Some(at), Some(exit)) = (&run.finished_at, run.exit_code) {
        gauge(metrics, ("finish_time_seconds", "When the last run ended"), seconds(at))?;
        gauge(metrics, ("exit_code", "What the last run ended with"), exit.into())?;
    }
    Ok(())
}

fn gauge(metrics: &mut String, (name, help): (&str, &str), value: f64) -> std::fmt::Result {
    head(metrics, name, help)?;
    writeln!(metrics, "telemetron_sync_{name} {value}")
}

fn head(metrics: &mut String, name: &str, help: &str) -> std::fmt::Result {
    writeln!(metrics, "# HELP telemetron_sync_{name} {help}.")?;
    writeln!(metrics, "# TYPE telemetron_sync_{name} gauge")
}

/// A time of the store in seconds since 1970.
fn seconds(at: &str) -> f64 {
    let at: Result<Timestamp, _> = at.parse();
    at.map_or(f64::NAN, |at| at.as_millisecond() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn the_names_are_a_contract() {
        insta::assert_snapshot!(render(&sample()));
    }
}
