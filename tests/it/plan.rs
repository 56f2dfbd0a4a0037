//! What is looked up, in which order, and how much of it.

use crate::support::api::{Api, emails};
use crate::support::clock::wait_until;
use crate::support::dir::TestDir;

/// One at a time, so that requests come in the order of the plan.
const ONE: [&str; 2] = ["--concurrency", "1"];

#[test]
fn each_email_is_looked_up_once_in_the_order_of_the_source() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["c@x.io", "A@x.io", "c@x.io", " a@X.IO", "b@x.io", "C@x.io\u{a0}"]);
    dir.sync(api.url()).args(ONE).run().exits(0);
    assert_eq!(api.requested_emails(), ["c@x.io", "a@x.io", "b@x.io"]);
    assert_eq!(dir.counts(), "rows 6, duplicate 3, planned 3, not_found 3");
}

#[test]
fn new_emails_and_the_oldest_lookups_take_turns() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["old1@x.io", "old2@x.io"]);
    dir.sync(api.url()).args(ONE).run().exits(0);
    dir.emails(["old3@x.io"]);
    dir.sync(api.url()).args(ONE).run().exits(0);
    dir.alter(
        "UPDATE _emails SET looked_up_at = '2020-01-0' || (4 - substr(email, 4, 1)) || 'T00:00:00.000Z'",
    );
    api.requests();
    dir.emails(["new1@x.io", "old1@x.io", "new2@x.io", "old2@x.io", "old3@x.io", "new3@x.io"]);
    dir.sync(api.url()).args(ONE).run().exits(0);
    let turns = ["new1@x.io", "old3@x.io", "new2@x.io", "old2@x.io", "new3@x.io", "old1@x.io"];
    assert_eq!(api.requested_emails(), turns);
}

#[test]
fn a_limit_leaves_the_rest_pending_and_a_resumed_run_finishes() {
    let (dir, api) = (TestDir::new(), Api::new());
    let all = emails(10);
    api.has_all(&all);
    dir.emails(&all);
    let ended = dir.sync(api.url()).args(ONE).args(["--limit", "4"]).run().exits(4);
    ended.stdout_has("--limit 4 reached").stdout_has("--resume=1");
    assert_eq!(dir.counts(), "rows 10, planned 10, found 4, pending 6");
    assert_eq!(api.requested_emails(), all[..4]);
    dir.sync_of(api.url(), ["--resume"]).args(ONE).run().exits(0);
    assert_eq!(api.requested_emails(), all[4..]);
    assert_eq!(dir.counts(), "rows 10, planned 10, found 10");
    dir.has_rows("SELECT id, status, stop_reason FROM runs", ["1|complete|NULL"]);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0).stdout_has("Nothing to resume: no run");
    let elsewhere = dir.sync_of(api.url(), ["--resume", "--store", "t.db"]).run().exits(0);
    elsewhere.stdout_has("Nothing to resume: there is no store at ");
    dir.sync_of(api.url(), ["--resume=1"]).run().exits(0).stdout_has("Nothing to resume: run 1");
    dir.sync_of(api.url(), ["--resume=7"]).run().exits(1).stderr_has("There is no run 7");
    assert_eq!(api.request_count(), 10);
}

#[test]
fn a_limit_that_is_enough_ends_as_if_there_were_none() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(emails(3));
    dir.sync(api.url()).args(["--limit", "3"]).run().exits(0);
    dir.sync(api.url()).args(["--limit", "0"]).run().exits(4);
    assert_eq!(dir.counts(), "rows 3, planned 3, pending 3");
}

#[test]
fn fresh_answers_are_skipped_and_failures_are_not() {
    use telemetron_sync::sandbox::Reply;
    let (dir, api) = (
        TestDir::new(),
        Api::with_rule(|request| {
            request.email?.starts_with("bad").then(|| Reply::error(400, "No"))
        }),
    );
    api.has_all(["a@x.io"]);
    dir.emails(["a@x.io", "gone@x.io", "bad@x.io"]);
    dir.sync(api.url()).args(["--max-age", "1h"]).run().exits(3);
    api.requests();
    dir.sync(api.url()).args(["--max-age", "1h"]).run().exits(3);
    assert_eq!(api.requested_emails(), ["bad@x.io"]);
    assert_eq!(dir.counts(), "rows 3, fresh 2, planned 1, rejected 1");
    dir.alter("UPDATE _emails SET answered_at = '2020-01-01T00:00:00.000Z' WHERE email = 'a@x.io'");
    dir.alter(
        "UPDATE _emails SET answered_at = '2999-01-01T00:00:00.000Z' WHERE email = 'gone@x.io'",
    );
    dir.sync(api.url()).args(["--max-age", "1h"]).run().exits(3);
    assert_eq!(dir.counts(), "rows 3, planned 3, found 1, not_found 1, rejected 1");
}

#[test]
fn retry_failed_looks_up_only_failures() {
    use telemetron_sync::sandbox::Reply;
    let (dir, api) = (
        TestDir::new(),
        Api::with_rule(|request| {
            request.email?.starts_with("bad").then(|| Reply::error(400, "No"))
        }),
    );
    dir.emails(["a@x.io", "bad@x.io"]);
    dir.sync(api.url()).run().exits(3);
    let good = Api::new();
    good.has_all(["bad@x.io"]);
    dir.sync_of(good.url(), ["--retry-failed"]).run().exits(0);
    assert_eq!(good.requested_emails(), ["bad@x.io"]);
    assert_eq!(dir.counts(), "rows 1, planned 1, found 1");
    dir.sync_of(good.url(), ["--retry-failed"]).run().exits(0);
    assert_eq!(good.request_count(), 1);
}

#[test]
fn a_new_plan_replaces_only_an_unfinished_one_of_the_same_source() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(emails(5));
    dir.write("backfill.csv", "email\nx1@x.io\nx2@x.io\n");
    dir.sync_of(api.url(), ["backfill.csv", "--limit", "1"]).run().exits(4);
    dir.sync(api.url()).args(["--limit", "1"]).run().exits(4);
    dir.sync(api.url()).run().exits(0);
    api.requests();
    dir.sync_of(api.url(), ["--resume=2"]).run().exits(0).stdout_has("Nothing to resume");
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    assert_eq!(api.requested_emails(), ["x2@x.io"]);
}

#[test]
fn the_newest_unfinished_run_is_resumed_unless_another_is_named() {
    let (dir, api) = (TestDir::new(), Api::new());
    for (source, email) in [("one.csv", "a@x.io"), ("two.csv", "b@x.io"), ("three.csv", "c@x.io")] {
        dir.write(source, format!("email\n{email}\n"));
        dir.sync_of(api.url(), [source, "--limit", "0"]).run().exits(4);
    }
    dir.sync_of(api.url(), ["--resume=2"]).run().exits(0);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    assert_eq!(api.requested_emails(), ["b@x.io", "c@x.io", "a@x.io"]);
}

#[test]
fn a_large_plan_after_a_tiny_one_does_not_use_the_statistics_of_the_tiny_one() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(emails(1));
    dir.emails(emails(1));
    dir.sync(api.url()).run().exits(0);
    dir.emails(emails(5000));
    let run = dir.sync(api.url()).args(["--rate", "10/s"]).start();
    let answered = "SELECT coalesce(max(planned - pending), 0) FROM runs WHERE id = 2";
    wait_until("the run writes", || dir.number(answered) > 0);
    let rows = "SELECT max(CAST(stat AS INTEGER)) > 1000 FROM sqlite_stat1 WHERE tbl = '_emails'";
    dir.has_rows(rows, ["1"]);
    assert!(run.kill());
}
