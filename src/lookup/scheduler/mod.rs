//! Decides what is asked next. All limits stand here, asked in a fixed order.
//!
//! Pure: no clock, no I/O; time and chance are arguments.

use crate::domain::exit::Exit;
use crate::domain::outcome::{
    Answer, Attempt, Cause, Failure, FailureCode, Outcome, PlannedEmail, Settled,
};
use crate::domain::status::{LookupStatus, Pause, PauseReason};
use crate::domain::stop::StopReason;
use crate::lookup::backoff::Backoff;
use crate::lookup::concurrency::Limit;
use crate::lookup::concurrency::round::Effect;
use crate::lookup::outage::doubt::{Doubtful, Doubts};
use crate::lookup::outage::{Health, OutageDetector};
use crate::lookup::queue::{Pending, Queue, Turn};
use crate::lookup::rate::RateLimit;
use crate::lookup::rate::learned::Admission;
use crate::lookup::scheduler::key::Key;
use crate::lookup::settings::LookupSettings;
use crate::lookup::step::{Purpose, Step, Ticket};
use fastrand::Rng;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Emails asked for from the plan at once: one short read of the store.
const PAGE: usize = 500;

/// The failure limit is not judged before this many emails are settled.
const FAILURES_JUDGED_FROM: u64 = 100;

/// The state of a run's lookups.
#[derive(Debug)]
pub struct Scheduler {
    settings: LookupSettings,
    backoff: Backoff,
    chance: Rng,
    next_request: i64,
    queue: Queue,
    settled: VecDeque<Settled>,
    in_flight: usize,
    limit: Limit,
    pace: RateLimit,
    paused_until: Option<Instant>,
    breaker: OutageDetector,
    doubts: Doubts,
    key: Key,
    /// Emails that were refused with the key, and with which status.
    refused: Vec<(Pending, Option<u16>)>,
    finished: u64,
    unanswered: u64,
    stop: Option<StopReason>,
}

impl Scheduler {
    /// A scheduler before its first request, whose number is `first_request`.
    pub fn new(settings: LookupSettings, first_request: i64, chance: Rng) -> Self {
        Self {
            limit: Limit::new(settings.concurrency, settings.adapting),
            pace: RateLimit::new(settings.rate),
            breaker: OutageDetector::new(settings.outage_wait),
            settings,
            backoff: Backoff::default(),
            chance,
            next_request: first_request,
            queue: Queue::default(),
            settled: VecDeque::new(),
            in_flight: 0,
            paused_until: None,
            doubts: Doubts::default(),
            key: Key::Good,
            refused: Vec::new(),
            finished: 0,
            unanswered: 0,
            stop: None,
        }
    }

    /// Takes further emails of the plan; none: there are no more.
    pub fn offer(&mut self, page: Vec<PlannedEmail>) {
        self.queue.offer(page);
    }

    /// Starts nothing more; what is in flight may come back.
    pub fn stop(&mut self, reason: StopReason) {
        self.stop = self.stop.take().max(Some(reason));
    }

