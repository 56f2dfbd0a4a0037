//! The second part of `sync`: looks up what the plan holds, and writes what is answered.

use crate::app::error::Error;
use crate::app::logging::{self, Line};
use crate::app::progress::{self, Progress};
use crate::commands::sync::Session;
use crate::commands::sync::outputs::{EndedRun, Outputs};
use crate::commands::sync::prepare::{ReadyRun, Setup};
use crate::commands::sync::publishing::Publisher;
use crate::domain::stop::StopReason;
use crate::lookup::driver::{DriveError, Driver, Outlets};
use crate::lookup::outbox::SEND_BATCH;
use crate::lookup::scheduler::Scheduler;
use crate::lookup::settings::{self, Beginning, LearnedLimits};
use crate::plan::cursor::Cursor;
use crate::store::live::Live;
use crate::store::writer::{self, BATCH_EMAILS, WriterSettings, organization};
use crate::store::{Checkpoint, Reopener, Store, StoreError, learned, runs};
use crate::time;
use fastrand::Rng;
use jiff::Timestamp;
use rusqlite::Connection;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;
use tracing::Level;

/// Settled emails that wait for the writer: as many as it commits at once, so that the lookups
/// continue while it writes, at some 800 bytes each. Large answers come in smaller batches.
const CHANNEL: usize = BATCH_EMAILS / SEND_BATCH;

/// What SIGUSR1 shows, once there is something.
#[derive(Clone, Default)]
pub(super) struct Watched(Arc<OnceLock<Arc<Progress>>>);

impl Watched {
    fn follow(&self, progress: &Arc<Progress>) {
        // Set once: a process works on one run.
        let _ = self.0.set(Arc::clone(progress));
    }

    pub(super) fn print_status(&self) {
        match self.0.get() {
            Some(progress) => progress.print(),
            None => logging::print(Line {
                level: Level::INFO,
                event: "status",
                text: "planning: reading the source",
                fields: Vec::new(),
            }),
        }
    }
}

/// Looks up until the plan is done or the run is stopped, and ends the run.
///
/// # Errors
/// The store cannot be written or read; what was committed is intact.
pub(super) async fn look_up(
    ready: ReadyRun,
    session: &Session<'_>,
    outputs: &mut Outputs,
) -> Result<EndedRun, Error> {
    let ReadyRun { store, run, http, setup } = ready;
    let live = Arc::new(Live::new(run, http));
    let reopener = store.reopener();
    let shown = Arc::clone(&live);
    let progress = Progress::new(move || shown.report());
    session.watched.follow(&progress);
    let files = outputs.follow(&live);
    let shown = tokio::spawn(progress.show(session.settings.terminal));
    let ended = work_and_publish(store, setup, &live, session).await;
    shown.abort();
    files.abort();
    progress::clear(session.settings.terminal);
    let now = session.clock.now().wall;
    ended.inspect_err(|error| note_failure(reopener, &live, error, now))
}

/// The lookups, with publications beside them and one at the end, if there are to be any.
async fn work_and_publish(
    store: Store,
    setup: Box<Setup>,
    live: &Arc<Live>,
    session: &Session<'_>,
) -> Result<EndedRun, Error> {
    let start = |schedule| Publisher::start(schedule, &store, session.stop.clone());
    let publisher = setup.schedule.clone().map(start).transpose()?;
    let mut ended = work(store, setup, live, session).await?;
    if let Some(publisher) = publisher {
        ended = publisher.finish(ended, session).await?;
    }
    if ended.store.checkpoint()? == Checkpoint::ReaderInTheWay {
        tracing::warn!(
            event = "reader_in_the_way",
            "Another program reads the store, so its -wal file keeps what that one does not see yet. \
             The next run shortens it."
        );
    }
    Ok(ended)
}

