//! Plays a scenario and measures it.

use super::server::Server;
use super::{Phase, Scenario};
use crate::domain::outcome::{Answer, Attempt, FailureCode, Outcome, PlannedEmail};
use crate::domain::stop::StopReason;
use crate::lookup::scheduler::Scheduler;
use crate::lookup::settings::{Adapting, LookupSettings};
use crate::lookup::step::{KeyReread, Step, Ticket};
use crate::time;
use fastrand::Rng;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What a phase came to, after it settled.
pub(super) struct Figures {
    /// The least and the greatest.
    pub(super) limit: [f64; 2],
    pub(super) pace: [f64; 2],
    pub(super) requests: u32,
    answered: u32,
    refused: u32,
}

impl Default for Figures {
    fn default() -> Self {
        let none = [f64::INFINITY, f64::NEG_INFINITY];
        Self { limit: none, pace: none, requests: 0, answered: 0, refused: 0 }
    }
}

fn widen(range: &mut [f64; 2], value: f64) {
    *range = [range[0].min(value), range[1].max(value)];
}

impl Figures {
    /// The share of what the best fixed limit would get.
    pub(super) fn used(&self, phase: &Phase) -> f64 {
        let seconds = phase.seconds - phase.settle;
        f64::from(self.answered) / seconds / phase.best.unwrap_or(f64::INFINITY)
    }

    /// The share of requests that were refused.
    pub(super) fn wasted(&self) -> f64 {
        f64::from(self.refused) / f64::from(self.requests.max(1))
    }

    pub(super) fn line(&self, phase: &Phase) -> String {
        let (limit, pace) = (self.limit, self.pace);
        format!(
            "limit {} to {}, pace {:.1} to {:.1}, used {:.3}, wasted {:.4}, requests {}",
            limit[0],
            limit[1],
            pace[0],
            pace[1],
            self.used(phase),
            self.wasted(),
            self.requests
        )
    }

    fn count(&mut self, attempt: &Attempt) {
        self.requests += 1;
        match &attempt.answer {
            Answer::NotFound => self.answered += 1,
            Answer::Retry(failure) if failure.code != FailureCode::ServerError => self.refused += 1,
            _ => {}
        }
    }
}

/// What the run came to.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) phases: Vec<Figures>,
    pub(super) requests: usize,
    pub(super) settled: usize,
    pub(super) failed: usize,
    pub(super) seconds: f64,
    pub(super) last_found: f64,
    pub(super) last_request: f64,
    pub(super) stop: Option<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, settled, failed, seconds, stop, .. } = self;
        write!(
            f,
            "{requests} requests, {settled} settled, {failed} failed, {seconds:.1} s, {stop:?}"
        )
    }
}

struct Play<'a> {
    scenario: &'a Scenario,
    scheduler: Scheduler,
    server: Server,
    begin: Instant,
    now: Duration,
    /// By when they come, and a number that tells them apart.
    in_flight: BTreeMap<(Duration, usize), (Ticket, Attempt)>,
    planned: usize,
    measured: Measured,
}

fn settings(scenario: &Scenario) -> LookupSettings {
    LookupSettings {
        concurrency: scenario.concurrency,
        adapting: Adapting::On,
        rate: scenario.rate,
        max_attempts: 5,
        max_retry_after: Duration::from_secs(300),
        outage_wait: Duration::from_secs(600),
        fail_above: 0.5,
    }
}

pub(super) fn run(scenario: &Scenario) -> Measured {
    let chance = Rng::with_seed(scenario.seed);
    let mut play = Play {
        scenario,
        scheduler: Scheduler::new(settings(scenario), 0, chance),
        server: Server::new(scenario.seed + 1),
        begin: time::instant(),
        now: Duration::ZERO,
        in_flight: BTreeMap::new(),
        planned: 0,
        measured: Measured::default(),
    };
    play.measured.phases = scenario.phase.iter().map(|_| Figures::default()).collect();
    play.play();
    play.measured.seconds = play.now.as_secs_f64();
    play.measured.stop = play.scheduler.stop_reason().map(StopReason::to_string);
    play.measured
}

impl Play<'_> {
    fn play(&mut self) {
        let end: f64 = self.scenario.phase.iter().map(|phase| phase.seconds).sum();
        while self.now.as_secs_f64() < end {
            match self.scheduler.next(self.begin + self.now) {
                Step::Start(ticket) => self.ask(ticket),
                Step::Settled(settled) => {
                    self.measured.settled += 1;
                    let failed = matches!(settled.outcome, Outcome::Failed { .. });
                    self.measured.failed += usize::from(failed);
                    if !failed {
                        self.measured.last_found = self.now.as_secs_f64();
                    }
                }
                Step::Refill(wanted) => self.plan(wanted),
                Step::RereadKey => {
                    self.scheduler.key_reread(KeyReread::Same, self.begin + self.now);
                }
                Step::Finished => return,
                Step::Wait(until) => self.wait(until.map(|until| until - self.begin)),
            }
        }
    }

    fn ask(&mut self, ticket: Ticket) {
        let number = ticket.email().parse().unwrap();
        let (phase, _) = phase(self.scenario, self.now);
        let (back, attempt) = self.server.ask(&self.scenario.phase[phase], number, self.now);
        self.measured.requests += 1;
        self.measured.last_request = self.now.as_secs_f64();
        self.in_flight.insert((back, self.measured.requests), (ticket, attempt));
    }

    fn plan(&mut self, wanted: usize) {
        let left = self.scenario.emails.map_or(wanted, |emails| emails - self.planned);
        let numbers = self.planned..self.planned + wanted.min(left);
        self.planned = numbers.end;
        let page = numbers.map(|number| PlannedEmail {
            position: number as i64,
            key: number as i64,
            email: number.to_string(),
            led_to: None,
        });
        self.scheduler.offer(page.collect());
    }

    fn wait(&mut self, until: Option<Duration>) {
        let back = self.in_flight.first_key_value().map(|((back, _), _)| *back);
        let next = [back, until].into_iter().flatten().min();
        self.now = self.now.max(next.expect("a wait has something to wait for"));
        if back.is_none_or(|back| back > self.now) {
            return;
        }
        let Some((_, (ticket, attempt))) = self.in_flight.pop_first() else { return };
        self.server.answered(&attempt);
        let (phase, settled) = phase(self.scenario, self.now);
        if settled {
            let figures = &mut self.measured.phases[phase];
            figures.count(&attempt);
            widen(&mut figures.limit, self.scheduler.limit() as f64);
            if let Some(pace) = self.scheduler.pace() {
                widen(&mut figures.pace, pace);
            }
        }
        self.scheduler.settle(ticket, attempt, (self.begin + self.now, Timestamp::UNIX_EPOCH));
    }
}

/// The phase at `now`, and whether it is settled.
fn phase(scenario: &Scenario, now: Duration) -> (usize, bool) {
    let mut since = now.as_secs_f64();
    for (at, phase) in scenario.phase.iter().enumerate() {
        if since < phase.seconds {
            return (at, since >= phase.settle);
        }
        since -= phase.seconds;
    }
    (scenario.phase.len() - 1, true)
}
