//! What the scheduler asks to be done.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::Settled;
use crate::lookup::queue::Pending;
use std::time::Instant;

/// One request to make; it comes back with its answer.
#[derive(Debug)]
pub struct Ticket {
    pub(super) pending: Pending,
    pub(super) request: i64,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To get an answer for the email.
    Lookup,
    /// To tell a refused key from a refused email, too.
    KeyCheck,
    /// To tell whether an outage is over, too.
    Probe,
}

impl Ticket {
    /// The email to ask for.
    pub fn email(&self) -> &str {
        &self.pending.planned.email
    }

    /// Whether the email was asked for before.
    pub fn is_retry(&self) -> bool {
        self.pending.tries > 0
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Make this request.
    Start(Ticket),
    /// Hand this email on: it is settled.
    Settled(Settled),
    /// Offer this many emails of the plan.
    Refill(usize),
    /// Read the key again and tell whether it changed.
    RereadKey,
    /// Wait for an answer, for a stop, and until this time if there is one.
    Wait(Option<Instant>),
    /// Nothing is left to do, or to wait for.
    Finished,
}

/// What reading the key again brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyReread {
    /// Another key.
    Changed,
    /// The same, or none.
    Same,
}
