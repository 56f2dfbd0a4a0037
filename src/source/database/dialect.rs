//! In what PostgreSQL and MySQL (with MariaDB) differ for a reader of rows.

use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection, Database, MySql, Postgres, Row, TypeInfo, ValueRef};

use crate::source::csv::encoding::text_of;
use crate::source::location::{DatabaseUrl, Options};

/// What a server's error is about, as far as the answer to it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Fault {
    Login,
    UnknownTable,
    Writes,
    /// The server went away or threw us out.
    Disconnected,
    Query,
}

/// One kind of server.
pub(in crate::source) trait Dialect: 'static {
    type Db: Database;

    const NAME: &'static str;
    /// What quotes a name.
    const QUOTE: char;
    /// Statements that help; a server to which they mean nothing is read without.
    const PREPARE: &'static [&'static str];
    /// Statements that make the session one that only reads.
    const BEGIN: &'static [&'static str];
    /// Lists `schema.table`, of the default schema `table` alone.
    const TABLES: &'static str;
    const PASSWORD_HELP: &'static str;

    async fn connect(url: &DatabaseUrl) -> sqlx::Result<<Self::Db as Database>::Connection>;
    /// The first value of a row in the text protocol; NULL is blank.
    fn text(row: &<Self::Db as Database>::Row) -> sqlx::Result<String>;
    fn fault(error: &dyn DatabaseError) -> Fault;
}

pub(in crate::source) struct PostgreSql;

impl Dialect for PostgreSql {
    type Db = Postgres;

    const NAME: &'static str = "PostgreSQL";
    const QUOTE: char = '"';
    /// Else a query that nobody waits for any more goes on until its first row.
    const PREPARE: &'static [&'static str] = &["SET client_connection_check_interval = '2s'"];
    const BEGIN: &'static [&'static str] = &["BEGIN READ ONLY"];
    const TABLES: &'static str = "\
        SELECT CASE WHEN table_schema = current_schema() THEN table_name::text \
               ELSE table_schema || '.' || table_name END \
        FROM information_schema.tables \
        WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 1000";
    const PASSWORD_HELP: &'static str = "it comes from the URL, PGPASSWORD or ~/.pgpass";

    async fn connect(url: &DatabaseUrl) -> sqlx::Result<PgConnection> {
        match &url.options {
            Options::Postgres(options) => options.connect().await,
            Options::Mysql(_) => Err(wrong_kind()),
        }
    }

    fn text(row: &PgRow) -> sqlx::Result<String> {
        let value = row.try_get_raw(0)?;
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
        let code = error.code().unwrap_or_default();
        match code.as_ref() {
            "25006" => Fault::Writes,
            // An unknown schema is told as an unknown table.
            "42P01" | "3F000" => Fault::UnknownTable,
            "57P01" | "57P02" | "57P05" | "25P03" | "25P04" => Fault::Disconnected,
            code if code.starts_with("28") => Fault::Login,
            code if code.starts_with("08") => Fault::Disconnected,
            _ => Fault::Query,
        }
    }
}

pub(in crate::source) struct MySqlOrMariaDb;

impl Dialect for MySqlOrMariaDb {
    type Db = MySql;

    const NAME: &'static str = "MySQL/MariaDB";
    const QUOTE: char = '`';
    /// The server's own minute of patience with a slow reader is short while a big plan is made.
    const PREPARE: &'static [&'static str] = &["SET SESSION net_write_timeout = 3600"];
    const BEGIN: &'static [&'static str] = &["START TRANSACTION READ ONLY"];
    const TABLES: &'static str = "\
        SELECT IF(table_schema = DATABASE(), table_name, CONCAT(table_schema, '.', table_name)) \
        FROM information_schema.tables \
        WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') \
        ORDER BY 1 LIMIT 1000";
    const PASSWORD_HELP: &'static str = "it comes from the URL or MYSQL_PWD";

    async fn connect(url: &DatabaseUrl) -> sqlx::Result<MySqlConnection> {
        match &url.options {
            Options::Mysql(options) => options.connect().await,
            Options::Postgres(_) => Err(wrong_kind()),
        }
    }

    fn text(row: &MySqlRow) -> sqlx::Result<String> {
        let value: Option<&[u8]> = row.try_get_unchecked(0)?;
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
            1053 | 1077 | 1152 | 1317 | 1927 | 2006 | 2013 => Fault::Disconnected,
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
