//! What the program's store says, by its public names.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use serde_json::Value;

use super::contract::{Customer, FIELDS, Told};
use crate::store::rows;

/// A run's row.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedRun {
    pub(crate) is_ended: bool,
    pub(crate) requests: i64,
    pub(crate) counts: BTreeMap<String, i64>,
    /// How many changes of each kind the report counts.
    pub(crate) changes: BTreeMap<String, u32>,
}

/// A row of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObservedChange {
    pub(crate) told: Told,
    pub(crate) at: String,
    /// None where no run has made it.
    pub(crate) run: Option<i64>,
}

/// What a lookup says: outcome and customer.
pub(crate) type ObservedLookup = (Option<String>, Option<String>);

/// All that is public, but for times and histories, which have checks of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) runs: BTreeMap<i64, ObservedRun>,
    pub(crate) customers: BTreeMap<String, Customer>,
    pub(crate) lookups: BTreeMap<String, ObservedLookup>,
    /// The emails whose last lookup is of each run.
    pub(crate) of_run: BTreeMap<i64, BTreeSet<String>>,
    /// The feed, by the number of each row.
    pub(crate) feed: BTreeMap<i64, ObservedChange>,
}

impl Observed {
    pub(crate) fn of(store: &Connection) -> Self {
        Self {
            runs: runs(store),
            customers: customers(store),
            lookups: each(store, "SELECT email, outcome, customer_id FROM lookups", |row| {
                Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))
            })
            .into_iter()
            .collect(),
            of_run: of_run(store),
            feed: feed(store),
        }
    }
}

fn each<T>(
    store: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut select = store.prepare(sql).expect(sql);
    let rows = select.query_map([], read).expect(sql);
    rows.map(|row| row.expect(sql)).collect()
}

/// The counts of a run.
pub(crate) const COUNTS: [&str; 10] = [
    "rows",
    "invalid",
    "duplicate",
    "fresh",
    "planned",
    "found",
    "not_found",
    "rejected",
    "failed",
    "pending",
];

fn runs(store: &Connection) -> BTreeMap<i64, ObservedRun> {
    let sql =
        format!("SELECT id, finished_at IS NOT NULL, requests, {} FROM runs", COUNTS.join(", "));
    let runs = each(store, &sql, |row| {
        let counts = COUNTS.iter().map(|name| Ok(((*name).to_owned(), row.get(*name)?)));
        let counts = counts.collect::<rusqlite::Result<_>>()?;
        let (is_ended, requests, changes) = (row.get(1)?, row.get(2)?, BTreeMap::new());
        Ok((row.get(0)?, ObservedRun { is_ended, requests, counts, changes }))
    });
    let mut runs: BTreeMap<i64, ObservedRun> = runs.into_iter().collect();
    let sql =
        "SELECT runs.id, kind.key, kind.value FROM runs, json_each(report, '$.changes') AS kind";
    let count = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    for (run, kind, changes) in each(store, sql, count) {
        runs.entry(run).or_default().changes.insert(kind, changes);
    }
    runs
}

fn of_run(store: &Connection) -> BTreeMap<i64, BTreeSet<String>> {
    let sql = "SELECT run_id, email FROM lookups WHERE run_id IS NOT NULL";
    let mut of_run = BTreeMap::<_, BTreeSet<_>>::new();
    for (run, email) in each(store, sql, |row| Ok((row.get(0)?, row.get(1)?))) {
        of_run.entry(run).or_default().insert(email);
    }
    of_run
}

