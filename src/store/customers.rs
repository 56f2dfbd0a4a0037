//! Customers: upserted by answers, marked missing, found again.

use crate::domain::customer::{Customer, CustomerBody, Digest};
use crate::store::changes::{self, ChangeOf};
use crate::store::intervals::{self, DEVICES, NewIntervals, ORDERS};
use crate::store::merge::{
    Change, CustomerRow, Merged, StoredCustomer, StoredList, first, merge, missing, not_missing,
};
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};
use std::borrow::Cow;
use std::rc::Rc;

/// By which request an answer came, and when.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The number of the request.
    pub request: i64,
    /// The time of the answer.
    pub at: &'a Rc<str>,
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upserted {
    /// The customer of this key has it, with these changes.
    Stored {
        /// The customer's key.
        key: i64,
        /// What the answer changed.
        changes: Vec<Change>,
    },
    /// Nothing was stored: the customer of this key was erased and is not to come back.
    Erased {
        /// The customer's key.
        key: i64,
    },
}

/// Writes the answers of one commit. Their new intervals wait for [`Self::finish`].
#[derive(Debug)]
pub struct Customers<'a> {
    store: &'a Connection,
    run_id: i64,
    new_intervals: NewIntervals<'a>,
}

impl<'a> Customers<'a> {
    /// For a commit of `run_id`.
    pub fn new(store: &'a Connection, run_id: i64) -> Self {
        Self { store, run_id, new_intervals: NewIntervals::default() }
    }

    /// Notes that the customer of this key was answered once more just as it is stored. False, and
    /// nothing is noted, if it is not.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn confirm(&self, key: i64, body: &CustomerBody, answered: Answered<'_>) -> Result<bool> {
        let lists = body.lists();
        let confirmed = self
            .store
            .prepare_cached(
                "UPDATE _customers SET synced_at = ?4, request = ?3,
                     devices_listed_at = iif(?5, ?4, devices_listed_at),
                     orders_listed_at = iif(?6, ?4, orders_listed_at)
                 WHERE key = ?1 AND answer_digest = ?2 AND request <= ?3
                     AND missing_since IS NULL",
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

    /// Upserts a customer by its answer, whose body has this digest. An answer whose request
    /// started before that of the answer stored changes nothing.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn upsert(
        &mut self,
        answer: &Customer<'a>,
        digest: &Digest,
        answered: Answered<'_>,
    ) -> Result<Upserted> {
        match load(self.store, &answer.id)? {
            Known::Stored(stored) if answered.request < stored.request => {
                Ok(Upserted::Stored { key: stored.key, changes: Vec::new() })
            }
            Known::Stored(stored) => self.update(*stored, answer, digest, answered),
            Known::Forgotten { key } => Ok(Upserted::Erased { key }),
            Known::Erased { key } => self.insert(Some(key), answer, digest, answered),
            Known::Never => self.insert(None, answer, digest, answered),
        }
    }

    fn update(
        &mut self,
        mut stored: StoredCustomer,
        answer: &Customer<'a>,
        digest: &Digest,
        answered: Answered<'_>,
    ) -> Result<Upserted> {
        if self.new_intervals.wait_for(stored.key) {
            self.finish()?;
        }
        load_lists(self.store, &mut stored)?;
        let merged = merge(&stored, answer, answered.at);
        self.store
            .prepare_cached(
                "UPDATE _customers SET synced_at = ?2, request = ?3, missing_since = NULL,
                     devices_listed_at = ?4, orders_listed_at = ?5, answer_digest = ?6
                 WHERE key = ?1",
            )?
            .execute(params![
                stored.key,
                merged.at,
                answered.request,
                merged.devices.listed_at,
                merged.orders.listed_at,
                digest.as_bytes(),
            ])?;
        if let Some(row) = &merged.row {
            update_row(self.store, stored.key, row)?;
        }
        if !merged.changes.is_empty() {
            let changed = "UPDATE _customers SET changed_at = ?2 WHERE key = ?1";
            self.store.prepare_cached(changed)?.execute((stored.key, &merged.at))?;
        }
        self.write_lists(stored.key, merged)
    }

