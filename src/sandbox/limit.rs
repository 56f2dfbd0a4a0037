//! How many requests a second are let through: a token bucket.

use std::time::Duration;

/// The time whose share of requests may come at once, in seconds: enough for a client that spaces
/// its requests evenly, too little for one that does not.
const BURST_SECONDS: f64 = 0.1;

/// A bucket that fills at an even rate.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    size: f64,
    tokens: f64,
    filled_at: Duration,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(per_second: f64) -> Self {
        let size = (per_second * BURST_SECONDS).max(1.0);
        Self { per_second, size, tokens: size, filled_at: Duration::ZERO }
    }

    /// Whether a request at `now` finds a token, which it then uses up.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        self.tokens = (self.tokens + passed * self.per_second).min(self.size);
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, times: impl Iterator<Item = u64>) -> usize {
        times.filter(|&ms| bucket.take(Duration::from_millis(ms))).count()
    }

    #[test]
    fn lets_the_rate_through_and_a_small_burst_more() {
        assert_eq!(taken(&mut Bucket::new(100.0), 0..1000), 109);
        assert_eq!(taken(&mut Bucket::new(100.0), (0..1000).step_by(10)), 100);
        assert_eq!(taken(&mut Bucket::new(100.0), [0; 50].into_iter()), 10);
    }

    #[test]
    fn a_rate_below_one_a_second_still_lets_one_through() {
        assert_eq!(taken(&mut Bucket::new(0.5), (0..4000).step_by(1000)), 2);
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::new(1.0);
        assert_eq!(taken(&mut bucket, [1000, 0, 1000, 0, 1000].into_iter()), 1);
    }
}
