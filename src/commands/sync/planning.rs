//! The first half of `sync`: from the source to a plan in the store.

use crate::app::error::Error;
use crate::app::settings::Job;
use crate::display::{counted, grouped};
use crate::domain::counts::HttpTally;
use crate::domain::run::RunReport;
use crate::plan::build::{PlanSettings, PlanSummary, build, unanswered_emails};
use crate::source::{self, InputRow};
use crate::stop_switch::StopSwitch;
use crate::store::finish::end_killed_runs;
use crate::store::{Store, runs};
use crate::time;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::time::Duration;

/// Told of a plan of the emails without an answer, whose source is the store.
const UNANSWERED: &str = "emails without an answer";

/// A plan that stands in the store, or, on trial, stood there.
#[derive(Debug)]
pub(super) struct Planned {
    /// The run, before its first request.
    pub(super) run: RunReport,
    /// How the source was read and what is in it, in one line.
    pub(super) line: String,
}

/// Makes the plan of a new run. In a dry run everything is rolled back again.
///
/// # Errors
/// The source or the store cannot be used; nothing is changed then.
pub(super) fn plan(
    store: &mut Store,
    work: &Job,
    max_age: Option<Duration>,
    stop: &StopSwitch,
) -> Result<Planned, Error> {
    let now = time::now();
    let desk = Desk { max_age, now, stop };
    let transaction = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let planned = match work {
        Job::Plan(settings) | Job::DryRun(settings) => {
            let rows = source::open(settings)?;
            let understood = rows.understood().to_owned();
            desk.plan(&transaction, &settings.name(), (understood, rows))?
        }
        Job::RetryFailed | Job::DryRetryFailed => {
            let rows = unanswered_emails(&transaction)?;
            desk.plan(&transaction, UNANSWERED, (UNANSWERED.to_owned(), rows))?
        }
        Job::Resume(_) => return Err(Error::Fault("a resumed run has its plan".to_owned())),
    };
    if work.is_dry() {
        transaction.rollback()?
    } else {
        transaction.commit()?
    }
    Ok(planned)
}

struct Desk<'a> {
    max_age: Option<Duration>,
    now: jiff::Timestamp,
    stop: &'a StopSwitch,
}

impl Desk<'_> {
    fn plan<E: Into<Error>>(
        &self,
        store: &Transaction<'_>,
        source: &str,
        (understood, rows): (String, impl Iterator<Item = Result<InputRow, E>>),
    ) -> Result<Planned, Error> {
        let started_at = time::text(self.now);
        end_killed_runs(store, None, &started_at)?;
        let run_id = runs::begin(store, source, &started_at)?;
        let settings = PlanSettings {
            run_id,
            source: source.to_owned(),
            max_age: self.max_age,
            now: self.now,
        };
        let summary = build(store, rows, &settings, self.stop)?;
        let mut run = RunReport::planned(run_id, source.to_owned(), started_at, summary.counts);
        run.warnings = warnings(store, &run)?;
        runs::save(store, &run, &HttpTally::default())?;
        Ok(Planned { run, line: line(&understood, &summary) })
    }
}

fn warnings(store: &Connection, run: &RunReport) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    let rows = run.counts.rows;
    let before = runs::rows_before(store, &run.source, run.run_id)?;
    if rows == 0 && run.source != UNANSWERED {
        warnings.push("The source has no rows.".to_owned());
    } else if let Some(before) = before.filter(|before| rows * 2 < *before)
        && run.source != UNANSWERED
    {
        warnings.push(format!(
            "The source has {}, less than half of the {} of the run before.",
            counted(rows, "row"),
            grouped(before)
        ));
    }
    Ok(warnings)
}

/// `comma, UTF-8, column 2 `email`, 340 rows: 322 to look up, 12 duplicates, 6 blank (first: row 8)`.
fn line(understood: &str, summary: &PlanSummary) -> String {
    let counts = &summary.counts;
    let mut parts = vec![format!("{} to look up", grouped(counts.planned))];
    if counts.duplicate > 0 {
        parts.push(counted(counts.duplicate, "duplicate"));
    }
    if counts.fresh > 0 {
        parts.push(format!("{} fresh", grouped(counts.fresh)));
    }
    parts.extend(summary.invalid.iter().map(|invalid| {
        format!("{} {} (first: row {})", grouped(invalid.rows), invalid.reason, invalid.first)
    }));
    format!("{understood}, {}: {}", counted(counts.rows, "row"), parts.join(", "))
}
