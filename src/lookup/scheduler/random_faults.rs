//! Random schedules of faults that end: whatever they are, no email fails. More schedules than real
//! time allows, with longer waits.
//!
//! `SIMULATED` says how many schedules, `SEED` which.

use crate::domain::outcome::{Attempt, FailureCode, Outcome};
use crate::lookup::settings::Adapting;
use crate::lookup::simulation::{Request, Simulation, failing, found, settings};
use crate::lookup::step::RequestKind;
use fastrand::Rng;
use std::time::Duration;

/// Transient faults, with the status they come with.
const FAULTS: [(FailureCode, Option<u16>); 8] = [
    (FailureCode::Connect, None),
    (FailureCode::ConnectionLost, None),
    (FailureCode::Timeout, None),
    (FailureCode::IncompleteBody, Some(200)),
    (FailureCode::RateLimited, Some(429)),
    (FailureCode::Unavailable, Some(503)),
    (FailureCode::ServerError, Some(500)),
    (FailureCode::NoJson, Some(200)),
];

/// A server whose faults end at the same attempt for each email.
struct Faulty {
    random: Rng,
    faults_until: usize,
    share: f64,
}

impl Faulty {
    fn respond(&mut self, request: &Request) -> Attempt {
        let latency = Duration::from_millis(self.random.u64(1..200));
        if request.before >= self.faults_until || self.random.f64() > self.share {
            return Attempt { latency, ..found() };
        }
        let (code, status) = self.random.choice(FAULTS).unwrap();
        let asks = status.is_some() && self.random.u8(..4) == 0;
        let retry_after = asks.then(|| Duration::from_secs(self.random.u64(0..20)));
        let latency = if status.is_none() { latency * 100 } else { latency };
        Attempt { retry_after, latency, ..failing(code, status) }
    }
}

/// Plays a schedule. Returns how many simulated seconds and requests it took.
fn play(seed: u64) -> (f64, usize) {
    let mut random = Rng::with_seed(seed);
    let emails = random.usize(1..400);
    let max_attempts = settings().max_attempts;
    let mut simulation = Simulation::new(emails).with(|with| {
        with.concurrency = random.usize(1..64);
        with.adapting = if random.bool() { Adapting::On } else { Adapting::Fixed };
        with.rate = random.bool().then(|| 1.0 + 100.0 * random.f64());
        with.outage_wait = Duration::from_secs(6000);
    });
    simulation.seed = random.u64(..);
    let mut api = Faulty {
        // The last attempt allowed is answered.
        faults_until: random.usize(0..max_attempts as usize),
        share: random.f64(),
        random,
    };
    let run = simulation.against(|request| api.respond(request));
    assert_eq!((run.stop(), run.settled.len()), (None, emails), "seed {seed}");
    for settled in &run.settled {
        assert!(matches!(settled.outcome, Outcome::Found(_)), "seed {seed}: {settled:?}");
        assert!(settled.attempts <= max_attempts, "seed {seed}: {settled:?}");
    }
    let lookups = run.requests.iter().filter(|one| one.kind != RequestKind::Check).count();
    assert!(lookups <= emails * (api.faults_until + 1), "seed {seed}: {lookups} lookups");
    (run.time.as_secs_f64(), run.requests.len())
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn faults_that_end_fail_no_email_in_simulated_time() {
    let (schedules, seed) = (number("SIMULATED", 1000), number("SEED", 0));
    let played: Vec<(f64, usize)> = (0..schedules).map(|nth| play(seed + nth)).collect();
    let hours = played.iter().map(|(seconds, _)| seconds).sum::<f64>() / 3600.0;
    let requests: usize = played.iter().map(|(_, requests)| requests).sum();
    println!("figure: {schedules} schedules, {requests} requests, {hours:.0} simulated hours");
}
