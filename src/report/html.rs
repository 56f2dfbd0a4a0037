//! A report for a browser: one page that loads nothing from elsewhere and runs no script.

use crate::display::{escaped, grouped, human_duration, shortened};
use crate::domain::outcome::{ChangeKind, REJECTED};
use crate::domain::report_data::{LatencyBucket, ReportData};
use crate::domain::run::{RunReport, Status};
use crate::report::chart::{self, BAD, Below, Histogram, LIMIT, Line, MAIN, number};
use crate::report::course::Course;
use crate::report::{
    Hint, count_lines, emails_per_second, fields_line, hints, milliseconds, other_email_line,
    outages_line, requests_line, statuses_line,
};
use askama::Template;

/// What the template shows. Text from outside has no control characters here, and the template
/// escapes it for HTML.
#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    status: &'static str,
    exit_code: Option<u8>,
    title: String,
    sentence: String,
    facts: Vec<Fact>,
    warnings: Vec<String>,
    hints: Vec<Hint>,
    /// Those of planned emails, for the bar.
    outcomes: Vec<Count>,
    /// Those of rows.
    rows: Vec<Count>,
    /// How the source was read.
    notes: Vec<String>,
    changes: Vec<Count>,
    charts: Vec<Chart>,
    failures: Vec<Failure>,
    requests: Vec<Fact>,
    rejects_title: String,
    rejects: Vec<RejectRow>,
    runs_title: String,
    runs: Vec<RunRow>,
    version: &'static str,
}

/// A name with a text.
struct Fact {
    name: &'static str,
    text: String,
}

#[derive(Clone)]
struct Count {
    /// As in the JSON.
    name: String,
    label: String,
    /// What the number counts; empty where the label says it.
    meaning: &'static str,
    count: u64,
    text: String,
    /// Of all planned emails.
    share: String,
}

struct Chart {
    title: &'static str,
    lines: Vec<Legend>,
    svg: String,
}

/// What a color means in a chart.
struct Legend {
    class: &'static str,
    text: &'static str,
}

struct Failure {
    /// As in the JSON.
    code: String,
    count: String,
    kind: String,
    last_reason: String,
}

struct RejectRow {
    row: String,
    input: String,
    code: String,
    reason: String,
}

struct RunRow {
    id: i64,
    is_this: bool,
    started: String,
    status: &'static str,
    found: String,
    missing: String,
    changes: String,
    failures: String,
    time: String,
    /// Of the longest time.
    time_percent: String,
}

/// The run as one HTML page.
pub fn render(run: &RunReport, data: &ReportData) -> String {
    let page = Page {
        status: run.status.name(),
        exit_code: run.exit_code,
        title: format!("{} {}", name(run), run.status.name()),
        sentence: sentence(run),
        facts: facts(run),
        warnings: run.warnings.iter().map(|warning| escaped(warning).into_owned()).collect(),
        hints: hints(run),
        outcomes: counts(run, 2),
        rows: [counts(run, 0), counts(run, 1)].concat(),
        notes: run.notes.iter().map(|note| escaped(note).into_owned()).collect(),
        changes: changes(run),
        charts: charts(data),
        failures: failures(run),
        requests: requests(run),
        rejects_title: rejects_title(run, data),
        rejects: rejects(data),
        runs_title: match data.runs.len() {
            1 => "The first run of this source".to_owned(),
            runs => format!("The last {runs} runs of this source"),
        },
        runs: run_rows(run, data),
        version: env!("CARGO_PKG_VERSION"),
    };
    page.render().expect("a String takes any text")
}

fn name(run: &RunReport) -> String {
    if run.run_id > 0 { format!("Run {}", run.run_id) } else { "The run".to_owned() }
}

/// What happened, with the cause, in one sentence.
fn sentence(run: &RunReport) -> String {
    let counts = &run.counts;
    let of_planned =
        |part: u64| format!("{} of {} planned emails", grouped(part), grouped(counts.planned));
    let reason = run.stop_reason.as_deref().map(|reason| escaped(reason.trim_end_matches('.')));
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let name = name(run);
    match run.status {
        Status::Running => {
            format!("{name} is running: {} are settled.", of_planned(counts.settled()))
        }
        Status::Complete if counts.planned == 0 => {
            format!("{name} is complete: there was nothing to look up.")
        }
        Status::Complete => {
            format!("{name} is complete: every planned email was found or not found.")
        }
        Status::Partial => {
            format!(
                "{name} is finished, but {} were rejected or failed.",
                of_planned(counts.unanswered())
            )
        }
        Status::Stopped => {
            format!("{name} stopped{reason}; {} are pending.", of_planned(counts.pending))
        }
        Status::Failed => format!("{name} failed{reason}."),
    }
}

