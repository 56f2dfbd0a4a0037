//! Reports of a run: one file a format, each a function from the run to its text.

mod chart;
mod course;
pub mod html;
pub mod json;
pub mod markdown;
pub mod output;
pub mod prom;
pub mod rejects;
pub mod text;

use crate::display::{counted, escaped, grouped, human_duration, shown};
use crate::domain::counts::Counts;
use crate::domain::exit::Exit;
use crate::domain::outcome::{ChangeKind, REJECTED};
use crate::domain::report_data::ReportData;
use crate::domain::run::{
    FailureCount, FieldsReport, OutagesReport, PublicationFault, PublicationFaultKind, RunReport,
    Status,
};
use clap::ValueEnum;
use std::path::Path;

/// The formats of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, on a terminal or in a mail
    Text,
    /// For programs
    Json,
    /// For tickets and wikis
    #[value(name = "md")]
    Markdown,
    /// For browsers and mails
    Html,
    /// For Prometheus
    Prom,
}

impl Format {
    /// The format that a file's extension asks for.
    ///
    /// # Errors
    /// One sentence that names the extensions there are.
    pub fn of_extension(path: &Path) -> Result<Self, String> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("txt") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            Some("md") => Ok(Self::Markdown),
            Some("html") => Ok(Self::Html),
            Some("prom") => Ok(Self::Prom),
            _ => Err(format!(
                "the extension of {} names no format; use .txt, .json, .md, .html or .prom",
                shown(path)
            )),
        }
    }

    /// The run in this format, with a line end at its end.
    pub fn render(self, run: &RunReport, data: &ReportData) -> String {
        match self {
            Self::Text => text::render(run),
            Self::Json => json::render(run),
            Self::Markdown => markdown::render(run),
            Self::Html => html::render(run, data),
            Self::Prom => prom::render(run, data),
        }
    }
}

