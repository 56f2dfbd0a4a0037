//! How many requests a second: evenly spaced starts, at the rate that is set or the one that the
//! API taught, whichever is lower.
//!
//! Pure: no clock, no I/O.

pub(super) mod learned;

use crate::domain::status::{RateInEffect, RateReason};
use crate::lookup::rate::learned::{Admission, LearnedRate};
use std::time::{Duration, Instant};

/// Timers wake a little late. Starts that were missed by up to this are made up for, so that the
/// rate is reached; no more than that, so that it is not passed.
const LATENESS: Duration = Duration::from_millis(5);

/// Spaces the starts of requests, if there is a rate to keep.
#[derive(Clone, Debug)]
pub(in crate::lookup) struct RateLimit {
    set: Option<f64>,
    learned: LearnedRate,
    next: Option<Instant>,
}

impl RateLimit {
    /// At most `per_second` starts a second; `None`: as many as there are, until the API teaches
    /// a rate.
    pub(in crate::lookup) fn new(per_second: Option<f64>, remembered: Option<f64>) -> Self {
        Self { set: per_second, learned: LearnedRate::remembered(remembered), next: None }
    }

    /// The rate that is kept, in requests a second.
    pub(in crate::lookup) fn per_second(&self) -> Option<f64> {
        [self.set, self.learned.per_second()].into_iter().flatten().reduce(f64::min)
    }

    /// The rate that is kept, and why.
    pub(in crate::lookup) fn in_effect(&self) -> Option<RateInEffect> {
        let requested = self.set.map(|rate| (rate, RateReason::Requested));
        let learned = self.learned.per_second().map(|rate| (rate, self.learned.reason()));
        let lower = requested.into_iter().chain(learned).min_by(|a, b| a.0.total_cmp(&b.0));
        lower.map(|(per_second, reason)| RateInEffect { per_second, reason })
    }

    /// The rate that 429s taught, in requests per second.
    pub(in crate::lookup) fn learned(&self) -> Option<f64> {
        self.learned.per_second()
    }

    /// When the next start may be; `None`: now.
    pub(in crate::lookup) fn wait(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|next| *next > now)
    }

    /// Notes the start of `request`. Returns the rate, if what came back before taught the first one
    /// or a different one.
    pub(in crate::lookup) fn start(&mut self, request: i64, now: Instant) -> Option<f64> {
        let news = self.learned.start(request, now);
        self.next = self.per_second().map(|rate| {
            let earliest = now.checked_sub(LATENESS).unwrap_or(now);
            let interval = Duration::from_secs_f64(1.0 / rate);
            self.next.unwrap_or(now).max(earliest) + interval
        });
        news
    }

    /// Nothing starts between these times, so nothing is accepted.
    pub(in crate::lookup) fn pause(&mut self, from: Instant, until: Instant) {
        self.learned.pause(from, until);
    }

    /// Notes what came back for `request`.
    pub(in crate::lookup) fn settle(&mut self, admission: Admission, request: i64, now: Instant) {
        self.learned.settle(admission, request, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;
    use proptest::prelude::*;

    /// Starts as early as the rate_limit allows, from a timer that is late by each of `late` in turn.
    fn starts(rate: f64, late: &[Duration], count: usize) -> Vec<Duration> {
        let (mut rate_limit, begin) = (RateLimit::new(Some(rate), None), time::instant());
        let mut now = begin;
        let late = late.iter().cycle();
        let starts = late.take(count).map(|late| {
            if let Some(next) = rate_limit.wait(now) {
                now = next + *late;
            }
            rate_limit.start(0, now);
            now - begin
        });
        starts.collect()
    }

    #[test]
    fn starts_are_evenly_spaced() {
        let starts = starts(10.0, &[Duration::ZERO], 4);
        assert_eq!(starts, [0, 100, 200, 300].map(Duration::from_millis));
    }

    #[test]
    fn a_late_timer_does_not_lower_the_rate() {
        let last = *starts(5000.0, &[Duration::from_millis(1)], 10_001).last().unwrap();
        assert!((1.99..2.01).contains(&last.as_secs_f64()), "{last:?}");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let (mut rate_limit, now) = (RateLimit::new(None, None), time::instant());
        rate_limit.start(0, now);
        assert_eq!(rate_limit.wait(now), None);
    }

    #[test]
    fn a_start_waits_until_it_may_be_and_no_longer() {
        let (mut limit, now) = (RateLimit::new(Some(10.0), None), time::instant());
        assert_eq!((limit.wait(now), limit.learned()), (None, None));
        limit.start(0, now);
        let next = now + Duration::from_millis(100);
        assert_eq!(limit.wait(next - Duration::from_millis(1)), Some(next));
        assert_eq!(limit.wait(next), None);
    }

    #[test]
    fn the_lower_of_a_set_and_a_learned_rate_is_in_effect() {
        for (set, per_second, reason) in
            [(100.0, 40.0, RateReason::Remembered), (10.0, 10.0, RateReason::Requested)]
        {
            let limit = RateLimit::new(Some(set), Some(40.0));
            let in_effect = limit.in_effect().unwrap();
            assert_eq!((in_effect.per_second.round(), in_effect.reason), (per_second, reason));
            assert_eq!(limit.per_second().map(f64::round), Some(per_second));
            assert_eq!(limit.learned().map(f64::round), Some(40.0));
        }
        assert!(RateLimit::new(None, None).in_effect().is_none());
    }

    proptest! {
        #[test]
        fn the_rate_is_never_passed(
            rate in 1.0..20_000.0_f64,
            late in proptest::collection::vec((0..50_u64).prop_map(Duration::from_millis), 1..20),
        ) {
            let starts = starts(rate, &late, 500);
            for (count, at) in starts.iter().enumerate() {
                let allowed = (*at + LATENESS).as_secs_f64() * rate + 1.001;
                prop_assert!(count as f64 <= allowed, "{count} starts in {at:?}");
            }
        }
    }
}
