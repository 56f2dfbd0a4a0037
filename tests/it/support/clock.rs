//! The one place in these tests that reads a clock and waits.
#![expect(clippy::disallowed_methods, reason = "a test waits for real processes in real time")]

use std::thread::sleep;
use std::time::{Duration, Instant};

/// No condition of these tests takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `holds`; if it never does, the test fails and names `what`.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(3));
    }
}

/// How long `work` takes, and what it gives.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let done = work();
    (begun.elapsed(), done)
}

/// Polls while `holds`, for `time` at most.
pub(crate) fn while_within(time: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < time && holds() {
        sleep(Duration::from_millis(2));
    }
}
