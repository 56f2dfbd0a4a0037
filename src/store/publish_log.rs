//! The log of written rows, by which a publication finds what is new since the one before. Triggers write
//! it, so that no statement can forget to; the first publication creates them, because they take a tenth of
//! the time of a new customer.

use crate::store::error::{StoreError, unusable};
use crate::store::{BUSY_TIMEOUT, keep_log_files};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Result, TransactionBehavior};
use std::path::Path;

const TRIGGERS: &str = include_str!("publish_log.sql");

/// Rows that are kept whatever the size of the store.
const FEWEST_KEPT: i64 = 10_000;

/// What the log says of a position, which is the number of a row in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// It lists all that was written after that.
    Listed,
    /// It no longer does.
    Trimmed,
    /// This store never was at that position: another copy of it was.
    Foreign,
}

/// Lets the numbers of this process be greater than those of all before it, and different from those that
/// another copy of the store gives out: they begin at the clock's microseconds.
pub(super) fn begin_process(store: &Connection, now: Timestamp) -> Result<()> {
    let last = position(store)?;
    let first = now.as_microsecond().max(last.saturating_add(1));
    let ended = "UPDATE _publish_log_processes SET last = ?1 WHERE last IS NULL";
    store.execute(ended, [last])?;
    store.execute("INSERT INTO _publish_log_processes (first) VALUES (?1)", [first])?;
    store.execute("INSERT INTO _publish_log (n) VALUES (?1)", [first])?;
    Ok(())
}

/// The position after all that was written so far.
///
/// # Errors
/// The store cannot be read.
pub fn position(store: &Connection) -> Result<i64> {
    store.query_row("SELECT coalesce(max(n), 0) FROM _publish_log", [], |row| row.get(0))
}

/// What the log says of a position.
///
/// # Errors
/// The store cannot be read.
pub fn since(store: &Connection, position: i64) -> Result<Since> {
    let is_kept = "SELECT EXISTS (SELECT 1 FROM _publish_log WHERE n = ?1)";
    if store.query_row(is_kept, [position], |row| row.get(0))? {
        return Ok(Since::Listed);
    }
    let is_ours = "SELECT EXISTS (SELECT 1 FROM _publish_log_processes
         WHERE first <= ?1 AND ?1 <= coalesce(last, (SELECT max(n) FROM _publish_log)))";
    let is_ours = store.query_row(is_ours, [position], |row| row.get(0))?;
    Ok(if is_ours { Since::Trimmed } else { Since::Foreign })
}

/// Removes rows at the beginning, where the log has grown to more than two for each email: a publication
/// that is so late is better off comparing everything.
pub(super) fn trim(store: &Connection) -> Result<()> {
    let emails: i64 = store.query_row("SELECT count(*) FROM _emails", [], |row| row.get(0))?;
    let kept = emails.saturating_mul(2).max(FEWEST_KEPT);
    let newest_removed = "SELECT n FROM _publish_log ORDER BY n DESC LIMIT 1 OFFSET ?1";
    let newest_removed: Option<i64> =
        store.query_row(newest_removed, [kept], |row| row.get(0)).optional()?;
    if let Some(newest) = newest_removed {
        store.execute("DELETE FROM _publish_log WHERE n <= ?1", [newest])?;
    }
    Ok(())
}

