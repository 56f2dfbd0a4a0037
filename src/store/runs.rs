//! The runs: begun with their plan, kept up to date, ended, found again.

use crate::domain::counts::{Counts, HttpTally};
use crate::domain::run::{FailureCount, RunReport, Status};
use crate::store::StoreError;
use crate::store::numbers::{count, known, stored};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

/// Request numbers of one process: enough for any run, and the next process's are all higher.
const REQUESTS_PER_PROCESS_BITS: u32 = 40;

/// Counts a new process that writes the store. Returns its first request number.
pub(super) fn begin_process(store: &Connection) -> Result<i64, StoreError> {
    let begin = "UPDATE _store SET processes = processes + 1 RETURNING processes";
    let processes: i64 = store.query_row(begin, [], |row| row.get(0))?;
    Ok(processes << REQUESTS_PER_PROCESS_BITS)
}

/// Shows the runs that were killed as they are; only for the holder of the lock, before its own run
/// is running.
///
/// # Errors
/// The store cannot be read or written.
pub fn mark_killed(store: &Connection) -> Result<(), StoreError> {
    let killed = format!("{SELECT_RUNS} WHERE r.status = 'running'");
    let mut select = store.prepare(&killed)?;
    let killed = select.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    for run in killed {
        save_killed(store, &as_killed(run))?;
    }
    Ok(())
}

/// A run that is `running` although no process works on it: it returned no exit code.
pub fn as_killed(run: RunReport) -> RunReport {
    RunReport {
        status: Status::Stopped,
        stop_reason: Some(KILLED.to_owned()),
        exit_code: None,
        progress: None,
        ..run
    }
}

/// The stop reason of a run that was killed.
pub const KILLED: &str = "the process was killed or crashed";

/// Begins a run; its plan and its counts follow in the same transaction.
///
/// # Errors
/// The store cannot be read or written.
pub fn begin(store: &Connection, source: &str, started_at: &str) -> Result<i64, StoreError> {
    store.execute(
        "INSERT INTO _runs (started_at, updated_at, status, source) VALUES (?1, ?1, 'running', ?2)",
        [started_at, source],
    )?;
    let run_id = store.last_insert_rowid();
    store.execute(
        "INSERT INTO _run_states (run_id, latencies, known_answered, known_lost)
         VALUES (?1, x'', 0, 0)",
        [run_id],
    )?;
    Ok(run_id)
}

/// Writes a run as it stands at this time, with its requests so far; for the process that works on it.
///
/// # Errors
/// The store cannot be read or written.
pub fn save(
    store: &Connection,
    run: &RunReport,
    http: &HttpTally,
    at: &str,
) -> Result<(), StoreError> {
    write(store, run, Some(at))?;
    let save = "UPDATE _run_states SET latencies = ?2 WHERE run_id = ?1";
    store.prepare_cached(save)?.execute((run.run_id, http.latencies()))?;
    Ok(())
}

/// Writes a run on which no process works any more.
pub(super) fn save_killed(store: &Connection, run: &RunReport) -> Result<(), StoreError> {
    write(store, run, None)
}

fn write(store: &Connection, run: &RunReport, at: Option<&str>) -> Result<(), StoreError> {
    let counts = &run.counts;
    let report = serde_json::to_string(run)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    store
        .prepare_cached(
            "UPDATE _runs SET
                 finished_at = :finished_at, updated_at = coalesce(:at, updated_at), status = :status, stop_reason = :stop_reason,
                 rows = :rows, invalid = :invalid, duplicate = :duplicate, fresh = :fresh,
                 planned = :planned, found = :found, not_found = :not_found,
                 rejected = :rejected, failed = :failed, pending = :pending,
                 requests = :requests, retries = :retries, seconds = :seconds,
                 report = :report
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": run.run_id,
            ":finished_at": run.finished_at,
            ":at": at,
            ":status": run.status.name(),
            ":stop_reason": run.stop_reason,
            ":rows": stored(counts.rows)?,
            ":invalid": stored(counts.invalid)?,
            ":duplicate": stored(counts.duplicate)?,
            ":fresh": stored(counts.fresh)?,
            ":planned": stored(counts.planned)?,
            ":found": stored(counts.found)?,
            ":not_found": stored(counts.not_found)?,
            ":rejected": stored(counts.rejected)?,
            ":failed": stored(counts.failed)?,
            ":pending": stored(counts.pending)?,
            ":requests": stored(run.http.requests)?,
            ":retries": stored(run.http.retries)?,
            ":seconds": run.seconds,
            ":report": report,
        })?;
    Ok(())
}

/// Keeps the settings of a run, as JSON, for the processes that resume it.
///
/// # Errors
/// The store cannot be written.
pub fn save_settings(store: &Connection, run: i64, settings: &str) -> Result<(), StoreError> {
    store.execute("UPDATE _runs SET settings = ?2 WHERE id = ?1", (run, settings))?;
    Ok(())
}

/// The settings that a run was started with, as JSON; `None`: none were kept.
///
/// # Errors
/// The store cannot be read.
pub fn load_settings(store: &Connection, run: i64) -> Result<Option<String>, StoreError> {
    let select = "SELECT settings FROM _runs WHERE id = ?1";
    Ok(store.query_row(select, [run], |row| row.get(0)).optional()?.flatten())
}

