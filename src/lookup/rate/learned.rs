//! The rate that 429 responses teach, in requests per second. A limit on requests in flight cannot
//! find it: behind a bucket of 10 per second and 50 ms, even one in flight is too many.
//!
//! The first 429s of a run may come after a burst that says little about the rate, so it begins at
//! what was accepted and doubles until the next 429. From then on it falls a little below what was
//! accepted, nears that again, stays there for long, and leaves it ever faster: a cubic curve over
//! time, as in TCP's CUBIC (RFC 9438).
//!
//! Pure: no clock, no I/O.

use crate::domain::status::RateReason;
use std::time::{Duration, Instant};

/// The rate falls to this part of what was accepted: enough for the server's bucket to fill again.
const FALL: f64 = 0.93;

/// Seconds until the rate is again what it was at the last 429. A longer time wastes less, as
/// each 429 may bring a pause; a shorter one finds sooner that more is allowed.
const RECOVERY_SECONDS: f64 = 15.0;

/// The same at first. It doubles from 429 to 429, as what is known becomes surer.
const FIRST_RECOVERY_SECONDS: f64 = 7.5;

/// Seconds until the rate doubles while the search lasts.
const DOUBLING_SECONDS: f64 = 0.6;

/// The minimum of answers that give the accepted share to some 10 %.
const JUDGED_FROM: u32 = 20;

/// The shortest time between two 429s that gives the rate: jitter moves both by some milliseconds.
const MEASURED_FROM: Duration = Duration::from_millis(100);

/// The minimum of answers that end the search for the rate.
const SEARCHED_FROM: u32 = 10;

/// So many searches may end with fewer answers and begin again lower. Where a limit is low, the rate
/// passes it before there are enough.
const SEARCHES_CUT_SHORT: u32 = 3;

/// One judgement takes at most this part of the rate: a few answers may have been bad luck.
const LEAST_SHARE: f64 = 0.5;

/// A rate that grew to this many times what taught it without another 429 is forgotten.
const FORGOTTEN_AT: f64 = 4.0;

/// No rate is lower, in requests per second: an answer in ten seconds still says something.
const SLOWEST: f64 = 0.1;

/// The lowest rate that is learned before anything was accepted.
const SLOWEST_AT_FIRST: f64 = 1.0;

/// A change of the rate by this part is news.
const NEWS: f64 = 0.25;

/// Whether the API's rate limit let a request through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lookup) enum Admission {
    /// Any answer but a 429.
    Admitted,
    /// A 429.
    Throttled,
}

/// The learned rate, if anything taught one.
#[derive(Clone, Debug, Default)]
pub(in crate::lookup) struct LearnedRate {
    known: Option<Known>,
    recent: Recent,
    overload: Option<Overload>,
    /// What was reported last.
    reported: Option<f64>,
}

#[derive(Clone, Debug)]
struct Known {
    curve: Curve,
    /// How long the rate has been used since it was taught, in seconds.
    tried: f64,
    last_start: Option<Instant>,
    /// Answers to earlier requests belong to the rate before.
    first_request: i64,
    admitted: u32,
    throttled: u32,
    reason: RateReason,
}

/// How the rate grows.
#[derive(Clone, Copy, Debug)]
enum Curve {
    /// It doubles from here, after so many searches that few answers cut short.
    Search { from: f64, cut_short: u32 },
    /// It nears what was accepted at the last 429, until these seconds later.
    Steady { accepted: f64, recovery: f64 },
}

impl LearnedRate {
    /// The rate that an earlier run learned, if any.
    pub(in crate::lookup) fn remembered(rate: Option<f64>) -> Self {
        let known = rate.map(|rate| Known {
            reason: RateReason::Remembered,
            ..Known::steady(rate / FALL, RECOVERY_SECONDS, i64::MIN)
        });
        Self { known, reported: rate, ..Self::default() }
    }

    /// The rate, in requests per second.
    pub(in crate::lookup) fn per_second(&self) -> Option<f64> {
        self.known.as_ref().map(Known::per_second)
    }

    pub(in crate::lookup) fn reason(&self) -> RateReason {
        self.known.as_ref().map_or(RateReason::Learned, |known| known.reason)
    }

    /// Notes the start of `request`. Returns the rate, if one was found before it that is news: after
    /// a 429 with a pause, all that was in flight has been answered by now.
    pub(in crate::lookup) fn start(&mut self, request: i64, now: Instant) -> Option<f64> {
        let news = self.judge(request);
        self.recent.start(now);
        self.use_rate(now);
        news
    }

