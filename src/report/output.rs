//! Report files: proved writable before the work, replaced atomically after it.

use crate::paths::folder_of;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Who may read a file that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone: it holds personal data.
    Owner,
    /// As the umask allows.
    Others,
}

/// Proves that `path` can be written, and changes nothing.
///
/// # Errors
/// What the operating system says.
pub fn prove_writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if is_special(path) {
        return fs::OpenOptions::new().write(true).open(path).map(drop);
    }
    temporary_beside(&target(path), Readers::Owner).map(drop)
}

/// Replaces the file at `path` by what `write` writes: whole, or not at all.
///
/// # Errors
/// Those of `write`, and what the operating system says.
pub fn replace<E: From<io::Error>>(
    path: &Path,
    readers: Readers,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    if is_special(path) {
        let mut file = BufWriter::new(fs::OpenOptions::new().write(true).open(path)?);
        write(&mut file)?;
        return Ok(file.flush()?);
    }
    let path = &target(path);
    let temporary = temporary_beside(path, readers)?;
    let mut buffer = BufWriter::new(temporary);
    write(&mut buffer)?;
    let temporary = buffer.into_inner().map_err(io::IntoInnerError::into_error)?;
    if let Ok(before) = path.metadata() {
        keep_group(&before, temporary.as_file());
        temporary.as_file().set_permissions(before.permissions())?;
    }
    temporary.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Whether two names lead to one file, or would once it is made.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    if is_special(one) || is_special(other) {
        return false;
    }
    place(one) == place(other) || identity(one).is_some_and(|one| Some(one) == identity(other))
}

/// The absolute path of a file, which need not be there.
fn place(path: &Path) -> PathBuf {
    let target = target(path);
    let folder = folder_of(&target).canonicalize();
    folder.map_or_else(|_| target.clone(), |it| it.join(target.file_name().unwrap_or_default()))
}

/// What hard links to a file have in common.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Path) -> Option<(u64, u64)> {
    None
}

/// A link stays, and its target is replaced, or made.
fn target(path: &Path) -> PathBuf {
    let beside = |link: PathBuf| folder_of(path).join(link);
    fs::canonicalize(path)
        .or_else(|_| fs::read_link(path).map(beside))
        .unwrap_or_else(|_| path.to_owned())
}

/// Before the mode is set: a change of the group can clear bits of it.
#[cfg(unix)]
fn keep_group(before: &fs::Metadata, file: &fs::File) {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    // An account that is not in the group cannot give a file to it.
    let _ = fchown(file, None, Some(before.gid()));
}

#[cfg(not(unix))]
fn keep_group(_: &fs::Metadata, _: &fs::File) {}

/// A pipe or a device is written to, not replaced.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn temporary_beside(path: &Path, readers: Readers) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    if readers == Readers::Others {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let made = builder.prefix(".telemetron-").tempfile_in(folder_of(path));
    made.map_err(without_path)
}

/// The error without the name of the temporary file, which means nothing to a reader.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((reason, _)) => io::Error::new(error.kind(), reason),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_to(path: &Path, text: &str) -> io::Result<()> {
        replace(path, Readers::Owner, |file| file.write_all(text.as_bytes()))
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        prove_writable(&path).unwrap();
        assert!(!path.exists(), "proving changes nothing");
        write_to(&path, "one").unwrap();
        let failed: io::Result<()> = replace(&path, Readers::Owner, |file| {
            file.write_all(b"two")?;
            Err(io::ErrorKind::Other.into())
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        write_to(&path, "three").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn what_cannot_be_written_is_found_early() {
        let folder = tempfile::tempdir().unwrap();
        prove_writable(folder.path()).unwrap_err();
        let error = prove_writable(&folder.path().join("no/such/file.json")).unwrap_err();
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
        prove_writable(Path::new("/dev/null")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn the_target_of_a_link_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("r.json"), elsewhere.path().join("target.json"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_to(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_file(&target).unwrap();
        write_to(&link, "made").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "made");
    }

    #[cfg(unix)]
    #[test]
    fn the_group_is_kept() {
        use std::os::unix::fs::{MetadataExt as _, chown};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        write_to(&path, "one").unwrap();
        // Only root, or a member of the group, can give a file to it.
        if chown(&path, None, Some(12_345)).is_ok() {
            write_to(&path, "two").unwrap();
            assert_eq!(path.metadata().unwrap().gid(), 12_345);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_later_chmod_is_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        write_to(&path, "one").unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write_to(&path, "two").unwrap();
        assert_eq!(mode(), 0o640);
    }
}
