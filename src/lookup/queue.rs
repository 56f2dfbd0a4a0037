//! The emails that wait for a request: new ones in the plan's order, and those that wait for
//! their retry.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::PlannedEmail;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

/// At most this many emails wait for a retry; beyond it no new ones are asked. Keeps memory flat
/// when many fail, at some 150 bytes each.
const MAX_DEFERRED: usize = 50_000;

/// An email on its way, with its attempts so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) planned: PlannedEmail,
    /// Attempts that count.
    pub(super) attempts: u32,
    /// All attempts, 429s and those of an outage included.
    pub(super) tries: u32,
    /// How many attempts the API had answered when the first of these failed.
    pub(super) failing_since: Option<u64>,
}

impl From<PlannedEmail> for Pending {
    fn from(planned: PlannedEmail) -> Self {
        Self { planned, attempts: 0, tries: 0, failing_since: None }
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Somebody's: [`Queue::pop`] hands the email out.
    Now,
    /// That of an email of the plan, which has to be offered first.
    Refill,
    /// Nobody's until then.
    At(Instant),
    /// Nobody waits.
    Empty,
}

/// The emails that wait for a request.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Pending>,
    deferred: BinaryHeap<Reverse<Deferred>>,
    plan_ended: bool,
}

impl Queue {
    /// Takes further emails of the plan; none: there are no more.
    pub(super) fn offer(&mut self, page: Vec<PlannedEmail>) {
        self.plan_ended = page.is_empty();
        self.ready.extend(page.into_iter().map(Pending::from));
    }

    /// Puts an email before all others.
    pub(super) fn put_first(&mut self, pending: Pending) {
        self.ready.push_front(pending);
    }

    /// Lets an email wait until `due`.
    pub(super) fn defer(&mut self, pending: Pending, due: Instant) {
        self.deferred.push(Reverse(Deferred { due, pending }));
    }

    /// Whose turn it is at `now`.
    pub(super) fn turn(&self, now: Instant) -> Turn {
        let due = self.deferred.peek().map(|Reverse(first)| first.due);
        let may_begin = self.deferred.len() < MAX_DEFERRED;
        match due {
            Some(due) if due <= now => Turn::Now,
            _ if may_begin && !self.ready.is_empty() => Turn::Now,
            _ if may_begin && !self.plan_ended => Turn::Refill,
            Some(due) => Turn::At(due),
            None => Turn::Empty,
        }
    }

    /// The email whose turn it is at `now`: retries that are due go first.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Pending> {
        match self.deferred.peek() {
            Some(Reverse(first)) if first.due <= now => self.pop_deferred(),
            _ => self.ready.pop_front(),
        }
    }

    /// Whether there is an email at all, due or not; `Refill` and `Nobody` say that there is not.
    pub(super) fn any(&self) -> Turn {
        match (self.ready.is_empty() && self.deferred.is_empty(), self.plan_ended) {
            (false, _) => Turn::Now,
            (true, false) => Turn::Refill,
            (true, true) => Turn::Empty,
        }
    }

    /// An email that was not asked yet, or else the next to be asked again, due or not.
    pub(super) fn pop_any(&mut self) -> Option<Pending> {
        self.ready.pop_front().or_else(|| self.pop_deferred())
    }

    fn pop_deferred(&mut self) -> Option<Pending> {
        self.deferred.pop().map(|Reverse(deferred)| deferred.pending)
    }
}

/// An email that waits for its retry and holds no slot. The earliest due is the least.
#[derive(Debug, PartialEq, Eq)]
struct Deferred {
    due: Instant,
    pending: Pending,
}

impl Ord for Deferred {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |one: &Self| (one.due, one.pending.planned.position);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Deferred {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
