//! Rows of a database, read by a thread of its own.

pub(in crate::source) mod feed;
pub(in crate::source) mod sql;
pub(in crate::source) mod sqlite;
pub(in crate::source) mod table;
mod dialect;
