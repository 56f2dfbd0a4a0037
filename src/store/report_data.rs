//! Loads what a report shows besides its run.

use crate::domain::counts::HttpTally;
use crate::domain::report_data::{Gauges, LastEnd, LatencyBucket, Reject, ReportData};
use crate::domain::run::RunReport;
use crate::store::numbers::count;
use crate::store::{StoreError, runs, series};
use rusqlite::{Connection, OptionalExtension as _, Row};

/// A page shows this many runs.
const RUNS: u32 = 30;

/// A page shows this many rejects.
const REJECTS: u32 = 50;

/// Loads everything for the report of `run`.
///
/// # Errors
/// The store cannot be read.
pub fn load(store: &Connection, run: &RunReport) -> Result<ReportData, StoreError> {
    Ok(ReportData {
        runs: runs::newest_of(store, &run.source, RUNS)?,
        series: series::load(store, run.run_id)?,
        latencies: latencies(&runs::load_http(store, run)?),
        rejects: rejects(store, run.run_id)?,
        ..load_metrics(store, &run.source)?
    })
}

/// Loads what monitoring needs: nothing about a single run.
///
/// # Errors
/// The store cannot be read.
pub fn load_metrics(store: &Connection, source: &str) -> Result<ReportData, StoreError> {
    Ok(ReportData {
        gauges: Some(gauges(store)?),
        last_end: last_end(store, source)?,
        last_success: last_success(store, source)?,
        process_started: process_started(store)?,
        ..ReportData::default()
    })
}

fn gauges(store: &Connection) -> rusqlite::Result<Gauges> {
    let number = |sql: &str| store.query_row(sql, [], |row| count(row, 0));
    let (never_answered, oldest_answer) = store.query_row(
        "SELECT count(*) - count(answered_at), min(answered_at) FROM _emails",
        [],
        |row| Ok((count(row, 0)?, row.get(1)?)),
    )?;
    let erased = number("SELECT count(*) FROM _customers WHERE erased_at IS NOT NULL")?;
    Ok(Gauges {
        customers: number("SELECT count(*) FROM _customers")?.saturating_sub(erased),
        missing: number("SELECT count(*) FROM _customers WHERE missing_since IS NOT NULL")?,
        never_answered,
        oldest_answer,
        bytes: number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?),
    })
}

fn last_end(store: &Connection, source: &str) -> rusqlite::Result<Option<LastEnd>> {
    let select = "SELECT finished_at, report ->> '$.exit_code' FROM runs
         WHERE source = ?1 AND finished_at IS NOT NULL AND report ->> '$.exit_code' IS NOT NULL
         ORDER BY id DESC LIMIT 1";
    let end = |row: &Row<'_>| Ok(LastEnd { at: row.get(0)?, exit_code: row.get(1)? });
    store.query_row(select, [source], end).optional()
}

/// Exits 0, 3 and 4 are successes.
fn last_success(store: &Connection, source: &str) -> rusqlite::Result<Option<String>> {
    let select = "SELECT finished_at FROM runs
         WHERE source = ?1 AND finished_at IS NOT NULL AND report ->> '$.exit_code' IN (0, 3, 4)
         ORDER BY id DESC LIMIT 1";
    store.query_row(select, [source], |row| row.get(0)).optional()
}

fn process_started(store: &Connection) -> rusqlite::Result<Option<String>> {
    let select = "SELECT holder_since FROM _store";
    Ok(store.query_row(select, [], |row| row.get(0)).optional()?.flatten())
}

fn rejects(store: &Connection, run_id: i64) -> rusqlite::Result<Vec<Reject>> {
    let mut select = store.prepare(
        "SELECT row, input, code, reason FROM rejects WHERE run_id = ?1 ORDER BY row LIMIT ?2",
    )?;
    let rejects = select.query_map((run_id, REJECTS), |row| {
        Ok(Reject {
            row: count(row, 0)?,
            input: row.get(1)?,
            code: row.get(2)?,
            reason: row.get(3)?,
        })
    })?;
    rejects.collect()
}

/// The edges of buckets within a power of ten: round numbers at about equal ratios.
const EDGES: [f64; 6] = [1.0, 1.5, 2.0, 3.0, 5.0, 7.0];

