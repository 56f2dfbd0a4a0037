//! The simulated API of a scenario.

use super::{Phase, Refusal};
use crate::domain::outcome::{Answer, Attempt, Failure, FailureCode};
use fastrand::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How long the server takes to say no.
const NO: f64 = 0.005;

pub(super) struct Server {
    chance: Rng,
    in_flight: usize,
    /// When each of those that work is free again.
    free: BinaryHeap<Reverse<Duration>>,
    tokens: f64,
    filled_at: Duration,
}

impl Server {
    pub(super) fn new(seed: u64) -> Self {
        let (free, filled_at) = (BinaryHeap::new(), Duration::ZERO);
        Self { chance: Rng::with_seed(seed), in_flight: 0, free, tokens: 0.0, filled_at }
    }

    /// Takes the request of email `number`: its answer, and when it comes.
    pub(super) fn ask(&mut self, phase: &Phase, number: i64, now: Duration) -> (Duration, Attempt) {
        let (seconds, answer, status) = self.answer(phase, number, now);
        self.in_flight += usize::from(status.is_some());
        let latency = Duration::from_secs_f64(seconds);
        let retry_after =
            phase.retry_after.filter(|_| status == Some(429)).map(Duration::from_secs);
        (now + latency, Attempt { answer, status, retry_after, latency })
    }

    /// A request is answered; one that was dropped was never in flight.
    pub(super) fn answered(&mut self, attempt: &Attempt) {
        self.in_flight -= usize::from(attempt.status.is_some());
    }

    fn answer(&mut self, phase: &Phase, number: i64, now: Duration) -> (f64, Answer, Option<u16>) {
        let retry = |code| Answer::Retry(Failure::new(code, "x"));
        if phase.per_second.is_some_and(|rate| !self.take(rate, now)) {
            return (NO.max(phase.latency_ms / 1000.0), retry(FailureCode::RateLimited), Some(429));
        }
        let full = phase.room.is_some_and(|room| self.in_flight >= room);
        if full || self.chance.f64() < phase.refused {
            return match phase.refusal {
                Refusal::Unavailable => (NO, retry(FailureCode::Unavailable), Some(503)),
                Refusal::Dropped => (NO, retry(FailureCode::ConnectionLost), None),
                Refusal::Timeout(seconds) => (seconds, retry(FailureCode::Timeout), None),
            };
        }
        let seconds = self.work(phase, now);
        if ((number % 100) as f64) < phase.failing * 100.0 {
            return (seconds, retry(FailureCode::ServerError), Some(500));
        }
        (seconds, Answer::NotFound, Some(404))
    }

    fn take(&mut self, rate: f64, now: Duration) -> bool {
        let burst = (rate * 0.2).max(1.0);
        let passed = (now - self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + passed * rate).min(burst);
        let taken = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(taken));
        taken
    }

    /// How long it takes, the time in the queue included.
    fn work(&mut self, phase: &Phase, now: Duration) -> f64 {
        let jitter = -(1.0 - self.chance.f64()).ln() * phase.jitter_ms;
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
