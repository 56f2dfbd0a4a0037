//! A key of another organization does no harm.

use serde_json::json;

use crate::support::api::{Api, customer, emails, with};
use crate::support::dir::TestDir;

/// A store that knows `count` customers of organization `org_1`.
fn serving(count: usize) -> TestDir {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(emails(count));
    dir.emails(emails(count));
    dir.sync(api.url()).run().exits(0);
    dir
}

/// An API whose customers are all another organization's.
fn strangers(count: usize) -> Api {
    let api = Api::new();
    for email in emails(count) {
        let other = json!({"organizationId": "org_2"});
        api.has(&email, with(customer(&format!("other_{email}"), &email), other));
    }
    api
}

#[test]
fn answers_of_another_organization_stop_the_run_and_are_not_stored() {
    let dir = serving(30);
    let before = dir.customer_data();
    let ended = dir.sync(strangers(30).url()).run().exits(5);
    ended.stdout_has("the key belongs to organization org_2, the store to org_1");
    assert_eq!(dir.customer_data(), before);
    assert_eq!(dir.counts(), "rows 30, planned 30, pending 30");
    assert_eq!(dir.changes(), "");
}

#[test]
fn a_stranger_after_many_404s_takes_them_back_too() {
    // Few known emails, so that only the stranger tells that the key is wrong.
    let (dir, api) = (TestDir::new(), Api::new());
    let all = emails(10);
    api.has("p0010@x.io", customer("c10", "p0010@x.io"));
    dir.emails(&all);
    dir.sync(api.url()).run().exits(0);
    let before = dir.customer_data();
    api.has("p0010@x.io", with(customer("x", "p0010@x.io"), json!({"organizationId": "org_2"})));
    dir.sync(api.url()).args(["--concurrency", "1"]).run().exits(5);
    assert_eq!(dir.customer_data(), before);
    assert_eq!(dir.counts(), "rows 10, planned 10, pending 10");
}

#[test]
fn when_nobody_is_found_any_more_nothing_is_believed() {
    let dir = serving(30);
    let before = dir.customer_data();
    let nobody = Api::new();
    let ended = dir.sync(nobody.url()).args(["--concurrency", "1"]).run().exits(5);
    ended.stdout_has("no longer lead to their customer").stdout_has("--accept-missing");
    assert_eq!(dir.customer_data(), before);
    assert_eq!(dir.counts(), "rows 30, planned 30, pending 30");
    let right = Api::new();
    right.has_all(emails(30));
    dir.sync_of(right.url(), ["--resume"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 30, planned 30, found 30");
    assert_eq!(dir.changes(), "");
}

#[test]
fn the_key_is_judged_while_the_run_goes_on() {
    let dir = serving(300);
    let nobody = Api::new();
    let careful = ["--concurrency", "1", "--rate", "100/s"];
    dir.sync(nobody.url()).args(careful).run().exits(5);
    assert!((20..200).contains(&nobody.request_count()), "{} requests", nobody.request_count());
}

#[test]
fn few_known_customers_are_judged_at_the_end() {
    let dir = serving(3);
    let before = dir.customer_data();
    dir.sync(Api::new().url()).run().exits(5);
    assert_eq!(dir.customer_data(), before);
}

#[test]
fn missing_customers_are_believed_when_a_person_says_so() {
    let dir = serving(30);
    let nobody = Api::new();
    dir.sync(nobody.url()).run().exits(5);
    dir.sync_of(nobody.url(), ["--resume", "--accept-missing"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 30, planned 30, not_found 30");
    assert_eq!(dir.changes(), "missing 30");
    dir.has_rows("SELECT count(*) FROM customers WHERE missing_since IS NULL", ["0"]);
    dir.has_rows("SELECT count(*) FROM current_devices", ["0"]);
}

#[test]
fn half_of_the_customers_may_go() {
    let dir = serving(40);
    let api = Api::new();
    api.has_all(emails(20));
    dir.sync(api.url()).args(["--concurrency", "1"]).run().exits(0);
    assert_eq!(dir.changes(), "missing 20");
}

#[test]
fn strangers_under_the_known_emails_are_no_customers_of_ours() {
    // A deployment that leaves organizationId out.
    let dir = serving(30);
    let before = dir.customer_data();
    let api = Api::new();
    for email in emails(30) {
        api.has(&email, format!(r#"{{"id":"other_{email}"}}"#));
    }
    dir.sync(api.url()).args(["--concurrency", "1"]).run().exits(5);
    let known =
        |rows: Vec<String>| rows.into_iter().filter(|row| !row.contains("other_")).collect();
    let (before, after): (Vec<_>, Vec<_>) = (before, known(dir.customer_data()));
    assert_eq!(after, before);
}

#[test]
fn the_organization_is_named_once_and_for_all() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(["a@x.io"]);
    dir.emails(["a@x.io"]);
    dir.sync(api.url()).args(["--organization", "org_9"]).run().exits(5);
    dir.has_rows("SELECT count(*) FROM customers", ["0"]);
    let ended = dir.sync(api.url()).args(["--organization", "org_1"]).run().exits(1);
    ended.stderr_has("belongs to organization org_9, not to org_1");
    let dir = serving(1);
    let ended = dir.sync(api.url()).args(["--organization", "org_2"]).run().exits(1);
    ended.stderr_has("belongs to organization org_1, not to org_2");
}
