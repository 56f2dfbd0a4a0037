//! What is looked up, in which order, and how much of it.

use crate::support::api::{Api, emails};
use crate::support::desk::Desk;

/// One at a time, so that requests come in the order of the plan.
const ONE: [&str; 2] = ["--concurrency", "1"];

#[test]
fn emails_are_asked_once_in_the_order_of_the_source() {
    let (desk, api) = (Desk::new(), Api::new());
    desk.emails(["c@x.io", "A@x.io", "c@x.io", " a@X.IO", "b@x.io", "C@x.io\u{a0}"]);
    desk.sync(api.url()).args(ONE).run().exits(0);
    assert_eq!(api.asked(), ["c@x.io", "a@x.io", "b@x.io"]);
    assert_eq!(desk.counts(), "rows 6, duplicate 3, planned 3, not_found 3");
}

#[test]
fn new_emails_and_those_asked_longest_ago_take_turns() {
    let (desk, api) = (Desk::new(), Api::new());
    desk.emails(["old1@x.io", "old2@x.io"]);
    desk.sync(api.url()).args(ONE).run().exits(0);
    desk.emails(["old3@x.io"]);
    desk.sync(api.url()).args(ONE).run().exits(0);
    desk.alter(
        "UPDATE emails SET looked_up_at = '2020-01-0' || (4 - substr(email, 4, 1)) || 'T00:00:00.000Z'",
    );
    api.requests();
    desk.emails(["new1@x.io", "old1@x.io", "new2@x.io", "old2@x.io", "old3@x.io", "new3@x.io"]);
    desk.sync(api.url()).args(ONE).run().exits(0);
    let turns = ["new1@x.io", "old3@x.io", "new2@x.io", "old2@x.io", "new3@x.io", "old1@x.io"];
    assert_eq!(api.asked(), turns);
}

#[test]
fn a_limit_leaves_the_rest_pending_and_a_resumed_run_finishes() {
    let (desk, api) = (Desk::new(), Api::new());
    let all = emails(10);
    api.has_all(&all);
    desk.emails(&all);
    let ended = desk.sync(api.url()).args(ONE).args(["--limit", "4"]).run().exits(4);
    ended.prints("the limit of 4").prints("--resume 1");
    assert_eq!(desk.counts(), "rows 10, planned 10, found 4, pending 6");
    assert_eq!(api.asked(), all[..4]);
    desk.sync_of(api.url(), ["--resume"]).args(ONE).run().exits(0);
    assert_eq!(api.asked(), all[4..]);
    assert_eq!(desk.counts(), "rows 10, planned 10, found 10");
    desk.stored("SELECT id, status, stop_reason FROM runs", ["1|complete|NULL"]);
    desk.sync_of(api.url(), ["--resume"]).run().exits(0).prints("Nothing to resume");
    desk.sync_of(api.url(), ["--resume", "1"]).run().exits(0).prints("Nothing to resume: run 1");
    desk.sync_of(api.url(), ["--resume", "7"]).run().exits(1).says("There is no run 7");
    assert_eq!(api.total(), 10);
}

#[test]
fn a_limit_that_is_enough_ends_as_if_there_were_none() {
    let (desk, api) = (Desk::new(), Api::new());
    desk.emails(emails(3));
    desk.sync(api.url()).args(["--limit", "3"]).run().exits(0);
    desk.sync(api.url()).args(["--limit", "0"]).run().exits(4);
    assert_eq!(desk.counts(), "rows 3, planned 3, pending 3");
}

#[test]
fn fresh_answers_are_not_asked_for_again_but_failures_are() {
    use telemetron_sync::sandbox::Reply;
    let (desk, api) = (
        Desk::new(),
        Api::ruled(|asked| asked.email?.starts_with("bad").then(|| Reply::error(400, "No"))),
    );
    api.has_all(["a@x.io"]);
    desk.emails(["a@x.io", "gone@x.io", "bad@x.io"]);
    desk.sync(api.url()).args(["--max-age", "1h"]).run().exits(3);
    api.requests();
    desk.sync(api.url()).args(["--max-age", "1h"]).run().exits(3);
    assert_eq!(api.asked(), ["bad@x.io"]);
    assert_eq!(desk.counts(), "rows 3, fresh 2, planned 1, rejected 1");
    desk.alter("UPDATE emails SET answered_at = '2020-01-01T00:00:00.000Z' WHERE email = 'a@x.io'");
    desk.alter(
        "UPDATE emails SET answered_at = '2999-01-01T00:00:00.000Z' WHERE email = 'gone@x.io'",
    );
    desk.sync(api.url()).args(["--max-age", "1h"]).run().exits(3);
    assert_eq!(desk.counts(), "rows 3, planned 3, found 1, not_found 1, rejected 1");
}

