//! One run at a time writes a store, whatever path leads to it, and readers never delay it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;
use std::time::Duration;

use crate::support::api::{Api, emails, start_sandbox};
use crate::support::clock::{timed, wait_until};
use crate::support::dir::TestDir;

const SETTLED: &str = "SELECT planned - pending FROM runs ORDER BY id DESC LIMIT 1";

fn mode(dir: &TestDir, name: &str) -> u32 {
    dir.path(name).metadata().expect(name).permissions().mode() & 0o777
}

fn chmod(dir: &TestDir, name: &str, mode: u32) {
    fs::set_permissions(dir.path(name), fs::Permissions::from_mode(mode)).expect(name);
}

#[test]
fn no_other_path_and_no_removed_file_lets_a_second_run_in() {
    let sandbox = start_sandbox(Duration::from_millis(20));
    let dir = TestDir::new();
    dir.emails(emails(2000));
    let first = dir.sync(sandbox.url()).args(["--rate", "10/s"]).start();
    wait_until("the first run writes", || dir.number(SETTLED) > 0);
    symlink("s.db", dir.path("soft.db")).unwrap();
    fs::create_dir(dir.path("there")).unwrap();
    symlink(dir.folder(), dir.path("there/back")).unwrap();
    fs::hard_link(dir.path("s.db"), dir.path("hard.db")).unwrap();
    let process = format!("process {}, since 2", first.process.id());
    for store in ["s.db", "soft.db", "there/back/s.db", "hard.db"] {
        let second = dir.sync(sandbox.url()).args(["--store", store]).run().exits(75);
        second.stderr_has("--wait-for-lock");
        let second = dir.sync_of(sandbox.url(), ["--resume", "--store", store]).run().exits(75);
        second.stderr_has(&process);
    }
    let names: Vec<_> = fs::read_dir(dir.folder()).unwrap().flatten().collect();
    let locks = names.iter().filter(|file| file.file_name().to_string_lossy().contains("lock"));
    assert_eq!(locks.count(), 0, "no file that looks like a lock");
    let beside_link =
        names.iter().filter(|file| file.file_name().to_string_lossy().starts_with("hard.db-"));
    assert_eq!(beside_link.count(), 0, "SQLite has made a log beside the link");
    assert!(first.kill());
    dir.sync(sandbox.url()).args(["--store", "hard.db"]).run().exits(1).stderr_has("several names");
    fs::remove_file(dir.path("hard.db")).unwrap();
    let resumed = ["--resume", "--rate", "2000/s", "--store", "soft.db"];
    dir.sync_of(sandbox.url(), resumed).run().exits(0);
    assert_eq!(dir.number("SELECT count(*) FROM runs WHERE status = 'complete'"), 1);
}

#[test]
fn an_open_read_transaction_does_not_delay_the_end() {
    let sandbox = start_sandbox(Duration::ZERO);
    let dir = TestDir::new();
    dir.emails(emails(300));
    dir.sync(sandbox.url()).run().exits(0);
    let reader = dir.store();
    reader.execute_batch("BEGIN; SELECT count(*) FROM customers;").unwrap();
    let count = "SELECT count(*) FROM lookups";
    assert_eq!(reader.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 300);
    dir.emails(emails(600));
    let (took, ended) = timed(|| dir.sync(sandbox.url()).run());
    ended.exits(0).stderr_has("Another program reads the store");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(reader.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 300);
    drop(reader);
    dir.sync(sandbox.url()).run().exits(0).never_shows("Another program reads");
    assert_eq!(dir.path("s.db-wal").metadata().unwrap().len(), 0);
}

#[test]
fn while_a_run_waits_for_its_source_other_programs_can_write() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(emails(20));
    dir.emails(emails(3));
    dir.sync(api.url()).run().exits(0);
    let mut run = dir.sync_of(api.url(), ["-", "--limit", "10"]).stdin_open().start();
    let mut stdin = run.process.stdin.take().expect("standard input");
    // More than fits into the pipe and the program's buffers.
    let rows = emails(20_000).join("\n");
    stdin.write_all(b"email\n").and_then(|()| stdin.write_all(rows.as_bytes())).unwrap();
    dir.alter("CREATE TABLE notes (a); INSERT INTO notes VALUES (1)");
    drop(stdin);
    run.wait().exits(4);
    dir.has_rows("SELECT planned FROM runs ORDER BY id", ["3", "20000"]);
    dir.has_rows("SELECT a FROM notes", ["1"]);
}

