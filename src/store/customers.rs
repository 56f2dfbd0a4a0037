//! Customers and what hangs on them: read, upserted, marked missing.

use crate::domain::customer::{Customer, CustomerBody, Digest};
use crate::domain::outcome::ChangeKind;
use crate::store::merge::{
    Change, CustomerRow, Merged, MergedList, NewInterval, StoredCustomer, StoredList, first, merge,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::borrow::Cow;
use std::collections::HashSet;
use std::rc::Rc;

type Result<T> = rusqlite::Result<T>;

/// An answer to write: by which request it came, and when.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The number of the request.
    pub request: i64,
    /// The time of the answer.
    pub at: &'a Rc<str>,
}

/// A list that hangs on a customer, by its statements.
struct ListTable {
    select: &'static str,
    insert: &'static str,
    close: &'static str,
    close_all: &'static str,
}

const DEVICES: ListTable = ListTable {
    select: "SELECT n, iif(unassigned_at IS NULL, device_id, NULL) FROM _device_intervals
             WHERE customer_key = ?1 ORDER BY n",
    insert:
        "INSERT INTO _device_intervals (customer_key, n, device_id, assigned_after, assigned_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
    close: "UPDATE _device_intervals SET unassigned_at = ?3 WHERE customer_key = ?1 AND n = ?2",
    close_all: "UPDATE _device_intervals SET unassigned_at = ?2
                WHERE customer_key = ?1 AND unassigned_at IS NULL",
};

const ORDERS: ListTable = ListTable {
    select: "SELECT n, iif(removed_at IS NULL, order_id, NULL) FROM _order_intervals
             WHERE customer_key = ?1 ORDER BY n",
    insert: "INSERT INTO _order_intervals (customer_key, n, order_id, seen_after, first_seen_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
    close: "UPDATE _order_intervals SET removed_at = ?3 WHERE customer_key = ?1 AND n = ?2",
    close_all: "UPDATE _order_intervals SET removed_at = ?2
                WHERE customer_key = ?1 AND removed_at IS NULL",
};

/// Writes the answers of one commit. Their new intervals wait for [`Self::finish`], which writes them
/// in the order of the index over what they name: so each of its pages is touched once a commit, not
/// once a row.
#[derive(Debug)]
pub struct Customers<'a> {
    store: &'a Connection,
    run_id: i64,
    devices: Vec<Waiting<'a>>,
    orders: Vec<Waiting<'a>>,
    /// The customers that have intervals waiting.
    waiting: HashSet<i64>,
}

/// A new interval that waits to be written. The identifier comes first: it gives the order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting<'a> {
    id: Cow<'a, str>,
    customer: i64,
    n: i64,
    after: Option<Rc<str>>,
    at: Rc<str>,
}

impl<'a> Customers<'a> {
    /// For a commit of `run_id`.
    pub fn new(store: &'a Connection, run_id: i64) -> Self {
        Self { store, run_id, devices: Vec::new(), orders: Vec::new(), waiting: HashSet::new() }
    }

