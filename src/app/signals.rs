//! SIGINT and SIGTERM ask a run to stop; the second one ends it at once.

use crate::domain::stop::StopReason;
use crate::stop_switch::StopSwitch;
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Sent for a write beyond a limit on the size of files; the same number on Linux and macOS.
const FILE_SIZE_LIMIT: i32 = 25;

/// Listens for signals until the task is dropped.
///
/// # Errors
/// What the operating system says.
pub fn listen(stop: StopSwitch) -> io::Result<tokio::task::JoinHandle<()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Heard, though nobody listens: it kills no more, and the write tells of the limit itself.
    drop(signal(SignalKind::from_raw(FILE_SIZE_LIMIT))?);
    Ok(tokio::spawn(async move {
        let mut asked = false;
        loop {
            let reason = tokio::select! {
                _ = interrupt.recv() => StopReason::Interrupted,
                _ = terminate.recv() => StopReason::Terminated,
            };
            if asked {
                end_at_once(&reason);
            }
            asked = true;
            tracing::warn!("{reason}: ending; what is in flight may take 5 s");
            stop.stop(reason);
        }
    }))
}

/// Nothing is lost: what was committed is whole, the rest is pending.
#[expect(clippy::disallowed_methods, reason = "the user has asked twice")]
fn end_at_once(reason: &StopReason) -> ! {
    std::process::exit(reason.exit().code().into())
}
