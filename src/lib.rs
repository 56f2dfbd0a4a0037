//! The path of one email.
//!
//! A row leaves its [`source`] as text, becomes an [`email`](domain::email) or a reject, and takes its place in
//! the [`plan`]. The [`lookup`] asks the [`api`] for it as soon as the limits allow, and again
//! when that is worth it. What comes back is merged into the [`store`] by the one writer, and the
//! [`report`] accounts for every row.

// The vocabulary that all parts share.
pub mod domain;
// The path, in order.
pub mod source;
pub mod plan;
pub mod lookup;
pub mod api;
pub mod store;
pub mod report;
pub mod publish;
// What surrounds the path.
pub mod app;
pub mod commands;
pub mod display;
pub mod paths;
pub mod percent;
pub mod stop_switch;
pub mod time;
// A local API with made-up customers, for trials, tests and benchmarks.
pub mod sandbox;
