//! The course of a run over time, as points for a chart.

use crate::domain::report_data::Point;
use crate::store::StoreError;
use crate::store::numbers::{count, stored};
use rusqlite::{Connection, Result};

/// A run keeps at most this many points: where it has more, every second one goes.
const MAX_POINTS: u64 = 500;

/// Adds a point to the series of a run.
///
/// # Errors
/// The store cannot be written.
pub fn add(store: &Connection, run_id: i64, point: &Point) -> Result<(), StoreError> {
    let add =
        "INSERT OR REPLACE INTO _run_series (run_id, second, settled, failed, concurrency, rate)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (second, settled, failed) =
        (stored(point.second)?, stored(point.settled)?, stored(point.failed)?);
    let values = (run_id, second, settled, failed, point.concurrency, point.rate);
    store.prepare_cached(add)?.execute(values)?;
    thin_out(store, run_id)
}

fn thin_out(store: &Connection, run_id: i64) -> Result<(), StoreError> {
    let points = "SELECT count(*) FROM _run_series WHERE run_id = ?1";
    let points = store.prepare_cached(points)?.query_row([run_id], |row| count(row, 0))?;
    if points > MAX_POINTS {
        store.execute(
            "DELETE FROM _run_series WHERE run_id = ?1 AND second IN (
                 SELECT second FROM (
                     SELECT second, row_number() OVER (ORDER BY second) AS n
                     FROM _run_series WHERE run_id = ?1)
                 WHERE n % 2 = 0)",
            [run_id],
        )?;
    }
    Ok(())
}

/// The series of a run, the earliest point first.
///
/// # Errors
/// The store cannot be read.
pub fn load(store: &Connection, run_id: i64) -> Result<Vec<Point>, StoreError> {
    let mut select = store.prepare(
        "SELECT second, settled, failed, concurrency, rate FROM _run_series
         WHERE run_id = ?1 ORDER BY second",
    )?;
    let points = select.query_map([run_id], |row| {
        Ok(Point {
            second: count(row, 0)?,
            settled: count(row, 1)?,
            failed: count(row, 2)?,
            concurrency: row.get(3)?,
            rate: row.get(4)?,
        })
    })?;
    Ok(points.collect::<Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, runs};

    #[test]
    fn a_long_series_keeps_its_course_and_stays_short() {
        let store = Store::temporary().unwrap().connection;
        let run_id = runs::begin(&store, "list.csv", "2026-01-01T00:00:00.000Z").unwrap();
        for n in 0..2_000_u64 {
            let point =
                Point { second: n, settled: n, failed: 0, concurrency: Some(8), rate: None };
            add(&store, run_id, &point).unwrap();
        }
        let points = load(&store, run_id).unwrap();
        assert!((200..=500).contains(&points.len()), "{}", points.len());
        assert!(points.is_sorted_by_key(|point| point.settled));
        assert_eq!((points[0].settled, points.last().unwrap().settled), (0, 1_999));
    }
}
