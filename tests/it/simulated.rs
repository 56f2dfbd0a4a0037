//! The scheduler alone, in simulated time, against faults that end: many more schedules than real
//! time allows, with longer waits.
//!
//! `SIMULATED` says how many schedules, `SEED` which.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::Timestamp;
use telemetron_sync::domain::customer::CustomerBody;
use telemetron_sync::domain::outcome::{
    Answer, Attempt, Failure, FailureCode, Outcome, PlannedEmail,
};
use telemetron_sync::lookup::scheduler::Scheduler;
use telemetron_sync::lookup::settings::{Adapting, LookupSettings};
use telemetron_sync::lookup::step::{KeyReread, Step, Ticket};
use telemetron_sync::time;

use crate::support::random::{count, rng};

const MAX_ATTEMPTS: u32 = 5;

/// Faults that pass, with the status they come with.
const PASSING: [(FailureCode, Option<u16>); 8] = [
    (FailureCode::Connect, None),
    (FailureCode::ConnectionLost, None),
    (FailureCode::Timeout, None),
    (FailureCode::IncompleteBody, Some(200)),
    (FailureCode::RateLimited, Some(429)),
    (FailureCode::Unavailable, Some(503)),
    (FailureCode::ServerError, Some(500)),
    (FailureCode::NoJson, Some(200)),
];

/// A server whose faults end at the same attempt for each email, and a clock.
struct Simulated {
    chance: Rng,
    begun: Instant,
    now: Instant,
    in_flight: Vec<(Instant, Ticket)>,
    asked: HashMap<String, u32>,
    faults_until: u32,
    share: f64,
}

#[derive(Debug, Default)]
struct Played {
    requests: u64,
    found: HashMap<String, u32>,
    seconds: f64,
}

impl Simulated {
    fn answer(&mut self, email: &str) -> Attempt {
        let times = self.asked.entry(email.to_owned()).or_default();
        *times += 1;
        let latency = Duration::from_millis(self.chance.u64(1..200));
        if *times > self.faults_until || self.chance.f64() > self.share {
            let customer = CustomerBody::new(br#"{"id":"c"}"#).expect("a customer");
            let answer = Answer::Found(Box::new(customer));
            return Attempt { answer, status: Some(200), retry_after: None, latency };
        }
        let (code, status) = self.chance.choice(PASSING).expect("a fault");
        let answer = Answer::Retry(Failure::new(code, "x"));
        let asks = status.is_some() && self.chance.u8(..4) == 0;
        let retry_after = asks.then(|| Duration::from_secs(self.chance.u64(0..20)));
        let latency = if status.is_none() { latency * 100 } else { latency };
        Attempt { answer, status, retry_after, latency }
    }

    fn settle_next(&mut self, scheduler: &mut Scheduler, until: Option<Instant>) {
        let first = (0..self.in_flight.len()).min_by_key(|at| self.in_flight[*at].0);
        let due = first.map(|at| self.in_flight[at].0);
        self.now = [due, until].into_iter().flatten().min().expect("something to wait for");
        if let Some(at) = first.filter(|_| due.is_some_and(|due| due <= self.now)) {
            let (_, ticket) = self.in_flight.swap_remove(at);
            let mut attempt = self.answer(ticket.email());
            attempt.latency = attempt.latency.min(self.now - self.begun);
            scheduler.settle(ticket, attempt, (self.now, Timestamp::UNIX_EPOCH));
        }
    }

    fn play(mut self, mut scheduler: Scheduler, mut plan: Vec<PlannedEmail>) -> Played {
        let mut played = Played::default();
        loop {
            match scheduler.next(self.now) {
                Step::Start(ticket) => {
                    played.requests += 1;
                    let latency = Duration::from_millis(self.chance.u64(1..200));
                    self.in_flight.push((self.now + latency, ticket));
                }
                Step::Settled(settled) => {
                    assert!(matches!(settled.outcome, Outcome::Found(_)), "{settled:?}");
                    assert!(settled.attempts <= MAX_ATTEMPTS, "{settled:?}");
                    *played.found.entry(settled.planned.email).or_default() += 1;
                }
                Step::Refill(wanted) => {
                    scheduler.offer(plan.drain(..wanted.min(plan.len())).collect());
                }
                Step::RereadKey => scheduler.key_reread(KeyReread::Same, self.now),
                Step::Wait(until) => self.settle_next(&mut scheduler, until),
                Step::Finished => break,
            }
        }
        assert_eq!(scheduler.stop_reason(), None);
        let most = self.asked.values().max().copied().unwrap_or_default();
        assert!(most <= self.faults_until + 1, "an email was asked {most} times");
        played.seconds = (self.now - self.begun).as_secs_f64();
        played
    }
}

fn played(number: u64) -> Played {
    let mut chance = rng(number);
    let settings = LookupSettings {
        concurrency: chance.usize(1..64),
        adapting: if chance.bool() { Adapting::On } else { Adapting::Fixed },
        rate: chance.bool().then(|| 1.0 + 100.0 * chance.f64()),
        max_attempts: MAX_ATTEMPTS,
        max_retry_after: Duration::from_secs(300),
        outage_wait: Duration::from_secs(6000),
        fail_above: 0.5,
    };
    let emails = chance.i64(1..400);
    let plan = (0..emails).map(|position| {
        let email = format!("e{position}@x");
        PlannedEmail { position, key: position, email, led_to: None }
    });
    let begun = time::instant();
    let scheduler = Scheduler::new(settings, 1, Rng::with_seed(chance.u64(..)));
    let server = Simulated {
        begun,
        now: begun,
        in_flight: Vec::new(),
        asked: HashMap::new(),
        // The last attempt allowed is answered.
        faults_until: chance.u32(0..MAX_ATTEMPTS),
        share: chance.f64(),
        chance,
    };
    let played = server.play(scheduler, plan.collect());
    assert_eq!(played.found.len() as i64, emails, "schedule {number}");
    assert!(played.found.values().all(|times| *times == 1), "schedule {number}");
    played
}

#[test]
fn faults_that_end_fail_nobody_in_simulated_time() {
    let schedules = count("SIMULATED", 1000);
    let (mut requests, mut emails, mut seconds) = (0, 0, 0.0);
    for number in 0..schedules {
        let played = played(number);
        requests += played.requests;
        emails += played.found.len();
        seconds += played.seconds;
    }
    println!(
        "figure: {schedules} schedules, {emails} emails, {requests} requests, {:.0} simulated hours",
        seconds / 3600.0
    );
}
