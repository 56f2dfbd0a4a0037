//! What a session on any kind of server does for a reader of rows.

use crate::source::database::fault::ServerError;
use crate::source::database::feed::Break;
use crate::source::database::table::{SqlKind, TableName};
use crate::source::location::Options;

/// What is read of a server.
#[derive(Clone, Debug)]
pub(in crate::source) enum Wanted {
    Table { name: TableName, column: Option<String> },
    Query { sql: String, column: Option<String> },
}

/// Why rows ended before their end.
pub(in crate::source) enum Ended {
    Server(ServerError),
    Break(Break),
}

impl From<ServerError> for Ended {
    fn from(error: ServerError) -> Self {
        Self::Server(error)
    }
}

/// A session on one kind of server.
pub(in crate::source) trait Server: Sized {
    type Row;

    const KIND: SqlKind;
    /// Lists `schema.table`, of the default schema `table` alone.
    const TABLES: &'static str;
    const PASSWORD_HELP: &'static str;

    async fn connect(options: &Options) -> Result<Self, ServerError>;
    /// Makes the session one that only reads.
    async fn begin(&mut self) -> Result<(), ServerError>;
    async fn rollback(&mut self) -> Result<(), ServerError>;
    /// The names of the columns that a table or a single statement has.
    async fn columns(&mut self, wanted: &Wanted) -> Result<Vec<String>, ServerError>;
    /// Runs one statement and passes each of its rows to `take`.
    async fn each_row(
        &mut self,
        sql: &str,
        take: &mut dyn FnMut(&Self::Row) -> Result<(), Ended>,
    ) -> Result<(), Ended>;
    /// The value of a column in the text protocol; NULL is blank.
    fn text(row: &Self::Row, column: usize) -> Result<String, ServerError>;
    /// Closes the session. All rows have been read, so a failure makes no difference.
    async fn end(self);
}
