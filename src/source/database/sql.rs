//! Rows out of PostgreSQL, MySQL or MariaDB.
//!
//! A thread of its own runs the driver and hands the rows over. The server first tells the columns
//! of a single statement, which then runs in a read-only transaction by the text protocol, in which
//! a value of any type comes as text. The server is read as fast as the rows are taken: what it is
//! ahead by stands in the socket's buffers.

use std::time::Duration;

use futures::StreamExt;
use sqlx::{AssertSqlSafe, Database, Executor, raw_sql};
use tokio::sync::oneshot;

use crate::display::{quoted, shortened};
use crate::source::SourceSettings;
use crate::source::database::dialect::{Dialect, Fault, MySqlOrMariaDb, PostgreSql, Wanted, close};
use crate::source::database::feed::{self, Break, RowReceiver, RowSender, Stop};
use crate::source::database::table::{ReadQuery, TableName, table_query, user_query};
use crate::source::error::{NearNames, SourceError};
use crate::source::location::{DatabaseUrl, Options};

/// How long a server has to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const TLS_ADVICE: &str =
    "Check sslmode, and that sslrootcert names the certificate that signed the server's.";

/// Connects, prepares the statement and says how it was understood.
pub(in crate::source) fn open(
    url: &DatabaseUrl,
    settings: &SourceSettings,
) -> Result<(String, RowReceiver), SourceError> {
    let column = settings.column.clone();
    let wanted = match &settings.table {
        Some(table) => Wanted::Table { name: TableName::parse(table)?, column },
        None => Wanted::Query { sql: settings.query.clone().unwrap_or_default(), column },
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let url = url.clone();
    let place = url.to_string();
    feed::start(place, Stop::new(move || drop(stop)), move |sender| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unreachable_server(&url, &error.to_string()))?;
        let result = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = stopped => Err(Break::Disconnected),
                result = read_kind(&url, &wanted, sender) => result,
            }
        });
        // A name that is still being looked up must not hold the thread.
        runtime.shutdown_background();
        result
    })
}

async fn read_kind(
    url: &DatabaseUrl,
    wanted: &Wanted,
    sender: &mut RowSender,
) -> Result<(), Break> {
    match url.hosts.first() {
        Some(Options::Mysql(_)) => Session::<MySqlOrMariaDb>::read(url, wanted, sender).await,
        Some(Options::Postgres(_)) | None => Session::<PostgreSql>::read(url, wanted, sender).await,
    }
}

/// A connection in a transaction that only reads; behind a pool of statements, without one.
struct Session<'a, D: Dialect> {
    url: &'a DatabaseUrl,
    connection: <D::Db as Database>::Connection,
    /// Why there is no transaction.
    pooling: Option<sqlx::Error>,
}

impl<'a, D: Dialect> Session<'a, D>
where
    for<'c> &'c mut <D::Db as Database>::Connection: Executor<'c, Database = D::Db>,
{
    async fn read(
        url: &'a DatabaseUrl,
        wanted: &Wanted,
        sender: &mut RowSender,
    ) -> Result<(), Break> {
        let mut session = Self::begin(url).await?;
        let ReadQuery { sql, column, understood } = session.query(wanted).await?;
        sender.understood(understood)?;
        session.stream(sql, column, sender).await?;
        // A pool can use a connection again whose transaction has ended.
        let _ = session.run("COMMIT").await;
        close(session.connection).await;
        Ok(())
    }

    async fn begin(url: &'a DatabaseUrl) -> Result<Self, SourceError> {
        let connection = connect::<D>(url).await?;
        let mut session = Self { url, connection, pooling: None };
        for statement in D::BEGIN {
            match session.run(statement).await {
                Ok(()) => {}
                Err(error) if fault::<D>(&error) == Some(Fault::StatementPooling) => {
                    // The pool hangs up after it has refused a transaction.
                    let connection = connect::<D>(url).await?;
                    return Ok(Self { url, connection, pooling: Some(error) });
                }
                Err(error) => return Err(explain::<D>(url, error, 0)),
            }
        }
        Ok(session)
    }

    async fn query(&mut self, wanted: &Wanted) -> Result<ReadQuery, SourceError> {
        let server = || self.url.to_string();
        if let (Wanted::Query { .. }, Some(error)) = (wanted, self.pooling.take()) {
            return Err(explain::<D>(self.url, error, 0));
        }
        let columns = D::columns(&mut self.connection, wanted).await;
        match (wanted, columns) {
            (Wanted::Table { name, column }, Ok(columns)) => {
                table_query(D::KIND, name, &columns, column.as_deref()).map_err(|error| {
                    let name = format!("{}, table {},", self.url, quoted(&name.as_text()));
                    SourceError::Column { name, error }
                })
            }
            (Wanted::Query { .. }, Ok(columns)) if columns.is_empty() => {
                Err(SourceError::QueryWithoutColumn { server: server() })
            }
            (Wanted::Query { sql, column }, Ok(columns)) => {
                user_query(D::KIND, sql, &columns, column.as_deref()).map_err(|error| {
                    SourceError::Column { name: format!("{}: the query", self.url), error }
                })
            }
            (Wanted::Table { name, .. }, Err(error)) => Err(self.no_table(name, error).await),
            (Wanted::Query { .. }, Err(error)) => Err(explain::<D>(self.url, error, 0)),
        }
    }

    async fn no_table(&mut self, table: &TableName, error: sqlx::Error) -> SourceError {
        let server = self.url.to_string();
        match fault::<D>(&error) {
            Some(Fault::UnknownTable) => SourceError::UnknownTable {
                server,
                near: self.near_tables(table).await,
                table: quoted(&table.as_text()),
            },
            Some(Fault::BrokenView) => SourceError::BrokenView {
                server,
                view: quoted(&table.as_text()),
                message: message(&error),
            },
            _ => explain::<D>(self.url, error, 0),
        }
    }

    async fn run(&mut self, sql: &'static str) -> sqlx::Result<()> {
        let mut results = self.connection.fetch_many(raw_sql(sql));
        while let Some(result) = results.next().await {
            result?;
        }
        Ok(())
    }

    /// Only a help beside the error that is reported anyway, so it may fail in silence.
    async fn near_tables(&mut self, table: &TableName) -> NearNames {
        let mut names = Vec::new();
        if self.run("ROLLBACK").await.is_ok() {
            let mut rows = self.connection.fetch(raw_sql(D::TABLES));
            while let Some(Ok(row)) = rows.next().await {
                names.extend(D::text(&row, 0));
            }
        }
        NearNames::among(&table.as_text(), names)
    }

    async fn stream(
        &mut self,
        sql: String,
        column: usize,
        sender: &mut RowSender,
    ) -> Result<(), Break> {
        let mut rows = self.connection.fetch(raw_sql(AssertSqlSafe(sql)));
        while let Some(row) = rows.next().await {
            let text = row.and_then(|row| D::text(&row, column));
            sender.row(text.map_err(|error| explain::<D>(self.url, error, sender.rows()))?)?;
        }
        Ok(())
    }
}