    /// Notes that the customer of this key was answered once more just as it is stored. False, and
    /// nothing is noted, unless it is.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn confirm(&self, key: i64, body: &CustomerBody, answered: Answered<'_>) -> Result<bool> {
        let lists = body.lists();
        let confirmed = self
            .store
            .prepare_cached(
                "UPDATE _customers SET synced_at = max(synced_at, ?4), request = ?3,
                     devices_listed_at = iif(?5, max(synced_at, ?4), devices_listed_at),
                     orders_listed_at = iif(?6, max(synced_at, ?4), orders_listed_at)
                 WHERE key = ?1 AND answer_digest = ?2 AND request <= ?3 AND missing_since IS NULL",
            )?
            .execute(params![
                key,
                body.digest().as_bytes(),
                answered.request,
                answered.at,
                lists.devices,
                lists.orders,
            ])?;
        Ok(confirmed == 1)
    }

    /// Upserts a customer by its answer, whose body has this digest. Returns the customer's key and
    /// what changed.
    ///
    /// An answer whose request started before that of the answer stored changes nothing.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn upsert(
        &mut self,
        answer: &Customer<'a>,
        digest: &Digest,
        answered: Answered<'_>,
    ) -> Result<(i64, Vec<Change>)> {
        let Some(mut stored) = load(self.store, &answer.id)? else {
            return self.insert(answer, digest, answered);
        };
        if answered.request < stored.request {
            return Ok((stored.key, Vec::new()));
        }
        if self.waiting.contains(&stored.key) {
            self.finish()?;
        }
        load_list(self.store, &DEVICES, stored.key, &mut stored.devices)?;
        load_list(self.store, &ORDERS, stored.key, &mut stored.orders)?;
        let merged = merge(&stored, answer, answered.at);
        update(self.store, (&stored, &merged), digest, answered.request)?;
        self.write_what_hangs_on(stored.key, merged)
    }

    fn insert(
        &mut self,
        answer: &Customer<'a>,
        digest: &Digest,
        answered: Answered<'_>,
    ) -> Result<(i64, Vec<Change>)> {
        let merged = first(answer, answered.at);
        let no_row = CustomerRow::default();
        let row = merged.row.as_ref().unwrap_or(&no_row);
        self.store
            .prepare_cached(
                "INSERT INTO _customers (
                     id, organization_id, email, name, phone, address, metadata, created_at, extra,
                     first_seen_at, changed_at, synced_at, request, devices_listed_at,
                     orders_listed_at, answer_digest
                 ) VALUES (
                     ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?10, ?11, ?12, ?13, ?14)",
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
                digest.as_bytes(),
            ])?;
        self.write_what_hangs_on(self.store.last_insert_rowid(), merged)
    }

    fn write_what_hangs_on(&mut self, key: i64, merged: Merged<'a>) -> Result<(i64, Vec<Change>)> {
        let Merged { at, devices, orders, changes, .. } = merged;
        close(self.store, &DEVICES, key, (&devices, &at))?;
        close(self.store, &ORDERS, key, (&orders, &at))?;
        if !devices.open.is_empty() || !orders.open.is_empty() {
            self.waiting.insert(key);
        }
        let wait = |open: NewInterval<'a>| Waiting {
            id: open.id,
            customer: key,
            n: open.n,
            after: open.after,
            at: Rc::clone(&at),
        };
        self.devices.extend(devices.open.into_iter().map(wait));
        self.orders.extend(orders.open.into_iter().map(wait));
        write_changes(self.store, key, self.run_id, (&changes, &at))?;
        Ok((key, changes))
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn finish(&mut self) -> Result<()> {
        self.waiting.clear();
        for (table, waiting) in [(&DEVICES, &mut self.devices), (&ORDERS, &mut self.orders)] {
            waiting.sort_unstable();
            let mut insert = self.store.prepare_cached(table.insert)?;
            for one in waiting.drain(..) {
                insert.execute((one.customer, one.n, one.id, one.after, one.at))?;
            }
        }
        Ok(())
    }
}

