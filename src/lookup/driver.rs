//! The only loop: does what the scheduler decides. Each attempt is a task of its own, so that a
//! slow store never makes a response look slow; this is the one place where requests run side by
//! side.

use crate::api::client::Client;
use crate::display::{counted, escaped, human_duration};
use crate::domain::counts::HttpTally;
use crate::domain::outcome::{Answer, Attempt, FailureCode, Outcome, Settled};
use crate::domain::status::LookupStatus;
use crate::domain::stop::{StopReason, outage_state};
use crate::lookup::outbox::{Outbox, WriterGone};
use crate::lookup::scheduler::Scheduler;
use crate::lookup::settings::LearnedLimits;
use crate::lookup::step::{KeyReread, Notice, RequestKind, Step, Ticket};
use crate::plan::cursor::Cursor;
use crate::stop_switch::StopSwitch;
use crate::time::{self, Clock};
use std::collections::HashSet;
use std::future::pending;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Sleep, sleep_until};
use tracing::Level;

/// Requests in flight when a run is stopped may take this long to come back.
const DRAIN: Duration = Duration::from_secs(5);

/// In an outage hardly any comes back.
const OUTAGE_DRAIN: Duration = Duration::from_secs(1);

/// Why the lookups ended before the scheduler said so.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The plan cannot be read.
    #[error(transparent)]
    Plan(#[from] rusqlite::Error),
    /// The writer is gone; it knows why.
    #[error("the writer ended early")]
    WriterGone,
    #[error("a lookup ended in an unforeseen way ({0})")]
    Task(#[from] JoinError),
}

impl From<WriterGone> for DriveError {
    fn from(WriterGone: WriterGone) -> Self {
        Self::WriterGone
    }
}

/// Where results go and what is counted on the way.
#[derive(Debug)]
pub struct Outlets<'a> {
    /// To the writer.
    pub settled: Sender<Vec<Settled>>,
    pub http: &'a Mutex<HttpTally>,
    pub status: &'a Mutex<LookupStatus>,
    /// Asks the driver to stop, and hears from it why it does.
    pub stop: &'a StopSwitch,
    /// Tells when an answer came.
    pub clock: &'a Clock,
}

/// Looks up what the plan holds until nothing is left or the run is stopped.
pub struct Driver<'a> {
    scheduler: Scheduler,
    client: Arc<Client>,
    plan: Cursor,
    http: &'a Mutex<HttpTally>,
    status: &'a Mutex<LookupStatus>,
    stop: &'a StopSwitch,
    clock: &'a Clock,
    stop_changes: watch::Receiver<Option<StopReason>>,
    in_flight: JoinSet<(Ticket, Attempt)>,
    outbox: Outbox,
    alarm: Alarm,
    /// After a stop: when waiting for what is in flight ends.
    drained_by: Option<Instant>,
    /// The kinds of failure that were printed once.
    printed: HashSet<FailureCode>,
}

impl<'a> Driver<'a> {
    pub fn new(scheduler: Scheduler, client: Client, plan: Cursor, outlets: Outlets<'a>) -> Self {
        let mut stop_changes = outlets.stop.watch();
        stop_changes.mark_changed();
        Self {
            scheduler,
            client: Arc::new(client),
            plan,
            http: outlets.http,
            status: outlets.status,
            stop: outlets.stop,
            clock: outlets.clock,
            stop_changes,
            in_flight: JoinSet::new(),
            outbox: Outbox::new(outlets.settled),
            alarm: Alarm::new(),
            drained_by: None,
            printed: HashSet::new(),
        }
    }

