//! A refused key, told from a refused email by asking for one other.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::{Answer, Cause, Failure, FailureCode, Outcome, Settled};
use crate::domain::stop::StopReason;
use crate::lookup::queue::{Pending, Turn};
use crate::lookup::scheduler::{PAGE, Scheduler};
use crate::lookup::step::{KeyReread, Purpose, Step};
use jiff::Timestamp;
use std::time::Instant;

/// Whether the key is good, as far as is known.
#[derive(Debug)]
pub(super) enum Key {
    Good,
    /// Refused; nothing new starts until those in flight are back and the key was read again.
    Suspect,
    /// One other email is asked, not before this time.
    Check {
        not_before: Instant,
    },
}

impl Scheduler {
    /// Asks for one email other than those refused; without any, the key is refused.
    pub(super) fn next_key_check(&mut self, now: Instant, not_before: Instant) -> Step {
        let until = self.earliest(not_before, now);
        if until > now {
            let ends = self.breaker.waits().map(|(_, ends)| ends);
            return Step::Wait(Some(ends.map_or(until, |ends| ends.min(until))));
        }
        if self.queue.any() == Turn::Refill {
            return Step::Refill(PAGE);
        }
        match self.queue.pop_any() {
            Some(other) => self.start(other, Purpose::KeyCheck, now),
            None => {
                self.stop(StopReason::KeyRefused);
                self.next(now)
            }
        }
    }

    /// The key was read again, as [`Step::RereadKey`] asked.
    pub fn key_reread(&mut self, changed: KeyReread, now: Instant) {
        match changed {
            KeyReread::Changed => self.key_is_good(),
            KeyReread::Same => self.key = Key::Check { not_before: now },
        }
    }

    /// The refused emails are asked again, first of all.
    fn key_is_good(&mut self) {
        self.key = Key::Good;
        for (pending, _) in self.refused.drain(..).rev() {
            self.queue.put_first(pending);
        }
    }

    /// An email was refused; it waits until it is known whether that was the key.
    pub(super) fn key_refused(&mut self, pending: Pending, status: Option<u16>) {
        if matches!(self.key, Key::Good) {
            self.key = Key::Suspect;
        }
        self.refused.push((pending, status));
    }

    /// What the answer to a key check says of the key. No answer says nothing.
    pub(super) fn judge_key(&mut self, answer: &Answer, (now, at): (Instant, Timestamp)) {
        match answer {
            Answer::KeyRefused => self.stop(StopReason::KeyRefused),
            Answer::Retry(_) => {
                let wait = self.backoff.wait(1, &mut self.chance);
                self.key = Key::Check { not_before: now + wait };
            }
            Answer::Found(_) | Answer::NotFound | Answer::Rejected(_) | Answer::Failed(_) => {
                // The key is good, so it is the first email that is refused. The others were in
                // flight beside it and are asked again.
                let (first, status) = self.refused.remove(0);
                self.key_is_good();
                let reason = "refused (HTTP 401 or 403), while the key is good";
                let failure = Failure::new(FailureCode::KeyRefused, reason);
                self.finish(Settled {
                    planned: first.planned,
                    outcome: Outcome::Failed { failure, cause: Cause::Permanent },
                    status,
                    attempts: first.attempts + 1,
                    request: self.next_request,
                    at,
                });
            }
        }
    }
}
