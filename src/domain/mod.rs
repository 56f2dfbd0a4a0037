//! The vocabulary that all parts share.
//!
//! Pure: no clock, no I/O.

pub mod email;
pub mod json;
pub mod customer;
pub mod outcome;
pub mod counts;
pub mod run;
pub mod speed;
pub mod report_data;
pub mod status;
pub mod stop;
pub mod exit;