/// The newest run that has emails pending; a plan that was replaced has none any more.
///
/// # Errors
/// The store cannot be read or written.
pub fn newest_unfinished(store: &Connection) -> Result<Option<i64>, StoreError> {
    let newest = "SELECT id FROM _runs
         WHERE EXISTS (SELECT 1 FROM _plan_items WHERE run_id = _runs.id)
         ORDER BY id DESC LIMIT 1";
    Ok(store.query_row(newest, [], |row| row.get(0)).optional()?)
}

/// The newest run of `source` that has emails pending.
///
/// # Errors
/// What SQLite says.
pub fn unfinished_of(store: &Connection, source: &str) -> Result<Option<i64>, StoreError> {
    let newest = "SELECT id FROM _runs
         WHERE source = ?1 AND EXISTS (SELECT 1 FROM _plan_items WHERE run_id = _runs.id)
         ORDER BY id DESC LIMIT 1";
    Ok(store.query_row(newest, [source], |row| row.get(0)).optional()?)
}

/// Whether `run` has emails that wait for their lookup, or died before its end: the end takes the
/// plan away when nothing is pending.
///
/// # Errors
/// The store cannot be read or written.
pub fn is_unfinished(store: &Connection, run: i64) -> Result<bool, StoreError> {
    let has_plan = "SELECT EXISTS (SELECT 1 FROM _plan_items WHERE run_id = id)
         FROM _runs WHERE id = ?1";
    Ok(store.query_row(has_plan, [run], |row| row.get(0))?)
}

