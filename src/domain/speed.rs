//! How fast a run is now.
//!
//! Pure: time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The speed is that of the last seconds, so that it follows what the API does now.
const WINDOW: Duration = Duration::from_secs(10);

/// Looks closer together than this tell nothing more.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The position of a run over the last seconds.
#[derive(Clone, Debug, Default)]
pub struct Speed {
    looks: VecDeque<Look>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    settled: u64,
}

impl Speed {
    /// Notes that so many emails are settled at `at`.
    pub fn look(&mut self, at: Instant, settled: u64) {
        if self.looks.back().is_some_and(|last| at < last.at + LOOK_EVERY) {
            return;
        }
        self.looks.push_back(Look { at, settled });
        while self.looks.get(1).is_some_and(|second| second.at + WINDOW <= at) {
            self.looks.pop_front();
        }
    }

    /// Emails settled per second; `None` before there are two looks.
    pub fn per_second(&self) -> Option<f64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        (seconds > 0.0).then(|| last.settled.saturating_sub(first.settled) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[test]
    fn the_speed_is_that_of_the_last_ten_seconds() {
        let start = time::instant();
        let mut speed = Speed::default();
        assert_eq!(speed.per_second(), None);
        for second in 0..60 {
            // A hundred a second for half a minute, then ten.
            let settled = if second <= 30 { second * 100 } else { 3000 + (second - 30) * 10 };
            speed.look(start + Duration::from_secs(second), settled);
        }
        assert_eq!(speed.per_second(), Some(10.0));
        assert!(speed.looks.len() <= 12);
    }

    #[test]
    fn looks_close_together_count_once() {
        let start = time::instant();
        let mut speed = Speed::default();
        speed.look(start, 0);
        assert_eq!(speed.per_second(), None);
        speed.look(start + LOOK_EVERY - Duration::from_millis(1), 50);
        assert_eq!(speed.looks.len(), 1);
        speed.look(start + LOOK_EVERY, 50);
        assert_eq!((speed.looks.len(), speed.per_second()), (2, Some(250.0)));
    }
}
