//! Nights of failures in simulated time: an hourly job over the scheduler and a store, while the API
//! has an outage, a quota, a missing route, a firewall in front of it or a new key. No run may say
//! anything wrong, and after a healthy hour the store equals the truth.

mod api;
mod job;
mod world;

use crate::domain::run::RunReport;
use crate::lookup::simulation::email;
use crate::time;
use api::NightApi;
use fastrand::Rng;
use jiff::Timestamp;
use job::EndedRun;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use world::{Customer, World, Worlds};

const HOUR: Duration = Duration::from_secs(3600);
const HOURS: u32 = 8;
const EMAILS: usize = 300;

/// Nights in `cargo test`; `NIGHTS=n` plays more, `SEED=n` others.
const NIGHTS: u64 = 4;

fn began_at(at: Duration) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + at
}

/// What is wrong with the API.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Errors,
    NoConnection,
    Silence,
    MissingRoute,
    /// 429 beyond so many requests per second.
    Quota {
        per_second: f64,
        retry_after: Option<u64>,
    },
    /// 403 for some emails.
    Firewall,
    /// The old key is refused from now on, and the file holds the new one so much later.
    KeyRotation {
        file_late: Duration,
    },
}

/// A trouble and its time in the night.
#[derive(Clone, Copy, Debug)]
struct Incident {
    from: Duration,
    until: Duration,
    trouble: Trouble,
}

/// What a run may end with.
#[derive(Clone, Copy, Debug)]
struct Expected {
    exit: u8,
    /// How many of its emails fail.
    fails: Fails,
}

#[derive(Clone, Copy, Debug)]
enum Fails {
    None,
    /// Those that the firewall refuses.
    Blocked,
}

/// The outages that end while a run waits for them, or only after it gave up.
fn outage(rng: &mut Rng, trouble: Trouble) -> (Trouble, Duration, u8) {
    let (minutes, exit) = if rng.bool() { (rng.u64(1..9), 0) } else { (rng.u64(11..50), 6) };
    (trouble, Duration::from_secs(60 * minutes), exit)
}

/// The incident of one hour, and how its run ends.
fn incident(kind: u8, hour: u32, rng: &mut Rng) -> (Incident, Expected) {
    let retry_after = [None, Some(1)][rng.usize(..2)];
    let (trouble, lasts, exit) = match kind {
        0 => outage(rng, Trouble::Errors),
        1 => outage(rng, Trouble::NoConnection),
        2 => outage(rng, Trouble::Silence),
        3 => outage(rng, Trouble::MissingRoute),
        4 => (Trouble::Quota { per_second: rng.u8(5..40).into(), retry_after }, HOUR / 2, 0),
        5 => (Trouble::Firewall, HOUR / 2, 3),
        6 => (Trouble::KeyRotation { file_late: Duration::ZERO }, HOUR / 2, 0),
        _ => (Trouble::KeyRotation { file_late: HOUR / 2 }, HOUR / 2, 5),
    };
    // Before the run's first request, or amid its requests, which take at least 3 s.
    let begins = match trouble {
        Trouble::Firewall => Duration::ZERO,
        _ => Duration::from_millis(rng.u64(..2500)),
    };
    let from = HOUR * hour + begins * rng.u32(..2);
    let fails = if exit == 3 { Fails::Blocked } else { Fails::None };
    (Incident { from, until: from + lasts, trouble }, Expected { exit, fails })
}

/// A healthy hour, six hours with an incident each, and a healthy hour.
fn incidents(rng: &mut Rng) -> Vec<(Incident, Expected)> {
    let mut kinds: Vec<u8> = (0..8).collect();
    rng.shuffle(&mut kinds);
    (1..HOURS - 1).zip(kinds).map(|(hour, kind)| incident(kind, hour, rng)).collect()
}