/// Buckets from the first that holds a response to the last.
fn latencies(http: &HttpTally) -> Vec<LatencyBucket> {
    let powers = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0];
    let edges = powers.into_iter().flat_map(|power| EDGES.map(|edge| edge * power));
    let (mut buckets, mut above_ms, mut below) = (Vec::new(), 0.0, 0);
    for up_to_ms in edges {
        let within = http.responses_within_ms(up_to_ms);
        if within > 0 {
            buckets.push(LatencyBucket { above_ms, up_to_ms, responses: within - below });
        }
        if within == http.responses() {
            break;
        }
        (below, above_ms) = (within, up_to_ms);
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn run(store: &Connection, source: &str, at: &str, exit_code: Option<u8>) -> RunReport {
        let run_id = runs::begin(store, source, at).unwrap();
        let mut run = RunReport::planned(run_id, source.into(), at.into(), Default::default());
        run.exit_code = exit_code;
        run.finished_at = exit_code.map(|_| at.into());
        runs::save(store, &run, &HttpTally::default(), at).unwrap();
        run
    }

    #[test]
    fn the_last_success_of_a_source_survives_failures_and_other_sources() {
        let store = Store::temporary().unwrap().connection;
        run(&store, "a.csv", "2026-01-01T00:00:00.000Z", Some(3));
        run(&store, "a.csv", "2026-01-02T00:00:00.000Z", Some(6));
        run(&store, "b.csv", "2026-01-03T00:00:00.000Z", Some(0));
        let newest = run(&store, "a.csv", "2026-01-04T00:00:00.000Z", None);
        let data = load(&store, &newest).unwrap();
        assert_eq!(data.last_success.as_deref(), Some("2026-01-01T00:00:00.000Z"));
        let end = LastEnd { at: "2026-01-02T00:00:00.000Z".into(), exit_code: 6 };
        assert_eq!(data.last_end, Some(end));
        assert_eq!(data.runs.iter().map(|run| run.run_id).collect::<Vec<_>>(), [4, 2, 1]);
    }

    #[test]
    fn gauges_count_what_is_there() {
        let store = Store::temporary().unwrap().connection;
        let time = "2026-01-01T00:00:00.000Z";
        for (id, missing, erased) in
            [("a", None, None), ("b", Some(time), None), ("c", None, Some(time))]
        {
            let insert = "INSERT INTO _customers
                     (id, first_seen_at, changed_at, synced_at, missing_since, erased_at, request)
                 VALUES (?1, ?2, ?2, ?2, ?3, ?4, 1)";
            store.execute(insert, (id, time, missing, erased)).unwrap();
        }
        let insert = "INSERT INTO _emails (email, answered_at)
             VALUES ('a@x', '2026-01-02T00:00:00.000Z'), ('b@x', '2026-01-01T00:00:00.000Z'),
                 ('c@x', NULL)";
        store.execute(insert, []).unwrap();
        let gauges = gauges(&store).unwrap();
        assert_eq!((gauges.customers, gauges.missing, gauges.never_answered), (2, 1, 1));
        assert_eq!(gauges.oldest_answer.as_deref(), Some(time));
        assert!(gauges.bytes > 10_000, "{gauges:?}");
    }

    #[test]
    fn latencies_fall_into_buckets_with_round_edges() {
        let mut http = HttpTally::default();
        assert_eq!(latencies(&http), []);
        for ms in [4_u64, 4, 60, 400_000] {
            http.record_latency(std::time::Duration::from_millis(ms));
        }
        let buckets = latencies(&http);
        let filled = buckets.iter().filter(|bucket| bucket.responses > 0);
        let filled: Vec<_> = filled.map(|it| (it.above_ms, it.up_to_ms, it.responses)).collect();
        assert_eq!(filled, [(3.0, 5.0, 2), (50.0, 70.0, 1), (300_000.0, 500_000.0, 1)]);
        assert_eq!(buckets.first().map(|bucket| bucket.above_ms), Some(3.0));
        assert_eq!(buckets.last().map(|bucket| bucket.up_to_ms), Some(500_000.0));
    }
}
