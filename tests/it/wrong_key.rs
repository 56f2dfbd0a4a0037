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
fn another_organization_after_many_404s_undoes_them() {
    // Few known emails, so that only the stranger shows that the key is wrong.
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
fn if_no_customer_is_found_any_more_nothing_changes() {
    let dir = serving(30);
    let before = dir.customer_data();
    let nobody = Api::new();
    let ended = dir.sync(nobody.url()).args(["--concurrency", "1"]).run().exits(5);
    ended.stdout_has("no longer resolve to their customer").stdout_has("--accept-missing");
    assert_eq!(dir.customer_data(), before);
    assert_eq!(dir.counts(), "rows 30, planned 30, pending 30");
    let right = Api::new();
    right.has_all(emails(30));
    dir.sync_of(right.url(), ["--resume"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 30, planned 30, found 30");
    assert_eq!(dir.changes(), "");
}

#[test]
fn a_wrong_key_is_detected_during_the_run() {
    let dir = serving(300);
    let nobody = Api::new();
    let careful = ["--concurrency", "1", "--rate", "100/s"];
    dir.sync(nobody.url()).args(careful).run().exits(5);
    assert!((20..200).contains(&nobody.request_count()), "{} requests", nobody.request_count());
}

#[test]
fn few_known_customers_are_checked_at_the_end() {
    let dir = serving(5);
    let before = dir.customer_data();
    dir.sync(Api::new().url()).run().exits(5);
    assert_eq!(dir.customer_data(), before);
}

#[test]
fn accept_missing_confirms_missing_customers() {
    let dir = serving(30);
    let nobody = Api::new();
    dir.sync(nobody.url()).run().exits(5);
    dir.sync_of(nobody.url(), ["--resume", "--accept-missing"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 30, planned 30, not_found 30");
    assert_eq!(dir.changes(), "device_unassigned 30, order_removed 30, missing 30");
    dir.has_rows("SELECT count(*) FROM customers WHERE missing_since IS NULL", ["0"]);
    dir.has_rows("SELECT count(*) FROM current_devices", ["0"]);
}

#[test]
fn half_of_the_customers_may_disappear() {
    let dir = serving(40);
    let api = Api::new();
    api.has_all(emails(20));
    dir.sync(api.url()).args(["--concurrency", "1"]).run().exits(0);
    assert_eq!(dir.changes(), "device_unassigned 20, order_removed 20, missing 20");
}

#[test]
fn other_customers_under_the_known_emails_stop_the_run() {
    // A deployment that leaves organizationId out.
    let dir = serving(30);
    let before = dir.customer_data();
    let api = Api::new();
    for email in emails(30) {
        api.has(&email, format!(r#"{{"id":"other_{email}"}}"#));
    }
    dir.sync(api.url()).args(["--concurrency", "1"]).run().exits(5);
    let strangers = "SELECT kind FROM changes WHERE customer_id LIKE 'other_%'
         GROUP BY customer_id HAVING count(*) = 1";
    assert!(dir.rows(strangers).iter().all(|kind| kind == "erased"));
    assert!((20..=30).contains(&dir.rows(strangers).len()), "one row for each");
    let known =
        |rows: Vec<String>| rows.into_iter().filter(|row| !row.contains("|erased|")).collect();
    let (before, after): (Vec<_>, Vec<_>) = (before, known(dir.customer_data()));
    assert_eq!(after, before);
    assert_eq!(dir.counts(), "rows 30, planned 30, pending 30");
    let counted = dir.report()["changes"]["erased"].as_u64();
    assert_eq!(counted, Some(dir.rows(strangers).len() as u64));
    assert_eq!(dir.report()["changes"]["created"], 0);
}

#[test]
fn a_wrong_key_is_found_out_over_all_processes_of_a_run() {
    let dir = serving(30);
    let before = dir.customer_data();
    let half = Api::new();
    half.has_all(emails(10).into_iter().skip(5));
    let one = ["--concurrency", "1", "--limit", "10"];
    dir.sync(half.url()).args(one).run().exits(4).stdout_has("5 missing");
    dir.sync_of(Api::new().url(), ["--resume"]).run().exits(5).stdout_has("no longer resolve to");
    assert_eq!(dir.counts(), "rows 30, planned 30, found 5, pending 25");
    let compensated = "SELECT kind, count(*) FROM changes WHERE run_id = 2 GROUP BY 1 ORDER BY 1";
    dir.has_rows(
        compensated,
        [
            "device_assigned|5",
            "device_unassigned|5",
            "missing|5",
            "order_added|5",
            "order_removed|5",
            "returned|5",
        ],
    );
    dir.has_rows("SELECT count(*) FROM current_devices", ["30"]);
    let right = Api::new();
    right.has_all(emails(30));
    dir.sync_of(right.url(), ["--resume"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 30, planned 30, found 30");
    let known = |rows: Vec<String>| -> Vec<String> {
        let same = |row: &String| row.starts_with("cust_") && row.ends_with("|NULL");
        rows.into_iter()
            .filter(|row| same(row) && row.contains("|org_1|"))
            .map(|row| row[..40].to_owned())
            .collect()
    };
    assert_eq!(known(dir.customer_data()), known(before));
}

#[test]
fn a_store_without_customers_wants_to_see_one() {
    let dir = TestDir::new();
    dir.emails(emails(20));
    let nobody = Api::new();
    let finished = dir.sync(nobody.url()).run().exits(5);
    finished.stdout_has("none of 20 answered emails is found");
    assert_eq!(dir.counts(), "rows 20, planned 20, pending 20");
    dir.has_rows(
        "SELECT count(*) FROM lookups WHERE looked_up_at IS NULL OR outcome NOTNULL",
        ["0"],
    );
    dir.emails(emails(1200));
    let slowly = ["--concurrency", "8"];
    dir.sync(nobody.url()).args(slowly).run().exits(5).stdout_has("none of 1,000 answered");
    let right = Api::new();
    right.has_all(["p0001@x.io"]);
    dir.sync_of(right.url(), ["--resume"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 1200, planned 1200, found 1, not_found 1199");
}

#[test]
fn that_nobody_is_a_customer_yet_is_believed_when_a_person_says_so() {
    let dir = TestDir::new();
    dir.emails(emails(30));
    dir.sync(Api::new().url()).args(["--accept-missing"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 30, planned 30, not_found 30");
}

#[test]
fn a_wrong_key_does_not_claim_a_store() {
    let dir = TestDir::new();
    dir.emails(emails(30));
    let wrong = strangers(15);
    let one = ["--concurrency", "1", "--limit", "10"];
    dir.sync(wrong.url()).args(one).run().exits(4);
    let right = Api::new();
    right.has_all(emails(30));
    dir.sync_of(right.url(), ["--resume"]).run().exits(5).stdout_has("org_1");
    dir.has_rows("SELECT count(*) FROM customers", ["0"]);
    dir.has_rows("SELECT count(*) FROM changes WHERE kind <> 'erased'", ["0"]);
    dir.sync_of(right.url(), ["--resume"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 30, planned 30, found 30");
    dir.sync(wrong.url()).run().exits(5).stdout_has("the store to org_1");
}

#[test]
fn a_customer_deleted_meanwhile_is_no_trouble() {
    let dir = serving(30);
    let slowly = ["--concurrency", "1", "--limit", "10"];
    let half = Api::new();
    half.has_all(emails(6));
    dir.sync(half.url()).args(slowly).run().exits(4);
    let all = "PRAGMA foreign_keys = ON; DELETE FROM _customers WHERE id IN
         ('cust_p0002@x.io', 'cust_p0008@x.io', 'cust_p0020@x.io')";
    dir.alter(all);
    dir.sync_of(Api::new().url(), ["--resume"]).run().exits(5);
    dir.has_rows("SELECT count(*) FROM pragma_foreign_key_check", ["0"]);
    let right = Api::new();
    right.has_all(emails(30));
    dir.sync_of(right.url(), ["--resume"]).run().exits(0);
    // One of them was answered before it was deleted: the next run finds it again.
    dir.has_rows("SELECT count(*) FROM customers WHERE missing_since IS NULL", ["29"]);
    dir.has_rows("SELECT count(*) FROM lookups WHERE customer_id = 'cust_' || email", ["29"]);
}

#[test]
fn a_store_belongs_to_one_organization() {
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

#[test]
fn a_named_organization_claims_the_store_once_the_plan_stands() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(emails(2));
    dir.emails(emails(2));
    // A run that did not end well claims no store.
    dir.sync(api.url()).args(["--limit", "1"]).run().exits(4);
    let owner = "SELECT organization_id FROM _store";
    dir.sync_of(api.url(), ["nowhere.csv", "--organization", "org_9"]).run().exits(1);
    dir.has_rows(owner, ["NULL"]);
    dir.sync(api.url()).args(["--dry-run", "--organization", "org_9"]).run().exits(0);
    dir.has_rows(owner, ["NULL"]);
    dir.sync_of(api.url(), ["--resume", "--organization", "org_1"]).run().exits(0);
    dir.has_rows(owner, ["org_1"]);
    let ended = dir.sync(api.url()).args(["--organization", "org_9"]).run().exits(1);
    ended.stderr_has("belongs to organization org_1, not to org_9");
}