#[test]
fn failures_alone_are_asked_again_on_demand() {
    use telemetron_sync::sandbox::Reply;
    let (desk, api) = (
        Desk::new(),
        Api::ruled(|asked| asked.email?.starts_with("bad").then(|| Reply::error(400, "No"))),
    );
    desk.emails(["a@x.io", "bad@x.io"]);
    desk.sync(api.url()).run().exits(3);
    let good = Api::new();
    good.has_all(["bad@x.io"]);
    desk.sync_of(good.url(), ["--retry-failed"]).run().exits(0);
    assert_eq!(good.asked(), ["bad@x.io"]);
    assert_eq!(desk.counts(), "rows 1, planned 1, found 1");
    desk.sync_of(good.url(), ["--retry-failed"]).run().exits(0);
    assert_eq!(good.total(), 1);
}

#[test]
fn a_dry_run_asks_nothing_and_makes_no_store() {
    let (desk, api) = (Desk::new(), Api::new());
    desk.write("list.csv", "email\na@x.io\nb@x.io\na@x.io\nno\n");
    let dry = || desk.sync(api.url()).without_key().args(["--dry-run"]);
    dry().run().exits(0).prints("2 to look up").prints("1 duplicate").prints("2 requests");
    dry().args(["--rate", "1/m"]).run().exits(0).prints("2 min 0 s");
    dry().args(["--limit", "1"]).run().exits(0).prints("1 request ");
    let mut left: Vec<_> = std::fs::read_dir(desk.folder()).unwrap().flatten().collect();
    left.retain(|file| file.file_name() != "list.csv");
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(api.total(), 0);
}

#[test]
fn a_dry_run_leaves_a_store_as_it_is() {
    let (desk, api) = (Desk::new(), Api::new());
    desk.emails(["a@x.io", "b@x.io"]);
    desk.sync(api.url()).args(["--limit", "1"]).run().exits(4);
    let before = std::fs::read(desk.path("s.db")).unwrap();
    desk.sync(api.url()).args(["--dry-run", "--max-age", "1h"]).run().exits(0).prints("1 fresh");
    desk.sync_of(api.url(), ["--retry-failed", "--dry-run"]).run().exits(0);
    assert_eq!(std::fs::read(desk.path("s.db")).unwrap(), before);
    assert_eq!(desk.number("SELECT count(*) FROM runs"), 1);
    assert_eq!(desk.counts(), "rows 2, planned 2, not_found 1, pending 1");
    assert_eq!(api.total(), 1);
}

#[test]
fn a_new_plan_replaces_an_unfinished_one_of_the_same_source_alone() {
    let (desk, api) = (Desk::new(), Api::new());
    desk.emails(emails(5));
    desk.write("backfill.csv", "email\nx1@x.io\nx2@x.io\n");
    desk.sync_of(api.url(), ["backfill.csv", "--limit", "1"]).run().exits(4);
    desk.sync(api.url()).args(["--limit", "1"]).run().exits(4);
    desk.sync(api.url()).run().exits(0);
    api.requests();
    desk.sync_of(api.url(), ["--resume", "2"]).run().exits(0).prints("Nothing to resume");
    desk.sync_of(api.url(), ["--resume"]).run().exits(0);
    assert_eq!(api.asked(), ["x2@x.io"]);
}

#[test]
fn the_newest_unfinished_run_is_resumed_unless_another_is_named() {
    let (desk, api) = (Desk::new(), Api::new());
    for (source, email) in [("one.csv", "a@x.io"), ("two.csv", "b@x.io"), ("three.csv", "c@x.io")] {
        desk.write(source, format!("email\n{email}\n"));
        desk.sync_of(api.url(), [source, "--limit", "0"]).run().exits(4);
    }
    desk.sync_of(api.url(), ["--resume", "2"]).run().exits(0);
    desk.sync_of(api.url(), ["--resume"]).run().exits(0);
    desk.sync_of(api.url(), ["--resume"]).run().exits(0);
    assert_eq!(api.asked(), ["b@x.io", "c@x.io", "a@x.io"]);
}
