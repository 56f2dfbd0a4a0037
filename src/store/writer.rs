//! The one writer: takes settled emails off the channel and commits them in batches.

use crate::domain::customer::{Customer, CustomerBody, Field};
use crate::domain::outcome::{Outcome, Settled};
use crate::domain::report_data::Point;
use crate::domain::run::{HttpReport, LimitsReport, RunReport};
use crate::domain::stop::StopReason;
use crate::stop_switch::StopSwitch;
use crate::store::customers::{Answered, Customers, Upserted};
use crate::store::forget::forget_alias;
use crate::store::live::{Live, lock};
use crate::store::lookups::{self, FinishedLookup};
use crate::store::wrong_key::{MissingCustomers, WrongKeyDetector};
use crate::store::{Store, StoreError, finish, runs, series};
use crate::time::{self, Clock};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

/// A commit holds about this many emails. Each page of a text index is written the less often the
/// more of them share a commit, but they are held in memory for it.
pub const BATCH_EMAILS: usize = 2000;

/// Fewer, if their answers are large.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// A commit waits at most this long for more, so that a reader sees a slow run move and a killed
/// one loses little.
const BATCH_TIME: Duration = Duration::from_millis(300);

/// Commits after which the statistics are brought up to date for the first time, so that reports on
/// a long first run are fast. The next time is after ten times as many.
const FIRST_STATISTICS: u64 = 10;

/// A run without news is written again after this long, so that a reader sees why it waits.
const IDLE: Duration = Duration::from_secs(5);

/// What a writer has to know.
#[derive(Clone, Debug)]
pub struct WriterSettings {
    /// Whether it is believed that customers are gone.
    pub missing: MissingCustomers,
    /// The organization that answers must belong to, if it is known.
    pub organization: Option<String>,
    /// When the process began to work on the run.
    pub began: Instant,
    pub clock: Clock,
}

/// Starts the writer on its own thread. It ends the run when the channel closes, and hands the
/// store and the finished report back.
///
/// # Errors
/// The thread returns what SQLite says; the channel is closed then, and what was committed is
/// whole.
pub fn start(
    store: Store,
    live: Arc<Live>,
    settled: Receiver<Vec<Settled>>,
    stop: StopSwitch,
    settings: WriterSettings,
) -> std::io::Result<JoinHandle<Result<(Store, RunReport), StoreError>>> {
    let timer = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
        let run = live.report();
        let connection = &store.connection;
        let mut writer = BatchWriter {
            earlier_seconds: run.seconds,
            detector: WrongKeyDetector::load(connection, run.run_id, settings.missing)?,
            organization: match settings.organization {
                Some(ours) => Some(ours),
                None => runs::organization(connection, run.run_id)?,
            },
            began: settings.began,
            clock: settings.clock,
            series_at: None,
            run,
            live,
            stop,
            commits: 0,
            next_statistics: FIRST_STATISTICS,
        };
        let mut inbox = Inbox { settled, timer };
        let mut store = store;
        while let Some(batch) = inbox.batch() {
            match writer.commit_batch(&mut store, &batch) {
                // A reader sees a little less of a pause.
                Err(StoreError::Busy) if batch.is_empty() => {}
                written => written?,
            }
        }
        writer.end(&mut store)?;
        Ok((store, writer.run))
    })
}

/// The channel, with a clock to wait on it for a while.
struct Inbox {
    settled: Receiver<Vec<Settled>>,
    timer: tokio::runtime::Runtime,
}

impl Inbox {
    /// The emails of the next commit, none after a while without any; `None` when no more come.
    fn batch(&mut self) -> Option<Vec<Settled>> {
        let bytes = |emails: &[Settled]| emails.iter().map(Settled::bytes).sum::<usize>();
        let Some(mut batch) = self.next(time::instant() + IDLE) else {
            let is_over = self.settled.is_closed() && self.settled.is_empty();
            return (!is_over).then(Vec::new);
        };
        let mut held = bytes(&batch);
        let until = time::instant() + BATCH_TIME;
        while batch.len() < BATCH_EMAILS
            && held < BATCH_BYTES
            && let Some(more) = self.next(until)
        {
            held += bytes(&more);
            batch.extend(more);
        }
        Some(batch)
    }

