//! A key that the API refuses: 401 and 403.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails};
use crate::support::desk::Desk;

fn refused() -> Reply {
    Reply::error(401, "Invalid or missing API key")
}

#[test]
fn a_refused_key_stops_the_run_at_once_and_nothing_is_failed() {
    for status in [401, 403] {
        let api = Api::ruled(move |_| Some(Reply::error(status, "Invalid API key")));
        let desk = Desk::new();
        desk.emails(emails(100));
        let ended = desk.sync(api.url()).args(["--concurrency", "8"]).run().exits(5);
        ended.prints("the API refuses the key").prints("--resume 1");
        assert!(api.total() <= 9, "{} requests", api.total());
        assert_eq!(desk.counts(), "rows 100, planned 100, pending 100");
        let good = Api::new();
        desk.sync_of(good.url(), ["--resume"]).run().exits(0);
        assert_eq!(good.total(), 100);
    }
}

#[test]
fn a_key_that_is_revoked_midway_keeps_what_was_answered() {
    let api = Api::ruled(|asked| (asked.number > 30).then(refused));
    let desk = Desk::new();
    let all = emails(100);
    api.has_all(&all);
    desk.emails(&all);
    desk.sync(api.url()).args(["--concurrency", "4"]).run().exits(5);
    assert!(api.total() <= 35, "{} requests", api.total());
    assert_eq!(desk.counts(), "rows 100, planned 100, found 30, pending 70");
    desk.stored("SELECT count(*) FROM lookups WHERE outcome = 'failed'", ["0"]);
    desk.stored("SELECT count(*) FROM customers", ["30"]);
}

#[test]
fn a_refused_email_alone_is_failed_and_the_run_goes_on() {
    let api = Api::ruled(|asked| (asked.email == Some("p0007@x.io")).then(refused));
    let desk = Desk::new();
    desk.emails(emails(50));
    desk.sync(api.url()).run().exits(3);
    assert_eq!(desk.counts(), "rows 50, planned 50, not_found 49, failed 1");
    desk.stored(
        "SELECT email, outcome, status, attempts FROM lookups WHERE outcome <> 'not_found'",
        ["p0007@x.io|failed|401|1"],
    );
    desk.stored("SELECT code FROM rejects", ["key_refused"]);
}

#[test]
fn the_only_email_that_is_refused_is_as_good_as_a_refused_key() {
    let api = Api::ruled(|_| Some(refused()));
    let desk = Desk::new();
    desk.emails(["a@x.io"]);
    desk.sync(api.url()).run().exits(5);
    assert_eq!(desk.counts(), "rows 1, planned 1, pending 1");
}

#[test]
fn a_key_changed_in_its_file_goes_on_without_a_stop() {
    let revoked = Arc::new(AtomicBool::new(false));
    let desk = Desk::new();
    let (is_revoked, file) = (Arc::clone(&revoked), desk.path("key"));
    let api = Api::ruled(move |asked| {
        if asked.number == 10 {
            std::fs::write(&file, "new-key\n").unwrap();
            is_revoked.store(true, Ordering::Relaxed);
        }
        let key = if is_revoked.load(Ordering::Relaxed) { "new-key" } else { "old-key" };
        (asked.key != Some(key)).then(refused)
    });
    desk.write("key", "old-key\n");
    desk.emails(emails(40));
    let sync = desk.sync(api.url()).without_key().args(["--api-key-file", "key"]);
    sync.args(["--concurrency", "4"]).run().exits(0);
    assert!(revoked.load(Ordering::Relaxed));
    assert_eq!(desk.counts(), "rows 40, planned 40, not_found 40");
}
