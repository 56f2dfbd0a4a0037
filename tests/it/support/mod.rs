//! What the tests need around them.

pub(crate) mod alone;
pub(crate) mod api;
pub(crate) mod random;
pub(crate) mod relay;
pub(crate) mod refusing_postgres;
pub(crate) mod rust;
pub(crate) mod certificates;
pub(crate) mod clock;
pub(crate) mod dir;
pub(crate) mod content;
pub(crate) mod mariadb;
pub(crate) mod memory;
pub(crate) mod mount;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod server;
pub(crate) mod tls_api;
pub(crate) mod command;
