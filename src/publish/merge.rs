//! From the stages into the published tables.
//!
//! Rows that are the same are left alone; those of a table are written in the order of its key. The
//! parameter $1 of each statement is the organization.

use crate::publish::stages::Extent;

/// What is done to one published table.
#[derive(Debug)]
pub(super) struct Merge {
    /// What its rows are called, one and several.
    pub(super) rows: RowName,
    stage: &'static str,
    pub(super) table: &'static str,
    key: &'static [&'static str],
    values: &'static [&'static str],
    /// Columns that follow from the values.
    derived: &'static [Derived],
    /// Which rows of the table a publication of what was written deletes, beside the stage.
    delete: Delete,
}

/// A name for rows.
#[derive(Debug)]
pub(super) struct RowName {
    pub(super) one: &'static str,
    pub(super) several: &'static str,
}

#[derive(Debug)]
struct Derived {
    column: &'static str,
    /// Of the stage `s`.
    value: &'static str,
}

#[derive(Debug)]
enum Delete {
    /// None: they only change.
    Never,
    /// Those that the condition selects of `t`.
    Where { stage: &'static str, condition: &'static str },
    /// Of each owner in the stage `owner`, those that the stage lacks.
    OfOwner { stage: &'static str, owner: &'static str, owned: &'static str },
    /// All that the stage lacks.
    Rest,
}

/// A statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) sql: String,
    /// If this stage has no rows, there is nothing to do.
    pub(super) needs: Option<&'static str>,
    /// The statement names this stage, too, which may have no rows.
    pub(super) names: Option<&'static str>,
}

const fn named(one: &'static str, several: &'static str) -> RowName {
    RowName { one, several }
}

const METADATA: Derived = Derived {
    column: "metadata_json",
    value: "CASE WHEN s.metadata_is_json THEN s.metadata::jsonb END",
};
const EXTRA: Derived =
    Derived { column: "extra_json", value: "CASE WHEN s.extra_is_json THEN s.extra::jsonb END" };
const REPORT: Derived =
    Derived { column: "report_json", value: "CASE WHEN s.report_is_json THEN s.report::jsonb END" };

const GONE_LOOKUPS: Delete = Delete::Where {
    stage: "stage_gone_lookups",
    condition: "EXISTS (SELECT FROM stage_gone_lookups AS g WHERE g.key = t.key)",
};

/// In the order in which they are done. The feed is last: from then on no other organization can publish
/// until this one has committed.
pub(super) const MERGES: &[Merge] = &[
    Merge {
        rows: named("customer", "customers"),
        stage: "stage_customers",
        table: "_customers",
        key: &["id"],
        values: &[
            "email",
            "name",
            "phone",
            "address",
            "metadata",
            "created_at",
            "created_at_time",
            "extra",
            "first_seen_at",
            "changed_at",
            "missing_since",
            "erased_at",
        ],
        derived: &[METADATA, EXTRA],
        delete: Delete::Never,
    },
    Merge {
        rows: named("customer's freshness", "customers' freshness"),
        stage: "stage_synced",
        table: "_customers_synced",
        key: &["id"],
        values: &["synced_at", "devices_listed_at", "orders_listed_at"],
        derived: &[],
        delete: Delete::Never,
    },
    Merge {
        rows: named("device assignment", "device assignments"),
        stage: "stage_devices",
        table: "device_assignments",
        key: &["customer_id", "n"],
        values: &["device_id", "assigned_after", "assigned_at", "unassigned_at"],
        derived: &[],
        delete: Delete::OfOwner { stage: "stage_customers", owner: "id", owned: "customer_id" },
    },
    Merge {
        rows: named("order", "orders"),
        stage: "stage_orders",
        table: "orders",
        key: &["customer_id", "n"],
        values: &["order_id", "seen_after", "first_seen_at", "removed_at"],
        derived: &[],
        delete: Delete::OfOwner { stage: "stage_customers", owner: "id", owned: "customer_id" },
    },
    Merge {
        rows: named("lookup", "lookups"),
        stage: "stage_lookups",
        table: "_lookups",
        key: &["key"],
        values: &["email", "outcome", "status", "error", "customer_id"],
        derived: &[],
        delete: GONE_LOOKUPS,
    },
    Merge {
        rows: named("lookup's freshness", "lookups' freshness"),
        stage: "stage_lookups",
        table: "_lookups_answered",
        key: &["key"],
        values: &["attempts", "run_id", "looked_up_at", "answered_at"],
        derived: &[],
        delete: GONE_LOOKUPS,
    },
    Merge {
        rows: named("run", "runs"),
        stage: "stage_runs",
        table: "runs",
        key: &["id"],
        values: &[
            "started_at",
            "finished_at",
            "updated_at",
            "status",
            "stop_reason",
            "source",
            "rows",
            "invalid",
            "duplicate",
            "fresh",
            "planned",
            "found",
            "not_found",
            "rejected",
            "failed",
            "pending",
            "requests",
            "retries",
            "seconds",
            "report",
        ],
        derived: &[REPORT],
        delete: Delete::Never,
    },
    Merge {
        rows: named("kind of failure", "kinds of failures"),
        stage: "stage_run_failures",
        table: "run_failures",
        key: &["run_id", "code"],
        values: &["count", "last_reason"],
        derived: &[],
        delete: Delete::OfOwner { stage: "stage_runs", owner: "id", owned: "run_id" },
    },
    Merge {
        rows: named("reject", "rejects"),
        stage: "stage_rejects",
        table: "rejects",
        key: &["run_id", "\"row\""],
        values: &["input", "code", "reason", "status", "attempts"],
        derived: &[],
        delete: Delete::Where {
            stage: "stage_gone_rejects",
            condition: "EXISTS (SELECT FROM stage_gone_rejects AS g
                WHERE g.run_id = t.run_id AND g.\"row\" = t.\"row\")",
        },
    },
    Merge {
        rows: named("erased email", "erased emails"),
        stage: "stage_tombstones",
        table: "_tombstones",
        key: &["digest"],
        values: &["customer_id", "at"],
        derived: &[],
        delete: Delete::Rest,
    },
];