#[test]
fn the_files_beside_a_store_follow_its_mode() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    symlink(dir.path("s.db"), dir.path("link.db")).unwrap();
    dir.sync(api.url()).args(["--store", "link.db"]).run().exits(0);
    let modes = || ["s.db", "s.db-wal", "s.db-shm"].map(|name| mode(&dir, name));
    assert_eq!(modes(), [0o600; 3]);
    chmod(&dir, "s.db", 0o644);
    dir.sync(api.url()).run().exits(0);
    assert_eq!(modes(), [0o644; 3]);
    let is_root = dir.path("s.db").metadata().unwrap().uid() == 0;
    let chgrp = Command::new("chgrp").arg("1").arg(dir.path("s.db")).status();
    if is_root && chgrp.is_ok_and(|status| status.success()) {
        chmod(&dir, "s.db", 0o640);
        dir.sync(api.url()).after("umask 077").run().exits(0);
        assert_eq!(modes(), [0o640; 3]);
        for name in ["s.db-wal", "s.db-shm"] {
            assert_eq!(dir.path(name).metadata().unwrap().gid(), 1, "{name}");
        }
    }
}

#[test]
fn a_live_run_is_seen_by_whoever_may_read_the_store() {
    let sandbox = start_sandbox(Duration::from_millis(20));
    let dir = TestDir::new();
    dir.emails(emails(2000));
    let run = dir.sync(sandbox.url()).args(["--rate", "10/s"]).after("umask 077").start();
    wait_until("the run writes", || dir.number(SETTLED) > 0);
    dir.command(["report"]).run().exits(0).stdout_has("Run 1: running");
    assert!(run.kill());
    dir.command(["report"]).run().exits(0).stdout_has("the process was killed or crashed");
    assert_eq!(dir.report()["exit_code"], serde_json::Value::Null);
}

#[test]
fn a_store_is_not_read_by_a_name_beside_which_its_log_is_not() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    dir.sync(api.url()).run().exits(0);
    fs::hard_link(dir.path("s.db"), dir.path("other.db")).unwrap();
    let report = || dir.command(["report", "--store", "other.db"]);
    report().run().exits(1).stderr_has("several names");
    fs::remove_file(dir.path("other.db")).unwrap();

    fs::write(dir.path("other.db"), "").unwrap();
    let in_namespace = "exec unshare -m sh -c 'mount --bind s.db other.db && exec \"$0\" \"$@\"' \
                        \"$0\" \"$@\"";
    let may_mount = Command::new("unshare").args(["-m", "true"]).status();
    if may_mount.is_ok_and(|status| status.success()) {
        let mounted = "mounted as a file of its own";
        report().after(in_namespace).run().exits(1).stderr_has(mounted);
        let sync = dir.sync(api.url()).args(["--store", "other.db"]);
        sync.after(in_namespace).run().exits(1).stderr_has(mounted);
    } else {
        println!("skipped: no mount namespaces here");
    }
    for ending in ["-wal", "-shm"] {
        assert!(!dir.path(&format!("other.db{ending}")).exists(), "{ending}");
    }
}

#[test]
fn a_run_that_fails_leaves_no_log_either() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(emails(20));
    dir.emails(emails(20));
    dir.sync(api.url()).run().exits(0);
    let log_is_empty = || {
        assert_eq!(dir.path("s.db-wal").metadata().unwrap().len(), 0);
        assert!(dir.path("s.db-shm").exists(), "for readers that may not make it");
    };
    dir.sync_of(api.url(), ["none.csv"]).run().exits(1).stderr_has("does not exist");
    log_is_empty();
    dir.alter("CREATE TRIGGER no BEFORE UPDATE ON _emails BEGIN SELECT raise(FAIL, 'no'); END");
    dir.sync(api.url()).run().exits(1).stderr_has("no");
    dir.has_rows("SELECT status FROM runs ORDER BY id DESC LIMIT 1", ["failed"]);
    log_is_empty();
}
