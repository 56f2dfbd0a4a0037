//! From the source to a plan in the store.

use crate::app::error::Error;
use crate::app::settings::{Emails, NewPlan};
use crate::commands::sync::Session;
use crate::display::{counted, grouped};
use crate::domain::counts::HttpTally;
use crate::domain::run::RunReport;
use crate::domain::stop::StopReason;
use crate::plan::build::{PlanSettings, PlanSummary, build, unanswered_emails};
use crate::plan::staging::stage;
use crate::source::{self, InputRow, OpenSource};
use crate::stop_switch::StopSwitch;
use crate::store::finish::end_killed_runs;
use crate::store::writer::claim;
use crate::store::{Store, runs};
use crate::time::{self, Clock};
use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::time::Duration;
use tokio::sync::oneshot;

/// A source that gives no row for this long after a stop was asked for is left behind.
const GRACE: Duration = Duration::from_secs(5);

/// The source of a plan whose emails come from the store.
const UNANSWERED: &str = "emails without an answer";

impl Emails {
    /// The name of the source in the store, in reports and logs; the same between runs.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Source(settings) => settings.name(),
            Self::Unanswered => UNANSWERED.to_owned(),
        }
    }
}

/// What is stored with a plan.
pub(super) struct Kept {
    /// What a resume keeps, as JSON.
    pub(super) options: String,
    /// The organization that the store is given to, if it has none.
    pub(super) organization: Option<String>,
}

/// Makes a plan, to keep it or to see what it would be.
pub(super) enum Planner {
    ToKeep { plan: NewPlan, kept: Kept },
    Trial(NewPlan),
}

/// A plan that stands in the store, or, on trial, stood there.
#[derive(Debug)]
pub(super) struct Planned {
    /// The run, before its first request.
    pub(super) run: RunReport,
    /// How the source was read and what is in it.
    pub(super) line: String,
    /// What was skipped, unwrapped or looks suspicious.
    pub(super) notes: Option<String>,
    /// As they were read.
    pub(super) first_rows: Vec<InputRow>,
}

/// What the planner's thread has of the session.
struct Context {
    stop: StopSwitch,
    clock: Clock,
}

/// Plans on a thread of its own, so that signals and the deadline take effect meanwhile.
///
/// # Errors
/// The source or the store cannot be used, or the run was stopped; nothing is changed then, and a
/// store that was made for nothing is gone again.
pub(super) async fn plan_aside(
    mut store: Store,
    planner: Planner,
    session: &Session<'_>,
) -> Result<(Store, Planned), Error> {
    let (done, planned) = oneshot::channel();
    let Session { stop, clock, .. } = session;
    let context = Context { stop: stop.clone(), clock: (*clock).clone() };
    std::thread::Builder::new().name("planner".to_owned()).spawn(move || {
        let planned = match planner.plan(&mut store, &context) {
            Ok(planned) => Ok((store, planned)),
            Err(error) => {
                store.discard();
                Err(error)
            }
        };
        // Nobody waits any more if the run was stopped.
        let _ = done.send(planned);
    })?;
    let mut watch = stop.watch();
    let left_behind = async {
        // The switch outlives this wait.
        let _ = watch.wait_for(Option::is_some).await;
        tokio::time::sleep_until((time::instant() + GRACE).into()).await;
    };
    tokio::select! {
        planned = planned => planned.map_err(Error::bug)?,
        () = left_behind => {
            Err(Error::StoppedPlanning(stop.reason().unwrap_or(StopReason::Terminated)))
        }
    }
}

impl Planner {
    fn plan(&self, store: &mut Store, context: &Context) -> Result<Planned, Error> {
        match self {
            Self::ToKeep { plan, kept } => plan_to_keep(store, plan, kept, context),
            Self::Trial(plan) => plan_on_trial(store, plan, context),
        }
    }
}

/// The store is locked for writing only when the source has ended.
fn plan_to_keep(
    store: &mut Store,
    plan: &NewPlan,
    kept: &Kept,
    context: &Context,
) -> Result<Planned, Error> {
    let source = match &plan.emails {
        Emails::Source(settings) => {
            let mut open = source::open(settings)?;
            let rows = stage(&mut open, store.path(), &context.stop)?;
            Some((open, rows))
        }
        Emails::Unanswered => None,
    };
    let transaction = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let begun =
        Begun { store: &transaction, plan, now: context.clock.now().wall, stop: &context.stop };
    let planned = match source {
        Some((open, rows)) => begun.plan(open.description(), rows)?.read_from(&open),
        None => begun.plan(UNANSWERED, unanswered_emails(&transaction)?)?,
    };
    runs::save_settings(&transaction, planned.run.run_id, &kept.options)?;
    claim(&transaction, kept.organization.as_deref())?;
    transaction.commit()?;
    // The statistics of a far smaller store would make each page of the plan a full scan.
    store.update_statistics()?;
    Ok(planned)
}

