//! The emails that wait for the next sign of life before their lookup counts as failed: refused
//! ones, and those out of attempts.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::{Cause, Failure, FailureCode, Outcome, Settled};
use crate::lookup::queue::Pending;
use jiff::Timestamp;

/// An email whose last attempt would make it fail.
#[derive(Debug)]
pub(super) struct HeldEmail {
    pub(super) pending: Pending,
    pub(super) failure: Failure,
    pub(super) last: LastAttempt,
}

/// The attempt that came back last for an email.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastAttempt {
    pub(super) status: Option<u16>,
    pub(super) request: i64,
    pub(super) at: Timestamp,
}

impl HeldEmail {
    fn failed(self, cause: Cause) -> Settled {
        let Self { pending, failure, last: LastAttempt { status, request, at } } = self;
        let attempts = match cause {
            Cause::Transient => pending.counted_attempts,
            // The refusal itself is one, too.
            Cause::Permanent => pending.counted_attempts + 1,
        };
        let outcome = Outcome::Failed { failure, cause };
        Settled { planned: pending.planned, outcome, status, attempts, request, at }
    }
}

#[derive(Debug, Default)]
pub(super) struct Held {
    refused: Vec<Refused>,
    exhausted: Vec<HeldEmail>,
}

#[derive(Debug)]
struct Refused {
    email: HeldEmail,
    /// The next request to be started when the refusal came back.
    next_request: i64,
}

impl Held {
    /// Holds an email that was refused with 401 or 403 before `next_request` was started.
    pub(super) fn refuse(&mut self, pending: Pending, last: LastAttempt, next_request: i64) {
        let status = last.status.unwrap_or_default();
        let reason = format!("HTTP {status} for this email, while the key is accepted for others");
        let failure = Failure::new(FailureCode::KeyRefused, reason);
        let email = HeldEmail { pending, failure, last };
        self.refused.push(Refused { email, next_request });
    }

    /// Holds an email that is out of attempts.
    pub(super) fn exhaust(&mut self, email: HeldEmail) {
        self.exhausted.push(email);
    }

    pub(super) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.exhausted.is_empty()
    }

    /// The refused emails that failed by themselves, as the key was accepted for `request`, which
    /// was started later.
    pub(super) fn take_refused_before(&mut self, request: i64) -> Vec<Settled> {
        let before = self.refused.extract_if(.., |one| one.next_request <= request);
        before.map(|one| one.email.failed(Cause::Permanent)).collect()
    }

    /// The refused emails, to be looked up again with another key.
    pub(super) fn take_refused(&mut self) -> Vec<Pending> {
        self.refused.drain(..).map(|one| one.email.pending).collect()
    }

    /// The emails out of attempts that failed by themselves.
    pub(super) fn take_failed(&mut self) -> Vec<Settled> {
        self.exhausted.drain(..).map(|email| email.failed(Cause::Transient)).collect()
    }

    /// The emails out of attempts, to be looked up again after an outage.
    pub(super) fn take_exhausted(&mut self) -> Vec<Pending> {
        self.exhausted.drain(..).map(|email| email.pending).collect()
    }

    /// Up to `wanted` of the emails.
    pub(super) fn sample(&self, wanted: usize) -> Vec<String> {
        let refused = self.refused.iter().map(|one| &one.email);
        let all = refused.chain(&self.exhausted).take(wanted);
        all.map(|held| held.pending.planned.email.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::PlannedEmail;

    fn pending(email: &str) -> Pending {
        let planned = PlannedEmail { position: 1, key: 1, email: email.into(), resolved_to: None };
        Pending { counted_attempts: 4, ..planned.into() }
    }

    fn last(request: i64) -> LastAttempt {
        LastAttempt { status: Some(403), request, at: Timestamp::UNIX_EPOCH }
    }

    fn exhausted(email: &str) -> HeldEmail {
        let failure = Failure::new(FailureCode::ServerError, "HTTP 500");
        HeldEmail { pending: pending(email), failure, last: last(9) }
    }

    #[test]
    fn refused_emails_fail_once_the_key_is_accepted_for_a_later_request() {
        let mut held = Held::default();
        held.refuse(pending("a"), last(5), 8);
        held.refuse(pending("b"), last(6), 9);
        assert!(held.has_refused() && !held.is_empty());
        assert_eq!(held.take_refused_before(7), []);
        let failed = held.take_refused_before(8);
        let [Settled { planned, outcome, status, attempts, request, .. }] = &failed[..] else {
            panic!("{failed:?}")
        };
        assert_eq!((planned.email.as_str(), *status, *request), ("a", Some(403), 5));
        assert_eq!(*attempts, 5, "the refusal is one");
        let reason = "HTTP 403 for this email, while the key is accepted for others";
        let failure = Failure::new(FailureCode::KeyRefused, reason);
        assert_eq!(*outcome, Outcome::Failed { failure, cause: Cause::Permanent });
        assert_eq!(held.take_refused(), [pending("b")]);
        assert!(!held.has_refused() && held.is_empty());
    }

    #[test]
    fn emails_out_of_attempts_fail_or_are_looked_up_again() {
        let mut held = Held::default();
        held.exhaust(exhausted("a"));
        assert!(!held.has_refused() && !held.is_empty());
        let failed = held.take_failed();
        assert_eq!(
            failed.iter().map(|one| (one.attempts, one.request)).collect::<Vec<_>>(),
            [(4, 9)]
        );
        assert!(matches!(failed[0].outcome, Outcome::Failed { cause: Cause::Transient, .. }));
        held.exhaust(exhausted("b"));
        assert_eq!(held.take_exhausted(), [pending("b")]);
        assert!(held.is_empty());
    }

    #[test]
    fn a_sample_has_both_kinds() {
        let mut held = Held::default();
        held.exhaust(exhausted("a"));
        held.refuse(pending("b"), last(5), 8);
        assert_eq!(held.sample(1), ["b"]);
        assert_eq!(held.sample(5), ["b", "a"]);
    }
}
