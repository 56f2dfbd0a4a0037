//! Erases a person from the store: rows, indexes, and the bytes that the file still holds of them.

use crate::domain::email::salted_digest as email_digest;
use crate::store::changes::ChangeOf;
use crate::store::erase::erase;
use crate::store::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension as _, Result, TransactionBehavior};
use std::collections::BTreeMap;

/// All that the store knows of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// By key, the id of each.
    pub customers: BTreeMap<i64, String>,
    /// Each with the customer it resolves to, or whose own it is.
    pub emails: BTreeMap<String, Option<i64>>,
}

impl Person {
    pub fn is_unknown(&self) -> bool {
        self.customers.is_empty() && self.emails.is_empty()
    }
}

/// Erases a person as [`find`] has it, and returns what that was.
///
/// # Errors
/// The store cannot be written; nothing is changed then.
pub fn forget(store: &mut Store, person: &str, at: &str) -> Result<Person, StoreError> {
    // Deleted rows are overwritten from here on.
    store.connection.execute_batch("PRAGMA secure_delete = ON")?;
    let transaction = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let person = find(&transaction, person)?;
    erase_person(&transaction, &person, at)?;
    transaction.commit()?;
    if !person.is_unknown() {
        // Pages that were free before may still hold what an earlier change wrote.
        store.connection.execute_batch("VACUUM")?;
    }
    Ok(person)
}

/// The customer with this id, or those that this email resolves to or is the own one of, with all their
/// emails.
///
/// # Errors
/// The store cannot be read.
pub fn find(store: &Connection, person: &str) -> Result<Person> {
    let email = person.to_ascii_lowercase();
    let mut found = Person::default();
    let customers = column::<i64>(
        store,
        "SELECT key FROM _customers WHERE erased_at IS NULL AND (id = ?1 OR lower(email) = ?2
             OR key IN (SELECT customer_key FROM _emails WHERE email = ?2))",
        (person, &email),
    )?;
    for customer in customers {
        // Its own is left if it has become another customer's, who would be lost without it.
        let emails = "SELECT email FROM _emails WHERE customer_key = ?1
             UNION SELECT lower(c.email) FROM _customers AS c
             WHERE c.key = ?1 AND c.email IS NOT NULL AND NOT EXISTS
                 (SELECT 1 FROM _emails AS e
                  WHERE e.email = lower(c.email) AND e.customer_key <> c.key)";
        for email in column::<String>(store, emails, [customer])? {
            found.emails.insert(email, Some(customer));
        }
        let id = "SELECT id FROM _customers WHERE key = ?1";
        found.customers.insert(customer, store.query_row(id, [customer], |row| row.get(0))?);
    }
    let is_known = "SELECT 1 FROM _emails WHERE email = ?1";
    if store.query_row(is_known, [&email], |_| Ok(())).optional()?.is_some() {
        found.emails.entry(email).or_insert(None);
    }
    Ok(found)
}

/// Whether the person with this email or id was erased and is kept out.
///
/// # Errors
/// The store cannot be read.
pub fn is_erased(store: &Connection, person: &str) -> Result<bool> {
    let salt = salt(store)?;
    let digests = (email_digest(&salt, &person.to_ascii_lowercase()), id_digest(&salt, person));
    let known = "SELECT EXISTS (SELECT 1 FROM _tombstones WHERE digest = ?1 OR digest = ?2)";
    store.query_row(known, digests, |row| row.get(0))
}

/// Lets an erased person be looked up again, named by an email or an id. False if nobody of that name was
/// erased.
///
/// # Errors
/// The store cannot be written.
pub fn undo_forget(store: &Connection, person: &str) -> Result<bool, StoreError> {
    let salt = salt(store)?;
    // What was erased together comes back together: the other emails resolve to the same customers.
    let removed = store.execute(
        "DELETE FROM _tombstones WHERE at IN
             (SELECT at FROM _tombstones WHERE digest = ?1 OR digest = ?2)",
        (email_digest(&salt, &person.to_ascii_lowercase()), id_digest(&salt, person)),
    )?;
    Ok(removed > 0)
}

fn salt(store: &Connection) -> Result<Vec<u8>> {
    store.query_row("SELECT salt FROM _store", [], |row| row.get(0))
}

fn id_digest(salt: &[u8], id: &str) -> Vec<u8> {
    // No email holds a NUL.
    email_digest(salt, &format!("{id}\0"))
}

fn erase_person(store: &Connection, person: &Person, at: &str) -> Result<()> {
    let salt = salt(store)?;
    for (email, customer) in &person.emails {
        let digest = email_digest(&salt, email);
        bury(store, &Tombstone { digest, customer: *customer, at })?;
        erase_email(store, email)?;
    }
    for (customer, id) in &person.customers {
        let digest = id_digest(&salt, id);
        bury(store, &Tombstone { digest, customer: Some(*customer), at })?;
        erase(store, ChangeOf { customer: *customer, run_id: None, at })?;
    }
    Ok(())
}

