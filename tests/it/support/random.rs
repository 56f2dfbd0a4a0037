//! How much is tried and from which seed: little as a rule, more where the environment says so.

use fastrand::Rng;

/// The number that the environment gives under `name`, else `usual`.
pub(crate) fn count(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")),
        Err(_) => usual,
    }
}

/// The chance of one part of a test. `SEED` makes it another one, the same for the same seed.
pub(crate) fn rng(part: u64) -> Rng {
    Rng::with_seed((count("SEED", 7) << 32) ^ part)
}
