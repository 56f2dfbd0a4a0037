//! Rows of a database, read by a thread of its own.

pub(in crate::source) mod fault;
pub(in crate::source) mod feed;
mod mysql;
mod postgres;
pub(in crate::source) mod remote;
mod server;
pub(in crate::source) mod sqlite;
pub(in crate::source) mod table;
