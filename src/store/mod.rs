//! What is known: the SQLite store, which one process at a time writes.

mod changes;
pub mod customers;
mod erase;
mod error;
pub mod file;
pub mod finish;
pub mod forget;
mod intervals;
pub mod learned;
pub mod live;
pub mod lock;
pub mod lookups;
pub mod merge;
mod numbers;
pub mod publish_log;
pub mod report_data;
pub mod runs;
mod schema;
pub mod series;
mod trial;
mod undo;
pub mod writer;
pub mod wrong_key;

pub use error::{Held, Holder, StoreError};
pub use file::companions;

use crate::time;
use error::{unopenable, unusable};
use jiff::Timestamp;
use lock::{LockError, RunLock};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use schema::{Content, check, migrate};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for another program's write lock: long enough for any report's transaction,
/// short enough for a scheduler to hear of trouble.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Where SQLite keeps its statistics.
const STATISTICS: &str = "sqlite_stat1";

/// Without statistics, SQLite takes a table for a large one.
const FEW_ROWS: u32 = 100;

/// How long the start of a run waits for readers that look at the store for an instant.
const READERS_LEAVE: Duration = Duration::from_millis(250);

/// Pages held in memory, in KiB: what a commit touches. Where it writes in the order of the indexes,
/// more brings nothing.
const PAGE_CACHE_KIB: i64 = 8 * 1024;

/// Pages of the log after which a commit copies them into the database, 64 MiB: a page that many
/// commits touch is copied once. With SQLite's default of 4 MiB a run over new customers took a
/// fifth longer.
const LOG_PAGES: i64 = 16 * 1024;

/// Rows of an index that a look at its distribution reads: enough to tell a key from a column with
/// three values, and over in milliseconds however large the store is.
const ANALYSIS_ROWS: i64 = 1000;

/// A store opened for a run: no other run can write it meanwhile.
#[derive(Debug)]
pub struct Store {
    /// The one connection that writes.
    pub connection: Connection,
    path: PathBuf,
    is_new: bool,
    first_request: i64,
    /// Outlives every connection.
    lock: Option<Arc<RunLock>>,
}

/// The right to open a store again, whatever becomes of its connection.
#[derive(Debug)]
pub struct Reopener {
    path: PathBuf,
    lock: Option<Arc<RunLock>>,
}

impl Reopener {
    /// # Errors
    /// The store cannot be opened.
    pub fn open(self) -> Result<Store, StoreError> {
        let Self { path, lock } = self;
        let connection = Connection::open(&path).map_err(|error| unusable(&path, error))?;
        check(&connection, &path)?;
        configure(&connection).map_err(|error| unusable(&path, error))?;
        Ok(Store { connection, path, is_new: false, first_request: 0, lock })
    }
}

/// A connection that only reads, for the time of a run.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    _lock: Option<Arc<RunLock>>,
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Whether all that was committed is in the database now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// It is, and the log is empty.
    Complete,
    /// Some of it is in the log, because another program reads what was before.
    ReaderInTheWay,
}

