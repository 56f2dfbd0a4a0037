//! In what PostgreSQL and MySQL (with MariaDB) differ for a reader of rows.

use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection, Database, Executor as _, MySql,
    Postgres, Row, SqlSafeStr as _, Statement as _, TypeInfo, ValueRef, raw_sql,
};

use crate::source::csv::encoding::text_of;
use crate::source::database::table::{SqlKind, TableName};
use crate::source::location::Options;

/// What a server's error is about, as far as the advice differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Fault {
    Login,
    UnknownTable,
    BrokenView,
    Writes,
    /// The server went away or threw us out.
    Disconnected,
    /// A limit of the server on the time of a statement.
    Timeout,
    /// Someone else ended the statement.
    Canceled,
    Permission,
    /// The server has no connection, memory or disk left.
    Resources,
    /// A pool gives each statement another session.
    StatementPooling,
    /// A value of some row is at fault.
    Data,
    Query,
}

impl Fault {
    /// What to do about it.
    pub(in crate::source) fn advice(self) -> &'static str {
        match self {
            Self::Login => "Check the user, its rights and the password.",
            Self::UnknownTable => "Check the names in the query, and that this user may read them.",
            Self::BrokenView => "Fix the view, or read what it reads with --query.",
            Self::Writes => "A source is only read: give one SELECT statement.",
            Self::Disconnected => "Run again when the server is back.",
            Self::Timeout => {
                "A time limit of the server ended the query (PostgreSQL: statement_timeout, \
                 MariaDB: max_statement_time, MySQL: max_execution_time). Raise it for this user, \
                 or make the query faster, for example with an index."
            }
            Self::Canceled => "Someone or a conflict on the server ended the query; run again.",
            Self::Permission => "Grant this user the right to read it (GRANT SELECT).",
            Self::Resources => {
                "The server is short of connections, memory or disk; run again later."
            }
            Self::StatementPooling => {
                "PgBouncer pools single statements here, and a --query needs a transaction. Read a \
                 table or view with --table, or use a pool in transaction or session mode."
            }
            Self::Data => "Change the query so that it does not fail on this value.",
            Self::Query => "Give one SELECT statement.",
        }
    }
}

/// What is read of a server.
#[derive(Clone, Debug)]
pub(in crate::source) enum Wanted {
    Table { name: TableName, column: Option<String> },
    Query { sql: String, column: Option<String> },
}

/// One kind of server.
pub(in crate::source) trait Dialect: 'static {
    type Db: Database;

    const KIND: SqlKind;
    /// Statements that make the session one that only reads, and help.
    const BEGIN: &'static [&'static str];
    /// Lists `schema.table`, of the default schema `table` alone.
    const TABLES: &'static str;
    const PASSWORD_HELP: &'static str;

    async fn connect(options: &Options) -> sqlx::Result<<Self::Db as Database>::Connection>;
    /// The names of the columns that a table or a single statement has.
    async fn columns(
        connection: &mut <Self::Db as Database>::Connection,
        wanted: &Wanted,
    ) -> sqlx::Result<Vec<String>>;
    /// The value of a column in the text protocol; NULL is blank.
    fn text(row: &<Self::Db as Database>::Row, column: usize) -> sqlx::Result<String>;
    fn fault(error: &dyn DatabaseError) -> Fault;
}

pub(in crate::source) struct PostgreSql;

impl Dialect for PostgreSql {
    type Db = Postgres;