impl Merge {
    /// The statements for this extent; those that delete come first.
    pub(super) fn steps(&self, extent: Extent) -> Vec<Step> {
        let Self { stage, table, .. } = self;
        let lacking = format!("NOT EXISTS (SELECT FROM {stage} AS s WHERE {})", self.same_key());
        let delete = |condition: String, needs| {
            let sql =
                format!("DELETE FROM {table} AS t WHERE t.organization_id = $1 AND {condition}");
            Step { sql, needs, names: Some(*stage) }
        };
        let mut steps = match (&self.delete, extent) {
            (_, Extent::All) | (Delete::Rest, _) => vec![delete(lacking, None)],
            (Delete::Never, _) => Vec::new(),
            (Delete::Where { stage, condition }, _) => {
                vec![delete((*condition).to_owned(), Some(*stage))]
            }
            (Delete::OfOwner { stage, owner, owned }, _) => {
                let condition = format!("t.{owned} IN (SELECT {owner} FROM {stage}) AND {lacking}");
                vec![delete(condition, Some(*stage))]
            }
        };
        steps.extend(self.free_unique());
        steps.push(Step { sql: self.upsert(), needs: Some(stage), names: None });
        steps
    }

    fn same_key(&self) -> String {
        let same: Vec<String> = self.key.iter().map(|key| format!("s.{key} = t.{key}")).collect();
        same.join(" AND ")
    }

    /// An email may have moved to another key: its old row must not be in the way.
    fn free_unique(&self) -> Option<Step> {
        (self.table == "_lookups").then(|| Step {
            sql: "DELETE FROM _lookups AS t USING stage_lookups AS s
                 WHERE t.organization_id = $1 AND t.key = s.key AND t.email <> s.email"
                .to_owned(),
            needs: Some(self.stage),
            names: None,
        })
    }

    fn upsert(&self) -> String {
        let Self { stage, table, .. } = self;
        let columns: Vec<&str> = self.key.iter().chain(self.values).copied().collect();
        let derived = self.derived.iter().map(|derived| derived.column);
        let all: Vec<&str> = columns.iter().copied().chain(derived.clone()).collect();
        let of = |alias: &str, columns: &[&str]| -> String {
            let columns: Vec<String> =
                columns.iter().map(|name| format!("{alias}.{name}")).collect();
            columns.join(", ")
        };
        let selected: Vec<String> = columns
            .iter()
            .map(|name| format!("s.{name}"))
            .chain(self.derived.iter().map(|derived| derived.value.to_owned()))
            .collect();
        let set: Vec<String> = self
            .values
            .iter()
            .copied()
            .chain(derived)
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        format!(
            "INSERT INTO {table} (organization_id, {all})
             SELECT $1, {selected}
             FROM {stage} AS s LEFT JOIN {table} AS t ON t.organization_id = $1 AND {same_key}
             WHERE t.organization_id IS NULL OR ({old}) IS DISTINCT FROM ({new})
             ORDER BY {order}
             ON CONFLICT (organization_id, {key}) DO UPDATE SET {set}",
            all = all.join(", "),
            selected = selected.join(", "),
            same_key = self.same_key(),
            old = of("t", self.values),
            new = of("s", self.values),
            order = of("s", self.key),
            key = self.key.join(", "),
            set = set.join(", "),
        )
    }
}

/// The feed. New rows get their `seq` while the lock on `_feed` is held; a row that was published before
/// keeps its own.
pub(super) fn feed(extent: Extent) -> Vec<Step> {
    let delete = match extent {
        Extent::All => Step {
            sql: "DELETE FROM changes AS t WHERE t.organization_id = $1 AND NOT EXISTS (
                 SELECT FROM stage_changes AS s WHERE s.id = t.id
                     AND (s.run_id, s.at, s.customer_id, s.kind, s.field, s.old, s.new)
                     IS NOT DISTINCT FROM
                         (t.run_id, t.at, t.customer_id, t.kind, t.field, t.old, t.new))"
                .to_owned(),
            needs: None,
            names: Some("stage_changes"),
        },
        Extent::WrittenSince(_) => Step {
            sql: "DELETE FROM changes AS t USING stage_first_changes AS f
                 WHERE t.organization_id = $1 AND t.customer_id = f.customer_id AND t.id < f.id"
                .to_owned(),
            needs: Some("stage_first_changes"),
            names: None,
        },
    };
    let insert = "WITH fresh AS (
             SELECT s.* FROM stage_changes AS s
             LEFT JOIN changes AS t ON t.organization_id = $1 AND t.id = s.id
             WHERE t.id IS NULL
         ), feed AS (
             UPDATE _feed SET last_seq = last_seq + (SELECT count(*) FROM fresh)
             RETURNING last_seq
         )
         INSERT INTO changes
             (organization_id, id, run_id, at, customer_id, kind, field, old, new, seq)
         SELECT $1, f.id, f.run_id, f.at, f.customer_id, f.kind, f.field, f.old, f.new,
             feed.last_seq + 1 - row_number() OVER (ORDER BY f.id DESC)
         FROM fresh AS f CROSS JOIN feed ORDER BY f.id";
    let of_changes =
        |sql: &str| Step { sql: sql.to_owned(), needs: Some("stage_changes"), names: None };
    vec![delete, of_changes("SELECT last_seq FROM _feed FOR UPDATE"), of_changes(insert)]
}
