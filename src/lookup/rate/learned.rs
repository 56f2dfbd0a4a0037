//! The pace that 429 answers teach, in requests a second. A limit on requests in flight cannot
//! find it: behind a bucket of 10 a second and 50 ms, even one in flight is too many.
//!
//! After a 429 the pace falls a little below what was accepted, nears that again, stays there for
//! long, and leaves it ever faster: a cubic curve over time, as in TCP's CUBIC (RFC 9438).
//!
//! Pure: no clock, no I/O.

use std::time::{Duration, Instant};

/// The pace falls to this part of what was accepted: enough for the server's bucket to fill again.
const FALL: f64 = 0.93;

/// Seconds until the pace is again what it was at the last 429. A longer time wastes less, as
/// each 429 may bring a pause; a shorter one finds sooner that more is allowed.
const RECOVERY_SECONDS: f64 = 15.0;

/// The same after the first 429 of all, when a run that has just begun may have asked for less
/// than is allowed. It doubles from 429 to 429, as what is known becomes surer.
const FIRST_RECOVERY_SECONDS: f64 = 3.0;

/// The least answers from which the accepted share is told, to some 10 %.
const JUDGED_FROM: u32 = 20;

/// One judgement takes at most this part of the pace: a few answers may have been bad luck.
const LEAST_SHARE: f64 = 0.5;

/// A pace that grew to this many times what taught it without another 429 is forgotten.
const FORGOTTEN_AT: f64 = 4.0;

/// No pace is slower, in requests a second: an answer in ten seconds still tells something.
const SLOWEST: f64 = 0.1;

/// Whether the API's rate limit let a request through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lookup) enum Admission {
    /// Any answer but a 429.
    Admitted,
    /// A 429.
    Throttled,
}

/// The learned pace, if anything taught one.
#[derive(Clone, Debug, Default)]
pub(in crate::lookup) struct LearnedRate {
    known: Option<Known>,
    recent: Recent,
}

#[derive(Clone, Debug)]
struct Known {
    /// What was accepted at the last 429, a second.
    accepted: f64,
    /// How long the pace has been tried since, in seconds.
    tried: f64,
    /// When the pace is what it was, in the same seconds.
    recovery: f64,
    last_start: Option<Instant>,
    /// Answers to earlier requests are of the pace before.
    first_request: i64,
    through: u32,
    off: u32,
}

impl LearnedRate {
    /// The pace, in requests a second.
    pub(in crate::lookup) fn per_second(&self) -> Option<f64> {
        self.known.as_ref().map(Known::per_second)
    }

    /// Notes a start.
    pub(in crate::lookup) fn start(&mut self, now: Instant) {
        let Some(known) = &mut self.known else {
            self.recent.begin(now);
            return;
        };
        known.try_for(now);
        if known.per_second() > known.accepted * FORGOTTEN_AT {
            self.known = None;
            self.recent = Recent::default();
        }
    }

    /// Nothing starts for so long, so nothing is accepted.
    pub(in crate::lookup) fn pause(&mut self, time: Duration) {
        self.recent.paused += time;
    }

    /// Notes the answer to `request`, while `next_request` is the next to be started.
    pub(in crate::lookup) fn settle(
        &mut self,
        verdict: Admission,
        (request, next_request): (i64, i64),
        now: Instant,
    ) {
        let Some(known) = &mut self.known else {
            self.recent.add(verdict, now);
            if let Some(accepted) = self.recent.teaches(now) {
                let recovery = FIRST_RECOVERY_SECONDS;
                self.known = Some(Known::taught(accepted, recovery, next_request));
            }
            return;
        };
        if request < known.first_request {
            return;
        }
        match verdict {
            Admission::Admitted => known.through = known.through.saturating_add(1),
            Admission::Throttled => known.off += 1,
        }
        let answers = known.through.saturating_add(known.off);
        if known.off > 0 && answers >= JUDGED_FROM {
            let share = f64::from(known.through) / f64::from(answers);
            let accepted = known.per_second() * share.max(LEAST_SHARE);
            let recovery = (known.recovery * 2.0).min(RECOVERY_SECONDS);
            *known = Known::taught(accepted, recovery, next_request);
        }
    }
}

impl Known {
    fn taught(accepted: f64, recovery: f64, first_request: i64) -> Self {
        let accepted = accepted.max(SLOWEST);
        Self { accepted, tried: 0.0, recovery, last_start: None, first_request, through: 0, off: 0 }
    }

    fn per_second(&self) -> f64 {
        let far = self.tried / self.recovery - 1.0;
        (self.accepted * (1.0 + (1.0 - FALL) * far.powi(3))).max(SLOWEST)
    }

    /// A start at the pace tries it. One that came later tries it only in part: without need of
    /// the pace there is no sign that a higher one would do.
    fn try_for(&mut self, now: Instant) {
        if let Some(last) = self.last_start.replace(now) {
            let passed = now.saturating_duration_since(last).as_secs_f64();
            self.tried += passed.min(2.0 / self.per_second());
        }
    }
}

