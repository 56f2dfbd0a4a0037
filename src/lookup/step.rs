//! What the scheduler and the driver exchange: steps to do, and what came of them.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::Settled;
use crate::lookup::queue::Pending;
use std::time::{Duration, Instant};

/// One request to send; it comes back with its attempt.
#[derive(Debug)]
pub struct Ticket {
    pub(super) request: i64,
    pub(super) purpose: Purpose,
}

#[derive(Debug)]
pub(super) enum Purpose {
    Lookup(Pending),
    /// A canary lookup of one round of them.
    Canary {
        email: String,
        round: u64,
    },
}

impl Ticket {
    pub fn email(&self) -> &str {
        match &self.purpose {
            Purpose::Lookup(pending) => &pending.planned.email,
            Purpose::Canary { email, .. } => email,
        }
    }

    /// What the request counts as, apart from being one.
    pub fn kind(&self) -> RequestKind {
        match &self.purpose {
            Purpose::Canary { .. } => RequestKind::Check,
            Purpose::Lookup(pending) if pending.total_attempts > 0 => RequestKind::Retry,
            Purpose::Lookup(_) => RequestKind::First,
        }
    }
}

/// What a request counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// The first attempt of an email in this process.
    First,
    Retry,
    /// A canary lookup.
    Check,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this request.
    Start(Ticket),
    /// Pass this email on: its lookup is over.
    Settled(Settled),
    /// Offer this many emails of the plan.
    Refill(usize),
    /// Offer emails that a canary may look up, from these places of what is left of the plan
    /// (0 to 1).
    FindCanaries(Places),
    /// Read the key again, and say whether it changed.
    RereadKey,
    /// Use new connections from now on.
    Reconnect,
    /// Print this.
    Notice(Notice),
    /// Wait for an attempt, for a stop, and until this time if there is one.
    Wait(Option<Instant>),
    /// Nothing is left to do, or to wait for.
    Finished,
}

/// Places in what is left of the plan, from 0 (its beginning) to 1 (its end).
pub type Places = [f64; 3];

/// What a person watching the run wants to know when it happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// No response of any kind for so long, while lookups are in flight.
    Silence {
        time: Duration,
    },
    OutageBegan {
        cause: String,
    },
    OutageEnded {
        time: Duration,
    },
    /// Requests per second.
    RateLearned(f64),
}

/// The result of reading the key again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyReread {
    Changed,
    /// The same key, or none.
    Same,
}

/// Request numbers around one attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestSpan {
    /// The request that came back.
    pub(super) request: i64,
    /// The next one to be started.
    pub(super) next: i64,
}
