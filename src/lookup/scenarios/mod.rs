//! What the lookups must reach, as scenarios in simulated time: the files of `tests/scenarios`.
//! Each is played with several seeds, and its ranges hold for all of them.
//!
//! Pure but for reading these files: no clock, and randomness is seeded.

mod run;
mod server;

use crate::domain::outcome::Outcome;
use crate::lookup::settings::LearnedLimits;
use crate::lookup::simulation::Run;
use run::{Figures, Played};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// A file of `tests/scenarios`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// `--concurrency`.
    concurrency: usize,
    /// `--rate`.
    rate: Option<f64>,
    /// What the last run learned.
    learned: Option<Learned>,
    /// The plan's size; endless, if not given.
    emails: Option<usize>,
    /// Emails of earlier runs that got an answer.
    #[serde(default)]
    answered_earlier: Vec<usize>,
    /// So many runs over the same emails, each with what the one before learned and got answers for.
    #[serde(default = "one")]
    runs: usize,
    /// Played once for each; else with the latency of its phases.
    #[serde(default)]
    latencies_ms: Vec<f64>,
    phase: Vec<Phase>,
    #[serde(default)]
    expect: RunExpected,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Learned {
    concurrency: usize,
    rate: Option<f64>,
}

/// A part of the plan's emails.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    share: f64,
    place: Place,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    Head,
    Tail,
    Spread,
}

impl Part {
    fn contains(&self, number: usize, emails: Option<usize>) -> bool {
        let of = emails.unwrap_or(usize::MAX) as f64;
        match self.place {
            Place::Head => (number as f64) < self.share * of,
            Place::Tail => number as f64 >= (1.0 - self.share) * of,
            // Multiplying by a prime number mixes the last two digits.
            Place::Spread => ((number * 37 % 100) as f64) < self.share * 100.0,
        }
    }
}

/// How the API is for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phase {
    seconds: f64,
    /// Nothing is judged before so many seconds of the phase.
    #[serde(default)]
    settle: f64,
    /// Refusals are not judged before so many seconds of the phase; if not given, `settle`.
    wasted_from: Option<f64>,
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
    /// So many a second are let through, and `burst` seconds' worth at once; 429 for the rest.
    per_second: Option<f64>,
    #[serde(default = "usual_burst")]
    burst: f64,
    retry_after: Option<u64>,
    /// The emails that always fail with 500.
    always_failing: Option<Part>,
    /// The emails that are always refused with 403.
    always_refused: Option<Part>,
    /// What every request gets, whoever it is about.
    #[serde(default)]
    all: AllGet,
    /// The share of requests that are refused whatever the load.
    #[serde(default)]
    refused: f64,
    /// Answers a second at the best fixed limit.
    best: Option<f64>,
    #[serde(default)]
    expect: PhaseExpected,
}

fn one() -> usize {
    1
}

fn usual_burst() -> f64 {
    0.2
}

/// What every request gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AllGet {
    /// What the rest of the phase says.
    #[default]
    Answers,
    /// 500.
    Errors,
    /// No connection.
    NoConnection,
    /// A connection, and no response.
    Silence,
    /// 401.
    Refusals,
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
    rate: Option<[f64; 2]>,
    used: Option<[f64; 2]>,
    wasted: Option<[f64; 2]>,
    requests: Option<[f64; 2]>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunExpected {
    stop: Option<String>,
    settled: Option<[f64; 2]>,
    failed: Option<[f64; 2]>,
    checks: Option<[f64; 2]>,
    outages: Option<[f64; 2]>,
    seconds: Option<[f64; 2]>,
    requests_per_email: Option<[f64; 2]>,
    /// Emails answered in all, per second of the run, as a share of this many.
    speed: Option<Speed>,
    /// Whether the last healthy email is answered before the last request is made.
    healthy_first: Option<bool>,
}

/// Answers per second by Little's law, and the share of it that must be reached.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Speed {
    share: [f64; 2],
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
        within(&what("the lowest rate"), figures.rate[0], expect.rate),
        within(&what("the highest rate"), figures.rate[1], expect.rate),
        within(&what("the share used"), figures.used(phase), expect.used),
        within(&what("the share wasted"), figures.wasted(), expect.wasted),
        within(&what("requests"), f64::from(figures.requests), expect.requests),
    ];
    checks.into_iter().flatten().collect()
}

