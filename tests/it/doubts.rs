//! What a run saw before it died or was stopped is judged as at any end.

use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, customer, emails, with};
use crate::support::clock::wait_until;
use crate::support::desk::Desk;
use crate::support::sync::Running;

const SETTLED: &str = "SELECT planned - pending FROM runs ORDER BY id DESC LIMIT 1";

const MISSING: &str = "SELECT id FROM customers WHERE missing_since IS NOT NULL ORDER BY id";

fn knowing(count: usize) -> (Desk, Api) {
    let (desk, api) = (Desk::new(), Api::new());
    api.has_all(emails(count));
    desk.emails(emails(count));
    desk.sync(api.url()).run().exits(0);
    (desk, api)
}

/// Kills the `nth` run once it has written something.
fn kill_midway(desk: &Desk, mut run: Running<'_>, nth: i64) {
    wait_until("the run has written", || {
        let begun = desk.number("SELECT count(*) FROM runs") == nth;
        !run.is_running() || (begun && desk.number(SETTLED) >= 3)
    });
    assert!(run.kill(), "it was killed midway");
}

#[test]
fn a_run_with_a_wrong_key_that_died_does_no_harm_either() {
    let (desk, api) = knowing(60);
    let before = desk.lasting();
    let nobody = Api::new();
    let wrong = desk.sync(nobody.url()).args(["--rate", "15/s"]).start();
    kill_midway(&desk, wrong, 2);
    desk.sync(api.url()).run().exits(0);
    assert_eq!(desk.lasting(), before);
    assert_eq!(desk.changes(), "");
}

#[test]
fn customers_lost_by_a_limited_run_are_missing_at_its_end() {
    let (desk, api) = knowing(10);
    api.lost("p0001@x.io");
    desk.sync(api.url()).args(["--limit", "5", "--concurrency", "1"]).run().exits(4);
    desk.stored(MISSING, ["cust_p0001@x.io"]);
    assert_eq!(desk.changes(), "missing 1");
    desk.sync_of(api.url(), ["--resume"]).run().exits(0);
    assert_eq!(desk.changes(), "missing 1");
}

#[test]
fn a_customer_lost_by_a_run_that_died_is_missing_whatever_runs_come_between() {
    let (desk, api) = knowing(60);
    api.lost("p0001@x.io");
    let run = desk.sync(api.url()).args(["--rate", "15/s", "--concurrency", "1"]).start();
    kill_midway(&desk, run, 2);
    desk.stored("SELECT outcome FROM lookups WHERE email = 'p0001@x.io'", ["not_found"]);
    // Another source holds the same email.
    desk.write("other.csv", "email\np0001@x.io\n");
    desk.sync_of(api.url(), ["other.csv"]).run().exits(0);
    desk.sync_of(api.url(), ["--resume", "2"]).run().exits(0);
    desk.stored(MISSING, ["cust_p0001@x.io"]);
    desk.stored("SELECT count(*) FROM changes WHERE kind = 'missing'", ["1"]);
}

#[test]
fn it_is_missing_too_when_another_run_is_resumed_in_between() {
    let (desk, api) = knowing(60);
    desk.write("other.csv", "email\np0002@x.io\np0001@x.io\n");
    desk.alter("UPDATE emails SET looked_up_at = '2020' WHERE email = 'p0002@x.io'");
    desk.sync_of(api.url(), ["other.csv", "--limit", "1"]).run().exits(4);
    api.lost("p0001@x.io");
    let run = desk.sync(api.url()).args(["--rate", "15/s", "--concurrency", "1"]).start();
    kill_midway(&desk, run, 3);
    desk.sync_of(api.url(), ["--resume", "2", "--accept-missing"]).run().exits(0);
    desk.sync_of(api.url(), ["--resume", "3"]).run().exits(0);
    desk.stored(MISSING, ["cust_p0001@x.io"]);
    desk.stored("SELECT count(*) FROM changes WHERE kind = 'missing'", ["1"]);
}

#[test]
fn a_customer_whose_only_email_moved_on_is_missing() {
    let (desk, api) = knowing(4);
    api.has("p0001@x.io", customer("c2", "p0001@x.io"));
    desk.sync(api.url()).run().exits(0);
    desk.stored(MISSING, ["cust_p0001@x.io"]);
    assert_eq!(desk.changes(), "created 1, missing 1");
}

#[test]
fn of_two_answers_the_one_asked_for_later_holds() {
    let slow = std::time::Duration::from_millis(500);
    let old = with(customer("c1", "a@x.io"), serde_json::json!({"name": "old", "devices": []}));
    let api = Api::ruled(move |asked| {
        (asked.email == Some("a@x.io")).then(|| Reply::json(200, old.to_string()).after(slow))
    });
    api.has("alias@x.io", with(customer("c1", "a@x.io"), serde_json::json!({"name": "new"})));
    let desk = Desk::new();
    desk.emails(["a@x.io", "alias@x.io"]);
    desk.sync(api.url()).run().exits(0);
    assert_eq!(api.asked(), ["a@x.io", "alias@x.io"]);
    desk.stored("SELECT name FROM customers", ["new"]);
    desk.stored("SELECT device_id FROM current_devices", ["dev_c1"]);
    desk.stored(
        "SELECT email, outcome, customer_id FROM lookups ORDER BY 1",
        ["a@x.io|found|c1", "alias@x.io|found|c1"],
    );
    assert_eq!(desk.changes(), "created 1");
}
