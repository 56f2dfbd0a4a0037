//! A report for Prometheus, read by the node exporter's textfile collector.

use crate::domain::outcome::ChangeKind;
use crate::domain::report_data::ReportData;
use crate::domain::run::{RunReport, Status};
use crate::report::count_lines;
use crate::time;
use jiff::{SignedDuration, Timestamp, Unit};
use std::fmt::{self, Display, Write as _};

const LAST_SUCCESS: &str = "last_success_timestamp_seconds";

/// The run, the earlier ends of its source and the store, in Prometheus' text format.
pub fn render(run: &RunReport, data: &ReportData) -> String {
    let mut text = String::new();
    let mut metrics = Metrics { text: &mut text, source: label(&run.source) };
    write(run, data, &mut metrics).expect("a String takes any text");
    text
}

/// When a run of `source` last ended well, by an earlier file: for a run that cannot read the store.
pub fn last_success(earlier: &str, source: &str) -> Option<String> {
    let metric = gauge_name(LAST_SUCCESS, &label(source));
    let value = earlier.lines().find_map(|line| line.strip_prefix(&metric)?.strip_prefix(' '))?;
    let since = SignedDuration::try_from_secs_f64(value.parse().ok()?).ok()?;
    let since = since.round(Unit::Millisecond).ok()?;
    Some(time::text(Timestamp::UNIX_EPOCH.checked_add(since).ok()?))
}

fn write(run: &RunReport, data: &ReportData, metrics: &mut Metrics<'_>) -> fmt::Result {
    let ended = run.finished_at.as_ref().zip(run.exit_code);
    let ended = ended.filter(|_| run.status != Status::Running);
    let last_end = ended.map(|(at, exit_code)| (at.as_str(), exit_code));
    let last_end = last_end.or(data.last_end.as_ref().map(|end| (end.at.as_str(), end.exit_code)));
    let is_success = ended.is_some_and(|(_, exit_code)| matches!(exit_code, 0 | 3 | 4));
    let success = if is_success { &run.finished_at } else { &data.last_success };
    metrics.gauge(
        LAST_SUCCESS,
        "When a run last ended with 0, 3 or 4",
        success.as_deref().map(seconds),
    )?;
    metrics.gauge(
        "last_run_timestamp_seconds",
        "When a run last ended",
        last_end.map(|(at, _)| seconds(at)),
    )?;
    metrics.gauge(
        "exit_code",
        "The exit code of the run that ended last",
        last_end.map(|(_, exit)| exit),
    )?;
    // A resumed run began long ago; its process has not.
    let started =
        data.process_started.as_deref().into_iter().chain([run.started_at.as_str()]).max();
    metrics.gauge(
        "start_timestamp_seconds",
        "When the newest run began or was resumed",
        started.map(seconds),
    )?;
    write_store(data, metrics)?;
    // A run that failed before it had a plan says nothing about its rows.
    if run.run_id > 0 { write_run(run, metrics) } else { Ok(()) }
}

fn write_store(data: &ReportData, metrics: &mut Metrics<'_>) -> fmt::Result {
    let Some(gauges) = &data.gauges else {
        return Ok(());
    };
    let mut gauge = |name, help, value: u64| metrics.gauge(name, help, Some(value));
    gauge("customers", "Customers in the store, missing ones included", gauges.customers)?;
    gauge("missing_customers", "Customers that no email resolves to any more", gauges.missing)?;
    gauge("never_answered_emails", "Emails that were never answered", gauges.never_answered)?;
    gauge("store_bytes", "The size of the store", gauges.bytes)?;
    metrics.gauge(
        "oldest_answer_timestamp_seconds",
        "The oldest of the last answers to each email, also to those that have left the list",
        gauges.oldest_answer.as_deref().map(seconds),
    )
}

fn write_run(run: &RunReport, metrics: &mut Metrics<'_>) -> fmt::Result {
    let counts = count_lines(&run.counts);
    let counts = counts.iter().map(|(_, name, count)| (name.replace(' ', "_"), *count));
    metrics.family("emails", "Rows and emails of the newest run by state", "state", counts)?;
    let changes = ChangeKind::ALL.iter().map(|kind| (kind.name(), run.changes.get(*kind)));
    metrics.family("changes", "Changes found by the newest run", "kind", changes)?;
    let statuses = run.http.statuses.iter().map(|(status, count)| (status, *count));
    metrics.family("responses", "Responses to the newest run by status", "status", statuses)?;
    metrics.gauge("requests", "Requests of the newest run", Some(run.http.requests))?;
    metrics.gauge("retries", "Retries among them", Some(run.http.retries))?;
    metrics.gauge("seconds", "How long the newest run has taken", Some(run.seconds))?;
    metrics.gauge("run_id", "The number of the newest run in its store", Some(run.run_id))
}

