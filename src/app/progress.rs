//! Shows how far a run is. Knows no stage: it is handed the report of the moment.

use crate::app::cli::{LogFormat, ProgressChoice};
use crate::app::settings::{TerminalSettings, Verbosity};
use crate::app::{logging, stderr};
use crate::display::{counted, grouped, human_duration};
use crate::domain::counts::Counts;
use crate::domain::run::RunReport;
use crate::time;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{IsTerminal as _, stderr as standard_error};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the position is looked at, and a bar moves.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The speed is that of the last seconds, so that it follows what the API does now.
const WINDOW: Duration = Duration::from_secs(10);

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
    speed: Mutex<Speed>,
}

impl Progress {
    /// Of the run that `report` describes at each moment.
    pub fn new(report: impl Fn() -> RunReport + Send + Sync + 'static) -> Arc<Self> {
        let speed = Speed::default();
        Arc::new(Self { report: Box::new(report), speed: Mutex::new(speed) })
    }

    /// Notes the position of this moment.
    fn look(&self, now: Instant) -> (RunReport, Option<f64>) {
        let report = (self.report)();
        let mut speed = self.speed.lock().unwrap_or_else(PoisonError::into_inner);
        speed.look(now, report.counts.settled());
        let per_second = speed.per_second();
        (report, per_second)
    }

    /// Prints one status line, whatever the verbosity is.
    pub fn print(&self) {
        let (report, per_second) = self.look(time::instant());
        logging::print("status", &line(&report, per_second), fields(&report, per_second));
    }

    /// Shows it until the task is dropped.
    pub async fn show(self: Arc<Self>, settings: TerminalSettings) {
        let mode = Mode::new(settings);
        let mut next_line = time::instant() + LINE_EVERY;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let now = time::instant();
            let (report, per_second) = self.look(now);
            match mode {
                Mode::Bar => stderr::status(Some(bar(&report, per_second))),
                Mode::Lines if now >= next_line => {
                    next_line = now + LINE_EVERY;
                    let line = line(&report, per_second);
                    logging::print("progress", &line, fields(&report, per_second));
                }
                Mode::Lines | Mode::None => {}
            }
        }
    }
}

/// The position over the last seconds.
#[derive(Debug, Default)]
struct Speed {
    looks: VecDeque<(Instant, u64)>,
}

impl Speed {
    fn look(&mut self, now: Instant, settled: u64) {
        self.looks.push_back((now, settled));
        while self.looks.get(1).is_some_and(|(at, _)| *at + WINDOW <= now) {
            self.looks.pop_front();
        }
    }

    /// Emails a second; `None` before there are two looks.
    fn per_second(&self) -> Option<f64> {
        let ((first, from), (last, to)) = (self.looks.front()?, self.looks.back()?);
        let seconds = last.duration_since(*first).as_secs_f64();
        (seconds > 0.0).then(|| to.saturating_sub(*from) as f64 / seconds)
    }
}

/// `12,400 of 50,000 emails (25%), 410/s, 1 min 32 s left, 3 failed, 1 retry`.
fn line(report: &RunReport, per_second: Option<f64>) -> String {
    let Counts { planned, .. } = report.counts;
    let settled = report.counts.settled();
    let percent = percent(settled, planned);
    let position = format!("{} of {} ({percent}%)", grouped(settled), counted(planned, "email"));
    format!("{position}{}", details(report, per_second))
}

/// The same behind a bar.
fn bar(report: &RunReport, per_second: Option<f64>) -> String {
    const WIDTH: u64 = 20;
    let share = percent(report.counts.settled(), report.counts.planned);
    let full = share * WIDTH / 100;
    let cells: String = (0..WIDTH).map(|cell| if cell < full { '━' } else { '─' }).collect();
    format!("{cells} {}", line(report, per_second))
}

fn percent(settled: u64, planned: u64) -> u64 {
    settled.saturating_mul(100).checked_div(planned).unwrap_or(100)
}

fn details(report: &RunReport, per_second: Option<f64>) -> String {
    let mut details = String::new();
    if let Some(per_second) = per_second {
        details.push_str(&format!(", {per_second:.0}/s"));
    }
    if let Some(left) = seconds_left(report, per_second) {
        details.push_str(&format!(", {} left", human_duration(left)));
    }
    let failed = report.counts.unanswered();
    if failed > 0 {
        details.push_str(&format!(", {} failed or rejected", grouped(failed)));
    }
    details
}

/// At this speed; unknown while nothing moves.
fn seconds_left(report: &RunReport, per_second: Option<f64>) -> Option<f64> {
    let per_second = per_second.filter(|per_second| *per_second > 0.0)?;
    Some(report.counts.pending as f64 / per_second)
}

fn fields(report: &RunReport, per_second: Option<f64>) -> Vec<(&'static str, Value)> {
    let counts = serde_json::to_value(report.counts).unwrap_or_default();
    vec![
        ("counts", counts),
        ("per_second", per_second.into()),
        ("seconds_left", seconds_left(report, per_second).into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_that_of_the_last_ten_seconds() {
        let start = time::instant();
        let mut speed = Speed::default();
        for second in 0..60 {
            // A hundred a second for half a minute, then ten.
            let settled = if second <= 30 { second * 100 } else { 3000 + (second - 30) * 10 };
            speed.look(start + Duration::from_secs(second), settled);
        }
        assert_eq!(speed.per_second(), Some(10.0));
        assert!(speed.looks.len() <= 12);
    }

    #[test]
    fn a_line_says_position_speed_and_what_is_left() {
        let counts =
            Counts { planned: 2000, found: 498, failed: 2, pending: 1500, ..Counts::default() };
        let report = RunReport::planned(1, "s".into(), "t".into(), counts);
        let expected = "500 of 2,000 emails (25%), 50/s, 30 s left, 2 failed or rejected";
        assert_eq!(line(&report, Some(50.0)), expected);
        assert_eq!(
            line(&report, Some(0.0)),
            "500 of 2,000 emails (25%), 0/s, 2 failed or rejected"
        );
        assert!(
            bar(&report, None)
                .starts_with("━━━━━───────────────  500 of".replace("  ", " ").as_str())
        );
    }
}
