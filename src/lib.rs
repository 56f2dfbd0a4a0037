//! The path of one email.
//!
//! A row leaves its [`source`] as text, becomes an [`email`] or a reject, and takes its place in
//! the plan. The lookup asks the API for it as soon as the limits allow, and again when that is
//! worth it. What comes back is merged into the store by the one writer, and the report accounts
//! for every row.

#![warn(missing_docs, unreachable_pub)]

pub mod email;
pub mod sandbox;
pub mod source;