impl Store {
    /// Opens the store at `path` for a run; makes it, readable by its owner alone, if it is not
    /// there, and brings its layout up to date. Does not wait for another run.
    ///
    /// # Errors
    /// Any [`StoreError`] but `NotThere`. Nothing is changed then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_at(path, time::now())
    }

    /// Opens the store as [`Store::open`] does, by a clock that shows `now`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_at(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let unopenable = |error: io::Error| unopenable(path, &error);
        if path.is_dir() {
            return Err(unopenable(io::ErrorKind::IsADirectory.into()));
        }
        let is_new = !path.exists();
        let lock = take_lock(path)?;
        let opened = Self::open_locked(path, &lock, now);
        let (connection, path, first_request) = opened.inspect_err(|_| {
            if is_new {
                file::remove(path);
            }
        })?;
        Ok(Self { connection, path, is_new, first_request, lock: Some(Arc::new(lock)) })
    }

    fn open_locked(
        path: &Path,
        lock: &RunLock,
        now: Timestamp,
    ) -> Result<(Connection, PathBuf, i64), StoreError> {
        file::check(lock.file(), path)?;
        // SQLite keeps its log beside the file itself, not beside a link to it.
        let path = path.canonicalize().map_err(|error| unopenable(path, &error))?;
        let mut connection = Connection::open(&path).map_err(|error| unusable(&path, error))?;
        keep_log_files(&connection)?;
        if file::is_newer_than_its_log(&path) && !is_sound(&connection) {
            return Err(StoreError::AnothersLog { path });
        }
        check(&connection, &path)?;
        put_temporary_files_beside(&connection, &path);
        configure(&connection).map_err(|error| unusable(&path, error))?;
        migrate(&mut connection, &path)?;
        let first_request = begin_process(&mut connection, now)?;
        file::share_mode(&path);
        Ok((connection, path, first_request))
    }

    /// A second connection, which only reads.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Ok(Reader { connection: open_to_read(&self.path)?, _lock: self.lock.clone() })
    }

    /// For what is to be written even if the run fails.
    pub fn reopener(&self) -> Reopener {
        Reopener { path: self.path.clone(), lock: self.lock.clone() }
    }

    /// Takes a store away that was made for nothing; one that was there before stays.
    pub fn discard(self) {
        if !self.is_new {
            // What prevents it is no reason to fail: the next run does it.
            let _ = self.checkpoint();
        }
        let Self { connection, path, is_new, lock, .. } = self;
        drop(connection);
        if is_new {
            file::remove(&path);
        }
        drop(lock);
    }

    /// The number of this process's first request: all earlier processes' are smaller.
    pub fn first_request(&self) -> i64 {
        self.first_request
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the statistics up to date by which SQLite plans queries. A table is looked at only if it
    /// has grown or shrunk tenfold since the last time. Of a table or index with few rows none are kept:
    /// while it grows, they would let SQLite scan it for each row of another.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn update_statistics(&self) -> Result<(), StoreError> {
        // At once, so that nobody plans by what is not kept.
        let begin = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        // 2: look where needed. 0x10000: also at tables that this connection did not query.
        begin.execute_batch("PRAGMA optimize = 0x10002")?;
        if begin.table_exists(Some("main"), STATISTICS)? {
            let few = format!("DELETE FROM {STATISTICS} WHERE CAST(stat AS INTEGER) < {FEW_ROWS}");
            begin.execute(&few, [])?;
        }
        begin.commit()?;
        // Read them anew.
        self.connection.execute_batch("ANALYZE sqlite_schema")?;
        Ok(())
    }

    /// Brings what was committed into the database and gives the room of the log back, without
    /// waiting for anybody. The log's files stay, so that accounts which may only read can still open
    /// the store.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        self.empty_log(Duration::ZERO)
    }

    /// The same, waiting for readers for a while, and so that not even a power cut brings back what was
    /// in the log: the new length of a file is safe once the file is synced, as the next commit does.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn erase_log(&self) -> Result<Checkpoint, StoreError> {
        let erased = self.empty_log(BUSY_TIMEOUT)?;
        self.connection.execute("UPDATE _store SET processes = processes + 1", [])?;
        self.checkpoint()?;
        Ok(erased)
    }

    fn empty_log(&self, wait: Duration) -> Result<Checkpoint, StoreError> {
        self.connection.busy_timeout(wait)?;
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy = self.connection.query_row(checkpoint, [], |row| row.get(0));
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        file::share_mode(&self.path);
        Ok(if is_busy? { Checkpoint::ReaderInTheWay } else { Checkpoint::Complete })
    }
}

fn take_lock(path: &Path) -> Result<RunLock, StoreError> {
    RunLock::take(path).map_err(|error| match error {
        LockError::Held => held(path),
        LockError::Io(error) => unopenable(path, &error),
    })
}

/// That another process holds the store, and which.
fn held(path: &Path) -> StoreError {
    StoreError::Held(Held { path: path.to_owned(), holder: holder(path) })
}

/// Opens a store to read from it, beside any run.
///
/// # Errors
/// Any [`StoreError`] that holds for a reader.
pub fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::NotThere(path.to_owned()));
    }
    // SQLite would look for the log, and make one, beside this name only.
    file::check_names(path)?;
    open_by_this_name(path)
}

fn open_by_this_name(path: &Path) -> Result<Connection, StoreError> {
    let connection = open_read_only(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_log_files(&connection)?;
    match check(&connection, path)? {
        Content::Store => Ok(connection),
        Content::Older { made_by } => Err(StoreError::Older { path: path.to_owned(), made_by }),
        Content::Nothing => Err(StoreError::NotThere(path.to_owned())),
    }
}

fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|error| unusable(path, error))
}

