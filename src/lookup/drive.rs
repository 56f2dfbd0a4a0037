//! The only loop: does what the scheduler decides. Each attempt is a task of its own, so that a
//! slow store never makes an answer look slow; this is the one place where requests run side by
//! side.

use crate::api::client::Client;
use crate::display::{counted, escaped};
use crate::domain::counts::HttpTally;
use crate::domain::outcome::{Answer, Attempt, Outcome, PlannedEmail, Settled};
use crate::domain::status::LookupStatus;
use crate::lookup::outbox::{Outbox, WriterGone};
use crate::lookup::scheduler::Scheduler;
use crate::lookup::step::{KeyReread, Step, Ticket};
use crate::stop_switch::StopSwitch;
use crate::time;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Sleep, sleep_until};
use tracing::Level;

/// Requests in flight when a run is stopped may take this long to come back.
const DRAIN: Duration = Duration::from_secs(5);

/// Why the lookups ended before the scheduler said so.
#[derive(Debug, thiserror::Error)]
pub enum DriveError<E> {
    /// The plan cannot be read.
    #[error(transparent)]
    Plan(E),
    /// The writer is gone; it knows why.
    #[error("the writer ended early")]
    WriterGone,
    /// A lookup broke in a way that is a fault of this program.
    #[error("A lookup ended in an unforeseen way ({0}). Please report it.")]
    Task(#[from] JoinError),
}

impl<E> From<WriterGone> for DriveError<E> {
    fn from(WriterGone: WriterGone) -> Self {
        Self::WriterGone
    }
}

/// Where answers go and what is counted on the way.
#[derive(Debug)]
pub struct Outlets<'a> {
    /// To the writer.
    pub settled: Sender<Vec<Settled>>,
    /// The requests.
    pub http: &'a Mutex<HttpTally>,
    /// Kept up to date.
    pub status: &'a Mutex<LookupStatus>,
    /// Asks this loop to stop, and hears from it why it does.
    pub stop: &'a StopSwitch,
}

/// Looks up what `plan` hands out (so many emails, or fewer, none at its end) until nothing is
/// left or the run is stopped.
///
/// # Errors
/// See [`DriveError`].
pub async fn drive<E>(
    mut scheduler: Scheduler,
    client: Arc<Client>,
    mut plan: impl FnMut(usize) -> Result<Vec<PlannedEmail>, E>,
    outlets: Outlets<'_>,
) -> Result<(), DriveError<E>> {
    let mut in_flight = JoinSet::new();
    let mut outbox = Outbox::new(outlets.settled);
    let mut alarm = Alarm::new();
    let mut stop = outlets.stop.watch();
    stop.mark_changed();
    let mut drained_by: Option<Instant> = None;
    loop {
        let now = time::instant();
        if outbox.is_due(now) {
            outbox.hand_over().await?;
        }
        let step = scheduler.next(now);
        // After the step: deciding it may have found the reason to stop.
        if let Some(reason) = scheduler.stop_reason() {
            outlets.stop.stop(reason.clone());
        }
        match step {
            Step::Start(ticket) => {
                in_flight.spawn(lookup(Arc::clone(&client), ticket));
            }
            Step::Settled(settled) => {
                name(&settled);
                outbox.put(settled, now);
            }
            Step::Refill(wanted) => scheduler.offer(plan(wanted).map_err(DriveError::Plan)?),
            Step::RereadKey => scheduler.key_reread(reread(&client), time::instant()),
            Step::Finished => return Ok(outbox.hand_over().await?),
            Step::Wait(until) => {
                *lock(outlets.status) = scheduler.status(now);
                let until = [drained_by.or(until), outbox.due()].into_iter().flatten().min();
                tokio::select! {
                    Some(done) = in_flight.join_next() => {
                        let (ticket, attempt) = done?;
                        trace(&ticket, &attempt);
                        count(outlets.http, &ticket, &attempt);
                        scheduler.settle(ticket, attempt, (time::instant(), time::now()));
                    }
                    () = alarm.rings(until) => {
                        if drained_by.is_some_and(|by| by <= time::instant()) {
                            return Ok(outbox.hand_over().await?);
                        }
                    }
                    Ok(()) = stop.changed() => {
                        if let Some(reason) = stop.borrow_and_update().clone() {
                            scheduler.stop(reason);
                            drained_by.get_or_insert(time::instant() + DRAIN);
                        }
                    }
                }
            }
        }
    }
}

async fn lookup(client: Arc<Client>, ticket: Ticket) -> (Ticket, Attempt) {
    let attempt = client.lookup(ticket.email()).await;
    (ticket, attempt)
}

/// Names emails without an answer, for who asked to be told of single ones.
fn name(settled: &Settled) {
    let why = match &settled.outcome {
        Outcome::Found(_) | Outcome::NotFound => return,
        Outcome::Rejected(reason) => format!("rejected: {reason}"),
        Outcome::Failed { failure, .. } => format!("failed, {}: {}", failure.code, failure.reason),
    };
    let (email, why) = (escaped(&settled.planned.email), escaped(&why));
    tracing::debug!("{email} {why} ({})", counted(settled.attempts.into(), "attempt"));
}

/// Tells of each attempt, for who asked to be told of all.
fn trace(ticket: &Ticket, attempt: &Attempt) {
    if !tracing::enabled!(Level::TRACE) {
        return;
    }
    let email = escaped(ticket.email());
    let milliseconds = attempt.latency.as_millis();
    match (attempt.status, &attempt.answer) {
        (Some(status), _) => tracing::trace!("{email} HTTP {status} in {milliseconds} ms"),
        (None, Answer::Retry(failure) | Answer::Failed(failure)) => {
            tracing::trace!("{email} {} in {milliseconds} ms", escaped(&failure.reason));
        }
        (None, _) => {}
    }
}

/// One timer for all waits: each wait of its own would be put among the runtime's timers and taken
/// out again, an answer's time and again.
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    fn new() -> Self {
        Self(None)
    }

    /// Waits until then; for ever if there is no such time.
    async fn rings(&mut self, until: Option<Instant>) {
        let Some(until) = until.map(Into::into) else {
            return pending().await;
        };
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        sleep.await;
    }
}

fn reread(client: &Client) -> KeyReread {
    if client.reread_key() { KeyReread::Changed } else { KeyReread::Same }
}

/// A lock whose holder cannot leave it half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(http: &Mutex<HttpTally>, ticket: &Ticket, attempt: &Attempt) {
    let mut http = lock(http);
    http.add(attempt);
    http.retries += u64::from(ticket.is_retry());
}
