//! What a publication reads of the store, each part into a temporary table of PostgreSQL of its own.

use crate::publish::copy::Cell::{self, IsJson, Time, Value};
use rusqlite::{Connection, Result};
use std::collections::HashSet;

/// How much of the store is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything, and what is published and not in the store any more is deleted.
    All,
    /// What was written after this position in the log.
    WrittenSince(i64),
}

/// A temporary table, and what is copied into it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) columns: &'static str,
    pub(super) cells: &'static [Cell],
    /// `{from}` is one of the two below.
    select: &'static str,
    all: &'static str,
    written: &'static str,
}

impl Stage {
    /// The statement that reads its rows; `None`: this extent needs none of them.
    pub(super) fn select(&self, extent: Extent) -> Option<String> {
        let from = match extent {
            Extent::All => self.all,
            Extent::WrittenSince(_) => self.written,
        };
        (!from.is_empty()).then(|| self.select.replace("{from}", from))
    }
}

const V: Cell = Value;

const WRITTEN_CUSTOMERS: &str =
    "temp.written_customers AS w CROSS JOIN _customers AS c ON c.key = w.key";

/// The parameter ?1 is the last change that is published.
pub(super) const STAGES: &[Stage] = &[
    Stage {
        name: "stage_customers",
        columns: "id text, email text, name text, phone text, address text, metadata text,
            metadata_is_json boolean, created_at text, created_at_time timestamptz, extra text,
            extra_is_json boolean, first_seen_at timestamptz, changed_at timestamptz,
            missing_since timestamptz, erased_at timestamptz",
        cells: &[V, V, V, V, V, V, IsJson, V, Time, V, IsJson, V, V, V, V],
        select: "SELECT c.id, c.email, c.name, c.phone, c.address, c.metadata, c.metadata,
             c.created_at, c.created_at, c.extra, c.extra, c.first_seen_at, c.changed_at,
             c.missing_since, c.erased_at FROM {from}",
        all: "_customers AS c",
        written: WRITTEN_CUSTOMERS,
    },
    Stage {
        name: "stage_synced",
        columns: "id text, synced_at timestamptz, devices_listed_at timestamptz,
            orders_listed_at timestamptz",
        cells: &[V; 4],
        select: "SELECT c.id, c.synced_at, c.devices_listed_at, c.orders_listed_at FROM {from}",
        all: "_customers AS c",
        written: "temp.synced_customers AS w CROSS JOIN _customers AS c ON c.key = w.key",
    },
    Stage {
        name: "stage_devices",
        columns: "customer_id text, n bigint, device_id text, assigned_after timestamptz,
            assigned_at timestamptz, unassigned_at timestamptz",
        cells: &[V; 6],
        select: "SELECT c.id, d.n, d.device_id, d.assigned_after, d.assigned_at, d.unassigned_at
             FROM {from} CROSS JOIN _device_intervals AS d ON d.customer_key = c.key",
        all: "_customers AS c",
        written: WRITTEN_CUSTOMERS,
    },
    Stage {
        name: "stage_orders",
        columns: "customer_id text, n bigint, order_id text, seen_after timestamptz,
            first_seen_at timestamptz, removed_at timestamptz",
        cells: &[V; 6],
        select: "SELECT c.id, o.n, o.order_id, o.seen_after, o.first_seen_at, o.removed_at
             FROM {from} CROSS JOIN _order_intervals AS o ON o.customer_key = c.key",
        all: "_customers AS c",
        written: WRITTEN_CUSTOMERS,
    },
    Stage {
        name: "stage_lookups",
        columns: "key bigint, email text, outcome text, status integer, error text,
            customer_id text, attempts bigint, run_id bigint, looked_up_at timestamptz,
            answered_at timestamptz",
        cells: &[V; 10],
        select: "SELECT e.key, e.email, e.outcome, e.status, e.error, c.id, e.attempts, e.run_id,
             e.looked_up_at, e.answered_at
             FROM {from} LEFT JOIN _customers AS c ON c.key = e.customer_key",
        all: "_emails AS e",
        written: "temp.written_emails AS w CROSS JOIN _emails AS e ON e.key = w.key",
    },
    Stage {
        name: "stage_gone_lookups",
        columns: "key bigint",
        cells: &[V],
        select: "SELECT w.key FROM {from}",
        all: "",
        written: "temp.written_emails AS w WHERE w.key NOT IN (SELECT key FROM _emails)",
    },
    Stage {
        name: "stage_runs",
        columns: "id bigint, started_at timestamptz, finished_at timestamptz,
            updated_at timestamptz, status text,
            stop_reason text, source text, rows bigint, invalid bigint, duplicate bigint,
            fresh bigint, planned bigint, found bigint, not_found bigint, rejected bigint,
            failed bigint, pending bigint, requests bigint, retries bigint,
            seconds double precision, report text, report_is_json boolean",
        cells: &[V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, IsJson],
        select: "SELECT r.id, r.started_at, r.finished_at, r.updated_at, r.status, r.stop_reason, r.source,
             r.rows, r.invalid, r.duplicate, r.fresh, r.planned, r.found, r.not_found, r.rejected,
             r.failed, r.pending, r.requests, r.retries, r.seconds, r.report, r.report
             FROM {from}",
        all: "_runs AS r",
        written: "temp.written_runs AS w CROSS JOIN _runs AS r ON r.id = w.key",
    },
    Stage {
        name: "stage_run_failures",
        columns: "run_id bigint, code text, count bigint, last_reason text",
        cells: &[V; 4],
        select: "SELECT f.run_id, f.code, f.count, f.last_reason FROM {from}",
        all: "_run_failures AS f",
        written: "temp.written_runs AS w CROSS JOIN _run_failures AS f ON f.run_id = w.key",
    },
    Stage {
        name: "stage_rejects",
        columns: "run_id bigint, \"row\" bigint, input text, code text, reason text,
            status integer, attempts bigint",
        cells: &[V; 7],
        select: "SELECT r.run_id, r.row, r.input, r.code, r.reason, r.status, r.attempts
             FROM {from}",
        all: "_rejects AS r",
        written: "temp.written_rejects AS w
            CROSS JOIN _rejects AS r ON r.run_id = w.run_id AND r.row = w.row",
    },
    Stage {
        name: "stage_gone_rejects",
        columns: "run_id bigint, \"row\" bigint",
        cells: &[V; 2],
        select: "SELECT w.run_id, w.row FROM {from}",
        all: "",
        written: "temp.written_rejects AS w WHERE NOT EXISTS
            (SELECT 1 FROM _rejects AS r WHERE r.run_id = w.run_id AND r.row = w.row)",
    },
    Stage {
        name: "stage_tombstones",
        columns: "digest bytea, customer_id text, at timestamptz",
        cells: &[V; 3],
        select: "SELECT t.digest, c.id, t.at
             FROM {from} LEFT JOIN _customers AS c ON c.key = t.customer_key",
        all: "_tombstones AS t",
        written: "_tombstones AS t",
    },
    // Of a customer that was erased, all that the feed said before is gone.
    Stage {
        name: "stage_first_changes",
        columns: "customer_id text, id bigint",
        cells: &[V; 2],
        select: "SELECT c.id, min(h.id) FROM {from} GROUP BY c.id
             HAVING max(h.kind = 'erased')",
        all: "",
        written: "temp.written_customers AS w
            CROSS JOIN _customers AS c ON c.key = w.key
            CROSS JOIN _changes AS h ON h.customer_key = w.key",
    },
    Stage {
        name: "stage_changes",
        columns: "id bigint, run_id bigint, at timestamptz, customer_id text, kind text,
            field text, old text, new text",
        cells: &[V; 8],
        select: "SELECT h.id, h.run_id, h.at, c.id, h.kind, h.field, h.old, h.new
             FROM {from} CROSS JOIN _customers AS c ON c.key = h.customer_key",
        all: "_changes AS h",
        written: "(SELECT * FROM _changes WHERE id > ?1) AS h",
    },
];

