//! The store's guarantees, with each access to its files watched; a binary of its own because the
//! watcher is SQLite's default in the whole process.

mod disk;
mod model;
mod power;
mod program;
#[path = "../it/support/random.rs"]
mod random;
mod recorder;
mod store;
