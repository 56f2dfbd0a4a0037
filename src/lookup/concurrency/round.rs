//! What the attempts of one round trip show.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::{Answer, Attempt, FailureCode};
use std::time::Duration;

/// The least attempts that a round is judged by, but for the first ones of a run: the mean of fewer
/// jittery latencies is a guess.
pub(in crate::lookup) const JUDGED_FROM: usize = 16;

/// Two standard errors: a difference that 1 round in 40 shows by chance.
const SURE: f64 = 2.0;

/// A latency without load is lowered only when it surely was too high: a least value that many
/// rounds may lower by chance would sink for ever.
const SURE_UNDER: f64 = 3.0;

/// The status of a gateway that waited too long for the API.
const GATEWAY_TIMEOUT: u16 = 504;

/// What an attempt shows of how loaded the API is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::lookup) enum Effect {
    /// It answered, in so many seconds.
    Answered(f64),
    /// It had no room: 503, a timeout, a connection not made or lost.
    Refused,
    /// Nothing: a 429 is about the rate, an error takes as long as it takes.
    Unclear,
}

impl Effect {
    pub(in crate::lookup) fn of(attempt: &Attempt) -> Self {
        match &attempt.answer {
            Answer::Found(_) | Answer::NotFound | Answer::Rejected(_) | Answer::Failed(_) => {
                Self::answered(attempt.latency)
            }
            Answer::KeyRefused => Self::Unclear,
            Answer::Retry(failure) => match failure.code {
                FailureCode::Connect
                | FailureCode::ConnectionLost
                | FailureCode::Timeout
                | FailureCode::Unavailable => Self::Refused,
                FailureCode::ServerError if attempt.status == Some(GATEWAY_TIMEOUT) => {
                    Self::Refused
                }
                FailureCode::ServerError
                | FailureCode::IncompleteBody
                | FailureCode::InvalidResponse
                | FailureCode::RateLimited
                | FailureCode::NoJson
                | FailureCode::MissingRoute
                | FailureCode::Redirect
                | FailureCode::UnexpectedStatus
                | FailureCode::BodyTooLarge
                | FailureCode::BrokenCustomer
                | FailureCode::KeyRefused => Self::Unclear,
            },
        }
    }

    fn answered(latency: Duration) -> Self {
        Self::Answered(latency.as_secs_f64())
    }
}

/// The attempts of a round so far.
#[derive(Debug)]
pub(in crate::lookup) struct Round {
    /// Earlier requests were started under another limit.
    first: i64,
    /// Earlier requests may have had to make a connection first: their latency says nothing.
    first_timed: i64,
    attempts: usize,
    refused: usize,
    timed: usize,
    sum: f64,
    squares: f64,
    /// Whether as many were in flight as may be.
    pub(in crate::lookup) reached: bool,
}

impl Round {
    /// A round that begins with request `first`; the latencies of the first few, which settle a
    /// change of the limit, are left out.
    pub(in crate::lookup) fn new(first: i64, settling: usize) -> Self {
        Self {
            first,
            first_timed: first.saturating_add_unsigned(settling as u64),
            attempts: 0,
            refused: 0,
            timed: 0,
            sum: 0.0,
            squares: 0.0,
            reached: false,
        }
    }

    pub(in crate::lookup) fn add(&mut self, effect: Effect, request: i64) {
        if request < self.first {
            return;
        }
        self.attempts += 1;
        match effect {
            Effect::Answered(seconds) if request >= self.first_timed => {
                self.timed += 1;
                self.sum += seconds;
                self.squares += seconds * seconds;
            }
            Effect::Refused => self.refused += 1,
            Effect::Answered(_) | Effect::Unclear => {}
        }
    }

    /// The round, once it is over: when enough attempts have ended.
    pub(in crate::lookup) fn summary(&self, needed: usize) -> Option<Summary> {
        (self.timed + self.refused >= needed).then(|| {
            let timed = self.timed as f64;
            let mean = (self.timed >= needed.min(JUDGED_FROM)).then(|| self.sum / timed);
            let variance = mean.map_or(0.0, |mean| (self.squares / timed - mean * mean).max(0.0));
            Summary {
                mean,
                error: (variance / timed.max(1.0)).sqrt(),
                timed: self.timed,
                refused: self.refused,
                attempts: self.attempts,
                reached: self.reached,
            }
        })
    }
}

/// A round that is over.
#[derive(Clone, Copy, Debug)]
pub(in crate::lookup) struct Summary {
    /// The mean latency in seconds, if there were enough answers.
    pub(in crate::lookup) mean: Option<f64>,
    /// The standard error of the mean.
    error: f64,
    /// The answers whose latency counts.
    pub(in crate::lookup) timed: usize,
    pub(in crate::lookup) refused: usize,
    pub(in crate::lookup) attempts: usize,
    pub(in crate::lookup) reached: bool,
}