/// The customers of the written emails.
const CUSTOMERS_LOOKED_UP: &str = "SELECT e.customer_key FROM temp.written_emails AS w
     CROSS JOIN _emails AS e ON e.key = w.key WHERE e.customer_key IS NOT NULL";

/// Lists, in temporary tables of the connection, what was written after `position`.
pub(super) fn note_written(store: &Connection, position: i64) -> Result<()> {
    store.execute_batch(
        "CREATE TEMP TABLE written_emails (key INTEGER PRIMARY KEY);
         CREATE TEMP TABLE written_customers (key INTEGER PRIMARY KEY);
         CREATE TEMP TABLE synced_customers (key INTEGER PRIMARY KEY);
         CREATE TEMP TABLE written_runs (key INTEGER PRIMARY KEY);
         CREATE TEMP TABLE written_rejects (run_id INTEGER, row INTEGER, PRIMARY KEY (run_id, row))
             WITHOUT ROWID;",
    )?;
    for (table, columns, wanted) in [
        ("written_emails", "email_key", "email_key IS NOT NULL"),
        ("written_customers", "customer_key", "customer_key IS NOT NULL"),
        ("written_runs", "run_id", "run_id IS NOT NULL AND reject_row IS NULL"),
        ("written_rejects", "run_id, reject_row", "reject_row IS NOT NULL"),
    ] {
        let note = format!(
            "INSERT OR IGNORE INTO temp.{table}
             SELECT {columns} FROM _publish_log WHERE n > ?1 AND {wanted}"
        );
        store.execute(&note, [position])?;
    }
    let written = "INSERT INTO temp.synced_customers SELECT key FROM temp.written_customers";
    store.execute(written, [])?;
    let looked_up = format!("INSERT OR IGNORE INTO temp.synced_customers {CUSTOMERS_LOOKED_UP}");
    store.execute(&looked_up, []).map(drop)
}

