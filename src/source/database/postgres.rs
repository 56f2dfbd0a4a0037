//! Sessions on PostgreSQL, also behind a pool.

use futures::StreamExt as _;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Executor as _, Row as _,
    TypeInfo as _, ValueRef as _, raw_sql,
};

use crate::source::csv::encoding::text_of;
use crate::source::database::fault::{About, Fault, ServerError};
use crate::source::database::server::{Ended, Server, Wanted};
use crate::source::database::table::SqlKind;
use crate::source::location::Options;

const BEGIN: &str = "BEGIN READ ONLY";

/// Else an abandoned query continues until its first row. Only for this transaction: behind a pool
/// the next one is someone else's. Old servers have no such setting.
const CHECK_CLIENT: &str = "\
    SELECT set_config(name, '2s', true) FROM pg_catalog.pg_settings \
    WHERE name = 'client_connection_check_interval'";

pub(in crate::source) struct PostgreSql {
    connection: PgConnection,
    options: Options,
    pooling: Pooling,
}

/// What has the same session of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    /// All statements of a transaction.
    Transactions,
    /// One statement: a transaction must be sent as one.
    Statements,
}

impl PostgreSql {
    pub(super) fn into_connection(self) -> PgConnection {
        self.connection
    }
}

impl Server for PostgreSql {
    type Row = PgRow;

    const KIND: SqlKind = SqlKind { name: "PostgreSQL", quote: '"' };
    const TABLES: &'static str = "\
        SELECT CASE WHEN table_schema = current_schema() THEN table_name::text \
               ELSE table_schema || '.' || table_name END \
        FROM information_schema.tables \
        WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 1000";
    const PASSWORD_HELP: &'static str = "it comes from the URL, PGPASSWORD or ~/.pgpass";

    async fn connect(options: &Options) -> Result<Self, ServerError> {
        let connection = connection(options).await?;
        Ok(Self { connection, options: options.clone(), pooling: Pooling::Transactions })
    }

