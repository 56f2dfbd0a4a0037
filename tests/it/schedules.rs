//! Whatever goes wrong for a while, the store ends as if nothing had, and nobody is asked more
//! often than allowed.
//!
//! `SCHEDULES` says how many schedules of faults are tried, `SEED` which, `FIRST` from which on: a
//! failed one is played alone by its number as `FIRST` and the next as `SCHEDULES`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use telemetron_sync::sandbox::{
    self, Fault, FaultPlan, FaultShare, Outage, Sandbox, SandboxSettings, When,
};

use crate::support::api::emails;
use crate::support::command::Finished;
use crate::support::content::{Content, assert_same_rows};
use crate::support::dir::TestDir;
use crate::support::random::{count, rng};

/// Schedules that are played at the same time: most of their time is waiting.
const AT_ONCE: usize = 8;

/// Below the hundred from which the failure limit judges.
const EMAILS: usize = 50;

/// Faults end at the third attempt of an email; what is more is for a machine so slow that good
/// answers come too late, and for a port that is closed.
const MAX_ATTEMPTS: usize = 10;

/// Passing faults that cost no pause for all.
const PASSING: [Fault; 12] = [
    Fault::Status(500),
    Fault::Status(502),
    Fault::Status(503),
    Fault::Timeout,
    Fault::Reset,
    Fault::ResetMidway,
    Fault::Truncated,
    Fault::Slow,
    Fault::NotJson,
    Fault::Null,
    Fault::CutJson,
    Fault::Status(404),
];

/// Faults that pause the whole run for a second each.
const PAUSING: [Fault; 2] = [Fault::StatusRetryAfter(503), Fault::StatusRetryAfter(429)];

/// Faults that asking again does not cure, as far as anybody can tell: `--retry-failed` does.
const LASTING: [Fault; 5] =
    [Fault::WrongTypes, Fault::Huge, Fault::GzipBomb, Fault::Status(302), Fault::Status(307)];

struct Schedule {
    seed: u64,
    faults: FaultPlan,
    outages: Vec<Outage>,
    /// Whether some emails fail at first.
    lasts: bool,
    /// Whether customers are known before, and have changed since.
    updates: bool,
}

fn draw(number: u64) -> Schedule {
    let mut chance = rng(number);
    let mut shares = Vec::new();
    for _ in 0..chance.usize(1..5) {
        let fault = chance.choice(PASSING).expect("a fault");
        shares.push(FaultShare { fault, share: 0.03 + 0.1 * chance.f64() });
    }
    if number.is_multiple_of(4) {
        let fault = chance.choice(PAUSING).expect("a fault");
        shares.push(FaultShare { fault, share: 0.04 });
    }
    let lasts = number % 4 == 1;
    if lasts {
        let fault = chance.choice(LASTING).expect("a fault");
        shares.push(FaultShare { fault, share: 0.1 });
    }
    let outage = (number % 4 == 2).then(|| Outage {
        begin: When::Request(chance.u64(1..60)),
        length: Duration::from_millis(chance.u64(5..60)),
    });
    let outages = outage.into_iter().collect();
    let faults = FaultPlan { shares, until_attempt: chance.u32(1..4), permanent: Vec::new() };
    Schedule { seed: chance.u64(..), faults, outages, lasts, updates: chance.bool() }
}

fn start_sandbox(seed: u64, faults: FaultPlan, outages: Vec<Outage>) -> Sandbox {
    let (latency, jitter) = (Duration::ZERO, Duration::from_millis(2));
    let settings = SandboxSettings { seed, faults, outages, latency, jitter, ..Default::default() };
    sandbox::start(settings).expect("a sandbox")
}

/// How often each email was asked, 429s aside, by what was printed at `-vv`.
fn attempts(ended: &Finished) -> HashMap<&str, usize> {
    let mut attempts = HashMap::new();
    for line in ended.stderr.lines() {
        // `TIME EMAIL HTTP 200 in 3 ms`.
        let Some(email) = line.split(' ').nth(1).filter(|_| line.ends_with(" ms")) else {
            continue;
        };
        // Canaries count as checks.
        if email == "check:" {
            continue;
        }
        *attempts.entry(email).or_default() += usize::from(!line.contains(" HTTP 429 "));
    }
    attempts
}

/// Plays one schedule. How many requests it took.
fn play(number: u64) -> u64 {
    let Schedule { seed, faults, outages, lasts, updates } = draw(number);
    let schedule = format!("schedule {number}: {faults:?} {outages:?}");
    let good = start_sandbox(seed, FaultPlan::default(), Vec::new());
    let (spared, struck) = (TestDir::new(), TestDir::new());
    for dir in [&spared, &struck] {
        dir.emails(emails(EMAILS));
    }
    let bad = start_sandbox(seed, faults, outages);
    if updates {
        spared.sync(good.url()).run().exits(0);
        std::fs::copy(spared.path("s.db"), struck.path("s.db")).expect("a copy of the store");
        for sandbox in [&good, &bad] {
            sandbox.set_revision(9);
        }
    }
    spared.sync(good.url()).run().exits(0);
    let most = MAX_ATTEMPTS.to_string();
    // What takes longer than this is reported as a stop, not seen as a test that waits.
    let patience = ["--timeout", "1s", "--outage-wait", "30s", "--deadline", "50s"];
    let patience =
        [&patience[..], &["--max-attempts", &most, "--fail-above", "100%", "-vv"]].concat();
    let patience = || patience.iter().copied();
    let ended = struck.sync(bad.url()).args(patience()).run();
    assert_eq!(attempts(&ended).len(), EMAILS, "{schedule}");
    check(&schedule, &ended, if lasts { &[0, 3] } else { &[0] });
    if lasts {
        // An email may meet such a fault at each of three attempts, and another one between.
        for _ in 0..4 {
            let again = struck.sync_of(bad.url(), ["--retry-failed"]).args(patience()).run();
            check(&schedule, &again, &[0, 3]);
        }
        struck.has_rows("SELECT count(*) FROM lookups WHERE outcome = 'failed'", ["0"]);
    }
    let (ours, whole) = (Content::of(&struck), Content::of(&spared));
    println!("{schedule}");
    if std::env::var_os("FIRST").is_some() {
        println!("{}", ended.stderr);
    }
    assert_same_rows(&ours.known, &whole.known);
    let rows =
        |held: &Content| -> Vec<String> { held.history.values().flatten().cloned().collect() };
    assert_same_rows(&rows(&ours), &rows(&whole));
    if !lasts {
        assert_same_rows(&ours.state, &whole.state);
    }
    struck.has_rows("PRAGMA integrity_check", ["ok"]);
    bad.requests()
}

#[track_caller]
fn check(schedule: &str, ended: &Finished, codes: &[i32]) {
    let stderr = &ended.stderr;
    assert!(ended.code.is_some_and(|code| codes.contains(&code)), "{schedule}\n{ended:?}");
    for (email, times) in attempts(ended) {
        assert!(times <= MAX_ATTEMPTS, "{schedule}: {email} asked {times} times\n{stderr}");
    }
}

#[test]
fn faults_that_end_leave_no_trace() {
    let schedules = count("SCHEDULES", 50);
    let (next, requests) = (AtomicU64::new(count("FIRST", 0)), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= schedules {
                        return;
                    }
                    requests.fetch_add(play(number), Ordering::Relaxed);
                }
            });
        }
    });
    println!(
        "figure: {schedules} schedules of {EMAILS} emails, {} requests",
        requests.load(Ordering::Relaxed)
    );
}
