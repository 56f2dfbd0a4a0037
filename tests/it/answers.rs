//! What each kind of answer, and each kind of silence, comes to.

use std::sync::OnceLock;
use std::time::Duration;

use telemetron_sync::sandbox::{Delivery, Reply, Request};

use crate::support::api::{Api, customer, emails};
use crate::support::clock::timed;
use crate::support::dir::TestDir;

const LOOKUPS: &str = "SELECT email, outcome, status, attempts FROM lookups ORDER BY email";

/// Answers `bad@x.io` with `reply`, and finds `good@x.io`.
fn answering(reply: impl Fn(&Request<'_>) -> Reply + Send + Sync + 'static) -> (TestDir, Api) {
    let api =
        Api::with_rule(move |request| (request.email == Some("bad@x.io")).then(|| reply(request)));
    api.has_all(["good@x.io"]);
    let dir = TestDir::new();
    dir.emails(["bad@x.io", "good@x.io"]);
    (dir, api)
}

#[test]
fn a_rejected_email_is_listed_with_the_reason_of_the_api() {
    let (dir, api) = answering(|_| Reply::error(400, "Email is required"));
    dir.sync(api.url()).run().exits(3).stdout_has("Run 1: partial").stdout_has("--retry-failed");
    dir.has_rows(LOOKUPS, ["bad@x.io|rejected|400|1", "good@x.io|found|200|1"]);
    dir.has_rows("SELECT * FROM rejects", ["1|2|bad@x.io|rejected|Email is required|400|1"]);
    assert_eq!(dir.counts(), "rows 2, planned 2, found 1, rejected 1");
}

#[test]
fn a_transient_failure_is_retried_until_it_is_over() {
    for (status, body) in
        [(500, "{}"), (502, "<html>"), (503, ""), (408, ""), (425, ""), (404, "x"), (200, "{")]
    {
        let (dir, api) = answering(move |request| match request.attempt {
            1 | 2 => Reply::json(status, body),
            _ => Reply::json(200, customer("c1", "bad@x.io").to_string()),
        });
        dir.sync(api.url()).run().exits(0);
        dir.has_rows(LOOKUPS, ["bad@x.io|found|200|3", "good@x.io|found|200|1"]);
        assert_eq!(dir.report()["http"]["retries"], 2, "{status}");
    }
}

#[test]
fn a_broken_connection_is_retried() {
    for delivery in [Delivery::Reset, Delivery::ResetMidway, Delivery::Truncated] {
        let (dir, api) = answering(move |request| {
            let reply = Reply::json(200, customer("c1", "bad@x.io").to_string());
            if request.attempt == 1 { reply.deliver(delivery) } else { reply }
        });
        dir.sync(api.url()).run().exits(0);
        dir.has_rows("SELECT count(*) FROM customers", ["2"]);
    }
}

#[test]
fn an_email_out_of_attempts_is_failed_and_keeps_its_data() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(["bad@x.io", "good@x.io"]);
    dir.emails(["bad@x.io", "good@x.io"]);
    dir.sync(api.url()).run().exits(0);
    let before = dir.rows("SELECT * FROM customers WHERE id = 'cust_bad@x.io'");
    let (_, api) = answering(|_| Reply::error(500, "Oops"));
    dir.sync(api.url())
        .args(["--max-attempts", "2"])
        .run()
        .exits(3)
        .stdout_has("1 email failed: server error");
    assert_eq!(api.requested_emails().iter().filter(|email| *email == "bad@x.io").count(), 2);
    assert_eq!(dir.rows("SELECT * FROM customers WHERE id = 'cust_bad@x.io'"), before);
    dir.has_rows(
        "SELECT outcome, status, attempts, customer_id, answered_at < looked_up_at
         FROM lookups WHERE email = 'bad@x.io'",
        ["failed|500|2|cust_bad@x.io|1"],
    );
    dir.has_rows("SELECT code, status, attempts FROM rejects", ["server_error|500|2"]);
}

