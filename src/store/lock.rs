//! One run at a time writes a store, by whatever path it is named.
//!
//! The lock is `flock` on the store's own file: it holds for every name of the file, the operating
//! system lets go of it when the process ends, however that happens, and nothing is left that could
//! look like a lock. Closing any descriptor of a file drops the other kind of locks, by which SQLite
//! coordinates, for the whole process. So this descriptor has to outlive every connection to the store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// A reader that looks whether the lock is held has it for an instant. On a busy machine each try can
/// take milliseconds, because others run meanwhile.
const TRIES: u32 = 50;

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct RunLock(File);

/// Why the lock cannot be had.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process has it.
    Held,
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl RunLock {
    /// Takes the lock of the store at `path`. Where there is no file, it is made, for its owner alone:
    /// it will hold personal data. Does not wait.
    pub(super) fn take(path: &Path) -> Result<Self, LockError> {
        loop {
            let file = open_private(path)?;
            lock(&file)?;
            // Another process may have put another file in its place meanwhile.
            if is_same(&file, path)? {
                return Ok(Self(file));
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.0
    }
}

fn lock(file: &File) -> Result<(), LockError> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Err(LockError::Held)
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let file = file.metadata()?;
    match path.metadata() {
        Ok(now) => Ok((now.dev(), now.ino()) == (file.dev(), file.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_same(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Whether some process holds the lock of the store at `path` now.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let is_held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    let _ = file.unlock();
    // Left open, because this process may have a connection to the store.
    std::mem::forget(file);
    is_held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.db");
        assert!(!is_held(&store));
        let first = RunLock::take(&store).unwrap();
        assert!(matches!(RunLock::take(&store), Err(LockError::Held)));
        assert!(is_held(&store));
        drop(first);
        assert!(!is_held(&store));
        RunLock::take(&store).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn every_name_of_a_store_leads_to_the_same_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let _first = RunLock::take(&path("s.db")).unwrap();
        std::os::unix::fs::symlink("s.db", path("soft.db")).unwrap();
        std::fs::hard_link(path("s.db"), path("hard.db")).unwrap();
        for name in ["soft.db", "hard.db", "./s.db"] {
            assert!(matches!(RunLock::take(&path(name)), Err(LockError::Held)), "{name}");
            assert!(is_held(&path(name)), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_made_through_a_symbolic_link_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        std::os::unix::fs::symlink(path("s.db"), path("soft.db")).unwrap();
        RunLock::take(&path("soft.db")).unwrap();
        assert_eq!(path("s.db").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
