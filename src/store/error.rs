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
    #[error("The store {} was made by telemetron-sync {}, which is older than this program ({}). The next `telemetron-sync sync` brings it up to date; until then, read it with the older version.", shown(path), escaped(made_by), env!("CARGO_PKG_VERSION"))]
    Older {
        path: PathBuf,
        /// The version that migrated it last.
        made_by: String,
    },
    #[error(
        "The store {} cannot be opened: this process, or the machine, has too many open files. Raise the limit (ulimit -n; LimitNOFILE= of a systemd service).",
        shown(.0)
    )]
    TooManyFiles(PathBuf),
    #[error("{0}")]
    Held(Held),
    /// Hard links.
    #[error(
        "The store {} has several names (hard links), and SQLite would keep a log beside each. Remove all but one, or use a copy.",
        shown(.0)
    )]
    SeveralNames(PathBuf),
    /// A bind mount of the file alone.
    #[error(
        "The store {} is mounted as a file of its own, and what SQLite writes beside it would be lost. Mount the folder that it is in.",
        shown(.0)
    )]
    Mounted(PathBuf),
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
    if is_too_many_files(error) {
        return StoreError::TooManyFiles(path.to_owned());
    }
    StoreError::Unopenable { path: path.to_owned(), reason: error.to_string() }
}

fn is_too_many_files(error: &io::Error) -> bool {
    #[cfg(unix)]
    return [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    #[cfg(not(unix))]
    false
}

/// Whether no file can be opened now. SQLite does not say why it could not open one.
fn opens_no_file() -> bool {
    std::fs::File::open("/dev/null").is_err_and(|error| is_too_many_files(&error))
}

/// What an error means while a store is being opened.
pub(super) fn unusable(path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) if opens_no_file() => StoreError::TooManyFiles(path.to_owned()),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::NoDatabase(path.to_owned())
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StoreError::Unopenable { path: path.to_owned(), reason: error.to_string() }
        }
        _ => error.into(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn too_many_open_files_are_named() {
        let path = Path::new("s.db");
        for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE] {
            let error = unopenable(path, &io::Error::from_raw_os_error(errno.raw_os_error()));
            assert!(error.to_string().contains("too many open files"), "{error}");
        }
        let denied = unopenable(path, &io::ErrorKind::PermissionDenied.into());
        assert!(matches!(denied, StoreError::Unopenable { .. }));
    }
}
