//! A report for tickets and wikis.

use crate::display::{escaped, grouped, human_duration};
use crate::domain::run::RunReport;
use crate::report::{
    Hint, changes_line, count_lines, emails_per_second, failure_lines, fields_line, headline,
    hints, other_email_line, outages_line, requests_line, statuses_line,
};
use std::fmt::Write as _;

/// The run as Markdown.
pub fn render(run: &RunReport) -> String {
    let mut text = String::new();
    write(run, &mut text).expect("a String takes any text");
    text
}

fn write(run: &RunReport, text: &mut String) -> std::fmt::Result {
    writeln!(text, "# {}\n", plain(&headline(run)))?;
    writeln!(text, "- Source: {}", plain(&run.source))?;
    writeln!(text, "- Started: {}", run.started_at)?;
    if let Some(finished_at) = &run.finished_at {
        writeln!(text, "- Finished: {finished_at}")?;
    }
    writeln!(text, "- Time: {}", human_duration(run.seconds))?;
    if let Some(speed) = emails_per_second(run) {
        writeln!(text, "- Speed: {speed:.1} emails/s")?;
    }
    writeln!(text, "- Requests: {}", requests_line(run))?;
    if !run.http.statuses.is_empty() {
        writeln!(text, "- Statuses: {}", statuses_line(run))?;
    }
    if let Some(outages) = outages_line(run) {
        writeln!(text, "- Outages: {}", plain(&outages))?;
    }
    if let Some(fields) = fields_line(run) {
        writeln!(text, "- Fields: {}", plain(&fields))?;
    }
    writeln!(text, "- Changes: {}", changes_line(run))?;
    writeln!(text, "\n| rows | count |\n| :--- | ---: |")?;
    for (depth, name, count) in count_lines(&run.counts) {
        writeln!(text, "| {}{name} | {} |", "&emsp;".repeat(depth), grouped(count))?;
    }
    let failures = failure_lines(run);
    if !failures.is_empty() {
        writeln!(text)?;
    }
    for line in failures {
        writeln!(text, "- {}", plain(&line))?;
    }
    let notes = run.warnings.iter().map(|warning| format!("**Warning:** {}", plain(warning)));
    let of_source = run.notes.iter().map(|note| format!("Note: {}", plain(note)));
    for note in
        notes.chain(of_source).chain(other_email_line(run)).chain(hints(run).iter().map(hint))
    {
        writeln!(text, "\n{note}")?;
    }
    Ok(())
}

/// The command as code, between more backticks than it holds.
fn hint(Hint { text, command }: &Hint) -> String {
    let Some(command) = command else { return plain(text) };
    let longest = command.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    format!("{} {fence}{}{fence}", plain(text), escaped(command))
}

/// Text from outside, without a meaning in Markdown or HTML.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in escaped(text).chars() {
        match c {
            '<' => plain.push_str("&lt;"),
            '&' => plain.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' => {
                plain.push('\\');
                plain.push(c);
            }
            _ => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn every_count_is_rendered() {
        insta::assert_snapshot!(render(&sample()));
    }

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(plain("<b>|`x`[a](b)"), "&lt;b>\\|\\`x\\`\\[a\\](b)");
    }
}
