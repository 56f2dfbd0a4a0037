//! What a run's lookups are held to.
//!
//! Pure: no clock, no I/O.

use std::time::Duration;

/// The limits of a run's lookups.
#[derive(Clone, Debug)]
pub struct LookupSettings {
    /// At most this many requests in flight.
    pub concurrency: usize,
    /// Whether fewer are in flight when the API shows back pressure.
    pub adapting: Adapting,
    /// At most this many requests started per second.
    pub rate: Option<f64>,
    /// Attempts for one email, 429s and those of an outage aside.
    pub max_attempts: u32,
    /// The longest pause that the API may ask for.
    pub max_retry_after: Duration,
    /// How long an outage may last until the run stops.
    pub outage_wait: Duration,
    /// The share of settled emails (0 to 1) that may be rejected or failed.
    pub fail_above: f64,
}

/// Whether the number of requests in flight follows what the API bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapting {
    /// It finds its way below the ceiling.
    On,
    /// It is the ceiling from the first request on.
    Fixed,
}
