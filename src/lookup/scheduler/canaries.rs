//! When a canary is sent, which emails it looks up, and what follows from its answer.
//!
//! Pure: no clock, no I/O.

use crate::domain::exit::Exit;
use crate::domain::outcome::CanaryCandidates;
use crate::lookup::canary::{AT_ONCE, Verdict};
use crate::lookup::scheduler::Scheduler;
use crate::lookup::step::{Notice, Places, Purpose, Step};
use std::time::{Duration, Instant};

/// After a canary failed, lookups in flight may refute an outage for this long: an API without room
/// may refuse in no time, while those for whom it has room still wait for their answers.
const DOUBT: Duration = Duration::from_secs(1);

/// An outage that is not certain yet.
#[derive(Debug)]
pub(super) struct Doubt {
    cause: String,
    believed_at: Instant,
}

/// How urgent a canary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    None,
    /// Lookups continue meanwhile.
    Renewal,
    /// No new lookup starts before its answer.
    First,
    /// It failed, and what is in flight may still refute it.
    Verdict,
}

/// What the canary lets the scheduler do now.
enum Canarying {
    Step(Step),
    /// Nothing to send until then, or until one is back.
    Waits(Option<Instant>),
}

impl Scheduler {
    /// The next step of a canary; `None`: lookups continue.
    pub(super) fn next_canary(&mut self, now: Instant) -> Option<Step> {
        let need = self.need(now);
        if need == Need::None && !self.canary.has_to_send() {
            return None;
        }
        if need == Need::Verdict {
            return Some(self.wait(self.doubt.as_ref().map(|doubt| doubt.believed_at), now));
        }
        match (self.send_canary(now), need) {
            (Canarying::Step(step), _) => Some(step),
            (Canarying::Waits(until), Need::First | Need::Verdict) => Some(self.wait(until, now)),
            (Canarying::Waits(_), Need::None | Need::Renewal) => None,
        }
    }

    fn need(&self, now: Instant) -> Need {
        if self.outage.is_outage() {
            return Need::First;
        }
        if self.doubt.is_some() {
            return Need::Verdict;
        }
        let vouches = self.canary.vouches(now);
        let is_suspicious =
            self.held.has_refused() || self.outage.is_suspicious(self.in_flight(), now);
        if is_suspicious && !vouches {
            return Need::First;
        }
        // At the end of the plan there may be no answer of another email to wait for.
        if self.lookups_in_flight == 0 && self.queue.has_nothing_new() {
            let is_open = !self.held.is_empty();
            if self.queue.is_empty() && is_open {
                return Need::First;
            }
            if (is_open || self.outage.has_streak()) && !self.queue.is_empty() && !vouches {
                return Need::First;
            }
        }
        let is_due = self.canary.renewed_at().is_none_or(|at| at <= now);
        if is_suspicious && is_due { Need::Renewal } else { Need::None }
    }

    fn send_canary(&mut self, now: Instant) -> Canarying {
        if !self.canary.is_running() {
            if let Some(not_before) = self.outage.next_canary().filter(|at| *at > now) {
                return Canarying::Waits(Some(not_before));
            }
            if self.canary.lacks_candidates() {
                return Canarying::Waits(None);
            }
            if !self.canary.begin_known() {
                return Canarying::Step(Step::FindCanaries(self.places()));
            }
        }
        // Further ones of a round wait for a free slot.
        let is_full = self.in_flight() >= self.settings.concurrency;
        if !self.canary.has_to_send() || (self.canaries_in_flight > 0 && is_full) {
            return Canarying::Waits(None);
        }
        let earliest = [self.canary.not_before(), self.paused_until, self.rate_wait(now)];
        if let Some(until) = earliest.into_iter().flatten().max().filter(|until| *until > now) {
            return Canarying::Waits(Some(until));
        }
        let Some((email, round)) = self.canary.send(now) else {
            return Canarying::Waits(None);
        };
        self.canaries_in_flight += 1;
        let start = self.start(Purpose::Canary { email, round }, now);
        if !self.outage.is_outage() {
            return Canarying::Step(start);
        }
        self.steps.push_back(start);
        Canarying::Step(Step::Reconnect)
    }

    /// One place in each part of what is left: emails that always fail may all stand together.
    fn places(&mut self) -> Places {
        std::array::from_fn(|part| (part as f64 + self.random.f64()) / AT_ONCE as f64)
    }

    /// Takes the emails that [`Step::FindCanaries`] asked for.
    pub fn offer_canaries(&mut self, mut candidates: CanaryCandidates) {
        if candidates.planned.is_empty() {
            candidates.planned = self.queue.sample_new(AT_ONCE, &mut self.random);
        }
        if candidates.planned.is_empty() && candidates.answered.is_empty() {
            // One that got a definite response, or else the emails themselves.
            candidates.planned.extend(self.last_definite.clone());
            candidates.planned.extend(self.held.sample(AT_ONCE));
            candidates.planned.extend(self.queue.sample_deferred(AT_ONCE));
            candidates.planned.truncate(AT_ONCE);
        }
        self.canary.begin_with(candidates);
    }

    /// Draws the conclusion from a round of canaries, of which `request` was answered last.
    pub(super) fn judge(&mut self, verdict: Verdict, request: i64, now: Instant) {
        match verdict {
            Verdict::Reachable => {
                if let Some(time) = self.outage.canary_answered(now) {
                    self.steps.push_back(Step::Notice(Notice::OutageEnded { time }));
                }
                self.fail_exhausted();
                let refused = self.held.take_refused_before(request);
                if !refused.is_empty() {
                    self.canary.vouched();
                }
                refused.into_iter().for_each(|settled| self.finish(settled));
            }
            Verdict::KeyRefused => self.key.is_refused = true,
            Verdict::Unreachable(cause) if self.outage.is_outage() => self.run_outage(cause, now),
            Verdict::Unreachable(cause) => {
                if !self.outage.answered_since(self.canary.sent_at()) {
                    self.doubt = Some(Doubt { cause, believed_at: now + DOUBT });
                }
            }
        }
    }

    /// Believes in an outage once nothing in flight can refute it any more.
    pub(super) fn resolve_doubt(&mut self, now: Instant) {
        let is_believed = |doubt: &mut Doubt| now >= doubt.believed_at;
        let doubt = match self.lookups_in_flight {
            0 => self.doubt.take(),
            _ => self.doubt.take_if(is_believed),
        };
        if let Some(Doubt { cause, .. }) = doubt {
            self.run_outage(cause, now);
        }
    }

    fn run_outage(&mut self, cause: String, now: Instant) {
        if self.outage.canary_failed(cause.clone(), now) {
            self.steps.push_back(Step::Notice(Notice::OutageBegan { cause }));
            self.limit.restart(self.next_request);
        }
        for pending in self.held.take_exhausted() {
            self.defer(pending, Duration::ZERO, now);
        }
    }

    /// The API answers: the emails that are out of attempts failed by themselves.
    pub(super) fn fail_exhausted(&mut self) {
        // Once the key is refused, nothing is marked as failed any more.
        if self.stop.as_ref().is_some_and(|stop| stop.exit() >= Exit::WrongKey) {
            return;
        }
        for settled in self.held.take_failed() {
            self.finish(settled);
        }
    }
}
