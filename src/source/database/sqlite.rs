//! Rows out of an SQLite database, opened so that nothing can be written.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::display::{quoted, shortened};
use crate::source::SourceSettings;
use crate::source::csv::column::{self, Sampled};
use crate::source::database::feed::{self, Break, RowReceiver, RowSender, Stop};
use crate::source::database::table::{
    ReadQuery, SqlKind, TableName, by_name, sample_query, table_query, user_query,
};
use crate::source::error::{ColumnError, NearNames, SourceError};

/// How long to wait for a program that is just writing.
const BUSY: Duration = Duration::from_secs(10);

const KIND: SqlKind = SqlKind { name: "SQLite", quote: '"' };

/// How many steps of the database's machine pass between two looks whether to stop: well under a
/// millisecond.
const STEPS_BETWEEN_CHECKS: i32 = 10_000;

/// Opens the database, prepares the query and says how it is read.
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
    let column = settings.column.as_deref();
    let ReadQuery { sql, column, description } = match (&settings.table, &settings.query) {
        (Some(table), _) => read_table(&connection, &name, table, column)?,
        (None, query) => {
            read_query(&connection, &name, query.as_deref().unwrap_or_default(), column)?
        }
    };
    let stop = stop_of(&connection).map_err(failed)?;
    let place = name.clone();
    feed::start(place, stop, move |sender| {
        sender.describe(description)?;
        read(&connection, &Reading { name: &name, sql: &sql, column }, sender)
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

fn read_table(
    connection: &Connection,
    name: &str,
    table: &str,
    wanted: Option<&str>,
) -> Result<ReadQuery, SourceError> {
    let table = TableName::parse(table)?;
    let select = format!("SELECT * FROM {}", table.as_sql(KIND.quote));
    let columns: Vec<String> = match connection.prepare(&select) {
        Ok(statement) => statement.column_names().into_iter().map(str::to_owned).collect(),
        Err(error) => return Err(no_table(connection, name, &table, &error)),
    };
    let choice = match by_name(&columns, wanted) {
        Err(ColumnError::NoneKnown { .. }) => {
            let sampled = sample(connection, &table, columns.len());
            column::by_content(&columns, &sampled.map_err(|error| database_error(name, &error))?)
        }
        choice => choice,
    };
    let choice = choice.map_err(|error| SourceError::Column {
        name: format!("{name}, table {},", quoted(&table.as_text())),
        error,
    })?;
    Ok(table_query(KIND, &table, &columns, &choice))
}

/// What the first rows of a table hold.
fn sample(
    connection: &Connection,
    table: &TableName,
    columns: usize,
) -> rusqlite::Result<Vec<Sampled>> {
    let mut sampled = vec![Sampled::default(); columns];
    let mut statement = connection.prepare(&sample_query(KIND, table))?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        for (index, sampled) in sampled.iter_mut().enumerate() {
            sampled.add(&text(row.get_ref(index)?));
        }
    }
    Ok(sampled)
}

/// A view can exist and not be readable, because of what it reads itself.
fn no_table(
    connection: &Connection,
    name: &str,
    table: &TableName,
    error: &rusqlite::Error,
) -> SourceError {
    let all = tables(connection);
    let text = table.as_text();
    let bare = text.strip_prefix("main.").unwrap_or(&text);
    let message = match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    if all.iter().any(|known| known.eq_ignore_ascii_case(bare)) {
        return SourceError::BrokenView {
            server: name.to_owned(),
            view: quoted(&text),
            message: shortened(&message),
        };
    }
    if message.contains("no such table") {
        let near = NearNames::among(&text, all);
        return SourceError::UnknownTable { server: name.to_owned(), table: quoted(&text), near };
    }
    database_error(name, error)
}

fn tables(connection: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') \
               AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name LIMIT 1000";
    let names = connection.prepare(sql).and_then(|mut statement| {
        statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()
    });
    // Only a hint added to an error that is reported anyway.
    names.unwrap_or_default()
}

fn read_query(
    connection: &Connection,
    name: &str,
    query: &str,
    wanted: Option<&str>,
) -> Result<ReadQuery, SourceError> {
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
    if statement.parameter_count() > 0 {
        let parameter = statement.parameter_name(1).unwrap_or("?").to_owned();
        return Err(SourceError::UnboundParameter { server, parameter: quoted(&parameter) });
    }
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    if columns.is_empty() {
        return Err(SourceError::QueryWithoutColumn { server });
    }
    user_query(KIND, query, &columns, wanted)
        .map_err(|error| SourceError::Column { name: format!("{name}: the query"), error })
}

/// What is read, and from where.
struct Reading<'a> {
    name: &'a str,
    sql: &'a str,
    column: usize,
}

