//! What the tests need around them.

pub(crate) mod api;
pub(crate) mod clock;
pub(crate) mod desk;
pub(crate) mod mariadb;
pub(crate) mod memory;
pub(crate) mod postgres;
pub(crate) mod server;
pub(crate) mod sync;