    fn use_rate(&mut self, now: Instant) {
        let Some(known) = &mut self.known else { return };
        known.use_for(now);
        let limit = match known.curve {
            Curve::Search { from, .. } => self.recent.admitted().max(from).max(JUDGED_FROM.into()),
            Curve::Steady { accepted, .. } => accepted,
        };
        if known.per_second() > limit * FORGOTTEN_AT {
            (self.known, self.reported) = (None, None);
        }
    }

    /// Nothing starts between these times, so nothing is accepted.
    pub(in crate::lookup) fn pause(&mut self, from: Instant, until: Instant) {
        self.recent.pause(from, until);
    }

    /// Notes what came back.
    pub(in crate::lookup) fn settle(&mut self, admission: Admission, request: i64, now: Instant) {
        if admission == Admission::Admitted {
            self.recent.admit(now);
        }
        match &mut self.known {
            Some(known) if request < known.first_request => return,
            Some(known) => known.count(admission),
            None => {}
        }
        if admission == Admission::Throttled && self.overload.is_none() {
            self.overload = Some(Overload::new(&self.recent, now));
        }
        if let Some(overload) = &mut self.overload {
            overload.count(admission, now);
        }
    }

    /// Draws the conclusion from the answers since the last one, for `request` and those after it.
    fn judge(&mut self, request: i64) -> Option<f64> {
        let overload = self.overload.take();
        let taught = match (&self.known, overload) {
            (Some(known), overload) => known.judge(overload.as_ref(), &self.recent, request),
            (None, Some(overload)) => Some(overload.teach(request)),
            (None, None) => None,
        };
        let known = self.known.insert(taught?);
        if !self.recent.has_admitted {
            known.raise_to(SLOWEST_AT_FIRST);
        }
        let Curve::Steady { accepted: rate, .. } = known.curve else {
            return None;
        };
        let is_news = self.reported.is_none_or(|last| (rate / last - 1.0).abs() > NEWS);
        is_news.then(|| *self.reported.insert(rate))
    }
}

/// From the first 429 on, the API lets through just what its rate allows: it has nothing in reserve.
/// So what was accepted between two 429s, divided by the time, is the rate itself, not an estimate
/// from a share of what was sent. After a 429 with a pause nothing more is sent, and all that was in
/// flight is counted: a round trip's worth.
#[derive(Clone, Debug)]
struct Overload {
    first: Instant,
    last: Instant,
    /// What was accepted after the first 429, and of that what came before the last one.
    admitted: u32,
    admitted_between: u32,
    /// What was started and accepted in the second before.
    started_before: f64,
    admitted_before: f64,
}

impl Overload {
    fn new(recent: &Recent, now: Instant) -> Self {
        Self {
            first: now,
            last: now,
            admitted: 0,
            admitted_between: 0,
            started_before: recent.started(),
            admitted_before: recent.admitted(),
        }
    }

    fn count(&mut self, admission: Admission, now: Instant) {
        match admission {
            Admission::Admitted => self.admitted += 1,
            Admission::Throttled => (self.last, self.admitted_between) = (now, self.admitted),
        }
    }

    /// The rate in requests per second, if enough came to know it to some 5 %.
    fn measured_rate(&self) -> Option<f64> {
        let time = self.last.saturating_duration_since(self.first);
        let is_enough = self.admitted_between >= JUDGED_FROM && time >= MEASURED_FROM;
        is_enough.then(|| f64::from(self.admitted_between) / time.as_secs_f64())
    }

    /// What the first 429 teaches: where to begin the search. It may have come after a burst, or
    /// while the limit of lookups in flight still grew.
    fn teach(&self, next: i64) -> Known {
        let from = match self.admitted_before {
            admitted if admitted < 1.0 => (self.started_before / 2.0).max(SLOWEST_AT_FIRST),
            admitted => admitted,
        };
        Known::new(Curve::Search { from, cut_short: 0 }, next)
    }
}

impl Known {
    fn new(curve: Curve, first_request: i64) -> Self {
        Self {
            curve,
            tried: 0.0,
            last_start: None,
            first_request,
            admitted: 0,
            throttled: 0,
            reason: RateReason::Learned,
        }
    }

    fn steady(accepted: f64, recovery: f64, first_request: i64) -> Self {
        Self::new(Curve::Steady { accepted: accepted.max(SLOWEST), recovery }, first_request)
    }

    fn raise_to(&mut self, least: f64) {
        match &mut self.curve {
            Curve::Search { from, .. } => *from = from.max(least),
            Curve::Steady { accepted, .. } => *accepted = accepted.max(least / FALL),
        }
    }

