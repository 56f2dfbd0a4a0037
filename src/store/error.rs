//! Why a store cannot be used, in a sentence that says what to do.

use crate::display::{escaped, shown};
use crate::domain::customer::BrokenCustomer;
use crate::store::BUSY_TIMEOUT;
use rusqlite::ErrorCode;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("There is no store at {}. Name it with --store, or create it with `telemetron-sync sync`.", shown(.0))]
    NotThere(PathBuf),
    #[error(
        "The store {} cannot be opened: {}. Check the path and its permissions, or name another with --store.",
        shown(path),
        escaped(reason)
    )]
    Unopenable {
        path: PathBuf,
        /// What the operating system or SQLite says.
        reason: String,
    },
    /// Not SQLite, or corrupted beyond reading.
    #[error("{} is not a SQLite database, or is damaged. Restore it from a backup, or name another file with --store; nothing was changed.", shown(.0))]
    NoDatabase(PathBuf),
    #[error("{} is a SQLite database of another program. Name another file with --store; nothing was changed.", shown(.0))]
    Foreign(PathBuf),
    #[error("The store {} was made by telemetron-sync {}, which is newer than this program ({}). Use that version; nothing was changed.", shown(path), escaped(made_by), env!("CARGO_PKG_VERSION"))]
    Newer {
        path: PathBuf,
        /// The version that migrated it last.
        made_by: String,
    },
    #[error("{0}")]
    Held(Held),
    /// Hard links.
    #[error(
        "The store {} has several names (hard links), and SQLite would keep a log beside each. Remove all but one, or use a copy.",
        shown(.0)
    )]
    SeveralNames(PathBuf),
    #[error(
        "The store {} is on a network file system ({kind}), where SQLite can lose what was committed. Name one on a local disk with --store.",
        shown(path)
    )]
    Network { path: PathBuf, kind: &'static str },
    /// Another program writes it.
    #[error(
        "Another program has locked the store for more than {} s. End its transaction, then start again; what was committed is intact.",
        BUSY_TIMEOUT.as_secs()
    )]
    Busy,
    #[error(
        "The disk that holds the store is full. Make room, then continue with --resume; what was committed is intact."
    )]
    Full,
    #[error(
        "The store cannot be read or written ({0}): the disk fails, or a limit on the size of files (ulimit -f) is reached. Fix that, then continue with --resume; what was committed is intact."
    )]
    Io(rusqlite::Error),
    /// It was sound when opened and no longer is: something else wrote or cut the file.
    #[error(
        "The store is damaged ({0}): another program or the disk has corrupted its file. Move it away together with the files -wal and -shm beside it; then put a backup in its place, or sync again."
    )]
    Damaged(rusqlite::Error),
    /// A backup was put in the place of a store, beside the log of the one before.
    #[error(
        "The file {file}-wal is older than the store and does not fit it, as where a backup was put in the store's place. If so, take it away: rm {file}-wal {file}-shm. Nothing was changed.",
        file = shown(path)
    )]
    AnothersLog { path: PathBuf },
    /// A body that was read before cannot be read again.
    #[error(
        "An answer could not be read a second time ({0}); this is a bug in telemetron-sync. Please report it; what was committed is intact."
    )]
    Answer(#[from] BrokenCustomer),
    #[error("The store cannot be used: {0}. What was committed is intact.")]
    Sqlite(rusqlite::Error),
}

/// Another run writes the store.
#[derive(Debug)]
pub struct Held {
    pub path: PathBuf,
    /// Not known for an instant after it took the lock.
    pub holder: Option<Holder>,
}

/// The process that writes a store.
#[derive(Debug)]
pub struct Holder {
    pub pid: u32,
    /// When it took the lock, as the store writes times.
    pub since: String,
    /// `None` while it reads its source.
    pub run_id: Option<i64>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        match &self.holder {
            Some(Holder { pid, since, run_id }) => {
                let run = run_id.map(|run| format!("run {run}, ")).unwrap_or_default();
                let since = escaped(since);
                write!(
                    f,
                    "Another run holds the store {path}: {run}process {pid}, since {since}."
                )?;
            }
            None => write!(f, "Another run holds the store {path}.")?,
        }
        f.write_str(" Try again when it has ended, or wait for it with --wait-for-lock 10m.")
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::SystemIoFailure) => Self::Io(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            _ => Self::Sqlite(error),
        }
    }
}

pub(super) fn unopenable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unopenable { path: path.to_owned(), reason: error.to_string() }
}

/// What an error means while a store is being opened.
pub(super) fn unusable(path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::NoDatabase(path.to_owned())
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StoreError::Unopenable { path: path.to_owned(), reason: error.to_string() }
        }
        _ => error.into(),
    }
}
