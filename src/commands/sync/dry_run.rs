//! `sync --dry-run`: what a run would do.

use crate::app::error::Error;
use crate::app::settings::{SyncSettings, TerminalSettings, Verbosity};
use crate::commands::print;
use crate::commands::sync::planning::Planned;
use crate::display::{counted, escaped, grouped, human_duration, quoted};
use crate::domain::exit::Exit;
use crate::source::InputRow;
use crate::store::runs;
use rusqlite::Connection;

/// What a run would do.
pub(super) struct DryRunReport {
    planned: Planned,
    /// At most so many are looked up.
    requests: u64,
    estimate: Option<Estimate>,
}

/// How long a run would take.
struct Estimate {
    /// `--rate`, or the last run's rate.
    by: &'static str,
    per_second: f64,
}

impl DryRunReport {
    pub(super) fn new(
        store: &Connection,
        planned: Planned,
        settings: &SyncSettings,
    ) -> Result<Self, Error> {
        let emails = planned.run.counts.planned;
        let requests = settings.limit.map_or(emails, |limit| limit.min(emails));
        let last = runs::last_speed(store)?;
        let estimate = match (settings.options.rate(), last) {
            (Some(per_second), _) => Some(Estimate { by: "at --rate", per_second }),
            (None, Some(per_second)) => Some(Estimate { by: "at the last run's rate", per_second }),
            (None, None) => None,
        };
        Ok(Self { planned, requests, estimate })
    }

    /// Prints it on standard output.
    pub(super) fn print(&self, terminal: TerminalSettings) -> Result<Exit, Error> {
        for warning in &self.planned.run.warnings {
            tracing::warn!(event = "warning", "{}", escaped(warning));
        }
        if terminal.verbosity > Verbosity::Quiet {
            let mut text = self.text();
            if terminal.verbosity >= Verbosity::Emails {
                text.push_str(&rows_as_read(&self.planned.first_rows));
            }
            print(&text)?;
        }
        Ok(Exit::Complete)
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}\nDry run: at least {}; none sent.\n",
            escaped(&self.planned.line),
            counted(self.requests, "request")
        );
        if let Some(Estimate { by, per_second }) = self.estimate
            && per_second > 0.0
        {
            let time = human_duration(self.requests as f64 / per_second);
            text.push_str(&format!("Estimated time {by}: {time}.\n"));
        }
        if let Some(notes) = &self.planned.notes {
            text.push_str(&format!("Reading: {}.\n", escaped(notes)));
        }
        for note in &self.planned.run.notes {
            text.push_str(&format!("Note: {}.\n", escaped(note)));
        }
        text
    }
}

/// The first rows with what became of them, so that a person sees how the source is read.
fn rows_as_read(rows: &[InputRow]) -> String {
    let line = |InputRow { row, text, email }: &InputRow| match email {
        Ok(email) => {
            format!("Row {}: {} → {}\n", grouped(*row), quoted(text), quoted(email.as_str()))
        }
        Err(reason) => format!("Row {}: {} → skipped: {reason}\n", grouped(*row), quoted(text)),
    };
    rows.iter().map(line).collect()
}
