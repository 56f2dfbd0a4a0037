//! The schema in PostgreSQL: found, created, migrated.

use crate::publish::Target;
use crate::publish::error::PublishError;
use rusqlite::Connection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _, raw_sql};

/// The migrations, in order; see `migrations/postgres/README.md`.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/postgres/0001_publish.sql")];

/// Public columns that the store's own dictionary does not have; PUBLISHED stands for each published table.
const PUBLISHED_COLUMNS: &[(&str, &str, &str)] = &[
    ("publications", "organization_id", "The organization whose store was published."),
    ("publications", "store", "The identifier of the store that published last."),
    (
        "publications",
        "epoch",
        "How many stores published for the organization, one after the other.",
    ),
    (
        "publications",
        "published_at",
        "When the store was published last, whether anything was new or not.",
    ),
    ("customers", "metadata_json", "The same as metadata, as JSON; empty if jsonb cannot hold it."),
    ("customers", "created_at_time", "The same as created_at, as a time; empty if it is not one."),
    ("customers", "extra_json", "The same as extra, as JSON; empty if jsonb cannot hold it."),
    (
        "current_customers",
        "metadata_json",
        "The same as metadata, as JSON; empty if jsonb cannot hold it.",
    ),
    (
        "current_customers",
        "created_at_time",
        "The same as created_at, as a time; empty if it is not one.",
    ),
    (
        "current_customers",
        "extra_json",
        "The same as extra, as JSON; empty if jsonb cannot hold it.",
    ),
    ("device_assignments", "n", "Counts the customer's device assignments from 0."),
    ("orders", "n", "Counts the customer's orders from 0, as they were seen."),
    (
        "changes",
        "seq",
        "The number of the change in the order of the publications, over all organizations: remember the last one you saw to ask for what is new.",
    ),
    ("runs", "report_json", "The same as report, as JSON; empty if jsonb cannot hold it."),
];

const ORGANIZATION: &str = "The organization that the row belongs to.";

/// What is in a schema.
enum Found {
    NoSchema,
    /// No table of ours.
    Nothing,
    Version {
        version: i32,
        made_by: String,
    },
}

/// Makes sure that the schema is there and up to date. Descriptions of columns come from `store`.
pub(super) async fn ensure(
    connection: &mut PgConnection,
    target: &Target,
    store: &Connection,
) -> Result<(), PublishError> {
    if is_current(find(connection, target).await?, target)? {
        return Ok(());
    }
    target.run(connection, "BEGIN").await?;
    // One program at a time creates or migrates.
    let lock = "SELECT pg_advisory_xact_lock(hashtext('telemetron-sync'), hashtext($1))";
    let locked = sqlx::query(lock).persistent(false).bind(target.schema.name());
    locked.execute(&mut *connection).await.map_err(|error| target.explain(&error))?;
    let found = find(connection, target).await?;
    if matches!(found, Found::NoSchema) {
        let create = format!("CREATE SCHEMA {}", target.schema.quoted());
        let created = connection.execute(raw_sql(AssertSqlSafe(create))).await;
        created.map_err(|error| target.explain_creation(&error))?;
    }
    if !is_current(found, target)? {
        migrate(connection, target, store).await?;
    }
    target.run(connection, "COMMIT").await
}

/// The same where nothing is created: a schema without our tables has nothing to restore.
pub(super) async fn ensure_published(
    connection: &mut PgConnection,
    target: &Target,
    organization: &str,
    store: &Connection,
) -> Result<(), PublishError> {
    match find(connection, target).await? {
        Found::NoSchema | Found::Nothing => Err(target.not_published(organization, Vec::new())),
        Found::Version { .. } => ensure(connection, target, store).await,
    }
}

