//! Whatever happens to the disk or to the store's file, the program says so in a sentence.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::support::api::{Api, emails, stand_in};
use crate::support::clock::wait_until;
use crate::support::desk::Desk;
use crate::support::held::{Held, differ_in_nothing};
use crate::support::mount::Disk;
use crate::support::sync::{Ended, Sync};

const EMAILS: usize = 1000;

const SETTLED: &str = "SELECT coalesce(sum(planned - pending), 0) FROM runs";

/// What becomes of a store's bytes.
type Spoil = fn(&mut Vec<u8>);

/// What another program writes over a store.
static NOISE: [u8; 1 << 20] = [0xa5; 1 << 20];

fn desk() -> Desk {
    let desk = Desk::new();
    desk.emails(emails(EMAILS));
    desk
}

/// One sentence, or a few, after the log lines; no panic, exit 1.
#[track_caller]
fn told(ended: Ended, sentence: &str) -> Ended {
    let ended = ended.exits(1).says(sentence).never_says("panicked");
    let errors = ended.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{}", ended.stderr);
    ended
}

/// Asserts that the store is whole and ends, when resumed, as one that nothing happened to.
#[track_caller]
fn ends_well(desk: &Desk) {
    let sandbox = stand_in(Duration::ZERO);
    desk.sums_hold();
    if desk.path("s.db").exists() {
        desk.stored("PRAGMA integrity_check", ["ok"]);
    }
    desk.sync_of(sandbox.url(), ["--resume"]).run().exits(0);
    if desk.number("SELECT count(*) FROM runs") == 0 {
        desk.sync(sandbox.url()).run().exits(0);
    }
    desk.stored("PRAGMA integrity_check", ["ok"]);
    let spared = self::desk();
    spared.sync(sandbox.url()).run().exits(0);
    let (ours, whole) = (Held::of(desk), Held::of(&spared));
    differ_in_nothing(&ours.known, &whole.known);
    differ_in_nothing(&ours.state, &whole.state);
    assert_eq!(ours.history, whole.history);
}

/// Takes the store from the small disk to where the desk looks for it.
fn take_store(desk: &Desk, disk: Disk) {
    for file in ["s.db", "s.db-wal"] {
        let _ = fs::copy(desk.path("disk").join(file), desk.path(file));
    }
    drop(disk);
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_no_signal() {
    let sandbox = stand_in(Duration::ZERO);
    let limited = |sync: Sync<'_>, kib: u64| {
        let ended = sync.after(&format!("ulimit -f {}", kib * 2)).run();
        told(ended, "The store cannot be read or written (disk I/O error)");
    };
    for kib in [16, 200] {
        let desk = desk();
        limited(desk.sync(sandbox.url()), kib);
        ends_well(&desk);
    }
    let desk = desk();
    desk.sync(sandbox.url()).args(["--limit", "300"]).run().exits(4);
    limited(desk.sync_of(sandbox.url(), ["--resume"]), 64);
    assert!(desk.number(SETTLED) >= 300);
    ends_well(&desk);
}

#[test]
fn a_full_disk_is_said_and_room_lets_it_go_on() {
    let sandbox = stand_in(Duration::ZERO);
    let store = ["--store", "disk/s.db"];
    let is_full = |sync: Sync<'_>| {
        let sentence = "The disk that holds the store is full. Make room and go on with --resume";
        told(sync.args(store).run(), sentence);
    };
    for kib in [64, 300] {
        let desk = desk();
        let Some(disk) = Disk::new(&desk, kib) else { return };
        is_full(desk.sync(sandbox.url()));
        take_store(&desk, disk);
        ends_well(&desk);
    }
    let desk = desk();
    let Some(disk) = Disk::new(&desk, 64 * 1024) else { return };
    desk.sync(sandbox.url()).args(store).args(["--limit", "300"]).run().exits(4);
    disk.remount(&format!("size={}k", disk.used_kib() + 64));
    is_full(desk.sync_of(sandbox.url(), ["--resume"]));
    take_store(&desk, disk);
    assert!(desk.number(SETTLED) >= 300);
    ends_well(&desk);
}

#[test]
fn a_folder_that_cannot_be_written_is_said_and_reports_are_still_read() {
    let sandbox = stand_in(Duration::ZERO);
    let desk = desk();
    let Some(disk) = Disk::new(&desk, 64 * 1024) else { return };
    let store = ["--store", "disk/s.db"];
    disk.remount("ro");
    told(desk.sync(sandbox.url()).args(store).run(), "disk/s.db cannot be opened");
    disk.remount("rw");
    desk.sync(sandbox.url()).args(store).args(["--limit", "100"]).run().exits(4);
    disk.remount("ro");
    told(desk.sync(sandbox.url()).args(store).run(), "disk/s.db cannot be opened");
    for command in ["report", "runs"] {
        desk.command([command]).args(store).run().exits(0).prints("stopped");
    }
    take_store(&desk, disk);
    ends_well(&desk);
}

#[test]
fn a_store_cut_short_or_overwritten_between_runs() {
    let api = Api::new();
    let synced = desk();
    synced.sync(stand_in(Duration::ZERO).url()).run().exits(0);
    let good = fs::read(synced.path("s.db")).unwrap();
    let spoilt: [(&str, Spoil); 5] = [
        ("half", |store| store.truncate(store.len() / 2)),
        ("page", |store| store.truncate(4096)),
        ("odd", |store| store.truncate(5000)),
        ("head", |store| store[..512].fill(0xa5)),
        ("middle", |store| store[4096..].fill(0)),
    ];
    for (name, spoil) in spoilt {
        let desk = desk();
        let mut store = good.clone();
        spoil(&mut store);
        fs::write(desk.path("s.db"), &store).unwrap();
        let ended = desk.sync(api.url()).run();
        let ended = told(ended, "damaged");
        assert!(!ended.stderr.contains("is whole"), "{name}: {}", ended.stderr);
        for command in ["report", "runs"] {
            let ended = desk.command([command]).run().never_says("panicked");
            assert!(matches!(ended.code, Some(0 | 1)));
        }
    }
    assert_eq!(api.total(), 0);
}

#[test]
fn a_store_cut_short_or_overwritten_midway() {
    for spoil in
        [|store: &File| store.set_len(4096), |store: &File| store.write_all_at(&NOISE, 4096)]
    {
        let (desk, sandbox) = (desk(), stand_in(Duration::ZERO));
        desk.sync(sandbox.url()).run().exits(0);
        sandbox.set_revision(9);
        // Slow enough to be met midway.
        let run = desk.sync(sandbox.url()).args(["--rate", "200/s"]).start();
        wait_until("the second run writes", || desk.number(SETTLED) > EMAILS as i64);
        spoil(&OpenOptions::new().write(true).open(desk.path("s.db")).unwrap()).unwrap();
        told(run.wait_unchecked(), "The store is damaged").never_says("is whole");
    }
}
