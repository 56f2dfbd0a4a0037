//! `--dry-run` says what a run would do, and no file beside the store shows that it ran.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use crate::support::api::{Api, emails, start_sandbox};
use crate::support::clock::wait_until;
use crate::support::dir::TestDir;
use crate::support::mount::Disk;

/// What can be seen of each file of a store: its bytes and when it was written.
type Seen = BTreeMap<String, (Vec<u8>, SystemTime)>;

fn seen(dir: &TestDir, folder: &str) -> Seen {
    let files = fs::read_dir(dir.path(folder)).expect(folder).flatten();
    let files = files.filter(|file| file.file_name().to_string_lossy().starts_with("s.db"));
    let look = |file: fs::DirEntry| {
        let modified = file.metadata().expect("a file").modified().expect("a time");
        let name = file.file_name().to_string_lossy().into_owned();
        (name, (fs::read(file.path()).expect("a file"), modified))
    };
    files.map(look).collect()
}

/// A dry run that leaves `files` of the store as they are, and prints `expected`. No other reader looks at
/// the store meanwhile: it would touch the index of the log.
fn leaves<const N: usize>(dir: &TestDir, expected: &str, files: [&str; N]) {
    let before = seen(dir, ".");
    assert!(before.keys().eq(files), "{:?}", before.keys());
    let dry = dir.sync("http://127.0.0.1:9").without_key();
    let dry = dry.args(["--dry-run", "--max-age", "1h"]).start();
    dry.wait_unchecked().exits(0).stdout_has(expected);
    let failed = dir.sync_of("http://127.0.0.1:9", ["--retry-failed", "--dry-run"]).start();
    failed.wait_unchecked().exits(0);
    let after = seen(dir, ".");
    assert!(after.keys().eq(before.keys()), "{:?} became {:?}", before.keys(), after.keys());
    for (name, file) in &before {
        assert_eq!(after[name].1, file.1, "{name} was written");
        assert!(after[name].0 == file.0, "{name} changed");
    }
}

#[test]
fn a_dry_run_sends_no_request_and_creates_no_store() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.write("list.csv", "email\na@x.io\nb@x.io\na@x.io\nno\n");
    let dry = || dir.sync(api.url()).without_key().args(["--dry-run"]);
    dry()
        .run()
        .exits(0)
        .stdout_has("2 to look up")
        .stdout_has("1 duplicate")
        .stdout_has("2 requests");
    dry().args(["--rate", "1/m"]).run().exits(0).stdout_has("2 min 0 s");
    dry().args(["--limit", "1"]).run().exits(0).stdout_has("at least 1 request; none sent");
    assert_eq!(dir.files(), ["list.csv"]);
    assert_eq!(api.request_count(), 0);
}

#[test]
fn a_dry_run_leaves_the_files_of_a_store_as_they_are() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io", "b@x.io"]);
    dir.sync(api.url()).args(["--limit", "1"]).run().exits(4);
    leaves(&dir, "1 to look up, 1 fresh", ["s.db", "s.db-shm", "s.db-wal"]);
    // As in a copy of the store.
    fs::remove_file(dir.path("s.db-shm")).unwrap();
    leaves(&dir, "1 to look up, 1 fresh", ["s.db", "s.db-wal"]);
    fs::remove_file(dir.path("s.db-wal")).unwrap();
    leaves(&dir, "1 to look up, 1 fresh", ["s.db"]);
    // A process that was killed before it wrote anything.
    dir.write("s.db", "");
    leaves(&dir, "2 to look up", ["s.db"]);
    dir.write("s.db-wal", "not of this store");
    leaves(&dir, "2 to look up", ["s.db", "s.db-wal"]);
    assert_eq!(api.request_count(), 1);
}

#[test]
fn a_dry_run_knows_what_a_killed_run_left_in_the_log_and_leaves_it_there() {
    let sandbox = start_sandbox(Duration::from_millis(20));
    let dir = TestDir::new();
    dir.emails(emails(200));
    let run = dir.sync(sandbox.url()).args(["--rate", "20/s"]).start();
    wait_until("the run writes", || {
        dir.number("SELECT coalesce(max(planned - pending), 0) FROM runs") > 2
    });
    assert!(run.kill());
    assert!(dir.path("s.db-wal").metadata().unwrap().len() > 0);
    let answered = dir.number("SELECT count(answered_at) FROM lookups");
    let fresh = format!("{} to look up, {answered} fresh", 200 - answered);
    leaves(&dir, &fresh, ["s.db", "s.db-shm", "s.db-wal"]);
    fs::remove_file(dir.path("s.db-shm")).unwrap();
    leaves(&dir, &fresh, ["s.db", "s.db-wal"]);
    dir.has_rows("SELECT status FROM runs", ["running"]);
}

#[test]
fn a_dry_run_reads_a_store_on_a_read_only_disk() {
    let (dir, api) = (TestDir::new(), Api::new());
    let Some(disk) = Disk::new(&dir, 64 * 1024) else { return };
    dir.emails(["a@x.io", "b@x.io"]);
    dir.sync(api.url()).args(["--limit", "1", "--store", "disk/s.db"]).run().exits(4);
    for file in ["disk/s.db-wal", "disk/s.db-shm"] {
        fs::remove_file(dir.path(file)).unwrap();
    }
    disk.remount("ro");
    let before = seen(&dir, "disk");
    let dry = dir.sync(api.url()).args(["--dry-run", "--max-age", "1h", "--store", "disk/s.db"]);
    dry.run().exits(0).stdout_has("1 to look up, 1 fresh");
    assert!(seen(&dir, "disk") == before);
    disk.remount("rw");
}

#[test]
fn a_dry_run_that_waits_for_its_source_is_in_the_way_of_no_run() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(emails(3));
    dir.sync(api.url()).args(["--limit", "1"]).run().exits(4);
    let dry = dir.sync_of(api.url(), ["-", "--dry-run", "--max-age", "1h"]).stdin_open();
    let mut dry = dry.start();
    let mut stdin = dry.process.stdin.take().expect("standard input");
    // More than fits into the pipe, so that the dry run has read the store by then.
    let rows = emails(20_000).join("\n");
    stdin.write_all(b"email\n").and_then(|()| stdin.write_all(rows.as_bytes())).unwrap();
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    drop(stdin);
    dry.wait().exits(0).stdout_has("19,999 to look up, 1 fresh");
}
