//! Everything around the job: options, settings, errors, logs, progress and signals.

pub mod cli;
pub mod environment;
pub mod error;
pub mod logging;
pub mod os;
pub mod ping;
pub mod progress;
pub mod publishing;
pub mod run_options;
pub mod settings;
pub mod signals;
pub mod stderr;
