//! Erases a person from the store: rows, indexes, and the bytes that the file still holds of them.

use crate::domain::email::salted_digest;
use crate::store::changes::ChangeOf;
use crate::store::erase::erase;
use crate::store::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension as _, Result, TransactionBehavior};
use std::collections::BTreeSet;

/// What [`forget`] took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub customers: u64,
    pub emails: u64,
}

/// Erases the customer with this id, or the one that this email resolves to, with all emails that
/// resolve to it. Nothing is erased if the store knows neither.
///
/// # Errors
/// The store cannot be written; nothing is changed then.
pub fn forget(store: &mut Store, person: &str, at: &str) -> Result<Forgotten, StoreError> {
    // Deleted rows are overwritten from here on.
    store.connection.execute_batch("PRAGMA secure_delete = ON")?;
    let transaction = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let forgotten = erase_person(&transaction, person, at)?;
    transaction.commit()?;
    if forgotten != Forgotten::default() {
        // Pages that were free before may still hold what an earlier change wrote.
        store.connection.execute_batch("VACUUM")?;
    }
    Ok(forgotten)
}

/// Lets an erased email be looked up again. False if it was not erased.
///
/// # Errors
/// The store cannot be written.
pub fn undo_forget(store: &Connection, email: &str) -> Result<bool, StoreError> {
    let salt: Vec<u8> = store.query_row("SELECT salt FROM _store", [], |row| row.get(0))?;
    let digest = salted_digest(&salt, &email.to_ascii_lowercase());
    // The other emails of the same customer would keep it from coming back.
    let removed = store.execute(
        "DELETE FROM _tombstones WHERE digest = ?1
             OR customer_key = (SELECT customer_key FROM _tombstones WHERE digest = ?1)",
        [digest],
    )?;
    Ok(removed > 0)
}

fn erase_person(store: &Connection, person: &str, at: &str) -> Result<Forgotten> {
    let email = person.to_ascii_lowercase();
    let customers = column::<i64>(
        store,
        "SELECT key FROM _customers WHERE erased_at IS NULL AND (id = ?1 OR lower(email) = ?2
             OR key IN (SELECT customer_key FROM _emails WHERE email = ?2))",
        (person, &email),
    )?;
    let mut emails = BTreeSet::new();
    for customer in &customers {
        let of_customer = "SELECT email FROM _emails WHERE customer_key = ?1
             UNION SELECT lower(email) FROM _customers WHERE key = ?1 AND email IS NOT NULL";
        emails.extend(column::<String>(store, of_customer, [customer])?);
    }
    let is_known = "SELECT 1 FROM _emails WHERE email = ?1";
    if store.query_row(is_known, [&email], |_| Ok(())).optional()?.is_some() {
        emails.insert(email);
    }
    let salt: Vec<u8> = store.query_row("SELECT salt FROM _store", [], |row| row.get(0))?;
    for email in &emails {
        store.execute(
            "INSERT OR REPLACE INTO _tombstones (digest, customer_key, at) VALUES (?1, ?2, ?3)",
            (salted_digest(&salt, email), customers.first(), at),
        )?;
        erase_email(store, email)?;
    }
    for customer in &customers {
        erase(store, ChangeOf { customer: *customer, run_id: None, at })?;
    }
    Ok(Forgotten { customers: customers.len() as u64, emails: emails.len() as u64 })
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
        store.execute("UPDATE _plan_items SET input = NULL WHERE email_key = ?1", [key])?;
        store.execute("DELETE FROM _lookup_undo_log WHERE email_key = ?1", [key])?;
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