/// Starts the log of the store at `path` unless it is written already. A run may be working on the store.
///
/// # Errors
/// The store cannot be written, or stays locked.
pub fn ensure_started(reader: &Connection, path: &Path) -> Result<(), StoreError> {
    if is_started(reader)? {
        return Ok(());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut store =
        Connection::open_with_flags(path, flags).map_err(|error| unusable(path, error))?;
    store.busy_timeout(BUSY_TIMEOUT)?;
    keep_log_files(&store)?;
    let begin = store.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !is_started(&begin)? {
        start(&begin)?;
    }
    Ok(begin.commit()?)
}

fn is_started(store: &Connection) -> Result<bool> {
    let select = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_log_email')";
    store.query_row(select, [], |row| row.get(0))
}

/// From here on, the log lists every row that is written. Returns the position before that.
///
/// # Errors
/// The store cannot be written.
pub fn start(store: &Connection) -> Result<i64> {
    store.execute_batch(TRIGGERS)?;
    store.execute("INSERT INTO _publish_log DEFAULT VALUES", [])?;
    let position = store.last_insert_rowid();
    store.execute("DELETE FROM _publish_log WHERE n < ?1", [position])?;
    Ok(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    /// A store whose log is written.
    fn logged() -> Connection {
        let store = Store::temporary().unwrap().connection;
        start(&store).unwrap();
        store
    }

    fn begin(store: &Connection, at: &str) {
        begin_process(store, at.parse().unwrap()).unwrap();
    }

    fn add_email(store: &Connection, email: &str) -> i64 {
        store.execute("INSERT INTO _emails (email) VALUES (?1)", [email]).unwrap();
        position(store).unwrap()
    }

    #[test]
    fn a_position_is_known_unless_another_copy_gave_it_out() {
        let store = logged();
        begin(&store, "2026-01-01T00:00:00Z");
        let [a, b] = ["a@x.io", "b@x.io"].map(|email| add_email(&store, email));
        assert_eq!(b, a + 1);
        // A process with a clock that was set back still gives out greater numbers.
        begin(&store, "2020-01-01T00:00:00Z");
        assert_eq!(position(&store).unwrap(), b + 1);
        begin(&store, "2026-01-02T00:00:00Z");
        let c = add_email(&store, "c@x.io");
        assert!(c > b + 1_000_000);
        assert_eq!([a, b, c].map(|n| since(&store, n).unwrap()), [Since::Listed; 3]);
        // What a copy that was made after b wrote.
        assert_eq!(since(&store, b + 100).unwrap(), Since::Foreign);
        assert_eq!(since(&store, c + 1).unwrap(), Since::Foreign);
        assert_eq!(since(&store, 0).unwrap(), Since::Foreign);
        let d = start(&store).unwrap();
        assert_eq!(d, c + 1);
        assert_eq!([a, b, c].map(|n| since(&store, n).unwrap()), [Since::Trimmed; 3]);
        assert_eq!(since(&store, d).unwrap(), Since::Listed);
    }

    #[test]
    fn the_log_stays_short_and_keeps_its_end() {
        let store = logged();
        begin(&store, "2026-01-01T00:00:00Z");
        let first = add_email(&store, "a@x.io");
        for _ in 0..FEWEST_KEPT {
            store.execute("UPDATE _emails SET attempts = 1", []).unwrap();
        }
        let last = position(&store).unwrap();
        trim(&store).unwrap();
        assert_eq!(since(&store, first).unwrap(), Since::Trimmed);
        assert_eq!(since(&store, last).unwrap(), Since::Listed);
        assert_eq!(since(&store, last - FEWEST_KEPT + 1).unwrap(), Since::Listed);
        trim(&store).unwrap();
        assert_eq!(position(&store).unwrap(), last);
    }

    #[test]
    fn an_email_that_resolves_to_another_customer_is_logged_with_both() {
        let store = logged();
        for key in [1, 2] {
            store
                .execute(
                    "INSERT INTO _customers (key, id, first_seen_at, changed_at, synced_at, request)
                     VALUES (?1, ?1, 'a', 'a', 'a', 1)",
                    [key],
                )
                .unwrap();
        }
        add_email(&store, "a@x.io");
        let before = position(&store).unwrap();
        store.execute("UPDATE _emails SET customer_key = 1", []).unwrap();
        store.execute("UPDATE _emails SET customer_key = 2", []).unwrap();
        store.execute("UPDATE _customers SET synced_at = 'b'", []).unwrap();
        store.execute("DELETE FROM _emails", []).unwrap();
        let mut select = store
            .prepare("SELECT email_key, customer_key FROM _publish_log WHERE n > ?1 ORDER BY n")
            .unwrap();
        let logged: Vec<(Option<i64>, Option<i64>)> = select
            .query_map([before], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut sorted = logged.clone();
        sorted.sort_unstable();
        let email = (Some(1), None);
        assert_eq!(sorted, [(None, Some(1)), email, email, (Some(1), Some(2))]);
    }
}
