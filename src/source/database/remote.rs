//! Rows out of PostgreSQL, MySQL or MariaDB.
//!
//! A separate thread runs the driver and sends the rows. The server first names the columns
//! of a single statement, which then runs in a read-only transaction by the text protocol, in which
//! a value of any type comes as text. The server is read as fast as the rows are taken: the
//! socket's buffers hold what it sends earlier.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::sync::oneshot;

use crate::display::{quoted, shortened};
use crate::source::SourceSettings;
use crate::source::csv::column::{self, Choice, Sampled};
use crate::source::database::fault::{About, Fault, ServerError, tls_advice};
use crate::source::database::feed::{self, Break, RowReceiver, RowSender, Stop};
use crate::source::database::mysql::MySqlOrMariaDb;
use crate::source::database::postgres::PostgreSql;
use crate::source::database::server::{Ended, Server, Wanted};
use crate::source::database::table::{
    ReadQuery, TableName, by_name, sample_query, table_query, user_query,
};
use crate::source::error::{ColumnError, NearNames, SourceError};
use crate::source::location::{DatabaseUrl, Options};

/// How long a server has to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects, prepares the statement and says how it is read.
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

struct Session<'a, S: Server> {
    url: &'a DatabaseUrl,
    server: S,
}

impl<'a, S: Server> Session<'a, S> {
    async fn read(
        url: &'a DatabaseUrl,
        wanted: &Wanted,
        sender: &mut RowSender,
    ) -> Result<(), Break> {
        let mut session = Self { url, server: connect::<S>(url).await? };
        session.server.begin().await.map_err(|error| explain(url, error, 0))?;
        let ReadQuery { sql, column, description } = session.query(wanted).await?;
        sender.describe(description)?;
        session.stream(&sql, column, sender).await?;
        session.server.end().await;
        Ok(())
    }

    async fn query(&mut self, wanted: &Wanted) -> Result<ReadQuery, SourceError> {
        let columns = self.server.columns(wanted).await;
        match (wanted, columns) {
            (Wanted::Table { name, column }, Ok(columns)) => {
                let choice = match by_name(&columns, column.as_deref()) {
                    Err(ColumnError::NoneKnown { .. }) => self.by_content(name, &columns).await?,
                    choice => choice,
                };
                let choice = choice.map_err(|error| {
                    let name = format!("{}, table {},", self.url, quoted(&name.as_text()));
                    SourceError::Column { name, error }
                })?;
                Ok(table_query(S::KIND, name, &columns, &choice))
            }
            (Wanted::Query { .. }, Ok(columns)) if columns.is_empty() => {
                Err(SourceError::QueryWithoutColumn { server: self.url.to_string() })
            }
            (Wanted::Query { sql, column }, Ok(columns)) => {
                user_query(S::KIND, sql, &columns, column.as_deref()).map_err(|error| {
                    SourceError::Column { name: format!("{}: the query", self.url), error }
                })
            }
            (Wanted::Table { name, .. }, Err(error)) => Err(self.no_table(name, error).await),
            (Wanted::Query { .. }, Err(error)) => Err(explain(self.url, error, 0)),
        }
    }

    /// No column has a usual name: the first rows show which one holds addresses.
    async fn by_content(
        &mut self,
        table: &TableName,
        columns: &[String],
    ) -> Result<Result<Choice, ColumnError>, SourceError> {
        let mut sampled = vec![Sampled::default(); columns.len()];
        let mut take = |row: &S::Row| {
            for (index, sampled) in sampled.iter_mut().enumerate() {
                sampled.add(&S::text(row, index)?);
            }
            Ok(())
        };
        match self.server.each_row(&sample_query(S::KIND, table), &mut take).await {
            Ok(()) | Err(Ended::Break(_)) => {}
            Err(Ended::Server(error)) => return Err(explain(self.url, error, 0)),
        }
        Ok(column::by_content(columns, &sampled))
    }