    fn per_second(&self) -> f64 {
        let rate = match self.curve {
            Curve::Search { from, .. } => from * 2f64.powf(self.tried / DOUBLING_SECONDS),
            Curve::Steady { accepted, recovery } => {
                let beyond = self.tried / recovery - 1.0;
                accepted * (1.0 + (1.0 - FALL) * beyond.powi(3))
            }
        };
        rate.max(SLOWEST)
    }

    /// A start at the rate tries it. One that came later tries it only in part: without need of
    /// the rate there is no sign that a higher one would do.
    fn use_for(&mut self, now: Instant) {
        if let Some(last) = self.last_start.replace(now) {
            let passed = now.saturating_duration_since(last).as_secs_f64();
            self.tried += passed.min(2.0 / self.per_second());
        }
    }

    fn count(&mut self, admission: Admission) {
        match admission {
            Admission::Admitted => self.admitted = self.admitted.saturating_add(1),
            Admission::Throttled => self.throttled += 1,
        }
    }

    /// What follows from the answers, if anything does.
    fn judge(&self, overload: Option<&Overload>, recent: &Recent, next: i64) -> Option<Self> {
        if self.throttled == 0 {
            return None;
        }
        let answers = self.admitted.saturating_add(self.throttled);
        let least = self.per_second() * LEAST_SHARE;
        match self.curve {
            Curve::Search { cut_short, .. }
                if answers < SEARCHED_FROM && cut_short < SEARCHES_CUT_SHORT =>
            {
                let (from, cut_short) = (least.max(SLOWEST), cut_short + 1);
                Some(Self::new(Curve::Search { from, cut_short }, next))
            }
            Curve::Search { .. } => {
                let measured = overload.and_then(Overload::measured_rate);
                let accepted = measured.unwrap_or_else(|| {
                    // Where each 429 costs a pause, it is cheaper to stay a little lower.
                    let caution = if recent.paused.is_zero() { 1.0 } else { FALL };
                    let before = overload.map_or(0.0, |overload| overload.admitted_before);
                    before.max(least) * caution
                });
                Some(Self::steady(accepted, FIRST_RECOVERY_SECONDS, next))
            }
            Curve::Steady { recovery, .. } if answers >= JUDGED_FROM => {
                // The share includes what the API had in reserve before the first 429.
                let share = f64::from(self.admitted) / f64::from(answers);
                let most = (self.per_second() * share).max(least);
                let measured = overload.and_then(Overload::measured_rate);
                let accepted = measured.map_or(most, |measured| measured.min(most));
                Some(Self::steady(accepted, (recovery * 2.0).min(RECOVERY_SECONDS), next))
            }
            Curve::Steady { .. } => None,
        }
    }
}

/// What was started and accepted in the last second, pauses left out.
#[derive(Clone, Debug, Default)]
struct Recent {
    begin: Option<Instant>,
    paused: Duration,
    paused_until: Option<Instant>,
    has_admitted: bool,
    slots: [Slot; SLOTS],
    newest: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    number: u64,
    started: u32,
    admitted: u32,
}

const SLOTS: usize = 20;

const SLOT: Duration = Duration::from_millis(50);

impl Recent {
    fn start(&mut self, now: Instant) {
        self.slot(now).started += 1;
    }

    fn admit(&mut self, now: Instant) {
        self.has_admitted = true;
        self.slot(now).admitted += 1;
    }

    fn pause(&mut self, from: Instant, until: Instant) {
        self.paused += until.saturating_duration_since(from);
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// The time without pauses.
    fn active(&self, now: Instant) -> Duration {
        let begin = self.begin.unwrap_or(now);
        let now = self.paused_until.map_or(now, |until| until.max(now));
        now.saturating_duration_since(begin).saturating_sub(self.paused)
    }

    fn slot(&mut self, now: Instant) -> &mut Slot {
        self.begin.get_or_insert(now);
        let number = (self.active(now).as_millis() / SLOT.as_millis()) as u64;
        self.newest = self.newest.max(number);
        let slot = &mut self.slots[(self.newest % SLOTS as u64) as usize];
        if slot.number != self.newest {
            *slot = Slot { number: self.newest, ..Slot::default() };
        }
        slot
    }

    /// How many were accepted in the last second.
    fn admitted(&self) -> f64 {
        self.sum(|slot| slot.admitted)
    }

    fn started(&self) -> f64 {
        self.sum(|slot| slot.started)
    }

    fn sum(&self, count: impl Fn(&Slot) -> u32) -> f64 {
        let is_recent = |slot: &&Slot| slot.number + SLOTS as u64 > self.newest;
        self.slots.iter().filter(is_recent).map(|slot| f64::from(count(slot))).sum()
    }
}

#[cfg(test)]
mod tests;