/// The lines of the counts: how deep each stands under the one above, its name and its number.
fn count_lines(counts: &Counts) -> [(usize, &'static str, u64); 10] {
    [
        (0, "rows", counts.rows),
        (1, "invalid", counts.invalid),
        (1, "duplicate", counts.duplicate),
        (1, "fresh", counts.fresh),
        (1, "planned", counts.planned),
        (2, "found", counts.found),
        (2, "not found", counts.not_found),
        (2, "rejected", counts.rejected),
        (2, "failed", counts.failed),
        (2, "pending", counts.pending),
    ]
}

/// The run in one line: its number, how it stands and why.
fn headline(run: &RunReport) -> String {
    let status = run.status.name();
    let mut line = match run.run_id {
        0 => format!("Run: {status}"),
        run_id => format!("Run {run_id}: {status}"),
    };
    if let Some(reason) = &run.stop_reason {
        line.push_str(", ");
        line.push_str(&escaped(reason));
    }
    line
}

/// What changed, kinds without a change left out.
fn changes_line(run: &RunReport) -> String {
    let kinds = ChangeKind::ALL.into_iter().filter(|kind| run.changes.get(*kind) > 0);
    let changes = kinds.map(|kind| {
        let name = kind.name().replace('_', " ");
        format!("{} {name}", grouped(run.changes.get(kind)))
    });
    let changes = changes.collect::<Vec<_>>().join(", ");
    if changes.is_empty() { "none".to_owned() } else { changes }
}

/// The requests in a few words.
fn requests_line(run: &RunReport) -> String {
    let http = &run.http;
    let retries = if http.retries == 1 { "retry" } else { "retries" };
    let mut line = format!("{} ({} {retries}", grouped(http.requests), grouped(http.retries));
    if http.checks > 0 {
        line.push_str(&format!(", {} of the API itself", counted(http.checks, "check")));
    }
    line.push(')');
    if let Some(latency) = http.latency_ms {
        line.push_str(&format!(
            "; latency: median {}, p99 {}, max {}",
            milliseconds(latency.p50),
            milliseconds(latency.p99),
            milliseconds(latency.max)
        ));
    }
    line
}

/// `21 ms`, `1.5 s`.
fn milliseconds(ms: f64) -> String {
    let (number, unit) = if ms < 1000.0 { (ms, "ms") } else { (ms / 1000.0, "s") };
    format!("{} {unit}", chart::short(number))
}

/// How often and how long the API was unreachable, if it was.
fn outages_line(run: &RunReport) -> Option<String> {
    let OutagesReport { count, seconds, last_cause } = &run.outages;
    let cause = last_cause.as_deref().unwrap_or("unknown cause");
    (*count > 0).then(|| {
        let time = human_duration(*seconds);
        format!("{}, {time} in all (last: {})", grouped(*count), escaped(cause))
    })
}

/// How the answers differ from the API's documentation, if they do.
fn fields_line(run: &RunReport) -> Option<String> {
    let FieldsReport { absent, unknown, .. } = &run.fields;
    let unknown = unknown.iter().map(|(name, times)| format!("{name} ({})", grouped(*times)));
    // The API leaves these two out where it has no value for them.
    let absent = absent.iter().map(String::as_str);
    let absent: Vec<&str> = absent.filter(|name| !["phone", "address"].contains(name)).collect();
    let (absent, unknown) = (absent.join(", "), unknown.collect::<Vec<_>>().join(", "));
    let parts = [("in no answer: ", absent), ("undocumented: ", unknown)];
    let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = parts.map(|(what, names)| format!("{what}{names}")).collect();
    (!parts.is_empty()).then(|| escaped(&parts.join("; ")).into_owned())
}

/// How often each status was answered.
fn statuses_line(run: &RunReport) -> String {
    let statuses = run.http.statuses.iter().map(|(status, times)| {
        let status = if status == "none" { "no answer" } else { status };
        format!("{status}: {}", grouped(*times))
    });
    statuses.collect::<Vec<_>>().join(", ")
}

/// One line for each kind of failure: `46 emails failed: connection lost (last: reset by peer)`.
fn failure_lines(run: &RunReport) -> Vec<String> {
    let line = |failure: &FailureCount| {
        let emails = counted(failure.count, "email");
        let reason = escaped(&failure.last_reason);
        match failure.code.as_str() {
            REJECTED => format!("{emails} rejected (last: {reason})"),
            code => format!("{emails} failed: {} (last: {reason})", code.replace('_', " ")),
        }
    };
    run.failures.iter().map(line).collect()
}

/// Emails a second, once there is something to divide.
fn emails_per_second(run: &RunReport) -> Option<f64> {
    let settled = run.counts.settled();
    (settled > 0 && run.seconds > 0.0).then(|| settled as f64 / run.seconds)
}

/// Customers under another address than the one that was looked up, if there are any.
fn other_email_line(run: &RunReport) -> Option<String> {
    let emails = counted(run.other_email, "email");
    (run.other_email > 0)
        .then(|| format!("{emails} resolved to a customer with another email address."))
}

/// What a person can do next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hint {
    text: String,
    /// The command for it, ready to be pasted.
    command: Option<String>,
}

impl Hint {
    fn line(&self) -> String {
        match &self.command {
            Some(command) => format!("{} {command}", self.text),
            None => self.text.clone(),
        }
    }
}

fn hints(run: &RunReport) -> Vec<Hint> {
    if run.status == Status::Running {
        return Vec::new();
    }
    let store = &run.store_option;
    let mut hints = Vec::new();
    if run.exit_code == Some(Exit::WrongKey.code()) {
        let text = "No email was marked as failed. Check the key, --api-url and --column first.";
        hints.push(Hint { text: text.to_owned(), command: None });
    }
    if [Exit::WrongKey, Exit::ApiTrouble].map(|exit| Some(exit.code())).contains(&run.exit_code) {
        hints.push(Hint {
            text: "To find the cause, run:".to_owned(),
            command: Some(format!("telemetron-sync doctor{store}{}", run.api_option)),
        });
    }
    hints.extend(publication_hint(run));
    if run.replaced {
        let text = "A later run of the same source took its pending emails over.";
        hints.push(Hint { text: text.to_owned(), command: None });
    } else if run.counts.pending > 0 && !is_superseded(run) {
        hints.push(Hint {
            text: format!("{} pending. Resume with:", counted(run.counts.pending, "email")),
            command: Some(format!("telemetron-sync sync --resume={}{store}", run.run_id)),
        });
    }
    let unanswered = run.counts.unanswered();
    if unanswered > 0 {
        let emails = counted(unanswered, "email");
        let api = &run.api_option;
        hints.push(Hint {
            text: format!(
                "{emails} rejected or failed (the store's table rejects lists them). Look them up again with:"
            ),
            command: Some(format!("telemetron-sync sync --retry-failed{store}{api}")),
        });
    }
    hints
}