/// The process that took the lock last: the one that has it, if the lock is held.
fn holder(path: &Path) -> Option<Holder> {
    let path = path.canonicalize().ok()?;
    let connection = if file::log_is_there(&path) {
        open_by_this_name(&path).ok()?
    } else {
        // By a hard link's name there is no log, and SQLite would make one. The holder is named in the
        // file itself, which is shorter than it says while its newest pages are in the log;
        // this setting lets SQLite read it all the same.
        let connection = trial::open_untraced(&path).ok()?;
        connection.pragma_update(None, "writable_schema", "ON").ok()?;
        connection
    };
    let process = "SELECT holder_pid, holder_since FROM _store";
    let process = connection.query_row(process, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let run = "SELECT max(id) FROM _runs WHERE status = 'running'";
    let run_id = connection.query_row(run, [], |row| row.get(0)).ok().flatten();
    process.ok().map(|(pid, since)| Holder { pid, since, run_id })
}

/// Lets SQLite put what does not fit into memory beside the store, where there is room for it; a
/// machine may have no other folder for temporary files.
fn put_temporary_files_beside(connection: &Connection, path: &Path) {
    if let Some(folder) = path.parent().and_then(Path::to_str) {
        // A folder that cannot be written is none for temporary files: SQLite takes another.
        let _ = connection.pragma_update(None, "temp_store_directory", folder);
    }
}

fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "cache_size", -PAGE_CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    connection.pragma_update(None, "analysis_limit", ANALYSIS_ROWS)?;
    connection.set_prepared_statement_cache_capacity(64);
    keep_log_files(connection)
}

/// Numbers requests and changes of this process above those of all before it.
fn begin_process(connection: &mut Connection, now: Timestamp) -> Result<i64, StoreError> {
    let begin = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    changes::raise_next_id(&begin, now)?;
    publish_log::begin_process(&begin, now)?;
    let first_request = runs::begin_process(&begin)?;
    let held = "UPDATE _store SET holder_pid = ?1, holder_since = ?2";
    begin.execute(held, (std::process::id(), time::text(now)))?;
    begin.commit()?;
    // So that the holder can be read by any name of the file. A reader that stays is not waited for.
    let until = time::instant() + READERS_LEAVE;
    while !checkpoint_passively(connection)? && time::instant() < until {
        std::thread::yield_now();
    }
    Ok(first_request)
}

/// Brings into the database what no reader needs in the log. Whether that is all.
fn checkpoint_passively(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
    connection.query_row(checkpoint, [], |row| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?))
}

/// Whether the file and its log make a database. Reads all of it.
fn is_sound(connection: &Connection) -> bool {
    let check = "PRAGMA quick_check(1)";
    connection.query_row(check, [], |row| row.get(0)).is_ok_and(|found: String| found == "ok")
}

