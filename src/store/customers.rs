//! Customers and what hangs on them: read, upserted, marked missing.

use crate::customer::Customer;
use crate::outcome::ChangeKind;
use crate::store::merge::{
    Change, CustomerRow, Merged, MergedList, StoredCustomer, StoredList, first, merge,
};
use rusqlite::{Connection, OptionalExtension as _, params};

type Result<T> = rusqlite::Result<T>;

/// An answer to write: which run brought it, by which request, when.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The run.
    pub run_id: i64,
    /// The number of the request.
    pub request: i64,
    /// The time of the answer.
    pub at: &'a str,
}

/// A list that hangs on a customer, by its statements.
struct ListTable {
    select: &'static str,
    insert: &'static str,
    close: &'static str,
    close_all: &'static str,
}

const DEVICES: ListTable = ListTable {
    select: "SELECT n, iif(unassigned_at IS NULL, device_id, NULL) FROM device_intervals
             WHERE customer_key = ?1 ORDER BY n",
    insert: "INSERT INTO device_intervals (customer_key, n, device_id, assigned_after, assigned_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
    close: "UPDATE device_intervals SET unassigned_at = ?3 WHERE customer_key = ?1 AND n = ?2",
    close_all: "UPDATE device_intervals SET unassigned_at = ?2
                WHERE customer_key = ?1 AND unassigned_at IS NULL",
};

const ORDERS: ListTable = ListTable {
    select: "SELECT n, iif(removed_at IS NULL, order_id, NULL) FROM order_intervals
             WHERE customer_key = ?1 ORDER BY n",
    insert: "INSERT INTO order_intervals (customer_key, n, order_id, seen_after, first_seen_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
    close: "UPDATE order_intervals SET removed_at = ?3 WHERE customer_key = ?1 AND n = ?2",
    close_all: "UPDATE order_intervals SET removed_at = ?2
                WHERE customer_key = ?1 AND removed_at IS NULL",
};

/// Upserts a customer by its answer. Returns the customer's key and what changed.
///
/// An answer whose request started before that of the answer stored changes nothing.
///
/// # Errors
/// What SQLite says.
pub fn upsert(
    store: &Connection,
    answer: &Customer,
    answered: Answered<'_>,
) -> Result<(i64, Vec<Change>)> {
    let Some(stored) = load(store, &answer.id)? else {
        return insert(store, answer, answered);
    };
    if answered.request < stored.request {
        return Ok((stored.key, Vec::new()));
    }
    let merged = merge(&stored, answer, answered.at);
    update(store, &stored, &merged, answered.request)?;
    write_list(store, &DEVICES, stored.key, (&merged.devices, &merged.at))?;
    write_list(store, &ORDERS, stored.key, (&merged.orders, &merged.at))?;
    write_changes(store, stored.key, answered.run_id, (&merged.changes, &merged.at))?;
    Ok((stored.key, merged.changes))
}

/// Marks a customer missing: closes what is open and tells of it once.
///
/// # Errors
/// What SQLite says.
pub fn mark_missing(store: &Connection, key: i64, run_id: i64, at: &str) -> Result<bool> {
    let mark = "UPDATE customers
         SET missing_since = max(?2, synced_at), changed_at = max(?2, synced_at)
         WHERE key = ?1 AND missing_since IS NULL RETURNING missing_since";
    let marked = store.prepare_cached(mark)?.query_row((key, at), |row| row.get(0)).optional()?;
    let Some(since): Option<String> = marked else {
        return Ok(false);
    };
    store.prepare_cached(DEVICES.close_all)?.execute((key, &since))?;
    store.prepare_cached(ORDERS.close_all)?.execute((key, &since))?;
    write_changes(store, key, run_id, (&[Change::of(ChangeKind::Missing)], &since))?;
    Ok(true)
}

fn load(store: &Connection, id: &str) -> Result<Option<StoredCustomer>> {
    let select = "SELECT key, request, organization_id, email, name, phone, address, metadata,
             created_at, extra, synced_at, missing_since, devices_listed_at, orders_listed_at
         FROM customers WHERE id = ?1";
    let stored = store.prepare_cached(select)?.query_row([id], |row| {
        let list = |listed_at| StoredList { listed_at, ..StoredList::default() };
        Ok(StoredCustomer {
            key: row.get(0)?,
            request: row.get(1)?,
            row: CustomerRow {
                organization_id: row.get(2)?,
                email: row.get(3)?,
                name: row.get(4)?,
                phone: row.get(5)?,
                address: row.get(6)?,
                metadata: row.get(7)?,
                created_at: row.get(8)?,
                extra: row.get(9)?,
            },
            synced_at: row.get(10)?,
            missing_since: row.get(11)?,
            devices: list(row.get(12)?),
            orders: list(row.get(13)?),
        })
    });
    let Some(mut stored) = stored.optional()? else {
        return Ok(None);
    };
    load_list(store, &DEVICES, stored.key, &mut stored.devices)?;
    load_list(store, &ORDERS, stored.key, &mut stored.orders)?;
    Ok(Some(stored))
}

fn load_list(store: &Connection, table: &ListTable, key: i64, list: &mut StoredList) -> Result<()> {
    let mut select = store.prepare_cached(table.select)?;
    let mut rows = select.query([key])?;
    while let Some(row) = rows.next()? {
        let n: i64 = row.get(0)?;
        if let Some(id) = row.get(1)? {
            list.open.push((n, id));
        }
        list.next = n + 1;
    }
    Ok(())
}

