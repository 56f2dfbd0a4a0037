//! Makes a store from what was published.

use crate::paths::folder_of;
use crate::publish::error::{MOST_NAMED, PublishError};
use crate::publish::session::{Session, statement};
use crate::publish::{Target, schema};
use crate::store::writer::claim;
use crate::store::{Store, publish_log};
use crate::time;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, TransactionBehavior, params_from_iter};
use sqlx::postgres::PgRow;
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};
use std::io;
use std::path::{Path, PathBuf};

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub customers: u64,
    pub lookups: u64,
    pub changes: u64,
    pub runs: u64,
}

/// A table of the store, and the published rows that go into it.
struct Part {
    select: &'static str,
    insert: &'static str,
}

const CUSTOMERS: Part = Part {
    select: "SELECT c.id, $1 AS organization_id, c.email, c.name, c.phone, c.address, c.metadata,
             c.created_at, c.extra, c.first_seen_at, c.changed_at, s.synced_at, c.missing_since,
             s.devices_listed_at, s.orders_listed_at, c.erased_at
         FROM _customers AS c
         JOIN _customers_synced AS s ON s.organization_id = $1 AND s.id = c.id
         WHERE c.organization_id = $1 ORDER BY c.first_seen_at, c.id",
    // A NULL organization belongs to what was erased.
    insert: "INSERT INTO _customers (id, organization_id, email, name, phone, address, metadata,
             created_at, extra, first_seen_at, changed_at, synced_at, missing_since,
             devices_listed_at, orders_listed_at, erased_at, request)
         VALUES (?1, iif(?16 IS NULL, ?2, NULL), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
             ?14, ?15, ?16, 0)",
};

const LOOKUPS: Part = Part {
    select: "SELECT l.key, l.email, l.outcome, l.status, l.error, a.attempts, a.run_id,
             a.looked_up_at, l.customer_id, a.answered_at
         FROM _lookups AS l
         JOIN _lookups_answered AS a ON a.organization_id = $1 AND a.key = l.key
         WHERE l.organization_id = $1 ORDER BY l.key",
    insert: "INSERT INTO _emails (key, email, outcome, status, error, attempts, run_id,
             looked_up_at, customer_key, answered_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, (SELECT key FROM _customers WHERE id = ?9), ?10)",
};

const CHANGES: Part = Part {
    select: "SELECT id, run_id, at, customer_id, kind, field, old, new FROM changes
         WHERE organization_id = $1 ORDER BY id",
    insert: "INSERT INTO _changes (id, run_id, at, customer_key, kind, field, old, new)
         VALUES (?1, ?2, ?3, (SELECT key FROM _customers WHERE id = ?4), ?5, ?6, ?7, ?8)",
};

const RUNS: Part = Part {
    select: "SELECT id, started_at, finished_at, updated_at, status, stop_reason, source, rows, invalid,
             duplicate, fresh, planned, found, not_found, rejected, failed, pending, requests,
             retries, seconds, report
         FROM runs WHERE organization_id = $1 ORDER BY id",
    insert: "INSERT INTO _runs (id, started_at, finished_at, updated_at, status, stop_reason, source, rows,
             invalid, duplicate, fresh, planned, found, not_found, rejected, failed, pending,
             requests, retries, seconds, report)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
             ?19, ?20, ?21)",
};

