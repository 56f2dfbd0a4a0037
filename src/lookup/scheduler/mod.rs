//! Decides what is looked up next. All limits are applied here, in a fixed order.
//!
//! Pure: no clock, no I/O; time and randomness are arguments.

mod canaries;
mod settle;
#[cfg(test)]
mod random_faults;
#[cfg(test)]
mod tests;

use crate::domain::outcome::{PlannedEmail, Settled};
use crate::domain::status::{LookupStatus, Pause, PauseReason};
use crate::domain::stop::StopReason;
use crate::lookup::backoff::Backoff;
use crate::lookup::canary::Canary;
use crate::lookup::concurrency::Limit;
use crate::lookup::failure_limit::FailureLimit;
use crate::lookup::held::Held;
use crate::lookup::outage::OutageDetector;
use crate::lookup::queue::{Pending, Queue, Turn};
use crate::lookup::rate::RateLimit;
use crate::lookup::settings::{Beginning, LearnedLimits, LookupSettings};
use crate::lookup::step::{KeyReread, Notice, Purpose, Step, Ticket};
use fastrand::Rng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Emails taken from the plan at once: one short read of the store.
const PAGE: usize = 500;

/// The state of a run's lookups.
#[derive(Debug)]
pub struct Scheduler {
    settings: LookupSettings,
    backoff: Backoff,
    random: Rng,
    next_request: i64,
    queue: Queue,
    /// What is to be done before anything else.
    steps: VecDeque<Step>,
    lookups_in_flight: usize,
    canaries_in_flight: usize,
    limit: Limit,
    rate: RateLimit,
    paused_until: Option<Instant>,
    /// Nothing but 429s came back lately.
    throttled: Option<Throttled>,
    /// By when the last step asked to be called again.
    awaited: Option<Instant>,
    outage: OutageDetector,
    canary: Canary,
    /// The newest email with another definite response than found and not found.
    last_definite: Option<String>,
    /// A canary failed, and what is in flight may still be answered.
    doubt: Option<canaries::Doubt>,
    held: Held,
    key: Key,
    failure_limit: FailureLimit,
    stop: Option<StopReason>,
}

/// The first and the last of the 429s since anything else came back.
#[derive(Clone, Copy, Debug)]
struct Throttled {
    first: Instant,
    last: Instant,
}

/// The key in use.
#[derive(Debug)]
struct Key {
    /// The first request that was sent with it.
    first_request: i64,
    /// Whether it was refused, and has to be read again.
    is_refused: bool,
}

/// A process that is called so much later than it asked for did not run meanwhile: it was stopped,
/// or the machine was.
const SUSPENDED: Duration = Duration::from_secs(1);

