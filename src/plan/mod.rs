//! What to look up, in which order: made before the first request, and kept in the store.

pub mod build;
pub mod cursor;
pub mod staging;
mod tombstones;
