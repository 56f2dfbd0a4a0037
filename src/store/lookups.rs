//! What is known of each email, and what became of it in its run.

use crate::domain::outcome::{Cause, Outcome, REJECTED, Settled};
use crate::store::undo::{self, UndoReason};
use rusqlite::{Connection, Result, params};

/// An email whose lookup is over.
#[derive(Clone, Copy, Debug)]
pub struct FinishedLookup<'a> {
    /// What became of it.
    pub settled: &'a Settled,
    /// The key of the customer that it resolves to now; `None` unless it was found.
    pub resolves_to: Option<i64>,
    /// The time of the last answer.
    pub at: &'a str,
}

/// Writes what became of an email: to the email, to the plan of `run_id`, and to the rejects if there
/// was no answer.
///
/// # Errors
/// The store cannot be written.
pub fn settle(store: &Connection, run_id: i64, lookup: FinishedLookup<'_>) -> Result<()> {
    let settled = lookup.settled;
    let is_first = match undo_reason(lookup) {
        Some(reason) => !undo::keep_earlier(store, run_id, &settled.planned, reason)?,
        None => false,
    };
    match &settled.outcome {
        Outcome::Found(_) | Outcome::NotFound => answered(store, run_id, lookup)?,
        Outcome::Rejected(reason) => {
            unanswered(store, run_id, lookup, Reject { code: REJECTED, reason })?;
        }
        Outcome::Failed { failure, .. } => {
            let reject = Reject { code: failure.code.name(), reason: &failure.reason };
            unanswered(store, run_id, lookup, reject)?;
        }
    }
    store
        .prepare_cached(
            "UPDATE _plan_items SET first_lookup = ?3 WHERE run_id = ?1 AND position = ?2",
        )?
        .execute((run_id, settled.planned.position, is_first))?;
    Ok(())
}

/// What could yet show that the outcome says nothing about the email.
fn undo_reason(lookup: FinishedLookup<'_>) -> Option<UndoReason> {
    match &lookup.settled.outcome {
        Outcome::Found(_) if lookup.resolves_to == lookup.settled.planned.resolved_to => None,
        Outcome::Found(_) | Outcome::NotFound => Some(UndoReason::Untrusted),
        Outcome::Failed { cause: Cause::Transient, .. } => Some(UndoReason::Outage),
        Outcome::Failed { cause: Cause::Permanent, .. } | Outcome::Rejected(_) => None,
    }
}

/// An answer. An email that resolves to the same customer as before, as nearly all do, leaves the
/// index over that alone: writing the same key once more would take it out and put it in again.
fn answered(store: &Connection, run_id: i64, lookup: FinishedLookup<'_>) -> Result<()> {
    let FinishedLookup { settled, resolves_to, at } = lookup;
    let answer = params![
        settled.planned.key,
        settled.outcome.kind().name(),
        settled.status,
        settled.attempts,
        run_id,
        at,
        resolves_to,
    ];
    if resolves_to == settled.planned.resolved_to {
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

/// Why there was no answer.
#[derive(Clone, Copy)]
struct Reject<'a> {
    code: &'a str,
    reason: &'a str,
}

/// No answer: what the last answer said stays.
fn unanswered(
    store: &Connection,
    run_id: i64,
    lookup: FinishedLookup<'_>,
    reject: Reject<'_>,
) -> Result<()> {
    let FinishedLookup { settled, at, .. } = lookup;
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
            reject.reason,
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
            reject.code,
            reject.reason,
            settled.status,
            settled.attempts,
        ])?;
    store
        .prepare_cached(
            "INSERT INTO _run_failures (run_id, code, count, last_reason) VALUES (?1, ?2, 1, ?3)
             ON CONFLICT DO UPDATE SET count = count + 1, last_reason = excluded.last_reason",
        )?
        .execute((run_id, reject.code, reject.reason))?;
    Ok(())
}
