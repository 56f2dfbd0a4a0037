//! Removes all that the store has of a customer, and leaves one row in the feed.

use crate::domain::outcome::ChangeKind;
use crate::store::changes::{self, ChangeOf};
use crate::store::intervals;
use crate::store::merge::Change;
use crate::store::numbers::{count, known};
use rusqlite::{Connection, Result};

/// How many rows of the feed went, by kind.
pub(super) type RemovedChanges = Vec<(ChangeKind, u64)>;

/// Erases a customer. Its id stays, for the feed: readers who copied what it said before learn from
/// one `erased` row that it is gone. Returns which rows of the run in `of` that takes away.
pub(super) fn erase(store: &Connection, of: ChangeOf<'_>) -> Result<RemovedChanges> {
    let removed = changes_of_run(store, of)?;
    intervals::delete(store, of.customer)?;
    store.execute("DELETE FROM _changes WHERE customer_key = ?1", [of.customer])?;
    store
        .execute("UPDATE _emails SET customer_key = NULL WHERE customer_key = ?1", [of.customer])?;
    store.execute(
        "UPDATE _customers SET organization_id = NULL, email = NULL, name = NULL, phone = NULL,
             address = NULL, metadata = NULL, created_at = NULL, extra = NULL, first_seen_at = ?2,
             changed_at = ?2, synced_at = ?2, missing_since = NULL, devices_listed_at = NULL,
             orders_listed_at = NULL, answer_digest = NULL, erased_at = ?2
         WHERE key = ?1",
        (of.customer, of.at),
    )?;
    changes::write(store, of, &[Change::of(ChangeKind::Erased)])?;
    Ok(removed)
}

fn changes_of_run(store: &Connection, of: ChangeOf<'_>) -> Result<RemovedChanges> {
    let mut select = store.prepare_cached(
        "SELECT kind, count(*) FROM _changes WHERE customer_key = ?1 AND run_id = ?2 GROUP BY kind",
    )?;
    let counted = select.query_map((of.customer, of.run_id), |row| {
        Ok((known(row.get(0)?, ChangeKind::named)?, count(row, 1)?))
    })?;
    counted.collect()
}