fn facts(run: &RunReport) -> Vec<Fact> {
    let mut facts = vec![
        Fact { name: "Source", text: escaped(&run.source).into_owned() },
        Fact { name: "Started", text: time_of(&run.started_at) },
    ];
    let mut add = |name, text: Option<String>| {
        facts.extend(text.map(|text| Fact { name, text }));
    };
    add("Ended", run.finished_at.as_deref().map(time_of));
    add("Duration", Some(human_duration(run.seconds)));
    add("Speed", emails_per_second(run).map(|speed| format!("{} emails/s", chart::short(speed))));
    facts
}

/// `2026-11-25 08:20:22 UTC`.
fn time_of(at: &str) -> String {
    let seconds = at.get(..19).unwrap_or(at);
    format!("{} UTC", seconds.replace('T', " "))
}

/// The counts at one depth.
fn counts(run: &RunReport, depth: usize) -> Vec<Count> {
    let lines = count_lines(&run.counts).into_iter().filter(|(at, _, _)| *at == depth);
    lines.map(|(_, label, count)| count_of(label, count, run.counts.planned)).collect()
}

fn count_of(label: &str, count: u64, planned: u64) -> Count {
    let percent = 100.0 * number(count) / number(planned.max(1));
    let share = match percent {
        _ if count == 0 => "0%".to_owned(),
        percent if percent < 0.1 => "under 0.1%".to_owned(),
        percent if percent < 10.0 => format!("{percent:.1}%"),
        percent => format!("{percent:.0}%"),
    };
    let meaning = match label {
        "rows" => "read from the source",
        "invalid" => "not an email address",
        "duplicate" => "the same email again",
        "fresh" => "answered recently (--max-age)",
        "planned" => "to look up in this run",
        _ => "",
    };
    let name = label.replace(' ', "_");
    Count { name, label: label.to_owned(), meaning, count, text: grouped(count), share }
}

fn changes(run: &RunReport) -> Vec<Count> {
    let kinds = ChangeKind::ALL.into_iter().filter(|kind| run.changes.get(*kind) > 0);
    kinds.map(|kind| count_of(&kind.name().replace('_', " "), run.changes.get(kind), 0)).collect()
}

fn failures(run: &RunReport) -> Vec<Failure> {
    let failures = run.failures.iter().map(|failure| Failure {
        code: escaped(&failure.code).into_owned(),
        count: grouped(failure.count),
        kind: match failure.code.as_str() {
            REJECTED => "rejected by the API".to_owned(),
            code => code.replace('_', " "),
        },
        last_reason: escaped(&failure.last_reason).into_owned(),
    });
    failures.collect()
}

fn requests(run: &RunReport) -> Vec<Fact> {
    let statuses = Some(statuses_line(run)).filter(|statuses| !statuses.is_empty());
    let facts = [
        ("Requests", Some(requests_line(run))),
        ("Statuses", statuses),
        ("Outages", outages_line(run)),
        ("Fields", fields_line(run)),
        ("Addresses", other_email_line(run)),
    ];
    facts.into_iter().filter_map(|(name, text)| Some(Fact { name, text: text? })).collect()
}

fn rejects_title(run: &RunReport, data: &ReportData) -> String {
    let all = run.counts.invalid + run.counts.unanswered();
    let shown = data.rejects.len();
    if u64::try_from(shown).is_ok_and(|shown| shown < all) {
        format!("The first {shown} of {} rejects", grouped(all))
    } else {
        "Rejects".to_owned()
    }
}

fn rejects(data: &ReportData) -> Vec<RejectRow> {
    let rejects = data.rejects.iter().map(|reject| RejectRow {
        row: grouped(reject.row),
        input: shortened(&reject.input),
        code: escaped(&reject.code).into_owned(),
        reason: shortened(&reject.reason),
    });
    rejects.collect()
}

fn run_rows(this: &RunReport, data: &ReportData) -> Vec<RunRow> {
    // The file is written while the store still knows an earlier state of this run.
    let of = |run: &RunReport| if run.run_id == this.run_id { this.clone() } else { run.clone() };
    let runs: Vec<RunReport> = data.runs.iter().map(of).collect();
    let longest = runs.iter().map(|run| run.seconds).fold(0.0, f64::max);
    runs.iter().map(|run| run_row(run, this.run_id, longest)).collect()
}

fn run_row(run: &RunReport, this: i64, longest: f64) -> RunRow {
    let changes = ChangeKind::ALL.into_iter().filter(|kind| *kind != ChangeKind::Missing);
    let share = if longest > 0.0 { run.seconds / longest } else { 0.0 };
    RunRow {
        id: run.run_id,
        is_this: run.run_id == this,
        started: run.started_at.get(..16).unwrap_or(&run.started_at).replace('T', " "),
        status: run.status.name(),
        found: grouped(run.counts.found),
        missing: grouped(run.changes.get(ChangeKind::Missing)),
        changes: grouped(changes.map(|kind| run.changes.get(kind)).sum()),
        failures: grouped(run.counts.unanswered()),
        time: human_duration(run.seconds),
        time_percent: format!("{:.0}", 100.0 * share),
    }
}