fn play(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let planned = incidents(&mut rng);
    let worlds = Worlds::new(EMAILS, HOURS, &mut rng);
    let incidents = planned.iter().map(|(incident, _)| *incident).collect();
    let mut api = NightApi::new(worlds, incidents, seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("night.db");
    for hour in 0..HOURS {
        let healthy = Expected { exit: 0, fails: Fails::None };
        let of_hour = planned.iter().find(|(one, _)| one.from.as_secs() / 3600 == u64::from(hour));
        let expected = of_hour.map_or(healthy, |(_, expected)| *expected);
        let at = HOUR * hour;
        let ended = job::run(&path, at, &mut api, seed);
        let name = format!("SEED={seed}, hour {hour}, {:?}", of_hour.map(|(one, _)| one));
        check_run(&name, &ended, expected, &api, at);
        check_store(&name, &path, &api, at + ended.time);
    }
    let truth = api.worlds.at(HOUR * HOURS);
    check_truth(&format!("SEED={seed}"), &path, truth);
}

fn check_run(name: &str, ended: &EndedRun, expected: Expected, api: &NightApi, at: Duration) {
    let RunReport { exit_code, counts, stop_reason, http, finished_at, seconds, .. } =
        &ended.report;
    let name = format!("{name}: {stop_reason:?}, {counts:?}, {:?}, {http:?}", ended.time);
    assert_eq!(*exit_code, Some(expected.exit), "{name}");
    assert!(ended.time < Duration::from_secs(20 * 60), "{name}");
    let failing = match expected.fails {
        Fails::None => 0,
        Fails::Blocked => (0..EMAILS).filter(|number| api.is_blocked(*number, at)).count(),
    };
    assert_eq!(counts.failed, failing as u64, "{name}");
    let is_done = expected.exit == 0 || expected.exit == 3;
    assert_eq!(counts.pending == 0, is_done, "{name}");
    assert_eq!(counts.planned, EMAILS as u64, "{name}");
    assert_eq!(*finished_at, Some(time::text(began_at(at + ended.time))), "{name}");
    assert!((seconds - ended.time.as_secs_f64()).abs() < 0.001, "{name}: {seconds}");
}

/// Nothing in the store was never true: who is missing is gone, and who was not found is nobody.
fn check_store(name: &str, path: &Path, api: &NightApi, until: Duration) {
    let store = Connection::open(path).unwrap();
    let missing = texts(&store, "SELECT id FROM customers WHERE missing_since IS NOT NULL");
    let worlds: Vec<&World> = api.worlds.during(Duration::ZERO, until).collect();
    for id in missing {
        let was_gone = worlds.iter().any(|world| !world.reachable().contains_key(&id));
        assert!(was_gone, "{name}: {id} was never missing");
    }
    let not_found = texts(&store, "SELECT email FROM lookups WHERE outcome = 'not_found'");
    for number in (0..EMAILS).filter(|number| not_found.contains(&email(*number))) {
        let had_no_customer = worlds.iter().any(|world| world.emails[number].is_none());
        assert!(had_no_customer, "{name}: {} always had a customer", email(number));
    }
}

fn texts(store: &Connection, select: &str) -> BTreeSet<String> {
    let mut select = store.prepare(select).unwrap();
    let texts = select.query_map([], |row| row.get(0)).unwrap();
    texts.map(Result::unwrap).collect()
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

fn check_truth(name: &str, path: &Path, truth: &World) {
    let store = Connection::open(path).unwrap();
    assert_eq!(stored(&store), truth.reachable(), "{name}");
    for (number, customer) in truth.emails.iter().enumerate() {
        let select = "SELECT outcome, customer_id FROM lookups WHERE email = ?1";
        let (outcome, resolves_to): (String, Option<String>) =
            store.query_row(select, [email(number)], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let expected = if customer.is_some() { "found" } else { "not_found" };
        assert_eq!((outcome.as_str(), &resolves_to), (expected, customer), "{name}: {number}");
    }
    let whole: String = store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok", "{name}");
}

fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn after_a_night_of_failures_the_store_equals_the_truth() {
    let (first, nights) = (number_of("SEED", 1), number_of("NIGHTS", NIGHTS));
    for seed in first..first + nights {
        play(seed);
    }
    println!("figure: {nights} nights of {HOURS} hours, {EMAILS} emails each");
}
