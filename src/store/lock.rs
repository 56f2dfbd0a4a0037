//! One run at a time writes a store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Held as long as it lives; the operating system lets go of it when the process ends, however
/// that happens.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Why the lock is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another run holds it")]
    Held,
    /// The lock file cannot be made or locked.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RunLock {
    /// Takes the lock of the store at `store`, or says who has it. Never waits.
    ///
    /// The lock is a file of its own beside the store: closing any handle of the database file
    /// would drop the locks that SQLite holds on it.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(store: &Path) -> Result<Self, LockError> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(Self::path(store))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::Held),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Whether some process holds the lock now.
    pub fn is_held(store: &Path) -> bool {
        let file = File::open(Self::path(store));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    fn path(store: &Path) -> PathBuf {
        let mut path = store.as_os_str().to_owned();
        path.push("-lock");
        path.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.db");
        assert!(!RunLock::is_held(&store));
        let first = RunLock::take(&store).unwrap();
        assert!(matches!(RunLock::take(&store), Err(LockError::Held)));
        assert!(RunLock::is_held(&store));
        drop(first);
        assert!(!RunLock::is_held(&store));
        RunLock::take(&store).unwrap();
    }
}
