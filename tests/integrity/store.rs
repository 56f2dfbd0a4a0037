//! A store, read past the recorder.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

/// Opened past the recorder, so only to read: at its end, a writer copies the log.
pub(crate) fn open(path: &Path) -> Connection {
    open_with(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

pub(crate) fn open_with(path: &Path, flags: OpenFlags) -> Connection {
    Connection::open_with_flags_and_vfs(path, flags, c"unix").expect("a store")
}

/// Rows of `sql`, sorted.
pub(crate) fn rows(store: &Connection, sql: &str) -> Vec<String> {
    let mut select = store.prepare(sql).expect(sql);
    let width = select.column_count();
    let rows = select.query_map([], |row| {
        let cells = (0..width).map(|at| row.get_ref(at).map(shown));
        Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    });
    let mut rows: Vec<_> = rows.expect(sql).map(|row| row.expect(sql)).collect();
    rows.sort();
    rows
}

pub(crate) fn shown(cell: ValueRef<'_>) -> String {
    match cell {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => format!("{bytes:?}"),
    }
}

/// What does not depend on when it was done, and in how many processes.
pub(crate) fn lasting(store: &Connection) -> Vec<String> {
    let selects = [
        "SELECT 'customer', id, organization_id, email, name, phone, address, metadata, created_at,
             extra, missing_since IS NULL FROM customers",
        "SELECT 'device', customer_id, device_id, assigned_after IS NULL, unassigned_at IS NULL
         FROM device_assignments",
        "SELECT 'order', customer_id, order_id, seen_after IS NULL, removed_at IS NULL FROM orders",
        "SELECT 'lookup', email, outcome, status, error, customer_id FROM lookups",
        "SELECT 'change', customer_id, kind, field, old, new FROM changes",
        "SELECT 'reject', row, input, code, reason, status FROM rejects",
        "SELECT 'run', status, rows, invalid, duplicate, fresh, planned, found, not_found, rejected,
             failed, pending FROM runs",
    ];
    selects.iter().flat_map(|select| rows(store, select)).collect()
}

/// All that a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    tables: BTreeMap<String, Vec<String>>,
    /// The feed, by the number of each row.
    feed: BTreeMap<i64, String>,
}

impl State {
    /// `None` if nothing is there yet.
    pub(crate) fn of(store: &Connection) -> Option<Self> {
        let names = "SELECT name FROM sqlite_schema WHERE type = 'table'";
        let names = rows(store, names);
        let tables = names.into_iter().map(|name| {
            let rows = rows(store, &format!("SELECT * FROM \"{name}\""));
            (name, rows)
        });
        let tables: BTreeMap<_, _> = tables.collect();
        if !tables.contains_key("runs") && !tables.contains_key("_runs") {
            return None;
        }
        let mut select = store.prepare("SELECT * FROM changes").expect("a feed");
        let width = select.column_count();
        let feed = select.query_map([], |row| {
            let cells = (1..width).map(|at| row.get_ref(at).map(shown));
            Ok((row.get(0)?, cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|")))
        });
        let feed = feed.expect("a feed").map(|row| row.expect("a change"));
        let feed = feed.collect();
        Some(Self { tables, feed })
    }

    pub(crate) fn last_change(&self) -> i64 {
        self.feed.keys().next_back().copied().unwrap_or_default()
    }
}

/// A reader that remembers the last number it saw gets each later change, and no number means
/// another change than before.
pub(crate) fn check_feed(before: Option<&State>, after: &State) {
    let Some(before) = before else { return };
    for (id, change) in &after.feed {
        match before.feed.get(id) {
            Some(same) => assert_eq!(same, change, "change {id} is another one now"),
            None => assert!(*id > before.last_change(), "change {id} comes too late: {change}"),
        }
    }
    let lost = before.feed.iter().find(|(id, change)| {
        let erased =
            |later: &&String| customer_and_kind(later) == [customer_and_kind(change)[0], "erased"];
        !after.feed.contains_key(id) && !after.feed.range(**id..).any(|(_, later)| erased(&later))
    });
    assert_eq!(lost, None, "a change that is gone again");
}

/// Of a change as [`State`] has it.
fn customer_and_kind(change: &str) -> [&str; 2] {
    let mut cells = change.split('|').skip(2);
    [cells.next(), cells.next()].map(|cell| cell.expect("a customer and a kind"))
}
