//! The canary: an extra lookup that distinguishes a problem with the API or the key from a problem
//! with single emails.
//!
//! It looks up the newest email that this key got an answer for. Before there is one, it looks up
//! up to three emails at once, from elsewhere in the plan and one that an earlier run got an answer
//! for: any of them alone may be an email that always fails.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::CanaryCandidates;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// An answered canary vouches for what fails within this time after it.
const VOUCHES: Duration = Duration::from_secs(1);

/// While emails keep failing, a new one is sent this long after the last answer, so that lookups
/// need not stop for it.
const RENEWED_AFTER: Duration = Duration::from_millis(500);

/// Answered emails that are remembered: the newest is looked up, the others confirm its refusal.
const KNOWN: usize = 3;

/// A round looks up this many emails at most.
pub(super) const AT_ONCE: usize = 3;

/// What one canary lookup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CanaryAnswer {
    Answered,
    Refused,
    Failed(String),
    /// Says nothing, and is repeated at this time or later.
    Throttled {
        retry_at: Instant,
    },
}

/// What a round of canaries says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The API answers, and the key is accepted.
    Reachable,
    KeyRefused,
    Unreachable(String),
}

#[derive(Debug, Default)]
pub(super) struct Canary {
    /// Emails that this key got an answer for, the newest first.
    known: VecDeque<String>,
    round: Option<Round>,
    rounds: u64,
    /// How many rounds used an email of an earlier run: each uses another one.
    earlier_used: usize,
    sent_at: Option<Instant>,
    answered_at: Option<Instant>,
    /// Nobody could be looked up; something has to come back first.
    lacks_candidates: bool,
    /// Whether a round has shown that refusals were of single emails.
    has_vouched: bool,
    checks: u64,
}

/// Whom a round looks up, and so what its refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// Emails of the plan and of earlier runs: one that was answered meanwhile knows better.
    Candidates,
    /// The newest answered email.
    Newest,
    /// The answered emails before it: the newest was refused.
    Others,
}

#[derive(Debug)]
struct Round {
    number: u64,
    to_send: Vec<String>,
    in_flight: usize,
    not_before: Option<Instant>,
    refused: bool,
    failed: Option<String>,
    choice: Choice,
}

impl Canary {
    /// Notes an answer that the key got for `email`.
    pub(super) fn note_answer(&mut self, email: &str) {
        let mut newest = match self.known.len() {
            KNOWN => self.known.pop_back().unwrap_or_default(),
            _ => String::new(),
        };
        newest.clear();
        newest.push_str(email);
        self.known.push_front(newest);
    }

