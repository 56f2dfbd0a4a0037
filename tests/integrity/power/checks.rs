//! What holds at each moment, whatever a run is doing.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use rusqlite::Connection;
use serde_json::Value;

use super::customers::{REVISIONS, customer, email};
use crate::store::rows;

pub(crate) fn check_sums(store: &Connection) {
    let no_rows = [
        "SELECT * FROM runs WHERE rows <> invalid + duplicate + fresh + planned
             OR planned <> found + not_found + rejected + failed + pending",
        // What is erased stays in the counts.
        "SELECT runs.id, kind.key, kind.value FROM runs, json_each(report, '$.changes') AS kind
         WHERE kind.value <> (SELECT count(*) FROM changes
             WHERE run_id = runs.id AND kind = kind.key)
             AND NOT EXISTS (SELECT 1 FROM changes WHERE kind = 'erased')",
        "SELECT id, planned - pending FROM runs WHERE id = (SELECT max(id) FROM runs)
             AND planned - pending <> (SELECT count(*) FROM lookups WHERE run_id = runs.id)
             AND NOT EXISTS (SELECT 1 FROM changes WHERE kind = 'erased')",
    ];
    for sql in no_rows {
        let broken = rows(store, sql);
        assert!(broken.is_empty(), "{sql}: {broken:?}");
    }
}

/// Each customer is as one answer has it, as a whole.
pub(crate) fn check_customers(store: &Connection) {
    let stored = "SELECT c.id, c.email, c.name, c.phone,
             (SELECT json_group_array(device_id) FROM (SELECT device_id FROM current_devices
                 WHERE customer_id = c.id ORDER BY 1)),
             (SELECT json_group_array(order_id) FROM (SELECT order_id FROM current_orders
                 WHERE customer_id = c.id ORDER BY 1))
         FROM customers AS c WHERE missing_since IS NULL";
    for row in rows(store, stored) {
        assert!(answers().contains(&row), "a customer that no answer was like: {row}");
    }
}

/// All customers of all revisions, as [`check_customers`] reads them.
pub(crate) fn answers() -> &'static BTreeSet<String> {
    static ANSWERS: OnceLock<BTreeSet<String>> = OnceLock::new();
    let row = |body: String| {
        let body: Value = serde_json::from_str(&body).expect("a customer");
        let text = |name: &str| body[name].as_str().unwrap_or("NULL").to_owned();
        let list = |name: &str| {
            let mut ids = body[name].as_array().expect("a list").clone();
            ids.sort_by_key(ToString::to_string);
            Value::Array(ids).to_string()
        };
        let texts = ["id", "email", "name", "phone"].map(text);
        [texts.as_slice(), &["devices", "orders"].map(list)].concat().join("|")
    };
    ANSWERS.get_or_init(|| {
        let emails = (0..100).map(email);
        let all = emails.flat_map(|email| (0..REVISIONS).map(move |at| customer(&email, at)));
        all.flatten().map(row).collect()
    })
}
