//! The whole of the crate from outside, in one binary.

mod csv_differential;
mod databases;
mod readme;
mod support;
