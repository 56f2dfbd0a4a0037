//! Settled emails on their way to the writer. They are sent in batches: each message may have to
//! wake the other thread, which costs two system calls and a change of threads.
//!
//! Time is an argument.

use crate::domain::outcome::Settled;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// This many are sent to the writer at once.
pub const SEND_BATCH: usize = 64;

/// Fewer, if their answers are large: what waits for the writer is bounded in bytes, too.
const SEND_BYTES: usize = 64 * 1024;

/// None is held for longer: a fraction of the time that the writer waits for more.
const HELD: Duration = Duration::from_millis(20);

/// The writer is gone; it knows why.
#[derive(Debug)]
pub(super) struct WriterGone;

/// Holds settled emails until they are worth a message.
#[derive(Debug)]
pub(super) struct Outbox {
    writer: Sender<Vec<Settled>>,
    held: Vec<Settled>,
    held_bytes: usize,
    due: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(writer: Sender<Vec<Settled>>) -> Self {
        Self { writer, held: Vec::with_capacity(SEND_BATCH), held_bytes: 0, due: None }
    }

    /// Takes an email that was settled at `now`.
    pub(super) fn put(&mut self, settled: Settled, now: Instant) {
        self.due.get_or_insert(now + HELD);
        self.held_bytes += settled.bytes();
        self.held.push(settled);
    }

    /// When the emails have to go, if there are any.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.held.len() >= SEND_BATCH
            || self.held_bytes >= SEND_BYTES
            || self.due.is_some_and(|due| due <= now)
    }

    /// Sends all; waits while the writer has too many.
    pub(super) async fn send(&mut self) -> Result<(), WriterGone> {
        self.due = None;
        self.held_bytes = 0;
        if self.held.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.held, Vec::with_capacity(SEND_BATCH));
        self.writer.send(batch).await.map_err(|_| WriterGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::customer::CustomerBody;
    use crate::domain::outcome::{Outcome, PlannedEmail};
    use crate::time;
    use tokio::sync::mpsc;

    fn settled(outcome: Outcome) -> Settled {
        let planned = PlannedEmail { position: 0, key: 1, email: "a@x".into(), resolved_to: None };
        Settled { planned, outcome, status: None, attempts: 1, request: 1, at: time::now() }
    }

    #[test]
    fn emails_are_sent_when_they_are_many_or_large_or_held_for_long() {
        let (writer, mut inbox) = mpsc::channel(8);
        let mut outbox = Outbox::new(writer);
        let (now, later) = (time::instant(), time::instant() + 2 * HELD);
        let mut send = |outbox: &mut Outbox| {
            futures::executor::block_on(outbox.send()).unwrap();
            assert!(!outbox.is_due(later), "nothing is left");
            inbox.try_recv().map_or(0, |batch| batch.len())
        };
        assert_eq!(send(&mut outbox), 0);
        outbox.put(settled(Outcome::NotFound), now);
        outbox.put(settled(Outcome::NotFound), now + HELD / 2);
        assert_eq!(outbox.due(), Some(now + HELD), "the first one's");
        assert!(!outbox.is_due(now) && outbox.is_due(now + HELD));
        assert_eq!(send(&mut outbox), 2);
        (0..SEND_BATCH).for_each(|_| outbox.put(settled(Outcome::NotFound), now));
        assert!(outbox.is_due(now));
        assert_eq!(send(&mut outbox), SEND_BATCH);
        let large = format!(r#"{{"id":"c","name":"{}"}}"#, "x".repeat(SEND_BYTES));
        let large = CustomerBody::new(large.as_bytes()).unwrap();
        outbox.put(settled(Outcome::Found(Box::new(large))), now);
        assert!(outbox.is_due(now));
        assert_eq!(send(&mut outbox), 1);
    }
}
