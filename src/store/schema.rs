//! The layout of the store: the migrations, and how a store is distinguished from any other file.

use crate::store::error::{StoreError, unusable};
use rusqlite::{Connection, OptionalExtension as _};
use rusqlite_migration::{M, Migrations};
use std::path::Path;

/// The migrations, in order; see `migrations/README.md`.
const MIGRATIONS: &[M<'_>] = &[M::up(include_str!("../../migrations/0001_store.sql"))];

/// Set by the first migration; tells a store from any other database.
const APPLICATION_ID: i64 = 1_414_353_753;

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Store,
    /// A store that the next run brings up to date.
    Older {
        /// The version that migrated it last.
        made_by: String,
    },
    /// Not even a table.
    Nothing,
}

/// Tells a store that this program can use from everything else, without writing.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<Content, StoreError> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let look = || -> Result<_, rusqlite::Error> {
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        Ok((tables, number("PRAGMA application_id")?, number("PRAGMA user_version")?))
    };
    let (tables, application, version) = match look() {
        Err(error) if is_half_made(&error) => return Ok(Content::Nothing),
        found => found.map_err(|error| unusable(path, error))?,
    };
    if tables == 0 && application == 0 {
        return Ok(Content::Nothing);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    let newest = MIGRATIONS.len();
    if usize::try_from(version) == Ok(newest) {
        return Ok(Content::Store);
    }
    let made_by = "SELECT program_version FROM _store";
    let made_by = connection.query_row(made_by, [], |row| row.get(0)).optional()?;
    let made_by = made_by.unwrap_or_else(|| "(unknown)".to_owned());
    if usize::try_from(version).is_ok_and(|version| version < newest) {
        return Ok(Content::Older { made_by });
    }
    Err(StoreError::Newer { path: path.to_owned(), made_by })
}

/// Whether SQLite has to undo something first, for which a reader has no right. In a store it is the
/// first thing ever written, so a process was killed or lost its power while it made the store; the
/// next run that opens it to write makes it anew.
fn is_half_made(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

/// Brings the layout up to date.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    Migrations::from_slice(MIGRATIONS).to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => unusable(path, err),
        other => StoreError::Unopenable { path: path.to_owned(), reason: other.to_string() },
    })?;
    connection.execute(
        "INSERT INTO _store (only_row, id, salt, program_version, processes)
         VALUES (1, lower(hex(randomblob(16))), randomblob(32), ?1, 0)
         ON CONFLICT DO UPDATE SET program_version = excluded.program_version
         WHERE program_version <> excluded.program_version",
        [env!("CARGO_PKG_VERSION")],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use std::collections::{BTreeMap, BTreeSet};

    fn texts(store: &Connection, sql: &str) -> Vec<[String; 3]> {
        let mut select = store.prepare(sql).unwrap();
        let rows = select.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Each public column: its table, its name and its declared type.
    fn public_columns(store: &Connection) -> Vec<[String; 3]> {
        texts(
            store,
            "SELECT s.name, c.name, c.type FROM sqlite_schema AS s JOIN pragma_table_info(s.name) AS c
             WHERE s.type IN ('table', 'view')
                 AND s.name NOT LIKE '\\_%' ESCAPE '\\' AND s.name NOT LIKE 'sqlite%'",
        )
    }

    #[test]
    fn migrations_are_sound() {
        Migrations::from_slice(MIGRATIONS).validate().unwrap();
    }

    #[test]
    fn the_public_names_are_those_of_the_contract() {
        let store = Store::temporary().unwrap().connection;
        let names: BTreeSet<String> =
            public_columns(&store).into_iter().map(|[table, ..]| table).collect();
        let expected = [
            "changes",
            "current_customers",
            "current_devices",
            "current_orders",
            "customers",
            "data_dictionary",
            "device_assignments",
            "lookups",
            "orders",
            "rejects",
            "run_failures",
            "runs",
        ];
        assert!(names.iter().eq(expected), "{names:?}");
    }

    #[test]
    fn the_data_dictionary_explains_every_public_column_in_a_sentence() {
        let store = Store::temporary().unwrap().connection;
        let types: BTreeMap<_, _> = public_columns(&store)
            .into_iter()
            .map(|[table, column, declared]| ((table, column), declared))
            .collect();
        let described = texts(
            &store,
            "SELECT table_name || ' ' || column_name, type, meaning FROM data_dictionary",
        );
        let names = types.keys().map(|(table, column)| format!("{table} {column}"));
        let explained: BTreeSet<String> = described.iter().map(|row| row[0].clone()).collect();
        assert_eq!(names.collect::<BTreeSet<_>>(), explained);
        for [name, declared, meaning] in &described {
            let (table, column) = name.split_once(' ').unwrap();
            let in_schema = &types[&(table.to_owned(), column.to_owned())];
            // A number that a view counts is not a column of a table, and has no declared type.
            let is_count = table == "current_customers" && ["devices", "orders"].contains(&column);
            assert!(is_count || in_schema == declared, "{name}: {in_schema}, not {declared}");
            assert!(meaning.ends_with('.') && meaning.contains(' '), "{name}: {meaning}");
        }
    }

    #[test]
    fn every_time_is_declared_as_one_and_nothing_public_is_a_blob() {
        let store = Store::temporary().unwrap().connection;
        for [table, column, declared] in public_columns(&store) {
            let is_time = column.ends_with("_at") || column.ends_with("_after") || column == "at";
            let is_time = (is_time || column == "missing_since") && column != "created_at";
            assert_eq!(is_time, declared == "TIMESTAMP", "{table}.{column}: {declared}");
            assert_ne!(declared, "BLOB", "{table}.{column}");
        }
    }

    #[test]
    fn a_time_that_is_not_text_is_refused() {
        let store = Store::temporary().unwrap().connection;
        let insert = |at: i64| {
            let insert =
                "INSERT INTO _runs (started_at, status, source) VALUES (?1, 'running', 's')";
            store.execute(insert, [at])
        };
        insert(1_767_225_600).unwrap_err();
    }
}
