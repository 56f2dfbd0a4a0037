//! What a dry run plans in: a temporary store that knows what the real one does, while no byte of that
//! one changes, nor of the files beside it.
//!
//! SQLite's usual way to read a store with a log makes the files `-wal` and `-shm` if they are not there,
//! and writes into the second. So the store is read without locks, the log's index in memory
//! (`locking_mode=EXCLUSIVE` before the first access); where there is no log, as a file that nobody writes
//! (`immutable=1`). In place of locks, the files are compared before and after.

use crate::store::error::{StoreError, unopenable, unusable};
use crate::store::schema::{Content, check, migrate};
use crate::store::{Store, configure, file, held, keep_log_files, lock};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};

/// How often a store is read anew because another program wrote it meanwhile.
const TRIES: u32 = 20;

/// The access to files that takes no locks.
const VFS_WITHOUT_LOCKS: &str = if cfg!(unix) { "unix-none" } else { "win32-none" };

impl Store {
    /// A store that lives in a temporary file and is gone when dropped, for planning on trial
    /// where there is no store yet.
    ///
    /// # Errors
    /// The temporary file cannot be made.
    pub fn temporary() -> Result<Self, StoreError> {
        let mut connection = Connection::open("")?;
        configure(&connection)?;
        migrate(&mut connection, Path::new("(temporary)"))?;
        Ok(Self { connection, path: PathBuf::new(), is_new: false, first_request: 1, lock: None })
    }

    /// A temporary store with all that a plan needs to know of the one at `path`, of which nothing is
    /// changed, and which is not locked.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn trial(path: &Path) -> Result<Self, StoreError> {
        for _ in 0..TRIES {
            if lock::is_held(path) {
                return Err(held(path));
            }
            let before = file::versions(path);
            let trial = copy(path);
            if file::versions(path) == before && !lock::is_held(path) {
                return trial;
            }
        }
        Err(StoreError::Busy)
    }
}

fn copy(path: &Path) -> Result<Store, StoreError> {
    let trial = Store::temporary()?;
    let opened = File::open(path).map_err(|error| unopenable(path, &error))?;
    file::check(&opened, path)?;
    let path = path.canonicalize().map_err(|error| unopenable(path, &error))?;
    if file::length(&path) == 0 {
        return Ok(trial);
    }
    match content(&path)? {
        Content::Nothing => return Ok(trial),
        Content::Older { made_by } => return Err(StoreError::Older { path, made_by }),
        Content::Store => {}
    }
    trial.connection.pragma_update(None, "foreign_keys", "OFF")?;
    trial.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    // Holds for what is attached, too.
    trial.connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    trial.connection.execute("ATTACH ?1 AS known", [uri(&path)])?;
    trial.connection.execute_batch(
        "DELETE FROM main._store;
         INSERT INTO main._store SELECT * FROM known._store;
         INSERT INTO main._runs SELECT * FROM known._runs;
         INSERT INTO main._emails SELECT * FROM known._emails;
         INSERT INTO main._tombstones SELECT * FROM known._tombstones;
         DETACH known;",
    )?;
    Ok(trial)
}

/// What the file holds; an error if it is nothing that this program can use.
fn content(path: &Path) -> Result<Content, StoreError> {
    check(&open_untraced(path)?, path)
}

/// Opens a store to read it while no run holds it, and leaves no trace.
pub(super) fn open_untraced(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags(uri(path), flags);
    let connection = opened.map_err(|error| unusable(path, error))?;
    keep_log_files(&connection)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    Ok(connection)
}

fn uri(path: &Path) -> String {
    let escaped = path.to_string_lossy().replace('%', "%25");
    let path_in_uri = escaped.replace('?', "%3f").replace('#', "%23");
    if file::has_log(path) {
        format!("file:{path_in_uri}?mode=ro&vfs={VFS_WITHOUT_LOCKS}")
    } else {
        format!("file:{path_in_uri}?mode=ro&immutable=1")
    }
}