    /// Nothing is known of another key.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.round = None;
        self.answered_at = None;
        self.has_vouched = false;
    }

    /// Whether an answered canary vouches for what fails at `now`.
    pub(super) fn vouches(&self, now: Instant) -> bool {
        self.answered_at.is_some_and(|at| now < at + VOUCHES)
    }

    /// When the next one is to be sent while emails keep failing.
    pub(super) fn renewed_at(&self) -> Option<Instant> {
        self.answered_at.map(|at| at + RENEWED_AFTER)
    }

    /// When the last one was sent.
    pub(super) fn sent_at(&self) -> Option<Instant> {
        self.sent_at
    }

    pub(super) fn checks(&self) -> u64 {
        self.checks
    }

    pub(super) fn is_running(&self) -> bool {
        self.round.is_some()
    }

    /// Begins a round with a known email, if there is one.
    pub(super) fn begin_known(&mut self) -> bool {
        let Some(newest) = self.known.front().cloned() else {
            return false;
        };
        self.begin(vec![newest], Choice::Newest);
        true
    }

    /// Begins a round with emails of the plan and one of those answered in earlier runs, another
    /// one each time.
    pub(super) fn begin_with(&mut self, candidates: CanaryCandidates) {
        let CanaryCandidates { planned: mut emails, answered } = candidates;
        if let Some(earlier) = answered.get(self.earlier_used % answered.len().max(1)) {
            self.earlier_used += 1;
            emails.retain(|email| email != earlier);
            // Emails that always fail may stand together at either end of the plan, not at both.
            if emails.len() >= AT_ONCE {
                emails.remove(1);
            }
            emails.push(earlier.clone());
        }
        self.lacks_candidates = emails.is_empty();
        if !self.lacks_candidates {
            self.begin(emails, Choice::Candidates);
        }
    }

    fn begin(&mut self, to_send: Vec<String>, choice: Choice) {
        self.rounds += 1;
        self.round = Some(Round {
            number: self.rounds,
            to_send,
            in_flight: 0,
            not_before: None,
            refused: false,
            failed: None,
            choice,
        });
    }

    /// Whether the last search for emails found none.
    pub(super) fn lacks_candidates(&self) -> bool {
        self.lacks_candidates
    }

    /// Something came back, so there may be candidates now.
    pub(super) fn search_again(&mut self) {
        self.lacks_candidates = false;
    }

    /// Whether one of this round is still to be sent.
    pub(super) fn has_to_send(&self) -> bool {
        self.round.as_ref().is_some_and(|round| !round.to_send.is_empty())
    }

    /// When the next one of this round may be sent; `None`: now.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.round.as_ref().and_then(|round| round.not_before)
    }

    /// The next email to look up, and the number of its round.
    pub(super) fn send(&mut self, now: Instant) -> Option<(String, u64)> {
        let round = self.round.as_mut()?;
        let email = round.to_send.pop()?;
        round.in_flight += 1;
        self.checks += 1;
        self.sent_at = Some(now);
        Some((email, round.number))
    }

    /// Takes what a canary of round `number` came to, at `now`. Returns what its round says, when
    /// that is known.
    pub(super) fn settle(
        &mut self,
        email: String,
        number: u64,
        answer: CanaryAnswer,
        now: Instant,
    ) -> Option<Verdict> {
        if answer == CanaryAnswer::Answered {
            self.note_answer(&email);
        }
        let round = self.round.as_mut().filter(|round| round.number == number)?;
        round.in_flight -= 1;
        match answer {
            CanaryAnswer::Answered => {
                self.answered_at = Some(now);
                self.round = None;
                return Some(Verdict::Reachable);
            }
            CanaryAnswer::Refused => round.refused = true,
            CanaryAnswer::Failed(cause) => round.failed = Some(cause),
            CanaryAnswer::Throttled { retry_at } => {
                round.to_send.push(email);
                round.not_before = round.not_before.max(Some(retry_at));
            }
        }
        if round.in_flight > 0 || !round.to_send.is_empty() {
            return None;
        }
        let Round { failed, refused, choice, .. } = self.round.take()?;
        if let Some(cause) = failed {
            return Some(Verdict::Unreachable(cause));
        }
        let is_confirmed = match choice {
            Choice::Candidates => !self.begin_known(),
            Choice::Newest if refused && self.has_vouched => !self.begin_others(),
            Choice::Newest | Choice::Others => true,
        };
        is_confirmed.then_some(Verdict::KeyRefused)
    }

    /// Where single emails are refused, the canary's may become one of them: the other known ones
    /// decide, if there are any.
    fn begin_others(&mut self) -> bool {
        let others: Vec<String> = self.known.iter().skip(1).cloned().collect();
        let any = !others.is_empty();
        if any {
            self.begin(others, Choice::Others);
        }
        any
    }

    /// Refused emails turned out to be refused alone.
    pub(super) fn vouched(&mut self) {
        self.has_vouched = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    fn candidates(planned: &[&str], answered: &[&str]) -> CanaryCandidates {
        let owned = |emails: &[&str]| emails.iter().map(ToString::to_string).collect();
        CanaryCandidates { planned: owned(planned), answered: owned(answered) }
    }

    fn settle(canary: &mut Canary, answer: CanaryAnswer) -> Option<Verdict> {
        let (email, round) = canary.send(time::instant()).unwrap();
        canary.settle(email, round, answer, time::instant())
    }

    #[test]
    fn of_several_one_answer_is_enough_and_all_have_to_be_refused() {
        let mut canary = Canary::default();
        canary.begin_with(candidates(&["a", "b"], &["c"]));
        assert_eq!(settle(&mut canary, CanaryAnswer::Refused), None);
        assert_eq!(settle(&mut canary, CanaryAnswer::Answered), Some(Verdict::Reachable));
        let mut canary = Canary::default();
        canary.begin_with(candidates(&["a"], &["b"]));
        assert_eq!(settle(&mut canary, CanaryAnswer::Refused), None);
        assert_eq!(settle(&mut canary, CanaryAnswer::Refused), Some(Verdict::KeyRefused));
    }

    #[test]
    fn a_round_takes_three_emails_and_another_one_of_an_earlier_run_each_time() {
        let mut canary = Canary::default();
        let mut round = |planned, answered| {
            canary.begin_with(candidates(planned, answered));
            let mut sent = Vec::new();
            while let Some((email, _)) = canary.send(time::instant()) {
                sent.push(email);
            }
            sent
        };
        let planned = &["a", "b", "c"][..];
        assert_eq!(round(planned, &["x", "b"]), ["x", "c", "a"]);
        assert_eq!(round(planned, &["x", "b"]), ["b", "c", "a"]);
        assert_eq!(round(planned, &["x", "b"]), ["x", "c", "a"]);
        assert_eq!(round(planned, &[]), ["c", "b", "a"]);
        assert_eq!(round(&[], &["x"]), ["x"]);
        assert_eq!(canary.checks(), 13);
        canary.begin_with(candidates(&[], &[]));
        assert!(canary.lacks_candidates() && !canary.has_to_send());
    }

    #[test]
    fn the_newest_answered_email_is_the_next_canary() {
        let mut canary = Canary::default();
        assert!(!canary.begin_known());
        for email in ["a", "b", "c", "d"] {
            canary.note_answer(email);
        }
        assert!(canary.begin_known());
        assert_eq!(canary.send(time::instant()).unwrap().0, "d");
        assert_eq!(canary.known, ["d", "c", "b"]);
    }

    #[test]
    fn a_refusal_is_confirmed_once_single_emails_were_refused() {
        let mut canary = Canary::default();
        canary.note_answer("a");
        canary.note_answer("b");
        canary.begin_known();
        assert_eq!(settle(&mut canary, CanaryAnswer::Refused), Some(Verdict::KeyRefused));
        canary.vouched();
        canary.begin_known();
        assert_eq!(settle(&mut canary, CanaryAnswer::Refused), None);
        assert_eq!(settle(&mut canary, CanaryAnswer::Refused), Some(Verdict::KeyRefused));
    }

    #[test]
    fn an_email_that_was_answered_meanwhile_knows_better_than_refused_candidates() {
        let mut canary = Canary::default();
        canary.begin_with(candidates(&["a"], &[]));
        canary.note_answer("b");
        assert_eq!(settle(&mut canary, CanaryAnswer::Refused), None);
        assert_eq!(canary.send(time::instant()).unwrap().0, "b");
    }

    #[test]
    fn a_throttled_one_is_repeated_and_one_of_an_earlier_round_says_nothing() {
        let (mut canary, now) = (Canary::default(), time::instant());
        canary.note_answer("a");
        canary.begin_known();
        let retry_at = now + VOUCHES;
        assert_eq!(settle(&mut canary, CanaryAnswer::Throttled { retry_at }), None);
        assert_eq!(canary.not_before(), Some(retry_at));
        let (email, round) = canary.send(now).unwrap();
        canary.forget();
        assert_eq!(canary.settle(email, round, CanaryAnswer::Refused, now), None);
    }

    #[test]
    fn an_answer_vouches_for_a_second_and_is_renewed_before() {
        let (mut canary, now) = (Canary::default(), time::instant());
        assert!(!canary.vouches(now) && canary.renewed_at().is_none());
        canary.note_answer("a");
        assert!(!canary.is_running() && !canary.has_to_send() && canary.sent_at().is_none());
        canary.begin_known();
        assert!(canary.is_running() && canary.has_to_send() && canary.not_before().is_none());
        let (email, round) = canary.send(now).unwrap();
        assert!(canary.is_running() && !canary.has_to_send());
        assert_eq!((canary.sent_at(), canary.send(now)), (Some(now), None));
        let back = now + VOUCHES;
        canary.settle(email, round, CanaryAnswer::Answered, back);
        assert!(!canary.is_running() && canary.vouches(back));
        assert!(canary.vouches(back + VOUCHES / 2) && !canary.vouches(back + VOUCHES));
        assert_eq!(canary.renewed_at(), Some(back + RENEWED_AFTER));
        canary.forget();
        assert!(!canary.vouches(back) && !canary.begin_known(), "another key");
    }

    #[test]
    fn a_failure_outweighs_refusals_and_a_late_answer_of_another_round_is_kept() {
        let (mut canary, now) = (Canary::default(), time::instant());
        canary.begin_with(candidates(&["a", "b"], &[]));
        assert_eq!(settle(&mut canary, CanaryAnswer::Failed("x".into())), None);
        let verdict = Some(Verdict::Unreachable("x".into()));
        assert_eq!(settle(&mut canary, CanaryAnswer::Refused), verdict);
        canary.begin_with(candidates(&["a", "b"], &[]));
        let (late, round) = canary.send(now).unwrap();
        assert_eq!(settle(&mut canary, CanaryAnswer::Answered), Some(Verdict::Reachable));
        assert_eq!(canary.settle(late, round, CanaryAnswer::Answered, now), None);
        assert_eq!(canary.known, ["b", "a"]);
    }

    #[test]
    fn another_search_may_find_candidates() {
        let mut canary = Canary::default();
        assert!(!canary.lacks_candidates());
        canary.begin_with(CanaryCandidates::default());
        assert!(canary.lacks_candidates() && !canary.is_running());
        canary.search_again();
        assert!(!canary.lacks_candidates());
    }
}
