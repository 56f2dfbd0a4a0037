//! Log lines on standard error: plain text for people, or one JSON object a line.
//!
//! The message of an event is for people; its fields, such as `event = "outage_began"`, are for
//! programs and appear in JSON alone.

use crate::app::cli::{self, LogFormat};
use crate::app::settings::Verbosity;
use crate::app::stderr;
use crate::display::escaped_json;
use crate::domain::exit::Exit;
use crate::time;
use serde_json::{Map, Value};
use std::fmt::{self, Debug};
use std::io::{IsTerminal as _, stderr as standard_error};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The form of the lines, once known.
static FORMAT: OnceLock<Lines> = OnceLock::new();

/// The run that the lines are about; 0 before there is one.
static RUN: AtomicI64 = AtomicI64::new(0);

/// What a line is about: programs rely on its name and its fields.
#[derive(Clone, Copy, Debug)]
pub struct EventKind {
    pub name: &'static str,
    pub level: &'static str,
    pub meaning: &'static str,
}

const fn kind(name: &'static str, level: &'static str, meaning: &'static str) -> EventKind {
    EventKind { name, level, meaning }
}

/// All events, in the order in which a run can have them.
pub const EVENTS: [EventKind; 31] = [
    kind("waiting", "info", "another run holds the store, and `--wait-for-lock` waits for it"),
    kind("planned", "info", "the plan stands: how the source was read; `planned` emails"),
    kind("source_notes", "info", "what was skipped or unwrapped in the source"),
    kind("resumed", "info", "a run continues; `pending` emails"),
    kind("warning", "warn", "what a person should look into; also in the report"),
    kind("progress", "info", "every 10 s: `counts`, `limits`, `progress`"),
    kind("status", "info", "the same, on SIGUSR1"),
    kind("first_failure", "info", "the first failure of a kind: `code`"),
    kind("unanswered", "debug", "an email was rejected or failed (`-v`)"),
    kind("attempt", "trace", "one attempt of a lookup (`-vv`)"),
    kind("silence", "warn", "no response of any kind for `seconds`"),
    kind("outage_began", "warn", "the API is unreachable, or returns nothing but errors: `cause`"),
    kind("outage_ended", "info", "the API answers again: `seconds`"),
    kind("rate_learned", "info", "the API limits the rate: `rate`, in requests per second"),
    kind("no_new_client", "debug", "no new connections could be prepared after an outage"),
    kind("stopping", "warn", "a signal arrived; the run finishes what is in flight"),
    kind("reader_in_the_way", "warn", "another program delays the shortening of the `-wal` file"),
    kind("report_not_written", "warn", "a report could not be written during the run"),
    kind("report_not_printed", "warn", "standard output is closed"),
    kind(
        "run_ended",
        "info, warn (exits 3 and 6), error (exits 1 and 5)",
        "`status`, `exit_code`, `stop_reason`, `seconds`, `counts`",
    ),
    kind("summary", "info", "a further line about the end of a run with `-q`"),
    kind("failure_not_noted", "debug", "the store could not take the reason of a failure"),
    kind("error", "error", "why the command failed: `exit_code`"),
    kind("ping_failed", "warn", "the monitor of `--ping` did not answer"),
    kind("publication_waits", "info", "the store does not know its organization yet"),
    kind(
        "publication_failed",
        "warn",
        "nothing could be published; the next publication makes up for it",
    ),
    kind("publication_resumed", "info", "a publication succeeded after some that failed"),
    kind("published", "info", "what the last publication of a run wrote"),
    kind("nul_replaced", "warn", "published values hold U+0000, which PostgreSQL cannot"),
    kind("sandbox", "error", "the sandbox could not open its port again"),
    kind("lines_lost", "warn", "standard error is too slow: `lines`"),
];

/// Begins to log. Quiet: errors alone, and why a monitor was not pinged; single emails from `Verbosity::Emails` on.
pub fn start(verbosity: Verbosity, format: LogFormat) {
    let level = match verbosity {
        Verbosity::Quiet => LevelFilter::ERROR,
        Verbosity::Normal => LevelFilter::INFO,
        Verbosity::Emails => LevelFilter::DEBUG,
        Verbosity::Attempts => LevelFilter::TRACE,
    };
    let lines = set_format(format);
    // Only this program's lines: libraries would print headers and bodies.
    let ours = Targets::new()
        .with_target("telemetron_sync", level)
        // A monitor that hears nothing raises an alarm: whoever looks into it finds the reason here.
        .with_target("telemetron_sync::app::ping", level.max(LevelFilter::WARN));
    // An error means that another subscriber is set already, as in a test.
    let _ = tracing_subscriber::registry().with(lines.with_filter(ours)).try_init();
}

