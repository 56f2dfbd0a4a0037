//! The checks of the store and of the disk that it is on.

use super::{Check, Status};
use crate::display::{escaped, shown};
use crate::paths::folder_of;
use crate::store::{StoreError, open_to_read};
use crate::store::{file, lock};
use rusqlite::Connection;
use rustix::fs::{statfs, statvfs};
use std::path::Path;

/// A run needs this much besides its plan: the log of commits.
const LOG_BYTES: u64 = 128 * 1024 * 1024;

/// Checks the store at `path`, for a plan of so many bytes.
pub(super) fn check(path: &Path, plan_bytes: u64) -> Vec<Check> {
    let folder = folder_of(path);
    let mut checks = vec![check_disk(folder), check_room(folder, plan_bytes)];
    if checks.iter().any(|check| check.status == Status::Failed) && !path.exists() {
        return checks;
    }
    match open_to_read(path) {
        Ok(store) => {
            checks.push(check_lock(path));
            checks.push(check_integrity(&store, path));
        }
        Err(StoreError::NotThere(_)) => checks.push(check_new(path, folder)),
        Err(error) => checks.push(Check::failed("store", error.to_string())),
    }
    checks
}

fn check_disk(folder: &Path) -> Check {
    let Ok(disk) = statfs(folder) else {
        let folder = shown(folder);
        return Check::failed(
            "disk",
            format!("{folder} cannot be read. Make that folder, or name another --store."),
        );
    };
    match file::network_file_system(&disk) {
        Some(name) => Check::failed(
            "disk",
            format!(
                "the store would be on {name}, where locks cannot be relied on. Put it on a local disk."
            ),
        ),
        None => Check::ok("disk", "local"),
    }
}

fn check_room(folder: &Path, plan_bytes: u64) -> Check {
    let Ok(disk) = statvfs(folder) else {
        return Check::skipped("room", "the disk cannot be asked");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = plan_bytes.saturating_add(LOG_BYTES);
    let mib = |bytes: u64| bytes / (1024 * 1024);
    if free < needed {
        let text =
            format!("{} MiB are free, and a run needs {} MiB. Make room.", mib(free), mib(needed));
        Check::failed("room", text)
    } else {
        Check::ok("room", format!("{} MiB are free", crate::display::grouped(mib(free))))
    }
}

fn check_lock(path: &Path) -> Check {
    if lock::is_held(path) {
        Check::warning("lock", "a run is working on this store now; another one would exit with 75")
    } else {
        Check::ok("lock", "free")
    }
}

fn check_integrity(store: &Connection, path: &Path) -> Check {
    let damage: Result<String, _> = store.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match damage {
        Ok(result) if result == "ok" => Check::ok("store", format!("{} is intact", shown(path))),
        Ok(damage) => Check::failed("store", corrupted(path, &damage)),
        Err(error) => Check::failed("store", corrupted(path, &error.to_string())),
    }
}

fn corrupted(path: &Path, how: &str) -> String {
    let path = shown(path);
    format!("{path} is corrupted ({}). Put a backup in its place.", escaped(how))
}

fn check_new(path: &Path, folder: &Path) -> Check {
    match tempfile::tempfile_in(folder) {
        Ok(_) => Check::ok(
            "store",
            format!("{} does not exist yet; the first run creates it", shown(path)),
        ),
        Err(error) => Check::failed(
            "store",
            format!(
                "{} cannot be created: {error}. Check the folder's owner and mode.",
                shown(path)
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn found(checks: &[Check], name: &str) -> (Status, String) {
        let check = checks.iter().find(|check| check.name == name).expect(name);
        (check.status, check.text.clone())
    }

    #[test]
    fn a_store_is_checked_with_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        assert_eq!(found(&check(&path, 0), "store").0, Status::Ok);
        assert!(!path.exists());
        let store = Store::open(&path).unwrap();
        assert_eq!(found(&check(&path, 0), "lock").0, Status::Warning);
        drop(store);
        let checks = check(&path, 0);
        assert!(checks.iter().all(|check| check.status == Status::Ok), "{checks:?}");
        assert_eq!(found(&check(&path, u64::MAX), "room").0, Status::Failed);
    }

    #[test]
    fn what_is_no_store_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert_eq!(found(&check(&path, 0), "store").0, Status::Failed);
        assert_eq!(found(&check(&folder.path().join("no/s.db"), 0), "disk").0, Status::Failed);
    }

    #[test]
    fn damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        let store = Store::open(&path).unwrap();
        store.checkpoint().unwrap();
        drop(store);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4096].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        let (status, text) = found(&check(&path, 0), "store");
        assert!(status == Status::Failed && text.contains("corrupted"), "{text}");
    }
}
