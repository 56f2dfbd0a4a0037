//! When to ask: the scheduler holds what others decide, and knows no clock; one loop drives it.

pub mod settings;
pub mod step;
pub mod scheduler;
pub mod drive;
pub mod outbox;
// What decides.
mod backoff;
mod breaker;
mod doubt;
mod learned;
mod limit;
mod pace;
mod queue;
mod round;
#[cfg(test)]
mod scenarios;
