//! A look: one round at half the limit, which shows whether back pressure comes from our own load.
//!
//! Pure: no clock, no I/O.

use crate::lookup::concurrency::Sign;
use crate::lookup::concurrency::round::{JUDGED_FROM, Summary};

/// A look with less than this part of the latency proves that our load made it slow: at half the
/// load a queue makes it half as long.
const FASTER: f64 = 0.8;

/// A look with this part of the refusals proves the same of refusals. They are rare, so it is
/// less than half.
const FEWER: f64 = 0.125;

/// Attempts of a look for refusals: with 1 in 20 refused by chance, 1 look in 25 sees none.
const LOOK_ATTEMPTS: usize = 64;

/// What was seen before the limit was halved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) limit_before: usize,
    pub(super) before: Summary,
    pub(super) sign: Sign,
}

impl Look {
    /// The attempts that the round at half the limit needs.
    pub(super) fn attempts(&self) -> usize {
        if self.sign == Sign::Refusals { LOOK_ATTEMPTS } else { JUDGED_FROM }
    }

    /// Whether half the load made it better.
    pub(super) fn is_our_load(&self, at_half: &Summary) -> bool {
        if self.sign == Sign::Refusals {
            return at_half.refused_share() <= self.before.refused_share() * FEWER;
        }
        match (self.before.mean, at_half.mean) {
            (Some(before), Some(at_half)) => at_half < before * FASTER,
            (None, _) | (_, None) => true,
        }
    }
}