fn customers(store: &Connection) -> BTreeMap<String, Customer> {
    let columns = FIELDS.map(|(column, _)| column).join(", ");
    let sql = format!("SELECT id, missing_since IS NOT NULL, {columns} FROM customers");
    let customers = each(store, &sql, |row| {
        let fields = FIELDS.iter().map(|(column, _)| Ok((*column, row.get(*column)?)));
        let fields = fields.collect::<rusqlite::Result<_>>()?;
        Ok((row.get(0)?, Customer { fields, is_missing: row.get(1)?, ..Customer::default() }))
    });
    let mut customers: BTreeMap<String, Customer> = customers.into_iter().collect();
    for (sql, list) in [
        (
            "SELECT customer_id, device_id FROM device_assignments WHERE unassigned_at IS NULL",
            (|customer| &mut customer.devices) as fn(&mut Customer) -> &mut BTreeSet<String>,
        ),
        ("SELECT customer_id, order_id FROM orders WHERE removed_at IS NULL", |customer| {
            &mut customer.orders
        }),
    ] {
        for (customer, id) in each(store, sql, |row| Ok((row.get::<_, String>(0)?, row.get(1)?))) {
            list(customers.get_mut(&customer).expect("a customer")).insert(id);
        }
    }
    customers
}

fn feed(store: &Connection) -> BTreeMap<i64, ObservedChange> {
    let sql = "SELECT id, customer_id, kind, field, old, new, at, run_id FROM changes";
    let text = |row: &rusqlite::Row<'_>, at| row.get::<_, Option<String>>(at);
    let feed = each(store, sql, |row| {
        let mut told = [text(row, 1)?, text(row, 2)?, text(row, 3)?, text(row, 4)?, text(row, 5)?]
            .map(Option::unwrap_or_default);
        if told[1] == "created" {
            told[4] = sorted(&told[4]);
        }
        Ok((row.get(0)?, ObservedChange { told, at: row.get(6)?, run: row.get(7)? }))
    });
    feed.into_iter().collect()
}

/// The lists of a new customer, whose order says nothing.
fn sorted(created: &str) -> String {
    let Ok(Value::Object(mut lists)) = serde_json::from_str(created) else {
        return created.to_owned();
    };
    for list in lists.values_mut().filter_map(Value::as_array_mut) {
        list.sort_by_key(ToString::to_string);
    }
    Value::Object(lists).to_string()
}

/// What is wrong with a store at any moment, whatever happened before.
pub(crate) fn wrong(store: &Connection, observed: &Observed) -> Result<(), String> {
    for (what, sql) in NOWHERE {
        let found = rows(store, sql);
        if !found.is_empty() {
            return Err(format!("{what}: {found:?}"));
        }
    }
    replayed(store, observed)?;
    chained(observed)
}

