//! Rows out of an SQLite database, opened so that nothing can be written.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::SourceSettings;
use super::column::{self, Evidence};
use super::error::{NearNames, SourceError, escaped, quoted};
use super::feed::{self, Break, Feed, Hand, Stop};
use super::table::{TableName, quoted_name};

/// How long to wait for a program that is just writing.
const BUSY: Duration = Duration::from_secs(10);

/// Opens the database, prepares the query and says how it was understood.
pub(super) fn open(path: &Path, settings: &SourceSettings) -> Result<(String, Feed), SourceError> {
    let name = quoted(&path.to_string_lossy());
    if settings.is_store(path) {
        return Err(SourceError::StoreItself { name });
    }
    // The driver says the same of all that cannot be opened; the system says why.
    drop(super::csv::open_file(path)?);
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
    let interrupt = connection.get_interrupt_handle();
    let place = name.clone();
    feed::start(place, Stop::new(move || interrupt.interrupt()), move |hand| {
        hand.understood(understood)?;
        read(&connection, &name, &sql, hand)
    })
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

fn read(connection: &Connection, name: &str, sql: &str, hand: &mut Hand) -> Result<(), Break> {
    let mut statement = connection.prepare(sql).map_err(|error| database_error(name, &error))?;
    let mut rows = statement.raw_query();
    loop {
        let broke_off = |error: rusqlite::Error, row| SourceError::BrokeOff {
            server: name.to_owned(),
            row,
            message: escaped(&error.to_string()),
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
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => super::decode::text_of(bytes),
    }
}

fn database_error(name: &str, error: &rusqlite::Error) -> SourceError {
    let server = name.to_owned();
    let message = escaped(&error.to_string());
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
