//! A report for a browser: one page that loads nothing from elsewhere.

use crate::display::{counted, escaped, grouped, human_duration};
use crate::domain::outcome::ChangeKind;
use crate::domain::report_data::{Point, ReportData};
use crate::domain::run::{RunReport, Status};
use crate::report::chart::{self, BAD, LIMIT, Line, MAIN};
use crate::report::{
    count_lines, emails_per_second, failure_lines, headline, hints, requests_line, statuses_line,
};
use askama::Template;
use jiff::Timestamp;

/// What the template shows. Text from outside has no control characters here, and the template
/// escapes it for HTML.
#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    title: String,
    sentence: String,
    facts: String,
    warnings: Vec<String>,
    hints: Vec<String>,
    bar_label: String,
    bar: Vec<Count>,
    counts: Vec<Count>,
    changes: Vec<Count>,
    charts: Vec<Chart>,
    failures: Vec<String>,
    requests: String,
    statuses: String,
    rejects_title: String,
    rejects: Vec<RejectRow>,
    runs: Vec<RunRow>,
    version: &'static str,
}

struct Count {
    depth: usize,
    /// As in the JSON.
    name: String,
    label: String,
    count: u64,
    number: String,
}

struct Chart {
    caption: &'static str,
    svg: String,
}

struct RejectRow {
    row: String,
    input: String,
    code: String,
    reason: String,
}

struct RunRow {
    id: i64,
    started: String,
    status: &'static str,
    found: String,
    missing: String,
    changes: String,
    failures: String,
    time: String,
}

/// The run as one HTML page.
pub fn render(run: &RunReport, data: &ReportData) -> String {
    let counts = count_lines(&run.counts).map(|(depth, label, count)| Count {
        depth,
        name: label.replace(' ', "_"),
        label: label.to_owned(),
        count,
        number: grouped(count),
    });
    let page = Page {
        title: headline(run),
        sentence: sentence(run),
        facts: facts(run),
        warnings: run.warnings.iter().map(|warning| escaped(warning).into_owned()).collect(),
        hints: hints(run),
        bar_label: format!(
            "{} of {} planned emails settled",
            run.counts.settled(),
            run.counts.planned
        ),
        bar: counts
            .iter()
            .filter(|count| count.depth == 2 && count.count > 0)
            .map(Count::copy)
            .collect(),
        counts: counts.into(),
        changes: changes(run),
        charts: charts(data),
        failures: failure_lines(run),
        requests: requests_line(run),
        statuses: statuses_line(run),
        rejects_title: rejects_title(run, data),
        rejects: rejects(data),
        runs: data.runs.iter().map(run_row).collect(),
        version: env!("CARGO_PKG_VERSION"),
    };
    page.render().expect("a String takes any text")
}

impl Count {
    fn copy(&self) -> Self {
        let Self { depth, name, label, count, number } = self;
        Self {
            depth: *depth,
            name: name.clone(),
            label: label.clone(),
            count: *count,
            number: number.clone(),
        }
    }
}

/// What happened, with the cause, in one sentence.
fn sentence(run: &RunReport) -> String {
    let counts = &run.counts;
    let planned = counted(counts.planned, "planned email");
    let reason = run.stop_reason.as_deref().map(|reason| escaped(reason.trim_end_matches('.')));
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let name = if run.run_id > 0 { format!("Run {}", run.run_id) } else { "The run".to_owned() };
    match run.status {
        Status::Running => {
            format!("{name} is running: {} of {planned} settled.", grouped(counts.settled()))
        }
        Status::Complete if counts.planned == 0 => {
            format!("{name} is complete: there was nothing to look up.")
        }
        Status::Complete => format!("{name} is complete: {planned} answered."),
        Status::Partial => format!(
            "{name} is finished: {} of {planned} rejected or failed.",
            grouped(counts.unanswered())
        ),
        Status::Stopped => {
            format!("{name} stopped{reason}; {} of {planned} pending.", grouped(counts.pending))
        }
        Status::Failed => format!("{name} failed{reason}."),
    }
}

fn facts(run: &RunReport) -> String {
    let mut facts = vec![format!("Source: {}", escaped(&run.source))];
    facts.push(match &run.finished_at {
        Some(finished_at) => format!("{} to {finished_at}", run.started_at),
        None => format!("since {}", run.started_at),
    });
    facts.push(human_duration(run.seconds));
    facts.extend(emails_per_second(run).map(|speed| format!("{speed:.1} emails/s")));
    facts.extend(run.exit_code.map(|code| format!("exit code {code}")));
    facts.join(" · ")
}

fn changes(run: &RunReport) -> Vec<Count> {
    let kinds = ChangeKind::ALL.into_iter().filter(|kind| run.changes.get(*kind) > 0);
    let change = |kind: ChangeKind| Count {
        depth: 0,
        name: kind.name().to_owned(),
        label: kind.name().replace('_', " "),
        count: run.changes.get(kind),
        number: grouped(run.changes.get(kind)),
    };
    kinds.map(change).collect()
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
        input: crate::display::shortened(&reject.input),
        code: escaped(&reject.code).into_owned(),
        reason: crate::display::shortened(&reject.reason),
    });
    rejects.collect()
}

