//! The files of a store: what they may be, and who may read them.

use crate::store::error::{StoreError, unopenable};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The files that SQLite keeps beside a store.
const LOG_FILES: [&str; 2] = ["-wal", "-shm"];

/// Refuses a file on which SQLite's promises do not hold.
pub(super) fn check(file: &File, path: &Path) -> Result<(), StoreError> {
    let metadata = file.metadata().map_err(|error| unopenable(path, &error))?;
    if !metadata.is_file() {
        return Err(unopenable(path, &io::Error::other("it is not a regular file")));
    }
    check_names(path)?;
    #[cfg(target_os = "linux")]
    if let Ok(Some(kind)) = rustix::fs::fstatfs(file).map(|disk| network_file_system(&disk)) {
        return Err(StoreError::Network { path: path.to_owned(), kind });
    }
    Ok(())
}

/// Refuses a file that SQLite could know by another name, beside which another log would be.
pub(super) fn check_names(path: &Path) -> Result<(), StoreError> {
    if has_several_names(path) {
        return Err(StoreError::SeveralNames(path.to_owned()));
    }
    if is_mounted(path) {
        return Err(StoreError::Mounted(path.to_owned()));
    }
    Ok(())
}

/// Whether there are hard links to a file.
fn has_several_names(path: &Path) -> bool {
    #[cfg(unix)]
    return path.metadata().is_ok_and(|file| std::os::unix::fs::MetadataExt::nlink(&file) > 1);
    #[cfg(not(unix))]
    false
}

/// Whether a file is mounted under this name, as a container can do.
fn is_mounted(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
        let status = statx(CWD, path, AtFlags::empty(), StatxFlags::empty());
        status.is_ok_and(|it| it.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// The kind of a file system on another machine, where locks and syncs cannot be relied on. The numbers
/// are those of `statfs(2)`.
#[cfg(target_os = "linux")]
pub fn network_file_system(disk: &rustix::fs::StatFs) -> Option<&'static str> {
    network_kind(u64::try_from(disk.f_type).unwrap_or_default() & 0xffff_ffff)
}

#[cfg(target_os = "linux")]
fn network_kind(number: u64) -> Option<&'static str> {
    Some(match number {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x00c3_6400 => "CephFS",
        0x0102_1997 => "9p",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x786f_4256 => "a shared folder of VirtualBox",
        _ => return None,
    })
}

/// Gives the files beside a store its mode, and its group where that is allowed, so that whoever may
/// read the store can also read what is not in it yet.
#[cfg(unix)]
pub(super) fn share_mode(path: &Path) {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let Ok(store) = path.metadata() else {
        return;
    };
    for file in beside(path) {
        let Ok(beside) = file.metadata() else {
            continue;
        };
        // Where that is not allowed, the owner of the files has to see to it.
        if beside.gid() != store.gid() {
            let _ = chown(&file, None, Some(store.gid()));
        }
        if beside.mode() != store.mode() {
            let _ = std::fs::set_permissions(&file, store.permissions());
        }
    }
}

#[cfg(not(unix))]
pub(super) fn share_mode(_: &Path) {}

/// Takes a store away.
pub(super) fn remove(path: &Path) {
    // A link to it stays, as it was there before.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for file in beside(&path).into_iter().chain([path.clone()]) {
        // What cannot be removed is an empty store, which does no harm.
        let _ = std::fs::remove_file(file);
    }
}

fn beside(path: &Path) -> [PathBuf; 2] {
    LOG_FILES.map(|ending| with_ending(path, ending))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut file = path.as_os_str().to_owned();
    file.push(ending);
    file.into()
}

/// The files that SQLite makes beside a store.
pub fn companions(path: &Path) -> [PathBuf; 3] {
    // It follows a link.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    ["-wal", "-shm", "-journal"].map(|ending| with_ending(&path, ending))
}

/// Whether something is not in the file itself: in its log, or in a journal that undoes what a killed
/// process began.
pub(super) fn has_log(path: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|ending| length(&with_ending(path, ending)) > 0)
}

/// Whether a store was written after the log beside it: by a checkpoint, or because a backup was put in
/// its place.
pub(super) fn is_newer_than_its_log(path: &Path) -> bool {
    let log = with_ending(path, "-wal").metadata();
    let written = |file: std::fs::Metadata| file.modified().ok();
    let logged = log.ok().filter(|log| log.len() > 0).and_then(written);
    let stored = path.metadata().ok().and_then(written);
    stored.zip(logged).is_some_and(|(stored, logged)| stored > logged)
}

/// Whether SQLite keeps the log of a store under this name of it.
pub(super) fn log_is_there(path: &Path) -> bool {
    with_ending(path, "-wal").exists()
}

/// The bytes of a file; none if it is not there.
pub(super) fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Differs after any write to the store: its length and time, and those of its log and its journal.
pub(super) fn versions(path: &Path) -> [Option<(u64, SystemTime)>; 3] {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    ["", "-wal", "-journal"].map(|ending| {
        let metadata = with_ending(&path, ending).metadata().ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_known_by_their_number() {
        assert_eq!(network_kind(0x6969), Some("NFS"));
        assert_eq!(network_kind(0xff53_4d42), Some("SMB"));
        assert_eq!(network_kind(0xef53), None, "ext4");
        assert_eq!(network_kind(0x0102_1994), None, "tmpfs");
    }

    #[cfg(unix)]
    #[test]
    fn the_files_beside_follow_the_mode() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        let set = |file: &Path, mode| {
            std::fs::write(file, "").unwrap();
            std::fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
        };
        set(&path, 0o644);
        beside(&path).iter().for_each(|file| set(file, 0o600));
        share_mode(&path);
        for file in beside(&path) {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        }
    }
}
