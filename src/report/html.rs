//! A report for a browser or a mail: one page without anything from elsewhere.

use crate::display::{escaped, grouped, human_duration};
use crate::domain::run::RunReport;
use crate::report::{
    changes_line, count_lines, headline, hints, pace, requests_line, statuses_line,
};
use std::fmt::Write as _;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;\
padding:0 1rem}table{border-collapse:collapse;margin:1rem 0}td{padding:.15rem .75rem;border-bottom:\
1px solid #ddd}td.n{text-align:right;font-variant-numeric:tabular-nums}dt{font-weight:600}\
.warning{background:#fff4d6;padding:.5rem .75rem}";

/// The run as one HTML page.
pub fn render(run: &RunReport) -> String {
    let mut page = String::new();
    write(run, &mut page).expect("a String takes any text");
    page
}

fn write(run: &RunReport, page: &mut String) -> std::fmt::Result {
    let title = plain(&headline(run));
    writeln!(page, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">")?;
    writeln!(page, "<title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n<dl>")?;
    let finished = run.finished_at.as_deref().unwrap_or("not yet");
    let pace = pace(run).map(|pace| format!("{pace:.1} emails a second"));
    let facts = [
        ("Source", run.source.clone()),
        ("Started", run.started_at.clone()),
        ("Finished", finished.to_owned()),
        ("Time", human_duration(run.seconds)),
        ("Speed", pace.unwrap_or_else(|| "none yet".to_owned())),
        ("Requests", requests_line(run)),
        ("Statuses", statuses_line(run)),
        ("Changes", changes_line(run)),
    ];
    for (name, fact) in facts {
        writeln!(page, "<dt>{name}</dt><dd>{}</dd>", plain(&fact))?;
    }
    writeln!(page, "</dl>\n<table>")?;
    for (depth, name, count) in count_lines(&run.counts) {
        let indent = "&emsp;".repeat(depth);
        let count = grouped(count);
        writeln!(page, "<tr><td>{indent}{name}</td><td class=\"n\">{count}</td></tr>")?;
    }
    writeln!(page, "</table>")?;
    for warning in &run.warnings {
        writeln!(page, "<p class=\"warning\">{}</p>", plain(warning))?;
    }
    for hint in hints(run) {
        writeln!(page, "<p>{}</p>", plain(&hint))?;
    }
    writeln!(page, "</html>")
}

/// Text from outside, without a meaning in HTML.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in escaped(text).chars() {
        match c {
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '&' => plain.push_str("&amp;"),
            '"' => plain.push_str("&quot;"),
            '\'' => plain.push_str("&#39;"),
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
    fn every_count_and_its_story_is_told() {
        insta::assert_snapshot!(render(&sample()));
    }

    #[test]
    fn nothing_from_outside_is_markup() {
        let mut run = sample();
        run.source = "<script>alert('x')</script>&\"".into();
        let page = render(&run);
        assert!(!page.contains("<script>"));
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"));
    }
}
