//! When to ask: the scheduler holds what others decide, and knows no clock; one loop drives it.

pub mod settings;
pub mod step;
pub mod scheduler;
pub mod drive;
pub mod outbox;
// What decides.
mod backoff;
mod concurrency;
mod outage;
mod queue;
mod rate;
#[cfg(test)]
mod scenarios;
