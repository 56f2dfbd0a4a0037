//! Settled emails on their way to the writer. They are handed over some at a time: waking the writer
//! for each took as long as making a request.
//!
//! Time is an argument.

use crate::outcome::Settled;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// So many are handed over at once.
pub const HANDFUL: usize = 64;

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
    due: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(writer: Sender<Vec<Settled>>) -> Self {
        Self { writer, held: Vec::with_capacity(HANDFUL), due: None }
    }

    /// Takes an email that was settled at `now`.
    pub(super) fn put(&mut self, settled: Settled, now: Instant) {
        self.due.get_or_insert(now + HELD);
        self.held.push(settled);
    }

    /// When the emails have to go, if there are any.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.held.len() >= HANDFUL || self.due.is_some_and(|due| due <= now)
    }

    /// Hands all over; waits while the writer has too many.
    pub(super) async fn hand_over(&mut self) -> Result<(), WriterGone> {
        self.due = None;
        if self.held.is_empty() {
            return Ok(());
        }
        let handful = std::mem::replace(&mut self.held, Vec::with_capacity(HANDFUL));
        self.writer.send(handful).await.map_err(|_| WriterGone)
    }
}