    const KIND: SqlKind = SqlKind { name: "PostgreSQL", quote: '"' };
    const BEGIN: &'static [&'static str] = &[
        "BEGIN READ ONLY",
        // Else an abandoned query continues until its first row. Only for this
        // transaction: behind a pool the next one is someone else's. Old servers have no such
        // setting.
        "SELECT set_config(name, '2s', true) FROM pg_catalog.pg_settings \
         WHERE name = 'client_connection_check_interval'",
    ];
    const TABLES: &'static str = "\
        SELECT CASE WHEN table_schema = current_schema() THEN table_name::text \
               ELSE table_schema || '.' || table_name END \
        FROM information_schema.tables \
        WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 1000";
    const PASSWORD_HELP: &'static str = "it comes from the URL, PGPASSWORD or ~/.pgpass";

    async fn connect(options: &Options) -> sqlx::Result<PgConnection> {
        match options {
            Options::Postgres(options) => options.connect().await,
            Options::Mysql(_) => Err(wrong_kind()),
        }
    }

    /// Without a named statement, which a pool would hand on to others: a join that no row fits
    /// tells the names and reads nothing.
    async fn columns(connection: &mut PgConnection, wanted: &Wanted) -> sqlx::Result<Vec<String>> {
        let from = match wanted {
            Wanted::Table { name, .. } => name.as_sql('"'),
            Wanted::Query { sql, .. } => {
                let sql = sql.trim().trim_end_matches([';', ' ', '\n', '\t', '\r']);
                // Refuses several statements, and whatever is no query.
                let guard = format!("DECLARE telemetron_sync_guard NO SCROLL CURSOR FOR {sql}");
                sqlx::query(AssertSqlSafe(guard))
                    .persistent(false)
                    .execute(&mut *connection)
                    .await?;
                format!("({sql}\n)")
            }
        };
        let names = format!("SELECT q.* FROM (SELECT 1) AS one LEFT JOIN {from} AS q ON false");
        let row = connection.fetch_one(raw_sql(AssertSqlSafe(names))).await?;
        Ok(row.columns().iter().map(|column| column.name().to_owned()).collect())
    }

    fn text(row: &PgRow, column: usize) -> sqlx::Result<String> {
        let value = row.try_get_raw(column)?;
        if value.is_null() {
            return Ok(String::new());
        }
        let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
        if value.type_info().name() == "BYTEA"
            && let Some(unpacked) = bytes.strip_prefix(b"\\x").and_then(from_hex)
        {
            return Ok(text_of(&unpacked));
        }
        Ok(text_of(bytes))
    }

    fn fault(error: &dyn DatabaseError) -> Fault {
        let (code, message) = (error.code().unwrap_or_default(), error.message());
        match code.as_ref() {
            "08P01" | "0A000" if message.contains("statement pooling") => Fault::StatementPooling,
            _ if message.contains("statement pooling") => Fault::StatementPooling,
            "0A000" if message.contains("data-modifying") => Fault::Writes,
            "25006" => Fault::Writes,
            "42601" if starts_with_write(message) => Fault::Writes,
            // An unknown schema comes as an unknown table.
            "42P01" | "3F000" => Fault::UnknownTable,
            "57014" if message.contains("timeout") => Fault::Timeout,
            "57014" | "40001" => Fault::Canceled,
            "57P05" | "25P03" | "25P04" => Fault::Timeout,
            "57P01" | "57P02" => Fault::Disconnected,
            "57P03" => Fault::Resources,
            "42501" => Fault::Permission,
            code if code.starts_with("28") => Fault::Login,
            code if code.starts_with("08") => Fault::Disconnected,
            code if code.starts_with("53") => Fault::Resources,
            code if code.starts_with("22") => Fault::Data,
            _ => Fault::Query,
        }
    }
}

/// A cursor cannot be declared for a statement that writes; the server says so as a syntax error.
fn starts_with_write(message: &str) -> bool {
    ["insert", "update", "delete", "merge"]
        .iter()
        .any(|word| message.to_ascii_lowercase().contains(&format!("at or near \"{word}\"")))
}

pub(in crate::source) struct MySqlOrMariaDb;

impl Dialect for MySqlOrMariaDb {
    type Db = MySql;

    const KIND: SqlKind = SqlKind { name: "MySQL/MariaDB", quote: '`' };
    const BEGIN: &'static [&'static str] = &[
        // The server's own minute of patience with a slow reader is short while a big plan is made.
        "SET SESSION net_write_timeout = 3600",
        "START TRANSACTION READ ONLY",
    ];
    const TABLES: &'static str = "\
        SELECT IF(table_schema = DATABASE(), table_name, CONCAT(table_schema, '.', table_name)) \
        FROM information_schema.tables \
        WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') \
        ORDER BY 1 LIMIT 1000";
    const PASSWORD_HELP: &'static str = "it comes from the URL or MYSQL_PWD";

    async fn connect(options: &Options) -> sqlx::Result<MySqlConnection> {
        match options {
            Options::Mysql(options) => options.connect().await,
            Options::Postgres(_) => Err(wrong_kind()),
        }
    }

    async fn columns(
        connection: &mut MySqlConnection,
        wanted: &Wanted,
    ) -> sqlx::Result<Vec<String>> {
        let sql = match wanted {
            Wanted::Table { name, .. } => format!("SELECT * FROM {}", name.as_sql('`')),
            Wanted::Query { sql, .. } => sql.clone(),
        };
        let statement = connection.prepare(AssertSqlSafe(sql).into_sql_str()).await?;
        Ok(statement.columns().iter().map(|column| column.name().to_owned()).collect())
    }

    fn text(row: &MySqlRow, column: usize) -> sqlx::Result<String> {
        let value: Option<&[u8]> = row.try_get_unchecked(column)?;
        Ok(value.map(text_of).unwrap_or_default())
    }

    fn fault(error: &dyn DatabaseError) -> Fault {
        let number = error
            .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
            .map_or(0, sqlx::mysql::MySqlDatabaseError::number);
        match number {
            1044 | 1045 | 1698 | 1251 | 1130 => Fault::Login,
            // So is an unknown database, once we are in, and a name that no table can have.
            1146 | 1049 | 1103 => Fault::UnknownTable,
            1792 | 1290 | 1836 => Fault::Writes,
            1356 => Fault::BrokenView,
            1053 | 1077 | 1152 | 1927 | 2006 | 2013 => Fault::Disconnected,
            1969 | 3024 => Fault::Timeout,
            1317 | 1205 | 1213 => Fault::Canceled,
            1142 | 1143 | 1370 | 1227 => Fault::Permission,
            1040 | 1203 | 1226 | 1021 | 1037 | 1041 => Fault::Resources,
            1365 | 1292 | 1264 | 1366 => Fault::Data,
            _ => Fault::Query,
        }
    }
}

fn wrong_kind() -> sqlx::Error {
    sqlx::Error::Configuration("the address is one of another kind of server".into())
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Ends the session politely; that it fails is no trouble, all is read.
pub(in crate::source) async fn close<C: Connection>(connection: C) {
    let _ = connection.close().await;
}