/// Drives the lookups, with the writer on its own thread.
async fn work(
    store: Store,
    setup: Box<Setup>,
    live: &Arc<Live>,
    session: &Session<'_>,
) -> Result<EndedRun, Error> {
    let Session { settings, clock, stop, .. } = session;
    let run_id = live.report().run_id;
    let first_request = store.first_request();
    let api_url = setup.client.base_url().to_owned();
    let learned = load_learned(&store.connection, &api_url)?;
    let cursor = Cursor::new(store.reader()?, run_id, settings.limit);
    let (settled, inbox) = mpsc::channel(CHANNEL);
    let writer_settings = WriterSettings {
        missing: settings.missing,
        organization: organization(&store.connection)?,
        began: session.began,
        clock: (*clock).clone(),
    };
    let writer = writer::start(store, Arc::clone(live), inbox, stop.clone(), writer_settings)?;
    // The writer ends the run when the last sender is gone, so this one waits for the reason.
    let until_reason_stands = settled.clone();
    let counts = live.report().counts;
    let progress = settings::Progress {
        planned: counts.planned,
        finished: counts.settled(),
        unanswered: counts.unanswered(),
    };
    let beginning = Beginning { first_request, progress, learned };
    let scheduler = Scheduler::new(setup.lookup, beginning, Rng::with_seed(seed()));
    let outlets = Outlets { settled, http: &live.http, status: &live.status, stop, clock };
    let driven = Driver::new(scheduler, setup.client, cursor, outlets).run().await;
    if let Some(limit) = session.settings.limit {
        stop.stop(StopReason::Limit(limit));
    }
    drop(until_reason_stands);
    // The channel is closed now: the writer commits what is left and ends the run.
    let written = tokio::task::spawn_blocking(|| writer.join()).await.map_err(Error::bug)?;
    let written = written.map_err(|_| Error::Bug("the writer panicked".to_owned()))?;
    match driven {
        Ok(learned) => {
            let (store, run) = written?;
            save_learned(&store, &api_url, learned, clock.now().wall)?;
            Ok(EndedRun { store, run })
        }
        Err(DriveError::WriterGone) => {
            let (store, run) = written?;
            Ok(EndedRun { store, run })
        }
        Err(DriveError::Plan(error)) => Err(error.into()),
        Err(error @ DriveError::Task(_)) => Err(Error::bug(error)),
    }
}

/// What the last run learned about this API.
pub(super) fn load_learned(
    store: &Connection,
    api_url: &str,
) -> Result<Option<LearnedLimits>, Error> {
    let learned = learned::load(store, api_url)?;
    Ok(learned.map(|learned| LearnedLimits {
        concurrency: learned.concurrency.map_or(0, |limit| limit as usize),
        rate: learned.rate,
    }))
}

/// Remembers what this run learned about the API, for the next one.
pub(super) fn save_learned(
    store: &Store,
    api_url: &str,
    learned: LearnedLimits,
    at: Timestamp,
) -> Result<(), Error> {
    let LearnedLimits { concurrency, rate } = learned;
    let limits = learned::LearnedLimits { concurrency: u32::try_from(concurrency).ok(), rate };
    Ok(learned::save(&store.connection, api_url, limits, &time::text(at))?)
}

/// Jitter should differ between processes that start at the same minute.
fn seed() -> u64 {
    let now = time::now().as_nanosecond();
    u64::from(std::process::id()) ^ (now as u64)
}

/// Notes in the store that the run failed, as far as the store still can be written.
fn note_failure(store: Reopener, live: &Live, error: &Error, now: Timestamp) {
    let noted = || -> Result<(), StoreError> {
        let store = store.open()?;
        if let Some(mut run) = runs::load(&store.connection, Some(live.report().run_id))? {
            let http = runs::load_http(&store.connection, &run)?;
            let at = time::text(now);
            run.fail(error.exit(), error.to_string(), at.clone());
            runs::save(&store.connection, &run, &http, &at)?;
        }
        store.checkpoint().map(drop)
    };
    if let Err(error) = noted() {
        tracing::debug!(
            event = "failure_not_noted",
            "The failure could not be noted in the store: {error}"
        );
    }
}
