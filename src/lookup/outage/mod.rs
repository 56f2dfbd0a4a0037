//! Tells an outage of the API from emails that fail: when nearly all of the last attempts failed,
//! it is the API's fault, and asking everybody would only make a storm.
//!
//! An email that goes on failing while the API answers others fails by itself, and tells nothing
//! more of the API. Else the last retries of a run, when all others have their answers,
//! would look like an outage.
//!
//! Pure: no clock, no I/O.

pub(super) mod doubt;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The attempts that are looked back at. Enough that a run of emails that fail by themselves is
/// no outage, few enough that an outage is noticed within seconds.
pub(in crate::lookup) const WINDOW: usize = 50;

/// An outage begins when this many attempts of the window failed: 90 %.
const FAILING: usize = 45;

/// For so long, what is in flight may refute the suspicion of an outage. An API without room may
/// refuse in no time, while those for whom it has room still wait for their answers.
const DOUBT: Duration = Duration::from_secs(1);

/// The first probe comes this long after the outage began: a restart takes about as long.
const FIRST_PROBE: Duration = Duration::from_secs(1);

/// Probes come no further apart than this: so much of a run's time may be lost after the end of
/// an outage.
const MAX_PROBE_DISTANCE: Duration = Duration::from_secs(30);

/// How an attempt went, as far as it tells of the API. A 429 tells nothing: it is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lookup) enum Health {
    /// The API answers.
    Well,
    /// A retryable failure.
    Failing,
}

/// Watches for an outage.
#[derive(Debug)]
pub(in crate::lookup) struct OutageDetector {
    wait: Duration,
    state: State,
    /// While an outage is suspected: when it is believed at the latest.
    believed_at: Option<Instant>,
    /// The last attempts, the email of each that failed; while an outage is suspected, all since.
    window: VecDeque<Option<i64>>,
    failing: usize,
    noted: u64,
    answered: u64,
    /// Attempts that an outage excuses, by email. An email that was answered in the meantime
    /// leaves its entry behind: at most five in an outage.
    excused: HashMap<i64, u32>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open(Outage),
    /// A probe was answered. If the next attempts fail, it is the same outage.
    Recovering(Outage),
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    distance: Duration,
    probe_at: Instant,
}

impl OutageDetector {
    /// A breaker for which an outage may last for `wait`.
    pub(in crate::lookup) fn new(wait: Duration) -> Self {
        Self {
            wait,
            state: State::Closed,
            believed_at: None,
            window: VecDeque::with_capacity(WINDOW),
            failing: 0,
            noted: 0,
            answered: 0,
            excused: HashMap::new(),
        }
    }

    /// Whether there is an outage: nothing but probes may start.
    pub(in crate::lookup) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// When the next probe may start and when waiting ends, if there is an outage.
    pub(in crate::lookup) fn waits(&self) -> Option<(Instant, Instant)> {
        match self.state {
            State::Open(outage) => Some((outage.probe_at, outage.since + self.wait)),
            State::Closed | State::Recovering(_) => None,
        }
    }

    /// How many attempts were noted.
    pub(in crate::lookup) fn noted(&self) -> u64 {
        self.noted
    }

    /// How many attempts were answered.
    pub(in crate::lookup) fn answered(&self) -> u64 {
        self.answered
    }

    /// Whether an email that fails since so many attempts were answered fails by itself: more
    /// were answered since than an outage lets through.
    pub(in crate::lookup) fn clears(&self, failing_since: Option<u64>) -> bool {
        failing_since.is_some_and(|since| self.answered - since > (WINDOW - FAILING) as u64)
    }

    /// When an outage is believed at the latest, if one is suspected: nothing may start until the
    /// requests in flight are back, or until then.
    pub(in crate::lookup) fn suspects(&self) -> Option<Instant> {
        self.believed_at
    }

    /// Notes an attempt for `email` that was no probe.
    pub(in crate::lookup) fn note(&mut self, email: i64, health: Health, now: Instant) {
        if self.is_open() {
            return;
        }
        self.noted += 1;
        match health {
            Health::Well => self.answered += 1,
            Health::Failing => self.failing += 1,
        }
        self.window.push_back((health == Health::Failing).then_some(email));
        let well = self.window.len() - self.failing;
        if self.believed_at.is_some() && well <= WINDOW - FAILING {
            return;
        }
        self.believed_at = None;
        while self.window.len() > WINDOW {
            let oldest = self.window.pop_front().flatten();
            self.failing -= usize::from(oldest.is_some());
        }
        if self.failing >= FAILING {
            self.believed_at = Some(now + DOUBT);
        } else if self.window.len() == WINDOW {
            self.state = State::Closed;
        }
    }

