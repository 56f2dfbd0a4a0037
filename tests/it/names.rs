//! The names that reporting relies on, and the rules that hold in the store by themselves.

use std::os::unix::fs::PermissionsExt;

use crate::support::api::{Api, customer, with};
use crate::support::dir::TestDir;
use serde_json::json;

/// Each public table or view and its columns.
const NAMES: [(&str, &str); 9] = [
    (
        "customers",
        "id organization_id email name phone address metadata created_at extra first_seen_at
         changed_at synced_at missing_since",
    ),
    ("device_assignments", "customer_id device_id assigned_after assigned_at unassigned_at"),
    ("orders", "customer_id order_id seen_after first_seen_at removed_at"),
    ("lookups", "email outcome status error attempts run_id looked_up_at customer_id answered_at"),
    ("changes", "id run_id at customer_id kind field old new"),
    ("rejects", "run_id row input code reason status attempts"),
    (
        "runs",
        "id started_at finished_at updated_at status stop_reason source rows invalid duplicate fresh planned
         found not_found rejected failed pending requests retries seconds report",
    ),
    ("current_devices", "customer_id email device_id synced_at"),
    ("current_orders", "customer_id email order_id synced_at"),
];

fn synced() -> (TestDir, Api) {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(["a@x.io", "b@x.io"]);
    dir.emails(["a@x.io", "b@x.io"]);
    dir.sync(api.url()).run().exits(0);
    (dir, api)
}

#[test]
fn every_public_name_is_there_with_its_declared_type() {
    let (dir, _api) = synced();
    for (table, columns) in NAMES {
        let there = dir.rows(&format!("SELECT name FROM pragma_table_xinfo('{table}')"));
        for column in columns.split_whitespace() {
            assert!(there.iter().any(|name| name == column), "{table}.{column} in {there:?}");
        }
        let untyped = format!("SELECT name FROM pragma_table_xinfo('{table}') WHERE type = ''");
        dir.has_rows(&untyped, []);
    }
}

#[test]
fn what_belongs_to_a_customer_goes_with_it() {
    let (dir, _api) = synced();
    dir.alter("PRAGMA foreign_keys = ON; DELETE FROM _customers WHERE id = 'cust_a@x.io'");
    for table in ["device_assignments", "orders", "changes", "current_devices", "current_orders"] {
        let owners = format!("SELECT DISTINCT customer_id FROM {table}");
        dir.has_rows(&owners, ["cust_b@x.io"]);
    }
    dir.has_rows("SELECT customer_id FROM lookups WHERE email = 'a@x.io'", ["NULL"]);
    dir.has_rows("SELECT count(*) FROM pragma_foreign_key_check", ["0"]);
}

#[test]
fn all_times_have_the_public_form() {
    let (dir, api) = synced();
    api.remove_email("a@x.io")
        .has("b@x.io", with(customer("cust_b@x.io", "b@x.io"), json!({"devices": []})));
    dir.sync(api.url()).args(["--accept-missing"]).run().exits(0);
    for (table, column) in [
        ("customers", "first_seen_at"),
        ("customers", "changed_at"),
        ("customers", "synced_at"),
        ("customers", "missing_since"),
        ("customers", "created_at"),
        ("device_assignments", "assigned_at"),
        ("device_assignments", "unassigned_at"),
        ("orders", "first_seen_at"),
        ("orders", "removed_at"),
        ("lookups", "looked_up_at"),
        ("lookups", "answered_at"),
        ("changes", "at"),
        ("runs", "started_at"),
        ("runs", "finished_at"),
        ("runs", "updated_at"),
    ] {
        let odd = format!(
            "SELECT {column} FROM {table} WHERE {column} NOT GLOB
             '20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9].[0-9][0-9][0-9]Z'"
        );
        dir.has_rows(&odd, []);
        assert!(dir.number(&format!("SELECT count({column}) FROM {table}")) > 0, "{column}");
    }
}

#[test]
fn a_new_store_is_private_and_a_later_chmod_is_kept() {
    let (dir, api) = synced();
    let mode = |name: &str| dir.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("s.db"), mode("s.db-wal"), mode("s.db-shm")), (0o600, 0o600, 0o600));
    std::fs::set_permissions(dir.path("s.db"), PermissionsExt::from_mode(0o640)).unwrap();
    dir.sync(api.url()).run().exits(0);
    assert_eq!(mode("s.db"), 0o640);
}

#[test]
fn a_store_is_the_file_of_that_name_whatever_the_name() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    for name in ["file:a.db", "b?mode=memory.db", "c#d%20.db", ":memory:"] {
        dir.sync(api.url()).args(["--store", name]).run().exits(0);
        assert!(dir.path(name).metadata().unwrap().len() > 4096, "{name}");
        dir.command(["report", "--store", name]).run().exits(0).stdout_has("Run 1: complete");
    }
}

#[test]
fn the_wal_is_truncated_at_the_end_and_kept_for_readers() {
    let (dir, _api) = synced();
    assert_eq!(dir.path("s.db-wal").metadata().unwrap().len(), 0);
    assert!(dir.path("s.db-shm").exists());
    dir.has_rows("PRAGMA journal_mode", ["wal"]);
}

#[test]
fn a_newer_store_is_refused_untouched() {
    let (dir, api) = synced();
    dir.alter("PRAGMA user_version = 99; UPDATE _store SET program_version = '9.9.9'");
    dir.alter("PRAGMA wal_checkpoint(TRUNCATE)");
    let before = dir.store_bytes();
    dir.sync(api.url()).run().exits(1).stderr_has("telemetron-sync 9.9.9");
    dir.command(["report"]).run().exits(1).stderr_has("telemetron-sync 9.9.9");
    dir.command(["runs"]).run().exits(1).stderr_has("telemetron-sync 9.9.9");
    assert!(dir.store_bytes() == before, "a byte of the store has changed");
    assert_eq!(api.request_count(), 2);
}

#[test]
fn current_rows_have_their_own_views() {
    let (dir, api) = synced();
    let changed = json!({"devices": ["d2"], "orders": []});
    api.has("a@x.io", with(customer("cust_a@x.io", "a@x.io"), changed));
    dir.sync(api.url()).run().exits(0);
    dir.has_rows(
        "SELECT customer_id, email, device_id FROM current_devices ORDER BY email",
        ["cust_a@x.io|a@x.io|d2", "cust_b@x.io|b@x.io|dev_cust_b@x.io"],
    );
    dir.has_rows(
        "SELECT customer_id, email, order_id FROM current_orders",
        ["cust_b@x.io|b@x.io|ord_cust_b@x.io"],
    );
    dir.has_rows(
        "SELECT count(*) FROM current_devices JOIN customers ON id = customer_id
         WHERE current_devices.synced_at = customers.synced_at",
        ["2"],
    );
}

#[test]
fn readers_and_runs_do_not_block_each_other() {
    let (dir, api) = synced();
    let reader = dir.store();
    reader.execute_batch("BEGIN").unwrap();
    let customers = || reader.query_row("SELECT count(*) FROM customers", [], |row| row.get(0));
    let before: i64 = customers().unwrap();
    api.has_all(["c@x.io"]);
    dir.emails(["a@x.io", "b@x.io", "c@x.io"]);
    dir.sync(api.url()).run().exits(0);
    assert_eq!((before, customers().unwrap()), (2, 2));
    dir.has_rows("SELECT count(*) FROM customers", ["3"]);
}