    /// Why nothing more starts, if so.
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }

    /// How many requests may be in flight, as things stand.
    pub fn limit(&self) -> usize {
        self.limit.get()
    }

    /// How many requests a second may start, if that is limited.
    pub fn pace(&self) -> Option<f64> {
        self.pace.per_second()
    }

    /// The state of the lookups at `now`, for people.
    pub fn status(&self, now: Instant) -> LookupStatus {
        let retry_after = self.paused_until.filter(|until| *until > now);
        LookupStatus {
            in_flight: self.in_flight,
            concurrency_limit: self.limit.get(),
            rate_limit: self.pace.in_effect(),
            pause: retry_after.map(|until| Pause { until, reason: PauseReason::RetryAfter }),
            ..LookupStatus::default()
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Instant) -> Step {
        if let Some(settled) = self.settled.pop_front() {
            return Step::Settled(settled);
        }
        if self.stop.is_some() {
            return if self.in_flight > 0 { Step::Wait(None) } else { self.finished() };
        }
        if let Some(believed_at) = self.breaker.suspects() {
            if self.in_flight > 0 && now < believed_at {
                return Step::Wait(Some(believed_at));
            }
            self.begin_outage(now);
        }
        let outage = self.breaker.waits();
        if outage.is_some_and(|(_, ends)| ends <= now) {
            self.stop(StopReason::Outage(self.settings.outage_wait));
            return self.next(now);
        }
        match (&self.key, outage) {
            (Key::Good, None) => self.next_lookup(now),
            (_, Some((_, ends))) if self.in_flight > 0 => Step::Wait(Some(ends)),
            (_, None) if self.in_flight > 0 => Step::Wait(None),
            (Key::Good, Some(outage)) => self.next_probe(outage, now),
            (Key::Suspect, _) => Step::RereadKey,
            (Key::Check { not_before }, _) => {
                let not_before = outage.map_or(*not_before, |(probe, _)| probe.max(*not_before));
                self.next_key_check(now, not_before)
            }
        }
    }

    fn next_lookup(&mut self, now: Instant) -> Step {
        if self.in_flight >= self.limit.get() {
            return Step::Wait(None);
        }
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Step::Wait(Some(until));
        }
        match self.queue.turn(now) {
            Turn::Refill => return Step::Refill(PAGE),
            Turn::At(due) => return Step::Wait(Some(due)),
            Turn::Empty if self.in_flight > 0 => return Step::Wait(None),
            Turn::Empty => return self.finished(),
            Turn::Now => {}
        }
        if let Some(until) = self.pace.wait(now) {
            return Step::Wait(Some(until));
        }
        match self.queue.pop(now) {
            Some(pending) => self.start(pending, Purpose::Lookup, now),
            None => Step::Wait(None),
        }
    }

    /// Asks for one email, to see whether the outage is over; `ends` is when waiting for that does.
    fn next_probe(&mut self, (probe_at, ends): (Instant, Instant), now: Instant) -> Step {
        let until = self.earliest(probe_at, now);
        if until > now {
            return Step::Wait(Some(until.min(ends)));
        }
        match self.queue.turn(now) {
            Turn::Refill => Step::Refill(PAGE),
            Turn::At(due) => Step::Wait(Some(due.min(ends))),
            Turn::Empty => self.finished(),
            Turn::Now => match self.queue.pop(now) {
                Some(pending) => self.start(pending, Purpose::Probe, now),
                None => Step::Wait(Some(ends)),
            },
        }
    }

    /// When the next request may start that is not to start before `not_before`.
    fn earliest(&self, not_before: Instant, now: Instant) -> Instant {
        let until = self.paused_until.map_or(not_before, |until| until.max(not_before));
        self.pace.wait(now).map_or(until, |pace| pace.max(until))
    }

    fn start(&mut self, pending: Pending, purpose: Purpose, now: Instant) -> Step {
        self.pace.start(now);
        self.in_flight += 1;
        self.limit.start(self.in_flight);
        let request = self.next_request;
        self.next_request += 1;
        Step::Start(Ticket { pending, request, purpose })
    }

    /// The end, once the emails that are failed by it are told.
    fn finished(&mut self) -> Step {
        // Once the key is refused, nothing is marked as failed any more.
        let told = self.stop.as_ref().is_none_or(|stop| stop.exit() < Exit::WrongKey);
        while told && let Some(settled) = self.doubts.last() {
            self.finish(settled);
        }
        self.settled.pop_front().map_or(Step::Finished, Step::Settled)
    }

    /// Takes the answer of `ticket`, which came at `now`; `at` is the same by the wall clock.
    pub fn settle(&mut self, ticket: Ticket, attempt: Attempt, (now, at): (Instant, Timestamp)) {
        self.in_flight -= 1;
        let Ticket { mut pending, request, purpose } = ticket;
        let counted = counts(&attempt.answer) && !self.breaker.is_open();
        self.excuse(&mut pending);
        let by_itself = self.breaker.clears(pending.failing_since);
        pending.tries += 1;
        pending.attempts += u32::from(counted);
        self.limit_and_pace(&attempt, (request, purpose), now);
        self.watch_for_outage(&attempt.answer, &pending, (purpose, now));
        if counted {
            pending.failing_since.get_or_insert(self.breaker.answered());
        }
        self.excuse(&mut pending);
        let status = attempt.status;
        if purpose == Purpose::KeyCheck {
            self.judge_key(&attempt.answer, (now, at));
        }
        let outcome = match attempt.answer {
            Answer::Found(customer) => Outcome::Found(customer),
            Answer::NotFound => Outcome::NotFound,
            Answer::Rejected(reason) => Outcome::Rejected(reason),
            Answer::Failed(failure) => Outcome::Failed { failure, cause: Cause::Permanent },
            Answer::KeyRefused => return self.key_refused(pending, status),
            Answer::Retry(failure) => {
                let wait = self.pause(&failure, attempt.retry_after, now);
                if !counted || pending.attempts < self.settings.max_attempts {
                    self.defer(pending, wait, now);
                } else {
                    let doubtful = Doubtful { pending, failure, status, request, at };
                    if by_itself {
                        self.finish(doubtful.settled());
                    } else {
                        self.doubts.hold(self.breaker.noted(), doubtful);
                    }
                }
                return;
            }
        };
        let (planned, attempts) = (pending.planned, pending.attempts + 1);
        self.finish(Settled { planned, outcome, status, attempts, request, at });
    }

    /// Takes back the attempts that fell into an outage.
    fn excuse(&mut self, pending: &mut Pending) {
        let excused = self.breaker.excused(pending.planned.key);
        if excused > 0 {
            pending.attempts = pending.attempts.saturating_sub(excused);
            pending.failing_since = None;
        }
    }

    fn limit_and_pace(
        &mut self,
        attempt: &Attempt,
        (request, purpose): (i64, Purpose),
        now: Instant,
    ) {
        let requests = (request, self.next_request);
        if attempt.status.is_some() {
            let limited = rate_limited(&attempt.answer);
            self.pace.settle(
                if limited { Admission::Throttled } else { Admission::Admitted },
                requests,
                now,
            );
        }
        if purpose == Purpose::Lookup && !self.breaker.is_open() {
            self.limit.settle(Effect::of(attempt), requests);
        }
    }

    fn watch_for_outage(
        &mut self,
        answer: &Answer,
        pending: &Pending,
        (purpose, now): (Purpose, Instant),
    ) {
        let health = if counts(answer) { Health::Failing } else { Health::Well };
        if self.breaker.is_open() {
            if purpose != Purpose::Lookup {
                self.breaker.probed(health, now);
            }
            return;
        }
        let by_itself = self.breaker.clears(pending.failing_since);
        if rate_limited(answer) || (health == Health::Failing && by_itself) {
            return;
        }
        self.breaker.note(pending.planned.key, health, now);
        if self.breaker.suspects().is_some() {
            return;
        }
        while let Some(settled) = self.doubts.beyond(self.breaker.noted()) {
            self.finish(settled);
        }
    }

    /// Believes in an outage: its attempts do not count.
    fn begin_outage(&mut self, now: Instant) {
        self.breaker.open(now);
        self.limit.restart(self.next_request);
        while let Some(pending) = self.doubts.excused() {
            self.defer(pending, Duration::ZERO, now);
        }
    }

    /// Heeds what the server asks: a pause for all after 429 and 503, for this email alone
    /// otherwise. Returns the email's own least wait.
    fn pause(&mut self, failure: &Failure, asked: Option<Duration>, now: Instant) -> Duration {
        let Some(asked) = asked else {
            return Duration::ZERO;
        };
        if asked > self.settings.max_retry_after {
            self.stop(StopReason::LongPause(asked));
            return Duration::ZERO;
        }
        if matches!(failure.code, FailureCode::RateLimited | FailureCode::Unavailable) {
            let paused_until = self.paused_until.max(Some(now)).unwrap_or(now);
            self.pace.pause(paused_until, now + asked);
            self.paused_until = Some(paused_until.max(now + asked));
        }
        asked
    }

    fn defer(&mut self, pending: Pending, least: Duration, now: Instant) {
        let wait = self.backoff.wait(pending.tries, &mut self.chance).max(least);
        self.queue.defer(pending, now + wait);
    }

    fn finish(&mut self, settled: Settled) {
        self.finished += 1;
        if matches!(settled.outcome, Outcome::Rejected(_) | Outcome::Failed { .. }) {
            self.unanswered += 1;
        }
        self.settled.push_back(settled);
        let share = self.unanswered as f64 / self.finished as f64;
        if self.finished >= FAILURES_JUDGED_FROM && share > self.settings.fail_above {
            let (unanswered, settled) = (self.unanswered, self.finished);
            self.stop(StopReason::FailureLimit { unanswered, settled });
        }
    }
}

/// Whether this answer uses up an attempt, in itself.
fn counts(answer: &Answer) -> bool {
    matches!(answer, Answer::Retry(_)) && !rate_limited(answer)
}

fn rate_limited(answer: &Answer) -> bool {
    matches!(answer, Answer::Retry(failure) if failure.code == FailureCode::RateLimited)
}

mod key;
#[cfg(test)]
mod tests;
