//! Notices that the API may be unreachable, and keeps the time of outages. The canary decides
//! whether it is: an email that always fails looks the same from here.
//!
//! Pure: no clock, no I/O.

use crate::domain::status::Outages;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// This many failures in a row are suspicious.
const SUSPICIOUS_STREAK: u32 = 10;

/// The first canary of an outage comes this long after it began: a restart takes about as long.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// The intervals between canaries double up to this: a run loses no more time after an outage.
const MAX_INTERVAL: Duration = Duration::from_secs(30);

/// What an attempt says about the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// An answer, whatever it is.
    Answered,
    /// A failure for a retryable cause.
    Failed(String),
    /// 401 or 403: says nothing until the canary is back.
    Refused,
    /// 429: the API responds, but gives no answer.
    Throttled,
}

#[derive(Debug)]
pub(super) struct OutageDetector {
    /// The run stops after this long without an answer.
    wait: Duration,
    /// Without an answer for this long, lookups in flight are suspicious.
    patience: Duration,
    /// Since when a request waits for an answer.
    silent_since: Option<Instant>,
    /// The begin of the last silence that was noticed.
    noticed: Option<Instant>,
    answered_at: Option<Instant>,
    /// Until when nothing could start because of our own rate limit.
    own_wait_until: Option<Instant>,
    streak: Streak,
    /// The streaks that were outages: their attempts do not count.
    excused: HashSet<u64>,
    outage: Option<Outage>,
    past: Outages,
    last_cause: String,
}

/// Failures in a row, over all emails.
#[derive(Debug, Default)]
struct Streak {
    number: u64,
    length: u32,
    began: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    began: Instant,
    interval: Duration,
    next_canary: Instant,
}

impl OutageDetector {
    pub(super) fn new(wait: Duration, timeout: Duration) -> Self {
        Self {
            wait,
            patience: (timeout * 2).min(wait / 2),
            silent_since: None,
            noticed: None,
            answered_at: None,
            own_wait_until: None,
            streak: Streak::default(),
            excused: HashSet::new(),
            outage: None,
            past: Outages::default(),
            last_cause: "no response of any kind".to_owned(),
        }
    }

    /// Notes the start of a request.
    pub(super) fn start(&mut self, now: Instant) {
        self.silent_since.get_or_insert(now);
    }

    /// Our own rate limit lets nothing start until then, so nothing can be answered.
    pub(super) fn wait_ourselves(&mut self, now: Instant, until: Instant) {
        let from = self.own_wait_until.map_or(now, |until| until.max(now));
        if let Some(since) = &mut self.silent_since {
            *since += until.saturating_duration_since(from);
        }
        self.own_wait_until = Some(until.max(from));
    }

    /// For so long nothing could be answered, because the process did not run.
    pub(super) fn excuse(&mut self, suspended: Duration) {
        self.silent_since = self.silent_since.map(|since| since + suspended);
    }

    /// Notes what came back, after which `in_flight` requests are under way. Returns whether the
    /// failures before it were of single emails.
    pub(super) fn note(&mut self, sign: Sign, in_flight: usize, now: Instant) -> bool {
        match sign {
            Sign::Answered => {
                self.answered_at = Some(now);
                self.silent_since = (in_flight > 0).then_some(now);
                if let Some(outage) = &mut self.outage {
                    outage.next_canary = outage.next_canary.min(now);
                    return false;
                }
                self.end_streak()
            }
            Sign::Throttled => {
                // Among failures it is one more response without an answer.
                if self.outage.is_none() && !self.has_streak() {
                    self.silent_since = (in_flight > 0).then_some(now);
                }
                false
            }
            Sign::Failed(cause) => {
                self.last_cause = cause;
                if self.outage.is_none() {
                    self.streak.length = self.streak.length.saturating_add(1);
                    self.streak.began.get_or_insert(now);
                }
                false
            }
            Sign::Refused => false,
        }
    }

    /// Whether anything was answered since then.
    pub(super) fn answered_since(&self, then: Option<Instant>) -> bool {
        self.answered_at.is_some_and(|at| then.is_none_or(|then| at >= then))
    }

    /// The streak of failures that an attempt belongs to which fails now; `None` in an outage, when
    /// attempts do not count.
    pub(super) fn streak(&self) -> Option<u64> {
        self.outage.is_none().then_some(self.streak.number)
    }

    /// Whether the attempts of this streak do not count after all.
    pub(super) fn is_excused(&self, streak: u64) -> bool {
        !self.excused.is_empty() && self.excused.contains(&streak)
    }

    /// Whether anything failed since the last answer.
    pub(super) fn has_streak(&self) -> bool {
        self.streak.length > 0
    }

    /// Whether so much failed, or nothing came back for so long, that a canary has to be sent.
    pub(super) fn is_suspicious(&self, in_flight: usize, now: Instant) -> bool {
        let suspicious_at = self.silent_at(in_flight);
        self.streak.length >= SUSPICIOUS_STREAK || suspicious_at.is_some_and(|at| at <= now)
    }