fn judge_run(scenario: &Scenario, variant: Variant, played: &Played) -> Vec<String> {
    let (expect, run) = (&scenario.expect, &played.run);
    let settled = run.settled.len() as f64;
    let per_email = run.requests.len() as f64 / settled.max(1.0);
    let seconds = run.time.as_secs_f64();
    let latency = variant.latency_ms.unwrap_or(scenario.phase[0].latency_ms) / 1000.0;
    let little = scenario.concurrency as f64 / latency;
    let outages = run.scheduler.status(crate::time::instant()).outages.count as f64;
    let mut wrong: Vec<String> = [
        within("seconds", seconds, expect.seconds),
        within("requests per email", per_email, expect.requests_per_email),
        within("settled", settled, expect.settled),
        within("failed", run.failed() as f64, expect.failed),
        within("checks", run.checks() as f64, expect.checks),
        within("outages", outages, expect.outages),
        within("speed", settled / seconds / little, expect.speed.as_ref().map(|one| one.share)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let stop = run.stop().map(ToString::to_string);
    if stop != expect.stop {
        wrong.push(format!("the stop is {stop:?}"));
    }
    let last_request = run.requests.last().map(|one| one.at);
    if expect.healthy_first.is_some_and(|first| first != (Some(run.last_found) < last_request)) {
        wrong.push(format!("found until {:?}, asked until {last_request:?}", run.last_found));
    }
    wrong
}

/// How a scenario is played.
#[derive(Clone, Copy, Debug)]
struct Variant {
    seed: u64,
    latency_ms: Option<f64>,
}

const SEEDS: u64 = 3;

/// What a run knows from those before it.
struct Before {
    learned: Option<LearnedLimits>,
    answered: Vec<usize>,
}

impl Before {
    fn of(scenario: &Scenario) -> Self {
        let learned = scenario
            .learned
            .map(|Learned { concurrency, rate }| LearnedLimits { concurrency, rate });
        Self { learned, answered: scenario.answered_earlier.clone() }
    }

    fn the_next(run: &Run) -> Self {
        let answered = run.settled.iter().rev();
        let answered = answered.filter(|one| !matches!(one.outcome, Outcome::Failed { .. }));
        let answered = answered.take(3).map(|one| one.planned.key as usize).collect();
        Self { learned: Some(run.scheduler.learned()), answered }
    }
}

fn variants(scenario: &Scenario) -> Vec<Variant> {
    let latencies: Vec<Option<f64>> = match scenario.latencies_ms.is_empty() {
        true => vec![None],
        false => scenario.latencies_ms.iter().copied().map(Some).collect(),
    };
    let seeds = latencies
        .into_iter()
        .flat_map(|latency_ms| (1..=SEEDS).map(move |seed| Variant { seed, latency_ms }));
    seeds.collect()
}

fn play(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let scenario: Scenario = toml::from_str(&text).unwrap();
    let file = path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut wrong = Vec::new();
    for variant in variants(&scenario) {
        let name = match variant.latency_ms {
            Some(latency) => format!("{file}, {latency} ms, seed {}", variant.seed),
            None => format!("{file}, seed {}", variant.seed),
        };
        let mut before = Before::of(&scenario);
        for nth in 1..=scenario.runs {
            let name = format!("{name}, run {nth}");
            let played = run::play(&scenario, variant, &before);
            for (at, (phase, figures)) in scenario.phase.iter().zip(&played.phases).enumerate() {
                println!("{name} {at}: {}", figures.line(phase));
                let judged = judge_phase(at, phase, figures);
                wrong.extend(judged.into_iter().map(|wrong| format!("{name}: {wrong}")));
            }
            println!("{name}: {played}");
            let judged = judge_run(&scenario, variant, &played);
            wrong.extend(judged.into_iter().map(|wrong| format!("{name}: {wrong}")));
            before = Before::the_next(&played.run);
        }
    }
    wrong
}

#[test]
fn every_scenario_stays_within_its_ranges() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    if let Ok(one) = std::env::var("SCENARIO") {
        files.retain(|path| path.to_string_lossy().contains(&one));
    }
    let wrong: Vec<String> = files.iter().flat_map(|path| play(path)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
