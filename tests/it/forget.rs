//! `forget` leaves nothing of a person in the store's files, and keeps the person out.

use std::time::Duration;

use serde_json::{Value, json};
use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, customer, with};
use crate::support::clock::wait_until;
use crate::support::dir::TestDir;

/// An API that knows everybody, under one id for both of Jane's addresses.
fn api() -> Api {
    Api::with_rule(|request| {
        let email = request.email?;
        let name = if email.starts_with("jane") { "jane" } else { "other" };
        let number = if name == "jane" { name } else { email };
        let email = if name == "jane" { JANE[0] } else { email };
        let body = format!(
            r#"{{"id":"cust_{number}","organizationId":"org_1","name":"Given {name} Surname",
                "email":"{}","phone":"+1555{name}","address":"1 {name} Street","devices":["dev-{name}"],
                "orders":["ord-{name}"],"metadata":{{}},"createdAt":"2025-10-01T12:00:00Z"}}"#,
            email
        );
        Some(Reply::json(200, body))
    })
}

const JANE: [&str; 2] = ["jane@x.io", "jane.doe@x.io"];

fn synced() -> (TestDir, Api) {
    let (dir, api) = (TestDir::new(), api());
    dir.emails(["a@x.io", JANE[0], "b@x.io", JANE[1]]);
    dir.sync(api.url()).run().exits(0);
    (dir, api)
}