    /// The next emails, if some come before `until`.
    fn next(&mut self, until: Instant) -> Option<Vec<Settled>> {
        match self.settled.try_recv() {
            Ok(settled) => Some(settled),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                let next = self.settled.recv();
                let until = until.into();
                self.timer.block_on(async { tokio::time::timeout_at(until, next).await.ok()? })
            }
        }
    }
}

/// Writes a run, commit by commit, and what it keeps in mind between them.
struct BatchWriter {
    run: RunReport,
    live: Arc<Live>,
    detector: WrongKeyDetector,
    stop: StopSwitch,
    /// The organization that answers must belong to, as far as it is known.
    organization: Option<String>,
    began: Instant,
    clock: Clock,
    earlier_seconds: f64,
    commits: u64,
    next_statistics: u64,
    /// The second of the run whose position was noted last.
    series_at: Option<u64>,
}

/// An answer that holds a customer.
struct FoundAnswer<'a> {
    settled: &'a Settled,
    body: &'a CustomerBody,
    at: Rc<str>,
}

/// What an answer is to the store.
enum Accepted {
    /// It is written, to the customer with this key.
    Customer(i64),
    /// It is of a customer that was erased and is not to come back.
    Erased(i64),
    /// It is another organization's, and the run stops.
    Refused,
}

impl BatchWriter {
    fn commit_batch(&mut self, store: &mut Store, batch: &[Settled]) -> Result<(), StoreError> {
        let commit = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut customers = Customers::new(&commit, self.run.run_id);
        for settled in batch {
            self.write(&commit, &mut customers, settled)?;
        }
        customers.finish()?;
        drop(customers);
        self.detector.save(&commit, self.run.run_id)?;
        self.save_run(&commit)?;
        commit.commit()?;
        self.publish();
        self.commits += 1;
        if self.commits == self.next_statistics {
            self.next_statistics = self.next_statistics.saturating_mul(10);
            store.update_statistics()?;
        }
        Ok(())
    }

