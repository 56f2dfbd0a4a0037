//! Emails that always fail or are always refused, over several runs: every other email gets its
//! answer, and the counts cover all processes of a run.

use telemetron_sync::sandbox::{Reply, Request};

use crate::support::api::{Api, emails};
use crate::support::dir::TestDir;

/// Answers like any API, but `status` to every email that begins with `bad`.
fn failing(status: u16) -> Api {
    let is_bad =
        |request: &Request<'_>| request.email.is_some_and(|email| email.starts_with("bad"));
    Api::with_rule(move |request| is_bad(request).then(|| Reply::error(status, "No")))
}

fn bad(count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(|n| format!("bad{n:02}@x.io"))
}

#[test]
fn hourly_runs_answer_a_thousand_good_emails_beside_many_that_always_fail() {
    let (dir, api) = (TestDir::new(), failing(500));
    api.has_all(emails(1000));
    dir.emails(emails(1000).into_iter().chain(bad(35)));
    for run in 1..=3 {
        let sync = dir.sync(api.url()).args(["--max-attempts", "2"]).run().exits(3);
        sync.stdout_has("35 emails failed: server error (last: HTTP 500: server error (No))");
        let expected = "rows 1035, planned 1035, found 1000, failed 35";
        assert_eq!(dir.counts(), expected, "run {run}");
        assert_eq!(dir.report()["outages"]["count"], 0, "run {run}");
    }
    let retried = api.requested_emails().iter().filter(|email| email.starts_with("bad")).count();
    assert!(retried <= 3 * 35 * 2 + 9, "{retried} requests for them in three runs");
}

#[test]
fn a_firewall_that_refuses_some_emails_costs_no_other_its_answer() {
    let (dir, api) = (TestDir::new(), failing(403));
    api.has_all(emails(100));
    let mut all = emails(100);
    // All over the list, and the last of all.
    for (nth, email) in bad(10).enumerate() {
        all.insert((nth * 11 + 5).min(all.len()), email);
    }
    all.push("bad99@x.io".to_owned());
    dir.emails(&all);
    let refused = || {
        assert_eq!(dir.counts(), "rows 111, planned 111, found 100, failed 11");
        let codes = "SELECT code, status, count(*) FROM rejects GROUP BY 1, 2";
        dir.has_rows(codes, ["key_refused|403|11"]);
    };
    for _ in 0..2 {
        dir.sync(api.url()).run().exits(3).stdout_has("--retry-failed");
        refused();
    }
    dir.sync(api.url()).args(["--limit", "60"]).run().exits(4);
    dir.sync_of(api.url(), ["--resume"]).run().exits(3);
    refused();
    // As the report recommends: only refused emails are left, and the key works for others.
    dir.sync_of(api.url(), ["--retry-failed"]).run().exits(3);
    assert_eq!(dir.counts(), "rows 11, planned 11, failed 11");
    dir.sync_of(Api::new().url(), ["--retry-failed"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 11, planned 11, not_found 11");
}

#[test]
fn a_revoked_key_is_noticed_among_refused_emails() {
    let api = Api::with_rule(|request| {
        let is_bad = request.email?.starts_with("bad") || request.number > 60;
        is_bad.then(|| Reply::error(403, "Forbidden"))
    });
    api.has_all(emails(100));
    let dir = TestDir::new();
    dir.emails(bad(10).chain(emails(100)));
    let ended = dir.sync(api.url()).args(["--concurrency", "4"]).run().exits(5);
    ended.stdout_has("the API refused the key (HTTP 401 or 403)");
    // Those sent while a canary vouched for the key are pending, too.
    let good_ones = "SELECT count(*) FROM lookups WHERE outcome = 'failed' AND email LIKE 'p%'";
    dir.has_rows(good_ones, ["0"]);
    let found = dir.number("SELECT found FROM runs");
    assert!((40..60).contains(&found), "{found}");
    let right = Api::new();
    right.has_all(bad(10).chain(emails(100)));
    dir.sync_of(right.url(), ["--resume"]).run();
    dir.has_rows("SELECT pending, found > 99 FROM runs", ["0|1"]);
}

#[test]
fn the_counts_of_a_run_cover_all_of_its_processes() {
    let (dir, api) = (TestDir::new(), failing(500));
    api.has_all(emails(90));
    let mut all: Vec<String> = Vec::new();
    for (nth, email) in emails(90).into_iter().enumerate() {
        all.extend((nth % 9 == 0).then(|| format!("bad{nth:02}@x.io")));
        all.push(email);
    }
    dir.emails(&all);
    let patience = ["--max-attempts", "2", "--concurrency", "4"];
    dir.sync(api.url()).args(patience).args(["--limit", "40"]).run().exits(4);
    let first = dir.report();
    assert_eq!(dir.counts(), "rows 100, planned 100, found 36, failed 4, pending 60");
    dir.sync_of(api.url(), ["--resume", "--limit", "30"]).run().exits(4);
    dir.sync_of(api.url(), ["--resume"]).run().exits(3);
    let last = dir.report();
    assert_eq!(dir.counts(), "rows 100, planned 100, found 90, failed 10");
    assert_eq!(last["http"]["requests"], api.request_count());
    assert!(last["http"]["statuses"]["200"].as_u64() >= Some(90), "{last}");
    assert_eq!(last["started_at"], first["started_at"]);
    let failures = &last["failures"][0];
    assert_eq!((&failures["code"], &failures["count"]), (&"server_error".into(), &10.into()));
    dir.has_rows("SELECT code, count FROM run_failures", ["server_error|10"]);
    dir.has_rows("SELECT count(*) FROM runs", ["1"]);
}

#[test]
fn the_failure_limit_counts_the_emails_of_earlier_processes() {
    let (dir, api) = (TestDir::new(), failing(400));
    dir.emails(bad(60).chain(emails(200)));
    api.has_all(emails(200));
    // 19 emails are too few to judge a run by. Of the 100 after them, less than half are rejected.
    dir.sync(api.url()).args(["--concurrency", "1", "--limit", "19"]).run().exits(4);
    let ended = dir.sync_of(api.url(), ["--resume"]).run().exits(6);
    ended.stdout_has("60 of 100 emails failed or were rejected");
}
