//! A run continues as it was started: with its settings, and whatever ended its processes.

use std::time::Duration;

use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails, start_sandbox};
use crate::support::clock::{timed, wait_until};
use crate::support::dir::TestDir;

#[test]
fn a_resume_keeps_the_settings_unless_they_are_given_again() {
    let api = Api::new();
    api.has_all(emails(60));
    let dir = TestDir::new();
    dir.emails(emails(60));
    let started = ["--rate", "20/s", "--report", "r.json", "--rejects", "r.csv", "--limit", "5"];
    dir.sync(api.url()).args(started).run().exits(4);
    for file in ["r.json", "r.csv"] {
        std::fs::remove_file(dir.path(file)).unwrap();
    }
    // Neither the URL nor the rate is named again: 40 requests at 20/s take 2 s.
    let resume = || dir.command(["sync", "--resume", "--limit", "40"]);
    let (took, ended) = timed(|| resume().run());
    ended.exits(4);
    assert!(took >= Duration::from_millis(1900), "{took:?}");
    assert!(dir.read("r.json").contains("\"pending\": 15"));
    assert!(dir.path("r.csv").exists());
    let (took, ended) = timed(|| resume().args(["--rate", "1000/s"]).run());
    ended.exits(0);
    assert!(took < Duration::from_millis(1900), "{took:?}");
    assert_eq!(api.request_count(), 60);
}

#[test]
fn the_same_command_line_continues_the_run_of_its_source_or_begins_one() {
    let api = Api::new();
    api.has_all(emails(10));
    let dir = TestDir::new();
    dir.emails(emails(10));
    dir.write("other.csv", "email\no@x.io\n");
    let again = |limit| dir.sync(api.url()).args(["--resume", "--limit", limit]).run();
    again("4").exits(4).stdout_has("Run 1: ");
    dir.sync_of(api.url(), ["other.csv", "--limit", "0"]).run().exits(4);
    again("4").exits(4).stdout_has("Run 1: ");
    again("4").exits(0).stdout_has("Run 1: complete");
    again("4").exits(4).stdout_has("Run 3: ");
    assert_eq!(api.request_count(), 14);
    // The plan of the other source is as it was.
    dir.sync_of(api.url(), ["--resume=2"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 10, planned 10, found 4, pending 6");
}

#[test]
fn a_killed_run_is_stopped_without_an_exit_code_and_continues() {
    let sandbox = start_sandbox(Duration::from_millis(5));
    let dir = TestDir::new();
    dir.emails(emails(1000));
    let run = dir.sync(sandbox.url()).args(["--rate", "400/s"]).start();
    wait_until("the run writes", || dir.number("SELECT planned - pending FROM runs") > 0);
    assert!(run.kill());
    let json = dir.command(["report", "--format", "json"]).run().exits(0);
    let json = json.stdout_has("\"status\": \"stopped\"").stdout_has("\"exit_code\": null");
    json.never_shows("\"progress\"");
    dir.sync(sandbox.url()).args(["--resume", "--rate", "2000/s"]).run().exits(0);
    assert_eq!(dir.report()["run_id"], 1);
    assert_eq!(dir.report()["counts"]["pending"], 0);
}

#[test]
fn report_files_are_written_however_a_run_ends_but_not_by_one_that_is_locked_out() {
    let api = Api::with_rule(|_| Some(Reply::error(404, "No").after(Duration::from_millis(50))));
    let dir = TestDir::new();
    dir.emails(emails(200));
    let report = ["--report", "r.json"];
    dir.sync_of(api.url(), ["no.csv"]).args(report).run().exits(1);
    let written = dir.read("r.json");
    for part in ["\"run_id\": null", "\"status\": \"failed\"", "\"exit_code\": 1", "does not exist"]
    {
        assert!(written.contains(part), "no {part} in {written}");
    }
    dir.sync(api.url()).without_key().args(report).run().exits(1);
    assert!(dir.read("r.json").contains("There is no API key"));
    let slow = ["--concurrency", "1", "--fixed-concurrency", "--accept-missing"];
    let run = dir.sync(api.url()).args(slow).start();
    wait_until("the run writes", || dir.number("SELECT planned - pending FROM runs") > 0);
    dir.write("r.json", "another run's");
    dir.sync(api.url()).args(report).run().exits(75);
    assert_eq!(dir.read("r.json"), "another run's");
    // One that waits has its turn when the other has ended.
    let waiting = dir.sync(api.url()).args(["--wait-for-lock", "60s", "--limit", "1"]).start();
    wait_until("it waits", || waiting.stderr().contains("Waiting for another run"));
    run.signal("TERM");
    run.wait().exits(143);
    waiting.wait().exits(4).stdout_has("Run 2: ");
}

#[test]
fn a_deadline_ends_the_wait_for_another_run() {
    let api = Api::with_rule(|_| Some(Reply::error(404, "No").after(Duration::from_millis(50))));
    let dir = TestDir::new();
    dir.emails(emails(200));
    let run = dir.sync(api.url()).args(["--concurrency", "1", "--fixed-concurrency"]).start();
    wait_until("the run writes", || dir.number("SELECT planned - pending FROM runs") > 0);
    let patient = ["--wait-for-lock", "60s", "--deadline", "1s"];
    let (took, ended) = timed(|| dir.sync(api.url()).args(patient).run());
    ended.exits(4).stderr_has("--deadline 1s reached");
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(run);
}
