//! Whatever happens to the disk or to the store's file, the program says so in a sentence.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::support::api::{Api, emails, start_sandbox};
use crate::support::clock::wait_until;
use crate::support::command::{Finished, TestCommand};
use crate::support::content::{Content, assert_same_rows};
use crate::support::dir::TestDir;
use crate::support::mount::Disk;

const EMAILS: usize = 1000;

const SETTLED: &str = "SELECT coalesce(sum(planned - pending), 0) FROM runs";

/// What becomes of a store's bytes.
type Damage = fn(&mut Vec<u8>);

/// What another program writes over a store.
static NOISE: [u8; 1 << 20] = [0xa5; 1 << 20];

fn dir() -> TestDir {
    let dir = TestDir::new();
    dir.emails(emails(EMAILS));
    dir
}

/// One sentence, or a few, after the log lines; no panic, exit 1.
#[track_caller]
fn fails_with(ended: Finished, sentence: &str) -> Finished {
    let ended = ended.exits(1).stderr_has(sentence).never_shows("panicked");
    let errors = ended.stderr.lines().filter(|line| line.contains(" error: ")).count();
    assert_eq!(errors, 1, "{}", ended.stderr);
    ended
}

/// Asserts that the store is intact and ends, when resumed, as one that nothing happened to.
#[track_caller]
fn ends_well(dir: &TestDir) {
    let sandbox = start_sandbox(Duration::ZERO);
    dir.assert_sums();
    if dir.path("s.db").exists() {
        dir.has_rows("PRAGMA integrity_check", ["ok"]);
    }
    dir.sync_of(sandbox.url(), ["--resume"]).run().exits(0);
    if dir.number("SELECT count(*) FROM runs") == 0 {
        dir.sync(sandbox.url()).run().exits(0);
    }
    dir.has_rows("PRAGMA integrity_check", ["ok"]);
    let spared = self::dir();
    spared.sync(sandbox.url()).run().exits(0);
    let (ours, whole) = (Content::of(dir), Content::of(&spared));
    assert_same_rows(&ours.known, &whole.known);
    assert_same_rows(&ours.state, &whole.state);
    assert_eq!(ours.history, whole.history);
}

/// Takes the store from the small disk to where the dir looks for it.
fn take_store(dir: &TestDir, disk: Disk) {
    for file in ["s.db", "s.db-wal"] {
        let _ = fs::copy(dir.path("disk").join(file), dir.path(file));
    }
    drop(disk);
}

#[test]
fn a_file_size_limit_is_an_error_not_a_signal() {
    let sandbox = start_sandbox(Duration::ZERO);
    let limited = |sync: TestCommand<'_>, kib: u64| {
        let ended = sync.after(&format!("ulimit -f {}", kib * 2)).run();
        fails_with(ended, "The store cannot be read or written (disk I/O error)");
    };
    for kib in [16, 200] {
        let dir = dir();
        limited(dir.sync(sandbox.url()), kib);
        ends_well(&dir);
    }
    let dir = dir();
    dir.sync(sandbox.url()).args(["--limit", "300"]).run().exits(4);
    limited(dir.sync_of(sandbox.url(), ["--resume"]), 64);
    assert!(dir.number(SETTLED) >= 300);
    ends_well(&dir);
}

#[test]
fn a_full_disk_is_reported_and_the_run_resumes_once_there_is_room() {
    let sandbox = start_sandbox(Duration::ZERO);
    let store = ["--store", "disk/s.db"];
    let is_full = |sync: TestCommand<'_>| {
        let sentence =
            "The disk that holds the store is full. Make room, then continue with --resume";
        fails_with(sync.args(store).run(), sentence);
    };
    for kib in [64, 300] {
        let dir = dir();
        let Some(disk) = Disk::new(&dir, kib) else { return };
        is_full(dir.sync(sandbox.url()));
        take_store(&dir, disk);
        ends_well(&dir);
    }
    let dir = dir();
    let Some(disk) = Disk::new(&dir, 64 * 1024) else { return };
    dir.sync(sandbox.url()).args(store).args(["--limit", "300"]).run().exits(4);
    disk.remount(&format!("size={}k", disk.used_kib() + 64));
    is_full(dir.sync_of(sandbox.url(), ["--resume"]));
    take_store(&dir, disk);
    assert!(dir.number(SETTLED) >= 300);
    ends_well(&dir);
}

#[test]
fn a_read_only_folder_is_reported_and_reports_can_still_be_read() {
    let sandbox = start_sandbox(Duration::ZERO);
    let dir = dir();
    let Some(disk) = Disk::new(&dir, 64 * 1024) else { return };
    let store = ["--store", "disk/s.db"];
    disk.remount("ro");
    fails_with(dir.sync(sandbox.url()).args(store).run(), "disk/s.db cannot be opened");
    disk.remount("rw");
    dir.sync(sandbox.url()).args(store).args(["--limit", "100"]).run().exits(4);
    disk.remount("ro");
    fails_with(dir.sync(sandbox.url()).args(store).run(), "disk/s.db cannot be opened");
    for command in ["report", "runs"] {
        dir.command([command]).args(store).run().exits(0).stdout_has("stopped");
    }
    take_store(&dir, disk);
    ends_well(&dir);
}

#[test]
fn a_store_cut_short_or_overwritten_between_runs() {
    let api = Api::new();
    let synced = dir();
    synced.sync(start_sandbox(Duration::ZERO).url()).run().exits(0);
    let good = fs::read(synced.path("s.db")).unwrap();
    let damages: [(&str, Damage); 5] = [
        ("half", |store| store.truncate(store.len() / 2)),
        ("page", |store| store.truncate(4096)),
        ("odd", |store| store.truncate(5000)),
        ("head", |store| store[..512].fill(0xa5)),
        ("middle", |store| store[4096..].fill(0)),
    ];
    for (name, damage) in damages {
        let dir = dir();
        let mut store = good.clone();
        damage(&mut store);
        fs::write(dir.path("s.db"), &store).unwrap();
        let ended = dir.sync(api.url()).run();
        let ended = fails_with(ended, "damaged");
        assert!(!ended.stderr.contains("is intact"), "{name}: {}", ended.stderr);
        for command in ["report", "runs"] {
            let ended = dir.command([command]).run().never_shows("panicked");
            assert!(matches!(ended.code, Some(0 | 1)));
        }
    }
    assert_eq!(api.request_count(), 0);
}

#[test]
fn a_store_cut_short_or_overwritten_midway() {
    for damage in
        [|store: &File| store.set_len(4096), |store: &File| store.write_all_at(&NOISE, 4096)]
    {
        let (dir, sandbox) = (dir(), start_sandbox(Duration::ZERO));
        dir.sync(sandbox.url()).run().exits(0);
        sandbox.set_revision(9);
        // Slow enough to be met midway.
        let run = dir.sync(sandbox.url()).args(["--rate", "200/s"]).start();
        wait_until("the second run writes", || dir.number(SETTLED) > EMAILS as i64);
        damage(&OpenOptions::new().write(true).open(dir.path("s.db")).unwrap()).unwrap();
        fails_with(run.wait_unchecked(), "The store is damaged").never_shows("is intact");
    }
}