/// Marks a customer missing: closes what is open and tells of it once.
///
/// # Errors
/// What SQLite says.
pub fn mark_missing(store: &Connection, key: i64, run_id: i64, at: &str) -> Result<bool> {
    let mark = "UPDATE _customers
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

/// A customer, but for its lists, which are empty yet.
fn load(store: &Connection, id: &str) -> Result<Option<StoredCustomer>> {
    let select = "SELECT key, request, organization_id, email, name, phone, address, metadata,
             created_at, extra, synced_at, missing_since, devices_listed_at, orders_listed_at
         FROM _customers WHERE id = ?1";
    let text = |row: &Row<'_>, column| -> Result<Option<Cow<'static, str>>> {
        Ok(row.get::<_, Option<String>>(column)?.map(Cow::Owned))
    };
    let stored = store.prepare_cached(select)?.query_row([id], |row| {
        let list = |listed_at| StoredList { listed_at, ..StoredList::default() };
        Ok(StoredCustomer {
            key: row.get(0)?,
            request: row.get(1)?,
            row: CustomerRow {
                organization_id: text(row, 2)?,
                email: text(row, 3)?,
                name: text(row, 4)?,
                phone: text(row, 5)?,
                address: text(row, 6)?,
                metadata: text(row, 7)?,
                created_at: text(row, 8)?,
                extra: text(row, 9)?,
            },
            synced_at: row.get(10)?,
            missing_since: row.get(11)?,
            devices: list(row.get(12)?),
            orders: list(row.get(13)?),
        })
    });
    stored.optional()
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

fn update(
    store: &Connection,
    (stored, merged): (&StoredCustomer, &Merged<'_>),
    digest: &Digest,
    request: i64,
) -> Result<()> {
    store
        .prepare_cached(
            "UPDATE _customers SET synced_at = ?2, request = ?3, missing_since = NULL,
                 devices_listed_at = ?4, orders_listed_at = ?5, answer_digest = ?6
             WHERE key = ?1",
        )?
        .execute(params![
            stored.key,
            merged.at,
            request,
            merged.devices.listed_at,
            merged.orders.listed_at,
            digest.as_bytes(),
        ])?;
    if let Some(row) = &merged.row {
        store
            .prepare_cached(
                "UPDATE _customers SET organization_id = ?2, email = ?3, name = ?4, phone = ?5,
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
        let changed = "UPDATE _customers SET changed_at = ?2 WHERE key = ?1";
        store.prepare_cached(changed)?.execute((stored.key, &merged.at))?;
    }
    Ok(())
}

fn close(
    store: &Connection,
    table: &ListTable,
    key: i64,
    (list, at): (&MergedList<'_>, &str),
) -> Result<()> {
    if !list.close.is_empty() {
        let mut close = store.prepare_cached(table.close)?;
        for n in &list.close {
            close.execute((key, n, at))?;
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
                "INSERT INTO _changes (run_id, at, customer_key, kind, field, old, new)
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

    /// What a commit of this one answer brings.
    fn upsert(store: &Connection, json: &str, request: i64, at: &str) -> (i64, Vec<Change>) {
        let body = CustomerBody::new(json.as_bytes()).unwrap();
        let mut customers = Customers::new(store, 1);
        let answered = Answered { request, at: &at.into() };
        let upserted = customers.upsert(&body.customer().unwrap(), body.digest(), answered);
        customers.finish().unwrap();
        upserted.unwrap()
    }

    fn confirm(store: &Connection, key: i64, json: &str, request: i64, at: &str) -> bool {
        let body = CustomerBody::new(json.as_bytes()).unwrap();
        let answered = Answered { request, at: &at.into() };
        Customers::new(store, 1).confirm(key, &body, answered).unwrap()
    }

    /// All that is stored, as text.
    fn dump(store: &Connection) -> Vec<String> {
        let tables = ["customers", "_device_intervals", "_order_intervals", "_changes"];
        let rows = tables.map(|table| {
            let mut select = store.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = select.column_count();
            let row = |row: &Row<'_>| {
                let cell =
                    |n| row.get::<_, rusqlite::types::Value>(n).map(|cell| format!("{cell:?}"));
                (0..columns).map(cell).collect::<Result<String>>()
            };
            select.query_map([], row).unwrap().collect::<Result<Vec<_>>>().unwrap()
        });
        rows.concat()
    }

    #[test]
    fn an_older_request_changes_nothing() {
        let store = Store::temporary().unwrap().connection;
        let (new, old) = (r#"{"id":"c","name":"new"}"#, r#"{"id":"c","name":"old"}"#);
        let (key, _) = upsert(&store, new, 7, "b");
        assert_eq!(upsert(&store, old, 6, "c"), (key, vec![]));
        assert_eq!(load(&store, "c").unwrap().unwrap().row.name.as_deref(), Some("new"));
        assert_eq!(upsert(&store, old, 8, "d").1.len(), 1);
    }

    #[test]
    fn what_is_confirmed_is_what_an_upsert_would_have_written() {
        for json in [
            r#"{"id":"c","name":"A","devices":["d1","d2"],"orders":[],"x":1}"#,
            r#"{"id":"c","devices":["d1"]}"#,
            r#"{"id":"c","orders":["o1"]}"#,
            r#"{"id":"c"}"#,
        ] {
            for at in ["2026-02", "2025-12"] {
                let stores = [(); 2].map(|()| Store::temporary().unwrap().connection);
                let [confirmed, upserted] = stores.each_ref().map(|store| {
                    upsert(
                        store,
                        r#"{"id":"c","name":"B","devices":[],"orders":[]}"#,
                        1,
                        "2025-11",
                    );
                    upsert(store, json, 2, "2026-01").0
                });
                assert!(confirm(&stores[0], confirmed, json, 3, at), "{json}");
                assert_eq!(upsert(&stores[1], json, 3, at), (upserted, vec![]));
                assert_eq!(dump(&stores[0]), dump(&stores[1]), "{json} at {at}");
            }
        }
    }

    #[test]
    fn only_what_is_stored_is_confirmed() {
        let store = Store::temporary().unwrap().connection;
        let json = r#"{"id":"c","devices":["d1"]}"#;
        let (key, _) = upsert(&store, json, 5, "b");
        let before = dump(&store);
        assert!(!confirm(&store, key + 1, json, 6, "c"), "another customer's key");
        assert!(!confirm(&store, key, r#"{"id":"c","devices":["d2"]}"#, 6, "c"), "other devices");
        assert!(!confirm(&store, key, json, 4, "c"), "an older request");
        assert_eq!(dump(&store), before);
        mark_missing(&store, key, 1, "d").unwrap();
        assert!(!confirm(&store, key, json, 6, "e"), "it was missing");
        upsert(&store, r#"{"id":"c","devices":["d2"]}"#, 7, "f");
        assert!(!confirm(&store, key, json, 8, "g"), "another answer has come since");
    }

    #[test]
    fn several_answers_for_one_customer_in_a_commit_are_written_one_by_one() {
        let store = Store::temporary().unwrap().connection;
        let bodies = [r#"["d2","d1"]"#, r#"["d1","d3"]"#, r#"["d1","d3"]"#].map(|devices| {
            let json = format!(r#"{{"id":"c","devices":{devices}}}"#);
            CustomerBody::new(json.as_bytes()).unwrap()
        });
        let mut customers = Customers::new(&store, 1);
        let at = Rc::from("a");
        let told = (1..).zip(&bodies).map(|(request, body)| {
            let answered = Answered { request, at: &at };
            let answer = body.customer().unwrap();
            customers.upsert(&answer, body.digest(), answered).unwrap().1.len()
        });
        assert_eq!(told.collect::<Vec<_>>(), [1, 2, 0]);
        customers.finish().unwrap();
        let mut stored = load(&store, "c").unwrap().unwrap();
        load_list(&store, &DEVICES, stored.key, &mut stored.devices).unwrap();
        assert_eq!(stored.devices.open, [(1, "d1".to_owned()), (2, "d3".to_owned())]);
    }

    #[test]
    fn missing_is_told_once_and_closes_all() {
        let store = Store::temporary().unwrap().connection;
        let one = r#"{"id":"c","devices":["d1","d2"],"orders":["o1"]}"#;
        let (key, _) = upsert(&store, one, 1, "a");
        assert!(mark_missing(&store, key, 1, "b").unwrap());
        assert!(!mark_missing(&store, key, 1, "c").unwrap());
        let open = "SELECT (SELECT count(*) FROM current_devices)
                         + (SELECT count(*) FROM current_orders)";
        assert_eq!(store.query_row(open, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
        let (_, changes) = upsert(&store, one, 2, "d");
        assert_eq!(changes, [Change::of(ChangeKind::Returned)]);
        assert_eq!(store.query_row(open, [], |row| row.get::<_, i64>(0)).unwrap(), 3);
    }

    #[test]
    fn deleting_a_customer_deletes_what_hangs_on_it() {
        let store = Store::temporary().unwrap().connection;
        upsert(&store, r#"{"id":"c","devices":["d1"],"orders":["o1"]}"#, 1, "a");
        store.execute("DELETE FROM _customers WHERE id = 'c'", []).unwrap();
        for table in ["_device_intervals", "_order_intervals", "_changes"] {
            let count = format!("SELECT count(*) FROM {table}");
            assert_eq!(store.query_row(&count, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
        }
    }
}
