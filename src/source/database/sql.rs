//! Rows out of PostgreSQL, MySQL or MariaDB.
//!
//! A thread of its own runs the driver and hands the rows over. The statement is first prepared,
//! which takes one statement only and tells its columns, and then run in a read-only transaction
//! by the text protocol, in which a value of any type comes as text. The server is read as fast
//! as the rows are taken: what it is ahead by stands in the socket's buffers.

use std::time::Duration;

use futures::StreamExt;
use sqlx::{AssertSqlSafe, Column, Database, Executor, SqlSafeStr, Statement, raw_sql};
use tokio::sync::oneshot;

use crate::display::{quoted, shortened};
use crate::source::SourceSettings;
use crate::source::database::dialect::{Dialect, Fault, MySqlOrMariaDb, PostgreSql, close};
use crate::source::database::feed::{self, Break, RowReceiver, RowSender, Stop};
use crate::source::database::table::{SqlKind, TableName, table_query as choose};
use crate::source::error::{NearNames, SourceError};
use crate::source::location::{DatabaseUrl, Options};

/// How long a server has to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const TLS_ADVICE: &str = "Check sslmode and the certificate named in the URL.";

/// What to read.
#[derive(Clone, Debug)]
enum Wanted {
    Table { name: TableName, column: Option<String> },
    Query(String),
}

/// Connects, prepares the statement and says how it was understood.
pub(in crate::source) fn open(
    url: &DatabaseUrl,
    settings: &SourceSettings,
) -> Result<(String, RowReceiver), SourceError> {
    let wanted = match &settings.table {
        Some(table) => {
            Wanted::Table { name: TableName::parse(table)?, column: settings.column.clone() }
        }
        None => Wanted::Query(settings.query.clone().unwrap_or_default()),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let url = url.clone();
    let place = url.to_string();
    feed::start(place, Stop::new(move || drop(stop)), move |hand| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unreachable_server(&url, &error.to_string()))?;
        let result = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = stopped => Err(Break::Disconnected),
                result = read_kind(&url, &wanted, hand) => result,
            }
        });
        // A name that is still being looked up must not hold the thread.
        runtime.shutdown_background();
        result
    })
}

async fn read_kind(url: &DatabaseUrl, wanted: &Wanted, hand: &mut RowSender) -> Result<(), Break> {
    match url.options {
        Options::Postgres(_) => read::<PostgreSql>(url, wanted, hand).await,
        Options::Mysql(_) => read::<MySqlOrMariaDb>(url, wanted, hand).await,
    }
}

async fn read<D: Dialect>(
    url: &DatabaseUrl,
    wanted: &Wanted,
    hand: &mut RowSender,
) -> Result<(), Break>
where
    for<'c> &'c mut <D::Db as Database>::Connection: Executor<'c, Database = D::Db>,
{
    let mut connection = connect::<D>(url).await?;
    for statement in D::PREPARE {
        match run::<D>(&mut connection, statement).await {
            Ok(()) | Err(sqlx::Error::Database(_)) => {}
            Err(error) => return Err(explain::<D>(url, error).into()),
        }
    }
    for statement in D::BEGIN {
        run::<D>(&mut connection, statement).await.map_err(|error| explain::<D>(url, error))?;
    }
    let (sql, understood) = match wanted {
        Wanted::Query(query) => {
            let columns = columns::<D>(&mut connection, query).await;
            let columns = columns.map_err(|error| explain::<D>(url, error))?;
            let Some(first) = columns.first() else {
                return Err(SourceError::QueryWithoutColumn { server: url.to_string() }.into());
            };
            (query.clone(), format!("{}, query, column {}", D::NAME, quoted(first)))
        }
        Wanted::Table { name, column } => {
            table_query::<D>(&mut connection, url, name, column.as_deref()).await?
        }
    };
    hand.understood(understood)?;
    stream::<D>(&mut connection, url, sql, hand).await?;
    close(connection).await;
    Ok(())
}

async fn connect<D: Dialect>(
    url: &DatabaseUrl,
) -> Result<<D::Db as Database>::Connection, SourceError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, D::connect(url)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(explain_connect::<D>(url, &error)),
        Err(_) => Err(unreachable_server(
            url,
            &format!("no answer within {} seconds", CONNECT_TIMEOUT.as_secs()),
        )),
    }
}

