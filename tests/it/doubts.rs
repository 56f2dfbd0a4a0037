//! What a run saw before it died or was stopped is judged as at any end.

use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, customer, emails, with};
use crate::support::clock::wait_until;
use crate::support::command::Running;
use crate::support::dir::TestDir;

const SETTLED: &str = "SELECT planned - pending FROM runs ORDER BY id DESC LIMIT 1";

const MISSING: &str = "SELECT id FROM customers WHERE missing_since IS NOT NULL ORDER BY id";

fn serving(count: usize) -> (TestDir, Api) {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(emails(count));
    dir.emails(emails(count));
    dir.sync(api.url()).run().exits(0);
    (dir, api)
}

/// Kills the `nth` run once it has written something.
fn kill_midway(dir: &TestDir, mut run: Running<'_>, nth: i64) {
    wait_until("the run has written", || {
        let begun = dir.number("SELECT count(*) FROM runs") == nth;
        !run.is_running() || (begun && dir.number(SETTLED) >= 3)
    });
    assert!(run.kill(), "it was killed midway");
}

#[test]
fn a_killed_run_with_a_wrong_key_does_no_harm() {
    let (dir, api) = serving(60);
    let before = dir.content();
    let nobody = Api::new();
    let wrong = dir.sync(nobody.url()).args(["--rate", "15/s"]).start();
    kill_midway(&dir, wrong, 2);
    dir.sync(api.url()).run().exits(0);
    assert_eq!(dir.content(), before);
    assert_eq!(dir.changes(), "");
}

#[test]
fn customers_lost_by_a_limited_run_are_missing_at_its_end() {
    let (dir, api) = serving(10);
    api.remove_email("p0001@x.io");
    dir.sync(api.url()).args(["--limit", "5", "--concurrency", "1"]).run().exits(4);
    dir.has_rows(MISSING, ["cust_p0001@x.io"]);
    assert_eq!(dir.changes(), "device_unassigned 1, order_removed 1, missing 1");
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    assert_eq!(dir.changes(), "device_unassigned 1, order_removed 1, missing 1");
}

#[test]
fn a_customer_lost_by_a_run_that_died_is_missing_whatever_runs_come_between() {
    let (dir, api) = serving(60);
    api.remove_email("p0001@x.io");
    let run = dir.sync(api.url()).args(["--rate", "15/s", "--concurrency", "1"]).start();
    kill_midway(&dir, run, 2);
    dir.has_rows("SELECT outcome FROM lookups WHERE email = 'p0001@x.io'", ["not_found"]);
    // Another source holds the same email.
    dir.write("other.csv", "email\np0001@x.io\n");
    dir.sync_of(api.url(), ["other.csv"]).run().exits(0);
    dir.sync_of(api.url(), ["--resume=2"]).run().exits(0);
    dir.has_rows(MISSING, ["cust_p0001@x.io"]);
    dir.has_rows("SELECT count(*) FROM changes WHERE kind = 'missing'", ["1"]);
}

#[test]
fn a_lost_customer_is_missing_even_if_another_run_is_resumed_in_between() {
    let (dir, api) = serving(60);
    dir.write("other.csv", "email\np0002@x.io\np0001@x.io\n");
    dir.alter(
        "UPDATE _emails SET looked_up_at = '2020-01-01T00:00:00.000Z' WHERE email = 'p0002@x.io'",
    );
    dir.sync_of(api.url(), ["other.csv", "--limit", "1"]).run().exits(4);
    api.remove_email("p0001@x.io");
    let run = dir.sync(api.url()).args(["--rate", "15/s", "--concurrency", "1"]).start();
    kill_midway(&dir, run, 3);
    dir.sync_of(api.url(), ["--resume=2", "--accept-missing"]).run().exits(0);
    dir.sync_of(api.url(), ["--resume=3"]).run().exits(0);
    dir.has_rows(MISSING, ["cust_p0001@x.io"]);
    dir.has_rows("SELECT count(*) FROM changes WHERE kind = 'missing'", ["1"]);
}

#[test]
fn a_customer_whose_only_email_moved_on_is_missing() {
    let (dir, api) = serving(4);
    api.has("p0001@x.io", customer("c2", "p0001@x.io"));
    dir.sync(api.url()).run().exits(0);
    dir.has_rows(MISSING, ["cust_p0001@x.io"]);
    assert_eq!(dir.changes(), "created 1, device_unassigned 1, order_removed 1, missing 1");
}

#[test]
fn of_two_answers_the_one_requested_later_wins() {
    let slow = std::time::Duration::from_millis(500);
    let old = with(customer("c1", "a@x.io"), serde_json::json!({"name": "old", "devices": []}));
    let api = Api::with_rule(move |request| {
        (request.email == Some("a@x.io")).then(|| Reply::json(200, old.to_string()).after(slow))
    });
    api.has("alias@x.io", with(customer("c1", "a@x.io"), serde_json::json!({"name": "new"})));
    let dir = TestDir::new();
    dir.emails(["a@x.io", "alias@x.io"]);
    dir.sync(api.url()).run().exits(0);
    assert_eq!(api.requested_emails(), ["a@x.io", "alias@x.io"]);
    dir.has_rows("SELECT name FROM customers", ["new"]);
    dir.has_rows("SELECT device_id FROM current_devices", ["dev_c1"]);
    dir.has_rows(
        "SELECT email, outcome, customer_id FROM lookups ORDER BY 1",
        ["a@x.io|found|c1", "alias@x.io|found|c1"],
    );
    assert_eq!(dir.changes(), "created 1");
}

#[test]
fn a_customer_is_not_missing_while_a_pending_email_resolves_to_it() {
    let (dir, api) = (TestDir::new(), Api::new());
    for email in ["a@x.io", "alias@x.io"] {
        api.has(email, customer("c1", "a@x.io"));
    }
    dir.emails(["a@x.io", "alias@x.io"]);
    dir.sync(api.url()).run().exits(0);
    api.remove_email("a@x.io");
    api.remove_email("alias@x.io");
    dir.sync(api.url()).args(["--limit", "1", "--concurrency", "1"]).run().exits(4);
    dir.has_rows(
        "SELECT email, outcome, customer_id FROM lookups ORDER BY 1",
        ["a@x.io|not_found|NULL", "alias@x.io|found|c1"],
    );
    dir.has_rows(MISSING, []);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    dir.has_rows(MISSING, ["c1"]);
    dir.has_rows("SELECT count(*) FROM changes WHERE kind = 'missing'", ["1"]);
}