/// Leaves `-wal` and `-shm` in place when the connection closes.
fn keep_log_files(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIFTY: &str =
        "(WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 50)
        SELECT i FROM n)";

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_new_store_is_private_and_holds_the_public_names() {
        let folder = folder();
        let path = folder.path().join("s.db");
        let store = Store::open(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let names = "SELECT count(*) FROM sqlite_schema WHERE name IN ('customers',
            'device_assignments', 'orders', 'lookups', 'changes', 'rejects', 'runs',
            'current_devices', 'current_orders')";
        assert_eq!(store.connection.query_row(names, [], |row| row.get::<_, i64>(0)).unwrap(), 9);
    }

    #[test]
    fn the_log_files_stay_for_readers_that_may_not_write() {
        let folder = folder();
        let path = folder.path().join("s.db");
        let store = Store::open(&path).unwrap();
        assert_eq!(store.checkpoint().unwrap(), Checkpoint::Complete);
        drop(store);
        drop(open_to_read(&path).unwrap());
        assert_eq!(folder.path().join("s.db-wal").metadata().unwrap().len(), 0);
        assert!(folder.path().join("s.db-shm").exists());
    }

    #[test]
    fn what_is_no_store_is_refused_untouched() {
        let folder = folder();
        let text = folder.path().join("text.db");
        std::fs::write(&text, "x".repeat(5000)).unwrap();
        assert!(matches!(Store::open(&text), Err(StoreError::NoDatabase(_))));
        assert_eq!(std::fs::read_to_string(&text).unwrap(), "x".repeat(5000));

        let other = folder.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        let before = std::fs::read(&other).unwrap();
        assert!(matches!(Store::open(&other), Err(StoreError::Foreign(_))));
        assert_eq!(std::fs::read(&other).unwrap(), before);

        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside");
        assert!(matches!(Store::open(folder.path()), Err(StoreError::Unopenable { .. })));
        let nowhere = folder.path().join("no/such/folder/s.db");
        assert!(matches!(Store::open(&nowhere), Err(StoreError::Unopenable { .. })));
        assert!(matches!(open_to_read(&nowhere), Err(StoreError::NotThere(_))));
    }

    #[test]
    fn a_newer_store_is_refused_with_the_version_that_made_it() {
        let folder = folder();
        let path = folder.path().join("s.db");
        let store = Store::open(&path).unwrap();
        store.connection.pragma_update(None, "user_version", 99).unwrap();
        store.connection.execute("UPDATE _store SET program_version = '9.9.9'", []).unwrap();
        assert_eq!(store.checkpoint().unwrap(), Checkpoint::Complete);
        drop(store);
        let before = std::fs::read(&path).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(error.to_string().contains("telemetron-sync 9.9.9"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_backup_beside_the_log_of_another_file_is_refused() {
        let folder = folder();
        let path = |name| folder.path().join(name);
        let store = Store::open(&path("live.db")).unwrap();
        let fill = format!("CREATE TABLE t AS SELECT zeroblob(5000) FROM {FIFTY}");
        store.connection.execute_batch(&fill).unwrap();
        store.checkpoint().unwrap();
        std::fs::copy(path("live.db"), path("backup.db")).unwrap();
        let more = format!("CREATE TABLE u AS SELECT zeroblob(3000) FROM {FIFTY}; DELETE FROM t;");
        store.connection.execute_batch(&more).unwrap();
        store.checkpoint().unwrap();
        store.connection.execute_batch("INSERT INTO u VALUES (zeroblob(300000))").unwrap();
        for (stored, is_refused) in [("live.db", false), ("backup.db", true)] {
            // As a kill would leave them, and then a copy that is written later.
            std::fs::copy(path("live.db-wal"), path("s.db-wal")).unwrap();
            std::fs::copy(path(stored), path("s.db")).unwrap();
            let logged = path("s.db-wal").metadata().unwrap().modified().unwrap();
            let file = std::fs::File::options().write(true).open(path("s.db")).unwrap();
            file.set_modified(logged + Duration::from_secs(1)).unwrap();
            let before = std::fs::read(path("s.db")).unwrap();
            let opened = Store::open(&path("s.db"));
            assert_eq!(
                matches!(opened, Err(StoreError::AnothersLog { .. })),
                is_refused,
                "{stored}"
            );
            assert_eq!(std::fs::read(path("s.db")).unwrap() == before, is_refused);
            drop(opened);
            std::fs::remove_file(path("s.db-wal")).unwrap();
        }
        Store::open(&path("s.db")).unwrap();
    }

    #[test]
    fn statistics_wait_for_another_program_that_writes() {
        let folder = folder();
        let path = folder.path().join("s.db");
        let store = Store::open(&path).unwrap();
        let many = format!(
            "CREATE TABLE t (a); INSERT INTO t SELECT a.i FROM {FIFTY} AS a, {FIFTY};
            CREATE INDEX t_by_a ON t (a);"
        );
        store.connection.execute_batch(&many).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE u (a);").unwrap();
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || sender.send(store.update_statistics()).unwrap());
            assert!(ended.recv_timeout(Duration::from_millis(200)).is_err(), "it does not wait");
            other.execute_batch("COMMIT").unwrap();
            ended.recv().unwrap().unwrap();
        });
        let known = "SELECT count(*) FROM sqlite_stat1 WHERE tbl = 't'";
        assert_eq!(other.query_row(known, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }

    #[test]
    fn a_store_made_for_nothing_leaves_nothing() {
        let folder = folder();
        let path = folder.path().join("s.db");
        Store::open(&path).unwrap().discard();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(Store::open(&path).unwrap());
        Store::open(&path).unwrap().discard();
        assert!(path.exists(), "it was there before");
    }

    #[test]
    fn a_second_run_is_refused() {
        let folder = folder();
        let path = folder.path().join("s.db");
        let _first = Store::open(&path).unwrap();
        let refused = Store::open(&path).unwrap_err().to_string();
        let holder = format!("process {}, since 2", std::process::id());
        assert!(refused.contains(&holder), "{refused}");
    }

    #[cfg(unix)]
    #[test]
    fn the_holder_is_named_by_any_name_while_it_writes() {
        let folder = folder();
        let path = |name| folder.path().join(name);
        let store = Store::open(&path("s.db")).unwrap();
        let writes = "INSERT INTO t VALUES (zeroblob(300000)); PRAGMA wal_checkpoint(PASSIVE);";
        store.connection.execute_batch("CREATE TABLE t (a)").unwrap();
        let reader = open_to_read(&path("s.db")).unwrap();
        std::os::unix::fs::symlink("s.db", path("soft.db")).unwrap();
        std::fs::hard_link(path("s.db"), path("hard.db")).unwrap();
        let stay = "BEGIN; SELECT count(*) FROM t;";
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                for turn in 0..60 {
                    store.connection.execute_batch(writes).unwrap();
                    if turn == 30 {
                        reader.execute_batch(stay).unwrap();
                    }
                }
                (store, reader)
            });
            while !writer.is_finished() {
                for name in ["s.db", "soft.db", "hard.db"] {
                    let holder = holder(&path(name)).map(|holder| holder.pid);
                    assert_eq!(holder, Some(std::process::id()), "{name}");
                }
            }
        });
    }
}