/// An id that several customers have once U+0000 is U+FFFD, if one of the customers to be published has such an
/// id.
pub(super) fn same_id(store: &Connection, extent: Extent) -> Result<Option<String>> {
    let customers = match extent {
        Extent::All => "_customers AS c",
        Extent::WrittenSince(_) => WRITTEN_CUSTOMERS,
    };
    let is_strange = "(instr(c.id, char(0)) OR instr(c.id, char(65533)))";
    let exists = format!("SELECT EXISTS (SELECT 1 FROM {customers} WHERE {is_strange})");
    if !store.query_row(&exists, [], |row| row.get(0))? {
        return Ok(None);
    }
    // SQLite's replace() cannot look for U+0000.
    let mut select =
        store.prepare(&format!("SELECT c.id FROM _customers AS c WHERE {is_strange}"))?;
    let ids = select.query_map([], |row| row.get::<_, String>(0))?;
    let mut seen = HashSet::new();
    for id in ids {
        let published = id?.replace('\0', "\u{fffd}");
        if !seen.insert(published.clone()) {
            return Ok(Some(published));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn ids_that_differ_only_in_nul_are_found() {
        let store = Store::temporary().unwrap().connection;
        note_written(&store, 0).unwrap();
        let insert = "INSERT INTO _customers (id, first_seen_at, changed_at, synced_at, request)
             VALUES (?1, 'a', 'a', 'a', 1)";
        let add = |id: &str| store.execute(insert, [id]).map(drop).unwrap();
        for id in ["a", "ab", "a\0b", "a\u{fffd}"] {
            add(id);
            assert_eq!(same_id(&store, Extent::All).unwrap(), None, "{id:?}");
        }
        add("a\u{fffd}b");
        let same = Some("a\u{fffd}b".to_owned());
        assert_eq!(same_id(&store, Extent::All).unwrap(), same);
        // Nothing of it is to be published, then one of both.
        assert_eq!(same_id(&store, Extent::WrittenSince(0)).unwrap(), None);
        store
            .execute("INSERT INTO temp.written_customers SELECT max(key) FROM _customers", [])
            .unwrap();
        assert_eq!(same_id(&store, Extent::WrittenSince(0)).unwrap(), same);
    }

    /// A run publishes before anything has counted what it writes.
    #[test]
    fn written_rows_are_found_by_their_keys_whatever_the_statistics_say() {
        let store = Store::temporary().unwrap();
        let rows = "INSERT INTO _customers (id, first_seen_at, changed_at, synced_at, request)
                 VALUES ('a', 'a', 'a', 'a', 1);
             WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 5000)
             INSERT INTO _emails (email) SELECT i FROM n;";
        store.connection.execute_batch(rows).unwrap();
        store.update_statistics().unwrap();
        let store = store.connection;
        note_written(&store, 0).unwrap();
        let written = STAGES.iter().filter_map(|stage| stage.select(Extent::WrittenSince(0)));
        for select in written.chain([CUSTOMERS_LOOKED_UP.to_owned()]) {
            let mut plan = store.prepare(&format!("EXPLAIN QUERY PLAN {select}")).unwrap();
            for parameter in 1..=plan.parameter_count() {
                plan.raw_bind_parameter(parameter, 0).unwrap();
            }
            let mut steps = plan.raw_query();
            while let Some(step) = steps.next().unwrap() {
                let step: String = step.get("detail").unwrap();
                let scans = ["c", "d", "o", "e", "r", "h"]
                    .iter()
                    .any(|table| step.starts_with(&format!("SCAN {table}")));
                assert!(!scans && !step.contains("customer_key>?"), "{step} in {select}");
            }
        }
    }

    #[test]
    fn every_stage_can_be_read_in_both_extents() {
        let store = Store::temporary().unwrap().connection;
        note_written(&store, 0).unwrap();
        for stage in STAGES {
            for extent in [Extent::All, Extent::WrittenSince(0)] {
                if let Some(select) = stage.select(extent) {
                    let columns = store.prepare(&select).unwrap().column_count();
                    assert_eq!(columns, stage.cells.len(), "{}", stage.name);
                }
            }
            let columns = stage.columns.split(',').count();
            assert_eq!(columns, stage.cells.len(), "{}", stage.name);
        }
    }
}
