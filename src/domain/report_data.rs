//! What a report shows besides its run: the store, the earlier runs, the course of the run.
//!
//! Pure: no clock, no I/O.

use crate::domain::run::RunReport;

/// Everything about a run's surroundings; empty where the store cannot be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportData {
    /// `None`: not known.
    pub gauges: Option<Gauges>,
    /// The end of the newest run of the source that ended.
    pub last_end: Option<LastEnd>,
    /// When a run of the source last ended well, as the store writes it.
    pub last_success: Option<String>,
    /// When the process that wrote the store last began.
    pub process_started: Option<String>,
    /// The newest runs of the source, the newest first.
    pub runs: Vec<RunReport>,
    /// The course of the run.
    pub series: Vec<Point>,
    /// How long responses took.
    pub latencies: Vec<LatencyBucket>,
    /// The first rejects of the run.
    pub rejects: Vec<Reject>,
}

/// What the store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    pub customers: u64,
    pub missing: u64,
    /// Emails that were planned, but never answered.
    pub never_answered: u64,
    /// The oldest of all answers that are the last for their email.
    pub oldest_answer: Option<String>,
    pub bytes: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEnd {
    pub at: String,
    pub exit_code: u8,
}

/// Responses that took longer than `above_ms`, and no longer than `up_to_ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyBucket {
    pub above_ms: f64,
    pub up_to_ms: f64,
    pub responses: u64,
}

/// A row without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub row: u64,
    pub input: String,
    pub code: String,
    pub reason: String,
}

/// How a run stood at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Of working time, over all processes of the run.
    pub second: u64,
    /// Emails settled by then.
    pub settled: u64,
    /// Of these, rejected or failed.
    pub failed: u64,
    /// The most lookups in flight at that time; `None`: not known.
    pub concurrency: Option<u32>,
    /// The requests per second allowed at that time; `None`: no limit, or not known.
    pub rate: Option<f64>,
}