    /// Writes a new customer; in the row of `erased`, where it was erased and may come back.
    fn insert(
        &mut self,
        erased: Option<i64>,
        answer: &Customer<'a>,
        digest: &Digest,
        answered: Answered<'_>,
    ) -> Result<Upserted> {
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
                     ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?10, ?11, ?12, ?13, ?14)
                 ON CONFLICT (id) DO UPDATE SET organization_id = ?2, email = ?3, name = ?4,
                     phone = ?5, address = ?6, metadata = ?7, created_at = ?8, extra = ?9,
                     first_seen_at = ?10, changed_at = ?10, synced_at = ?10, request = ?11,
                     devices_listed_at = ?12, orders_listed_at = ?13, answer_digest = ?14,
                     erased_at = NULL",
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
        let key = erased.unwrap_or_else(|| self.store.last_insert_rowid());
        self.write_lists(key, merged)
    }

    fn write_lists(&mut self, key: i64, merged: Merged<'a>) -> Result<Upserted> {
        let Merged { at, devices, orders, changes, .. } = merged;
        intervals::close(self.store, &DEVICES, key, &devices.close)?;
        intervals::close(self.store, &ORDERS, key, &orders.close)?;
        self.new_intervals.add(key, devices.open, orders.open);
        let of = ChangeOf { customer: key, run_id: Some(self.run_id), at: &at };
        changes::write(self.store, of, &changes)?;
        Ok(Upserted::Stored { key, changes })
    }

    /// Marks a customer missing from `at` on and ends its intervals. Returns what that changed:
    /// nothing, if it was missing before.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn mark_missing(&mut self, key: i64, at: &Rc<str>) -> Result<Vec<Change>> {
        match load_by_key(self.store, key)? {
            Some(stored) if stored.missing_since.is_none() => {
                self.set_missing_since(key, missing(&stored, at), Some(at))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Takes the mark of [`Self::mark_missing`] away again: the customer has again what it had.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn unmark_missing(&mut self, key: i64, at: &Rc<str>) -> Result<Vec<Change>> {
        match load_by_key(self.store, key)? {
            Some(stored) if stored.missing_since.is_some() => {
                let lost = changes::lost_by_missing(self.store, key)?;
                self.set_missing_since(key, not_missing(&stored, lost, at), None)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn set_missing_since(
        &mut self,
        key: i64,
        merged: Merged<'a>,
        since: Option<&str>,
    ) -> Result<Vec<Change>> {
        self.store
            .prepare_cached(
                "UPDATE _customers SET missing_since = ?2, changed_at = ?3, devices_listed_at = ?4,
                     orders_listed_at = ?5
                 WHERE key = ?1",
            )?
            .execute(params![
                key,
                since,
                merged.at,
                merged.devices.listed_at,
                merged.orders.listed_at,
            ])?;
        match self.write_lists(key, merged)? {
            Upserted::Stored { changes, .. } => Ok(changes),
            Upserted::Erased { .. } => Ok(Vec::new()),
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        self.new_intervals.write(self.store)
    }
}

/// What the store has of a customer.
enum Known {
    Never,
    /// Its lists are not loaded yet.
    Stored(Box<StoredCustomer>),
    /// Only its id is left, for the feed.
    Erased {
        key: i64,
    },
    /// Erased by `forget`: it is not to come back.
    Forgotten {
        key: i64,
    },
}

fn load(store: &Connection, id: &str) -> Result<Known> {
    let select = "SELECT key, request, organization_id, email, name, phone, address, metadata,
             created_at, extra, missing_since, devices_listed_at, orders_listed_at,
             erased_at IS NOT NULL
         FROM _customers WHERE id = ?1";
    let known = store.prepare_cached(select)?.query_row([id], |row| {
        let stored = read(row)?;
        Ok(match row.get(13)? {
            false => Known::Stored(Box::new(stored)),
            true => Known::Erased { key: stored.key },
        })
    });
    match known.optional()? {
        None => Ok(Known::Never),
        Some(Known::Erased { key }) if is_forgotten(store, key)? => Ok(Known::Forgotten { key }),
        Some(known) => Ok(known),
    }
}

fn is_forgotten(store: &Connection, key: i64) -> Result<bool> {
    let select = "SELECT EXISTS (SELECT 1 FROM _tombstones WHERE customer_key = ?1)";
    store.query_row(select, [key], |row| row.get(0))
}

/// A customer that is not erased, with its lists.
fn load_by_key(store: &Connection, key: i64) -> Result<Option<StoredCustomer>> {
    let select = "SELECT key, request, organization_id, email, name, phone, address, metadata,
             created_at, extra, missing_since, devices_listed_at, orders_listed_at
         FROM _customers WHERE key = ?1 AND erased_at IS NULL";
    let mut stored = store.prepare_cached(select)?.query_row([key], read).optional()?;
    if let Some(stored) = &mut stored {
        load_lists(store, stored)?;
    }
    Ok(stored)
}

fn load_lists(store: &Connection, stored: &mut StoredCustomer) -> Result<()> {
    intervals::load(store, &DEVICES, stored.key, &mut stored.devices)?;
    intervals::load(store, &ORDERS, stored.key, &mut stored.orders)
}

fn read(row: &Row<'_>) -> Result<StoredCustomer> {
    let text = |column| -> Result<Option<Cow<'static, str>>> {
        Ok(row.get::<_, Option<String>>(column)?.map(Cow::Owned))
    };
    let list = |listed_at| StoredList { listed_at, ..StoredList::default() };
    Ok(StoredCustomer {
        key: row.get(0)?,
        request: row.get(1)?,
        row: CustomerRow {
            organization_id: text(2)?,
            email: text(3)?,
            name: text(4)?,
            phone: text(5)?,
            address: text(6)?,
            metadata: text(7)?,
            created_at: text(8)?,
            extra: text(9)?,
        },
        missing_since: row.get(10)?,
        devices: list(row.get(11)?),
        orders: list(row.get(12)?),
    })
}

fn update_row(store: &Connection, key: i64, row: &CustomerRow<'_>) -> Result<()> {
    store
        .prepare_cached(
            "UPDATE _customers SET organization_id = ?2, email = ?3, name = ?4, phone = ?5,
                 address = ?6, metadata = ?7, created_at = ?8, extra = ?9
             WHERE key = ?1",
        )?
        .execute(params![
            key,
            row.organization_id,
            row.email,
            row.name,
            row.phone,
            row.address,
            row.metadata,
            row.created_at,
            row.extra,
        ])?;
    Ok(())
}

#[cfg(test)]
mod tests;
