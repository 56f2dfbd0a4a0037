//! The simulated API of a scenario.

use super::{AllGet, Part, Phase, Refusal};
use crate::domain::outcome::{Answer, Attempt, Failure, FailureCode};
use crate::lookup::simulation::{Request, TIMEOUT};
use fastrand::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How long the server takes to say no.
const NO: f64 = 0.005;

pub(super) struct Server {
    random: Rng,
    in_flight: usize,
    /// When each of those that work is free again.
    free: BinaryHeap<Reverse<Duration>>,
    tokens: f64,
    filled_at: Option<Duration>,
}

impl Server {
    pub(super) fn new(seed: u64) -> Self {
        let (free, filled_at) = (BinaryHeap::new(), None);
        Self { random: Rng::with_seed(seed), in_flight: 0, free, tokens: 0.0, filled_at }
    }

    /// The response to a request, and how long it takes.
    pub(super) fn respond(
        &mut self,
        phase: &Phase,
        request: &Request,
        emails: Option<usize>,
    ) -> Attempt {
        let (seconds, answer, status) = self.answer(phase, request, emails);
        self.in_flight += usize::from(status.is_some());
        let latency = Duration::from_secs_f64(seconds);
        let retry_after =
            phase.retry_after.filter(|_| status == Some(429)).map(Duration::from_secs);
        Attempt { answer, status, retry_after, latency }
    }

    /// A response came back; a request that was dropped was never in flight.
    pub(super) fn responded(&mut self, attempt: &Attempt) {
        self.in_flight -= usize::from(attempt.status.is_some());
    }

    fn answer(
        &mut self,
        phase: &Phase,
        request: &Request,
        emails: Option<usize>,
    ) -> (f64, Answer, Option<u16>) {
        let retry = |code: FailureCode| Answer::Retry(Failure::new(code, code.name()));
        let is_in =
            |part: Option<Part>| part.is_some_and(|part| part.contains(request.number, emails));
        match phase.all {
            AllGet::Answers => {}
            AllGet::Errors => {
                return (phase.latency_ms / 1000.0, retry(FailureCode::ServerError), Some(500));
            }
            AllGet::NoConnection => return (NO, retry(FailureCode::Connect), None),
            AllGet::Silence => return (TIMEOUT.as_secs_f64(), retry(FailureCode::Timeout), None),
            AllGet::Refusals => return (NO, Answer::KeyRefused, Some(401)),
        }
        if phase.per_second.is_some_and(|rate| !self.take(rate, phase.burst, request.at)) {
            return (NO.max(phase.latency_ms / 1000.0), retry(FailureCode::RateLimited), Some(429));
        }
        let full = phase.room.is_some_and(|room| self.in_flight >= room);
        if full || self.random.f64() < phase.refused {
            return match phase.refusal {
                Refusal::Unavailable => (NO, retry(FailureCode::Unavailable), Some(503)),
                Refusal::Dropped => (NO, retry(FailureCode::ConnectionLost), None),
                Refusal::Timeout(seconds) => (seconds, retry(FailureCode::Timeout), None),
            };
        }
        let seconds = self.work(phase, request.at);
        if is_in(phase.always_refused) {
            return (seconds, Answer::KeyRefused, Some(403));
        }
        if is_in(phase.always_failing) {
            return (seconds, retry(FailureCode::ServerError), Some(500));
        }
        (seconds, Answer::NotFound, Some(404))
    }

    fn take(&mut self, rate: f64, burst: f64, now: Duration) -> bool {
        let burst = (rate * burst).max(1.0);
        // The bucket is full at first.
        let passed = self.filled_at.map_or(1.0, |then| (now - then).as_secs_f64());
        self.filled_at = Some(now);
        self.tokens = (self.tokens + passed * rate).min(burst);
        let taken = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(taken));
        taken
    }

    /// How long it takes, the time in the queue included.
    fn work(&mut self, phase: &Phase, now: Duration) -> f64 {
        let jitter = -(1.0 - self.random.f64()).ln() * phase.jitter_ms;
        let work = Duration::from_secs_f64((phase.latency_ms + jitter) / 1000.0);
        let Some(knee) = phase.knee else {
            self.free.clear();
            return work.as_secs_f64();
        };
        while self.free.len() > knee {
            self.free.pop();
        }
        let free = if self.free.len() < knee { now } else { self.free.pop().unwrap().0.max(now) };
        self.free.push(Reverse(free + work));
        (free + work - now).as_secs_f64()
    }
}
