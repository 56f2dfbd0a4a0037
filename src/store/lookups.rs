//! What is known of each email, the plan's items and the rejects.

use crate::domain::outcome::{Cause, Outcome, OutcomeKind, REJECTED, Settled};
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
            Self::Key => "key",
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
        .prepare_cached("UPDATE plan_items SET settled = 1 WHERE run_id = ?1 AND position = ?2")?
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
                "UPDATE emails SET outcome = ?2, status = ?3, error = NULL, attempts = ?4,
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
            "UPDATE emails SET outcome = ?2, status = ?3, error = NULL, attempts = ?4,
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
            "UPDATE emails SET outcome = ?2, status = ?3, error = ?4, attempts = ?5, run_id = ?6,
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
            "INSERT INTO rejects (run_id, row, input, code, reason, status, attempts)
             SELECT p.run_id, p.row, coalesce(p.input, ?3), ?4, ?5, ?6, ?7
             FROM plan_items AS p WHERE p.run_id = ?1 AND p.position = ?2",
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
            "INSERT OR REPLACE INTO earlier_lookups (
                 email_key, run_id, position, doubt, outcome, status, error, attempts,
                 earlier_run_id, looked_up_at, customer_key, answered_at
             )
             SELECT key, ?2, ?3, ?4, outcome, status, error, attempts, run_id, looked_up_at,
                 customer_key, answered_at
             FROM emails WHERE key = ?1",
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
         FROM earlier_lookups AS e JOIN emails AS now ON now.key = e.email_key
         WHERE e.run_id = ?1 AND e.doubt = ?2 GROUP BY now.outcome",
    )?;
    let counted = count.query_map(doubted, |row| {
        let kind = OutcomeKind::named(&row.get::<_, String>(0)?);
        Ok((kind.unwrap_or(OutcomeKind::Failed), row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    let back = counted.collect::<Result<ResetToPending>>()?;
    store.execute(
        "UPDATE emails SET outcome = e.outcome, status = e.status, error = e.error,
             attempts = e.attempts, run_id = e.earlier_run_id, looked_up_at = e.looked_up_at,
             customer_key = e.customer_key, answered_at = e.answered_at
         FROM earlier_lookups AS e
         WHERE e.email_key = emails.key AND e.run_id = ?1 AND e.doubt = ?2",
        doubted,
    )?;
    store.execute(
        "DELETE FROM rejects WHERE run_id = ?1 AND row IN (
             SELECT p.row FROM earlier_lookups AS e JOIN plan_items AS p USING (run_id, position)
             WHERE e.run_id = ?1 AND e.doubt = ?2)",
        doubted,
    )?;
    store.execute(
        "UPDATE plan_items SET settled = 0 WHERE run_id = ?1 AND position IN (
             SELECT position FROM earlier_lookups WHERE run_id = ?1 AND doubt = ?2)",
        doubted,
    )?;
    store.execute("DELETE FROM earlier_lookups WHERE run_id = ?1 AND doubt = ?2", doubted)?;
    Ok(back)
}
