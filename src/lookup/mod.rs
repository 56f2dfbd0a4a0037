//! When to ask: the decisions are in the scheduler, which knows no clock; one loop drives it.

pub mod backoff;
pub mod drive;
pub mod pace;
pub mod scheduler;
