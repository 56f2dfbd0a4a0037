//! Stops a run in which too many emails were rejected or failed.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::Outcome;
use crate::domain::stop::StopReason;
use crate::lookup::settings::Progress;

/// During the run it applies from this many finished emails on, and from this part of the plan on.
const MIN_FINISHED: u64 = 100;
const MIN_PART: u64 = 10;

/// At the end it applies from this many on.
const MIN_FINISHED_AT_END: u64 = 20;

#[derive(Debug)]
pub(super) struct FailureLimit {
    fail_above: f64,
    progress: Progress,
}

impl FailureLimit {
    pub(super) fn new(fail_above: f64, progress: Progress) -> Self {
        Self { fail_above, progress }
    }

    pub(super) fn count(&mut self, outcome: &Outcome) {
        self.progress.finished += 1;
        if matches!(outcome, Outcome::Rejected(_) | Outcome::Failed { .. }) {
            self.progress.unanswered += 1;
        }
    }

    /// Why the run has to stop now, if it has to.
    pub(super) fn exceeded(&self) -> Option<StopReason> {
        let Progress { planned, finished, .. } = self.progress;
        let is_enough = finished >= MIN_FINISHED && finished.saturating_mul(MIN_PART) >= planned;
        if is_enough { self.exceeded_by_share() } else { None }
    }

    /// Why the run has not ended well, if it has not.
    pub(super) fn exceeded_at_end(&self) -> Option<StopReason> {
        if self.progress.finished >= MIN_FINISHED_AT_END { self.exceeded_by_share() } else { None }
    }

    fn exceeded_by_share(&self) -> Option<StopReason> {
        let Progress { finished: settled, unanswered, .. } = self.progress;
        let is_over = unanswered as f64 > self.fail_above * settled as f64;
        is_over.then_some(StopReason::FailureLimit { unanswered, settled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::{Cause, Failure, FailureCode};

    fn limit(planned: u64, finished: u64, unanswered: u64) -> FailureLimit {
        FailureLimit::new(0.5, Progress { planned, finished, unanswered })
    }

    #[test]
    fn it_applies_from_a_hundred_emails_and_a_tenth_of_the_plan_on() {
        assert_eq!(limit(200, 99, 99).exceeded(), None);
        assert!(limit(200, 100, 51).exceeded().is_some());
        assert_eq!(limit(200, 100, 50).exceeded(), None);
        assert_eq!(limit(10_000, 999, 999).exceeded(), None);
        assert!(limit(10_000, 1000, 999).exceeded().is_some());
    }

    #[test]
    fn at_the_end_it_applies_from_twenty_on() {
        assert_eq!(limit(19, 19, 19).exceeded_at_end(), None);
        assert!(limit(20, 20, 11).exceeded_at_end().is_some());
        assert_eq!(limit(20, 20, 10).exceeded_at_end(), None);
    }

    #[test]
    fn only_emails_without_an_answer_count_against_it() {
        let failure = Failure::new(FailureCode::NoJson, "x");
        let failed = || Outcome::Failed { failure: failure.clone(), cause: Cause::Transient };
        let mut limit = limit(0, 0, 0);
        for outcome in [Outcome::NotFound, Outcome::Rejected("x".into()), failed(), failed()] {
            limit.count(&outcome);
        }
        assert_eq!((limit.progress.finished, limit.progress.unanswered), (4, 3));
    }
}
