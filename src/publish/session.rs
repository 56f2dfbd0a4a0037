//! A transaction on the server. Every wait for an answer ends: a server that is gone, or a network that swallows
//! what is sent, would else hold a run forever.

use crate::publish::Target;
use crate::publish::error::PublishError;
use crate::source::{SourceError, connect_to_postgres};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgConnection, PgCopyIn, PgQueryResult, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Executor as _, Row as _, raw_sql};
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

/// After so long without an answer, the server is asked over another connection whether it is at work.
const ASK_AFTER: Duration = Duration::from_secs(10);

/// An answer that was on its way when the server was asked arrives within this time.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// No statement takes longer, even where the server cannot be asked.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// A transaction begins within this time. A pool waits for a free session of the server meanwhile.
const PATIENCE_TO_BEGIN: Duration = Duration::from_secs(2 * 60);

/// A server that dies, or a client, is noticed within half a minute, and no publication waits for another
/// one longer than a minute. The plans are for large stages.
const SETTINGS: &str = "
    SET LOCAL client_min_messages = warning;
    SET LOCAL lock_timeout = '60s';
    SET LOCAL tcp_keepalives_idle = 10;
    SET LOCAL tcp_keepalives_interval = 5;
    SET LOCAL tcp_keepalives_count = 3;
    SET LOCAL idle_in_transaction_session_timeout = '5min';
    SET LOCAL work_mem = '64MB';
    SET LOCAL jit = off";

/// A statement with its parameters.
pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// A statement that is planned once and not kept: behind a pool, the next one would be someone else's.
pub(super) fn statement<'q>(sql: impl Into<String>) -> Statement<'q> {
    sqlx::query(AssertSqlSafe(sql.into())).persistent(false)
}

/// A connection in a transaction, in which unqualified names mean the target's schema.
pub(super) struct Session<'a> {
    connection: PgConnection,
    watch: Watch<'a>,
}

/// What is known of a session from outside.
#[derive(Clone, Copy)]
struct Watch<'a> {
    target: &'a Target,
    /// The process of the server; `None` before a transaction.
    backend: Option<i32>,
}

/// What the server does for a session, as far as another connection can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    AtWork,
    /// It waits for us, or has no such session.
    Idle,
    /// There is no server.
    Unreachable,
    /// It lives, and does not say.
    Unknown,
}

impl<'a> Session<'a> {
    pub(super) async fn begin(target: &'a Target) -> Result<Self, PublishError> {
        let connection = connect_to_postgres(&target.url).await?;
        let mut session = Self { connection, watch: Watch { target, backend: None } };
        session.begin_again().await?;
        Ok(session)
    }

    /// Begins another transaction, after a commit.
    pub(super) async fn begin_again(&mut self) -> Result<(), PublishError> {
        self.watch.backend = None;
        let schema = self.target().schema.quoted();
        self.run(&format!("BEGIN; {SETTINGS}; SET LOCAL search_path = {schema}")).await?;
        let backend = self.fetch_one(statement("SELECT pg_backend_pid()")).await?;
        self.watch.backend = Some(self.get(&backend, 0)?);
        Ok(())
    }

