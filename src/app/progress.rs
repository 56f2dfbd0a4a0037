//! Shows how far a run is, from the report of the moment.

use crate::app::cli::{LogFormat, ProgressChoice};
use crate::app::logging::{self, Line};
use crate::app::settings::{TerminalSettings, Verbosity};
use crate::app::stderr;
use crate::display::{counted, escaped, grouped, human_duration};
use crate::domain::counts::Counts;
use crate::domain::run::{PauseReport, RunReport};
use crate::time;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::{IsTerminal as _, stderr as standard_error};
use std::sync::Arc;
use std::time::Duration;
use tracing::Level;

/// How often the position is looked at, and a bar moves.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bar,
    Lines,
    None,
}

impl Mode {
    fn new(settings: TerminalSettings) -> Self {
        let is_terminal = standard_error().is_terminal();
        match (settings.verbosity, settings.progress, settings.log_format) {
            (Verbosity::Quiet, _, _) | (_, ProgressChoice::None, _) => Self::None,
            (_, ProgressChoice::Plain, _) | (_, _, LogFormat::Json) => Self::Lines,
            (_, ProgressChoice::Auto, LogFormat::Text) if !is_terminal => Self::Lines,
            (_, ProgressChoice::Auto | ProgressChoice::Bar, LogFormat::Text) => Self::Bar,
        }
    }
}

/// A run that is being worked on, as one line of text or as fields.
pub struct Progress {
    report: Box<dyn Fn() -> RunReport + Send + Sync>,
}

impl Progress {
    /// Of the run that `report` describes at each moment.
    pub fn new(report: impl Fn() -> RunReport + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { report: Box::new(report) })
    }

    /// Prints one status line, whatever the verbosity is.
    pub fn print(&self) {
        print("status", &(self.report)());
    }

    /// Shows it until the task is dropped.
    pub async fn show(self: Arc<Self>, settings: TerminalSettings) {
        let mode = Mode::new(settings);
        if mode == Mode::Bar {
            let style = ProgressStyle::with_template("{bar:12} {wide_msg}");
            stderr::bar().set_style(style.expect("the template is fixed").progress_chars("━╸─"));
        }
        let mut next_line = time::instant() + LINE_EVERY;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let now = time::instant();
            // Each look at the report also notes the position, which the speed is made of.
            let report = (self.report)();
            match mode {
                Mode::Bar => draw(stderr::bar(), &report),
                Mode::Lines if now >= next_line => {
                    next_line = now + LINE_EVERY;
                    print("progress", &report);
                }
                Mode::Lines | Mode::None => {}
            }
        }
    }
}

fn print(event: &'static str, report: &RunReport) {
    let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let fields = [
        ("counts", json(serde_json::to_value(report.counts))),
        ("limits", json(serde_json::to_value(report.limits))),
        ("progress", json(serde_json::to_value(&report.progress))),
    ];
    let (level, fields) = (Level::INFO, fields.into());
    logging::print(Line { level, event, text: &line(report), fields });
}

/// `12,400 of 50,000 emails (25%), 410/s, 1 min 32 s left, 32 of 64 in flight, 3 failed or rejected`.
pub fn line(report: &RunReport) -> String {
    let Counts { planned, .. } = report.counts;
    let settled = report.counts.settled();
    let percent = percent(settled, planned);
    let mut line = format!("{} of {} ({percent}%)", grouped(settled), counted(planned, "email"));
    let progress = report.progress.clone().unwrap_or_default();
    if let Some(PauseReport { until, reason }) = &progress.pause {
        // Of a time in the store's form, the time of day is enough.
        let until = until.get(11..19).unwrap_or(until);
        line.push_str(&format!(", paused until {until} UTC ({})", escaped(reason)));
    }
    if let Some(per_second) = progress.per_second {
        line.push_str(&format!(", {per_second:.0}/s"));
    }
    if let Some(left) = progress.seconds_left {
        line.push_str(&format!(", {} left", human_duration(left)));
    }
    if let Some(limit) = report.limits.concurrency {
        let (in_flight, limit) = (grouped(progress.in_flight), grouped(limit));
        line.push_str(&format!(", {in_flight} of {limit} in flight"));
    }
    let failed = report.counts.unanswered();
    if failed > 0 {
        line.push_str(&format!(", {} failed or rejected", grouped(failed)));
    }
    if let (Some(rate), Some(reason)) = (report.limits.rate, &progress.rate_reason) {
        line.push_str(&format!(", at most {rate:.1} requests/s ({reason})"));
    }
    line
}

fn draw(bar: &ProgressBar, report: &RunReport) {
    bar.set_length(report.counts.planned);
    bar.set_position(report.counts.settled());
    bar.set_message(line(report));
}

/// Takes a bar away.
pub fn clear(settings: TerminalSettings) {
    if Mode::new(settings) == Mode::Bar {
        stderr::bar().finish_and_clear();
        // The report follows on standard output, at the place of the bar.
        stderr::flush();
    }
}

fn percent(settled: u64, planned: u64) -> u64 {
    settled.saturating_mul(100).checked_div(planned).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::run::{LimitsReport, ProgressReport};

    #[test]
    fn a_line_says_position_speed_limits_and_pauses() {
        let counts =
            Counts { planned: 2000, found: 498, failed: 2, pending: 1500, ..Counts::default() };
        let mut report = RunReport::planned(1, "s".into(), "t".into(), counts);
        assert_eq!(line(&report), "500 of 2,000 emails (25%), 2 failed or rejected");
        report.limits = LimitsReport { concurrency: Some(64), rate: Some(100.0) };
        report.progress = Some(ProgressReport {
            per_second: Some(50.0),
            seconds_left: Some(30.0),
            in_flight: 32,
            rate_reason: Some("learned from 429s".into()),
            pause: Some(PauseReport {
                until: "2026-01-01T12:00:05.000Z".into(),
                reason: "asked to \u{1b}".into(),
            }),
        });
        assert_eq!(
            line(&report),
            "500 of 2,000 emails (25%), paused until 12:00:05 UTC (asked to \\u{1b}), 50/s, 30 s left, \
             32 of 64 in flight, 2 failed or rejected, at most 100.0 requests/s (learned from 429s)"
        );
    }
}
