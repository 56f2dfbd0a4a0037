//! Stopped by a signal or by its deadline, a run drains, commits and can be resumed.

use std::io::Write as _;
use std::time::Duration;

use telemetron_sync::sandbox::{Delivery, Reply};

use crate::support::api::{Api, emails, start_sandbox};
use crate::support::clock::{timed, wait_until, while_within};
use crate::support::dir::TestDir;

const SETTLED: &str = "SELECT planned - pending FROM runs ORDER BY id DESC LIMIT 1";

#[test]
fn a_signal_ends_a_run_cleanly_and_a_resumed_one_finishes() {
    for (signal, code, reason) in
        [("INT", 130, "SIGINT"), ("TERM", 143, "SIGTERM"), ("HUP", 129, "SIGHUP")]
    {
        let sandbox = start_sandbox(Duration::from_millis(20));
        let dir = TestDir::new();
        dir.emails(emails(1500));
        // Whoever started the tests may ignore SIGHUP, which is inherited.
        let heard = r#"exec env --default-signal=HUP "$0" "$@""#;
        let run = dir.sync(sandbox.url()).args(["--rate", "100/s"]).after(heard).start();
        wait_until("the run writes", || dir.number(SETTLED) > 0);
        run.signal(signal);
        let (took, ended) = timed(|| run.wait());
        ended.exits(code).stdout_has("Run 1: stopped").stdout_has(reason).stdout_has("--resume=1");
        assert!(took < Duration::from_secs(4), "{took:?}");
        // What was in flight came back and was committed.
        assert_eq!(dir.number(SETTLED).unsigned_abs(), sandbox.requests());
        dir.has_rows("SELECT status FROM runs", ["stopped"]);
        dir.sync_of(sandbox.url(), ["--resume", "--rate", "5000/s"]).run().exits(0);
        assert_eq!(sandbox.requests(), 1500);
        assert_eq!(dir.report()["counts"]["pending"], 0);
    }
}

#[test]
fn a_stop_waits_five_seconds_for_answers() {
    let api = Api::with_rule(|request| {
        (request.number > 10).then(|| Reply::error(500, "").deliver(Delivery::Never))
    });
    let dir = TestDir::new();
    dir.emails(emails(20));
    let run = dir.sync(api.url()).args(["--concurrency", "2"]).start();
    wait_until("two requests hang", || api.request_count() == 12);
    run.signal("TERM");
    let (took, ended) = timed(|| run.wait());
    ended.exits(143);
    assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&took), "{took:?}");
    assert_eq!(dir.counts(), "rows 20, planned 20, not_found 10, pending 10");
}

#[test]
fn a_second_signal_stops_at_once() {
    let api = Api::with_rule(|_| Some(Reply::error(500, "").deliver(Delivery::Never)));
    let dir = TestDir::new();
    dir.emails(emails(5));
    let run = dir.sync(api.url()).args(["--fixed-concurrency"]).start();
    wait_until("requests hang", || api.request_count() == 5);
    run.signal("INT");
    wait_until("the signal is heard", || run.stderr().contains("SIGINT"));
    run.signal("INT");
    let (took, ended) = timed(|| run.wait());
    ended.exits(130);
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(dir.counts(), "rows 5, planned 5, pending 5");
    dir.command(["runs"]).run().exits(0).stdout_has("stopped");
}

#[test]
fn a_run_that_was_suspended_continues_when_it_may() {
    let sandbox = start_sandbox(Duration::from_millis(100));
    let dir = TestDir::new();
    dir.emails(emails(200));
    let mut run = dir.sync(sandbox.url()).args(["--outage-wait", "2s", "--rate", "100/s"]).start();
    wait_until("the run writes", || dir.number(SETTLED) > 0);
    run.signal("STOP");
    while_within(Duration::from_secs(5), || run.is_running());
    run.signal("CONT");
    run.wait().exits(0);
    assert_eq!(dir.report()["counts"]["pending"], 0);
    assert_eq!(dir.report()["outages"]["count"], 0);
}

