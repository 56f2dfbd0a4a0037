//! The path of one email.
//!
//! A row leaves its [`source`] as text, becomes an [`email`] or a reject, and takes its place in
//! the [`plan`]. The [`lookup`] asks the [`api`] for it as soon as the limits allow, and again
//! when that is worth it. What comes back is merged into the [`store`] by the one writer, and the
//! [`report`] accounts for every row.

#![warn(missing_docs, unreachable_pub)]

// The words that all parts speak.
pub mod email;
pub mod customer;
pub mod outcome;
pub mod stop;
pub mod exit;
pub mod tally;
pub mod run;
pub mod time;
pub mod terminal;
// The path, in order.
pub mod source;
pub mod plan;
pub mod lookup;
pub mod api;
pub mod store;
pub mod report;
// What is around it.
pub mod cli;
pub mod settings;
pub mod error;
pub mod progress;
pub mod logging;
pub mod signals;
pub mod commands;
// The stand-in for the API.
pub mod sandbox;
