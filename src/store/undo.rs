//! Undoes what a run wrote that is not to be trusted: the emails are pending again, and the customers
//! are as they were before.
//!
//! Two things can show that an outcome says nothing about its email: an answer counts for nothing if the
//! key, the URL or the column was wrong; a failure that passes, if the run is stopped by trouble with the
//! API. Until the run is complete, `_lookup_undo_log` keeps what such emails were before; of an email
//! that was never looked up before, nothing has to be kept but that (`_plan_items.first_lookup`).

use crate::domain::outcome::{ChangeKind, OutcomeKind, PlannedEmail};
use crate::domain::run::RunReport;
use crate::store::changes::ChangeOf;
use crate::store::customers::Customers;
use crate::store::erase::erase;
use crate::store::numbers::count;
use rusqlite::{Connection, Result, params};
use std::rc::Rc;

/// Why an outcome would be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UndoReason {
    /// The answers of the run are not trusted.
    Untrusted,
    /// The run was stopped by trouble with the API.
    Outage,
}

impl UndoReason {
    fn name(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Outage => "outage",
        }
    }
}

/// Keeps what is known of an email before its outcome is written. False if nothing is, because it was
/// never looked up.
pub(super) fn keep_earlier(
    store: &Connection,
    run_id: i64,
    planned: &PlannedEmail,
    reason: UndoReason,
) -> Result<bool> {
    let kept = store
        .prepare_cached(
            "INSERT OR REPLACE INTO _lookup_undo_log (
                 run_id, email_key, position, reason, outcome, status, error, attempts,
                 earlier_run_id, looked_up_at, customer_key, answered_at
             )
             SELECT ?1, key, ?3, ?4, outcome, status, error, attempts, run_id, looked_up_at,
                 customer_key, answered_at
             FROM _emails WHERE key = ?2 AND (looked_up_at IS NOT NULL OR ?4 = 'outage')",
        )?
        .execute(params![run_id, planned.key, planned.position, reason.name()])?;
    Ok(kept == 1)
}

/// Undoes the failures of a run that may pass.
///
/// # Errors
/// The store cannot be read or written.
pub(super) fn undo_failures(store: &Connection, run: &mut RunReport) -> Result<()> {
    let undone = Undone::find(store, run.run_id, UndoReason::Outage)?;
    undone.restore_emails()?;
    undone.remove_rejects()?;
    let emails = undone.reset_to_pending()?;
    run.counts.reset_to_pending(OutcomeKind::Failed, emails);
    Ok(())
}

/// Undoes the answers of a run: those that found an email where it was before are left. Customers that
/// the run created are erased; what its earlier processes said of others is corrected in the feed.
///
/// # Errors
/// The store cannot be read or written.
pub(super) fn undo_answers(store: &Connection, run: &mut RunReport, at: &Rc<str>) -> Result<()> {
    let undone = Undone::find(store, run.run_id, UndoReason::Untrusted)?;
    let customers = undone.customers()?;
    undone.restore_emails()?;
    undone.reset_to_pending()?;
    recount(store, run)?;
    for customer in customers {
        restore_customer(store, run, customer, at)?;
    }
    Ok(())
}

/// Of what is left, nothing is `not_found`.
fn recount(store: &Connection, run: &mut RunReport) -> Result<()> {
    let settled = "SELECT count(*) FROM _plan_items WHERE run_id = ?1 AND first_lookup IS NOT NULL";
    let settled = store.query_row(settled, [run.run_id], |row| count(row, 0))?;
    let counts = &mut run.counts;
    counts.found = settled.saturating_sub(counts.rejected + counts.failed);
    counts.not_found = 0;
    counts.pending = counts.planned.saturating_sub(settled);
    Ok(())
}

/// A customer whose emails were restored is as its emails say.
fn restore_customer(
    store: &Connection,
    run: &mut RunReport,
    customer: i64,
    at: &Rc<str>,
) -> Result<()> {
    let select = "SELECT EXISTS (SELECT 1 FROM _emails WHERE customer_key = ?1),
         EXISTS (SELECT 1 FROM _changes
             WHERE customer_key = ?1 AND run_id = ?2 AND kind = 'created')";
    let (has_email, is_stranger): (bool, bool) = store
        .prepare_cached(select)?
        .query_row((customer, run.run_id), |row| Ok((row.get(0)?, row.get(1)?)))?;
    if !has_email && is_stranger {
        let of = ChangeOf { customer, run_id: Some(run.run_id), at };
        for (kind, rows) in erase(store, of)? {
            run.changes.remove(kind, rows);
        }
        run.changes.add(ChangeKind::Erased, 1);
        return Ok(());
    }
    let mut customers = Customers::new(store, run.run_id);
    let changes = if has_email {
        customers.unmark_missing(customer, at)?
    } else {
        customers.mark_missing(customer, at)?
    };
    customers.finish()?;
    for change in changes {
        run.changes.add(change.kind, 1);
    }
    Ok(())
}

/// The emails that are undone, in a table of this connection: all but those that were erased since, whose
/// keys are negative.
struct Undone<'a> {
    store: &'a Connection,
    run_id: i64,
    reason: UndoReason,
}

