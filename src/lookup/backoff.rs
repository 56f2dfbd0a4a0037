//! How long an email waits for its next attempt: exponential backoff with full jitter.
//!
//! Pure: no clock, no I/O.

use backon::{BackoffBuilder as _, ExponentialBuilder};
use fastrand::Rng;
use std::time::Duration;

/// The ceiling of the first wait.
const BASE: Duration = Duration::from_millis(500);

/// No ceiling is higher.
const CAP: Duration = Duration::from_secs(30);

/// Ceilings double until [`CAP`], which they have reached by then.
const CEILINGS: usize = 8;

/// The waits between attempts. Backon's own jitter only adds to a wait, up to twice the cap, so it
/// gives the ceilings here, and the wait is drawn below them.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    ceilings: [Duration; CEILINGS],
}

impl Default for Backoff {
    fn default() -> Self {
        let schedule = ExponentialBuilder::default()
            .with_min_delay(BASE)
            .with_max_delay(CAP)
            .with_factor(2.0)
            .without_max_times()
            .build();
        let mut ceilings = [CAP; CEILINGS];
        for (ceiling, scheduled) in ceilings.iter_mut().zip(schedule) {
            *ceiling = scheduled;
        }
        Self { ceilings }
    }
}

impl Backoff {
    /// The wait after `tries` attempts (from 1): uniform between 0 and the ceiling.
    pub(super) fn wait(&self, tries: u32, chance: &mut Rng) -> Duration {
        self.ceiling(tries).mul_f64(chance.f64())
    }

    fn ceiling(&self, tries: u32) -> Duration {
        let last = CEILINGS - 1;
        self.ceilings[usize::try_from(tries.saturating_sub(1)).unwrap_or(last).min(last)]
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Rng};
    use proptest::prelude::{any, prop_assert, proptest};

    #[test]
    fn the_ceilings_double_up_to_the_cap() {
        let backoff = Backoff::default();
        let seconds = (1..=10).map(|tries| backoff.ceiling(tries).as_secs_f64());
        let expected = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0];
        assert_eq!(seconds.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_jitter_is_full() {
        let (backoff, mut chance) = (Backoff::default(), Rng::with_seed(7));
        let waits: Vec<f64> =
            (0..10_000).map(|_| backoff.wait(3, &mut chance).as_secs_f64()).collect();
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        assert!((0.98..1.02).contains(&mean), "{mean}");
        assert!(waits.iter().any(|wait| *wait < 0.01) && waits.iter().any(|wait| *wait > 1.99));
    }

    proptest! {
        #[test]
        fn no_wait_is_beyond_its_ceiling(tries in any::<u32>(), seed in any::<u64>()) {
            let backoff = Backoff::default();
            prop_assert!(backoff.wait(tries, &mut Rng::with_seed(seed)) <= backoff.ceiling(tries));
        }
    }
}