async fn find(connection: &mut PgConnection, target: &Target) -> Result<Found, PublishError> {
    let schema = target.schema.name();
    let exists = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1),
         EXISTS (SELECT FROM pg_catalog.pg_class AS c
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relname = '_schema_version')";
    let exists = sqlx::query(exists).persistent(false).bind(schema);
    let explain = |error: sqlx::Error| target.explain(&error);
    let row = exists.fetch_one(&mut *connection).await.map_err(explain)?;
    match (row.try_get(0).map_err(explain)?, row.try_get(1).map_err(explain)?) {
        (false, _) => Ok(Found::NoSchema),
        (true, false) => Ok(Found::Nothing),
        (true, true) => {
            let select = format!(
                "SELECT version, program_version FROM {}._schema_version",
                target.schema.quoted()
            );
            let row = sqlx::query(AssertSqlSafe(select)).persistent(false);
            let row = row.fetch_one(&mut *connection).await.map_err(explain)?;
            let version = row.try_get(0).map_err(explain)?;
            Ok(Found::Version { version, made_by: row.try_get(1).map_err(explain)? })
        }
    }
}

/// The number of migrations that this program knows.
fn newest() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

fn is_current(found: Found, target: &Target) -> Result<bool, PublishError> {
    match found {
        Found::Version { version, made_by } if version > newest() => {
            Err(PublishError::NewerSchema {
                server: target.url.to_string(),
                schema: target.schema.name().to_owned(),
                made_by,
            })
        }
        Found::Version { version, .. } => Ok(version == newest()),
        Found::NoSchema | Found::Nothing => Ok(false),
    }
}

async fn migrate(
    connection: &mut PgConnection,
    target: &Target,
    store: &Connection,
) -> Result<(), PublishError> {
    target.use_schema(connection).await?;
    let begin = "CREATE TABLE IF NOT EXISTS _schema_version (
             version integer NOT NULL, program_version text NOT NULL)";
    target.run(connection, begin).await?;
    let version = "SELECT coalesce(max(version), 0) FROM _schema_version";
    let version: i32 = sqlx::query_scalar(version)
        .persistent(false)
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| target.explain(&error))?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        target.run(connection, migration).await?;
    }
    target.run(connection, "DELETE FROM _schema_version").await?;
    let note = "INSERT INTO _schema_version VALUES ($1, $2)";
    let note = sqlx::query(note).persistent(false).bind(newest());
    let noted = note.bind(env!("CARGO_PKG_VERSION")).execute(&mut *connection).await;
    noted.map_err(|error| target.explain(&error))?;
    describe(connection, target, store).await
}

/// Fills `data_dictionary` with the columns as PostgreSQL has them.
async fn describe(
    connection: &mut PgConnection,
    target: &Target,
    store: &Connection,
) -> Result<(), PublishError> {
    let mut select =
        store.prepare("SELECT table_name, column_name, meaning FROM data_dictionary")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut meanings: Vec<(String, String, String)> = rows.collect::<Result<_, _>>()?;
    let own = |(table, column, meaning): &(&str, &str, &str)| {
        ((*table).to_owned(), (*column).to_owned(), (*meaning).to_owned())
    };
    meanings.extend(PUBLISHED_COLUMNS.iter().map(own));
    let [tables, columns, texts] = [0, 1, 2].map(|at| {
        let of = |row: &(String, String, String)| [&row.0, &row.1, &row.2][at].clone();
        meanings.iter().map(of).collect::<Vec<String>>()
    });
    target.run(connection, "DELETE FROM data_dictionary").await?;
    let fill = "INSERT INTO data_dictionary
         SELECT c.table_name, c.column_name, c.data_type, coalesce(m.meaning, $5)
         FROM information_schema.columns AS c
         LEFT JOIN unnest($1::text[], $2::text[], $3::text[]) AS m (table_name, column_name, meaning)
             ON m.table_name = c.table_name AND m.column_name = c.column_name
         WHERE c.table_schema = $4 AND c.table_name NOT LIKE '\\_%'";
    let fill = sqlx::query(fill).persistent(false).bind(tables).bind(columns).bind(texts);
    let filled = fill.bind(target.schema.name()).bind(ORGANIZATION).execute(connection).await;
    filled.map(drop).map_err(|error| target.explain(&error))
}
