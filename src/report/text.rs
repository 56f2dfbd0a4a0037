//! A report for people.

use crate::display::{escaped, grouped, human_duration};
use crate::domain::run::RunReport;
use crate::report::{
    Hint, changes_line, count_lines, emails_per_second, failure_lines, fields_line, headline,
    hints, other_email_line, outages_line, requests_line, statuses_line,
};
use std::fmt::Write as _;

/// The width of the names of counts, their indentation included.
const NAMES: usize = 14;

/// The run as plain lines.
pub fn render(run: &RunReport) -> String {
    let mut text = String::new();
    write(run, &mut text).expect("a String takes any text");
    text
}

/// A log or a mail has this many lines at most.
const BRIEF_LINES: usize = 12;

/// The run in a few lines, for a log or a mail: what happened, why, and what to do next.
pub fn brief(run: &RunReport) -> String {
    let counts = &run.counts;
    let mut brief = format!(
        "{}\n{} planned: {} found, {} not found, {} rejected, {} failed, {} pending\n",
        headline(run),
        grouped(counts.planned),
        grouped(counts.found),
        grouped(counts.not_found),
        grouped(counts.rejected),
        grouped(counts.failed),
        grouped(counts.pending)
    );
    let warnings = run.warnings.iter().map(|warning| format!("Warning: {}", escaped(warning)));
    let mut causes: Vec<String> = failure_lines(run).into_iter().chain(warnings).collect();
    let hints = hints(run);
    let room = BRIEF_LINES - 2 - hints.len();
    if causes.len() > room {
        let left_out = causes.len() - (room - 1);
        causes.truncate(room - 1);
        causes.push(format!("… and {left_out} more lines: see telemetron-sync report."));
    }
    for line in causes.into_iter().chain(hints.iter().map(Hint::line)) {
        brief.push_str(&line);
        brief.push('\n');
    }
    brief
}

fn write(run: &RunReport, text: &mut String) -> std::fmt::Result {
    writeln!(text, "{}", headline(run))?;
    writeln!(text, "Source: {}", escaped(&run.source))?;
    write!(text, "Time: {} from {}", human_duration(run.seconds), run.started_at)?;
    if let Some(finished_at) = &run.finished_at {
        write!(text, " to {finished_at}")?;
    }
    writeln!(text, "\n")?;
    let numbers = grouped(run.counts.rows).len();
    for (depth, name, count) in count_lines(&run.counts) {
        let name = format!("{}{name}", "  ".repeat(depth));
        writeln!(text, "{name:<NAMES$} {:>numbers$}", grouped(count))?;
    }
    writeln!(text, "\nChanges: {}", changes_line(run))?;
    writeln!(text, "Requests: {}", requests_line(run))?;
    if !run.http.statuses.is_empty() {
        writeln!(text, "Statuses: {}", statuses_line(run))?;
    }
    if let Some(outages) = outages_line(run) {
        writeln!(text, "Outages: {outages}")?;
    }
    if let Some(fields) = fields_line(run) {
        writeln!(text, "Fields: {fields}")?;
    }
    if let Some(speed) = emails_per_second(run) {
        writeln!(text, "Speed: {speed:.1} emails/s")?;
    }
    for line in failure_lines(run) {
        writeln!(text, "{line}")?;
    }
    for warning in &run.warnings {
        writeln!(text, "Warning: {}", escaped(warning))?;
    }
    for note in &run.notes {
        writeln!(text, "Note: {}", escaped(note))?;
    }
    for line in other_email_line(run).into_iter().chain(hints(run).iter().map(Hint::line)) {
        writeln!(text, "{}", escaped(&line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn every_count_is_rendered() {
        insta::assert_snapshot!(render(&sample()));
    }
}