/// Queries that find nothing in a store that keeps the contract.
const NOWHERE: [(&str, &str); 5] = [
    (
        "sums that do not hold",
        "SELECT id, rows, invalid, duplicate, fresh, planned, found, not_found, rejected, failed,
             pending FROM runs
         WHERE rows <> invalid + duplicate + fresh + planned
             OR planned <> found + not_found + rejected + failed + pending",
    ),
    ("a complete run with emails pending", "SELECT id FROM runs WHERE pending > 0 AND status = 'complete'"),
    (
        "intervals that end before they begin, or begin before they can",
        "SELECT * FROM device_assignments
         WHERE unassigned_at < assigned_at OR assigned_at < assigned_after
         UNION ALL SELECT * FROM orders WHERE removed_at < first_seen_at OR first_seen_at < seen_after",
    ),
    ("broken references", "PRAGMA foreign_key_check"),
    ("damage", "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
];

/// An interval: when it was last known not to be there, its begin and its end.
type Interval = (Option<String>, String, Option<String>);

/// A customer, the kind of its list, and what is in the list.
type Listed = [String; 3];

/// Replaying the feed from the beginning yields the intervals, which do not overlap.
fn replayed(store: &Connection, observed: &Observed) -> Result<(), String> {
    let mut stored = BTreeMap::<Listed, Vec<Interval>>::new();
    let sql = "SELECT customer_id, 'device', device_id, assigned_after, assigned_at, unassigned_at
             FROM device_assignments
         UNION ALL SELECT customer_id, 'order', order_id, seen_after, first_seen_at, removed_at
             FROM orders
         ORDER BY 5, 6 NULLS LAST";
    for (listed, interval) in each(store, sql, |row| {
        Ok(([row.get(0)?, row.get(1)?, row.get(2)?], (row.get(3)?, row.get(4)?, row.get(5)?)))
    }) {
        stored.entry(listed).or_default().push(interval);
    }
    for (listed, intervals) in &stored {
        for pair in intervals.windows(2) {
            let [(_, _, end), (after, ..)] = pair else { continue };
            // The end of an interval is known before the next begins.
            if end.is_none() || after < end {
                return Err(format!("intervals of {listed:?} that overlap: {intervals:?}"));
            }
        }
    }
    let stored = stored.into_iter().map(|(listed, intervals)| {
        let bounds = intervals.into_iter().map(|(_, begin, end)| (begin, end));
        (listed, bounds.collect())
    });
    let (stored, told) = (stored.collect::<Replay>(), replay(observed)?);
    if stored == told {
        return Ok(());
    }
    let differs = |listed: &&Listed| stored.get(*listed) != told.get(*listed);
    let listed = stored.keys().chain(told.keys()).find(differs).expect("a difference");
    let (stored, told) = (stored.get(listed), told.get(listed));
    Err(format!("the feed tells of {listed:?} {told:?}, but it is {stored:?}"))
}

/// The begin and the end of each interval.
type Replay = BTreeMap<Listed, Vec<(String, Option<String>)>>;

fn replay(observed: &Observed) -> Result<Replay, String> {
    let mut replay = Replay::new();
    for (id, ObservedChange { told: [customer, kind, _, old, new], at, .. }) in &observed.feed {
        let (list, opened, closed) = match kind.as_str() {
            "created" => {
                for (list, name) in [("device", "devices"), ("order", "orders")] {
                    let lists: Value = serde_json::from_str(new)
                        .map_err(|_| format!("change {id} has no lists: {new:?}"))?;
                    for listed in lists[name].as_array().into_iter().flatten() {
                        let listed = listed.as_str().unwrap_or_default().to_owned();
                        let listed = [customer.clone(), list.to_owned(), listed];
                        replay.entry(listed).or_default().push((at.clone(), None));
                    }
                }
                continue;
            }
            "device_assigned" => ("device", Some(new), None),
            "device_unassigned" => ("device", None, Some(old)),
            "order_added" => ("order", Some(new), None),
            "order_removed" => ("order", None, Some(old)),
            "erased" => {
                replay.retain(|[owner, ..], _| owner != customer);
                continue;
            }
            _ => continue,
        };
        let listed = opened.or(closed).cloned().unwrap_or_default();
        let intervals = replay.entry([customer.clone(), list.to_owned(), listed]).or_default();
        let open = intervals.last_mut().filter(|(_, end)| end.is_none());
        match (opened, open) {
            (Some(_), None) => intervals.push((at.clone(), None)),
            (None, Some((_, end))) => *end = Some(at.clone()),
            (Some(_), Some(_)) => return Err(format!("change {id} begins what has begun")),
            (None, None) => return Err(format!("change {id} ends what has not begun")),
        }
    }
    Ok(replay)
}

/// What a field was before a change is what it was after the last one, and the last one says what
/// it is now.
fn chained(observed: &Observed) -> Result<(), String> {
    let mut last = BTreeMap::<[&String; 2], &String>::new();
    for (id, ObservedChange { told: [customer, kind, field, old, new], .. }) in &observed.feed {
        if kind == "erased" {
            last.retain(|[owner, _], _| *owner != customer);
        }
        if kind != "updated" {
            continue;
        }
        match last.insert([customer, field], new) {
            Some(before) if before != old => {
                return Err(format!("change {id} of {customer}.{field}: was {before}, not {old}"));
            }
            _ => {}
        }
    }
    for ([customer, field], told) in last {
        let customer = observed.customers.get(customer);
        let is = customer.map(|customer| customer.fields[field.as_str()].clone());
        if is.clone().map(Option::unwrap_or_default).as_ref() != Some(told) {
            return Err(format!("{field} is {is:?}, but its last change says {told}"));
        }
    }
    Ok(())
}