/// The answers of the last second or two; of less at the beginning.
#[derive(Clone, Debug, Default)]
struct Recent {
    since: Option<Instant>,
    /// How much of the time since then was a pause.
    paused: Duration,
    through: u32,
    off: u32,
    /// What was let through in the period before.
    before: Option<u32>,
}

impl Recent {
    const PERIOD: Duration = Duration::from_secs(1);

    fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    fn add(&mut self, verdict: Admission, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        // Once there was a 429, the period lasts until it has taught something.
        if passed >= Self::PERIOD && self.off == 0 {
            self.before = (passed < 2 * Self::PERIOD).then_some(self.through);
            (self.since, self.through, self.paused) = (Some(now), 0, Duration::ZERO);
        }
        match verdict {
            Admission::Admitted => self.through += 1,
            Admission::Throttled => self.off += 1,
        }
    }

    /// What is accepted in a second, once enough answers tell.
    fn teaches(&self, now: Instant) -> Option<f64> {
        let through = self.through + self.before.unwrap_or(0);
        if self.off == 0 || through + self.off < JUDGED_FROM {
            return None;
        }
        let passed = self.since.map_or(Duration::ZERO, |since| now - since);
        let seconds = passed.saturating_sub(self.paused).as_secs_f64()
            + self.before.map_or(0.0, |_| Self::PERIOD.as_secs_f64());
        Some(f64::from(through.max(1)) / seconds.max(0.001))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    /// Starts at the learned pace for `seconds`, all let through.
    fn go_on(pace: &mut LearnedRate, now: &mut Instant, seconds: f64) {
        let end = *now + Duration::from_secs_f64(seconds);
        while let (true, Some(rate)) = (*now < end, pace.per_second()) {
            *now += Duration::from_secs_f64(1.0 / rate);
            pace.start(*now);
            pace.settle(Admission::Admitted, (1_000, 1_000), *now);
        }
    }

    /// Taught `accepted` a second for the first time.
    fn first_taught(accepted: u32) -> (LearnedRate, Instant) {
        let (mut pace, begin) = (LearnedRate::default(), time::instant());
        pace.start(begin);
        (0..accepted).for_each(|_| pace.settle(Admission::Admitted, (1, 1), begin));
        let now = begin + Duration::from_secs(1);
        pace.settle(Admission::Throttled, (1, 500), now);
        (pace, now)
    }

    /// Taught `accepted` a second, not for the first time.
    fn taught(accepted: f64) -> (LearnedRate, Instant) {
        let known = Some(Known::taught(accepted, RECOVERY_SECONDS, 500));
        (LearnedRate { known, ..LearnedRate::default() }, time::instant())
    }

    #[test]
    fn the_first_pace_is_what_was_accepted_and_is_soon_left() {
        let (mut pace, mut now) = first_taught(100);
        assert_eq!(pace.per_second(), Some(93.0));
        go_on(&mut pace, &mut now, 10.0);
        let later = pace.per_second().unwrap();
        assert!((185.0..190.0).contains(&later), "{later}");
    }

    #[test]
    fn a_pause_takes_nothing_from_what_was_accepted() {
        let (mut pace, begin) = (LearnedRate::default(), time::instant());
        pace.start(begin);
        pace.settle(Admission::Throttled, (1, 1), begin);
        pace.pause(Duration::from_secs(9));
        let now = begin + Duration::from_secs(10);
        (0..100).for_each(|_| pace.settle(Admission::Admitted, (1, 1), now));
        assert_eq!(pace.per_second(), Some(19.0 * 0.93));
    }

    #[test]
    fn the_pace_is_a_little_below_what_was_accepted_and_nears_it_again() {
        let (mut pace, mut now) = taught(100.0);
        assert_eq!(pace.per_second(), Some(93.0));
        go_on(&mut pace, &mut now, 15.0);
        let near = pace.per_second().unwrap();
        assert!((99.9..100.1).contains(&near), "{near}");
        go_on(&mut pace, &mut now, 15.0);
        let beyond = pace.per_second().unwrap();
        assert!((106.5..107.5).contains(&beyond), "{beyond}");
        go_on(&mut pace, &mut now, 40.0);
        assert_eq!(pace.per_second(), None);
    }

    #[test]
    fn a_pace_that_is_not_needed_does_not_grow() {
        let (mut pace, mut now) = taught(100.0);
        for _ in 0..10 {
            now += Duration::from_secs(60);
            pace.start(now);
        }
        assert!(pace.per_second().unwrap() < 94.0);
    }

    #[test]
    fn answers_to_earlier_requests_take_nothing_more_from_the_pace() {
        let (mut pace, now) = taught(100.0);
        (0..50).for_each(|_| pace.settle(Admission::Throttled, (499, 600), now));
        assert_eq!(pace.per_second(), Some(93.0));
        (0..19).for_each(|_| pace.settle(Admission::Throttled, (500, 600), now));
        assert_eq!(pace.per_second(), Some(93.0));
        pace.settle(Admission::Throttled, (500, 600), now);
        assert!((pace.per_second().unwrap() - 93.0 / 2.0 * 0.93).abs() < 0.01);
    }
}