/// What follows the customers.
const OTHERS: &[Part] = &[
    Part {
        select: "SELECT customer_id, n, device_id, assigned_after, assigned_at, unassigned_at
             FROM device_assignments WHERE organization_id = $1 ORDER BY customer_id, n",
        insert: "INSERT INTO _device_intervals
                 (customer_key, n, device_id, assigned_after, assigned_at, unassigned_at)
             VALUES ((SELECT key FROM _customers WHERE id = ?1), ?2, ?3, ?4, ?5, ?6)",
    },
    Part {
        select: "SELECT customer_id, n, order_id, seen_after, first_seen_at, removed_at
             FROM orders WHERE organization_id = $1 ORDER BY customer_id, n",
        insert: "INSERT INTO _order_intervals
                 (customer_key, n, order_id, seen_after, first_seen_at, removed_at)
             VALUES ((SELECT key FROM _customers WHERE id = ?1), ?2, ?3, ?4, ?5, ?6)",
    },
    Part {
        select: "SELECT run_id, code, count, last_reason FROM run_failures
             WHERE organization_id = $1 ORDER BY run_id, code",
        insert: "INSERT INTO _run_failures (run_id, code, count, last_reason)
             VALUES (?1, ?2, ?3, ?4)",
    },
    Part {
        select: "SELECT run_id, \"row\", input, code, reason, status, attempts FROM rejects
             WHERE organization_id = $1 ORDER BY run_id, \"row\"",
        insert: "INSERT INTO _rejects (run_id, row, input, code, reason, status, attempts)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    },
    Part {
        select: "SELECT digest, customer_id, at FROM _tombstones
             WHERE organization_id = $1 ORDER BY digest",
        insert: "INSERT INTO _tombstones (digest, customer_key, at)
             VALUES (?1, (SELECT key FROM _customers WHERE id = ?2), ?3)",
    },
];

/// Makes a store at `path` from what is published of `organization`. From then on, only this store may
/// publish for it.
///
/// # Errors
/// Any [`PublishError`]. There is no store then, and another one may still publish; unless the connection
/// breaks off at the very end: restoring once more is right in any case.
pub async fn restore(
    target: &Target,
    organization: &str,
    path: &Path,
) -> Result<Restored, PublishError> {
    if path.symlink_metadata().is_ok() {
        return Err(PublishError::StoreExists(path.to_owned()));
    }
    // Beside the place of the store, so that it only has to be renamed; whatever happens, it is removed.
    let no_store = |reason| PublishError::NoStore { path: path.to_owned(), reason };
    let beside =
        tempfile::Builder::new().prefix(".telemetron-restore-").tempdir_in(folder_of(path));
    let unfinished =
        beside.as_ref().map_or_else(|_| PathBuf::new(), |dir| dir.path().join("store"));
    let _beside = beside.map_err(no_store)?;
    let mut store = Store::open(&unfinished)?;
    let mut session = Session::begin(target).await?;
    schema::ensure_published(&mut session, organization, &store.connection).await?;
    let mut published = Published { organization, session };
    let salt = published.lock().await?;
    let transaction = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let restored = published.copy_all(&transaction).await?;
    claim(&transaction, Some(organization))?;
    transaction.execute("UPDATE _store SET salt = ?1", [salt])?;
    // What a process of the lost store was working on has no plan any more.
    transaction.execute(
        "INSERT INTO _run_states (run_id, latencies, ended, known_answered, known_lost)
         SELECT id, x'', 1, 0, 0 FROM _runs",
        [],
    )?;
    let position = publish_log::start(&transaction)?;
    let select = "SELECT id, (SELECT coalesce(max(id), 0) FROM _changes) FROM _store";
    let (id, last_change): (String, i64) =
        transaction.query_row(select, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    transaction.commit()?;
    store.update_statistics()?;
    store.checkpoint()?;
    drop(store);
    published.take_over(&id, position, last_change).await?;
    rename_new(&unfinished, path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => PublishError::StoreExists(path.to_owned()),
        _ => no_store(error),
    })?;
    Ok(restored)
}

/// Renames a file unless there is one at the new name.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            renamed => return Ok(renamed?),
        }
    }
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(from, to)
}

/// What is published of an organization, in a transaction.
struct Published<'a> {
    organization: &'a str,
    session: Session<'a>,
}

