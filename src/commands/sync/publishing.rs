//! Publishes a run while it is worked on, and at its end, with a thread and a connection to the store of its
//! own: it delays neither the lookups nor the writer.

use crate::app::error::Error;
use crate::app::publishing::Schedule;
use crate::app::settings::store_option;
use crate::commands::publish::{summary, warn_of_nul};
use crate::commands::sync::Session;
use crate::commands::sync::outputs::EndedRun;
use crate::display::escaped;
use crate::domain::run::{PublicationFault, PublicationFaultKind};
use crate::domain::stop::StopReason;
use crate::publish::{PublishError, Published, Takeover, publish};
use crate::stop_switch::StopSwitch;
use crate::store::{Reader, Store, runs};
use crate::time;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

/// How long the last publication may take after a signal or the deadline.
const GRACE: Duration = Duration::from_secs(10);

/// The thread that publishes a run.
pub(super) struct Publisher {
    schedule: Schedule,
    finish: oneshot::Sender<()>,
    ended: oneshot::Receiver<Result<Published, PublishError>>,
}

impl Publisher {
    /// Publishes at once, to find out whether the store may, and then on schedule. If the store turns out
    /// to be superseded, the run is stopped.
    ///
    /// # Errors
    /// The store cannot be opened once more, or the operating system refuses a thread.
    pub(super) fn start(
        schedule: Schedule,
        store: &Store,
        stop: StopSwitch,
    ) -> Result<Self, Error> {
        let (finish, finished) = oneshot::channel();
        let (send, ended) = oneshot::channel();
        let publications = Publications {
            schedule: schedule.clone(),
            store: store.reader()?,
            path: store.path().to_owned(),
            stop,
            failing: false,
        };
        std::thread::Builder::new().name("publisher".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let published = match runtime {
                Ok(runtime) => runtime.block_on(publications.all(finished)),
                Err(error) => Err(PublishError::Setup(error)),
            };
            // Nobody waits any more if there was no time.
            let _ = send.send(published);
        })?;
        Ok(Self { schedule, finish, ended })
    }

    /// Publishes what the run has left. If that fails, the run says so.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) async fn finish(
        self,
        mut ended: EndedRun,
        session: &Session<'_>,
    ) -> Result<EndedRun, Error> {
        let Self { schedule, finish, ended: published } = self;
        let began = time::instant();
        // It may have ended already, because the store is superseded.
        let _ = finish.send(());
        let fault = tokio::select! {
            published = published => match published {
                Ok(Ok(published)) => {
                    print_published(&published, &schedule, began);
                    return Ok(ended);
                }
                Ok(Err(error)) => fault(&error),
                Err(_) => (PublicationFaultKind::Late, "The publisher panicked.".to_owned()),
            },
            () = out_of_time(&session.stop) => (
                PublicationFaultKind::Late,
                format!("It was not done {} s after the stop.", GRACE.as_secs()),
            ),
        };
        let (kind, reason) = fault;
        let store_option = store_option(ended.store.path());
        let command = format!("{}{store_option}", schedule.command);
        ended.run.end_unpublished(PublicationFault { kind, reason, command });
        let connection = &ended.store.connection;
        let http = runs::load_http(connection, &ended.run)?;
        runs::save(connection, &ended.run, &http, &time::text(session.clock.now().wall))?;
        Ok(ended)
    }
}

fn fault(error: &PublishError) -> (PublicationFaultKind, String) {
    match error.supersession() {
        Some(how) => (PublicationFaultKind::Superseded, how),
        None => (PublicationFaultKind::Late, error.to_string()),
    }
}

fn print_published(published: &Published, schedule: &Schedule, began: Instant) {
    warn_of_nul(published);
    let took = time::instant().duration_since(began);
    tracing::info!(event = "published", "{}", summary(published, &schedule.target, took));
}

/// Ends some time after a signal or the deadline. A run that has looked up what `--limit` allows need not
/// hurry.
async fn out_of_time(stop: &StopSwitch) {
    let is_urgent = |reason: &Option<StopReason>| {
        reason.as_ref().is_some_and(|reason| !matches!(reason, StopReason::Limit(_)))
    };
    // The switch outlives this wait.
    let _ = stop.watch().wait_for(is_urgent).await;
    tokio::time::sleep(GRACE).await;
}

/// What the thread does.
struct Publications {
    schedule: Schedule,
    store: Reader,
    path: PathBuf,
    stop: StopSwitch,
    /// Whether the last one failed.
    failing: bool,
}

impl Publications {
    /// Returns how the last one ended.
    async fn all(mut self, mut finished: oneshot::Receiver<()>) -> Result<Published, PublishError> {
        let mut ticks = tokio::time::interval(self.schedule.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut with_nul = 0;
        loop {
            tokio::select! {
                biased;
                _ = &mut finished => break,
                _ = ticks.tick() => {}
            }
            match self.publish().await {
                Ok(published) => with_nul += published.with_nul,
                Err(error) if error.supersession().is_some() => return Err(error),
                // It was reported. The next one makes up for it.
                Err(_) => {}
            }
        }
        let mut published = self.publish().await?;
        published.with_nul += with_nul;
        Ok(published)
    }

    async fn publish(&mut self) -> Result<Published, PublishError> {
        let target = &self.schedule.target;
        let published = publish(&self.store, &self.path, target, Takeover::Refused).await;
        let was_failing = std::mem::replace(&mut self.failing, published.is_err());
        match &published {
            Ok(_) if was_failing => tracing::info!(
                event = "publication_resumed",
                "Publishing works again: everything so far is published to {target}."
            ),
            Ok(_) => {}
            Err(error) => {
                if let Some(how) = error.supersession() {
                    self.stop.stop(StopReason::Superseded(how));
                } else if !was_failing {
                    report_failure(error);
                }
            }
        }
        published
    }
}

/// Says once, not with every further attempt, why nothing is published.
fn report_failure(error: &PublishError) {
    if matches!(error, PublishError::NoOrganization(_)) {
        tracing::info!(
            event = "publication_waits",
            "Nothing is published before the run has ended well, because the store does not know \
             its organization yet. To publish during such a run, name it with --organization."
        );
    } else {
        let reason = error.to_string();
        tracing::warn!(
            event = "publication_failed",
            "Nothing was published, and the run continues: {}",
            escaped(&reason)
        );
    }
}
