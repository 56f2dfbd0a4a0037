//! What is known: the SQLite store, which one process at a time writes.

mod changes;
pub mod customers;
mod erase;
mod error;
pub mod finish;
mod intervals;
pub mod learned;
pub mod live;
pub mod lock;
pub mod lookups;
pub mod merge;
mod numbers;
pub mod report_data;
pub mod runs;
mod schema;
pub mod series;
mod undo;
pub mod writer;
pub mod wrong_key;

pub use error::StoreError;

use crate::time;
use error::{unopenable, unusable};
use lock::{LockError, RunLock};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use schema::{Content, check, migrate};
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for another program's write lock: long enough for any report's transaction,
/// short enough for a scheduler to hear of trouble.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

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
    _lock: Option<RunLock>,
}

impl Store {
    /// Opens the store at `path` for a run; makes it, readable by its owner alone, if it is not
    /// there, and brings its layout up to date.
    ///
    /// # Errors
    /// Any [`StoreError`] but `NotThere`. Nothing is changed then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let unopenable = |error: io::Error| unopenable(path, &error);
        if path.is_dir() {
            return Err(unopenable(io::ErrorKind::IsADirectory.into()));
        }
        if path.exists() {
            // Before there is a lock file beside it.
            check(&open_read_only(path)?, path)?;
        }
        let lock = RunLock::take(path).map_err(|error| match error {
            LockError::Held => StoreError::Held(path.to_owned()),
            LockError::Io(error) => unopenable(error),
        })?;
        let is_new = make_private(path).map_err(unopenable)?;
        let mut connection = Connection::open(path).map_err(|error| unusable(path, error))?;
        check(&connection, path)?;
        configure(&connection).map_err(|error| unusable(path, error))?;
        migrate(&mut connection, path)?;
        let first_request = begin_process(&mut connection)?;
        let path = path.to_owned();
        Ok(Self { connection, path, is_new, first_request, _lock: Some(lock) })
    }

    /// A store that lives in a temporary file and is gone when dropped, for planning on trial
    /// where there is no store yet.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn temporary() -> Result<Self, StoreError> {
        let mut connection = Connection::open("")?;
        configure(&connection)?;
        migrate(&mut connection, Path::new("(temporary)"))?;
        Ok(Self { connection, path: PathBuf::new(), is_new: false, first_request: 1, _lock: None })
    }

    /// A second connection, which only reads, for the time of a run.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn reader(&self) -> Result<Connection, StoreError> {
        open_to_read(&self.path)
    }

    /// Takes a store away that was made for nothing; one that was there before stays.
    pub fn discard(self) {
        let Self { connection, path, is_new, _lock: lock, .. } = self;
        drop(connection);
        if is_new {
            // The lock file last, while the lock is held.
            for ending in ["-wal", "-shm", "", "-lock"] {
                let mut file = path.clone().into_os_string();
                file.push(ending);
                // What cannot be taken away is an empty store, which harms nobody.
                let _ = std::fs::remove_file(file);
            }
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
    /// has grown or shrunk tenfold since the last time.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn update_statistics(&self) -> Result<(), StoreError> {
        // 2: look where needed. 0x10000: also at tables that this connection did not query.
        Ok(self.connection.execute_batch("PRAGMA optimize = 0x10002")?)
    }

    /// Gives the room of the write-ahead log back. The files stay, so that accounts which may
    /// only read can still open the store.
    pub fn truncate_log(&self) -> Result<(), StoreError> {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(self.connection.query_row(checkpoint, [], |_| Ok(()))?)
    }
}

/// Opens a store to read from it, beside any run.
///
/// # Errors
/// Any [`StoreError`] that holds for a reader.
pub fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::NotThere(path.to_owned()));
    }
    let connection = open_read_only(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_log_files(&connection)?;
    match check(&connection, path)? {
        Content::Store => Ok(connection),
        Content::Nothing => Err(StoreError::NotThere(path.to_owned())),
    }
}

fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|error| unusable(path, error))
}

/// Makes the file if it is not there, for its owner alone: it holds personal data. The files that
/// SQLite puts beside it take over its mode. Whether it was made.
fn make_private(path: &Path) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
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
fn begin_process(connection: &mut Connection) -> Result<i64, StoreError> {
    let begin = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    changes::raise_next_id(&begin, time::now())?;
    let first_request = runs::begin_process(&begin)?;
    begin.commit()?;
    Ok(first_request)
}

/// Leaves `-wal` and `-shm` in place when the connection closes.
fn keep_log_files(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        store.truncate_log().unwrap();
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
        store.truncate_log().unwrap();
        drop(store);
        let before = std::fs::read(&path).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(error.to_string().contains("telemetron-sync 9.9.9"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
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
        assert!(matches!(Store::open(&path), Err(StoreError::Held(_))));
    }
}
