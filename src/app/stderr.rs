//! Standard error, written by a thread of its own: one that is full, slow, closed or not read
//! neither delays a lookup nor ends a run.

use indicatif::{ProgressBar, ProgressDrawTarget, TermLike};
use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that wait to be written; a reader that is further behind loses some.
const QUEUE: usize = 4096;

/// The end of the process waits this long for what is queued.
const FLUSH: Duration = Duration::from_secs(1);

/// A non-blocking standard error that takes nothing is tried again this often, at these intervals.
const RETRIES: u32 = 50;
const RETRY_EVERY: Duration = Duration::from_millis(20);

enum Message {
    /// Text with its line ends, or the codes that draw a bar.
    Text(String),
    Flush(SyncSender<()>),
}

static QUEUED: OnceLock<SyncSender<Message>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);
static BAR: OnceLock<ProgressBar> = OnceLock::new();
/// What is printed instead of so many lost lines, with its line end.
static LOSS_NOTICE: OnceLock<fn(u64) -> String> = OnceLock::new();

/// Sets the text that is printed when lines were lost.
pub fn set_loss_notice(notice: fn(u64) -> String) {
    // The first one stays.
    let _ = LOSS_NOTICE.set(notice);
}

/// Writes one line, to which a line end is added, above the bar if there is one.
pub fn line(mut text: String) {
    text.push('\n');
    match BAR.get() {
        Some(bar) => bar.suspend(|| write(text)),
        None => write(text),
    }
}

/// Waits until what was queued is written, for at most a second.
pub fn flush() {
    let (done, written) = sync_channel(1);
    if queue().try_send(Message::Flush(done)).is_ok() {
        let _ = written.recv_timeout(FLUSH);
    }
}

/// The one bar at the bottom of the terminal; lines go past it.
pub fn bar() -> &'static ProgressBar {
    BAR.get_or_init(|| {
        ProgressBar::with_draw_target(
            None,
            ProgressDrawTarget::term_like(Box::<Terminal>::default()),
        )
    })
}

fn write(text: String) {
    if queue().try_send(Message::Text(text)).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
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

/// Where the bar is drawn: what it writes goes the way of every line.
#[derive(Debug, Default)]
struct Terminal {
    drawn: Mutex<String>,
}

impl Terminal {
    fn push(&self, text: fmt::Arguments<'_>) -> io::Result<()> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = drawn.write_fmt(text);
        Ok(())
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        // A terminal of no known size.
        const WIDTH: u16 = 80;
        console::Term::stderr().size_checked().map_or(WIDTH, |(_, width)| width)
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        if lines == 0 { Ok(()) } else { self.push(format_args!("\u{1b}[{lines}A")) }
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        if lines == 0 { Ok(()) } else { self.push(format_args!("\u{1b}[{lines}B")) }
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        if columns == 0 { Ok(()) } else { self.push(format_args!("\u{1b}[{columns}C")) }
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        if columns == 0 { Ok(()) } else { self.push(format_args!("\u{1b}[{columns}D")) }
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.push(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push(format_args!("\r\u{1b}[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if !drawn.is_empty() {
            write(std::mem::take(&mut drawn));
        }
        Ok(())
    }
}

struct Writer<W> {
    to: W,
    /// Whether the last write went through: a writer that gave up does not wait again.
    takes: bool,
}

impl<W: io::Write> Writer<W> {
    fn new(to: W) -> Self {
        Self { to, takes: true }
    }

    fn run(&mut self, queued: &Receiver<Message>) {
        while let Ok(message) = queued.recv() {
            match message {
                Message::Text(text) => self.write(&text),
                Message::Flush(done) => {
                    let _ = done.try_send(());
                }
            }
            let lost = LOST.swap(0, Ordering::Relaxed);
            if let Some(notice) = LOSS_NOTICE.get()
                && lost > 0
            {
                self.write(&notice(lost));
            }
        }
    }

    /// Writes the text; what is left of it after an error that lasts is lost.
    fn write(&mut self, text: &str) {
        let mut bytes = text.as_bytes();
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes a call, and fails when the list ends.
    struct Scripted {
        takes: Vec<io::Result<usize>>,
        written: Vec<u8>,
    }

    impl io::Write for Scripted {
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
        for line in ["first\n", "second\n", "third\n"] {
            writer.write(line);
        }
        assert_eq!(written(&writer), "first\nsecthird\n");
    }

    #[test]
    fn a_bar_is_written_at_once_and_as_a_whole() {
        let terminal = Terminal::default();
        terminal.clear_line().unwrap();
        terminal.write_str("50%").unwrap();
        terminal.move_cursor_up(0).unwrap();
        assert_eq!(*terminal.drawn.lock().unwrap(), "\r\u{1b}[2K50%");
        terminal.flush().unwrap();
        assert_eq!(*terminal.drawn.lock().unwrap(), "");
    }
}
