//! What is known of each email, the plan's items and the rejects.

use crate::domain::outcome::{Cause, Outcome, OutcomeKind, REJECTED, Settled};
use crate::store::numbers::{self, known};
use rusqlite::{Connection, params};

type Result<T> = rusqlite::Result<T>;

/// What would take an outcome back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The key turns out to be another organization's.
    Key,
    /// The run is stopped by trouble with the API.
    Outage,
}

impl Doubt {
    fn name(self) -> &'static str {
        match self {
            Self::Key => "untrusted",
            Self::Outage => "outage",
        }
    }
}

/// Writes an outcome: to the email, to the plan, and to the rejects if it is no answer.
/// `leads_to` is the customer's key after `found`.
///
/// # Errors
/// What SQLite says.
pub fn settle(
    store: &Connection,
    run_id: i64,
    settled: &Settled,
    (leads_to, at): (Option<i64>, &str),
) -> Result<()> {
    if let Some(doubt) = doubt(settled, leads_to) {
        keep_earlier(store, run_id, settled, doubt)?;
    }
    match &settled.outcome {
        Outcome::Found(_) | Outcome::NotFound => {
            answered(store, run_id, settled, (leads_to, at))?;
        }
        Outcome::Rejected(reason) => {
            unanswered(store, run_id, settled, (REJECTED, reason, at))?;
        }
        Outcome::Failed { failure, .. } => {
            unanswered(store, run_id, settled, (failure.code.name(), &failure.reason, at))?;
        }
    }
    store
        .prepare_cached(
            "UPDATE _plan_items SET first_lookup = 0 WHERE run_id = ?1 AND position = ?2",
        )?
        .execute((run_id, settled.planned.position))?;
    Ok(())
}

/// An answer. An email that leads where it led before, as nearly all do, leaves the index over that
/// alone: writing the same key once more would take it out and put it in again.
fn answered(
    store: &Connection,
    run_id: i64,
    settled: &Settled,
    (leads_to, at): (Option<i64>, &str),
) -> Result<()> {
    let answer = params![
        settled.planned.key,
        settled.outcome.kind().name(),
        settled.status,
        settled.attempts,
        run_id,
        at,
        leads_to,
    ];
    if leads_to == settled.planned.led_to {
        let as_before = store
            .prepare_cached(
                "UPDATE _emails SET outcome = ?2, status = ?3, error = NULL, attempts = ?4,
                     run_id = ?5, looked_up_at = ?6, answered_at = ?6
                 WHERE key = ?1 AND customer_key IS ?7",
            )?
            .execute(answer)?;
        if as_before == 1 {
            return Ok(());
        }
    }
    store
        .prepare_cached(
            "UPDATE _emails SET outcome = ?2, status = ?3, error = NULL, attempts = ?4,
                 run_id = ?5, looked_up_at = ?6, answered_at = ?6, customer_key = ?7
             WHERE key = ?1",
        )?
        .execute(answer)?;
    Ok(())
}

/// No answer: what the last answer said stays.
fn unanswered(
    store: &Connection,
    run_id: i64,
    settled: &Settled,
    (code, reason, at): (&str, &str, &str),
) -> Result<()> {
    store
        .prepare_cached(
            "UPDATE _emails SET outcome = ?2, status = ?3, error = ?4, attempts = ?5, run_id = ?6,
                 looked_up_at = ?7
             WHERE key = ?1",
        )?
        .execute(params![
            settled.planned.key,
            settled.outcome.kind().name(),
            settled.status,
            reason,
            settled.attempts,
            run_id,
            at,
        ])?;
    store
        .prepare_cached(
            "INSERT INTO _rejects (run_id, row, input, code, reason, status, attempts)
             SELECT p.run_id, p.row, coalesce(p.input, ?3), ?4, ?5, ?6, ?7
             FROM _plan_items AS p WHERE p.run_id = ?1 AND p.position = ?2",
        )?
        .execute(params![
            run_id,
            settled.planned.position,
            settled.planned.email,
            code,
            reason,
            settled.status,
            settled.attempts,
        ])?;
    store
        .prepare_cached(
            "INSERT INTO _run_failures (run_id, code, count, last_reason) VALUES (?1, ?2, 1, ?3)
             ON CONFLICT DO UPDATE SET count = count + 1, last_reason = excluded.last_reason",
        )?
        .execute((run_id, code, reason))?;
    Ok(())
}