/// The runs other than `except` that were not ended, because their process was killed.
pub(super) fn not_ended(store: &Connection, except: Option<i64>) -> Result<Vec<i64>, StoreError> {
    let mut select = store.prepare(
        "SELECT run_id FROM _run_states WHERE NOT ended AND run_id IS NOT ?1 ORDER BY run_id",
    )?;
    let ids = select.query_map([except], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Notes that a process works on a run, until [`super::finish::end`].
///
/// # Errors
/// The store cannot be written.
pub fn set_begun(store: &Connection, run: i64) -> Result<(), StoreError> {
    store.execute("UPDATE _run_states SET ended = 0 WHERE run_id = ?1", [run])?;
    Ok(())
}

pub(super) fn set_ended(store: &Connection, run: i64) -> rusqlite::Result<()> {
    store.execute("UPDATE _run_states SET ended = 1 WHERE run_id = ?1", [run])?;
    Ok(())
}

/// The organization that an answer of a run named first, if one did.
pub(super) fn organization(store: &Connection, run: i64) -> Result<Option<String>, StoreError> {
    let select = "SELECT organization_id FROM _run_states WHERE run_id = ?1";
    Ok(store.query_row(select, [run], |row| row.get(0))?)
}

pub(super) fn set_organization(
    store: &Connection,
    run: i64,
    organization: &str,
) -> Result<(), StoreError> {
    let set = "UPDATE _run_states SET organization_id = ?2 WHERE run_id = ?1";
    store.execute(set, (run, organization))?;
    Ok(())
}

/// For [`read`]. A run whose plan is gone, while emails of it are pending, was replaced.
const SELECT_RUNS: &str = "SELECT r.*,
         r.pending > 0 AND NOT EXISTS (SELECT 1 FROM _plan_items WHERE run_id = r.id) AS replaced
     FROM _runs AS r";

/// The newest run, or the one named.
///
/// # Errors
/// The store cannot be read or written.
pub fn load(store: &Connection, run: Option<i64>) -> Result<Option<RunReport>, StoreError> {
    let select = format!("{SELECT_RUNS} WHERE r.id = coalesce(?1, (SELECT max(id) FROM _runs))");
    Ok(store.query_row(&select, [run], read).optional()?)
}

/// The newest runs, at most `limit`, the newest first.
///
/// # Errors
/// The store cannot be read.
pub fn list(store: &Connection, limit: u32) -> Result<Vec<RunReport>, StoreError> {
    let mut select = store.prepare(&format!("{SELECT_RUNS} ORDER BY r.id DESC LIMIT ?1"))?;
    let runs = select.query_map([limit], read)?;
    Ok(runs.collect::<Result<_, _>>()?)
}

/// The newest runs of a source, the newest first.
///
/// # Errors
/// The store cannot be read.
pub fn newest_of(
    store: &Connection,
    source: &str,
    limit: u32,
) -> Result<Vec<RunReport>, StoreError> {
    let newest = format!("{SELECT_RUNS} WHERE r.source = ?1 ORDER BY r.id DESC LIMIT ?2");
    let mut select = store.prepare(&newest)?;
    let runs = select.query_map((source, limit), read)?;
    Ok(runs.collect::<Result<_, _>>()?)
}

/// The tally of requests with which a resumed run continues.
///
/// # Errors
/// The store cannot be read or written.
pub fn load_http(store: &Connection, run: &RunReport) -> Result<HttpTally, StoreError> {
    let select = "SELECT latencies FROM _run_states WHERE run_id = ?1";
    let latencies: Vec<u8> = store.query_row(select, [run.run_id], |row| row.get(0))?;
    let http = &run.http;
    Ok(HttpTally::resumed(http.requests, http.retries, &http.statuses, &latencies))
}

/// The rows that the last run of `source` before `run` read.
///
/// # Errors
/// The store cannot be read or written.
pub fn rows_before(store: &Connection, source: &str, run: i64) -> Result<Option<u64>, StoreError> {
    let select = "SELECT rows FROM _runs WHERE source = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1";
    Ok(store.query_row(select, (source, run), |row| count(row, 0)).optional()?)
}

/// The emails of a run that were rejected or failed, by kind, the most frequent first.
///
/// # Errors
/// The store cannot be read.
pub fn failures(store: &Connection, run: i64) -> Result<Vec<FailureCount>, StoreError> {
    let mut select = store.prepare_cached(
        "SELECT code, count, last_reason FROM _run_failures
         WHERE run_id = ?1 ORDER BY count DESC, code",
    )?;
    let failures = select.query_map([run], |row| {
        Ok(FailureCount { code: row.get(0)?, count: count(row, 1)?, last_reason: row.get(2)? })
    })?;
    Ok(failures.collect::<Result<_, _>>()?)
}

/// Emails a second of the last run that looked up more than a few: tells a plan's time.
///
/// # Errors
/// The store cannot be read or written.
pub fn last_speed(store: &Connection) -> Result<Option<f64>, StoreError> {
    let select = "SELECT (planned - pending) / seconds FROM _runs
         WHERE seconds > 0 AND planned - pending >= 10 ORDER BY id DESC LIMIT 1";
    Ok(store.query_row(select, [], |row| row.get(0)).optional()?)
}

/// The columns say how the run stands; the report's JSON has the rest.
fn read(row: &Row<'_>) -> rusqlite::Result<RunReport> {
    let counts = Counts {
        rows: count(row, "rows")?,
        invalid: count(row, "invalid")?,
        duplicate: count(row, "duplicate")?,
        fresh: count(row, "fresh")?,
        planned: count(row, "planned")?,
        found: count(row, "found")?,
        not_found: count(row, "not_found")?,
        rejected: count(row, "rejected")?,
        failed: count(row, "failed")?,
        pending: count(row, "pending")?,
    };
    let json: Option<String> = row.get("report")?;
    let run = match json {
        Some(json) => serde_json::from_str(&json).map_err(unreadable_report)?,
        None => {
            let (source, started_at) = (row.get("source")?, row.get("started_at")?);
            RunReport::planned(row.get("id")?, source, started_at, counts)
        }
    };
    let mut run = RunReport { counts, ..run };
    run.status = known(row.get("status")?, Status::named)?;
    run.stop_reason = row.get("stop_reason")?;
    run.finished_at = row.get("finished_at")?;
    run.seconds = row.get("seconds")?;
    run.progress = run.progress.filter(|_| run.status == Status::Running);
    run.replaced = row.get("replaced")?;
    run.http.requests = count(row, "requests")?;
    run.http.retries = count(row, "retries")?;
    Ok(run)
}

fn unreadable_report(error: serde_json::Error) -> rusqlite::Error {
    let reason = format!("the report of a run is unreadable: {error}");
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_run_comes_back_as_it_was_saved() {
        let store = Store::temporary().unwrap().connection;
        let id = begin(&store, "list.csv", "2026-01-01T00:00:00.000Z").unwrap();
        let counts = Counts { rows: 3, planned: 3, found: 1, pending: 2, ..Counts::default() };
        let mut run =
            RunReport::planned(id, "list.csv".into(), "2026-01-01T00:00:00.000Z".into(), counts);
        run.warnings.push("mind the gap".into());
        run.seconds = 1.5;
        run.replaced = true; // There is no plan beside it.
        save(&store, &run, &HttpTally::default(), "2026-01-01T00:00:01.000Z").unwrap();
        assert_eq!(load(&store, None).unwrap().unwrap(), run);
        run.counts.found = 2;
        run.counts.pending = 1;
        save(&store, &run, &HttpTally::default(), "2026-01-01T00:00:01.000Z").unwrap();
        assert_eq!(load(&store, Some(id)).unwrap().unwrap(), run);
        assert_eq!(load(&store, Some(99)).unwrap(), None);
        assert_eq!(rows_before(&store, "list.csv", id + 1).unwrap(), Some(3));
        mark_killed(&store).unwrap();
        assert_eq!(load(&store, None).unwrap().unwrap(), as_killed(run));
        let heard = "SELECT updated_at FROM runs";
        let heard: String = store.query_row(heard, [], |row| row.get(0)).unwrap();
        assert_eq!(heard, "2026-01-01T00:00:01.000Z", "it stays when it was heard of last");
    }

    #[test]
    fn request_numbers_grow_from_process_to_process() {
        let store = Store::temporary().unwrap().connection;
        let first = begin_process(&store).unwrap();
        assert!(begin_process(&store).unwrap() >= first + (1 << 40));
    }
}