fn run_row(run: &RunReport) -> RunRow {
    let changes = ChangeKind::ALL.into_iter().filter(|kind| *kind != ChangeKind::Missing);
    RunRow {
        id: run.run_id,
        started: run.started_at.get(..16).unwrap_or(&run.started_at).replace('T', " "),
        status: run.status.name(),
        found: grouped(run.counts.found),
        missing: grouped(run.changes.get(ChangeKind::Missing)),
        changes: grouped(changes.map(|kind| run.changes.get(kind)).sum()),
        failures: grouped(run.counts.unanswered()),
        time: human_duration(run.seconds),
    }
}

fn charts(data: &ReportData) -> Vec<Chart> {
    let course = Course::new(&data.series);
    let chart = |caption, svg: Option<String>| svg.map(|svg| Chart { caption, svg });
    let latencies: Vec<(String, u64)> =
        data.latencies.iter().map(|bucket| (human_ms(bucket.ms), bucket.responses)).collect();
    let charts = [
        chart("Emails settled per second (blue), and the rate limit (brown)", course.speed()),
        chart(
            "Limit of lookups in flight",
            course.line(LIMIT, |point| point.concurrency.map(f64::from)),
        ),
        chart(
            "Emails rejected or failed so far",
            course.line(BAD, |point| Some(point.failed as f64)),
        ),
        chart(
            "Responses by latency (each bar: up to the time at its right edge)",
            chart::bars(&latencies),
        ),
    ];
    charts.into_iter().flatten().collect()
}

fn human_ms(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.0} s", ms / 1000.0) }
}

/// The points of a run with their seconds since the first.
struct Course<'a>(Vec<(f64, &'a Point)>);

impl<'a> Course<'a> {
    fn new(series: &'a [Point]) -> Self {
        let seconds = |point: &Point| {
            let at: Option<Timestamp> = point.at.parse().ok();
            at.map(|at| at.as_millisecond() as f64 / 1000.0)
        };
        let start = series.first().and_then(seconds).unwrap_or(0.0);
        let points = series.iter().filter_map(|point| Some((seconds(point)? - start, point)));
        Self(points.collect())
    }

    fn line(
        &self,
        color: plotters::style::RGBColor,
        value: impl Fn(&Point) -> Option<f64>,
    ) -> Option<String> {
        let points = self.0.iter().filter_map(|(at, point)| Some((*at, value(point)?)));
        chart::lines(&[Line { color, points: points.collect() }])
    }

    fn speed(&self) -> Option<String> {
        let speeds = self.0.windows(2).filter_map(|pair| {
            let [(before, earlier), (after, later)] = pair else { return None };
            let settled = later.settled.saturating_sub(earlier.settled) as f64;
            let seconds = after - before;
            (seconds > 0.0).then(|| (*after, settled / seconds))
        });
        let speed = Line { color: MAIN, points: speeds.collect() };
        let limits = self.0.iter().filter_map(|(at, point)| Some((*at, point.rate?)));
        chart::lines(&[speed, Line { color: LIMIT, points: limits.collect() }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::report_data::{LatencyBucket, Reject};
    use crate::report::tests::sample;

    fn data() -> ReportData {
        let point = |second: u64| Point {
            at: format!("2026-11-23T10:00:{second:02}.000Z"),
            settled: second * 110,
            failed: second,
            concurrency: Some(8 + u32::try_from(second).expect("a second")),
            rate: Some(120.0),
        };
        let reject = Reject {
            row: 12,
            input: "<b>bold</b>\u{1b}[31m".into(),
            code: "no_at".into(),
            reason: "no @".into(),
        };
        ReportData {
            runs: vec![sample(), sample()],
            series: (0..60).map(point).collect(),
            latencies: vec![
                LatencyBucket { ms: 16.0, responses: 10 },
                LatencyBucket { ms: 32.0, responses: 4 },
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
            "emails failed: connection lost (last: reset by peer)",
            "The first 1 of 295 rejects",
            "sync --resume=7",
            "The last 2 runs",
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
        for markup in ["<script>", "<img", "<b>", "\u{1b}"] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(page.contains("&#60;b&#62;bold&#60;/b&#62;\\u{1b}[31m"), "{page}");
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
            "Run 7 is running: 11,100 of 11,900 planned emails settled."
        );
        assert_eq!(
            sentence_of(Status::Complete),
            "Run 7 is complete: 11,900 planned emails answered."
        );
        assert_eq!(
            sentence_of(Status::Partial),
            "Run 7 is finished: 100 of 11,900 planned emails rejected or failed."
        );
        assert!(sentence_of(Status::Stopped).ends_with("; 800 of 11,900 planned emails pending."));
        assert!(sentence_of(Status::Failed).starts_with("Run 7 failed: "));
    }
}
