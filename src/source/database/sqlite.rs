//! Rows out of an SQLite database, opened so that nothing can be written.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::display::{quoted, shortened};
use crate::source::SourceSettings;
use crate::source::csv::column::{self, Evidence};
use crate::source::database::feed::{self, Break, RowReceiver, RowSender, Stop};
use crate::source::database::table::{TableName, quoted_name};
use crate::source::error::{NearNames, SourceError};

/// How long to wait for a program that is just writing.
const BUSY: Duration = Duration::from_secs(10);

/// How many steps of the database's machine pass between two looks whether to stop: well under a
/// millisecond.
const STEPS_BETWEEN_CHECKS: i32 = 10_000;

/// Opens the database, prepares the query and says how it was understood.
pub(in crate::source) fn open(
    path: &Path,
    settings: &SourceSettings,
) -> Result<(String, RowReceiver), SourceError> {
    let name = quoted(&path.to_string_lossy());
    if settings.is_store(path) {
        return Err(SourceError::StoreItself { name });
    }
    // The driver says the same of all that cannot be opened; the system says why.
    drop(crate::source::csv::open_file(path)?);
    let failed = |error: rusqlite::Error| database_error(&name, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    let (sql, understood) = match (&settings.table, &settings.query) {
        (Some(table), _) => table_query(&connection, &name, table, settings.column.as_deref())?,
        (None, query) => {
            let query = query.clone().unwrap_or_default();
            let first = check_query(&connection, &name, &query)?;
            (query, format!("SQLite, query, column {}", quoted(&first)))
        }
    };
    let stop = stop_of(&connection).map_err(failed)?;
    let place = name.clone();
    feed::start(place, stop, move |hand| {
        hand.understood(understood)?;
        read(&connection, &name, &sql, hand)
    })
}

/// Ends a query at any point, also one that has not begun: an interrupt would miss that.
fn stop_of(connection: &Connection) -> rusqlite::Result<Stop> {
    let stopped = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stopped);
    connection
        .progress_handler(STEPS_BETWEEN_CHECKS, Some(move || asked.load(Ordering::Relaxed)))?;
    Ok(Stop::new(move || stopped.store(true, Ordering::Relaxed)))
}

fn table_query(
    connection: &Connection,
    name: &str,
    table: &str,
    wanted: Option<&str>,
) -> Result<(String, String), SourceError> {
    let table = TableName::parse(table)?;
    let from = table.as_sql('"');
    let columns: Vec<String> = match connection.prepare(&format!("SELECT * FROM {from}")) {
        Ok(statement) => statement.column_names().into_iter().map(str::to_owned).collect(),
        Err(error) if error.to_string().contains("no such table") => {
            return Err(SourceError::UnknownTable {
                server: name.to_owned(),
                near: NearNames::among(&table.as_text(), tables(connection)),
                table: quoted(&table.as_text()),
            });
        }
        Err(error) => return Err(database_error(name, &error)),
    };
    let choice = match wanted {
        Some(wanted) => column::by_wish(&columns, wanted),
        None => column::by_known_name(&columns, |_| Evidence::Unknown),
    };
    let in_table = || format!("{name}, table {},", quoted(&table.as_text()));
    let choice = choice.map_err(|error| SourceError::Column { name: in_table(), error })?;
    let column = &columns[choice.index];
    let sql = format!("SELECT {} FROM {from}", quoted_name(column, '"'));
    let understood =
        format!("SQLite, table {}, column {}", quoted(&table.as_text()), quoted(column));
    Ok((sql, understood))
}

fn tables(connection: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') \
               AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name LIMIT 1000";
    let names = connection.prepare(sql).and_then(|mut statement| {
        statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()
    });
    // Only a help beside the error that is told anyway.
    names.unwrap_or_default()
}