    /// The suspected outage is one.
    pub(in crate::lookup) fn open(&mut self, now: Instant) {
        let (since, distance) = match self.state {
            State::Closed | State::Open(_) => (now, FIRST_PROBE),
            State::Recovering(outage) => (outage.since, further(outage.distance)),
        };
        self.state = State::Open(Outage { since, distance, probe_at: now + distance });
        self.believed_at = None;
        for email in self.window.drain(..).flatten() {
            *self.excused.entry(email).or_default() += 1;
        }
        self.failing = 0;
    }

    /// Takes a probe's answer.
    pub(in crate::lookup) fn probed(&mut self, health: Health, now: Instant) {
        if let State::Open(outage) = self.state {
            self.state = match health {
                Health::Well => State::Recovering(outage),
                Health::Failing => {
                    let distance = further(outage.distance);
                    State::Open(Outage { distance, probe_at: now + distance, ..outage })
                }
            };
        }
    }

    /// How many attempts of `email` are not to be counted after all; told once.
    pub(in crate::lookup) fn excused(&mut self, email: i64) -> u32 {
        if self.excused.is_empty() { 0 } else { self.excused.remove(&email).unwrap_or(0) }
    }
}

fn further(distance: Duration) -> Duration {
    (distance * 2).min(MAX_PROBE_DISTANCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    const WAIT: Duration = Duration::from_secs(600);

    /// Notes so many attempts of each kind. Whether there is an outage then.
    fn note(breaker: &mut OutageDetector, healths: &[(usize, Health)], now: Instant) -> bool {
        let healths = healths.iter().flat_map(|(count, health)| vec![*health; *count]);
        healths.enumerate().for_each(|(at, health)| breaker.note(at as i64, health, now));
        if breaker.suspects().is_some() {
            breaker.open(now);
        }
        breaker.is_open()
    }

    #[test]
    fn nine_of_ten_are_an_outage_and_fewer_are_not() {
        let now = time::instant();
        let mut breaker = OutageDetector::new(WAIT);
        for _ in 0..20 {
            assert!(!note(&mut breaker, &[(1, Health::Well), (7, Health::Failing)], now));
        }
        // The sixth success back is now the oldest of the window; then there are only five.
        assert!(!note(&mut breaker, &[(2, Health::Failing)], now));
        assert!(note(&mut breaker, &[(1, Health::Failing)], now));
    }

    #[test]
    fn probes_grow_apart_and_the_wait_counts_from_the_beginning() {
        let begin = time::instant();
        let mut breaker = OutageDetector::new(WAIT);
        note(&mut breaker, &[(45, Health::Failing)], begin);
        let mut distances = Vec::new();
        let mut now = begin;
        for _ in 0..7 {
            let (probe_at, ends) = breaker.waits().unwrap();
            assert_eq!(ends, begin + WAIT);
            distances.push((probe_at - now).as_secs());
            now = probe_at;
            breaker.probed(Health::Failing, now);
        }
        assert_eq!(distances, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn an_outage_that_comes_back_at_once_is_the_same() {
        let begin = time::instant();
        let later = begin + Duration::from_secs(60);
        for (well, since) in [(1, begin), (50, later)] {
            let mut breaker = OutageDetector::new(WAIT);
            note(&mut breaker, &[(45, Health::Failing)], begin);
            breaker.probed(Health::Well, begin);
            assert_eq!(breaker.waits(), None);
            note(&mut breaker, &[(well, Health::Well), (49, Health::Failing)], later);
            assert_eq!(breaker.waits().unwrap().1, since + WAIT);
        }
    }

    #[test]
    fn the_attempts_of_the_window_are_excused_once() {
        let mut breaker = OutageDetector::new(WAIT);
        (0..45).for_each(|at| {
            breaker.note(at % 9, Health::Failing, time::instant());
        });
        breaker.open(time::instant());
        assert_eq!((breaker.excused(3), breaker.excused(3), breaker.excused(99)), (5, 0, 0));
    }

    #[test]
    fn answers_that_were_under_way_refute_a_suspicion() {
        let now = time::instant();
        let mut breaker = OutageDetector::new(WAIT);
        (0..45).for_each(|at| breaker.note(at, Health::Failing, now));
        assert_eq!(breaker.suspects(), Some(now + DOUBT));
        (0..5).for_each(|at| breaker.note(at, Health::Well, now));
        assert!(breaker.suspects().is_some());
        breaker.note(5, Health::Well, now);
        assert_eq!(breaker.suspects(), None);
    }
}
