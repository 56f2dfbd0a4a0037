//! Which email is looked up when: the scheduler applies all limits and knows no clock; the driver
//! does what it decides.

pub mod settings;
pub mod step;
pub mod scheduler;
pub mod driver;
pub mod outbox;
// The parts of the scheduler.
mod backoff;
mod canary;
mod concurrency;
mod failure_limit;
mod held;
mod outage;
mod queue;
mod rate;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
pub(crate) mod simulation;