impl Scheduler {
    /// A scheduler before the first request of its process.
    pub fn new(settings: LookupSettings, beginning: Beginning, random: Rng) -> Self {
        let Beginning { first_request, progress, learned } = beginning;
        Self {
            limit: Limit::new(settings.concurrency, settings.adapting, learned),
            rate: RateLimit::new(settings.rate, learned.and_then(|learned| learned.rate)),
            outage: OutageDetector::new(settings.outage_wait, settings.timeout),
            failure_limit: FailureLimit::new(settings.fail_above, progress),
            settings,
            backoff: Backoff::default(),
            random,
            next_request: first_request,
            queue: Queue::default(),
            steps: VecDeque::new(),
            lookups_in_flight: 0,
            canaries_in_flight: 0,
            paused_until: None,
            throttled: None,
            awaited: None,
            canary: Canary::default(),
            last_definite: None,
            doubt: None,
            held: Held::default(),
            key: Key { first_request, is_refused: false },
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

    /// How many requests may be in flight now.
    #[cfg(test)]
    pub(in crate::lookup) fn limit(&self) -> usize {
        self.limit.get()
    }

    /// How many requests per second may start now.
    #[cfg(test)]
    pub(in crate::lookup) fn rate(&self) -> Option<f64> {
        self.rate.per_second()
    }

    /// What the API sustains, for the next run.
    pub fn learned(&self) -> LearnedLimits {
        LearnedLimits { concurrency: self.limit.sustained(), rate: self.rate.learned() }
    }

    /// The state of the lookups at `now`.
    pub fn status(&self, now: Instant) -> LookupStatus {
        let outages = self.outage.outages(now);
        let outage = self.outage.next_canary().map(|until| {
            let reason = PauseReason::Outage(self.outage.last_cause().to_owned());
            Pause { until, reason }
        });
        let retry_after = self.paused_until.filter(|until| *until > now);
        let retry_after = retry_after.map(|until| Pause { until, reason: PauseReason::RetryAfter });
        LookupStatus {
            in_flight: self.lookups_in_flight,
            concurrency_limit: self.limit.get(),
            rate_limit: self.rate.in_effect(),
            pause: outage.or(retry_after),
            outages,
            checks: self.canary.checks(),
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Instant) -> Step {
        self.excuse_suspension(now);
        let step = self.decide(now);
        self.awaited = match step {
            Step::Wait(until) => until,
            _ => None,
        };
        step
    }

    /// A process that was suspended took no answers: that time is no silence of the API.
    fn excuse_suspension(&mut self, now: Instant) {
        let Some(awaited) = self.awaited.take() else { return };
        let late = now.saturating_duration_since(awaited);
        if late >= SUSPENDED {
            self.outage.excuse(late);
            if let Some(throttled) = &mut self.throttled {
                throttled.first += late;
            }
        }
    }

    fn decide(&mut self, now: Instant) -> Step {
        if let Some(step) = self.steps.pop_front() {
            return step;
        }
        if self.stop.is_some() {
            return if self.in_flight() > 0 { Step::Wait(None) } else { Step::Finished };
        }
        if self.key.is_refused {
            return Step::RereadKey;
        }
        if self.gives_up(now) {
            let (wait, cause) = (self.settings.outage_wait, self.outage.last_cause().to_owned());
            self.outage.give_up(now);
            self.stop(StopReason::Outage { wait, cause });
            return self.decide(now);
        }
        if let Some(Throttled { first, .. }) = self.throttled
            && self.throttled_until().is_some_and(|until| until <= now)
        {
            self.stop(StopReason::OnlyThrottled(now.saturating_duration_since(first)));
            return self.decide(now);
        }
        self.resolve_doubt(now);
        if let Some(time) = self.outage.new_silence(self.in_flight(), now) {
            self.steps.push_back(Step::Notice(Notice::Silence { time }));
        }
        if let Some(step) = self.steps.pop_front() {
            return step;
        }
        let canary = self.next_canary(now);
        canary.unwrap_or_else(|| self.next_lookup(now))
    }

    fn next_lookup(&mut self, now: Instant) -> Step {
        if self.in_flight() >= self.limit.get() {
            return self.wait(None, now);
        }
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return self.wait(Some(until), now);
        }
        match self.queue.turn(now) {
            Turn::Refill => return Step::Refill(PAGE),
            Turn::At(due) => return self.wait(Some(due), now),
            Turn::Empty if self.in_flight() > 0 => return self.wait(None, now),
            Turn::Empty => return self.finished(),
            Turn::Now => {}
        }
        if let Some(until) = self.rate_wait(now) {
            return self.wait(Some(until), now);
        }
        match self.queue.pop(now) {
            Some(pending) => self.start_lookup(pending, now),
            None => self.wait(None, now),
        }
    }

    /// Until when the rate limit lets nothing start.
    fn rate_wait(&mut self, now: Instant) -> Option<Instant> {
        let until = self.rate.wait(now)?;
        if self.in_flight() == 0 {
            self.outage.wait_ourselves(now, until);
        }
        Some(until)
    }

    fn start_lookup(&mut self, pending: Pending, now: Instant) -> Step {
        self.lookups_in_flight += 1;
        self.limit.start(self.lookups_in_flight);
        self.start(Purpose::Lookup(pending), now)
    }

    fn start(&mut self, purpose: Purpose, now: Instant) -> Step {
        let request = self.next_request;
        self.next_request += 1;
        if let Some(rate) = self.rate.start(request, now) {
            self.steps.push_back(Step::Notice(Notice::RateLearned(rate)));
        }
        self.outage.start(now);
        Step::Start(Ticket { request, purpose })
    }

    /// The end of the plan, unless too many emails failed.
    fn finished(&mut self) -> Step {
        self.stop = self.failure_limit.exceeded_at_end();
        Step::Finished
    }

    /// Waits until then, or until something else has to be decided.
    fn wait(&self, until: Option<Instant>, now: Instant) -> Step {
        let gives_up_at = self.outage.gives_up_at();
        let silent_at = self.outage.silent_at(self.in_flight());
        let renewed_at = self.canary.renewed_at().filter(|_| !self.held.is_empty());
        let throttled_until = self.throttled_until();
        let alarms = [gives_up_at, silent_at, renewed_at, throttled_until].into_iter().flatten();
        Step::Wait(alarms.filter(|at| *at > now).chain(until).min())
    }

    /// When nothing but 429s will have come back for as long as allowed. If the API asked for a pause
    /// until then, or in an outage, the next response decides.
    fn throttled_until(&self) -> Option<Instant> {
        let Throttled { first, last } = self.throttled?;
        let until = first + self.settings.max_retry_after;
        let is_paused_then = self.paused_until.is_some_and(|paused_until| paused_until >= until);
        let waits_for_response = is_paused_then || self.outage.is_outage();
        (last >= until || !waits_for_response).then_some(until)
    }

    fn in_flight(&self) -> usize {
        self.lookups_in_flight + self.canaries_in_flight
    }

    /// Whether nothing was answered for as long as allowed.
    fn gives_up(&self, now: Instant) -> bool {
        let is_paused = self.paused_until.is_some_and(|until| until > now);
        let waits_for_api = self.outage.is_outage()
            || self.in_flight() > 0
            || (is_paused && self.outage.has_streak());
        waits_for_api && self.outage.gives_up_at().is_some_and(|at| at <= now)
    }

    /// The key was read again, as [`Step::RereadKey`] asked.
    pub fn key_reread(&mut self, reread: KeyReread) {
        self.key.is_refused = false;
        match reread {
            KeyReread::Same => self.stop(StopReason::KeyRefused),
            KeyReread::Changed => {
                self.key.first_request = self.next_request;
                self.canary.forget();
                for pending in self.held.take_refused().into_iter().rev() {
                    self.queue.put_first(pending);
                }
            }
        }
    }

    fn finish(&mut self, settled: Settled) {
        self.failure_limit.count(&settled.outcome);
        self.steps.push_back(Step::Settled(settled));
        if let Some(reason) = self.failure_limit.exceeded() {
            self.stop(reason);
        }
    }
}
