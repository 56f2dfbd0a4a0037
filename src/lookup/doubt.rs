//! The emails that ran out of attempts, held back while their failures may still turn out to be
//! the beginning of an outage.
//!
//! Pure: no clock, no I/O.

use crate::lookup::breaker::WINDOW;
use crate::lookup::queue::Pending;
use crate::outcome::{Cause, Failure, Outcome, Settled};
use jiff::Timestamp;
use std::collections::VecDeque;

/// An email out of attempts, with the last of them.
#[derive(Debug)]
pub(super) struct Doubtful {
    pub(super) pending: Pending,
    pub(super) failure: Failure,
    pub(super) status: Option<u16>,
    pub(super) request: i64,
    pub(super) at: Timestamp,
}

impl Doubtful {
    /// Failed, after all.
    pub(super) fn settled(self) -> Settled {
        let Self { pending, failure, status, request, at } = self;
        let outcome = Outcome::Failed { failure, cause: Cause::Passing };
        let Pending { planned, attempts, .. } = pending;
        Settled { planned, outcome, status, attempts, request, at }
    }
}

/// These emails, the longest held first, each with the attempts that the breaker had noted by
/// then. No more than its window holds.
#[derive(Debug, Default)]
pub(super) struct Doubts(VecDeque<(u64, Doubtful)>);

impl Doubts {
    pub(super) fn hold(&mut self, noted: u64, doubtful: Doubtful) {
        self.0.push_back((noted, doubtful));
    }

    /// The next email whose last attempt has left the breaker's window: it failed by itself.
    pub(super) fn beyond(&mut self, noted: u64) -> Option<Settled> {
        let beyond = |(held, _): &mut (u64, Doubtful)| noted - *held >= WINDOW as u64;
        self.0.pop_front_if(beyond).map(|(_, doubtful)| doubtful.settled())
    }

    /// The next email, at the end of all: no outage was noticed.
    pub(super) fn last(&mut self) -> Option<Settled> {
        self.0.pop_front().map(|(_, doubtful)| doubtful.settled())
    }

    /// The next email, when there is an outage: it is to be asked again.
    pub(super) fn excused(&mut self) -> Option<Pending> {
        self.0.pop_front().map(|(_, doubtful)| doubtful.pending)
    }
}
