//! Rows out of a file or a database, streamed: nothing here holds the whole input.

/// One row of the input, before anything is thought of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRow {
    /// The line on which the row starts in a file, counted from 1 as an editor does; the row's
    /// number in the result of a query.
    pub row: u64,
    /// The cell that should hold an email, as it was read.
    pub text: String,
}
