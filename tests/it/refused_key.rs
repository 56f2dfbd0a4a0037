//! A key that the API refuses: 401 and 403.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails};
use crate::support::dir::TestDir;

fn refused() -> Reply {
    Reply::error(401, "Invalid or missing API key")
}

#[test]
fn a_refused_key_stops_the_run_at_once_and_nothing_is_failed() {
    for status in [401, 403] {
        let api = Api::with_rule(move |_| Some(Reply::error(status, "Invalid API key")));
        let dir = TestDir::new();
        dir.emails(emails(100));
        let ended = dir.sync(api.url()).args(["--concurrency", "8"]).run().exits(5);
        ended.stdout_has("the API refused the key").stdout_has("--resume=1");
        assert!(api.request_count() <= 9, "{} requests", api.request_count());
        assert_eq!(dir.counts(), "rows 100, planned 100, pending 100");
        let good = Api::new();
        dir.sync_of(good.url(), ["--resume", "--accept-missing"]).run().exits(0);
        assert_eq!(good.request_count(), 100);
    }
}

#[test]
fn a_key_that_is_revoked_midway_keeps_what_was_answered() {
    let api = Api::with_rule(|request| (request.number > 30).then(refused));
    let dir = TestDir::new();
    let all = emails(100);
    api.has_all(&all);
    dir.emails(&all);
    dir.sync(api.url()).args(["--concurrency", "4"]).run().exits(5);
    assert!(api.request_count() <= 35, "{} requests", api.request_count());
    assert_eq!(dir.counts(), "rows 100, planned 100, found 30, pending 70");
    dir.has_rows("SELECT count(*) FROM lookups WHERE outcome = 'failed'", ["0"]);
    dir.has_rows("SELECT count(*) FROM customers", ["30"]);
}

#[test]
fn a_single_refused_email_is_failed_and_the_run_continues() {
    let api = Api::with_rule(|request| (request.email == Some("p0007@x.io")).then(refused));
    let dir = TestDir::new();
    dir.emails(emails(50));
    dir.sync(api.url()).args(["--accept-missing"]).run().exits(3);
    assert_eq!(dir.counts(), "rows 50, planned 50, not_found 49, failed 1");
    dir.has_rows(
        "SELECT email, outcome, status, attempts FROM lookups WHERE outcome <> 'not_found'",
        ["p0007@x.io|failed|401|1"],
    );
    dir.has_rows("SELECT code FROM rejects", ["key_refused"]);
}

#[test]
fn if_the_only_email_is_refused_the_key_is_refused() {
    let api = Api::with_rule(|_| Some(refused()));
    let dir = TestDir::new();
    dir.emails(["a@x.io"]);
    dir.sync(api.url()).run().exits(5);
    assert_eq!(dir.counts(), "rows 1, planned 1, pending 1");
}

#[test]
fn a_key_changed_in_its_file_continues_without_a_stop() {
    let revoked = Arc::new(AtomicBool::new(false));
    let dir = TestDir::new();
    let (is_revoked, file) = (Arc::clone(&revoked), dir.path("key"));
    let api = Api::with_rule(move |request| {
        if request.number == 10 {
            std::fs::write(&file, "new-key\n").unwrap();
            is_revoked.store(true, Ordering::Relaxed);
        }
        let key = if is_revoked.load(Ordering::Relaxed) { "new-key" } else { "old-key" };
        (request.key != Some(key)).then(refused)
    });
    dir.write("key", "old-key\n");
    dir.emails(emails(40));
    let sync = dir.sync(api.url()).without_key().args(["--api-key-file", "key"]);
    sync.args(["--concurrency", "4", "--accept-missing"]).run().exits(0);
    assert!(revoked.load(Ordering::Relaxed));
    assert_eq!(dir.counts(), "rows 40, planned 40, not_found 40");
}