fn charts(data: &ReportData) -> Vec<Chart> {
    let course = Course::new(&data.series);
    let speed = Line { color: MAIN, points: course.speed(), below: Below::Tint };
    let rate = Line { color: LIMIT, points: course.rate_limit(), below: Below::Nothing };
    let has_rate = !rate.points.is_empty();
    let concurrency =
        Line { color: LIMIT, points: course.concurrency_limit(), below: Below::Nothing };
    let failures = Line { color: BAD, points: course.failures(), below: Below::Tint };
    let legend = |class, text| Legend { class, text };
    let mut speed_lines = vec![legend("main", "settled")];
    if has_rate {
        speed_lines.push(legend("limit", "rate limit (requests per second)"));
    }
    let chart = |title, lines, svg: Option<String>| svg.map(|svg| Chart { title, lines, svg });
    let charts = [
        chart("Emails per second", speed_lines, chart::lines(&[speed, rate])),
        chart(
            "Lookups in flight",
            vec![legend("limit", "concurrency limit")],
            chart::lines(&[concurrency]),
        ),
        chart(
            "Failures",
            vec![legend("bad", "emails rejected or failed so far")],
            chart::lines(&[failures]),
        ),
        chart(
            "Response times",
            vec![legend("main", "responses by latency")],
            chart::bars(&histogram(&data.latencies)),
        ),
    ];
    charts.into_iter().flatten().collect()
}

fn histogram(buckets: &[LatencyBucket]) -> Histogram {
    let first = buckets.first().map(|bucket| bucket.above_ms);
    let edges = first.into_iter().chain(buckets.iter().map(|bucket| bucket.up_to_ms));
    Histogram {
        edges: edges.map(milliseconds).collect(),
        counts: buckets.iter().map(|bucket| bucket.responses).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::report_data::{LatencyBucket, Point, Reject};
    use crate::report::tests::sample;

    fn data() -> ReportData {
        let point = |second: u64| Point {
            second,
            settled: second * 110,
            failed: second,
            concurrency: Some(8 + u32::try_from(second).expect("a second")),
            rate: Some(120.0),
        };
        let reject = Reject {
            row: 12,
            input: "<em>bold</em>\u{1b}[31m".into(),
            code: "no_at".into(),
            reason: "no @".into(),
        };
        ReportData {
            runs: vec![sample(), sample()],
            series: (0..60).map(point).collect(),
            latencies: vec![
                LatencyBucket { above_ms: 16.0 / 2.0, up_to_ms: 16.0, responses: 10 },
                LatencyBucket { above_ms: 32.0 / 2.0, up_to_ms: 32.0, responses: 4 },
            ],
            rejects: vec![reject],
            ..ReportData::default()
        }
    }

    #[test]
    fn the_page_shows_the_run_and_its_surroundings() {
        let page = render(&sample(), &data());
        for text in [
            "Run 7 stopped: ",
            "data-count=\"not_found\">1,000<",
            "data-change=\"created\">9,000<",
            "<td class=\"n\">99</td><td>connection lost</td><td>reset by peer</td>",
            "The first 1 of 295 rejects",
            "sync --resume=7",
            "The last 2 runs",
            "data-exit-code=\"130\"",
        ] {
            assert!(page.contains(text), "no {text} in\n{page}");
        }
        assert_eq!(page.matches("<svg ").count(), 4);
    }

    #[test]
    fn nothing_from_outside_is_markup() {
        let mut run = sample();
        run.source = "<script>alert('x')</script>&\"".into();
        run.warnings.push("<img src=x>".into());
        let page = render(&run, &data());
        for markup in ["<script>", "<img", "<em>", "\u{1b}"] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(page.contains("&#60;em&#62;bold&#60;/em&#62;\\u{1b}[31m"), "{page}");
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = render(&sample(), &data());
        for link in ["http:", "https:", "url(", "@import", "src="] {
            let links = page.matches(link).count();
            let names = page.matches("xmlns=\"http:").count();
            assert!(links == 0 || (link == "http:" && links == names), "{link}");
        }
    }

    #[test]
    fn each_status_has_its_sentence() {
        let sentence_of = |status| {
            let mut run = sample();
            run.status = status;
            sentence(&run)
        };
        assert_eq!(
            sentence_of(Status::Running),
            "Run 7 is running: 11,100 of 11,900 planned emails are settled."
        );
        assert_eq!(
            sentence_of(Status::Complete),
            "Run 7 is complete: every planned email was found or not found."
        );
        assert_eq!(
            sentence_of(Status::Partial),
            "Run 7 is finished, but 100 of 11,900 planned emails were rejected or failed."
        );
        assert!(
            sentence_of(Status::Stopped).ends_with("; 800 of 11,900 planned emails are pending.")
        );
        assert!(sentence_of(Status::Failed).starts_with("Run 7 failed: "));
    }
}
