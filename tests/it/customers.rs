//! What an answer does to a customer: fields, metadata, emails that move, customers that go.

use serde_json::json;

use crate::support::api::{Api, customer, with};
use crate::support::dir::TestDir;

/// The news since the last look.
const NEWS: &str = "SELECT customer_id, kind, field, old, new FROM changes
     WHERE run_id = (SELECT max(id) FROM runs) ORDER BY id";

fn one(fields: serde_json::Value) -> String {
    with(customer("c1", "a@x.io"), fields).to_string()
}

/// A store that knows `a@x.io` as this customer.
fn serving(json: &str) -> (TestDir, Api) {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    api.has("a@x.io", json);
    dir.sync(api.url()).run().exits(0);
    (dir, api)
}

fn answered(dir: &TestDir, api: &Api, json: &str) {
    api.has("a@x.io", json);
    dir.sync(api.url()).run().exits(0);
}

#[test]
fn a_new_customer_is_one_row_in_the_feed() {
    let (dir, _api) = serving(&one(json!({"phone": "1", "devices": ["d1", "d2"]})));
    dir.has_rows(NEWS, [r#"c1|created|NULL|NULL|{"devices":["d1","d2"],"orders":["ord_c1"]}"#]);
    assert_eq!(dir.changes(), "created 1");
    dir.has_rows(
        "SELECT organization_id, email, name, phone, address, metadata, created_at, extra,
             missing_since, first_seen_at = changed_at, changed_at = synced_at FROM customers",
        ["org_1|a@x.io|N|1|NULL|{}|2025-10-01T12:00:00.000Z|NULL|NULL|1|1"],
    );
}

#[test]
fn an_unchanged_customer_writes_no_change() {
    let fields = json!({"phone": "1", "devices": ["d1", "d2"], "metadata": {"a": 1, "b": [2]}});
    let (dir, api) = serving(&one(fields));
    let again =
        json!({"phone": "1", "devices": ["d2", "d1", "d2"], "metadata": {"b": [2], "a": 1}});
    answered(&dir, &api, &one(again));
    dir.has_rows(NEWS, []);
    assert_eq!(dir.changes(), "");
    dir.has_rows(
        "SELECT changed_at = first_seen_at, synced_at > changed_at FROM customers",
        ["1|1"],
    );
}

#[test]
fn each_changed_field_is_recorded_with_its_old_and_new_value() {
    let (dir, api) = serving(&one(json!({"phone": "1", "metadata": {"k": 1}})));
    let news = json!({"name": "M", "address": "Street", "metadata": {"k": 2},
        "createdAt": "2025-10-01T14:00:00+02:00"});
    answered(&dir, &api, &one(news));
    dir.has_rows(
        NEWS,
        [
            "c1|updated|name|N|M",
            "c1|updated|phone|1|NULL",
            "c1|updated|address|NULL|Street",
            r#"c1|updated|metadata|{"k":1}|{"k":2}"#,
        ],
    );
    assert_eq!(dir.changes(), "updated 4");
    dir.has_rows("SELECT changed_at = synced_at FROM customers", ["1"]);
}

#[test]
fn an_absent_field_keeps_its_value_except_phone_and_address() {
    let (dir, api) = serving(&one(json!({"phone": "1", "address": "S", "metadata": {"k": 1}})));
    answered(&dir, &api, r#"{"id":"c1"}"#);
    dir.has_rows(NEWS, ["c1|updated|phone|1|NULL", "c1|updated|address|S|NULL"]);
    dir.has_rows(
        "SELECT email, name, metadata, created_at FROM customers",
        [r#"a@x.io|N|{"k":1}|2025-10-01T12:00:00.000Z"#],
    );
    answered(&dir, &api, r#"{"id":"c1","metadata":null,"phone":null}"#);
    dir.has_rows(NEWS, [r#"c1|updated|metadata|{"k":1}|{}"#]);
}

#[test]
fn metadata_and_unknown_fields_keep_their_exact_text() {
    let metadata = r#"{"z":123456789012345678901234567890.10,"a":1e400,"é":"\u00e9","m":[1.0]}"#;
    let json = format!(r#"{{"id":"c1","metadata":{metadata},"updatedAt":"x","tier":1.50}}"#);
    let (dir, api) = serving(&json);
    dir.has_rows("SELECT metadata FROM customers", [metadata]);
    dir.has_rows("SELECT extra FROM customers", [r#"{"updatedAt":"x","tier":1.50}"#]);
    let spaced = r#"{"id":"c1","metadata":{ "m":[1.0], "a":1e400, "é":"é",
        "z":123456789012345678901234567890.10}, "tier":1.50, "updatedAt":"x"}"#;
    answered(&dir, &api, spaced);
    dir.has_rows(NEWS, []);
    dir.has_rows("SELECT metadata FROM customers", [metadata]);
    let other = metadata.replace("0.10", "0.11");
    answered(&dir, &api, &json.replace(metadata, &other).replace("\"x\"", "\"y\""));
    dir.has_rows(
        "SELECT field, new FROM changes WHERE kind = 'updated'",
        [&*format!("metadata|{other}")],
    );
    dir.has_rows("SELECT extra FROM customers", [r#"{"updatedAt":"y","tier":1.50}"#]);
}

#[test]
fn a_change_of_unknown_fields_only_is_not_a_change() {
    let (dir, api) = serving(r#"{"id":"c1","updatedAt":"x"}"#);
    answered(&dir, &api, r#"{"id":"c1","updatedAt":"y"}"#);
    dir.has_rows(NEWS, []);
    dir.has_rows(
        "SELECT extra, changed_at = first_seen_at FROM customers",
        [r#"{"updatedAt":"y"}|1"#],
    );
}

#[test]
fn a_creation_time_that_does_not_parse_is_kept_as_sent() {
    let (dir, api) = serving(&one(json!({"createdAt": "2025-10-01T14:00:00.5+02:00"})));
    dir.has_rows("SELECT created_at FROM customers", ["2025-10-01T12:00:00.500Z"]);
    answered(&dir, &api, &one(json!({"createdAt": "last spring"})));
    dir.has_rows("SELECT created_at FROM customers", ["last spring"]);
}

#[test]
fn several_emails_resolve_to_one_customer() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io", "alias@x.io"]);
    api.has("a@x.io", customer("c1", "a@x.io")).has("alias@x.io", customer("c1", "a@x.io"));
    dir.sync(api.url())
        .run()
        .exits(0)
        .stdout_has("1 email resolved to a customer with another email");
    dir.has_rows("SELECT id, email FROM customers", ["c1|a@x.io"]);
    dir.has_rows("SELECT customer_id FROM lookups", ["c1", "c1"]);
    assert_eq!(dir.changes(), "created 1");
    api.remove_email("alias@x.io")
        .has("alias@x.io", customer("c1", "a@x.io"))
        .remove_email("a@x.io");
    dir.sync(api.url()).args(["--accept-missing"]).run().exits(0);
    dir.has_rows("SELECT missing_since FROM customers", ["NULL"]);
}

#[test]
fn an_email_can_resolve_to_another_customer_later() {
    let (dir, api) = serving(&one(json!({})));
    dir.emails(["a@x.io", "new@x.io", "b@x.io", "c@x.io", "d@x.io"]);
    api.has_all(["b@x.io", "c@x.io", "d@x.io"]);
    dir.sync(api.url()).run().exits(0);
    api.has("a@x.io", customer("c2", "a@x.io")).has("new@x.io", customer("c1", "new@x.io"));
    dir.sync(api.url()).run().exits(0);
    dir.has_rows(
        "SELECT email, customer_id FROM lookups WHERE customer_id LIKE 'c_' ORDER BY 1",
        ["a@x.io|c2", "new@x.io|c1"],
    );
    dir.has_rows(
        "SELECT id, email, missing_since FROM customers WHERE id LIKE 'c_' ORDER BY 1",
        ["c1|new@x.io|NULL", "c2|a@x.io|NULL"],
    );
    assert_eq!(dir.changes(), "created 1, updated 1");
}

#[test]
fn a_customer_that_no_email_resolves_to_is_missing_until_it_returns() {
    let (dir, api) = (TestDir::new(), Api::new());
    let all = ["a@x.io", "b@x.io", "c@x.io", "d@x.io"];
    api.has_all(all);
    dir.emails(all);
    dir.sync(api.url()).run().exits(0);
    api.remove_email("a@x.io");
    dir.sync(api.url()).run().exits(0).stdout_has("1 missing");
    dir.has_rows(
        NEWS,
        [
            "cust_a@x.io|missing|NULL|NULL|NULL",
            "cust_a@x.io|device_unassigned|NULL|dev_cust_a@x.io|NULL",
            "cust_a@x.io|order_removed|NULL|ord_cust_a@x.io|NULL",
        ],
    );
    let state = "SELECT c.missing_since = d.unassigned_at, c.missing_since = o.removed_at, name
         FROM customers AS c JOIN device_assignments AS d ON d.customer_id = c.id
         JOIN orders AS o ON o.customer_id = c.id WHERE c.id = 'cust_a@x.io'";
    dir.has_rows(state, ["1|1|N"]);
    dir.sync(api.url()).run().exits(0);
    dir.has_rows(NEWS, []);
    api.has_all(["a@x.io"]);
    dir.sync(api.url()).run().exits(0).stdout_has("1 returned");
    dir.has_rows(
        NEWS,
        [
            "cust_a@x.io|returned|NULL|NULL|NULL",
            "cust_a@x.io|device_assigned|NULL|NULL|dev_cust_a@x.io",
            "cust_a@x.io|order_added|NULL|NULL|ord_cust_a@x.io",
        ],
    );
    dir.has_rows(
        "SELECT d.unassigned_at IS NULL, c.missing_since IS NULL, d.assigned_after IS NULL
         FROM device_assignments AS d JOIN customers AS c ON c.id = d.customer_id
         WHERE c.id = 'cust_a@x.io' ORDER BY assigned_at",
        ["0|1|1", "1|1|0"],
    );
}

#[test]
fn emails_that_left_the_source_keep_their_data() {
    let (dir, api) = serving(&one(json!({})));
    let before = dir.rows("SELECT * FROM customers");
    dir.emails(["b@x.io"]);
    dir.sync(api.url()).run().exits(0);
    assert_eq!(dir.rows("SELECT * FROM customers"), before);
}
