//! The emails that ran out of attempts, held back while their failures may still turn out to be
//! the beginning of an outage.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::{Cause, Failure, Outcome, Settled};
use crate::lookup::outage::WINDOW;
use crate::lookup::queue::Pending;
use jiff::Timestamp;
use std::collections::VecDeque;

/// An email out of attempts, with the last of them.
#[derive(Debug)]
pub(in crate::lookup) struct Doubtful {
    pub(in crate::lookup) pending: Pending,
    pub(in crate::lookup) failure: Failure,
    pub(in crate::lookup) status: Option<u16>,
    pub(in crate::lookup) request: i64,
    pub(in crate::lookup) at: Timestamp,
}

impl Doubtful {
    /// Failed, after all.
    pub(in crate::lookup) fn settled(self) -> Settled {
        let Self { pending, failure, status, request, at } = self;
        let outcome = Outcome::Failed { failure, cause: Cause::Transient };
        let Pending { planned, attempts, .. } = pending;
        Settled { planned, outcome, status, attempts, request, at }
    }
}

/// These emails, the longest held first, each with the attempts that the breaker had noted by
/// then. No more than its window holds.
#[derive(Debug, Default)]
pub(in crate::lookup) struct Doubts(VecDeque<(u64, Doubtful)>);

impl Doubts {
    pub(in crate::lookup) fn hold(&mut self, noted: u64, doubtful: Doubtful) {
        self.0.push_back((noted, doubtful));
    }

    /// The next email whose last attempt has left the breaker's window: it failed by itself.
    pub(in crate::lookup) fn beyond(&mut self, noted: u64) -> Option<Settled> {
        let beyond = |(held, _): &mut (u64, Doubtful)| noted - *held >= WINDOW as u64;
        self.0.pop_front_if(beyond).map(|(_, doubtful)| doubtful.settled())
    }

    /// The next email, at the end of all: no outage was noticed.
    pub(in crate::lookup) fn last(&mut self) -> Option<Settled> {
        self.0.pop_front().map(|(_, doubtful)| doubtful.settled())
    }

    /// The next email, when there is an outage: it is to be asked again.
    pub(in crate::lookup) fn excused(&mut self) -> Option<Pending> {
        self.0.pop_front().map(|(_, doubtful)| doubtful.pending)
    }
}
