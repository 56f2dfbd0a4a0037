//! The second half of `sync`: asks for what the plan holds, and writes what comes back.

use crate::api::client::Client;
use crate::app::error::Error;
use crate::domain::counts::HttpTally;
use crate::domain::run::RunReport;
use crate::domain::status::LookupStatus;
use crate::domain::stop::StopReason;
use crate::lookup::drive::{DriveError, Outlets, drive};
use crate::lookup::outbox::SEND_BATCH;
use crate::lookup::scheduler::Scheduler;
use crate::lookup::settings::LookupSettings;
use crate::plan::cursor::Cursor;
use crate::stop_switch::StopSwitch;
use crate::store::Store;
use crate::store::writer::{self, BATCH_EMAILS, Live, WriterSettings};
use crate::time;
use fastrand::Rng;
use rusqlite::Connection;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// Settled emails that wait for the writer: as many as it commits at once, so that the lookups go on
/// while it writes, at some 800 bytes each. Large answers come in smaller handfuls.
const CHANNEL: usize = BATCH_EMAILS / SEND_BATCH;

/// What asking needs besides a plan.
#[derive(Debug)]
pub(super) struct Asking {
    /// The limits.
    pub(super) lookup: LookupSettings,
    /// At most this many emails.
    pub(super) limit: Option<u64>,
    /// Whom to ask.
    pub(super) client: Client,
    /// The writer's.
    pub(super) writer: WriterSettings,
}

/// A run while it is asked for: what others may look at.
pub(super) fn live(run: RunReport, http: HttpTally) -> Arc<Live> {
    Arc::new(Live {
        run: Mutex::new(run),
        http: Mutex::new(http),
        status: Mutex::new(LookupStatus::default()),
    })
}

/// Asks until the plan is done or the run is stopped, and ends the run.
///
/// # Errors
/// The store cannot be written or read; what was committed is whole.
pub(super) async fn ask(
    store: Store,
    live: &Arc<Live>,
    asking: Asking,
    stop: &StopSwitch,
) -> Result<(Store, RunReport), Error> {
    let run_id = live.report().run_id;
    let first_request = store.first_request();
    let mut cursor = Cursor::new(store.reader()?, run_id, asking.limit);
    let (settled, inbox) = mpsc::channel(CHANNEL);
    let writer = writer::start(store, Arc::clone(live), inbox, stop.clone(), asking.writer)?;
    // The writer ends the run when the last sender is gone, so this one waits for the reason.
    let until_reason_stands = settled.clone();
    let scheduler = Scheduler::new(asking.lookup, first_request, Rng::with_seed(seed()));
    let outlets = Outlets { settled, http: &live.http, status: &live.status, stop };
    let driven =
        drive(scheduler, Arc::new(asking.client), |wanted| cursor.next_page(wanted), outlets).await;
    if let Some(limit) = asking.limit {
        stop.stop(StopReason::Limit(limit));
    }
    drop(until_reason_stands);
    // The channel is closed now: the writer commits what is left and ends the run.
    let written = tokio::task::spawn_blocking(|| writer.join()).await;
    let written = written.map_err(|error| Error::Fault(error.to_string()))?;
    let written = written.map_err(|_| {
        Error::Fault("The writer ended in an unforeseen way. Please report it.".to_owned())
    })?;
    match driven {
        Ok(()) | Err(DriveError::WriterGone) => Ok(written?),
        Err(DriveError::Plan(error)) => Err(error.into()),
        Err(error @ DriveError::Task(_)) => Err(Error::Fault(error.to_string())),
    }
}

/// Jitter should differ between processes that start at the same minute.
fn seed() -> u64 {
    let now = time::now().as_nanosecond();
    u64::from(std::process::id()) ^ (now as u64)
}

/// Notes in the store that the run failed, as far as the store still takes it.
pub(super) fn note_failure(store: &Connection, run_id: i64, reason: &str) {
    let note = "UPDATE _runs SET status = 'failed', stop_reason = ?2 WHERE id = ?1";
    if let Err(error) = store.execute(note, (run_id, reason)) {
        tracing::debug!("the failure could not be noted in the store: {error}");
    }
}
