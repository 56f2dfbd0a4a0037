//! What the limits must reach, as scenarios in simulated time: the files of `tests/scenarios`.
//!
//! Pure but for reading these files: no clock, and chance is seeded.

mod run;
mod server;

use run::{Figures, Measured};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// A file of `tests/scenarios`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    seed: u64,
    /// The ceiling.
    concurrency: usize,
    /// `--rate`.
    rate: Option<f64>,
    /// The plan's size; as many as are asked for, if not given.
    emails: Option<usize>,
    phase: Vec<Phase>,
    #[serde(default)]
    expect: RunExpected,
}

/// How the API is for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phase {
    seconds: f64,
    /// Nothing is judged before so many seconds of the phase.
    #[serde(default)]
    settle: f64,
    latency_ms: f64,
    /// The mean of what is added by chance, exponentially distributed.
    #[serde(default)]
    jitter_ms: f64,
    /// So many are worked on at once, the others queue.
    knee: Option<usize>,
    /// Beyond so many in flight, the rest is refused.
    room: Option<usize>,
    #[serde(default)]
    refusal: Refusal,
    /// So many a second are let through, and twice a tenth of it at once; 429 for the rest.
    per_second: Option<f64>,
    retry_after: Option<u64>,
    /// The share of emails that fail for ever.
    #[serde(default)]
    failing: f64,
    /// The share of requests that are refused whatever the load.
    #[serde(default)]
    refused: f64,
    /// Answers a second at the best fixed limit.
    best: Option<f64>,
    #[serde(default)]
    expect: PhaseExpected,
}

/// How a request is refused that finds no room.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Refusal {
    #[default]
    Unavailable,
    Dropped,
    /// No answer for so many seconds.
    Timeout(f64),
}

/// Ranges, both ends included.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseExpected {
    limit: Option<[f64; 2]>,
    /// The greatest limit.
    peak: Option<[f64; 2]>,
    pace: Option<[f64; 2]>,
    used: Option<[f64; 2]>,
    wasted: Option<[f64; 2]>,
    requests: Option<[f64; 2]>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunExpected {
    stop: Option<String>,
    settled: Option<usize>,
    failed: Option<usize>,
    seconds: Option<[f64; 2]>,
    requests_per_email: Option<[f64; 2]>,
    /// Whether the last healthy email is answered before the last request is made.
    healthy_first: Option<bool>,
}

fn within(what: &str, measured: f64, expected: Option<[f64; 2]>) -> Option<String> {
    let [least, most] = expected?;
    let fits = (least..=most).contains(&measured);
    (!fits).then(|| format!("{what} is {measured:.3}, not within {least} and {most}"))
}

fn judge_phase(at: usize, phase: &Phase, figures: &Figures) -> Vec<String> {
    let expect = &phase.expect;
    let what = |what: &str| format!("phase {at}: {what}");
    let checks = [
        within(&what("the least limit"), figures.limit[0], expect.limit),
        within(&what("the greatest limit"), figures.limit[1], expect.limit),
        within(&what("the peak"), figures.limit[1], expect.peak),
        within(&what("the least pace"), figures.pace[0], expect.pace),
        within(&what("the greatest pace"), figures.pace[1], expect.pace),
        within(&what("the share used"), figures.used(phase), expect.used),
        within(&what("the share wasted"), figures.wasted(), expect.wasted),
        within(&what("requests"), f64::from(figures.requests), expect.requests),
    ];
    checks.into_iter().flatten().collect()
}

fn judge_run(expect: &RunExpected, run: &Measured) -> Vec<String> {
    let per_email = run.requests as f64 / run.settled.max(1) as f64;
    let mut wrong: Vec<String> = [
        within("seconds", run.seconds, expect.seconds),
        within("requests per email", per_email, expect.requests_per_email),
    ]
    .into_iter()
    .flatten()
    .collect();
    if run.stop != expect.stop {
        wrong.push(format!("the stop is {:?}", run.stop));
    }
    if expect.settled.is_some_and(|settled| settled != run.settled) {
        wrong.push(format!("{} are settled", run.settled));
    }
    if expect.failed.is_some_and(|failed| failed != run.failed) {
        wrong.push(format!("{} failed", run.failed));
    }
    if expect.healthy_first.is_some_and(|first| first != (run.last_found < run.last_request)) {
        wrong.push(format!("found until {}, asked until {}", run.last_found, run.last_request));
    }
    wrong
}

fn play(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let scenario: Scenario = toml::from_str(&text).unwrap();
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let run = run::run(&scenario);
    let mut wrong = judge_run(&scenario.expect, &run);
    for (at, (phase, figures)) in scenario.phase.iter().zip(&run.phases).enumerate() {
        println!("{name} {at}: {}", figures.line(phase));
        wrong.extend(judge_phase(at, phase, figures));
    }
    println!("{name}: {run}");
    wrong.into_iter().map(|wrong| format!("{name}: {wrong}")).collect()
}

#[test]
fn every_scenario_stays_within_its_ranges() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    let wrong: Vec<String> = files.iter().flat_map(|path| play(path)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