fn read(
    connection: &Connection,
    &Reading { name, sql, column }: &Reading<'_>,
    sender: &mut RowSender,
) -> Result<(), Break> {
    let mut statement = connection.prepare(sql).map_err(|error| database_error(name, &error))?;
    let mut rows = statement.raw_query();
    loop {
        let broke_off = |error: rusqlite::Error, row| SourceError::BrokeOff {
            server: name.to_owned(),
            row,
            message: shortened(&error.to_string()),
            advice: "Check the query and the file.",
        };
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(()),
            Err(error) if sender.rows() == 0 => return Err(database_error(name, &error).into()),
            Err(error) => return Err(broke_off(error, sender.rows()).into()),
        };
        let value = row.get_ref(column).map_err(|error| broke_off(error, sender.rows()))?;
        sender.row(text(value))?;
    }
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            crate::source::csv::encoding::text_of(bytes)
        }
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
    use crate::source::{self, InputRow, Location, SourceErrorKind};

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
        let valid = |row| match row {
            // Not every value here is an email.
            Err(SourceError::NoValidEmail { .. }) => None,
            row => Some(Result::<InputRow, SourceError>::unwrap(row).text),
        };
        source::open(settings).unwrap().filter_map(valid).collect()
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
        assert_eq!(open.description(), "SQLite, table `people`, column `email`");
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
    fn a_column_of_addresses_is_found_by_its_content() {
        let (_folder, path) = database();
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE logins (id INTEGER, login TEXT, second TEXT);
                 INSERT INTO logins VALUES (1, 'a@x.io', 'b@x.io'), (2, NULL, ''), (3, 'c@x.io', '');
                 CREATE TABLE words (id INTEGER, word TEXT); INSERT INTO words VALUES (1, 'Ann');",
            )
            .unwrap();
        let open = source::open(&table(&path, "logins", None)).unwrap();
        let description = "SQLite, table `logins`, column `login`, not column `second`";
        assert_eq!(open.description(), description);
        assert_eq!(texts(&table(&path, "logins", None)), ["a@x.io", "", "c@x.io"]);
        let none = error(&table(&path, "words", None)).to_string();
        assert!(
            none.contains("holds mostly addresses. Name one with --column: `id`, `word`"),
            "{none}"
        );
    }

    #[test]
    fn the_near_tables_are_named() {
        let (_folder, path) = database();
        let near = error(&table(&path, "persons", None)).to_string();
        assert!(near.contains("has no table `persons`"), "{near}");
        let near = error(&table(&path, "Order", None)).to_string();
        assert!(near.ends_with("Did you mean: `orders`?"), "{near}");
    }

    #[test]
    fn a_query_may_name_its_column() {
        let (_folder, path) = database();
        let named = |column: &str| SourceSettings {
            column: Some(column.to_owned()),
            ..query(&path, "SELECT id, email FROM people WHERE id < 3")
        };
        assert_eq!(texts(&named("Email")), ["a@x.io", ""]);
        assert_eq!(texts(&named("2")), ["a@x.io", ""]);
        assert!(error(&named("mail")).to_string().contains("has no column `mail`"));
    }

    #[test]
    fn an_unbound_parameter_is_refused() {
        let (_folder, path) = database();
        for parameter in ["?", "?1", ":min", "$min", "@min"] {
            let refused =
                error(&query(&path, &format!("SELECT email FROM people WHERE id > {parameter}")));
            let message = refused.to_string();
            assert!(message.contains(&format!("the parameter `{parameter}`")), "{message}");
        }
    }

    #[test]
    fn a_broken_view_is_not_an_unknown_table() {
        let (_folder, path) = database();
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "CREATE VIEW a AS SELECT nope FROM people; CREATE VIEW b AS SELECT 1 FROM gone",
            )
            .unwrap();
        for (view, cause) in [("a", "no such column: nope"), ("B", "no such table: main.gone")] {
            let message = error(&table(&path, view, None)).to_string();
            assert!(message.contains("exists but cannot be read"), "{message}");
            assert!(message.contains(cause), "{message}");
        }
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
    fn a_file_that_is_not_a_database_is_reported() {
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
                assert!(started.elapsed() < Duration::from_secs(10), "{columns}: it continues");
            }
        }
    }

    fn is_open(path: &Path) -> bool {
        let files = std::fs::read_dir("/proc/self/fd").unwrap();
        files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link == path))
    }
}