/// The name of the query's first column.
fn check_query(connection: &Connection, name: &str, query: &str) -> Result<String, SourceError> {
    let server = name.to_owned();
    let statement = match connection.prepare(query) {
        Ok(statement) => statement,
        Err(rusqlite::Error::MultipleStatement) => {
            let message = "it holds several statements".to_owned();
            return Err(SourceError::QueryRefused { server, message });
        }
        Err(error) => return Err(database_error(name, &error)),
    };
    if !statement.readonly() {
        return Err(SourceError::QueryWrites { server });
    }
    match statement.column_name(0) {
        Ok(column) => Ok(column.to_owned()),
        Err(_) => Err(SourceError::QueryWithoutColumn { server }),
    }
}

fn read(connection: &Connection, name: &str, sql: &str, hand: &mut RowSender) -> Result<(), Break> {
    let mut statement = connection.prepare(sql).map_err(|error| database_error(name, &error))?;
    let mut rows = statement.raw_query();
    loop {
        let broke_off = |error: rusqlite::Error, row| SourceError::BrokeOff {
            server: name.to_owned(),
            row,
            message: shortened(&error.to_string()),
        };
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(()),
            Err(error) if hand.rows() == 0 => return Err(database_error(name, &error).into()),
            Err(error) => return Err(broke_off(error, hand.rows()).into()),
        };
        let value = row.get_ref(0).map_err(|error| broke_off(error, hand.rows()))?;
        hand.row(text(value))?;
    }
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => crate::source::csv::decode::text_of(bytes),
    }
}

