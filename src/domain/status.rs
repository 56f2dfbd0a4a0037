//! The state of a run's lookups at this moment: what progress, reports and SIGUSR1 show.
//!
//! Pure: no clock, no I/O.

use crate::domain::stop::outage_state;
use std::time::{Duration, Instant};

/// The state of a run's lookups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LookupStatus {
    /// Without canaries.
    pub in_flight: usize,
    /// At most this many are in flight now.
    pub concurrency_limit: usize,
    /// `None`: as many per second as there are.
    pub rate_limit: Option<RateInEffect>,
    pub pause: Option<Pause>,
    pub outages: Outages,
    /// Canary lookups sent.
    pub checks: u64,
}

/// The rate that limits the starts of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateInEffect {
    /// Requests per second.
    pub per_second: f64,
    pub reason: RateReason,
}

/// Why there is a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateReason {
    /// `--rate`.
    Requested,
    /// The API's 429s taught it, in this run.
    Learned,
    /// The API's 429s taught it in an earlier run.
    Remembered,
}

impl RateReason {
    /// The words for it, as in "100 requests/s (learned from 429s)".
    pub fn text(self) -> &'static str {
        match self {
            Self::Requested => "--rate",
            Self::Learned => "learned from 429s",
            Self::Remembered => "learned by an earlier run",
        }
    }
}

/// Nothing but canaries starts for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// By the monotonic clock; of an outage: when the next canary is due.
    pub until: Instant,
    pub reason: PauseReason,
}

/// Why nothing starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PauseReason {
    /// The API asked for it with Retry-After.
    RetryAfter,
    /// An outage, for this cause.
    Outage(String),
}

impl PauseReason {
    /// The words for it, as in "paused until 12:00:00 (the API asked for it)".
    pub fn text(&self) -> String {
        match self {
            Self::RetryAfter => "the API asked for it with Retry-After".to_owned(),
            Self::Outage(cause) => format!("the API {}: {cause}", outage_state(cause)),
        }
    }
}

/// The outages of this process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outages {
    pub count: u64,
    /// From the first failure to the answer that ended each; of one that lasts, to now.
    pub time: Duration,
    pub last_cause: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_words_of_its_own() {
        let rates = [RateReason::Requested, RateReason::Learned, RateReason::Remembered];
        let words = rates.map(RateReason::text);
        assert_eq!(words, ["--rate", "learned from 429s", "learned by an earlier run"]);
        assert!(PauseReason::RetryAfter.text().contains("Retry-After"));
        assert!(
            PauseReason::Outage("connection refused".into())
                .text()
                .ends_with(": connection refused")
        );
    }
}
