//! Everything around the job: options, settings, errors, logs, progress and signals.

pub mod cli;
pub mod error;
pub mod logging;
pub mod progress;
pub mod settings;
pub mod signals;