impl Summary {
    pub(in crate::lookup) fn refused_share(&self) -> f64 {
        self.refused as f64 / self.attempts.max(1) as f64
    }

    /// Whether answers took longer than this, beyond chance.
    pub(in crate::lookup) fn surely_over(&self, seconds: f64) -> bool {
        self.mean.is_some_and(|mean| mean - SURE * self.error > seconds)
    }

    /// What the mean is at most, but for chance.
    pub(in crate::lookup) fn at_most(&self, mean: f64) -> f64 {
        mean + SURE * self.error
    }

    /// Whether answers were faster than this, beyond chance.
    pub(in crate::lookup) fn surely_under(&self, seconds: f64) -> bool {
        self.mean.is_some_and(|mean| mean + SURE_UNDER * self.error < seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::Failure;

    #[test]
    fn a_difference_is_sure_beyond_its_standard_errors() {
        let mut round = Round::new(0, 0);
        for request in 0..16 {
            assert!(round.summary(16).is_none());
            let seconds = if request % 2 == 0 { 0.05 } else { 0.15 };
            round.add(Effect::Answered(seconds), request);
        }
        // A mean of 100 ms with a standard error of 12.5.
        let summary = round.summary(16).unwrap();
        assert!(summary.surely_over(0.074) && !summary.surely_over(0.076));
        assert!(summary.surely_under(0.138) && !summary.surely_under(0.137));
    }

    #[test]
    fn answers_to_earlier_requests_are_of_another_round() {
        let mut round = Round::new(100, 50);
        (0..100).for_each(|request| round.add(Effect::Refused, request));
        (100..150).for_each(|request| round.add(Effect::Answered(9.0), request));
        assert!(round.summary(16).is_none());
        (150..166).for_each(|request| round.add(Effect::Answered(1.0), request));
        let summary = round.summary(16).unwrap();
        assert_eq!((summary.mean, summary.refused, summary.attempts), (Some(1.0), 0, 66));
    }

    #[test]
    fn only_a_refusal_for_want_of_room_counts_and_only_an_answer_is_timed() {
        let attempt = |answer, status| Attempt {
            answer,
            status,
            retry_after: None,
            latency: Duration::from_millis(250),
        };
        let failure = |code| Failure::new(code, "x");
        let retry = |code, status| Effect::of(&attempt(Answer::Retry(failure(code)), status));
        for code in FailureCode::ALL {
            let has_no_room = matches!(
                code,
                FailureCode::Connect
                    | FailureCode::ConnectionLost
                    | FailureCode::Timeout
                    | FailureCode::Unavailable
            );
            let expected = if has_no_room { Effect::Refused } else { Effect::Unclear };
            assert_eq!(retry(code, None), expected, "{code}");
        }
        assert_eq!(retry(FailureCode::ServerError, Some(504)), Effect::Refused);
        assert_eq!(retry(FailureCode::ServerError, Some(500)), Effect::Unclear);
        assert_eq!(retry(FailureCode::NoJson, Some(504)), Effect::Unclear);
        assert_eq!(Effect::of(&attempt(Answer::KeyRefused, Some(403))), Effect::Unclear);
        let failed = Answer::Failed(failure(FailureCode::Redirect));
        for answer in [Answer::NotFound, Answer::Rejected("x".into()), failed] {
            assert_eq!(Effect::of(&attempt(answer, None)), Effect::Answered(0.25));
        }
    }

    #[test]
    fn a_round_is_over_with_enough_answers_and_refusals() {
        let round = |answers: i64, refusals: i64| {
            let mut round = Round::new(0, 0);
            (0..answers).for_each(|request| round.add(Effect::Answered(0.1), request));
            (0..refusals).for_each(|request| round.add(Effect::Refused, request));
            round.add(Effect::Unclear, 0);
            round
        };
        assert!(round(10, 9).summary(20).is_none());
        let summary = round(10, 10).summary(20).unwrap();
        assert_eq!((summary.timed, summary.refused, summary.attempts), (10, 10, 21));
        assert_eq!(summary.mean, None, "of too few answers");
        assert_eq!(summary.error, 0.0);
        assert!((summary.refused_share() - 10.0 / 21.0).abs() < 1e-9);
        assert!((round(16, 4).summary(20).unwrap().mean.unwrap() - 0.1).abs() < 1e-9);
        assert!((round(4, 0).summary(4).unwrap().mean.unwrap() - 0.1).abs() < 1e-9);
        assert!(!summary.surely_over(0.0) && !summary.surely_under(9.0), "nothing is known");
    }

    #[test]
    fn chance_is_two_standard_errors() {
        let mut round = Round::new(0, 0);
        (0..16).for_each(|request| {
            round.add(Effect::Answered([0.05, 0.15][request % 2]), request as i64)
        });
        let summary = round.summary(16).unwrap();
        assert!((summary.at_most(0.1) - 0.125).abs() < 1e-6);
        assert!(!summary.reached);
    }
}
