//! Counts are `u64` in the program and `i64` in SQLite: what does not fit is an error, never another
//! number.

use rusqlite::types::Type;
use rusqlite::{Error, Result, Row, RowIndex};

/// A count that a statement reads.
///
/// # Errors
/// It is negative, or not a number.
pub(super) fn count<I: RowIndex + Copy>(row: &Row<'_>, column: I) -> Result<u64> {
    let number: i64 = row.get(column)?;
    let index = column.idx(row.as_ref())?;
    u64::try_from(number).map_err(|_| Error::IntegralValueOutOfRange(index, number))
}

/// A count that a statement writes.
///
/// # Errors
/// It is too large.
pub(super) fn stored(count: u64) -> Result<i64> {
    i64::try_from(count).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

/// A text that a statement reads, and that the program has to know.
///
/// # Errors
/// It does not.
pub(super) fn known<T>(text: String, named: impl Fn(&str) -> Option<T>) -> Result<T> {
    named(&text).ok_or_else(|| {
        let unknown = format!("the unknown value {text:?}");
        Error::FromSqlConversionFailure(0, Type::Text, unknown.into())
    })
}