    async fn no_table(&mut self, table: &TableName, error: ServerError) -> SourceError {
        let server = self.url.to_string();
        match error.fault() {
            Some(Fault::UnknownTable) => SourceError::UnknownTable {
                server,
                near: self.near_tables(table).await,
                table: quoted(&table.as_text()),
            },
            Some(Fault::BrokenView) => SourceError::BrokenView {
                server,
                view: quoted(&table.as_text()),
                message: error.message,
            },
            _ => explain(self.url, error, 0),
        }
    }

    /// Only a help beside the error that is reported anyway, so it may fail in silence.
    async fn near_tables(&mut self, table: &TableName) -> NearNames {
        let mut names = Vec::new();
        if self.server.rollback().await.is_ok() {
            let mut take = |row: &S::Row| {
                names.extend(S::text(row, 0));
                Ok(())
            };
            let _ = self.server.each_row(S::TABLES, &mut take).await;
        }
        NearNames::among(&table.as_text(), names)
    }

    async fn stream(
        &mut self,
        sql: &str,
        column: usize,
        sender: &mut RowSender,
    ) -> Result<(), Break> {
        let mut take = |row: &S::Row| {
            let text = S::text(row, column)?;
            sender.row(text).map_err(|gone| Ended::Break(gone.into()))
        };
        match self.server.each_row(sql, &mut take).await {
            Ok(()) => Ok(()),
            Err(Ended::Break(reason)) => Err(reason),
            Err(Ended::Server(error)) => Err(explain(self.url, error, sender.rows()).into()),
        }
    }
}

/// A connection to PostgreSQL for another purpose than reading a source.
///
/// # Errors
/// The server cannot be reached, or refuses the login; no message holds the password.
pub async fn connect_to_postgres(url: &DatabaseUrl) -> Result<PgConnection, SourceError> {
    Ok(connect::<PostgreSql>(url).await?.into_connection())
}

/// Tries each host in turn.
async fn connect<S: Server>(url: &DatabaseUrl) -> Result<S, SourceError> {
    let mut last = None;
    for options in &url.hosts {
        let failed = match tokio::time::timeout(CONNECT_TIMEOUT, S::connect(options)).await {
            Ok(Ok(server)) => return Ok(server),
            Ok(Err(error)) => explain_connect(url, error, S::PASSWORD_HELP),
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

fn explain_connect(
    url: &DatabaseUrl,
    ServerError { about, message }: ServerError,
    password_help: &'static str,
) -> SourceError {
    let server = url.to_string();
    let advice = match about {
        About::Fault(Fault::Login) => {
            return SourceError::LoginRefused { server, message, password_help };
        }
        About::Fault(fault @ (Fault::Resources | Fault::NotReady)) => fault.advice(),
        About::Fault(_) => "Check the name of the database and the parameters in the URL.",
        About::Tls => tls_advice(&message),
        About::AuthPlugin => {
            "Give this user a password that is checked by ed25519, mysql_native_password, \
             caching_sha2_password or sha256_password."
        }
        About::Connection | About::Driver => return unreachable_server(url, &message),
    };
    SourceError::NoConnection { server, message, advice }
}

/// Why reading ended after so many rows.
fn explain(url: &DatabaseUrl, error: ServerError, row: u64) -> SourceError {
    let (server, fault) = (url.to_string(), error.fault());
    let ServerError { about, message } = error;
    let advice = match (fault, about) {
        (Some(Fault::Writes), _) if row == 0 => return SourceError::QueryWrites { server },
        (Some(Fault::UnknownTable | Fault::Query | Fault::Login), _) if row == 0 => {
            return SourceError::QueryRefused { server, message };
        }
        (Some(fault), _) => fault.advice(),
        (None, About::Connection) => Fault::Disconnected.advice(),
        (None, _) => "Try another column or query.",
    };
    let ends_reading =
        matches!(fault, None | Some(Fault::Disconnected | Fault::Timeout | Fault::Canceled));
    if row > 0 || ends_reading {
        SourceError::BrokeOff { server, row, message, advice }
    } else {
        SourceError::Database { server, message, advice }
    }
}

fn unreachable_server(url: &DatabaseUrl, message: &str) -> SourceError {
    SourceError::Unreachable { server: url.to_string(), message: shortened(message) }
}