impl<'a> Undone<'a> {
    fn find(store: &'a Connection, run_id: i64, reason: UndoReason) -> Result<Self> {
        store.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS undone (
                 email_key INTEGER PRIMARY KEY, position INTEGER NOT NULL, is_first INTEGER NOT NULL
             );
             DELETE FROM temp.undone;",
        )?;
        store.execute(
            "INSERT INTO temp.undone SELECT email_key, position, 0 FROM _lookup_undo_log
             WHERE run_id = ?1 AND reason = ?2 AND email_key > 0",
            (run_id, reason.name()),
        )?;
        if reason == UndoReason::Untrusted {
            store.execute(
                "INSERT OR IGNORE INTO temp.undone SELECT email_key, position, 1 FROM _plan_items
                 WHERE run_id = ?1 AND first_lookup = 1 AND email_key > 0",
                [run_id],
            )?;
        }
        Ok(Self { store, run_id, reason })
    }

    /// The customers to whom these emails resolve now, or did before; and those whom the run created,
    /// though another run may have found since that the email is somebody else's.
    fn customers(&self) -> Result<Vec<i64>> {
        let mut select = self.store.prepare(
            "SELECT e.customer_key FROM temp.undone AS u JOIN _emails AS e ON e.key = u.email_key
             WHERE e.run_id = ?1 AND e.customer_key IS NOT NULL
             UNION
             SELECT l.customer_key FROM _lookup_undo_log AS l
             WHERE l.run_id = ?1 AND l.reason = ?2 AND l.customer_key IS NOT NULL
             UNION
             SELECT customer_key FROM _changes WHERE run_id = ?1 AND kind = 'created'",
        )?;
        let keys = select.query_map((self.run_id, self.reason.name()), |row| row.get(0))?;
        keys.collect()
    }

    /// The emails are as they were before, but for the time of their lookup; unless another run has
    /// looked them up since. What other runs keep of them is corrected, too.
    fn restore_emails(&self) -> Result<()> {
        let of_reason = (self.run_id, self.reason.name());
        self.store.execute(
            "UPDATE _emails SET outcome = l.outcome, status = l.status, error = l.error,
                 attempts = l.attempts, run_id = l.earlier_run_id, answered_at = l.answered_at,
                 customer_key = (SELECT key FROM _customers
                     WHERE key = l.customer_key AND erased_at IS NULL)
             FROM _lookup_undo_log AS l
             WHERE l.run_id = ?1 AND l.reason = ?2
                 AND _emails.key = l.email_key AND _emails.run_id = ?1",
            of_reason,
        )?;
        self.store.execute(
            "UPDATE _emails SET outcome = NULL, status = NULL, error = NULL, attempts = 0,
                 run_id = NULL, answered_at = NULL, customer_key = NULL
             WHERE run_id = ?1 AND key IN (SELECT email_key FROM temp.undone WHERE is_first)",
            [self.run_id],
        )?;
        self.store.execute(
            "UPDATE _lookup_undo_log AS other SET outcome = l.outcome, status = l.status,
                 error = l.error, attempts = l.attempts, earlier_run_id = l.earlier_run_id,
                 answered_at = l.answered_at, customer_key = l.customer_key
             FROM _lookup_undo_log AS l
             WHERE l.run_id = ?1 AND l.reason = ?2
                 AND other.email_key = l.email_key AND other.earlier_run_id = ?1",
            of_reason,
        )?;
        self.store.execute(
            "UPDATE _lookup_undo_log SET outcome = NULL, status = NULL, error = NULL, attempts = 0,
                 earlier_run_id = NULL, answered_at = NULL, customer_key = NULL
             WHERE earlier_run_id = ?1
                 AND email_key IN (SELECT email_key FROM temp.undone WHERE is_first)",
            [self.run_id],
        )?;
        Ok(())
    }

    /// Failures that are undone no longer count among those of the run.
    fn remove_rejects(&self) -> Result<()> {
        let rejects = "SELECT r.row, r.code FROM temp.undone AS u
             JOIN _plan_items AS p ON p.run_id = ?1 AND p.position = u.position
             JOIN _rejects AS r ON r.run_id = p.run_id AND r.row = p.row";
        let uncount = format!(
            "UPDATE _run_failures SET count = _run_failures.count - undone.emails
             FROM (SELECT code, count(*) AS emails FROM ({rejects}) GROUP BY code) AS undone
             WHERE _run_failures.run_id = ?1 AND _run_failures.code = undone.code"
        );
        self.store.execute(&uncount, [self.run_id])?;
        let none = "DELETE FROM _run_failures WHERE run_id = ?1 AND count = 0";
        self.store.execute(none, [self.run_id])?;
        let delete = format!(
            "DELETE FROM _rejects WHERE run_id = ?1 AND row IN (SELECT row FROM ({rejects}))"
        );
        self.store.execute(&delete, [self.run_id])?;
        Ok(())
    }

    /// Returns how many emails are pending again.
    fn reset_to_pending(self) -> Result<u64> {
        let reset = "UPDATE _plan_items SET first_lookup = NULL
             WHERE run_id = ?1 AND position IN (SELECT position FROM temp.undone)";
        let emails = self.store.execute(reset, [self.run_id])?;
        let forget = "DELETE FROM _lookup_undo_log WHERE run_id = ?1 AND reason = ?2";
        self.store.execute(forget, (self.run_id, self.reason.name()))?;
        self.store.execute("DROP TABLE temp.undone", [])?;
        u64::try_from(emails).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}
