//! What is done when a run ends, however it ends: the doubtful is judged, the lost are marked.

use crate::domain::outcome::ChangeKind;
use crate::domain::run::RunReport;
use crate::domain::stop::StopReason;
use crate::store::customers::mark_missing;
use crate::store::lookups::{Doubt, ResetToPending, reset_to_pending};
use crate::store::numbers::{count, stored};
use rusqlite::{Connection, Result};

/// From how many known emails on the key is judged while the run goes on; at the end, any number
/// is judged.
const JUDGED_FROM: u64 = 20;

/// Whether the customers that emails used to lead to are believed to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Not if they are more than half: the key is another organization's, most likely.
    Judged,
    /// Always (`--accept-missing`).
    Accepted,
}

/// Watches whether the emails that led to a customer still do.
#[derive(Clone, Copy, Debug)]
pub struct KeyJudge {
    missing: Missing,
    known: u64,
    lost: u64,
}

impl KeyJudge {
    /// A judge that goes on from what the run's processes saw since it last ended cleanly.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn load(store: &Connection, run_id: i64, missing: Missing) -> Result<Self> {
        let known = "SELECT known_answered FROM _run_states WHERE run_id = ?1";
        let known = store.query_row(known, [run_id], |row| count(row, 0))?;
        let lost = "SELECT count(*) FROM _lookup_undo_log
             WHERE run_id = ?1 AND reason = 'untrusted' AND customer_key IS NOT NULL";
        let lost = store.query_row(lost, [run_id], |row| count(row, 0))?;
        Ok(Self { missing, known, lost })
    }

    /// An email that led to a customer was answered, and still leads there.
    pub fn kept(&mut self) {
        self.known += 1;
    }

    /// An email that led to a customer was answered, and no longer leads there.
    pub fn lost(&mut self) {
        self.known += 1;
        self.lost += 1;
    }

    /// The verdict while answers still come.
    pub fn verdict(&self) -> Option<StopReason> {
        if self.known < JUDGED_FROM { None } else { self.last_verdict() }
    }

    /// The verdict when no more answers come.
    fn last_verdict(&self) -> Option<StopReason> {
        let wrong = self.missing == Missing::Judged && self.lost * 2 > self.known;
        wrong.then_some(StopReason::CustomersLost { lost: self.lost, known: self.known })
    }

    /// Keeps the count for a process that may have to go on.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save(&self, store: &Connection, run_id: i64) -> Result<()> {
        let save = "UPDATE _run_states SET known_answered = ?2 WHERE run_id = ?1";
        store.prepare_cached(save)?.execute((run_id, stored(self.known)?))?;
        Ok(())
    }
}

/// Ends a run: takes back what the end puts in doubt, marks customers to whom no email leads any
/// more, and notes status, reason and exit code in `run`, which the caller saves.
///
/// # Errors
/// What SQLite says.
pub fn end(
    store: &Connection,
    run: &mut RunReport,
    judge: &KeyJudge,
    stop: Option<StopReason>,
    at: &str,
) -> Result<()> {
    let verdict = judge.last_verdict();
    let stop = stop.max(verdict.clone());
    if stop.as_ref().is_some_and(StopReason::puts_failures_back) {
        count_back(run, reset_to_pending(store, run.run_id, Doubt::Outage)?);
    }
    // A key that answers with strangers also told of nobody where somebody may be.
    if verdict.is_some() || stop.as_ref().is_some_and(StopReason::distrusts_answers) {
        count_back(run, reset_to_pending(store, run.run_id, Doubt::Key)?);
    }
    mark_lost_customers(store, run, at)?;
    store.execute("DELETE FROM _lookup_undo_log WHERE run_id = ?1", [run.run_id])?;
    store.execute("UPDATE _run_states SET known_answered = 0 WHERE run_id = ?1", [run.run_id])?;
    if run.counts.pending == 0 {
        store.execute("DELETE FROM _plan_items WHERE run_id = ?1", [run.run_id])?;
    }
    run.end(stop.as_ref(), at.to_owned());
    Ok(())
}

fn count_back(run: &mut RunReport, back: ResetToPending) {
    for (kind, emails) in back {
        run.counts.reset_to_pending(kind, emails);
    }
}

/// Only an email that no longer leads to its customer can leave one without any.
fn mark_lost_customers(store: &Connection, run: &mut RunReport, at: &str) -> Result<()> {
    let mut select = store.prepare(
        "SELECT DISTINCT e.customer_key FROM _lookup_undo_log AS e
         WHERE e.run_id = ?1 AND e.reason = 'untrusted' AND e.customer_key IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM _emails WHERE customer_key = e.customer_key)",
    )?;
    let mut rows = select.query([run.run_id])?;
    while let Some(row) = rows.next()? {
        if mark_missing(store, row.get(0)?, run.run_id, at)? {
            run.changes.add(ChangeKind::Missing, 1);
        }
    }
    Ok(())
}
