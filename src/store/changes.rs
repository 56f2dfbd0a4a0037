//! The feed of changes: readers remember the last id that they saw.

use crate::domain::outcome::ChangeKind;
use crate::store::merge::{Change, Lost};
use crate::store::numbers::known;
use jiff::Timestamp;
use rusqlite::{Connection, Result, params};

/// Which customer changed, in which run (`None`: by `forget`), and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChangeOf<'a> {
    pub(super) customer: i64,
    pub(super) run_id: Option<i64>,
    pub(super) at: &'a str,
}

/// What the customer lost when it went missing: its last such change is followed by one for each.
pub(super) fn lost_by_missing(store: &Connection, customer: i64) -> Result<Lost> {
    let mut select = store.prepare_cached(
        "SELECT kind, old FROM _changes
         WHERE customer_key = ?1 AND old IS NOT NULL AND id >
             (SELECT max(id) FROM _changes WHERE customer_key = ?1 AND kind = 'missing')
         ORDER BY id",
    )?;
    let mut rows = select.query([customer])?;
    let mut lost = Lost::default();
    while let Some(row) = rows.next()? {
        match known(row.get(0)?, ChangeKind::named)? {
            ChangeKind::DeviceUnassigned => lost.devices.push(row.get(1)?),
            ChangeKind::OrderRemoved => lost.orders.push(row.get(1)?),
            _ => {}
        }
    }
    Ok(lost)
}

pub(super) fn write(store: &Connection, of: ChangeOf<'_>, changes: &[Change]) -> Result<()> {
    for change in changes {
        store
            .prepare_cached(
                "INSERT INTO _changes (run_id, at, customer_key, kind, field, old, new)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                of.run_id,
                change.at.as_deref().unwrap_or(of.at),
                of.customer,
                change.kind.name(),
                change.field,
                change.old,
                change.new,
            ])?;
    }
    Ok(())
}

/// Lets the ids of this process be greater than all that any process gave out before, also if the
/// store was lost since and restored from a backup: the next one is at least the clock's
/// microseconds, and no process writes more than one change in a microsecond.
pub(super) fn raise_next_id(store: &Connection, now: Timestamp) -> Result<()> {
    let microseconds = now.as_microsecond();
    let raised = store.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = '_changes'",
        [microseconds],
    )?;
    if raised == 0 {
        let begin = "INSERT INTO sqlite_sequence (name, seq) VALUES ('_changes', ?1)";
        store.execute(begin, [microseconds])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn add(store: &Connection) -> i64 {
        let customer = "INSERT OR IGNORE INTO _customers
                 (key, id, first_seen_at, changed_at, synced_at, request)
             VALUES (1, 'c', 'a', 'a', 'a', 1)";
        store.execute(customer, []).unwrap();
        let of = ChangeOf { customer: 1, run_id: Some(1), at: "a" };
        write(store, of, &[Change::of(ChangeKind::Created)]).unwrap();
        store.last_insert_rowid()
    }

    #[test]
    fn ids_begin_at_the_clock_and_never_go_back() {
        let store = Store::temporary().unwrap().connection;
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        raise_next_id(&store, at("2026-01-01T00:00:00Z")).unwrap();
        let first = add(&store);
        assert_eq!(first, 1_767_225_600_000_001);
        raise_next_id(&store, at("2020-01-01T00:00:00Z")).unwrap();
        assert_eq!(add(&store), first + 1, "a clock that was set back");
        store.execute("DELETE FROM _changes", []).unwrap();
        assert_eq!(add(&store), first + 2, "an id is never used twice");
        raise_next_id(&store, at("2026-01-01T00:01:00Z")).unwrap();
        assert_eq!(add(&store), first + 60_000_000);
    }
}