#[test]
fn a_permanent_failure_is_not_retried() {
    for (status, body, code) in [
        (200, r#"{"name":"no id"}"#, "broken_customer"),
        (200, r#"{"id":""}"#, "broken_customer"),
        (200, r#"{"id":7}"#, "broken_customer"),
        (200, r#"{"id":"c1","devices":"d1"}"#, "broken_customer"),
        (200, r#"{"id":"c1","devices":[1]}"#, "broken_customer"),
        (200, r#"{"id":"c1","metadata":[]}"#, "broken_customer"),
        (204, "", "unexpected_status"),
        (410, "{}", "unexpected_status"),
        (501, "{}", "unexpected_status"),
    ] {
        let (dir, api) = answering(move |_| Reply::json(status, body));
        dir.sync(api.url()).run().exits(3);
        assert_eq!(api.request_count(), 2, "{status} {body}");
        dir.has_rows("SELECT code, status FROM rejects", [&*format!("{code}|{status}")]);
        dir.has_rows("SELECT id FROM customers", ["cust_good@x.io"]);
    }
}

#[test]
fn a_body_over_the_limit_is_failed() {
    let (dir, api) = answering(|_| {
        let huge = format!(r#"{{"id":"c1","name":"{}"}}"#, "x".repeat(8 * 1024 * 1024));
        Reply::json(200, huge)
    });
    dir.sync(api.url()).run().exits(3).stdout_has("1 email failed: body too large");
    assert_eq!(api.request_count(), 2);
    dir.has_rows("SELECT id FROM customers", ["cust_good@x.io"]);
}

#[test]
fn a_body_just_under_the_limit_is_taken() {
    let (dir, api) = answering(|_| {
        let big = format!(r#"{{"id":"c1","name":"{}"}}"#, "x".repeat(8 * 1024 * 1024 - 100));
        Reply::json(200, big)
    });
    dir.sync(api.url()).run().exits(0);
    dir.has_rows("SELECT length(name) FROM customers WHERE id = 'c1'", ["8388508"]);
}

#[test]
fn a_server_that_never_answers_costs_the_time_allowed() {
    let (dir, api) = answering(|_| Reply::error(500, "never").deliver(Delivery::Never));
    let sync = dir.sync(api.url()).args(["--timeout", "300ms", "--max-attempts", "2"]);
    let (took, ended) = timed(|| sync.run());
    ended.exits(3).stdout_has("1 email failed: timeout");
    dir.has_rows(LOOKUPS, ["bad@x.io|failed|NULL|2", "good@x.io|found|200|1"]);
    assert!(took >= Duration::from_millis(600) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(dir.report()["http"]["statuses"]["none"], 2);
}

#[test]
fn a_body_that_drips_is_under_the_same_timeout() {
    let (dir, api) = answering(|_| {
        let drip = Delivery::Slowly { pieces: 50, pause: Duration::from_millis(100) };
        Reply::json(200, customer("c1", "bad@x.io").to_string()).deliver(drip)
    });
    let sync = dir.sync(api.url()).args(["--timeout", "300ms", "--max-attempts", "1"]);
    let (took, ended) = timed(|| sync.run());
    ended.exits(3).stdout_has("1 email failed: timeout");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_closed_port_ends_the_run_with_its_cause_and_fails_no_email() {
    let dir = TestDir::new();
    dir.emails(["a@x.io"]);
    let port = crate::support::server::free_port();
    let url = format!("http://127.0.0.1:{port}");
    let ended = dir.sync(url).args(["--max-attempts", "1", "--outage-wait", "2s"]).run().exits(6);
    ended
        .stdout_has("the API was unreachable for 2s")
        .stdout_has("Connection refused (os error 111)")
        .stderr_has("the API is unreachable");
    assert_eq!(dir.counts(), "rows 1, planned 1, pending 1");
}

#[test]
fn too_many_failures_stop_the_run_and_reset_transient_ones_to_pending() {
    let api = Api::with_rule(|request| {
        let n: u32 = request.email?.get(1..5)?.parse().ok()?;
        match n % 10 {
            0..6 => Some(Reply::error(500, "Oops")),
            6 => Some(Reply::error(400, "No")),
            _ => None,
        }
    });
    let dir = TestDir::new();
    dir.emails(emails(1000));
    let ended =
        dir.sync(api.url()).args(["--max-attempts", "1", "--accept-missing"]).run().exits(6);
    ended.stdout_has("emails failed or were rejected");
    let counts = &dir.report()["counts"];
    let count = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!(count("failed"), 0);
    assert!(count("rejected") > 0 && count("not_found") > 0, "{counts}");
    dir.has_rows("SELECT DISTINCT code FROM rejects", ["rejected"]);
    let api = Api::new();
    dir.sync_of(api.url(), ["--resume", "--accept-missing"]).run().exits(3);
    assert_eq!(api.request_count(), count("pending"));
}

#[test]
fn an_outage_that_does_not_end_stops_the_run_and_fails_no_email() {
    let api = Api::with_rule(|request| (request.number > 20).then(|| Reply::error(500, "Oops")));
    let dir = TestDir::new();
    dir.emails(emails(400));
    let sync = dir.sync(api.url()).args([
        "--max-attempts",
        "2",
        "--outage-wait",
        "2s",
        "--accept-missing",
    ]);
    let (took, ended) = timed(|| sync.run());
    ended.exits(6).stdout_has("Run 1: stopped");
    assert!((Duration::from_secs(2)..Duration::from_secs(20)).contains(&took), "{took:?}");
    assert_eq!(dir.counts(), "rows 400, planned 400, not_found 20, pending 380");
    assert!(api.request_count() < 300, "{} requests", api.request_count());
    let api = Api::new();
    dir.sync_of(api.url(), ["--resume", "--accept-missing"]).run().exits(0);
    assert_eq!(api.request_count(), 380);
}

#[test]
fn an_outage_that_ends_costs_no_email_its_answer() {
    let begun = OnceLock::new();
    let api = Api::with_rule(move |request| {
        let begun = *begun.get_or_init(|| request.at);
        let down = request.number > 40 && request.at < begun + Duration::from_millis(1500);
        down.then(|| Reply::error(503, "Down"))
    });
    let dir = TestDir::new();
    dir.emails(emails(300));
    dir.sync(api.url()).args(["--max-attempts", "3", "--accept-missing"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 300, planned 300, not_found 300");
}

#[test]
fn failures_below_the_limit_do_not_stop_the_run() {
    let api = Api::with_rule(|request| {
        request.email?.ends_with("0@x.io").then(|| Reply::error(400, "No"))
    });
    let dir = TestDir::new();
    dir.emails(emails(200));
    dir.sync(api.url()).args(["--fail-above", "15%", "--accept-missing"]).run().exits(3);
    assert_eq!(dir.counts(), "rows 200, planned 200, not_found 180, rejected 20");
    dir.sync(api.url()).args(["--fail-above", "5%", "--accept-missing"]).run().exits(6);
}