/// Tries each host in turn.
async fn connect<D: Dialect>(
    url: &DatabaseUrl,
) -> Result<<D::Db as Database>::Connection, SourceError> {
    let mut last = None;
    for options in &url.hosts {
        let failed = match tokio::time::timeout(CONNECT_TIMEOUT, D::connect(options)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => explain_connect::<D>(url, &error),
            Err(_) => unreachable_server(
                url,
                &format!("no answer within {} seconds", CONNECT_TIMEOUT.as_secs()),
            ),
        };
        // What a server that answers says is worth more than that another one does not.
        if last.is_none() || !matches!(failed, SourceError::Unreachable { .. }) {
            last = Some(failed);
        }
    }
    Err(last.unwrap_or_else(|| unreachable_server(url, "the URL names no host")))
}

fn fault<D: Dialect>(error: &sqlx::Error) -> Option<Fault> {
    match error {
        sqlx::Error::Database(error) => Some(D::fault(&**error)),
        _ => None,
    }
}

fn explain_connect<D: Dialect>(url: &DatabaseUrl, error: &sqlx::Error) -> SourceError {
    let (server, message) = (url.to_string(), message(error));
    match fault::<D>(error) {
        Some(Fault::Login) => {
            SourceError::LoginRefused { server, message, password_help: D::PASSWORD_HELP }
        }
        Some(fault @ Fault::Resources) => {
            SourceError::Database { server, message, advice: fault.advice() }
        }
        Some(_) => SourceError::Database {
            server,
            message,
            advice: "Check the name of the database and the parameters in the URL.",
        },
        None if is_tls(error) => SourceError::Database { server, message, advice: TLS_ADVICE },
        None if message.contains("authentication plugin") => SourceError::Database {
            server,
            message,
            advice: "Give this user a password that MySQL clients know (mysql_native_password or \
                     caching_sha2_password).",
        },
        None => unreachable_server(url, &message),
    }
}

/// A certificate that is not believed comes as unreadable data.
fn is_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(io) => io.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// Why reading ended after so many rows.
fn explain<D: Dialect>(url: &DatabaseUrl, error: sqlx::Error, row: u64) -> SourceError {
    let (server, message) = (url.to_string(), message(&error));
    let advice = match fault::<D>(&error) {
        Some(Fault::Writes) if row == 0 => return SourceError::QueryWrites { server },
        Some(Fault::UnknownTable | Fault::Query | Fault::Login) if row == 0 => {
            return SourceError::QueryRefused { server, message };
        }
        Some(fault) => fault.advice(),
        None if matches!(error, sqlx::Error::Io(_)) => Fault::Disconnected.advice(),
        None => "Try another column or query.",
    };
    let ends_reading = matches!(
        fault::<D>(&error),
        None | Some(Fault::Disconnected | Fault::Timeout | Fault::Canceled)
    );
    if row > 0 || ends_reading {
        SourceError::BrokeOff { server, row, message, advice }
    } else {
        SourceError::Database { server, message, advice }
    }
}

/// What the server or the driver says, on one line and without its own end.
fn message(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    shortened(text.trim().trim_end_matches('.'))
}

fn unreachable_server(url: &DatabaseUrl, message: &str) -> SourceError {
    SourceError::Unreachable { server: url.to_string(), message: shortened(message) }
}
