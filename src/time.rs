//! The edges where time comes in, and the one way in which the store writes it.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// The wall clock. It may jump: only for times that are shown or stored, never for waits.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The monotonic clock: for waits, latencies and deadlines.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn instant() -> Instant {
    Instant::now()
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub mono: Instant,
    pub wall: Timestamp,
}

/// Both clocks now.
pub fn moment() -> Moment {
    Moment { mono: instant(), wall: now() }
}

/// Where a thread of its own reads the time: the machine's clocks, or simulated ones.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Moment + Send + Sync>);

impl Clock {
    pub fn new(read: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The machine's.
    pub fn real() -> Self {
        Self::new(moment)
    }

    pub fn now(&self) -> Moment {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// `YYYY-MM-DDTHH:MM:SS.sssZ`, which sorts as text.
pub fn text(at: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    PRINTER.timestamp_to_string(&at)
}

/// A time as the API sent it, in the store's form if it is one.
pub fn converted(sent: &str) -> String {
    sent.parse().map_or_else(|_| sent.to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_form_in_utc() {
        assert_eq!(converted("2025-10-01T12:00:00Z"), "2025-10-01T12:00:00.000Z");
        assert_eq!(converted("2025-10-01T14:00:00.1239+02:00"), "2025-10-01T12:00:00.123Z");
        assert_eq!(converted("1959-10-01T12:00:00Z"), "1959-10-01T12:00:00.000Z");
    }

    #[test]
    fn what_is_no_time_stays_as_sent() {
        for sent in ["", "yesterday", "2025-10-01", "2025-10-01T12:00:00", "1759320000"] {
            assert_eq!(converted(sent), sent);
        }
    }
}
