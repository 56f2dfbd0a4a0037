//! How to ask: one request, and what its answer means.

mod cause;
pub mod classify;
pub mod client;
pub mod key;
pub mod probe;
pub mod retry_after;