impl Published<'_> {
    /// Locks it against publications. Returns the salt of the digests.
    async fn lock(&mut self) -> Result<Vec<u8>, PublishError> {
        let select = "SELECT salt FROM _publications WHERE organization_id = $1 FOR UPDATE";
        let select = statement(select).bind(self.organization);
        match self.session.fetch_optional(select).await? {
            Some(row) => self.session.get(&row, 0),
            None => Err(self.not_published().await?),
        }
    }

    async fn not_published(&mut self) -> Result<PublishError, PublishError> {
        let select = "SELECT organization_id FROM _publications ORDER BY 1 LIMIT $1";
        let limit = i64::try_from(MOST_NAMED).unwrap_or(i64::MAX).saturating_add(1);
        let rows = self.session.fetch_all(statement(select).bind(limit)).await?;
        let organizations = rows.iter().map(|row| self.session.get(row, 0));
        let organizations = organizations.collect::<Result<_, _>>()?;
        Ok(self.session.target().not_published(self.organization, organizations))
    }

    async fn copy_all(&mut self, store: &Connection) -> Result<Restored, PublishError> {
        let mut restored = Restored {
            runs: self.copy(&RUNS, store).await?,
            customers: self.copy(&CUSTOMERS, store).await?,
            ..Restored::default()
        };
        for part in OTHERS {
            self.copy(part, store).await?;
        }
        restored.lookups = self.copy(&LOOKUPS, store).await?;
        restored.changes = self.copy(&CHANGES, store).await?;
        Ok(restored)
    }

    /// Returns how many rows there were.
    async fn copy(&mut self, part: &Part, store: &Connection) -> Result<u64, PublishError> {
        let target = self.session.target();
        let mut insert = store.prepare(part.insert)?;
        let mut rows = self.session.fetch(statement(part.select).bind(self.organization));
        let mut count = 0;
        while let Some(row) = rows.next().await? {
            let values = (0..row.len()).map(|at| value(&row, at)).collect::<Result<Vec<_>, _>>();
            let values = values.map_err(|error| target.explain(&error))?;
            insert.execute(params_from_iter(values))?;
            count += 1;
        }
        Ok(count)
    }

    /// From the commit on, no other store may publish.
    async fn take_over(
        &mut self,
        store: &str,
        position: i64,
        last_change: i64,
    ) -> Result<(), PublishError> {
        let note = "UPDATE _publications
             SET store = $2, epoch = epoch + 1, position = $3, last_change = $4
             WHERE organization_id = $1";
        let note = statement(note).bind(self.organization).bind(store).bind(position);
        self.session.execute(note.bind(last_change)).await?;
        self.session.commit().await
    }
}

/// A value as the store holds it.
fn value(row: &PgRow, at: usize) -> sqlx::Result<Value> {
    let raw = row.try_get_raw(at)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    if kind == "TIMESTAMPTZ" {
        return time_text(raw.as_bytes().map_err(sqlx::Error::Decode)?).map(Value::Text);
    }
    Ok(match kind.as_str() {
        "INT4" => Value::Integer(row.try_get::<i32, _>(at)?.into()),
        "INT8" => Value::Integer(row.try_get(at)?),
        "FLOAT8" => Value::Real(row.try_get(at)?),
        "BYTEA" => Value::Blob(row.try_get(at)?),
        _ => Value::Text(row.try_get(at)?),
    })
}

/// PostgreSQL counts microseconds from 2000.
const EPOCH: i64 = 946_684_800_000_000;

fn time_text(bytes: &[u8]) -> sqlx::Result<String> {
    let microseconds = bytes.try_into().ok().map(i64::from_be_bytes);
    let at = microseconds.and_then(|time| time.checked_add(EPOCH));
    at.and_then(|time| Timestamp::from_microsecond(time).ok())
        .map(time::text)
        .ok_or_else(|| sqlx::Error::Decode("a time that no store can hold".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_the_store_writes_them() {
        assert_eq!(time_text(&0_i64.to_be_bytes()).unwrap(), "2000-01-01T00:00:00.000Z");
        let before = (-1_000_i64).to_be_bytes();
        assert_eq!(time_text(&before).unwrap(), "1999-12-31T23:59:59.999Z");
        assert!(time_text(&i64::MAX.to_be_bytes()).is_err());
        assert!(time_text(&[1, 2]).is_err());
    }
}