    /// Runs to the end, and returns what the API sustained.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn run(mut self) -> Result<LearnedLimits, DriveError> {
        loop {
            let now = time::instant();
            if self.outbox.is_due(now) {
                self.outbox.send().await?;
            }
            let step = self.scheduler.next(now);
            // After the step: deciding it may have found the reason to stop.
            if let Some(reason) = self.scheduler.stop_reason() {
                self.stop.stop(reason.clone());
            }
            if self.perform(step, now).await?.is_break() {
                break;
            }
        }
        lock(self.http).abandon_rest();
        *lock(self.status) = self.scheduler.status(time::instant());
        self.outbox.send().await?;
        Ok(self.scheduler.learned())
    }

    /// Does one step.
    async fn perform(&mut self, step: Step, now: Instant) -> Result<ControlFlow<()>, DriveError> {
        match step {
            Step::Start(ticket) => {
                let mut http = lock(self.http);
                http.requests += 1;
                http.retries += u64::from(ticket.kind() == RequestKind::Retry);
                drop(http);
                self.in_flight.spawn(lookup(Arc::clone(&self.client), ticket));
            }
            Step::Settled(settled) => {
                print_unanswered(&settled);
                self.outbox.put(settled, now);
            }
            Step::Refill(wanted) => self.scheduler.offer(self.plan.next_page(wanted)?),
            Step::FindCanaries(places) => {
                self.scheduler.offer_canaries(self.plan.canaries(places)?);
            }
            Step::RereadKey => {
                let changed = self.client.reread_key();
                let reread = if changed { KeyReread::Changed } else { KeyReread::Same };
                self.scheduler.key_reread(reread);
            }
            Step::Reconnect => self.client.reconnect(),
            Step::Notice(notice) => print_notice(&notice),
            Step::Wait(until) => return self.wait(until, now).await,
            Step::Finished => return Ok(ControlFlow::Break(())),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Waits for an attempt, for a stop, or until then.
    async fn wait(
        &mut self,
        until: Option<Instant>,
        now: Instant,
    ) -> Result<ControlFlow<()>, DriveError> {
        *lock(self.status) = self.scheduler.status(now);
        let until = [self.drained_by.or(until), self.outbox.due()].into_iter().flatten().min();
        tokio::select! {
            Some(done) = self.in_flight.join_next() => {
                let (ticket, attempt) = done?;
                self.settle(ticket, attempt);
            }
            () = self.alarm.rings(until) => {
                if self.drained_by.is_some_and(|by| by <= time::instant()) {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(()) = self.stop_changes.changed() => {
                if let Some(reason) = self.stop_changes.borrow_and_update().clone() {
                    let drain = match reason {
                        StopReason::Outage { .. } => OUTAGE_DRAIN,
                        _ => DRAIN,
                    };
                    self.scheduler.stop(reason);
                    self.drained_by.get_or_insert(time::instant() + drain);
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn settle(&mut self, ticket: Ticket, attempt: Attempt) {
        print_attempt(&ticket, &attempt);
        self.print_first_failure(&attempt);
        lock(self.http).settle(&attempt);
        self.scheduler.settle(ticket, attempt, self.clock.now());
    }

    /// Prints the first failure of each kind with its cause.
    fn print_first_failure(&mut self, attempt: &Attempt) {
        let (Answer::Retry(failure) | Answer::Failed(failure)) = &attempt.answer else {
            return;
        };
        if self.printed.insert(failure.code) {
            let (code, reason) = (failure.code.name(), escaped(&failure.reason));
            tracing::info!(event = "first_failure", code, "first failure ({code}): {reason}");
        }
    }
}

async fn lookup(client: Arc<Client>, ticket: Ticket) -> (Ticket, Attempt) {
    let attempt = client.lookup(ticket.email()).await;
    (ticket, attempt)
}

fn print_notice(notice: &Notice) {
    match notice {
        Notice::OutageBegan { cause } => {
            let cause = escaped(cause);
            let what = outage_state(&cause);
            tracing::warn!(
                event = "outage_began",
                cause = &*cause,
                "the API {what} ({cause}); waiting until it answers again"
            );
        }
        Notice::Silence { time } => {
            let seconds = time.as_secs_f64();
            tracing::warn!(
                event = "silence",
                seconds,
                "no response of any kind for {}; waiting until the API answers",
                human_duration(seconds)
            );
        }
        Notice::OutageEnded { time } => {
            let seconds = time.as_secs_f64();
            tracing::info!(
                event = "outage_ended",
                seconds,
                "the API answers again after {}",
                human_duration(seconds)
            );
        }
        Notice::RateLearned(rate) => tracing::info!(
            event = "rate_learned",
            rate,
            "the API limits the rate (HTTP 429); continuing at {rate:.1} requests/s"
        ),
    }
}

/// Names emails without an answer at `-v`.
fn print_unanswered(settled: &Settled) {
    let why = match &settled.outcome {
        Outcome::Found(_) | Outcome::NotFound => return,
        Outcome::Rejected(reason) => format!("rejected: {reason}"),
        Outcome::Failed { failure, .. } => format!("failed, {}: {}", failure.code, failure.reason),
    };
    let (email, why) = (escaped(&settled.planned.email), escaped(&why));
    tracing::debug!(
        event = "unanswered",
        "{email} {why} ({})",
        counted(settled.attempts.into(), "attempt")
    );
}

/// Names every attempt at `-vv`.
fn print_attempt(ticket: &Ticket, attempt: &Attempt) {
    if !tracing::enabled!(Level::TRACE) {
        return;
    }
    let email = escaped(ticket.email());
    let check = if ticket.kind() == RequestKind::Check { "check: " } else { "" };
    let milliseconds = attempt.latency.as_millis();
    match (attempt.status, &attempt.answer) {
        (Some(status), _) => {
            tracing::trace!(event = "attempt", "{check}{email} HTTP {status} in {milliseconds} ms")
        }
        (None, Answer::Retry(failure) | Answer::Failed(failure)) => {
            tracing::trace!(
                event = "attempt",
                "{check}{email} {} in {milliseconds} ms",
                escaped(&failure.reason)
            );
        }
        (None, _) => {}
    }
}

/// One timer for all waits: a new one for each wait would be added to the runtime's timers and
/// removed again for every response.
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

/// A lock whose holder cannot leave it half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