async fn table_query<D: Dialect>(
    connection: &mut <D::Db as Database>::Connection,
    url: &DatabaseUrl,
    table: &TableName,
    wanted: Option<&str>,
) -> Result<(String, String), SourceError>
where
    for<'c> &'c mut <D::Db as Database>::Connection: Executor<'c, Database = D::Db>,
{
    let from = table.as_sql(D::QUOTE);
    let columns = match columns::<D>(connection, &format!("SELECT * FROM {from}")).await {
        Ok(columns) => columns,
        Err(sqlx::Error::Database(error)) if D::fault(&*error) == Fault::UnknownTable => {
            return Err(SourceError::UnknownTable {
                server: url.to_string(),
                near: near_tables::<D>(connection, table).await,
                table: quoted(&table.as_text()),
            });
        }
        Err(error) => return Err(explain::<D>(url, error)),
    };
    let kind = SqlKind { name: D::NAME, quote: D::QUOTE };
    let query = choose(kind, table, &columns, wanted).map_err(|error| SourceError::Column {
        name: format!("{url}, table {},", quoted(&table.as_text())),
        error,
    })?;
    Ok((query.sql, query.understood))
}

/// The names of the columns that a single statement returns. Several statements are an error.
async fn columns<D: Dialect>(
    connection: &mut <D::Db as Database>::Connection,
    sql: &str,
) -> sqlx::Result<Vec<String>>
where
    for<'c> &'c mut <D::Db as Database>::Connection: Executor<'c, Database = D::Db>,
{
    let statement = connection.prepare(AssertSqlSafe(sql).into_sql_str()).await?;
    Ok(statement.columns().iter().map(|column| column.name().to_owned()).collect())
}

async fn run<D: Dialect>(
    connection: &mut <D::Db as Database>::Connection,
    sql: &'static str,
) -> sqlx::Result<()>
where
    for<'c> &'c mut <D::Db as Database>::Connection: Executor<'c, Database = D::Db>,
{
    let mut results = connection.fetch_many(raw_sql(sql));
    while let Some(result) = results.next().await {
        result?;
    }
    Ok(())
}

/// Only a help beside the error that is told anyway, so it may fail in silence.
async fn near_tables<D: Dialect>(
    connection: &mut <D::Db as Database>::Connection,
    table: &TableName,
) -> NearNames
where
    for<'c> &'c mut <D::Db as Database>::Connection: Executor<'c, Database = D::Db>,
{
    let mut names = Vec::new();
    if run::<D>(connection, "ROLLBACK").await.is_ok() {
        let mut rows = connection.fetch(raw_sql(D::TABLES));
        while let Some(Ok(row)) = rows.next().await {
            names.extend(D::text(&row));
        }
    }
    NearNames::among(&table.as_text(), names)
}

async fn stream<D: Dialect>(
    connection: &mut <D::Db as Database>::Connection,
    url: &DatabaseUrl,
    sql: String,
    hand: &mut RowSender,
) -> Result<(), Break>
where
    for<'c> &'c mut <D::Db as Database>::Connection: Executor<'c, Database = D::Db>,
{
    let mut rows = connection.fetch(raw_sql(AssertSqlSafe(sql)));
    while let Some(row) = rows.next().await {
        let text = row.and_then(|row| D::text(&row));
        let text = text.map_err(|error| match hand.rows() {
            0 => explain::<D>(url, error),
            row => SourceError::BrokeOff { server: url.to_string(), row, message: message(&error) },
        })?;
        hand.row(text)?;
    }
    Ok(())
}

fn explain_connect<D: Dialect>(url: &DatabaseUrl, error: &sqlx::Error) -> SourceError {
    match error {
        sqlx::Error::Database(fault) if D::fault(&**fault) == Fault::Login => {
            SourceError::LoginRefused {
                server: url.to_string(),
                message: message(error),
                password_help: D::PASSWORD_HELP,
            }
        }
        sqlx::Error::Database(_) => SourceError::Database {
            server: url.to_string(),
            message: message(error),
            advice: "Check the name of the database in the URL, or try again later.",
        },
        other if is_tls(other) => SourceError::Database {
            server: url.to_string(),
            message: message(error),
            advice: TLS_ADVICE,
        },
        other => unreachable_server(url, &message(other)),
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

fn explain<D: Dialect>(url: &DatabaseUrl, error: sqlx::Error) -> SourceError {
    let (server, message) = (url.to_string(), message(&error));
    match error {
        sqlx::Error::Database(fault) => match D::fault(&*fault) {
            Fault::Writes => SourceError::QueryWrites { server },
            Fault::Disconnected => SourceError::BrokeOff { server, row: 0, message },
            Fault::Login | Fault::UnknownTable | Fault::Query => {
                SourceError::QueryRefused { server, message }
            }
        },
        sqlx::Error::Io(_) => SourceError::BrokeOff { server, row: 0, message },
        _ => SourceError::Database { server, message, advice: "Try another column or query." },
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
