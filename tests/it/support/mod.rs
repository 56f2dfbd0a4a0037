//! What the tests need around them.

pub(crate) mod mariadb;
pub(crate) mod memory;
pub(crate) mod postgres;
pub(crate) mod server;