fn is_superseded(run: &RunReport) -> bool {
    let kind = run.publication.as_ref().map(|fault| fault.kind);
    kind == Some(PublicationFaultKind::Superseded)
}

fn publication_hint(run: &RunReport) -> Option<Hint> {
    let PublicationFault { kind, reason, command } = run.publication.as_ref()?;
    Some(match kind {
        PublicationFaultKind::Late => Hint {
            text: format!("The last publication failed: {reason} Publish again with:"),
            command: Some(command.clone()),
        },
        PublicationFaultKind::Superseded => Hint {
            text: "Stop using this store. If it is the right one after all, run:".to_owned(),
            command: Some(format!("{command} --replace")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::counts::Latency;
    use crate::domain::run::{HttpReport, LimitsReport};
    use crate::domain::stop::StopReason;

    pub(crate) fn sample() -> RunReport {
        let counts = Counts {
            rows: 12_406,
            invalid: 195,
            duplicate: 311,
            fresh: 0,
            planned: 11_900,
            found: 10_000,
            not_found: 1_000,
            rejected: 1,
            failed: 99,
            pending: 800,
        };
        let mut run = RunReport::planned(
            7,
            "/data/list.csv".into(),
            "2026-11-23T10:00:00.000Z".into(),
            counts,
        );
        run.seconds = 100.0;
        run.changes.add(ChangeKind::Created, 9_000);
        run.changes.add(ChangeKind::DeviceAssigned, 12);
        let latency = Latency { p50: 21.0, p90: 40.0, p99: 80.0, max: 1234.0 };
        let statuses = [("200".into(), 10_000), ("none".into(), 3)].into();
        run.http = HttpReport {
            requests: 11_400,
            retries: 300,
            checks: 2,
            statuses,
            latency_ms: Some(latency),
        };
        run.outages = OutagesReport {
            count: 1,
            seconds: 40.0,
            last_cause: Some("connection refused".into()),
        };
        run.fields.answers = 10_000;
        run.fields.absent = vec!["orders".into()];
        run.fields.unknown.insert("updated\u{1b}At".into(), 9_999);
        run.limits = LimitsReport { concurrency: Some(32), rate: None };
        run.other_email = 2;
        let failure = |code: &str, count, reason: &str| FailureCount {
            code: code.into(),
            count,
            last_reason: reason.into(),
        };
        run.failures = vec![
            failure("connection_lost", 99, "reset by peer"),
            failure("rejected", 1, "Email is \u{1b}[31mrequired"),
        ];
        run.warnings.push("bad \u{1b}[31m| news".into());
        run.notes.push("cleaned emails: 1 with `mailto:` (row 3)".into());
        run.end(Some(&StopReason::Interrupted), "2026-11-23T10:01:40.000Z".into());
        run
    }

    #[test]
    fn the_extension_names_the_format() {
        assert_eq!(Format::of_extension(Path::new("a/b.json")), Ok(Format::Json));
        assert_eq!(Format::of_extension(Path::new("b.md")), Ok(Format::Markdown));
        assert!(Format::of_extension(Path::new("b.pdf")).unwrap_err().contains(".json"));
        assert!(Format::of_extension(Path::new("b")).is_err());
    }

    #[test]
    fn a_report_says_what_to_do_next() {
        let hints: Vec<String> = hints(&sample()).iter().map(Hint::line).collect();
        let hints = hints.join("\n");
        assert!(hints.contains("sync --resume=7"), "{hints}");
        assert!(hints.contains("100 emails rejected or failed"), "{hints}");
    }
}
