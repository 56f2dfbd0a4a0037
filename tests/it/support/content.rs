//! What a store holds, so that two can be compared row by row.

use std::collections::{BTreeMap, BTreeSet};

use super::dir::TestDir;

/// What is known of customers.
const KNOWN: [&str; 3] = [
    "SELECT id, organization_id, email, name, phone, address, metadata, created_at, extra,
         missing_since IS NULL FROM customers",
    "SELECT customer_id, device_id FROM current_devices",
    "SELECT customer_id, order_id FROM current_orders",
];

/// What became of each row of the source.
const STATE: [&str; 3] = [
    "SELECT email, outcome, status, error, customer_id, run_id FROM lookups",
    "SELECT row, input, code, reason, status, run_id FROM rejects",
    // Without the status: a stop after the last answer is reported as a stop.
    "SELECT id, rows, invalid, duplicate, fresh, planned, found, not_found, rejected, failed,
         pending, finished_at IS NULL FROM runs",
];

/// Compared customer by customer.
const HISTORY: [&str; 3] = [
    "SELECT customer_id, 'device', device_id, assigned_after IS NULL, unassigned_at IS NULL
     FROM device_assignments",
    "SELECT customer_id, 'order', order_id, seen_after IS NULL, removed_at IS NULL FROM orders",
    "SELECT customer_id, 'change', kind, field, old, new FROM changes",
];

/// What a store holds, without times and ids.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) known: Vec<String>,
    pub(crate) state: Vec<String>,
    pub(crate) history: BTreeMap<String, Vec<String>>,
}

impl Content {
    pub(crate) fn of(dir: &TestDir) -> Self {
        let (known, state) = (sorted(dir, &KNOWN), sorted(dir, &STATE));
        let mut held = Self { known, state, history: BTreeMap::new() };
        for row in HISTORY.iter().flat_map(|select| dir.rows(select)) {
            let customer = row.split('|').next().unwrap_or_default().to_owned();
            held.history.entry(customer).or_default().push(row);
        }
        held.history.values_mut().for_each(|rows| rows.sort());
        held
    }
}

fn sorted(dir: &TestDir, selects: &[&str]) -> Vec<String> {
    let rows = |select: &&str| {
        let mut rows = dir.rows(select);
        rows.sort();
        rows
    };
    selects.iter().flat_map(rows).collect()
}

/// Asserts that two sorted lists of rows are the same, and shows the first that are not.
#[track_caller]
pub(crate) fn assert_same_rows(ours: &[String], expected: &[String]) {
    let (us, them): (BTreeSet<_>, BTreeSet<_>) = (ours.iter().collect(), expected.iter().collect());
    let more: Vec<_> = us.difference(&them).take(5).collect();
    let less: Vec<_> = them.difference(&us).take(5).collect();
    assert!(more.is_empty() && less.is_empty(), "too many: {more:#?}\nmissing: {less:#?}");
    assert!(ours == expected, "a row occurs more often in one list than in the other");
}

#[test]
#[should_panic = "more often"]
fn a_row_that_occurs_twice_is_a_difference() {
    let rows = |rows: [&str; 3]| rows.map(str::to_owned);
    assert_same_rows(&rows(["a", "a", "b"]), &rows(["a", "b", "b"]));
}
