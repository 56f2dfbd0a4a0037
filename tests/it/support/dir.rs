//! A folder with a source and a store, and what can be said of them.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

use super::command::TestCommand;

/// What a run leaves behind, without times, numbers of runs and numbers of rows.
const CONTENT: [&str; 6] = [
    "SELECT id, organization_id, email, name, phone, address, metadata, created_at, extra,
         missing_since IS NULL FROM customers",
    "SELECT customer_id, device_id, assigned_after IS NULL, unassigned_at IS NULL
     FROM device_assignments",
    "SELECT customer_id, order_id, seen_after IS NULL, removed_at IS NULL FROM orders",
    "SELECT email, outcome, status, error, attempts, customer_id FROM lookups",
    "SELECT customer_id, kind, field, old, new FROM changes",
    "SELECT row, input, code, reason, status, attempts FROM rejects",
];

/// The tables that a wrong key must not touch.
const CUSTOMER_DATA: [&str; 5] = [
    "SELECT * FROM customers",
    "SELECT * FROM device_assignments",
    "SELECT * FROM orders",
    "SELECT email, outcome, status, error, attempts, run_id, customer_id, answered_at FROM lookups",
    "SELECT * FROM changes",
];

/// The directory of a test: `list.csv` is the source and `s.db` the store by default.
pub(crate) struct TestDir {
    folder: TempDir,
}

impl TestDir {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect(name)
    }

    /// The names of all files and folders, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder()).expect("a folder");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Writes `list.csv` with these emails under a header.
    pub(crate) fn emails<E: AsRef<str>>(&self, emails: impl IntoIterator<Item = E>) {
        let mut list = "email\n".to_owned();
        for email in emails {
            list.push_str(email.as_ref());
            list.push('\n');
        }
        self.write("list.csv", list);
    }

    /// `sync list.csv` against the API at `url`.
    pub(crate) fn sync(&self, url: impl AsRef<str>) -> TestCommand<'_> {
        TestCommand::new(self).args(["sync", "list.csv"]).api(url.as_ref())
    }

    /// `sync` with `args` alone, against the API at `url`.
    pub(crate) fn sync_of<'a>(
        &self,
        url: impl AsRef<str>,
        args: impl IntoIterator<Item = &'a str>,
    ) -> TestCommand<'_> {
        TestCommand::new(self).args(["sync"]).args(args).api(url.as_ref())
    }

    /// Another command than `sync`.
    pub(crate) fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> TestCommand<'_> {
        TestCommand::new(self).args(args)
    }

    /// The store, to read from it. Panics if there is none.
    pub(crate) fn store(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(self.path("s.db"), flags).expect("a store")
    }

    /// Changes the store behind the program's back.
    pub(crate) fn alter(&self, sql: &str) {
        let store = Connection::open(self.path("s.db")).expect("a store");
        store.execute_batch(sql).expect("a change of the store");
    }

    /// The rows of `sql`, their cells joined by `|`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let store = self.store();
        let mut select = store.prepare(sql).expect(sql);
        let width = select.column_count();
        let rows = select.query_map([], |row| {
            let cells = (0..width).map(|at| row.get_ref(at).map(shown));
            Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
        });
        rows.expect(sql).map(|row| row.expect(sql)).collect()
    }

    /// The one number that `sql` selects; 0 as long as there is no store, or no table in it.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let store = Connection::open_with_flags(self.path("s.db"), flags);
        match store.and_then(|store| store.query_row(sql, [], |row| row.get(0))) {
            Ok(number) => number,
            Err(error) if is_not_ready(&error) => 0,
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    /// Every byte of the store, with its log: that is where changes are before a checkpoint.
    pub(crate) fn store_bytes(&self) -> [Vec<u8>; 2] {
        let read = |name| fs::read(self.path(name)).unwrap_or_default();
        [read("s.db"), read("s.db-wal")]
    }

    /// Asserts what `sql` finds in the store.
    #[track_caller]
    pub(crate) fn has_rows<const N: usize>(&self, sql: &str, rows: [&str; N]) -> &Self {
        assert_eq!(self.rows(sql), rows, "{sql}");
        self
    }

    /// All that lasts, as sorted lines.
    pub(crate) fn content(&self) -> Vec<String> {
        self.all_of(&CONTENT)
    }

    /// All that is known, row by row.
    pub(crate) fn customer_data(&self) -> Vec<String> {
        self.all_of(&CUSTOMER_DATA)
    }

    fn all_of(&self, selects: &[&str]) -> Vec<String> {
        let sorted = |select: &&str| {
            let mut rows = self.rows(select);
            rows.sort();
            [vec![(*select).to_owned()], rows].concat()
        };
        selects.iter().flat_map(sorted).collect()
    }

    /// The report of the newest run.
    pub(crate) fn report(&self) -> Value {
        let report = self.command(["report", "--format", "json"]).run().exits(0);
        serde_json::from_str(&report.stdout).expect("a report in JSON")
    }

    /// The newest run's counts that are not 0.
    pub(crate) fn counts(&self) -> String {
        nonzero(&self.report()["counts"])
    }

    /// The newest run's changes that are not 0.
    pub(crate) fn changes(&self) -> String {
        nonzero(&self.report()["changes"])
    }

    /// Every row read is accounted for, in every run.
    #[track_caller]
    pub(crate) fn assert_sums(&self) {
        let broken = "SELECT count(*) FROM runs
             WHERE rows <> invalid + duplicate + fresh + planned
                 OR planned <> found + not_found + rejected + failed + pending";
        assert_eq!(self.number(broken), 0, "a run whose sums do not hold");
    }
}

/// Whether the store is only about to be made, or was damaged on purpose. A wrong column is a mistake
/// in the test.
fn is_not_ready(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, NotADatabase, ReadOnly,
    };
    let code = error.sqlite_error_code();
    error.to_string().contains("no such table")
        || matches!(error, rusqlite::Error::QueryReturnedNoRows)
        || matches!(
            code,
            // ReadOnly: what a process killed while it made the store has to be undone first.
            Some(
                CannotOpen
                    | DatabaseBusy
                    | DatabaseCorrupt
                    | DatabaseLocked
                    | NotADatabase
                    | ReadOnly
            )
        )
}

fn shown(cell: ValueRef<'_>) -> String {
    match cell {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => format!("{bytes:?}"),
    }
}

/// `planned 3, found 2`: in the order of the contract.
fn nonzero(counts: &Value) -> String {
    let names = [
        "rows",
        "invalid",
        "duplicate",
        "fresh",
        "planned",
        "found",
        "not_found",
        "rejected",
        "failed",
        "pending",
        "created",
        "updated",
        "device_assigned",
        "device_unassigned",
        "order_added",
        "order_removed",
        "missing",
        "returned",
        "erased",
    ];
    let counts = names.iter().filter_map(|name| {
        let count = counts.get(name)?.as_u64().expect("a count");
        (count > 0).then(|| format!("{name} {count}"))
    });
    counts.collect::<Vec<_>>().join(", ")
}
