//! How to ask: one request, and what its answer means.

pub mod classify;
pub mod client;
pub mod key;
pub mod probe;
pub mod retry_after;