    async fn begin(&mut self) -> Result<(), ServerError> {
        for statement in [BEGIN, CHECK_CLIENT] {
            match self.run(statement).await {
                Ok(()) => {}
                Err(error) if error.fault() == Some(Fault::StatementPooling) => {
                    // The pool closes the connection after it has refused a transaction.
                    self.connection = connection(&self.options).await?;
                    self.pooling = Pooling::Statements;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), ServerError> {
        self.run("ROLLBACK").await
    }

    /// Without a named statement, which a pool would hand on to others: a join that no row fits
    /// gives the names and reads nothing.
    async fn columns(&mut self, wanted: &Wanted) -> Result<Vec<String>, ServerError> {
        let from = match wanted {
            Wanted::Table { name, .. } => name.as_sql(Self::KIND.quote),
            Wanted::Query { sql, .. } => {
                self.refuse_other_than_one_query(without_end(sql)).await?;
                format!("({}\n)", without_end(sql))
            }
        };
        let names = format!("SELECT q.* FROM (SELECT 1) AS one LEFT JOIN {from} AS q ON false");
        let row = self.connection.fetch_one(raw_sql(AssertSqlSafe(names))).await;
        Ok(row.map_err(of_driver)?.columns().iter().map(|it| it.name().to_owned()).collect())
    }

    async fn each_row(
        &mut self,
        sql: &str,
        take: &mut dyn FnMut(&PgRow) -> Result<(), Ended>,
    ) -> Result<(), Ended> {
        let sql = match self.pooling {
            Pooling::Transactions => sql.to_owned(),
            // Sent at once, a transaction is one statement for the pool.
            Pooling::Statements => {
                let query = without_end(sql);
                format!("{BEGIN}; SELECT * FROM ({query}\n) AS q; COMMIT")
            }
        };
        let mut rows = self.connection.fetch(raw_sql(AssertSqlSafe(sql)));
        while let Some(row) = rows.next().await {
            take(&row.map_err(of_driver)?)?;
        }
        Ok(())
    }

    fn text(row: &PgRow, column: usize) -> Result<String, ServerError> {
        let value = row.try_get_raw(column).map_err(of_driver)?;
        if value.is_null() {
            return Ok(String::new());
        }
        let bytes = value.as_bytes().map_err(|error| of_driver(sqlx::Error::Decode(error)))?;
        if value.type_info().name() == "BYTEA"
            && let Some(unpacked) = bytes.strip_prefix(b"\\x").and_then(from_hex)
        {
            return Ok(text_of(&unpacked));
        }
        Ok(text_of(bytes))
    }

    async fn end(mut self) {
        // A pool can use a connection again whose transaction has ended.
        let _ = self.run("COMMIT").await;
        let _ = self.connection.close().await;
    }
}

impl PostgreSql {
    async fn run(&mut self, sql: &'static str) -> Result<(), ServerError> {
        let mut results = self.connection.fetch_many(raw_sql(sql));
        while let Some(result) = results.next().await {
            result.map_err(of_driver)?;
        }
        Ok(())
    }

    /// Refuses several statements, and whatever is no query.
    async fn refuse_other_than_one_query(&mut self, sql: &str) -> Result<(), ServerError> {
        match self.pooling {
            Pooling::Transactions => {
                let guard = format!("DECLARE telemetron_sync_guard NO SCROLL CURSOR FOR {sql}");
                let query = sqlx::query(AssertSqlSafe(guard)).persistent(false);
                query.execute(&mut self.connection).await.map(drop).map_err(of_driver)
            }
            // A cursor needs a transaction. Between parentheses, the server refuses what is no
            // query; only a semicolon could end them.
            Pooling::Statements if sql.contains(';') => Err(ServerError::new(
                About::Fault(Fault::StatementPooling),
                "the query holds a semicolon",
            )),
            Pooling::Statements => Ok(()),
        }
    }
}

async fn connection(options: &Options) -> Result<PgConnection, ServerError> {
    match options {
        Options::Postgres(options) => options.connect().await.map_err(of_driver),
        Options::Mysql(_) => Err(ServerError::new(About::Driver, "the address is one of MySQL")),
    }
}

fn without_end(sql: &str) -> &str {
    sql.trim().trim_end_matches([';', ' ', '\n', '\t', '\r'])
}

fn of_driver(error: sqlx::Error) -> ServerError {
    match &error {
        sqlx::Error::Database(error) => {
            ServerError::new(About::Fault(fault(&**error)), error.message())
        }
        // A certificate that is not believed comes as unreadable data.
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            ServerError::new(About::Tls, &io.to_string())
        }
        sqlx::Error::Tls(_) => ServerError::new(About::Tls, &error.to_string()),
        sqlx::Error::Io(io) => ServerError::new(About::Connection, &io.to_string()),
        other => ServerError::new(About::Driver, &other.to_string()),
    }
}

fn fault(error: &dyn DatabaseError) -> Fault {
    let (code, message) = (error.code().unwrap_or_default(), error.message());
    match code.as_ref() {
        // PgBouncer has one code for all that it says.
        _ if message.contains("statement pooling") => Fault::StatementPooling,
        "08P01" if message.contains("authentication failed") => Fault::Login,
        "08P01" if message.contains("no more connections allowed") => Fault::Resources,
        "0A000" if message.contains("data-modifying") => Fault::Writes,
        "25006" => Fault::Writes,
        "42601" if starts_with_write(message) => Fault::Writes,
        // An unknown schema comes as an unknown table.
        "42P01" | "3F000" => Fault::UnknownTable,
        "57014" if message.contains("timeout") => Fault::Timeout,
        "57014" | "40001" => Fault::Canceled,
        "57P05" | "25P03" | "25P04" => Fault::Timeout,
        "57P01" | "57P02" => Fault::Disconnected,
        "57P03" => Fault::NotReady,
        "42501" => Fault::Permission,
        code if code.starts_with("28") => Fault::Login,
        code if code.starts_with("08") => Fault::Disconnected,
        code if code.starts_with("53") => Fault::Resources,
        code if code.starts_with("22") => Fault::Data,
        _ => Fault::Query,
    }
}

/// A cursor cannot be declared for a statement that writes; the server says so as a syntax error.
fn starts_with_write(message: &str) -> bool {
    ["insert", "update", "delete", "merge"]
        .iter()
        .any(|word| message.to_ascii_lowercase().contains(&format!("at or near \"{word}\"")))
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