/// What could yet show that the outcome says nothing about the email.
fn doubt(settled: &Settled, leads_to: Option<i64>) -> Option<Doubt> {
    match &settled.outcome {
        Outcome::NotFound => Some(Doubt::Key),
        Outcome::Found(_) => {
            let moved = settled.planned.led_to.is_some_and(|key| leads_to != Some(key));
            moved.then_some(Doubt::Key)
        }
        Outcome::Failed { cause: Cause::Transient, .. } => Some(Doubt::Outage),
        Outcome::Failed { cause: Cause::Permanent, .. } | Outcome::Rejected(_) => None,
    }
}

fn keep_earlier(store: &Connection, run_id: i64, settled: &Settled, doubt: Doubt) -> Result<()> {
    store
        .prepare_cached(
            "INSERT OR REPLACE INTO _lookup_undo_log (
                 email_key, run_id, position, reason, outcome, status, error, attempts,
                 earlier_run_id, looked_up_at, customer_key, answered_at
             )
             SELECT key, ?2, ?3, ?4, outcome, status, error, attempts, run_id, looked_up_at,
                 customer_key, answered_at
             FROM _emails WHERE key = ?1",
        )?
        .execute(params![settled.planned.key, run_id, settled.planned.position, doubt.name()])?;
    Ok(())
}

/// How many emails were put back to pending, by what they had been settled as.
pub type ResetToPending = Vec<(OutcomeKind, u64)>;

/// Takes the outcomes in `doubt` back: the emails are as they were before, and pending again.
///
/// # Errors
/// What SQLite says.
pub fn reset_to_pending(store: &Connection, run_id: i64, doubt: Doubt) -> Result<ResetToPending> {
    let doubted = (run_id, doubt.name());
    let mut count = store.prepare(
        "SELECT now.outcome, count(*)
         FROM _lookup_undo_log AS e JOIN _emails AS now ON now.key = e.email_key
         WHERE e.run_id = ?1 AND e.reason = ?2 GROUP BY now.outcome",
    )?;
    let counted = count.query_map(doubted, |row| {
        Ok((known(row.get(0)?, OutcomeKind::named)?, numbers::count(row, 1)?))
    })?;
    let back = counted.collect::<Result<ResetToPending>>()?;
    store.execute(
        "UPDATE _emails SET outcome = e.outcome, status = e.status, error = e.error,
             attempts = e.attempts, run_id = e.earlier_run_id, looked_up_at = e.looked_up_at,
             customer_key = e.customer_key, answered_at = e.answered_at
         FROM _lookup_undo_log AS e
         WHERE e.email_key = _emails.key AND e.run_id = ?1 AND e.reason = ?2",
        doubted,
    )?;
    uncount_failures(store, doubted)?;
    store.execute(
        "DELETE FROM _rejects WHERE run_id = ?1 AND row IN (
             SELECT p.row FROM _lookup_undo_log AS e JOIN _plan_items AS p USING (run_id, position)
             WHERE e.run_id = ?1 AND e.reason = ?2)",
        doubted,
    )?;
    store.execute(
        "UPDATE _plan_items SET first_lookup = NULL WHERE run_id = ?1 AND position IN (
             SELECT position FROM _lookup_undo_log WHERE run_id = ?1 AND reason = ?2)",
        doubted,
    )?;
    store.execute("DELETE FROM _lookup_undo_log WHERE run_id = ?1 AND reason = ?2", doubted)?;
    Ok(back)
}

/// The failures that are undone no longer count among those of the run.
fn uncount_failures(store: &Connection, doubted: (i64, &str)) -> Result<()> {
    store.execute(
        "UPDATE _run_failures SET count = _run_failures.count - undone.emails
         FROM (SELECT r.code AS code, count(*) AS emails
               FROM _lookup_undo_log AS e
               JOIN _plan_items AS p USING (run_id, position)
               JOIN _rejects AS r ON r.run_id = p.run_id AND r.row = p.row
               WHERE e.run_id = ?1 AND e.reason = ?2 GROUP BY r.code) AS undone
         WHERE run_id = ?1 AND _run_failures.code = undone.code",
        doubted,
    )?;
    store.execute("DELETE FROM _run_failures WHERE run_id = ?1 AND count = 0", [doubted.0])?;
    Ok(())
}
