//! SIGINT, SIGTERM and SIGHUP ask a run to stop, and the second one ends it at once; SIGUSR1 asks
//! for a status line.

use crate::app::os;
use crate::domain::stop::StopReason;
use crate::stop_switch::StopSwitch;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Sent for a write beyond a limit on the size of files; the same number on Linux and macOS.
const FILE_SIZE_LIMIT: i32 = 25;

/// Listens for signals until the runtime ends. `print_status` answers SIGUSR1.
///
/// # Errors
/// What the operating system says.
pub fn listen(stop: StopSwitch, print_status: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = if os::ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
    let mut status = signal(SignalKind::user_defined1())?;
    // Caught and ignored, so that it does not kill the process: the write reports the limit itself.
    drop(signal(SignalKind::from_raw(FILE_SIZE_LIMIT))?);
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let reason = tokio::select! {
                _ = interrupt.recv() => StopReason::Interrupted,
                _ = terminate.recv() => StopReason::Terminated,
                () = received(hangup.as_mut()) => StopReason::HungUp,
                _ = status.recv() => {
                    print_status();
                    continue;
                }
            };
            if asked {
                end_at_once(&reason);
            }
            asked = true;
            let quit = match reason {
                StopReason::Interrupted => "press Ctrl-C again",
                _ => "send a second signal",
            };
            tracing::warn!(
                event = "stopping",
                "{reason}: finishing (up to 5 s); {quit} to quit now"
            );
            stop.stop(reason);
        }
    });
    Ok(())
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Nothing is lost: what was committed is intact, the rest is pending.
#[expect(clippy::disallowed_methods, reason = "the user has asked twice")]
fn end_at_once(reason: &StopReason) -> ! {
    std::process::exit(reason.exit().code().into())
}