    /// When the requests in flight are suspicious for their silence.
    pub(super) fn silent_at(&self, in_flight: usize) -> Option<Instant> {
        self.silent_since.filter(|_| in_flight > 0).map(|since| since + self.patience)
    }

    /// When the run has waited long enough for an answer.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        self.silent_since.map(|since| since + self.wait)
    }

    /// For how long nothing came back, once that is suspicious; once for each such silence.
    pub(super) fn new_silence(&mut self, in_flight: usize, now: Instant) -> Option<Duration> {
        let is_silent = !self.has_streak() && self.silent_at(in_flight).is_some_and(|at| at <= now);
        let is_new = is_silent && self.outage.is_none() && self.noticed != self.silent_since;
        self.noticed = self.silent_since.filter(|_| is_new).or(self.noticed);
        is_new.then_some(now.saturating_duration_since(self.silent_since?))
    }

    /// The run ends for want of an answer. If no canary has shown an outage, the silence was one.
    pub(super) fn give_up(&mut self, now: Instant) {
        if self.outage.is_none() {
            let since = self.silent_since.unwrap_or(now);
            self.past.count += 1;
            self.past.time += now.saturating_duration_since(since);
            self.past.last_cause = Some(self.last_cause.clone());
        }
    }

    pub(super) fn is_outage(&self) -> bool {
        self.outage.is_some()
    }

    /// When the next canary may be sent, in an outage.
    pub(super) fn next_canary(&self) -> Option<Instant> {
        self.outage.map(|outage| outage.next_canary)
    }

    pub(super) fn last_cause(&self) -> &str {
        &self.last_cause
    }

    /// The canary was not answered. Returns whether an outage begins with it.
    pub(super) fn canary_failed(&mut self, cause: String, now: Instant) -> bool {
        self.last_cause.clone_from(&cause);
        self.past.last_cause = Some(cause);
        let began = self.outage.is_none();
        let (began_at, interval) = match self.outage {
            Some(outage) => (outage.began, (outage.interval * 2).min(MAX_INTERVAL)),
            None => (self.streak.began.unwrap_or(now), FIRST_INTERVAL),
        };
        if began {
            self.past.count += 1;
            self.excused.insert(self.streak.number);
            self.end_streak();
        }
        self.outage = Some(Outage { began: began_at, interval, next_canary: now + interval });
        began
    }

    /// The canary was answered. Returns how long the outage was, if it ends with it.
    pub(super) fn canary_answered(&mut self, now: Instant) -> Option<Duration> {
        self.end_streak();
        let outage = self.outage.take()?;
        let time = now.saturating_duration_since(outage.began);
        self.past.time += time;
        Some(time)
    }

    pub(super) fn outages(&self, now: Instant) -> Outages {
        let lasting = self.outage.map(|outage| now.saturating_duration_since(outage.began));
        Outages { time: self.past.time + lasting.unwrap_or_default(), ..self.past.clone() }
    }

    fn end_streak(&mut self) -> bool {
        let was_one = self.streak.length > 0;
        if was_one {
            self.streak = Streak { number: self.streak.number + 1, ..Streak::default() };
        }
        was_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    const WAIT: Duration = Duration::from_secs(600);
    const TIMEOUT: Duration = Duration::from_secs(30);

    fn failed() -> Sign {
        Sign::Failed("x".to_owned())
    }

    #[test]
    fn ten_failures_in_a_row_are_suspicious_and_an_answer_clears_them() {
        let (mut outage, now) = (OutageDetector::new(WAIT, TIMEOUT), time::instant());
        for _ in 0..9 {
            outage.note(failed(), 0, now);
        }
        outage.note(Sign::Throttled, 0, now);
        assert!(!outage.is_suspicious(0, now));
        outage.note(failed(), 0, now);
        assert!(outage.is_suspicious(0, now));
        assert!(outage.note(Sign::Answered, 0, now), "single emails were at fault");
        assert!(!outage.is_suspicious(0, now) && !outage.has_streak());
    }

    #[test]
    fn silence_is_suspicious_while_requests_are_in_flight() {
        let (mut outage, now) = (OutageDetector::new(WAIT, TIMEOUT), time::instant());
        outage.start(now);
        let later = now + 2 * TIMEOUT;
        assert!(outage.is_suspicious(1, later) && !outage.is_suspicious(0, later));
        assert_eq!(outage.gives_up_at(), Some(now + WAIT));
        outage.note(Sign::Answered, 1, later);
        assert!(!outage.is_suspicious(1, later));
        assert_eq!(outage.gives_up_at(), Some(later + WAIT));
        outage.note(Sign::Answered, 0, later);
        assert_eq!(outage.gives_up_at(), None);
    }

    #[test]
    fn a_429_among_failures_does_not_lengthen_the_wait() {
        let (mut outage, now) = (OutageDetector::new(WAIT, TIMEOUT), time::instant());
        outage.start(now);
        let later = now + TIMEOUT;
        outage.note(Sign::Throttled, 1, later);
        assert_eq!(outage.gives_up_at(), Some(later + WAIT));
        outage.note(failed(), 1, later);
        outage.note(Sign::Throttled, 1, later + TIMEOUT);
        outage.canary_failed("x".into(), later + TIMEOUT);
        outage.note(Sign::Throttled, 1, later + 2 * TIMEOUT);
        assert_eq!(outage.gives_up_at(), Some(later + WAIT));
    }

    #[test]
    fn each_silence_is_noticed_once_and_is_an_outage_if_the_run_ends_with_it() {
        let (mut outage, now) = (OutageDetector::new(WAIT, TIMEOUT), time::instant());
        outage.start(now);
        let later = now + 2 * TIMEOUT;
        assert_eq!(outage.new_silence(1, later - Duration::from_secs(1)), None);
        assert_eq!(outage.new_silence(1, later), Some(2 * TIMEOUT));
        assert_eq!(outage.new_silence(1, later), None);
        outage.note(Sign::Answered, 1, later);
        assert_eq!(outage.new_silence(1, later + 2 * TIMEOUT), Some(2 * TIMEOUT));
        outage.give_up(later + WAIT);
        let past = outage.outages(later + WAIT);
        assert_eq!((past.count, past.time), (1, WAIT));
        assert_eq!(past.last_cause.as_deref(), Some("no response of any kind"));
    }

    #[test]
    fn canaries_grow_apart() {
        let begin = time::instant();
        let mut outage = OutageDetector::new(WAIT, TIMEOUT);
        let mut now = begin;
        let mut intervals = Vec::new();
        for nth in 0..7 {
            assert_eq!(outage.canary_failed("x".into(), now), nth == 0);
            let next = outage.next_canary().unwrap();
            intervals.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(intervals, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(outage.canary_answered(now), Some(now - begin));
        assert_eq!(outage.outages(now).count, 1);
        assert_eq!(outage.outages(now).time, now - begin);
    }

    #[test]
    fn only_the_streak_that_was_an_outage_is_excused() {
        let (mut outage, now) = (OutageDetector::new(WAIT, TIMEOUT), time::instant());
        outage.note(failed(), 0, now);
        let first = outage.streak().unwrap();
        outage.note(Sign::Answered, 0, now);
        outage.note(failed(), 0, now);
        let second = outage.streak().unwrap();
        outage.canary_failed("x".into(), now);
        assert_eq!(outage.streak(), None);
        outage.canary_answered(now);
        let third = outage.streak().unwrap();
        assert_eq!([first, second, third].map(|one| outage.is_excused(one)), [false, true, false]);
    }

    #[test]
    fn a_wait_of_our_own_and_a_suspension_are_no_silence() {
        let (mut outage, now) = (OutageDetector::new(WAIT, TIMEOUT), time::instant());
        let after = |seconds| now + Duration::from_secs(seconds);
        outage.start(now);
        outage.start(after(1));
        assert_eq!(outage.silent_at(1), Some(now + 2 * TIMEOUT), "since the first request");
        outage.wait_ourselves(after(10), after(15));
        outage.wait_ourselves(after(12), after(20));
        assert_eq!(outage.gives_up_at(), Some(after(10) + WAIT), "ten seconds, not thirteen");
        outage.excuse(Duration::from_secs(7));
        assert_eq!(outage.gives_up_at(), Some(after(17) + WAIT));
        assert_eq!(OutageDetector::new(WAIT / 20, TIMEOUT).patience, WAIT / 40, "half the wait");
    }

    #[test]
    fn an_answer_during_an_outage_brings_the_next_canary_forward() {
        let (mut outage, now) = (OutageDetector::new(WAIT, TIMEOUT), time::instant());
        outage.note(failed(), 0, now);
        outage.canary_failed("no".into(), now + TIMEOUT);
        assert!(outage.is_outage() && !outage.has_streak());
        assert_eq!(outage.last_cause(), "no");
        outage.note(failed(), 1, now + TIMEOUT);
        assert!(!outage.has_streak(), "it is known");
        assert_eq!(outage.next_canary(), Some(now + TIMEOUT + FIRST_INTERVAL));
        assert!(!outage.note(Sign::Answered, 1, now + TIMEOUT));
        assert_eq!(outage.next_canary(), Some(now + TIMEOUT));
        assert!(outage.answered_since(None) && outage.answered_since(Some(now + TIMEOUT)));
        assert!(!outage.answered_since(Some(now + TIMEOUT + FIRST_INTERVAL)));
        let lasting = outage.outages(now + 2 * TIMEOUT);
        assert_eq!((lasting.count, lasting.time), (1, 2 * TIMEOUT), "since the first failure");
        assert_eq!(outage.canary_answered(now + 2 * TIMEOUT), Some(2 * TIMEOUT));
        assert_eq!(outage.canary_answered(now + 3 * TIMEOUT), None);
        outage.canary_failed("no".into(), now + 4 * TIMEOUT);
        outage.canary_answered(now + 5 * TIMEOUT);
        let all = outage.outages(now + 5 * TIMEOUT);
        assert_eq!((all.count, all.time), (2, 3 * TIMEOUT));
    }
}
