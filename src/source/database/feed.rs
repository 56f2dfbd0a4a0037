//! Rows that a separate thread reads from a database and sends in bounded batches.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::source::error::SourceError;

/// At most this many batches wait to be read.
const BATCHES: usize = 4;

/// A batch is sent when it has this many rows…
const BATCH_ROWS: usize = 512;

/// …or this many bytes.
const BATCH_BYTES: usize = 256 << 10;

enum Message {
    Description(String),
    Rows(Vec<String>),
    End,
    Failed(SourceError),
}

/// One row, before its text is normalized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct FeedRow {
    /// Its number in the result, counted from 1.
    pub(in crate::source) row: u64,
    pub(in crate::source) text: String,
}

/// The reading end.
pub(in crate::source) struct RowReceiver {
    // Dropped first: a thread that waits to send a batch then ends.
    messages: Receiver<Message>,
    batch: std::vec::IntoIter<String>,
    row: u64,
    place: String,
    _stop: Stop,
}

/// What ends the thread when it waits for the database.
pub(in crate::source) struct Stop(Option<Box<dyn FnOnce() + Send>>);

impl Stop {
    pub(in crate::source) fn new(stop: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(stop)))
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}

/// The writing end. Every method fails with [`Disconnected`] once the reader is gone.
pub(in crate::source) struct RowSender {
    messages: SyncSender<Message>,
    batch: Vec<String>,
    bytes: usize,
    rows: u64,
}

/// The reader is gone.
pub(in crate::source) struct Disconnected;

/// Why reading ended early.
pub(in crate::source) enum Break {
    Disconnected,
    Failed(SourceError),
}

impl From<Disconnected> for Break {
    fn from(_: Disconnected) -> Self {
        Self::Disconnected
    }
}

impl From<SourceError> for Break {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

impl RowSender {
    /// Sends how the source is read; before the first row.
    pub(in crate::source) fn describe(&mut self, how: String) -> Result<(), Disconnected> {
        self.messages.send(Message::Description(how)).map_err(|_| Disconnected)
    }

    /// Sends one row.
    pub(in crate::source) fn row(&mut self, text: String) -> Result<(), Disconnected> {
        self.rows += 1;
        self.bytes += text.len();
        self.batch.push(text);
        if self.batch.len() < BATCH_ROWS && self.bytes < BATCH_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// How many rows were sent.
    pub(in crate::source) fn rows(&self) -> u64 {
        self.rows
    }

    fn flush(&mut self) -> Result<(), Disconnected> {
        self.bytes = 0;
        self.messages.send(Message::Rows(std::mem::take(&mut self.batch))).map_err(|_| Disconnected)
    }

    fn end(mut self, result: Result<(), Break>) {
        let last = match result {
            Ok(()) => Message::End,
            Err(Break::Failed(error)) => Message::Failed(error),
            Err(Break::Disconnected) => return,
        };
        // If the reader is gone, there is nothing to report.
        if self.flush().is_ok() {
            let _ = self.messages.send(last);
        }
    }
}

/// Starts a thread that reads, and waits until it says how the source is read. `place` is for
/// messages.
pub(in crate::source) fn start(
    place: String,
    stop: Stop,
    read: impl FnOnce(&mut RowSender) -> Result<(), Break> + Send + 'static,
) -> Result<(String, RowReceiver), SourceError> {
    let (sender, messages) = sync_channel(BATCHES);
    let mut hand = RowSender { messages: sender, batch: Vec::new(), bytes: 0, rows: 0 };
    let spawned = thread::Builder::new().name("source".to_owned()).spawn(move || {
        let result = read(&mut hand);
        hand.end(result);
    });
    let feed = RowReceiver { messages, batch: Vec::new().into_iter(), row: 0, place, _stop: stop };
    spawned.map_err(|error| feed.broken(&error.to_string()))?;
    loop {
        match feed.messages.recv() {
            Ok(Message::Description(how)) => return Ok((how, feed)),
            Ok(Message::Failed(error)) => return Err(error),
            Ok(Message::Rows(rows)) if rows.is_empty() => {}
            Ok(Message::Rows(_) | Message::End) | Err(_) => return Err(feed.broken(STOPPED)),
        }
    }
}

const STOPPED: &str = "the reading thread stopped";

impl RowReceiver {
    /// The next row, or none at the end.
    pub(in crate::source) fn next_row(&mut self) -> Result<Option<FeedRow>, SourceError> {
        loop {
            if let Some(text) = self.batch.next() {
                self.row += 1;
                return Ok(Some(FeedRow { row: self.row, text }));
            }
            match self.messages.recv() {
                Ok(Message::Rows(rows)) => self.batch = rows.into_iter(),
                Ok(Message::End) => return Ok(None),
                Ok(Message::Failed(error)) => return Err(error),
                Ok(Message::Description(_)) => {}
                // Without a word: the thread panicked.
                Err(_) => return Err(self.broken(STOPPED)),
            }
        }
    }

    fn broken(&self, message: &str) -> SourceError {
        SourceError::BrokeOff {
            server: self.place.clone(),
            row: self.row,
            message: message.to_owned(),
            advice: "Run again.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_here(
        read: impl FnOnce(&mut RowSender) -> Result<(), Break> + Send + 'static,
    ) -> Result<(String, RowReceiver), SourceError> {
        start("here".to_owned(), Stop::new(|| {}), read)
    }

    #[test]
    fn rows_arrive_in_order_then_the_end() {
        let (how, mut feed) = start_here(|hand| {
            hand.describe("so".to_owned())?;
            for row in 0..5000 {
                hand.row(row.to_string())?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(how, "so");
        for row in 0..5000 {
            let expected = FeedRow { row: row + 1, text: row.to_string() };
            assert_eq!(feed.next_row().unwrap(), Some(expected));
        }
        assert!(feed.next_row().unwrap().is_none());
    }

    #[test]
    fn a_failure_comes_after_the_rows_before_it() {
        let (_, mut feed) = start_here(|hand| {
            hand.describe(String::new())?;
            hand.row("a".to_owned())?;
            Err(SourceError::Usage("x".to_owned()).into())
        })
        .unwrap();
        assert!(feed.next_row().unwrap().is_some());
        assert!(feed.next_row().is_err());
    }

    #[test]
    fn a_thread_that_dies_is_no_end_of_rows() {
        let (_, mut feed) = start_here(|hand| {
            hand.describe(String::new())?;
            hand.row("a".to_owned())?;
            std::panic::resume_unwind(Box::new("dies"));
        })
        .unwrap();
        assert!(feed.next_row().unwrap_err().to_string().contains("here broke off after row 0"));
    }

    #[test]
    fn dropping_ends_the_thread() {
        let (ended, has_ended) = sync_channel::<()>(1);
        let (_, feed) = start_here(move |hand| {
            let _ended = ended;
            hand.describe(String::new())?;
            loop {
                hand.row("x".repeat(1000))?;
            }
        })
        .unwrap();
        drop(feed);
        assert!(has_ended.recv().is_err());
    }
}
