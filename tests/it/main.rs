//! The whole of the crate from outside, in one binary.

mod alerts;
mod answers;
mod bad_input;
mod csv_differential;
mod customers;
mod databases;
mod disk;
mod docs;
mod doubts;
mod fuzz;
mod hostile;
mod hourly;
mod intervals;
mod key_hygiene;
mod key_nowhere;
mod killed;
mod kills;
mod layout;
mod names;
mod on_the_wire;
mod pace;
mod plan;
mod quiet;
mod reading;

mod refused_key;
mod rejects;
mod reporting;
mod reports;
mod samples;
mod schedules;
mod shell;
mod signals;
mod simulated;
mod wrong_key;
mod support;