fn insert(
    store: &Connection,
    answer: &Customer,
    answered: Answered<'_>,
) -> Result<(i64, Vec<Change>)> {
    let merged = first(answer, answered.at);
    let row = merged.row.clone().unwrap_or_default();
    store
        .prepare_cached(
            "INSERT INTO customers (
                 id, organization_id, email, name, phone, address, metadata, created_at, extra,
                 first_seen_at, changed_at, synced_at, request, devices_listed_at, orders_listed_at
             ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            answer.id,
            row.organization_id,
            row.email,
            row.name,
            row.phone,
            row.address,
            row.metadata,
            row.created_at,
            row.extra,
            merged.at,
            answered.request,
            merged.devices.listed_at,
            merged.orders.listed_at,
        ])?;
    let key = store.last_insert_rowid();
    write_list(store, &DEVICES, key, (&merged.devices, &merged.at))?;
    write_list(store, &ORDERS, key, (&merged.orders, &merged.at))?;
    write_changes(store, key, answered.run_id, (&merged.changes, &merged.at))?;
    Ok((key, merged.changes))
}

fn update(
    store: &Connection,
    stored: &StoredCustomer,
    merged: &Merged,
    request: i64,
) -> Result<()> {
    store
        .prepare_cached(
            "UPDATE customers SET synced_at = ?2, request = ?3, missing_since = NULL,
                 devices_listed_at = ?4, orders_listed_at = ?5
             WHERE key = ?1",
        )?
        .execute(params![
            stored.key,
            merged.at,
            request,
            merged.devices.listed_at,
            merged.orders.listed_at,
        ])?;
    if let Some(row) = &merged.row {
        store
            .prepare_cached(
                "UPDATE customers SET organization_id = ?2, email = ?3, name = ?4, phone = ?5,
                     address = ?6, metadata = ?7, created_at = ?8, extra = ?9
                 WHERE key = ?1",
            )?
            .execute(params![
                stored.key,
                row.organization_id,
                row.email,
                row.name,
                row.phone,
                row.address,
                row.metadata,
                row.created_at,
                row.extra,
            ])?;
    }
    if !merged.changes.is_empty() {
        let changed = "UPDATE customers SET changed_at = ?2 WHERE key = ?1";
        store.prepare_cached(changed)?.execute((stored.key, &merged.at))?;
    }
    Ok(())
}

fn write_list(
    store: &Connection,
    table: &ListTable,
    key: i64,
    (list, at): (&MergedList, &str),
) -> Result<()> {
    if !list.close.is_empty() {
        let mut close = store.prepare_cached(table.close)?;
        for n in &list.close {
            close.execute((key, n, at))?;
        }
    }
    if !list.open.is_empty() {
        let mut insert = store.prepare_cached(table.insert)?;
        for one in &list.open {
            insert.execute((key, one.n, &one.id, &one.after, at))?;
        }
    }
    Ok(())
}

fn write_changes(
    store: &Connection,
    key: i64,
    run_id: i64,
    (changes, at): (&[Change], &str),
) -> Result<()> {
    for change in changes {
        store
            .prepare_cached(
                "INSERT INTO change_rows (run_id, at, customer_key, kind, field, old, new)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                run_id,
                at,
                key,
                change.kind.name(),
                change.field,
                change.old,
                change.new,
            ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn answered(request: i64, at: &str) -> Answered<'_> {
        Answered { run_id: 1, request, at }
    }

    fn customer(json: &str) -> Customer {
        Customer::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn an_older_request_changes_nothing() {
        let store = Store::temporary().unwrap().connection;
        let new = customer(r#"{"id":"c","name":"new"}"#);
        let old = customer(r#"{"id":"c","name":"old"}"#);
        let (key, _) = upsert(&store, &new, answered(7, "b")).unwrap();
        assert_eq!(upsert(&store, &old, answered(6, "c")).unwrap(), (key, vec![]));
        assert_eq!(load(&store, "c").unwrap().unwrap().row.name.as_deref(), Some("new"));
        assert_eq!(upsert(&store, &old, answered(8, "d")).unwrap().1.len(), 1);
    }

    #[test]
    fn missing_is_told_once_and_closes_all() {
        let store = Store::temporary().unwrap().connection;
        let one = customer(r#"{"id":"c","devices":["d1","d2"],"orders":["o1"]}"#);
        let (key, _) = upsert(&store, &one, answered(1, "a")).unwrap();
        assert!(mark_missing(&store, key, 1, "b").unwrap());
        assert!(!mark_missing(&store, key, 1, "c").unwrap());
        let open = "SELECT (SELECT count(*) FROM current_devices)
                         + (SELECT count(*) FROM current_orders)";
        assert_eq!(store.query_row(open, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
        let (_, changes) = upsert(&store, &one, answered(2, "d")).unwrap();
        assert_eq!(changes, [Change::of(ChangeKind::Returned)]);
        assert_eq!(store.query_row(open, [], |row| row.get::<_, i64>(0)).unwrap(), 3);
    }

    #[test]
    fn deleting_a_customer_deletes_what_hangs_on_it() {
        let store = Store::temporary().unwrap().connection;
        let one = customer(r#"{"id":"c","devices":["d1"],"orders":["o1"]}"#);
        upsert(&store, &one, answered(1, "a")).unwrap();
        store.execute("DELETE FROM customers WHERE id = 'c'", []).unwrap();
        for table in ["device_intervals", "order_intervals", "change_rows"] {
            let count = format!("SELECT count(*) FROM {table}");
            assert_eq!(store.query_row(&count, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
        }
    }
}
