//! What is done when a run ends, however it ends.

use crate::domain::run::{RunReport, Status};
use crate::domain::stop::StopReason;
use crate::store::customers::Customers;
use crate::store::wrong_key::{MissingCustomers, WrongKeyDetector};
use crate::store::{StoreError, publish_log, runs, undo};
use rusqlite::{Connection, Result};
use std::rc::Rc;

/// Ends a run: undoes what is not to be trusted, marks customers that no email resolves to any more,
/// and notes status, reason and exit code in `run`, which the caller saves.
///
/// # Errors
/// The store cannot be read or written.
pub fn end(
    store: &Connection,
    run: &mut RunReport,
    detector: &WrongKeyDetector,
    stop: Option<StopReason>,
    at: &str,
) -> Result<()> {
    let stop = stop.max(detector.last_verdict(&run.counts));
    let at: Rc<str> = at.into();
    if stop.as_ref().is_some_and(StopReason::resets_failures) {
        undo::undo_failures(store, run)?;
    }
    if stop.as_ref().is_some_and(StopReason::distrusts_answers) {
        undo::undo_answers(store, run, &at)?;
        forget_what_was_seen(store, run.run_id)?;
    } else {
        mark_missing_customers(store, run, &at)?;
        if run.counts.pending == 0 {
            claim_organization(store, run.run_id)?;
        }
    }
    close_plan(store, run)?;
    publish_log::trim(store)?;
    run.end(stop.as_ref(), at.to_string());
    Ok(())
}

/// A detector that starts over, and an organization that is not the store's.
fn forget_what_was_seen(store: &Connection, run_id: i64) -> Result<()> {
    store.execute(
        "UPDATE _run_states SET known_answered = 0, known_lost = 0, organization_id = NULL
         WHERE run_id = ?1",
        [run_id],
    )?;
    Ok(())
}

/// The store belongs to the organization that a run which ended well saw first.
fn claim_organization(store: &Connection, run_id: i64) -> Result<()> {
    store.execute(
        "UPDATE _store SET organization_id =
             (SELECT organization_id FROM _run_states WHERE run_id = ?1)
         WHERE organization_id IS NULL",
        [run_id],
    )?;
    Ok(())
}

/// Only an email that no longer resolves to its customer can leave one without any.
fn mark_missing_customers(store: &Connection, run: &mut RunReport, at: &Rc<str>) -> Result<()> {
    let mut select = store.prepare(
        "SELECT DISTINCT l.customer_key FROM _lookup_undo_log AS l
         WHERE l.run_id = ?1 AND l.reason = 'untrusted' AND l.customer_key IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM _emails WHERE customer_key = l.customer_key)",
    )?;
    let mut customers = Customers::new(store, run.run_id);
    let mut rows = select.query([run.run_id])?;
    while let Some(row) = rows.next()? {
        for change in customers.mark_missing(row.get(0)?, at)? {
            run.changes.add(change.kind, 1);
        }
    }
    customers.finish()
}

/// Failures are final now. A complete run needs neither its plan nor what would undo it.
fn close_plan(store: &Connection, run: &RunReport) -> Result<()> {
    let failures = "DELETE FROM _lookup_undo_log WHERE run_id = ?1 AND reason = 'outage'";
    store.execute(failures, [run.run_id])?;
    if run.counts.pending == 0 {
        store.execute("DELETE FROM _lookup_undo_log WHERE run_id = ?1", [run.run_id])?;
        store.execute("DELETE FROM _plan_items WHERE run_id = ?1", [run.run_id])?;
    }
    runs::set_ended(store, run.run_id)
}

/// Ends the runs whose process was killed, all but the one that continues.
///
/// # Errors
/// The store cannot be read or written.
pub fn end_killed_runs(
    store: &Connection,
    except: Option<i64>,
    at: &str,
) -> Result<(), StoreError> {
    for run_id in runs::not_ended(store, except)? {
        if let Some(mut run) = runs::load(store, Some(run_id))? {
            let detector = WrongKeyDetector::load(store, run_id, MissingCustomers::Doubted)?;
            let (status, exit_code) = (run.status, run.exit_code);
            let finished_at = run.finished_at.clone();
            let reason = run.stop_reason.clone();
            end(store, &mut run, &detector, None, at)?;
            // It never returned an exit code, and the time of its end is unknown.
            run.status = if status == Status::Running { Status::Stopped } else { status };
            run.stop_reason = reason.or_else(|| Some(runs::KILLED.to_owned()));
            run.exit_code = exit_code;
            run.finished_at = finished_at;
            runs::save_killed(store, &run)?;
        }
    }
    Ok(())
}
