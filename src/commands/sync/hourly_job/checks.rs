//! What has to hold after each run.

use super::api::SimulatedApi;
use super::course::{Course, Hour};
use super::job::EndedRun;
use super::known::Known;
use super::world::{Customer, World};
use crate::domain::run::RunReport;
use crate::lookup::simulation::email;
use crate::time;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

/// How the run ended, what it counted and what it sent.
pub(super) fn check_run(
    name: &str,
    ended: &EndedRun,
    hour: &Hour,
    api: &SimulatedApi,
    course: &Course,
) {
    let RunReport { exit_code, counts, stop_reason, http, finished_at, seconds, .. } =
        &ended.report;
    let name = format!("{name}: {stop_reason:?}, {counts:?}, {:?}, {http:?}", ended.time);
    let expected = hour.expected;
    assert_eq!(*exit_code, Some(expected.exit), "{name}");
    assert!(ended.time < Duration::from_secs(50 * 60), "{name}");
    let blocked = (0..course.emails).filter(|number| api.is_blocked(*number, ended.began)).count();
    let failing = if expected.exit == 3 { blocked } else { 0 };
    assert_eq!(counts.failed, failing as u64, "{name}");
    let is_done = expected.exit == 0 || expected.exit == 3;
    assert_eq!(counts.pending == 0, is_done, "{name}");
    assert_eq!(counts.planned, course.emails as u64, "{name}");
    assert_eq!(counts.rows, counts.planned, "{name}");
    assert_eq!(counts.planned, counts.settled() + counts.pending, "{name}");
    let over = course.wall(ended.began + ended.time);
    assert_eq!(*finished_at, Some(time::text(over)), "{name}");
    assert!((seconds - ended.time.as_secs_f64()).abs() < 0.001, "{name}: {seconds}");
    check_requests(&name, ended, hour, api);
}

fn check_requests(name: &str, ended: &EndedRun, hour: &Hour, api: &SimulatedApi) {
    let until = ended.began + ended.time;
    let back = api.sent().iter().filter(|one| one.back <= until).count();
    assert_eq!(ended.report.http.requests, back as u64, "{name}");
    let emails: BTreeSet<usize> = api.sent().iter().map(|one| one.number).collect();
    let extra = api.sent().len() - emails.len();
    if std::env::var_os("VERBOSE").is_some() {
        eprintln!("{extra} of {} {name}", hour.expected.extra_requests);
    }
    assert!(extra <= hour.expected.extra_requests, "{name}: {extra} extra requests");
}

/// No email was given up early, or charged for what was not its fault.
pub(super) fn check_attempts(name: &str, path: &Path, ended: &EndedRun, hour: &Hour) {
    let store = Connection::open(path).unwrap();
    let select = "SELECT coalesce(sum(attempts - 1), 0) FROM lookups WHERE run_id = ?1";
    let extra: i64 = store.query_row(select, [ended.report.run_id], |row| row.get(0)).unwrap();
    assert!(extra <= hour.expected.extra_attempts, "{name}: {extra} extra attempts");
}

/// The store holds what the API answered, and nothing else.
pub(super) fn check_store(name: &str, path: &Path, known: &Known) {
    let store = Connection::open(path).unwrap();
    assert_eq!(stored(&store), known.current(), "{name}");
    let mut select = store.prepare("SELECT email, outcome, customer_id FROM lookups").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
    let rows = rows.unwrap().map(Result::unwrap);
    let lookups: HashMap<String, (Option<String>, Option<String>)> = rows.collect();
    for (number, answer) in known.emails.iter().enumerate() {
        let (outcome, customer) = &lookups[&email(number)];
        let answered = answer.as_ref().and_then(|answer| answer.customer.as_ref());
        assert_eq!(customer.as_ref(), answered, "{name}: {number}, {outcome:?}");
        let says_found = outcome.as_deref() == Some("found");
        let says_nobody = outcome.as_deref() == Some("not_found");
        assert!(!says_found || customer.is_some(), "{name}: {number}");
        assert!(!says_nobody || answer.is_some() && customer.is_none(), "{name}: {number}");
    }
    for wrong in NOWHERE {
        let found = store.prepare(wrong).unwrap().exists([]).unwrap();
        assert!(!found, "{name}: {wrong}");
    }
}

/// Queries that find nothing in a store that keeps the contract.
const NOWHERE: [&str; 5] = [
    "SELECT * FROM customers WHERE organization_id <> 'org_1'",
    "SELECT * FROM runs WHERE rows <> invalid + duplicate + fresh + planned
         OR planned <> found + not_found + rejected + failed + pending",
    "SELECT * FROM runs WHERE pending > 0 AND status = 'complete'",
    "SELECT * FROM device_assignments WHERE unassigned_at < assigned_at OR assigned_at < assigned_after
     UNION ALL SELECT * FROM orders WHERE removed_at < first_seen_at OR first_seen_at < seen_after",
    "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
];

/// No answer is older than promised, but for emails that were looked up in vain since.
pub(super) fn check_age(name: &str, known: &Known) {
    let (overdue, since) = (known.overdue(), known.promised_since());
    assert!(overdue.is_empty(), "{name}: emails {overdue:?} were not answered since {since:?}");
}

/// What the store holds now, as a world would.
fn stored(store: &Connection) -> BTreeMap<String, Customer> {
    let mut customers = BTreeMap::new();
    let mut select = store.prepare("SELECT id, name FROM current_customers").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    for (id, name) in rows.map(Result::unwrap) {
        customers.insert(id, Customer { name, ..Customer::default() });
    }
    let pairs = |select: &str| {
        let mut select = store.prepare(select).unwrap();
        let pairs = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        pairs.map(Result::unwrap).collect::<Vec<(String, String)>>()
    };
    for (id, device) in pairs("SELECT customer_id, device_id FROM current_devices") {
        assert!(customers.get_mut(&id).expect("a present owner").devices.insert(device));
    }
    for (id, order) in pairs("SELECT customer_id, order_id FROM current_orders") {
        assert!(customers.get_mut(&id).expect("a present owner").orders.insert(order));
    }
    customers
}

/// Everything as the API has it now.
pub(super) fn check_truth(name: &str, path: &Path, truth: &World) {
    let store = Connection::open(path).unwrap();
    assert_eq!(stored(&store), truth.reachable(), "{name}");
    for (number, customer) in truth.emails.iter().enumerate() {
        let select = "SELECT outcome, customer_id FROM lookups WHERE email = ?1";
        let (outcome, resolves_to): (String, Option<String>) =
            store.query_row(select, [email(number)], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let expected = if customer.is_some() { "found" } else { "not_found" };
        assert_eq!((outcome.as_str(), &resolves_to), (expected, customer), "{name}: {number}");
    }
}