#[test]
fn a_signal_while_planning_leaves_nothing() {
    let (dir, api) = (TestDir::new(), Api::new());
    let mut run = dir.sync_of(api.url(), ["-"]).stdin_open().start();
    let mut stdin = run.process.stdin.take().expect("standard input");
    stdin.write_all(b"email\na@x.io\nb@x.io\n").unwrap();
    wait_until("the store is there", || dir.number("SELECT count(*) FROM _store") == 1);
    run.signal("TERM");
    let (took, ended) = timed(|| run.wait());
    ended.exits(143).stderr_has("stopped while it planned").stderr_has("Nothing was changed");
    assert!(took < Duration::from_secs(8), "{took:?}");
    dir.has_rows("SELECT count(*) FROM runs", ["0"]);
    dir.has_rows("SELECT count(*) FROM lookups", ["0"]);
}

#[test]
fn a_deadline_ends_the_lookups() {
    let sandbox = start_sandbox(Duration::from_millis(100));
    let dir = TestDir::new();
    dir.emails(emails(300));
    let patient = ["--deadline", "1s", "--concurrency", "4"];
    let (took, ended) = timed(|| dir.sync(sandbox.url()).args(patient).run());
    ended.exits(4).stdout_has("--deadline 1s reached");
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&took), "{took:?}");
    let settled = dir.number(SETTLED);
    assert!((1..=44).contains(&settled), "{settled} settled");
    assert_eq!(settled.unsigned_abs(), sandbox.requests());
    dir.sync_of(sandbox.url(), ["--resume"]).run().exits(0);
    assert_eq!(sandbox.requests(), 300);
}

#[test]
fn a_deadline_ends_every_wait() {
    let busy = || Reply::error(429, "Slow down").header("retry-after", "100");
    let api = Api::with_rule(move |_| Some(busy()));
    let dir = TestDir::new();
    dir.emails(emails(3));
    let (took, ended) = timed(|| dir.sync(api.url()).args(["--deadline", "1s"]).run());
    ended.exits(4);
    // Without the grace of 5 s that a source which keeps silent gets.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(dir.counts(), "rows 3, planned 3, pending 3");
}

#[test]
fn a_deadline_ends_the_reading_of_a_source_that_never_ends() {
    let (dir, api) = (TestDir::new(), Api::new());
    let mut run = dir.sync_of(api.url(), ["-", "--deadline", "500ms"]).stdin_open().start();
    let mut stdin = run.process.stdin.take().expect("standard input");
    stdin.write_all(b"email\na@x.io\n").unwrap();
    let (took, ended) = timed(|| run.wait());
    ended.exits(4).stderr_has("stopped while it planned: --deadline 500ms reached");
    assert!(took < Duration::from_secs(8), "{took:?}");
    dir.has_rows("SELECT count(*) FROM runs", ["0"]);
    assert_eq!(api.request_count(), 0);
}

#[test]
fn a_deadline_ends_the_reading_of_an_endless_source() {
    let (dir, api) = (TestDir::new(), Api::new());
    let mut run = dir.sync_of(api.url(), ["-", "--deadline", "500ms"]).stdin_open().start();
    let mut stdin = run.process.stdin.take().expect("standard input");
    let endless = std::thread::spawn(move || {
        let page: String = emails(1000).iter().map(|email| format!("{email}\n")).collect();
        while stdin.write_all(page.as_bytes()).is_ok() {}
    });
    let (took, ended) = timed(|| run.wait());
    ended.exits(4);
    assert!(took < Duration::from_secs(3), "{took:?}");
    endless.join().unwrap();
    assert!(!dir.path("s.db").exists(), "a store that was made for nothing");
}

#[test]
fn a_hangup_is_ignored_as_under_nohup() {
    let sandbox = start_sandbox(Duration::from_millis(5));
    let dir = TestDir::new();
    dir.emails(emails(300));
    let run = dir.sync(sandbox.url()).args(["--rate", "300/s"]).after("trap '' HUP").start();
    wait_until("the run writes", || dir.number(SETTLED) > 0);
    run.signal("HUP");
    run.wait().exits(0);
}
