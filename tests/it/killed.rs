//! Killed at any instant and resumed, a store equals that of a run never killed.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::Duration;

use telemetron_sync::sandbox::Sandbox;

use crate::support::api::{Api, emails, start_sandbox};
use crate::support::clock::wait_until;
use crate::support::dir::TestDir;

const EMAILS: usize = 2000;

const SETTLED: &str = "SELECT planned - pending FROM runs ORDER BY id DESC LIMIT 1";

/// The emails and some rows that are none.
fn write_source(dir: &TestDir) {
    let odd = ["no email", "p0003@x.io", "", "two@@x.io"].map(str::to_owned);
    dir.emails(emails(EMAILS).into_iter().chain(odd));
}

/// Syncs two states of the sandbox one after the other, so that there is something to change.
fn never_killed(sandbox: &Sandbox) -> TestDir {
    let dir = TestDir::new();
    write_source(&dir);
    for revision in [0, 9] {
        sandbox.set_revision(revision);
        dir.sync(sandbox.url()).run().exits(0);
    }
    dir
}

/// Kills the run at `moments` of its progress, resuming it each time. How often it was killed.
fn kill_and_resume(dir: &TestDir, url: &str, moments: &[i64]) -> usize {
    let mut kills = 0;
    for (nth, moment) in moments.iter().enumerate() {
        let sync = if nth == 0 { dir.sync(url) } else { dir.sync_of(url, ["--resume"]) };
        let mut run = sync.start();
        let begun = dir.number("SELECT count(*) FROM runs");
        wait_until("the moment to kill", || {
            let planned = nth > 0 || dir.number("SELECT count(*) FROM runs") > begun;
            !run.is_running() || (planned && dir.number(SETTLED) >= *moment)
        });
        kills += usize::from(run.kill());
    }
    kills
}

#[test]
fn a_run_killed_again_and_again_ends_as_one_that_was_not() {
    let sandbox = start_sandbox(Duration::from_millis(15));
    let whole = never_killed(&sandbox).content();
    let mut chance = fastrand::Rng::with_seed(7);
    let dir = TestDir::new();
    write_source(&dir);
    let asked = sandbox.requests();
    for revision in [0, 9] {
        sandbox.set_revision(revision);
        let mut moments: Vec<i64> = (0..5).map(|_| chance.i64(0..EMAILS as i64 - 300)).collect();
        moments.sort_unstable();
        let kills = kill_and_resume(&dir, &sandbox.url(), &moments);
        assert!(kills >= 3, "killed {kills} times only");
        dir.command(["runs"]).run().exits(0).stdout_has("stopped");
        dir.command(["report"]).run().exits(0).stdout_has("the process was killed or crashed");
        dir.sync_of(sandbox.url(), ["--resume"]).run().exits(0);
    }
    assert_eq!(dir.content(), whole);
    // At most what was in flight or not committed is asked again, each time.
    let again = sandbox.requests() - asked - 2 * EMAILS as u64;
    assert!(again <= 10 * (1000 + 256 + 32), "{again} requests were made again");
    dir.has_rows("PRAGMA integrity_check", ["ok"]);
}

#[test]
fn little_is_asked_again_after_a_kill() {
    let api = Api::with_rule(|_| {
        let slow = Duration::from_millis(20);
        Some(telemetron_sync::sandbox::Reply::error(404, "No").after(slow))
    });
    let dir = TestDir::new();
    dir.emails(emails(600));
    kill_and_resume(&dir, &api.url(), &[50, 200, 400]);
    dir.sync_of(api.url(), ["--resume", "--accept-missing"]).run().exits(0);
    let mut times = HashMap::new();
    for email in api.requested_emails() {
        *times.entry(email).or_insert(0) += 1;
    }
    assert_eq!(times.len(), 600);
    let again = times.values().filter(|times| **times > 1).count();
    // With 32 in flight of 20 ms each, a batch of 200 ms holds some 320.
    assert!(again < 500, "{again} of 600 asked again");
    assert_eq!(dir.counts(), "rows 600, planned 600, not_found 600");
}

