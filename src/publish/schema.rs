//! The schema in PostgreSQL: found, created, migrated.

use crate::publish::Target;
use crate::publish::error::PublishError;
use crate::publish::session::{Session, statement};
use rusqlite::Connection;

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
pub(super) enum Found {
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
    session: &mut Session<'_>,
    store: &Connection,
) -> Result<(), PublishError> {
    let target = session.target();
    if is_current(&find(session).await?, target)? {
        return Ok(());
    }
    // One program at a time creates or migrates.
    let lock = "SELECT pg_advisory_xact_lock(hashtext('telemetron-sync'), hashtext($1))";
    session.execute(statement(lock).bind(target.schema.name())).await?;
    let found = find(session).await?;
    if matches!(found, Found::NoSchema) {
        create(session).await?;
    }
    if !is_current(&found, target)? {
        migrate(session, store).await?;
    }
    session.commit().await?;
    session.begin_again().await
}

pub(super) async fn create(session: &mut Session<'_>) -> Result<(), PublishError> {
    let target = session.target();
    let created = session.run(&format!("CREATE SCHEMA {}", target.schema.quoted())).await;
    created.map_err(|error| error.of_creation(target.url.user()))
}

/// The same where nothing is created: a schema without our tables has nothing to restore.
pub(super) async fn ensure_published(
    session: &mut Session<'_>,
    organization: &str,
    store: &Connection,
) -> Result<(), PublishError> {
    match find(session).await? {
        Found::NoSchema | Found::Nothing => {
            Err(session.target().not_published(organization, Vec::new()))
        }
        Found::Version { .. } => ensure(session, store).await,
    }
}

pub(super) async fn find(session: &mut Session<'_>) -> Result<Found, PublishError> {
    let schema = &session.target().schema;
    let exists = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1),
         EXISTS (SELECT FROM pg_catalog.pg_class AS c
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relname = '_schema_version')";
    let row = session.fetch_one(statement(exists).bind(schema.name())).await?;
    match (session.get(&row, 0)?, session.get(&row, 1)?) {
        (false, _) => Ok(Found::NoSchema),
        (true, false) => Ok(Found::Nothing),
        (true, true) => {
            let quoted = schema.quoted();
            let select = format!("SELECT version, program_version FROM {quoted}._schema_version");
            let row = session.fetch_one(statement(select)).await?;
            Ok(Found::Version { version: session.get(&row, 0)?, made_by: session.get(&row, 1)? })
        }
    }
}

/// The number of migrations that this program knows.
fn newest() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

pub(super) fn is_current(found: &Found, target: &Target) -> Result<bool, PublishError> {
    match found {
        Found::Version { version, made_by } if *version > newest() => {
            Err(PublishError::NewerSchema {
                server: target.url.to_string(),
                schema: target.schema.name().to_owned(),
                made_by: made_by.clone(),
            })
        }
        Found::Version { version, .. } => Ok(*version == newest()),
        Found::NoSchema | Found::Nothing => Ok(false),
    }
}

async fn migrate(session: &mut Session<'_>, store: &Connection) -> Result<(), PublishError> {
    let begin = "CREATE TABLE IF NOT EXISTS _schema_version (
             version integer NOT NULL, program_version text NOT NULL)";
    session.run(begin).await?;
    let version = "SELECT coalesce(max(version), 0) FROM _schema_version";
    let version = session.fetch_one(statement(version)).await?;
    let version: i32 = session.get(&version, 0)?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        session.run(migration).await?;
    }
    session.run("DELETE FROM _schema_version").await?;
    let note = statement("INSERT INTO _schema_version VALUES ($1, $2)");
    session.execute(note.bind(newest()).bind(env!("CARGO_PKG_VERSION"))).await?;
    describe(session, store).await
}

/// Fills `data_dictionary` with the columns as PostgreSQL has them.
async fn describe(session: &mut Session<'_>, store: &Connection) -> Result<(), PublishError> {
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
    session.run("DELETE FROM data_dictionary").await?;
    let fill = "INSERT INTO data_dictionary
         SELECT c.table_name, c.column_name, c.data_type, coalesce(m.meaning, $5)
         FROM information_schema.columns AS c
         LEFT JOIN unnest($1::text[], $2::text[], $3::text[]) AS m (table_name, column_name, meaning)
             ON m.table_name = c.table_name AND m.column_name = c.column_name
         WHERE c.table_schema = $4 AND c.table_name NOT LIKE '\\_%'";
    let fill = statement(fill).bind(tables).bind(columns).bind(texts);
    let fill = fill.bind(session.target().schema.name()).bind(ORGANIZATION);
    session.execute(fill).await.map(drop)
}
