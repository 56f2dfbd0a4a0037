//! Ten syncs in a row over customers that change, some of them cut short: the store ends up with
//! what the API serves.

use std::time::Duration;

use telemetron_sync::sandbox::{self, Sandbox, SandboxSettings};

use crate::support::api::emails;
use crate::support::clock::wait_until;
use crate::support::dir::TestDir;

const EMAILS: usize = 500;

/// What holds now, without times.
const NOW: [&str; 4] = [
    "SELECT customer_id, device_id FROM current_devices ORDER BY 1, 2",
    "SELECT customer_id, order_id FROM current_orders ORDER BY 1, 2",
    "SELECT id, organization_id, email, name, phone, address, metadata, created_at
     FROM customers WHERE missing_since IS NULL ORDER BY id",
    "SELECT email, outcome, customer_id FROM lookups ORDER BY email",
];

fn sandbox() -> Sandbox {
    let latency = Duration::from_millis(2);
    let settings = SandboxSettings { latency, fail_rate: 0.02, ..Default::default() };
    sandbox::start(settings).expect("a sandbox")
}

fn whole_run(dir: &TestDir, sandbox: &Sandbox) {
    dir.sync(sandbox.url()).args(["--report", "last.json"]).run().exits(0);
}

fn killed_run(dir: &TestDir, sandbox: &Sandbox) {
    let runs = dir.number("SELECT count(*) FROM runs");
    let settled = "SELECT planned - pending FROM runs ORDER BY id DESC LIMIT 1";
    let mut run = dir.sync(sandbox.url()).args(["--rate", "400/s"]).start();
    wait_until("it is halfway", || {
        let begun = dir.number("SELECT count(*) FROM runs") > runs;
        !run.is_running() || (begun && dir.number(settled) > 100)
    });
    assert!(run.kill(), "it was killed midway");
}

fn late_run(dir: &TestDir, sandbox: &Sandbox) {
    let sync = dir.sync(sandbox.url()).args(["--rate", "300/s", "--deadline", "1s"]);
    sync.run().exits(4);
    assert!(dir.number("SELECT pending FROM runs ORDER BY id DESC LIMIT 1") > 0);
}

fn run_with_a_wrong_key(dir: &TestDir, sandbox: &Sandbox) {
    let before = dir.customer_data();
    dir.sync(sandbox.url()).env("TELEMETRON_API_KEY", "wrong").run().exits(5);
    assert_eq!(dir.customer_data(), before);
}

#[test]
fn after_ten_hours_the_store_holds_what_the_api_serves() {
    let sandbox = sandbox();
    let dir = TestDir::new();
    dir.emails(emails(EMAILS));
    for hour in 0..10 {
        sandbox.set_revision(hour * 3);
        match hour {
            3 => killed_run(&dir, &sandbox),
            5 => late_run(&dir, &sandbox),
            7 => run_with_a_wrong_key(&dir, &sandbox),
            _ => whole_run(&dir, &sandbox),
        }
    }
    let fresh = TestDir::new();
    fresh.emails(emails(EMAILS));
    whole_run(&fresh, &sandbox);
    for now in NOW {
        assert_eq!(dir.rows(now), fresh.rows(now), "{now}");
    }
    dir.has_rows("SELECT count(*) FROM runs", ["10"]);
    every_report_holds(&dir);
    the_history_is_sound(&dir);
}

fn every_report_holds(dir: &TestDir) {
    for run in 1..=10 {
        let run = run.to_string();
        let json = dir.command(["report", &run, "--format", "json"]).run().exits(0).stdout;
        let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let count = |name: &str| report["counts"][name].as_u64().expect("a count");
        let sum = |names: &[&str]| names.iter().map(|name| count(name)).sum::<u64>();
        assert_eq!(count("rows"), sum(&["invalid", "duplicate", "fresh", "planned"]), "run {run}");
        let settled = sum(&["found", "not_found", "rejected", "failed", "pending"]);
        assert_eq!(count("planned"), settled, "run {run}");
        let changes = report["changes"].as_object().expect("changes");
        let changes: u64 = changes.values().map(|count| count.as_u64().expect("a count")).sum();
        let rows = dir.number(&format!("SELECT count(*) FROM changes WHERE run_id = {run}"));
        assert_eq!(changes, rows.unsigned_abs(), "run {run}");
    }
}

/// No device is assigned twice at a time, and no interval ends before it begins.
fn the_history_is_sound(dir: &TestDir) {
    dir.has_rows(
        "SELECT customer_id, device_id FROM current_devices
         GROUP BY customer_id, device_id HAVING count(*) > 1",
        [],
    );
    dir.has_rows(
        "SELECT count(*) FROM device_assignments WHERE unassigned_at < assigned_at",
        ["0"],
    );
    dir.has_rows(
        "SELECT count(*) FROM device_assignments WHERE assigned_after > assigned_at",
        ["0"],
    );
    assert!(dir.number("SELECT count(*) FROM changes WHERE kind = 'device_assigned'") > 0);
    assert!(dir.number("SELECT count(*) FROM changes WHERE kind = 'device_unassigned'") > 0);
    dir.has_rows("PRAGMA integrity_check", ["ok"]);
}