#[test]
fn a_killed_planner_leaves_no_plan_and_what_was_there_before() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(emails(4));
    dir.sync(api.url()).args(["--limit", "2"]).run().exits(4);
    let before = (dir.customer_data(), dir.rows("SELECT * FROM runs"));
    let mut run = dir.sync_of(api.url(), ["-"]).stdin_open().start();
    let mut stdin = run.process.stdin.take().expect("standard input");
    let rows: String = emails(20_000).iter().map(|email| format!("{email}\n")).collect();
    stdin.write_all(b"email\n").and_then(|()| stdin.write_all(rows.as_bytes())).unwrap();
    stdin.flush().unwrap();
    assert!(run.kill(), "it waits for more rows");
    assert_eq!((dir.customer_data(), dir.rows("SELECT * FROM runs")), before);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 4, planned 4, not_found 4");
    assert_eq!(api.request_count(), 4);
}

#[test]
fn a_planner_killed_while_it_waits_for_a_pipe_leaves_no_lock() {
    let (dir, api) = (TestDir::new(), Api::new());
    let made = std::process::Command::new("mkfifo").arg(dir.path("pipe.csv")).status();
    assert!(made.expect("mkfifo").success());
    let run = dir.sync_of(api.url(), ["pipe.csv"]).start();
    let mut pipe = std::fs::File::options().write(true).open(dir.path("pipe.csv")).unwrap();
    pipe.write_all(b"email\na@x.io\n").unwrap();
    dir.emails(["a@x.io"]);
    wait_until("the planner holds the store", || dir.number("SELECT count(*) FROM _store") == 1);
    dir.sync(api.url()).run().exits(75);
    assert!(run.kill());
    dir.sync(api.url()).run().exits(0);
    assert_eq!(dir.counts(), "rows 1, planned 1, not_found 1");
}

#[test]
fn a_second_run_is_turned_away_while_one_works_and_let_in_when_it_died() {
    let sandbox = start_sandbox(Duration::from_millis(20));
    let dir = TestDir::new();
    dir.emails(emails(2000));
    let first = dir.sync(sandbox.url()).start();
    wait_until("the first run writes", || dir.number(SETTLED) > 0);
    dir.sync(sandbox.url()).run().exits(75).stderr_has("Another run holds the store");
    dir.sync_of(sandbox.url(), ["--resume"]).run().exits(75);
    dir.sync(sandbox.url()).args(["--dry-run"]).run().exits(75);
    dir.command(["runs"]).run().exits(0).stdout_has("running");
    dir.command(["report"]).run().exits(0).stdout_has("Run 1: running").stdout_has("Progress: ");
    assert!(first.kill());
    dir.command(["runs"]).run().exits(0).stdout_has("stopped");
    dir.sync_of(sandbox.url(), ["--resume", "--limit", "5"]).run().exits(4);
}

/// The last instant at which a process can die is between its last answers and its end.
#[test]
fn a_run_that_died_before_its_end_is_ended_by_a_resume() {
    let (dir, api) = (TestDir::new(), Api::new());
    let all = emails(10);
    api.has_all(&all);
    dir.emails(&all);
    dir.sync(api.url()).run().exits(0);
    api.remove_email("p0003@x.io");
    let at_the_end = "CREATE TRIGGER no_end BEFORE DELETE ON _plan_items
         BEGIN SELECT RAISE(ABORT, 'cut off'); END";
    dir.alter(at_the_end);
    dir.sync(api.url()).run().exits(1).stderr_has("cut off");
    dir.alter("DROP TRIGGER no_end");
    dir.has_rows("SELECT pending FROM runs WHERE id = 2", ["0"]);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    dir.has_rows("SELECT customer_id FROM changes WHERE kind = 'missing'", ["cust_p0003@x.io"]);
    dir.has_rows("SELECT status FROM runs", ["complete", "complete"]);
    dir.has_rows("SELECT count(*) FROM _plan_items", ["0"]);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0).stdout_has("Nothing to resume");
    assert_eq!(api.request_count(), 20);
}