#[test]
fn nothing_of_the_person_is_left_in_the_files() {
    let (dir, api) = synced();
    let holds_jane = || {
        let bytes = ["s.db", "s.db-wal"].map(|file| std::fs::read(dir.path(file)).unwrap());
        let found = |text: &str| {
            bytes.iter().any(|file| file.windows(text.len()).any(|part| part == text.as_bytes()))
        };
        [
            "jane@x.io",
            "jane.doe@x.io",
            "Given jane",
            "+1555jane",
            "jane Street",
            "dev-jane",
            "ord-jane",
        ]
        .into_iter()
        .filter(|text| found(text))
        .collect::<Vec<_>>()
    };
    assert_eq!(holds_jane().len(), 7);
    let forget = dir.command(["forget", "JANE@x.io"]).run().exits(0);
    forget.stdout_has("Erased 1 customer and 2 emails");
    assert_eq!(holds_jane(), [""; 0]);
    assert_eq!(dir.number("SELECT count(*) FROM customers"), 2);
    dir.has_rows("SELECT kind FROM changes WHERE customer_id = 'cust_jane'", ["erased"]);
    // The person stays out, by any of the addresses.
    let again = dir.sync(api.url()).run().exits(0);
    again.stdout_has("Note: 2 rows skipped: `forget` erased the email\n");
    // It stays so for good, and is nothing to be told every hour.
    let quiet = dir.sync(api.url()).args(["--quiet", "--report", "r.json"]).run().exits(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let report: Value =
        serde_json::from_slice(&std::fs::read(dir.path("r.json")).unwrap()).unwrap();
    assert_eq!(report["warnings"], json!([]));
    assert_eq!(report["notes"], json!(["2 rows skipped: `forget` erased the email"]));
    assert_eq!(dir.counts(), "rows 4, fresh 2, planned 2, found 2");
    assert_eq!(dir.number("SELECT count(*) FROM customers"), 2);
    // Until it is undone: then the customer is new, and the feed goes on after `erased`.
    dir.command(["forget", "--undo", "jane@x.io"]).run().exits(0);
    dir.sync(api.url()).run().exits(0);
    assert_eq!(dir.number("SELECT count(*) FROM customers"), 3);
    let feed = "SELECT kind FROM changes WHERE customer_id = 'cust_jane' ORDER BY id";
    dir.has_rows(feed, ["erased", "created"]);
    dir.command(["forget", "--undo", "jane@x.io"]).run().exits(1).stderr_has("no erased email");
}

#[test]
fn a_pending_email_is_not_looked_up_and_the_counts_still_hold() {
    let (dir, api) = (TestDir::new(), api());
    dir.emails(["a@x.io", "b@x.io", "jane@x.io"]);
    dir.sync(api.url()).args(["--limit", "1"]).run().exits(4);
    dir.command(["forget", "jane@x.io"]).run().exits(0).stdout_has("0 customers and 1 email");
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 3, fresh 1, planned 2, found 2");
    assert_eq!(api.request_count(), 2);
}

#[test]
fn another_address_of_the_person_is_erased_when_it_is_found_to_be_one() {
    let (dir, api) = synced();
    dir.command(["forget", "cust_jane"]).run().exits(0);
    dir.emails(["a@x.io", "jane.new@x.io"]);
    dir.sync(api.url()).run().exits(0);
    dir.has_rows("SELECT email FROM lookups ORDER BY 1", ["a@x.io", "b@x.io"]);
    assert_eq!(dir.number("SELECT count(*) FROM customers"), 2);
    dir.sync(api.url()).run().exits(0).stdout_has("1 row skipped: `forget` erased the email");
    // One undo, by any name, lets the person come back by every address.
    dir.command(["forget", "--undo", "cust_jane"]).run().exits(0);
    dir.sync(api.url()).run().exits(0);
    assert_eq!(dir.number("SELECT count(*) FROM customers"), 3);
}

#[test]
fn each_customer_that_an_address_names_is_kept_out() {
    let dir = TestDir::new();
    let two = Api::with_rule(|request| {
        let id = if request.email? == "jane@x.io" { "one" } else { "two" };
        let customer = with(customer(id, request.email?), json!({ "email": "jane@x.io" }));
        Some(Reply::json(200, customer.to_string()))
    });
    dir.emails(["jane@x.io", "j@x.io"]);
    dir.sync(two.url()).run().exits(0);
    dir.command(["forget", "jane@x.io"]).run().exits(0).stdout_has("2 customers and 2 emails");
    dir.emails(["other@x.io"]);
    dir.sync(two.url()).run().exits(0);
    assert_eq!(dir.number("SELECT count(*) FROM customers"), 0);
    assert_eq!(dir.number("SELECT count(*) FROM lookups"), 0);
}

#[test]
fn the_place_of_an_erased_email_in_a_plan_is_not_given_to_another() {
    let (dir, api) = (TestDir::new(), api());
    // Looked up first, because the other address was before.
    dir.emails(["a@x.io"]);
    dir.sync(api.url()).run().exits(0);
    dir.emails(["a@x.io", "jane@x.io"]);
    dir.sync(api.url()).args(["--limit", "1"]).run().exits(4);
    dir.command(["forget", "jane@x.io"]).run().exits(0).stdout_has("1 customer and 1 email");
    dir.write("other.csv", "email\nz@x.io\n");
    dir.sync_of(api.url(), ["other.csv"]).run().exits(0);
    let planned = "SELECT email FROM _plan_items AS p JOIN _emails AS e ON e.key = p.email_key";
    dir.has_rows(planned, ["a@x.io"]);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    dir.has_rows("SELECT planned, found, pending FROM runs WHERE id = 2", ["2|2|0"]);
}

#[test]
fn an_unknown_person_and_a_running_run_are_refused() {
    let (dir, _) = synced();
    dir.command(["forget", "nobody@x.io"]).run().exits(1).stderr_has("Nothing was erased");
    dir.command(["forget", "cust_a@x.io"]).run().exits(0).stdout_has("1 customer and 1 email");
    dir.command(["forget", "a@x.io", "--store", "none.db"]).run().exits(1).stderr_has("no store");
    // Nothing is answered, so the run holds the store until it is killed.
    let silent = Api::with_rule(|_| Some(Reply::error(404, "").after(Duration::from_secs(60))));
    let run = dir.sync(silent.url()).start();
    wait_until("the run plans", || dir.number("SELECT max(id) FROM runs") > 1);
    dir.command(["forget", "b@x.io"]).run().exits(75).stderr_has("--wait-for-lock");
    let waiting = dir.command(["forget", "b@x.io", "--wait-for-lock", "10m"]).start();
    assert!(run.kill());
    waiting.wait().exits(0).stdout_has("1 customer and 1 email");
}

#[test]
fn a_dry_run_says_whom_it_would_erase_and_erases_nobody() {
    let (dir, _) = synced();
    let before = std::fs::read(dir.path("s.db")).unwrap();
    let dry = dir.command(["forget", "--dry-run", JANE[1]]).run().exits(0);
    dry.stdout_has("1 customer and 2 emails").stdout_has("cust_jane. Nothing was changed");
    dir.command(["forget", "--dry-run", "nobody@x.io"]).run().exits(1);
    dir.command(["forget", "--dry-run", "--undo", JANE[0]]).run().exits(2);
    assert_eq!(std::fs::read(dir.path("s.db")).unwrap(), before);
    assert_eq!(dir.number("SELECT count(*) FROM customers"), 3);
}

#[test]
fn what_a_reader_keeps_in_the_log_is_told_and_goes_with_the_same_command() {
    let (dir, _) = synced();
    let reader = rusqlite::Connection::open(dir.path("s.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM customers").unwrap();
    let forget = || dir.command(["forget", JANE[0]]).run().exits(0);
    forget().stdout_has("Erased 1 customer and 2 emails").stdout_has("Run the same command again");
    assert!(dir.path("s.db-wal").metadata().unwrap().len() > 0);
    drop(reader);
    let again = forget();
    again.stdout_has("was erased from").stdout_has("before.\n");
    assert_eq!(dir.path("s.db-wal").metadata().unwrap().len(), 0);
}