struct Metrics<'a> {
    text: &'a mut String,
    /// The value of the label, escaped.
    source: String,
}

impl Metrics<'_> {
    /// A metric with one value; nothing if it is not known.
    fn gauge(&mut self, name: &str, help: &str, value: Option<impl Display>) -> fmt::Result {
        let Some(value) = value else {
            return Ok(());
        };
        self.head(name, help)?;
        writeln!(self.text, "{} {value}", gauge_name(name, &self.source))
    }

    /// A metric with a value for each value of a label.
    fn family<L: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.head(name, help)?;
        let source = &self.source;
        for (of, value) in values {
            writeln!(
                self.text,
                "telemetron_sync_{name}{{source=\"{source}\",{label}=\"{of}\"}} {value}"
            )?;
        }
        Ok(())
    }

    fn head(&mut self, name: &str, help: &str) -> fmt::Result {
        writeln!(self.text, "# HELP telemetron_sync_{name} {help}.")?;
        writeln!(self.text, "# TYPE telemetron_sync_{name} gauge")
    }
}

/// A metric with its one label, whose value is escaped already.
fn gauge_name(name: &str, source: &str) -> String {
    format!("telemetron_sync_{name}{{source=\"{source}\"}}")
}

/// Text from outside as the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A time of the store in seconds since 1970.
fn seconds(at: &str) -> f64 {
    let at: Result<Timestamp, _> = at.parse();
    at.map_or(f64::NAN, |at| at.as_millisecond() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::report_data::{Gauges, LastEnd};
    use crate::report::tests::sample;

    fn data() -> ReportData {
        ReportData {
            gauges: Some(Gauges {
                customers: 9_500,
                missing: 12,
                never_answered: 99,
                oldest_answer: Some("2026-11-22T10:00:00.000Z".into()),
                bytes: 1_048_576,
            }),
            last_success: Some("2026-11-23T09:02:00.000Z".into()),
            last_end: Some(LastEnd { at: "2026-11-23T09:02:00.000Z".into(), exit_code: 0 }),
            ..ReportData::default()
        }
    }

    #[test]
    fn the_names_are_a_contract() {
        insta::assert_snapshot!(render(&sample(), &data()));
    }

    fn value(text: &str, name: &str) -> Option<String> {
        let start = format!("telemetron_sync_{name}{{");
        let line = text.lines().find(|line| line.starts_with(&start))?;
        line.rsplit(' ').next().map(str::to_owned)
    }

    #[test]
    fn a_success_is_the_last_one_until_the_next() {
        let failed = render(&sample(), &data());
        assert_eq!(value(&failed, "exit_code").as_deref(), Some("130"));
        assert_eq!(value(&failed, "last_success_timestamp_seconds").as_deref(), Some("1795424520"));
        let mut run = sample();
        run.exit_code = Some(3);
        let partial = render(&run, &data());
        assert_eq!(
            value(&partial, "last_success_timestamp_seconds").as_deref(),
            Some("1795428100")
        );
        let earlier = last_success(&partial, &run.source);
        assert_eq!(earlier, run.finished_at);
        assert_eq!(last_success(&partial, "another.csv"), None);
    }

    #[test]
    fn while_a_run_works_the_last_end_is_that_of_the_one_before() {
        let mut run = sample();
        (run.status, run.finished_at, run.exit_code) = (Status::Running, None, None);
        let text = render(&run, &data());
        assert_eq!(value(&text, "exit_code").as_deref(), Some("0"));
        assert_eq!(value(&text, "last_run_timestamp_seconds").as_deref(), Some("1795424520"));
        assert_eq!(value(&text, "start_timestamp_seconds").as_deref(), Some("1795428000"));
    }

    #[test]
    fn a_source_cannot_break_out_of_its_label() {
        let mut run = sample();
        run.source = "a\"} 1\nevil\\".into();
        let text = render(&run, &data());
        assert!(text.contains(r#"{source="a\"} 1\nevil\\"}"#), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("evil")));
    }
}
