//! The devices and orders of customers, as intervals.

use crate::store::merge::{EndedInterval, NewInterval, OpenInterval, StoredList};
use rusqlite::{Connection, Result};
use std::borrow::Cow;
use std::collections::HashSet;
use std::rc::Rc;

/// The statements of one of the two lists that a customer has.
#[derive(Debug)]
pub(super) struct ListTable {
    select: &'static str,
    insert: &'static str,
    close: &'static str,
    delete: &'static str,
}

pub(super) const DEVICES: ListTable = ListTable {
    select: "SELECT n, device_id, assigned_at, unassigned_at FROM _device_intervals
             WHERE customer_key = ?1 ORDER BY n",
    insert: "INSERT INTO _device_intervals
                 (customer_key, n, device_id, assigned_after, assigned_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
    close: "UPDATE _device_intervals SET unassigned_at = ?3 WHERE customer_key = ?1 AND n = ?2",
    delete: "DELETE FROM _device_intervals WHERE customer_key = ?1",
};

pub(super) const ORDERS: ListTable = ListTable {
    select: "SELECT n, order_id, first_seen_at, removed_at FROM _order_intervals
             WHERE customer_key = ?1 ORDER BY n",
    insert: "INSERT INTO _order_intervals (customer_key, n, order_id, seen_after, first_seen_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
    close: "UPDATE _order_intervals SET removed_at = ?3 WHERE customer_key = ?1 AND n = ?2",
    delete: "DELETE FROM _order_intervals WHERE customer_key = ?1",
};

/// Reads the intervals of a customer into `list`.
pub(super) fn load(
    store: &Connection,
    table: &ListTable,
    customer: i64,
    list: &mut StoredList,
) -> Result<()> {
    let mut select = store.prepare_cached(table.select)?;
    let mut rows = select.query([customer])?;
    while let Some(row) = rows.next()? {
        let (n, id): (i64, String) = (row.get(0)?, row.get(1)?);
        list.next = n + 1;
        match row.get::<_, Option<Rc<str>>>(3)? {
            None => list.open.push(OpenInterval { n, id, begin: row.get(2)? }),
            Some(end) => {
                let last = list.ended.entry(id).or_insert_with(|| Rc::clone(&end));
                if *last < end {
                    *last = end;
                }
            }
        }
    }
    Ok(())
}

pub(super) fn close(
    store: &Connection,
    table: &ListTable,
    customer: i64,
    ended: &[EndedInterval],
) -> Result<()> {
    for interval in ended {
        let mut close = store.prepare_cached(table.close)?;
        close.execute((customer, interval.n, &interval.end))?;
    }
    Ok(())
}

/// Deletes the intervals of a customer.
pub(super) fn delete(store: &Connection, customer: i64) -> Result<()> {
    store.execute(DEVICES.delete, [customer])?;
    store.execute(ORDERS.delete, [customer])?;
    Ok(())
}

/// New intervals that wait until their commit is about to end. They are written in the order of the
/// index over what they name, so that each of its pages is touched once a commit, not once a row.
#[derive(Debug, Default)]
pub(super) struct NewIntervals<'a> {
    devices: Vec<Waiting<'a>>,
    orders: Vec<Waiting<'a>>,
    customers: HashSet<i64>,
}

/// The identifier comes first: it gives the order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting<'a> {
    id: Cow<'a, str>,
    customer: i64,
    n: i64,
    after: Option<Rc<str>>,
    begin: Rc<str>,
}

impl<'a> NewIntervals<'a> {
    pub(super) fn add(
        &mut self,
        customer: i64,
        devices: Vec<NewInterval<'a>>,
        orders: Vec<NewInterval<'a>>,
    ) {
        if devices.is_empty() && orders.is_empty() {
            return;
        }
        self.customers.insert(customer);
        let wait = |open: NewInterval<'a>| {
            let NewInterval { n, id, after, begin } = open;
            Waiting { id, customer, n, after, begin }
        };
        self.devices.extend(devices.into_iter().map(wait));
        self.orders.extend(orders.into_iter().map(wait));
    }

    /// Whether intervals of this customer wait.
    pub(super) fn wait_for(&self, customer: i64) -> bool {
        self.customers.contains(&customer)
    }

    pub(super) fn write(&mut self, store: &Connection) -> Result<()> {
        self.customers.clear();
        for (table, waiting) in [(&DEVICES, &mut self.devices), (&ORDERS, &mut self.orders)] {
            waiting.sort_unstable();
            let mut insert = store.prepare_cached(table.insert)?;
            for one in waiting.drain(..) {
                insert.execute((one.customer, one.n, one.id, one.after, one.begin))?;
            }
        }
        Ok(())
    }
}
