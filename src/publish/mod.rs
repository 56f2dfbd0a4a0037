//! Beyond one machine: the stores of many organizations, brought together in PostgreSQL.
//!
//! A publication is one transaction. It locks the row of its organization, and only then looks at the store:
//! what was written since the last publication is copied into temporary tables (`stages`, `copy`) and merged
//! from there (`merge`). Its position in the store's log is a column of the locked row, so a publication that
//! is killed has not happened, and the next one does it.

mod copy;
mod error;
mod merge;
mod publication;
mod restore;
mod schema;
mod stages;

pub use error::PublishError;
pub use publication::{Published, PublishedRows, Takeover, publish};
pub use restore::{Restored, restore};

use crate::display::{clause, shortened};
use crate::source::{DatabaseUrl, connect_to_postgres};
use error::advice;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, raw_sql};
use std::fmt;
use std::time::Duration;

/// The most bytes that PostgreSQL keeps of a name.
const LONGEST_NAME: usize = 63;

/// A server that does not answer for so long is gone: the driver does not ask whether it still lives. Longer
/// than the largest merge takes.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// A server that dies, or a client, is noticed within half a minute, and no publication waits for another
/// one longer than that. The plans are for large stages.
const SETTINGS: &str = "
    SET LOCAL client_min_messages = warning;
    SET LOCAL lock_timeout = '60s';
    SET LOCAL tcp_keepalives_idle = 10;
    SET LOCAL tcp_keepalives_interval = 5;
    SET LOCAL tcp_keepalives_count = 3;
    SET LOCAL idle_in_transaction_session_timeout = '5min';
    SET LOCAL work_mem = '64MB';
    SET LOCAL jit = off";

/// The name of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema(String);

impl Schema {
    /// A name that PostgreSQL keeps whole.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
            Err("give a name of 1 to 63 bytes")
        } else if name.starts_with("pg_") {
            Err("names that begin with pg_ are PostgreSQL's own")
        } else {
            Ok(Self(name.to_owned()))
        }
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// Where to publish.
#[derive(Clone, Debug)]
pub struct Target {
    pub url: DatabaseUrl,
    pub schema: Schema,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, schema {}", self.url, shortened(self.schema.name()))
    }
}

impl Target {
    async fn connect(&self) -> Result<PgConnection, PublishError> {
        Ok(connect_to_postgres(&self.url).await?)
    }

    async fn begin(&self, connection: &mut PgConnection) -> Result<(), PublishError> {
        self.run(connection, "BEGIN").await?;
        self.run(connection, SETTINGS).await?;
        self.use_schema(connection).await
    }

    /// Unqualified names mean this schema, until the transaction ends.
    async fn use_schema(&self, connection: &mut PgConnection) -> Result<(), PublishError> {
        self.run(connection, &format!("SET LOCAL search_path = {}", self.schema.quoted())).await
    }

    /// Runs statements that have no result.
    async fn run(&self, connection: &mut PgConnection, sql: &str) -> Result<(), PublishError> {
        let sql = raw_sql(AssertSqlSafe(sql.to_owned()));
        self.answer(connection.execute(sql)).await.map(drop)
    }

    /// Waits for the server's answer.
    async fn answer<T>(
        &self,
        answer: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, PublishError> {
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.unwrap_or_else(|_| {
            let minutes = PATIENCE.as_secs() / 60;
            Err(sqlx::Error::Protocol(format!("no answer within {minutes} minutes")))
        });
        answer.map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &sqlx::Error) -> PublishError {
        let code = error.as_database_error().map(|error| error.code().unwrap_or_default());
        PublishError::Database {
            server: self.url.to_string(),
            schema: self.schema.name().to_owned(),
            message: message(error),
            advice: advice(code.as_deref()),
        }
    }

    fn not_published(&self, organization: &str, organizations: Vec<String>) -> PublishError {
        PublishError::NotPublished {
            server: self.url.to_string(),
            schema: self.schema.name().to_owned(),
            organization: organization.to_owned(),
            organizations,
        }
    }

    fn explain_creation(&self, error: &sqlx::Error) -> PublishError {
        match error.as_database_error() {
            Some(refusal) if refusal.code().as_deref() == Some("42501") => PublishError::NoSchema {
                server: self.url.to_string(),
                schema: self.schema.name().to_owned(),
                user: self.url.user(),
                message: message(error),
            },
            _ => self.explain(error),
        }
    }
}

/// What the server or the driver says, on one line and without its own end.
fn message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => clause(error.message()),
        sqlx::Error::Io(error) => clause(&error.to_string()),
        other => clause(&other.to_string()),
    }
}
