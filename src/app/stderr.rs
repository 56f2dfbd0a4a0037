//! Standard error, written by a thread of its own: one that is full, slow, closed or read by nobody
//! neither delays a lookup nor ends a run.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that wait to be written; a reader that is further behind loses some.
const QUEUE: usize = 4096;

/// The end of the process waits this long for what is queued.
const FLUSH: Duration = Duration::from_secs(1);

/// A non-blocking standard error that takes nothing is tried again this often, at these intervals.
const RETRIES: u32 = 50;
const RETRY_EVERY: Duration = Duration::from_millis(20);

const CLEAR_LINE: &str = "\r\u{1b}[2K";

enum Message {
    Line(String),
    /// The line at the bottom of a terminal, redrawn after each other line.
    Status(Option<String>),
    Flush(SyncSender<()>),
}

static QUEUED: OnceLock<SyncSender<Message>> = OnceLock::new();
static LOST_LINES: AtomicU64 = AtomicU64::new(0);

/// Writes one line, to which a line end is added.
pub fn line(text: String) {
    if queue().try_send(Message::Line(text)).is_err() {
        LOST_LINES.fetch_add(1, Ordering::Relaxed);
    }
}

/// Shows `text` as the last line of a terminal; `None` takes it away.
pub fn status(text: Option<String>) {
    // The next one comes soon.
    let _ = queue().try_send(Message::Status(text));
}

/// Waits until what was queued is written, for at most a second.
pub fn flush() {
    let (done, written) = sync_channel(1);
    if queue().try_send(Message::Flush(done)).is_ok() {
        let _ = written.recv_timeout(FLUSH);
    }
}

fn queue() -> &'static SyncSender<Message> {
    QUEUED.get_or_init(|| {
        let (queue, queued) = sync_channel(QUEUE);
        // Without the thread nothing is printed, and nothing else happens.
        let _ = thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || Writer::new(io::stderr()).run(&queued));
        queue
    })
}

struct Writer<W> {
    to: W,
    status: Option<String>,
    /// Whether the last write went through: a writer that gave up does not wait again.
    takes: bool,
    /// Whether a line was cut off, so that the next one starts on a line of its own.
    in_line: bool,
}

impl<W: Write> Writer<W> {
    fn new(to: W) -> Self {
        Self { to, status: None, takes: true, in_line: false }
    }

    fn run(&mut self, queued: &Receiver<Message>) {
        while let Ok(message) = queued.recv() {
            self.handle(message);
            let lost = LOST_LINES.swap(0, Ordering::Relaxed);
            if lost > 0 {
                self.line(&format!("({lost} lines were lost: standard error is too slow)"));
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Line(line) => self.line(&line),
            Message::Status(status) => {
                let clear = if self.status.is_some() { CLEAR_LINE } else { "" };
                self.status = status.map(|status| fitting(&status, width()));
                let text = format!("{clear}{}", self.status.as_deref().unwrap_or_default());
                self.write(text.as_bytes());
            }
            Message::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }

    fn line(&mut self, line: &str) {
        let start = match (&self.status, self.in_line) {
            (Some(_), _) => CLEAR_LINE,
            (None, true) => "\n",
            (None, false) => "",
        };
        let status = self.status.as_deref().unwrap_or_default();
        let text = format!("{start}{line}\n{status}");
        self.in_line = !self.write(text.as_bytes());
    }

    /// Whether all of it was written.
    fn write(&mut self, mut bytes: &[u8]) -> bool {
        let mut retries = if self.takes { RETRIES } else { 0 };
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(0) => break,
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && retries > 0 => {
                    retries -= 1;
                    thread::park_timeout(RETRY_EVERY);
                }
                Err(_) => break,
            }
        }
        self.takes = bytes.is_empty();
        self.takes
    }
}

fn width() -> usize {
    let size = terminal_size::terminal_size_of(io::stderr());
    size.map_or(80, |(width, _)| usize::from(width.0))
}

/// As much of `text` as one line of a terminal shows without wrapping.
fn fitting(text: &str, width: usize) -> String {
    text.chars().take(width.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes a call, and fails when the list ends.
    struct Scripted {
        takes: Vec<io::Result<usize>>,
        written: Vec<u8>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let takes = if self.takes.is_empty() { Ok(usize::MAX) } else { self.takes.remove(0) };
            let taken = takes?.min(bytes.len());
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writer(takes: Vec<io::Result<usize>>) -> Writer<Scripted> {
        Writer::new(Scripted { takes, written: Vec::new() })
    }

    fn written(writer: &Writer<Scripted>) -> &str {
        std::str::from_utf8(&writer.to.written).unwrap()
    }

    #[test]
    fn a_full_or_busy_standard_error_loses_lines_and_nothing_else() {
        let fails = |kind: io::ErrorKind| Err(kind.into());
        let busy = io::ErrorKind::WouldBlock;
        let mut writer =
            writer(vec![Ok(2), fails(busy), Ok(99), Ok(3), fails(io::ErrorKind::StorageFull)]);
        writer.line("first");
        writer.line("second");
        writer.line("third");
        assert_eq!(written(&writer), "first\nsec\nthird\n");
    }

    #[test]
    fn lines_go_past_the_status() {
        let mut writer = writer(Vec::new());
        writer.handle(Message::Status(Some("50%".into())));
        writer.handle(Message::Line("news".into()));
        writer.handle(Message::Status(None));
        assert_eq!(written(&writer), "50%\r\u{1b}[2Knews\n50%\r\u{1b}[2K");
    }

    #[test]
    fn a_status_never_wraps() {
        assert_eq!(fitting("abc", 3), "ab");
        assert_eq!(fitting("abc", 80), "abc");
        assert_eq!(fitting("abc", 0), "");
    }
}