    /// Writes one email's outcome, unless the run is to leave nothing more behind.
    fn write<'a>(
        &mut self,
        store: &Connection,
        customers: &mut Customers<'a>,
        settled: &'a Settled,
    ) -> Result<(), StoreError> {
        if self.stop.reason().is_some_and(|reason| reason.distrusts_answers()) {
            return Ok(());
        }
        let at: Rc<str> = time::text(settled.at).into();
        let (mut resolves_to, mut erased) = (None, None);
        if let Outcome::Found(body) = &settled.outcome {
            let answer = FoundAnswer { settled, body, at: Rc::clone(&at) };
            match self.write_customer(store, customers, answer)? {
                Accepted::Customer(key) => resolves_to = Some(key),
                Accepted::Erased(key) => erased = Some(key),
                Accepted::Refused => return Ok(()),
            }
        }
        let lookup = FinishedLookup { settled, resolves_to, at: &at };
        lookups::settle(store, self.run.run_id, lookup)?;
        if let Some(customer) = erased {
            forget_alias(store, &settled.planned.email, customer)?;
        }
        self.run.counts.settle(settled.outcome.kind());
        self.watch_key(lookup);
        Ok(())
    }

    fn write_customer<'a>(
        &mut self,
        store: &Connection,
        customers: &mut Customers<'a>,
        answer: FoundAnswer<'a>,
    ) -> Result<Accepted, StoreError> {
        let FoundAnswer { settled, body, at } = answer;
        let answered = Answered { request: settled.request, at: &at };
        self.run.fields.add(body.present());
        if body.email().is_some_and(|own| own.as_str() != settled.planned.email) {
            self.run.other_email += 1;
        }
        if let Some(key) = settled.planned.resolved_to
            && customers.confirm(key, body, answered)?
        {
            return Ok(Accepted::Customer(key));
        }
        let customer = body.customer()?;
        if let Some(theirs) = self.other_organization(store, &customer)? {
            self.stop.stop(theirs);
            return Ok(Accepted::Refused);
        }
        match customers.upsert(&customer, body.digest(), answered)? {
            Upserted::Stored { key, changes } => {
                for change in changes {
                    self.run.changes.add(change.kind, 1);
                }
                Ok(Accepted::Customer(key))
            }
            Upserted::Erased { key } => Ok(Accepted::Erased(key)),
        }
    }

    /// Stops the run if emails no longer resolve to customers as they should.
    fn watch_key(&mut self, lookup: FinishedLookup<'_>) {
        let FinishedLookup { settled, resolves_to, .. } = lookup;
        match (&settled.outcome, settled.planned.resolved_to) {
            (Outcome::Found(_), Some(before)) if resolves_to == Some(before) => {
                self.detector.kept();
            }
            (Outcome::Found(_) | Outcome::NotFound, Some(_)) => self.detector.lost(),
            (Outcome::NotFound, None) => {}
            _ => return,
        }
        if let Some(verdict) = self.detector.verdict(&self.run.counts) {
            self.stop.stop(verdict);
        }
    }

    /// The reason to stop if `customer` belongs to another organization than the store, or than the
    /// first one that this run saw.
    fn other_organization(
        &mut self,
        store: &Connection,
        customer: &Customer<'_>,
    ) -> Result<Option<StopReason>, StoreError> {
        let Field::Given(theirs) = &customer.organization_id else {
            return Ok(None);
        };
        match &self.organization {
            Some(ours) if *ours == **theirs => Ok(None),
            Some(ours) => {
                let (ours, theirs) = (ours.clone(), theirs.to_string());
                Ok(Some(StopReason::OtherOrganization { ours, theirs }))
            }
            None => {
                runs::set_organization(store, self.run.run_id, theirs)?;
                self.organization = Some(theirs.to_string());
                Ok(None)
            }
        }
    }

    fn save_run(&mut self, store: &Connection) -> Result<(), StoreError> {
        let now = self.clock.now();
        let worked = now.mono.saturating_duration_since(self.began);
        self.run.seconds = self.earlier_seconds + worked.as_secs_f64();
        let http = lock(&self.live.http).clone();
        self.run.http = HttpReport::from(&http);
        self.live.complete(&mut self.run);
        self.run.failures = runs::failures(store, self.run.run_id)?;
        self.add_to_series(store)?;
        runs::save(store, &self.run, &http, &time::text(now.wall))
    }

    /// Notes the position for a chart, at most once a second.
    fn add_to_series(&mut self, store: &Connection) -> Result<(), StoreError> {
        let worked = Duration::try_from_secs_f64(self.run.seconds).unwrap_or_default();
        let second = worked.as_secs();
        if self.series_at.replace(second) == Some(second) {
            return Ok(());
        }
        let LimitsReport { concurrency, rate } = self.run.limits;
        let point = Point {
            second,
            settled: self.run.counts.settled(),
            failed: self.run.counts.unanswered(),
            concurrency: concurrency.and_then(|limit| u32::try_from(limit).ok()),
            rate,
        };
        series::add(store, self.run.run_id, &point)
    }

    fn publish(&self) {
        lock(&self.live.run).clone_from(&self.run);
    }

    fn end(&mut self, store: &mut Store) -> Result<(), StoreError> {
        let at = time::text(self.clock.now().wall);
        let last = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        finish::end(&last, &mut self.run, &self.detector, self.stop.reason(), &at)?;
        // The series ends where the report does.
        self.series_at = None;
        self.save_run(&last)?;
        last.commit()?;
        self.publish();
        store.update_statistics()
    }
}

/// The organization that the store belongs to, if it is known.
///
/// # Errors
/// What SQLite says.
pub fn organization(store: &Connection) -> Result<Option<String>, StoreError> {
    let select = "SELECT organization_id FROM _store";
    Ok(store.query_row(select, [], |row| row.get(0)).optional()?.flatten())
}

/// Gives the store to `organization`, if one is named and the store has none.
///
/// # Errors
/// What SQLite says.
pub fn claim(store: &Connection, organization: Option<&str>) -> Result<(), StoreError> {
    if let Some(organization) = organization {
        let claim = "UPDATE _store SET organization_id = ?1 WHERE organization_id IS NULL";
        store.execute(claim, [organization])?;
    }
    Ok(())
}