/// Names the run in the lines to come.
pub fn set_run(run_id: i64) {
    RUN.store(run_id, Ordering::Relaxed);
}

/// Prints a line whatever the verbosity is.
pub fn print(line: Line<'_>) {
    stderr::line(rendered(line));
}

/// Prints why the command failed, whatever the verbosity is.
pub fn print_error(text: &str, exit: Exit) {
    let fields = vec![("exit_code", exit.code().into())];
    print(Line { level: Level::ERROR, event: "error", text, fields });
}

/// The notice that lines were lost, with its line end.
fn lines_lost(lines: u64) -> String {
    let text = format!("{lines} lines were lost: standard error is too slow");
    let fields = vec![("lines", lines.into())];
    rendered(Line { level: Level::WARN, event: "lines_lost", text: &text, fields }) + "\n"
}

/// A line that does not come from an event of `tracing`.
pub struct Line<'a> {
    pub level: Level,
    /// One of [`EVENTS`].
    pub event: &'static str,
    pub text: &'a str,
    /// For programs.
    pub fields: Vec<(&'static str, Value)>,
}

fn rendered(line: Line<'_>) -> String {
    let Line { level, event, text, fields } = line;
    let mut all = Map::from_iter([("event".to_owned(), event.into())]);
    all.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
    // Before a command has said how to log: the command line may be invalid.
    let lines = FORMAT.get().copied().unwrap_or_else(|| set_format(cli::log_format()));
    lines.render(level, text, all)
}

/// The first format stays.
fn set_format(format: LogFormat) -> Lines {
    stderr::set_loss_notice(lines_lost);
    *FORMAT.get_or_init(|| Lines::new(format))
}

/// How an event becomes a line.
#[derive(Clone, Copy)]
enum Lines {
    /// On a terminal.
    Text,
    /// In a file or a journal of a program.
    TextWithTime,
    Json,
}

impl Lines {
    fn new(format: LogFormat) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Text if standard_error().is_terminal() => Self::Text,
            LogFormat::Text => Self::TextWithTime,
        }
    }

    fn render(self, level: Level, text: &str, fields: Map<String, Value>) -> String {
        let label = match level {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        };
        match self {
            Self::Text => format!("{label}{text}"),
            Self::TextWithTime => format!("{} {label}{text}", time::text(time::now())),
            Self::Json => object(level, text, fields),
        }
    }
}

fn object(level: Level, text: &str, fields: Map<String, Value>) -> String {
    let mut object = Map::new();
    object.insert("timestamp".to_owned(), time::text(time::now()).into());
    object.insert("level".to_owned(), level.as_str().to_lowercase().into());
    let run = RUN.load(Ordering::Relaxed);
    if run != 0 {
        object.insert("run_id".to_owned(), run.into());
    }
    if !text.is_empty() {
        object.insert("message".to_owned(), text.into());
    }
    object.extend(fields);
    escaped_json(&Value::Object(object).to_string()).into_owned()
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        stderr::line(self.render(*event.metadata().level(), &fields.message, fields.others));
    }
}

/// The message of an event and its other fields.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.message = text } else { self.put(field, text) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_for_people_and_json_has_every_field() {
        let fields = || Map::from_iter([("event".to_owned(), "x".into()), ("n".into(), 3.into())]);
        assert_eq!(Lines::Text.render(Level::INFO, "news", fields()), "news");
        assert_eq!(Lines::Text.render(Level::WARN, "news", fields()), "warning: news");
        assert!(
            Lines::TextWithTime.render(Level::ERROR, "bad", fields()).ends_with("Z error: bad")
        );
        let json = Lines::Json.render(Level::WARN, "a \"b\"\n", fields());
        assert_eq!(json.lines().count(), 1);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&json["event"], &json["level"], &json["n"]),
            (&"x".into(), &"warn".into(), &3.into())
        );
        assert_eq!(json["message"], "a \"b\"\n");
        assert!(json["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