/// Nobody waits for a store on trial, so its rows are planned as they come.
fn plan_on_trial(store: &mut Store, plan: &NewPlan, context: &Context) -> Result<Planned, Error> {
    let transaction = store.connection.transaction()?;
    let begun =
        Begun { store: &transaction, plan, now: context.clock.now().wall, stop: &context.stop };
    match &plan.emails {
        Emails::Source(settings) => {
            let mut open = source::open(settings)?;
            let description = open.description().to_owned();
            Ok(begun.plan(&description, &mut open)?.read_from(&open))
        }
        Emails::Unanswered => begun.plan(UNANSWERED, unanswered_emails(&transaction)?),
    }
}

impl Planned {
    /// The same, with what is known of the source after its last row.
    fn read_from(mut self, source: &OpenSource) -> Self {
        self.run.warnings.extend(source.warnings());
        Self { notes: source.notes(), first_rows: source.first_rows().to_vec(), ..self }
    }
}

/// A plan inside its transaction.
struct Begun<'a> {
    store: &'a Transaction<'a>,
    plan: &'a NewPlan,
    now: Timestamp,
    stop: &'a StopSwitch,
}

impl Begun<'_> {
    fn plan<E: Into<Error>>(
        &self,
        read_as: &str,
        rows: impl Iterator<Item = Result<InputRow, E>>,
    ) -> Result<Planned, Error> {
        let source = self.plan.emails.name();
        let started_at = time::text(self.now);
        end_killed_runs(self.store, None, &started_at)?;
        let run_id = runs::begin(self.store, &source, &started_at)?;
        let settings = PlanSettings {
            run_id,
            source: source.clone(),
            max_age: self.plan.max_age,
            now: self.now,
        };
        let summary = build(self.store, rows, &settings, self.stop)?;
        let erased = summary.erased;
        let mut run = RunReport::planned(run_id, source, started_at.clone(), summary.counts);
        if let Emails::Source(_) = self.plan.emails {
            run.warnings = warnings(self.store, &run)?;
        }
        if erased > 0 {
            run.notes
                .push(format!("{} skipped: `forget` erased the email", counted(erased, "row")));
        }
        runs::save(self.store, &run, &HttpTally::default(), &started_at)?;
        let line = line(read_as, &summary);
        Ok(Planned { run, line, notes: None, first_rows: Vec::new() })
    }
}

fn warnings(store: &Connection, run: &RunReport) -> Result<Vec<String>, Error> {
    let rows = run.counts.rows;
    if rows == 0 {
        return Ok(vec!["The source has no rows.".to_owned()]);
    }
    let before = runs::rows_before(store, &run.source, run.run_id)?;
    let shrunk = before.filter(|before| rows.saturating_mul(2) < *before);
    let warning = shrunk.map(|before| {
        format!(
            "The source has {}, less than half of the {} of its last run.",
            counted(rows, "row"),
            grouped(before)
        )
    });
    Ok(warning.into_iter().collect())
}

/// `Read 340 rows (comma, UTF-8, column 2 `email`): 322 to look up, 12 duplicates, 6 skipped: blank
/// (first: row 8).`
fn line(read_as: &str, summary: &PlanSummary) -> String {
    let counts = &summary.counts;
    let mut parts = vec![format!("{} to look up", grouped(counts.planned))];
    if counts.duplicate > 0 {
        parts.push(counted(counts.duplicate, "duplicate"));
    }
    if counts.fresh > 0 {
        parts.push(format!("{} fresh", grouped(counts.fresh)));
    }
    parts.extend(summary.invalid.iter().map(|invalid| {
        format!(
            "{} skipped: {} (first: row {})",
            grouped(invalid.rows),
            invalid.reason,
            invalid.first
        )
    }));
    format!("Read {} ({read_as}): {}.", counted(counts.rows, "row"), parts.join(", "))
}
