//! Shows how far a run is. Knows no stage: it is handed the report of the moment.

use crate::app::cli::ProgressChoice;
use crate::display::{grouped, human_duration};
use crate::domain::run::RunReport;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::Duration;

/// How often a bar moves.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A bar that moves.
    Bar,
    /// A line now and then.
    Lines,
    /// Not at all.
    None,
}

impl Mode {
    /// What is meant by `choice` with this standard error.
    pub fn new(choice: ProgressChoice) -> Self {
        match choice {
            ProgressChoice::Auto if stderr().is_terminal() => Self::Bar,
            ProgressChoice::Auto | ProgressChoice::Plain => Self::Lines,
            ProgressChoice::Bar => Self::Bar,
            ProgressChoice::None => Self::None,
        }
    }
}

/// Shows `report`'s progress until it is dropped. Log lines go past `bar` without harm if they are
/// written while it is suspended.
pub async fn show(mode: Mode, bar: ProgressBar, report: impl Fn() -> RunReport) {
    let every = match mode {
        Mode::Bar => BAR_EVERY,
        Mode::Lines => LINE_EVERY,
        Mode::None => return,
    };
    let mut speed = Speed::new(&report());
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let report = report();
        speed.look(&report);
        match mode {
            Mode::Bar => {
                bar.set_length(report.counts.planned);
                bar.set_position(report.counts.settled());
                bar.set_message(details(&report, &speed));
            }
            // A closed standard error is no reason to stop.
            Mode::Lines => drop(writeln!(stderr(), "{}", line(&report, &speed))),
            Mode::None => {}
        }
    }
}

/// A bar for [`show`]; hidden unless the mode is a bar.
pub fn bar(mode: Mode) -> ProgressBar {
    if mode != Mode::Bar {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("{bar:24} {percent:>3} % {human_pos} of {human_len} {msg}");
    bar.set_style(style.expect("the template is fixed").progress_chars("━╸─"));
    bar
}

/// The speed of this process: what earlier ones did says nothing of it.
#[derive(Debug)]
struct Speed {
    settled: u64,
    seconds: f64,
    per_second: f64,
}

impl Speed {
    fn new(report: &RunReport) -> Self {
        Self { settled: report.counts.settled(), seconds: report.seconds, per_second: 0.0 }
    }

    fn look(&mut self, report: &RunReport) {
        let seconds = report.seconds - self.seconds;
        if seconds > 0.0 {
            let settled = report.counts.settled().saturating_sub(self.settled);
            self.per_second = settled as f64 / seconds;
        }
    }
}

fn line(report: &RunReport, speed: &Speed) -> String {
    let counts = &report.counts;
    let (settled, planned) = (grouped(counts.settled()), grouped(counts.planned));
    format!("{settled} of {planned} {}", details(report, speed))
}

fn details(report: &RunReport, speed: &Speed) -> String {
    let counts = &report.counts;
    let mut details = format!("{:.0}/s", speed.per_second);
    if speed.per_second > 0.0 {
        let left = counts.pending as f64 / speed.per_second;
        details.push_str(&format!(", {} left", human_duration(left)));
    }
    for (count, what) in [(counts.unanswered(), "failed"), (report.http.retries, "retries")] {
        if count > 0 {
            details.push_str(&format!(", {} {what}", grouped(count)));
        }
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::counts::Counts;

    #[test]
    fn a_line_tells_position_rate_and_what_is_left() {
        let counts = Counts { planned: 2000, pending: 2000, ..Counts::default() };
        let mut report = RunReport::planned(1, "s".into(), "t".into(), counts);
        report.seconds = 5.0;
        let mut speed = Speed::new(&report);
        report.seconds = 15.0;
        report.counts = Counts { planned: 2000, found: 498, failed: 2, pending: 1500, ..counts };
        report.http.retries = 1;
        speed.look(&report);
        let expected = "500 of 2,000 50/s, 30 s left, 2 failed, 1 retries";
        assert_eq!(line(&report, &speed), expected);
    }
}
