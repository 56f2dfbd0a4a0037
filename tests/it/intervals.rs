//! Devices and orders as intervals: the history of who had what.

use serde_json::{Value, json};

use crate::support::api::{Api, customer, with};
use crate::support::dir::TestDir;

/// Each interval by the runs whose answers stand at its ends: after, at, until.
const DEVICES: &str = "SELECT device_id,
         (SELECT id FROM runs WHERE assigned_after BETWEEN started_at AND finished_at),
         (SELECT id FROM runs WHERE assigned_at BETWEEN started_at AND finished_at),
         (SELECT id FROM runs WHERE unassigned_at BETWEEN started_at AND finished_at)
     FROM device_assignments ORDER BY assigned_at, device_id";

const ORDERS: &str = "SELECT order_id,
         (SELECT id FROM runs WHERE seen_after BETWEEN started_at AND finished_at),
         (SELECT id FROM runs WHERE first_seen_at BETWEEN started_at AND finished_at),
         (SELECT id FROM runs WHERE removed_at BETWEEN started_at AND finished_at)
     FROM orders ORDER BY first_seen_at, order_id";

const NEWS: &str = "SELECT kind, field, old, new FROM changes
     WHERE run_id = (SELECT max(id) FROM runs) ORDER BY id";

/// One run for each answer about the same customer.
fn answers(answers: impl IntoIterator<Item = Value>) -> TestDir {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    for fields in answers {
        api.has("a@x.io", with(customer("c1", "a@x.io"), fields));
        dir.sync(api.url()).run().exits(0);
    }
    dir
}

#[test]
fn a_device_that_returns_is_a_new_row() {
    let dir = answers([
        json!({"devices": ["d1", "d2"]}),
        json!({"devices": ["d2", "d3"]}),
        json!({"devices": ["d2", "d3"]}),
        json!({"devices": ["d1", "d2", "d3"]}),
    ]);
    dir.has_rows(DEVICES, ["d1|NULL|1|2", "d2|NULL|1|NULL", "d3|1|2|NULL", "d1|3|4|NULL"]);
    dir.has_rows(NEWS, ["device_assigned|NULL|NULL|d1"]);
    dir.has_rows(
        "SELECT kind, old, new FROM changes WHERE run_id = 2 ORDER BY id",
        ["device_unassigned|d1|NULL", "device_assigned|NULL|d3"],
    );
}

#[test]
fn orders_have_their_intervals_in_the_same_way() {
    let dir = answers([
        json!({"orders": ["o1"]}),
        json!({"orders": ["o1", "o2"]}),
        json!({"orders": ["o2"]}),
        json!({"orders": ["o2", "o1"]}),
    ]);
    dir.has_rows(ORDERS, ["o1|NULL|1|3", "o2|1|2|NULL", "o1|3|4|NULL"]);
    dir.has_rows(NEWS, ["order_added|NULL|NULL|o1"]);
    dir.has_rows("SELECT kind, old, new FROM changes WHERE run_id = 3", ["order_removed|o1|NULL"]);
}

#[test]
fn an_absent_list_keeps_the_intervals_and_an_empty_one_closes_them() {
    let dir = answers([json!({"devices": ["d1", "d2"]}), json!({"devices": null})]);
    dir.has_rows(DEVICES, ["d1|NULL|1|NULL", "d2|NULL|1|NULL"]);
    dir.has_rows(NEWS, []);
    let dir = answers([json!({"devices": ["d1", "d2"], "orders": ["o1"]}), json!({"devices": []})]);
    dir.has_rows(DEVICES, ["d1|NULL|1|2", "d2|NULL|1|2"]);
    dir.has_rows("SELECT count(*) FROM current_devices", ["0"]);
}

#[test]
fn assigned_after_is_the_last_answer_that_listed_devices() {
    let absent = json!({"devices": null});
    let dir = answers([json!({"devices": []}), absent, json!({"devices": ["d1"]})]);
    dir.has_rows(DEVICES, ["d1|1|3|NULL"]);
}

#[test]
fn duplicates_and_order_in_a_list_mean_nothing() {
    let dir = answers([
        json!({"devices": ["d1", "d2", "d1"], "orders": ["o1", "o1"]}),
        json!({"devices": ["d2", "d1"], "orders": ["o1"]}),
    ]);
    dir.has_rows(DEVICES, ["d1|NULL|1|NULL", "d2|NULL|1|NULL"]);
    dir.has_rows(ORDERS, ["o1|NULL|1|NULL"]);
    dir.has_rows(NEWS, []);
}

#[test]
fn a_device_can_belong_to_several_customers() {
    let (dir, api) = (TestDir::new(), Api::new());
    let shared = json!({"devices": ["tv"]});
    for (id, email) in [("c1", "a@x.io"), ("c2", "b@x.io")] {
        api.has(email, with(customer(id, email), shared.clone()));
    }
    dir.emails(["a@x.io", "b@x.io"]);
    dir.sync(api.url()).run().exits(0);
    api.has("a@x.io", with(customer("c1", "a@x.io"), json!({"devices": []})));
    dir.sync(api.url()).run().exits(0);
    dir.has_rows("SELECT customer_id, device_id FROM current_devices", ["c2|tv"]);
    dir.has_rows("SELECT count(*) FROM device_assignments", ["2"]);
}

#[test]
fn a_clock_that_was_set_back_makes_no_interval_end_before_it_begins() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    api.has("a@x.io", customer("c1", "a@x.io"));
    dir.sync(api.url()).run().exits(0);
    // As if the first run had been at a time that is still to come.
    dir.alter(
        "UPDATE _customers SET synced_at = '2999-01-01T00:00:00.000Z',
             devices_listed_at = '2999-01-01T00:00:00.000Z', orders_listed_at = '2999-01-01T00:00:00.000Z';
         UPDATE _device_intervals SET assigned_at = '2999-01-01T00:00:00.000Z';
         UPDATE _order_intervals SET first_seen_at = '2999-01-01T00:00:00.000Z'",
    );
    api.has("a@x.io", with(customer("c1", "a@x.io"), json!({"devices": [], "orders": []})));
    dir.sync(api.url()).run().exits(0);
    dir.has_rows(
        "SELECT count(*) FROM device_assignments WHERE unassigned_at < assigned_at",
        ["0"],
    );
    dir.has_rows("SELECT count(*) FROM orders WHERE removed_at < first_seen_at", ["0"]);
    dir.has_rows("SELECT count(*) FROM device_assignments WHERE unassigned_at IS NULL", ["0"]);
}