/// Erases an email that turned out to be one of an erased customer.
///
/// # Errors
/// The store cannot be written.
pub(super) fn forget_alias(store: &Connection, email: &str, customer: i64) -> Result<()> {
    // Of the same time, so that one `--undo` lets all of them come back.
    let at: Option<String> = store.query_row(
        "SELECT max(at) FROM _tombstones WHERE customer_key = ?1",
        [customer],
        |row| row.get(0),
    )?;
    if let Some(at) = at {
        let digest = email_digest(&salt(store)?, email);
        bury(store, &Tombstone { digest, customer: Some(customer), at: &at })?;
    }
    erase_email(store, email)
}

/// By which an erased email or customer is recognized.
struct Tombstone<'a> {
    digest: Vec<u8>,
    /// None: an email that resolved to nobody.
    customer: Option<i64>,
    at: &'a str,
}

fn bury(store: &Connection, tombstone: &Tombstone<'_>) -> Result<()> {
    let Tombstone { digest, customer, at } = tombstone;
    store.execute(
        "INSERT OR REPLACE INTO _tombstones (digest, customer_key, at) VALUES (?1, ?2, ?3)",
        (digest, customer, at),
    )?;
    Ok(())
}

/// Takes an email out of everything that a run keeps of it. If it is pending, it counts as fresh: it
/// will not be looked up.
fn erase_email(store: &Connection, email: &str) -> Result<()> {
    let key: Option<i64> = store
        .query_row("SELECT key FROM _emails WHERE email = ?1", [email], |row| row.get(0))
        .optional()?;
    if let Some(key) = key {
        store.execute(
            "UPDATE _runs SET pending = pending - 1, planned = planned - 1, fresh = fresh + 1,
                 report = json_set(report,
                     '$.counts.pending', json_extract(report, '$.counts.pending') - 1,
                     '$.counts.planned', json_extract(report, '$.counts.planned') - 1,
                     '$.counts.fresh', json_extract(report, '$.counts.fresh') + 1)
             WHERE id IN (SELECT run_id FROM _plan_items
                 WHERE email_key = ?1 AND first_lookup IS NULL)",
            [key],
        )?;
        store.execute(
            "DELETE FROM _rejects WHERE (run_id, row) IN
                 (SELECT run_id, row FROM _plan_items WHERE email_key = ?1)",
            [key],
        )?;
        let pending = "DELETE FROM _plan_items WHERE email_key = ?1 AND first_lookup IS NULL";
        store.execute(pending, [key])?;
        // What is settled is not undone any more: no email has a negative key, and this key may be given
        // to another. The log still names the customer that the email resolved to before.
        let settled =
            "UPDATE _plan_items SET input = NULL, email_key = -email_key WHERE email_key = ?1";
        store.execute(settled, [key])?;
        store.execute(
            "UPDATE OR REPLACE _lookup_undo_log SET error = NULL, email_key = -email_key
             WHERE email_key = ?1",
            [key],
        )?;
        store.execute("DELETE FROM _emails WHERE key = ?1", [key])?;
    }
    // Rows that could not be read as this email, and what an API wrote about it.
    store.execute("DELETE FROM _rejects WHERE instr(lower(input), ?1) > 0", [email])?;
    for (table, text) in [("_run_failures", "last_reason"), ("_runs", "stop_reason")] {
        let hide =
            format!("UPDATE {table} SET {text} = '(erased)' WHERE instr(lower({text}), ?1) > 0");
        store.execute(&hide, [email])?;
    }
    store.execute(
        "UPDATE _runs SET report = replace(report, substr(report, instr(lower(report), ?1),
             length(?1)), '(erased)') WHERE instr(lower(report), ?1) > 0",
        [email],
    )?;
    Ok(())
}

fn column<T: rusqlite::types::FromSql>(
    store: &Connection,
    select: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<T>> {
    store.prepare(select)?.query_map(parameters, |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_that_has_become_another_customers_stays_with_it() {
        let mut store = Store::temporary().unwrap();
        let at = "2026-01-01T00:00:00.000Z";
        for (key, id, email) in [(1, "old", Some("E@x.io")), (2, "new", None)] {
            let insert = "INSERT INTO _customers
                     (key, id, email, first_seen_at, changed_at, synced_at, request)
                 VALUES (?1, ?2, ?3, ?4, ?4, ?4, 1)";
            store.connection.execute(insert, (key, id, email, at)).unwrap();
        }
        let insert = "INSERT INTO _emails (email, customer_key) VALUES ('e@x.io', 2)";
        store.connection.execute(insert, []).unwrap();
        let erased = forget(&mut store, "old", at).unwrap();
        assert_eq!((erased.customers.len(), erased.emails.len()), (1, 0));
        let left = "SELECT email || customer_id FROM lookups";
        let left: String = store.connection.query_row(left, [], |row| row.get(0)).unwrap();
        assert_eq!(left, "e@x.ionew");
        let erased = forget(&mut store, "e@x.io", at).unwrap();
        assert_eq!((erased.customers.len(), erased.emails.len()), (1, 1));
    }
}
