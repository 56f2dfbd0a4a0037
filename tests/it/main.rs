//! The whole of the crate from outside, in one binary.

mod answers;
mod bad_input;
mod csv_differential;
mod customers;
mod databases;
mod disk;
mod doubts;
mod hourly;
mod intervals;
mod key_hygiene;
mod killed;
mod kills;
mod names;
mod on_the_wire;
mod pace;
mod plan;
mod quiet;
mod reading;
mod readme;
mod refused_key;
mod rejects;
mod reports;
mod schedules;
mod signals;
mod wrong_key;
mod support;
