//! The emails that wait for a request: first the new ones in the plan's order, then those that
//! wait for a retry. An email that always fails so never delays another one's first attempt.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::PlannedEmail;
use fastrand::Rng;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

/// When this many emails wait for a retry, retries go first until there are fewer. Keeps memory
/// flat when many fail, at some 150 bytes each.
const MAX_DEFERRED: usize = 50_000;

/// An email without an outcome, with its attempts so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) planned: PlannedEmail,
    /// Attempts without 429s and those of an outage.
    pub(super) counted_attempts: u32,
    pub(super) total_attempts: u32,
    /// The streak of failures that the latest counted attempts belong to, and how many do.
    pub(super) streak: u64,
    pub(super) attempts_in_streak: u32,
    /// Whether a connection that was found dead was replaced for it.
    pub(super) connection_replaced: bool,
}

impl From<PlannedEmail> for Pending {
    fn from(planned: PlannedEmail) -> Self {
        Self {
            planned,
            counted_attempts: 0,
            total_attempts: 0,
            streak: 0,
            attempts_in_streak: 0,
            connection_replaced: false,
        }
    }
}

/// Which email is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// [`Queue::pop`] returns it.
    Now,
    /// One of the plan, which has to be offered first.
    Refill,
    /// One that waits for its retry until then.
    At(Instant),
    /// None is left.
    Empty,
}

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

    pub(super) fn put_first(&mut self, pending: Pending) {
        self.ready.push_front(pending);
    }

    /// Lets an email wait until `due`.
    pub(super) fn defer(&mut self, pending: Pending, due: Instant) {
        self.deferred.push(Reverse(Deferred { due, pending }));
    }

    pub(super) fn turn(&self, now: Instant) -> Turn {
        if self.deferred.len() < MAX_DEFERRED {
            if !self.ready.is_empty() {
                return Turn::Now;
            }
            if !self.plan_ended {
                return Turn::Refill;
            }
        }
        match self.deferred.peek() {
            Some(Reverse(first)) if first.due <= now => Turn::Now,
            Some(Reverse(first)) => Turn::At(first.due),
            None => Turn::Empty,
        }
    }

    pub(super) fn pop(&mut self, now: Instant) -> Option<Pending> {
        if self.deferred.len() < MAX_DEFERRED
            && let Some(new) = self.ready.pop_front()
        {
            return Some(new);
        }
        match self.deferred.peek() {
            Some(Reverse(first)) if first.due <= now => {
                self.deferred.pop().map(|one| one.0.pending)
            }
            _ => None,
        }
    }

    /// Whether every email of the plan had its first attempt.
    pub(super) fn has_nothing_new(&self) -> bool {
        self.plan_ended && self.ready.is_empty()
    }

    /// Whether no email waits.
    pub(super) fn is_empty(&self) -> bool {
        self.has_nothing_new() && self.deferred.is_empty()
    }

    /// Up to `wanted` emails that were not looked up yet, picked at random.
    pub(super) fn sample_new(&self, wanted: usize, random: &mut Rng) -> Vec<String> {
        let picked = random.choose_multiple(self.ready.iter(), wanted);
        picked.into_iter().map(|pending| pending.planned.email.clone()).collect()
    }

    /// Up to `wanted` emails that wait for a retry.
    pub(super) fn sample_deferred(&self, wanted: usize) -> Vec<String> {
        let some = self.deferred.iter().take(wanted);
        some.map(|Reverse(deferred)| deferred.pending.planned.email.clone()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;
    use std::time::Duration;

    fn email(position: i64) -> PlannedEmail {
        let email = format!("{position}@x.io");
        PlannedEmail { position, key: position, email, resolved_to: None }
    }

    fn pop(queue: &mut Queue, now: Instant) -> Option<i64> {
        queue.pop(now).map(|pending| pending.planned.position)
    }

    #[test]
    fn new_emails_go_first_and_retries_when_they_are_due() {
        let (mut queue, now) = (Queue::default(), time::instant());
        assert_eq!(queue.turn(now), Turn::Refill);
        queue.offer(vec![email(1), email(2)]);
        let soon = now + Duration::from_secs(1);
        queue.defer(email(3).into(), soon);
        queue.put_first(email(4).into());
        assert_eq!(queue.turn(now), Turn::Now);
        assert!(!queue.has_nothing_new());
        assert_eq!([(); 4].map(|()| pop(&mut queue, soon)), [Some(4), Some(1), Some(2), Some(3)]);
        assert_eq!((queue.turn(now), queue.is_empty()), (Turn::Refill, false));
        queue.offer(Vec::new());
        assert_eq!((queue.turn(now), queue.is_empty()), (Turn::Empty, true));
    }

    #[test]
    fn what_is_due_first_is_retried_first_and_not_before() {
        let (mut queue, now) = (Queue::default(), time::instant());
        queue.offer(Vec::new());
        let at = |seconds| now + Duration::from_secs(seconds);
        for (position, seconds) in [(1, 9), (2, 5), (4, 7), (3, 7)] {
            queue.defer(email(position).into(), at(seconds));
        }
        assert!(queue.has_nothing_new() && !queue.is_empty());
        assert_eq!((queue.turn(at(4)), pop(&mut queue, at(4))), (Turn::At(at(5)), None));
        assert_eq!(queue.turn(at(5)), Turn::Now);
        assert_eq!([(); 4].map(|()| pop(&mut queue, at(9))), [Some(2), Some(3), Some(4), Some(1)]);
    }

    #[test]
    fn retries_go_first_when_too_many_wait() {
        let (mut queue, now) = (Queue::default(), time::instant());
        let later = now + Duration::from_secs(1);
        queue.offer(vec![email(-1)]);
        for position in 1..MAX_DEFERRED as i64 {
            queue.defer(email(position).into(), later);
        }
        assert_eq!(queue.turn(now), Turn::Now);
        queue.defer(email(0).into(), later);
        assert_eq!((queue.turn(now), pop(&mut queue, now)), (Turn::At(later), None));
        assert_eq!([(); 2].map(|()| pop(&mut queue, later)), [Some(0), Some(-1)]);
    }

    #[test]
    fn samples_are_of_emails_that_wait() {
        let (mut queue, now) = (Queue::default(), time::instant());
        queue.offer((1..9).map(email).collect());
        queue.defer(email(20).into(), now);
        queue.defer(email(21).into(), now);
        let new = queue.sample_new(3, &mut Rng::with_seed(1));
        let waiting: Vec<String> = (1..9).map(|position| email(position).email).collect();
        assert!(new.len() == 3 && new.iter().all(|email| waiting.contains(email)), "{new:?}");
        assert_eq!(queue.sample_deferred(1).len(), 1);
        let mut deferred = queue.sample_deferred(5);
        deferred.sort();
        assert_eq!(deferred, ["20@x.io", "21@x.io"]);
    }
}
