//! What follows from an attempt.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::{Answer, Attempt, Cause, Failure, FailureCode, Outcome, Settled};
use crate::domain::stop::StopReason;
use crate::lookup::canary::CanaryAnswer;
use crate::lookup::concurrency::round::Effect;
use crate::lookup::held::{HeldEmail, LastAttempt};
use crate::lookup::outage::Sign;
use crate::lookup::queue::Pending;
use crate::lookup::rate::learned::Admission;
use crate::lookup::scheduler::{Scheduler, Throttled};
use crate::lookup::step::{Purpose, RequestSpan, Ticket};
use crate::time::Moment;
use std::time::{Duration, Instant};

impl Scheduler {
    /// Takes the attempt that `ticket` came back with at this moment.
    pub fn settle(&mut self, ticket: Ticket, attempt: Attempt, at: Moment) {
        self.excuse_suspension(at.mono);
        let Ticket { request, purpose } = ticket;
        self.learn_rate(&attempt, request, at.mono);
        self.canary.search_again();
        match purpose {
            Purpose::Canary { email, round } => {
                self.canaries_in_flight -= 1;
                let answer = self.canary_answer(&attempt, at.mono);
                // What a canary's failure means is decided with its verdict.
                if !matches!(answer, CanaryAnswer::Failed(_)) {
                    self.note_sign(&attempt.answer, at.mono);
                }
                if let Some(verdict) = self.canary.settle(email, round, answer, at.mono) {
                    self.judge(verdict, request, at.mono);
                }
            }
            Purpose::Lookup(pending) => {
                self.lookups_in_flight -= 1;
                if !self.outage.is_outage() {
                    let span = RequestSpan { request, next: self.next_request };
                    self.limit.settle(Effect::of(&attempt), span);
                }
                self.settle_lookup(pending, attempt, request, at);
            }
        }
    }

    fn settle_lookup(&mut self, mut pending: Pending, attempt: Attempt, request: i64, at: Moment) {
        self.excuse(&mut pending);
        pending.total_attempts += 1;
        self.note_sign(&attempt.answer, at.mono);
        let last = LastAttempt { status: attempt.status, request, at: at.wall };
        let outcome = match attempt.answer {
            Answer::Found(customer) => Outcome::Found(customer),
            Answer::NotFound => Outcome::NotFound,
            Answer::Rejected(reason) => Outcome::Rejected(reason),
            Answer::Failed(failure) => Outcome::Failed { failure, cause: Cause::Permanent },
            Answer::KeyRefused if request < self.key.first_request => {
                return self.queue.put_first(pending);
            }
            Answer::KeyRefused => return self.held.refuse(pending, last, self.next_request),
            Answer::Retry(failure) => {
                let asked = self.pause(&failure, attempt.retry_after, at.mono);
                return self.retry(pending, HeldCause { failure, last }, asked, at.mono);
            }
        };
        let email = &pending.planned.email;
        match outcome {
            _ if request < self.key.first_request => {}
            Outcome::Found(_) | Outcome::NotFound => self.canary.note_answer(email),
            Outcome::Rejected(_) | Outcome::Failed { .. } => {
                self.last_definite.get_or_insert_default().clone_from(email);
            }
        }
        let LastAttempt { status, request, at } = last;
        let attempts = pending.counted_attempts + 1;
        self.finish(Settled { planned: pending.planned, outcome, status, attempts, request, at });
    }

    /// Lets an email wait for its next attempt, `asked` at least, if it has one.
    fn retry(&mut self, mut pending: Pending, cause: HeldCause, asked: Duration, now: Instant) {
        // A connection that was found dead says nothing about the email; once.
        if cause.failure.code == FailureCode::ConnectionLost && !pending.connection_replaced {
            pending.connection_replaced = true;
            return self.queue.put_first(pending);
        }
        if cause.failure.code != FailureCode::RateLimited
            && let Some(streak) = self.outage.streak()
        {
            if pending.streak != streak {
                (pending.streak, pending.attempts_in_streak) = (streak, 0);
            }
            pending.attempts_in_streak += 1;
            pending.counted_attempts += 1;
            if pending.counted_attempts >= self.settings.max_attempts {
                let HeldCause { failure, last } = cause;
                return self.held.exhaust(HeldEmail { pending, failure, last });
            }
        }
        self.defer(pending, asked, now);
    }

    pub(super) fn defer(&mut self, mut pending: Pending, least: Duration, now: Instant) {
        self.excuse(&mut pending);
        let wait = self.backoff.wait(pending.total_attempts, &mut self.random).max(least);
        self.queue.defer(pending, now + wait);
    }

    /// Takes back the attempts that belong to an outage.
    fn excuse(&self, pending: &mut Pending) {
        if pending.attempts_in_streak > 0 && self.outage.is_excused(pending.streak) {
            pending.counted_attempts -= pending.attempts_in_streak;
            pending.attempts_in_streak = 0;
        }
    }

    fn note_sign(&mut self, answer: &Answer, now: Instant) {
        let in_flight = self.in_flight();
        let sign = sign(answer);
        if sign == Sign::Answered {
            self.doubt = None;
        }
        if self.outage.note(sign, in_flight, now) {
            self.fail_exhausted();
        }
    }

    fn canary_answer(&mut self, attempt: &Attempt, now: Instant) -> CanaryAnswer {
        match &attempt.answer {
            Answer::Found(_) | Answer::NotFound | Answer::Rejected(_) | Answer::Failed(_) => {
                CanaryAnswer::Answered
            }
            Answer::KeyRefused => CanaryAnswer::Refused,
            Answer::Retry(failure) => {
                let asked = self.pause(failure, attempt.retry_after, now);
                if failure.code == FailureCode::RateLimited {
                    let wait = self.backoff.wait(1, &mut self.random).max(asked);
                    return CanaryAnswer::Throttled { retry_at: now + wait };
                }
                CanaryAnswer::Failed(failure.reason.clone())
            }
        }
    }

    /// Takes into account what the attempt says about the API's rate limit.
    fn learn_rate(&mut self, attempt: &Attempt, request: i64, now: Instant) {
        if attempt.status.is_none() {
            return;
        }
        if !matches!(&attempt.answer, Answer::Retry(one) if one.code == FailureCode::RateLimited) {
            self.throttled = None;
            self.rate.settle(Admission::Admitted, request, now);
            return;
        }
        self.rate.settle(Admission::Throttled, request, now);
        let first = self.throttled.map_or(now, |throttled| throttled.first);
        self.throttled = Some(Throttled { first, last: now });
    }

    /// Does what the server asks: a pause for all after 429 and 503, for this email alone
    /// otherwise. Returns the email's own minimum wait.
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
            self.rate.pause(paused_until, now + asked);
            self.paused_until = Some(paused_until.max(now + asked));
        }
        asked
    }
}

/// A failed attempt, and why.
struct HeldCause {
    failure: Failure,
    last: LastAttempt,
}

/// What an answer says about the API.
fn sign(answer: &Answer) -> Sign {
    match answer {
        Answer::Found(_) | Answer::NotFound | Answer::Rejected(_) | Answer::Failed(_) => {
            Sign::Answered
        }
        Answer::KeyRefused => Sign::Refused,
        Answer::Retry(failure) if failure.code == FailureCode::RateLimited => Sign::Throttled,
        Answer::Retry(failure) => Sign::Failed(failure.reason.clone()),
    }
}
