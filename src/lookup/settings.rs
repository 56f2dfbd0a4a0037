//! The limits of a run's lookups.
//!
//! Pure: no clock, no I/O.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct LookupSettings {
    /// At most this many requests in flight.
    pub concurrency: usize,
    pub adapting: Adapting,
    /// At most this many requests started per second.
    pub rate: Option<f64>,
    /// Attempts for one email, without 429s and those of an outage.
    pub max_attempts: u32,
    /// The time limit of one request.
    pub timeout: Duration,
    /// The longest pause that the API may ask for, and the longest time of nothing but 429s.
    pub max_retry_after: Duration,
    /// The run stops after this long without an answer.
    pub outage_wait: Duration,
    /// The share of finished emails (0 to 1) that may be rejected or failed.
    pub fail_above: f64,
}

/// Whether the number of requests in flight follows what the API sustains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapting {
    /// The limit adapts below the maximum.
    On,
    /// The limit is the maximum from the first request on.
    Fixed,
}

/// Where a process begins the lookups of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beginning {
    /// The number of the first request: higher than any before it.
    pub first_request: i64,
    pub progress: Progress,
    /// What the API sustained in the last run.
    pub learned: Option<LearnedLimits>,
}

/// How far a run is, over all of its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub planned: u64,
    pub finished: u64,
    /// Of the finished ones, those rejected or failed.
    pub unanswered: u64,
}

/// The limits that the API sustained at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedLimits {
    pub concurrency: usize,
    /// Requests per second, if 429s taught a rate.
    pub rate: Option<f64>,
}