fn database_error(name: &str, error: &rusqlite::Error) -> SourceError {
    let server = name.to_owned();
    if let rusqlite::Error::SqlInputError { msg, .. } = error {
        return SourceError::QueryRefused { server, message: shortened(msg) };
    }
    let message = shortened(&error.to_string());
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "Is it an SQLite database, and not encrypted?",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Another program is writing to it; run again."
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            "A database in WAL mode needs a folder that may be written, or a program that has it \
             open."
        }
        Some(ErrorCode::DatabaseCorrupt) => "Repair it, or read a copy from a backup.",
        Some(ErrorCode::Unknown) => return SourceError::QueryRefused { server, message },
        Some(_) | None => "Check the file and the query.",
    };
    SourceError::Database { server, message, advice }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::source::{self, Location, SourceErrorKind};

    fn database() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE people (id INTEGER, email, \"odd\"\"; DROP\" TEXT);
                 INSERT INTO people VALUES (1, 'a@x.io', 'x'), (2, NULL, ''), (3, 4, 'y'),
                     (4, 1.5, 'z'), (5, x'6af6', '🦀'), (6, 'a' || char(0) || 'b', '');
                 CREATE TABLE \"a.b\" (mail TEXT); CREATE TABLE orders (id INTEGER);",
            )
            .unwrap();
        (folder, path)
    }

    fn settings(path: &Path) -> SourceSettings {
        SourceSettings::new(Location::Sqlite(path.to_owned()))
    }

    fn table(path: &Path, table: &str, column: Option<&str>) -> SourceSettings {
        let (table, column) = (Some(table.to_owned()), column.map(str::to_owned));
        SourceSettings { table, column, ..settings(path) }
    }

    fn query(path: &Path, sql: &str) -> SourceSettings {
        SourceSettings { query: Some(sql.to_owned()), ..settings(path) }
    }

    fn texts(settings: &SourceSettings) -> Vec<String> {
        source::open(settings).unwrap().map(|row| row.unwrap().text).collect()
    }

    fn error(settings: &SourceSettings) -> SourceError {
        let error = source::open(settings).expect_err("an error");
        assert_eq!(error.kind(), SourceErrorKind::Unusable);
        error
    }

    #[test]
    fn values_of_every_type_are_text() {
        let (_folder, path) = database();
        let people = table(&path, "people", None);
        assert_eq!(texts(&people), ["a@x.io", "", "4", "1.5", "jö", "a\0b"]);
        let open = source::open(&people).unwrap();
        assert_eq!(open.understood(), "SQLite, table `people`, column `email`");
        assert_eq!(open.map(|row| row.unwrap().row).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(texts(&query(&path, "SELECT id, email FROM people WHERE id > 4")), ["5", "6"]);
        assert_eq!(texts(&query(&path, "SELECT 1 WHERE 0; -- none")), [""; 0]);
    }

    #[test]
    fn names_are_nothing_but_names() {
        let (_folder, path) = database();
        let odd = table(&path, "main.people", Some("odd\"; DROP"));
        assert_eq!(texts(&odd), ["x", "", "y", "z", "🦀", ""]);
        assert_eq!(texts(&table(&path, "\"a.b\"", None)), [""; 0]);
        let injected = error(&table(&path, "people\"; DROP TABLE people; --", None));
        assert!(matches!(injected, SourceError::UnknownTable { .. }), "{injected}");
        // A column that is not there must not be taken for a text.
        let unknown = error(&table(&path, "people", Some("nothing"))).to_string();
        assert!(unknown.contains("no column `nothing`. It has: `id`, `email`"), "{unknown}");
    }

    #[test]
    fn the_near_tables_are_named() {
        let (_folder, path) = database();
        let near = error(&table(&path, "persons", None)).to_string();
        assert!(near.contains("has no table `persons`"), "{near}");
        let near = error(&table(&path, "Order", None)).to_string();
        assert!(near.ends_with("Near names: `orders`."), "{near}");
    }

    #[test]
    fn nothing_is_written() {
        let (folder, path) = database();
        let before = std::fs::read(&path).unwrap();
        let other = folder.path().join("other.db");
        for (sql, refusal) in [
            ("DELETE FROM people RETURNING id", "QueryWrites"),
            ("DELETE FROM people", "QueryWrites"),
            ("PRAGMA journal_mode = WAL", "QueryWrites"),
            ("PRAGMA query_only = 0", "QueryWithoutColumn"),
            ("SELECT 1; DELETE FROM people", "QueryRefused"),
            ("", "Usage"),
            ("-- nothing", "QueryWithoutColumn"),
            ("SELECT nope FROM people", "QueryRefused"),
            ("SELECT json('{') FROM people", "QueryRefused"),
            (&format!("VACUUM INTO '{}'", other.display()), "Query"),
            (&format!("ATTACH '{}' AS other", other.display()), "QueryWithoutColumn"),
        ] {
            let opened = source::open(&query(&path, sql));
            let error = match opened {
                Err(error) => error,
                Ok(open) => open.filter_map(Result::err).next().expect(sql),
            };
            assert!(format!("{error:?}").starts_with(refusal), "{sql}: {error:?}");
        }
        assert!(!other.exists());
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_is_no_database_is_told() {
        let (folder, _) = database();
        let message = |path: &Path| error(&table(path, "t", None)).to_string();
        assert!(message(&folder.path().join("none.db")).contains("does not exist"));
        assert!(message(folder.path()).contains("is a directory"));
        let text = folder.path().join("text.db");
        std::fs::write(&text, "email\na@x.io\n".repeat(100)).unwrap();
        assert!(message(&text).contains("Is it an SQLite database"));
    }

    #[test]
    fn the_store_is_no_source_by_any_name() {
        let (folder, path) = database();
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let hard_link = folder.path().join("hard.db");
        std::fs::hard_link(&path, &hard_link).unwrap();
        for (source, store) in [(&path, &path), (&link, &path), (&path, &link), (&hard_link, &path)]
        {
            let store = Some(store.clone());
            let refused = error(&SourceSettings { store, ..table(source, "people", None) });
            assert!(matches!(refused, SourceError::StoreItself { .. }), "{refused}");
        }
        let elsewhere = Some(folder.path().join("store.db"));
        assert!(
            source::open(&SourceSettings { store: elsewhere, ..table(&path, "people", None) })
                .is_ok()
        );
    }

    #[test]
    fn dropping_the_rows_breaks_a_long_query_off() {
        let (_folder, path) = database();
        for columns in ["i", "count(*)"] {
            let endless = format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                 SELECT {columns} FROM n"
            );
            drop(source::open(&query(&path, &endless)).unwrap());
            let started = crate::time::instant();
            while is_open(&path) {
                assert!(started.elapsed() < Duration::from_secs(10), "{columns}: it goes on");
            }
        }
    }

    fn is_open(path: &Path) -> bool {
        let files = std::fs::read_dir("/proc/self/fd").unwrap();
        files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link == path))
    }
}