    pub(super) fn target(&self) -> &'a Target {
        self.watch.target
    }

    /// Runs statements that have no result.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), PublishError> {
        let Self { connection, watch } = self;
        let sql = raw_sql(AssertSqlSafe(sql.to_owned()));
        watch.answer(connection.execute(sql)).await.map(drop)
    }

    pub(super) async fn execute(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<PgQueryResult, PublishError> {
        let Self { connection, watch } = self;
        watch.answer(statement.execute(connection)).await
    }

    pub(super) async fn fetch_one(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<PgRow, PublishError> {
        let Self { connection, watch } = self;
        watch.answer(statement.fetch_one(connection)).await
    }

    pub(super) async fn fetch_optional(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Option<PgRow>, PublishError> {
        let Self { connection, watch } = self;
        watch.answer(statement.fetch_optional(connection)).await
    }

    pub(super) async fn fetch_all(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Vec<PgRow>, PublishError> {
        let Self { connection, watch } = self;
        watch.answer(statement.fetch_all(connection)).await
    }

    /// Rows one by one, however many there are.
    pub(super) fn fetch<'s>(&'s mut self, statement: Statement<'s>) -> RowStream<'s> {
        let Self { connection, watch } = self;
        RowStream { rows: statement.fetch(connection), watch: *watch }
    }

    pub(super) async fn copy_into(&mut self, table: &str) -> Result<CopyIn<'_>, PublishError> {
        let Self { connection, watch } = self;
        let statement = format!("COPY {table} FROM STDIN");
        let copy = watch.answer(connection.copy_in_raw(&statement)).await?;
        Ok(CopyIn { copy, watch: *watch })
    }

    /// # Errors
    /// If the connection breaks off, nobody knows whether it was committed.
    pub(super) async fn commit(&mut self) -> Result<(), PublishError> {
        let committed = self.run("COMMIT").await;
        committed.map_err(PublishError::of_commit)
    }

    /// A value of a row.
    pub(super) fn get<T>(&self, row: &PgRow, at: usize) -> Result<T, PublishError>
    where
        T: for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        row.try_get(at).map_err(|error| self.target().explain(&error))
    }
}

/// Rows as they come in.
pub(super) struct RowStream<'a> {
    rows: BoxStream<'a, sqlx::Result<PgRow>>,
    watch: Watch<'a>,
}

impl RowStream<'_> {
    pub(super) async fn next(&mut self) -> Result<Option<PgRow>, PublishError> {
        let Self { rows, watch } = self;
        watch.answer(async { rows.next().await.transpose() }).await
    }
}

/// A COPY to the server.
pub(super) struct CopyIn<'a> {
    copy: PgCopyIn<&'a mut PgConnection>,
    watch: Watch<'a>,
}

impl CopyIn<'_> {
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        let Self { copy, watch } = self;
        watch.answer(copy.send(bytes)).await.map(drop)
    }

    /// Returns the number of rows.
    pub(super) async fn finish(self) -> Result<u64, PublishError> {
        self.watch.answer(self.copy.finish()).await
    }
}

impl Watch<'_> {
    async fn answer<T>(
        self,
        answer: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, PublishError> {
        let patience = if self.backend.is_some() { PATIENCE } else { PATIENCE_TO_BEGIN };
        let answer = timeout(patience, self.while_at_work(answer)).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(silence(&format!("no answer within {} minutes", patience.as_secs() / 60)))
        });
        answer.map_err(|error| self.target.explain(&error))
    }

    async fn while_at_work<T>(
        self,
        answer: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        let mut answer = pin!(answer);
        loop {
            if let Ok(answer) = timeout(ASK_AFTER, &mut answer).await {
                return answer;
            }
            let fault = match self.activity().await {
                Activity::AtWork | Activity::Unknown => continue,
                Activity::Idle => "nothing passes through it any more",
                Activity::Unreachable => "the server no longer answers",
            };
            return timeout(ON_ITS_WAY, answer).await.unwrap_or_else(|_| Err(silence(fault)));
        }
    }

    /// Asks over another connection.
    async fn activity(self) -> Activity {
        let mut other = match connect_to_postgres(&self.target.url).await {
            Ok(other) => other,
            Err(SourceError::Unreachable { .. }) => return Activity::Unreachable,
            Err(_) => return Activity::Unknown,
        };
        let Some(backend) = self.backend else { return Activity::Unknown };
        let select = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1
             AND state = 'active' AND wait_event_type IS DISTINCT FROM 'Client')";
        let asked = statement(select).bind(backend).fetch_one(&mut other);
        match timeout(ASK_AFTER, asked).await {
            Ok(Ok(row)) if row.try_get(0).unwrap_or(true) => Activity::AtWork,
            Ok(Ok(_)) => Activity::Idle,
            Ok(Err(_)) | Err(_) => Activity::Unknown,
        }
    }
}

fn silence(fault: &str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, fault))
}
