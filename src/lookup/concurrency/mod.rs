//! How many requests may be in flight: as many as the API can handle, below the ceiling.
//!
//! The limit doubles until the first sign of back pressure, then grows by steps. It is judged once
//! per round trip, by the attempts that were started under it. A sign is looked into before it is
//! believed: half as many are in flight for one round, and only what then gets better was our own
//! load. So neither a slower day nor an API that always answers some 503s drives the limit down.
//!
//! Pure: no clock, no I/O.

mod look;
pub(super) mod round;

use crate::lookup::concurrency::look::Look;
use crate::lookup::concurrency::round::{Effect, JUDGED_FROM, Round, Summary};
use crate::lookup::settings::{Adapting, LearnedLimits};
use crate::lookup::step::RequestSpan;

/// The limit to start from: a few, so that a small API is not met by a blast.
const FIRST: usize = 4;

/// After a sign of back pressure that proved true the limit is this part of what it was.
const SHRINK: f64 = 0.8;

/// Answers that take this many times the latency without load are slow.
const SLOW_FACTOR: f64 = 1.5;

/// The limit grows while answers take no longer than this many times the latency without load.
/// Between this and [`SLOW_FACTOR`] it stays, with a short queue at the API that keeps it busy.
const BUSY_FACTOR: f64 = 1.25;

/// Slow answers are also slower by at least this, in seconds: two time slices of a busy machine.
/// On loopback, where an answer takes under a millisecond, the rest is noise.
const SLOW_SECONDS: f64 = 0.020;

/// The same for [`BUSY_FACTOR`].
const BUSY_SECONDS: f64 = 0.010;

/// A round with a greater share of refusals than this shows back pressure, if it is beyond what
/// chance makes of the usual share.
const REFUSED_SHARE: f64 = 0.02;

/// So many standard deviations are beyond chance: 1 round in 1000.
const BEYOND_CHANCE: f64 = 3.0;

/// One refusal in a round may have any cause.
const REFUSED_MOST: f64 = 1.0;

/// The usual share of refusals falls by this part in a round with fewer, so that it is looked at
/// again after a while.
const FORGETTING: f64 = 0.01;

/// Rounds with the limit held up by latency, until the latency without load is looked for again:
/// a look costs about one round, so this costs 1 %.
const HELD_ROUNDS: u32 = 100;

/// Above this part of the limit that met refusals, growth is slow.
const NEAR_WALL: f64 = 0.95;

/// Beyond this part of it, the API bears more than before.
const BEYOND_WALL: f64 = 1.1;

/// Near that limit it grows every so many rounds by [`CREEP`], so that few are refused.
const CREEP_ROUNDS: u32 = 20;

/// The part by which the limit grows then; one at least.
const CREEP: f64 = 1.0 / 64.0;

/// The number of requests that may be in flight.
#[derive(Debug)]
pub(in crate::lookup) struct Limit {
    ceiling: usize,
    adapting: Adapting,
    limit: usize,
    /// The limit before the current slow start.
    sustained: usize,
    phase: Phase,
    round: Round,
    /// The latency without load, in seconds.
    unloaded: Option<f64>,
    /// From how many answers that is known: a guess, if they are few.
    unloaded_from: usize,
    /// The share of refusals that has nothing to do with our load.
    usual_refusals: f64,
    /// The limit that met refusals.
    wall: Option<usize>,
    rounds_held: u32,
    rounds_crept: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    SlowStart,
    Steady,
    Look(Look),
}

/// What a round shows of back pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Refusals,
    Slow,
    /// Not enough to shrink, too much to grow.
    Busy,
    None,
}

impl Limit {
    /// A limit below `ceiling` that begins at half of what the last run ended with.
    pub(in crate::lookup) fn new(
        ceiling: usize,
        adapting: Adapting,
        learned: Option<LearnedLimits>,
    ) -> Self {
        let sustained = learned.map_or(0, |learned| learned.concurrency);
        let limit = match adapting {
            Adapting::On => (sustained / 2).max(FIRST).min(ceiling),
            Adapting::Fixed => ceiling,
        };
        Self {
            sustained,
            ceiling,
            adapting,
            limit,
            phase: Phase::SlowStart,
            round: Round::new(0, limit),
            unloaded: None,
            unloaded_from: 0,
            usual_refusals: 0.0,
            wall: None,
            rounds_held: 0,
            rounds_crept: 0,
        }
    }

    /// How many may be in flight.
    pub(in crate::lookup) fn get(&self) -> usize {
        self.limit
    }

    /// The limit that the API sustains: in a slow start, that of before.
    pub(in crate::lookup) fn sustained(&self) -> usize {
        match self.phase {
            Phase::SlowStart => self.limit.max(self.sustained),
            Phase::Look(look) => look.limit_before,
            Phase::Steady => self.limit,
        }
    }

    /// Notes a start, after which so many are in flight.
    pub(in crate::lookup) fn start(&mut self, in_flight: usize) {
        if in_flight >= self.limit {
            self.round.reached = true;
        }
    }

    /// Notes what came back.
    pub(in crate::lookup) fn settle(&mut self, effect: Effect, span: RequestSpan) {
        if self.adapting == Adapting::Fixed {
            return;
        }
        self.round.add(effect, span.request);
        let Some(summary) = self.round.summary(self.needed()) else {
            return;
        };
        let before = self.limit;
        let limit = self.judge(summary).clamp(1, self.ceiling);
        self.limit = limit;
        let settling = if limit == before { 0 } else { limit };
        self.round = Round::new(span.next, settling);
    }

    /// The attempts that a round is judged by.
    fn needed(&self) -> usize {
        match self.phase {
            Phase::Look(look) => self.limit.max(look.attempts()),
            // A wrong guess is put right by the next look; waiting for a better one would hold up
            // every run at its start.
            Phase::SlowStart if self.limit < self.ceiling => self.limit,
            Phase::SlowStart | Phase::Steady => self.limit.max(JUDGED_FROM),
        }
    }

    /// Begins anew after an outage; what is known of the API's latency stays known.
    pub(in crate::lookup) fn restart(&mut self, next_request: i64) {
        if self.adapting == Adapting::On {
            self.sustained = self.sustained();
            self.limit = FIRST.min(self.ceiling);
            self.phase = Phase::SlowStart;
            self.round = Round::new(next_request, self.limit);
        }
    }

    /// The limit for the next round.
    fn judge(&mut self, round: Summary) -> usize {
        let sign = self.sign(&round);
        if let Phase::Look(look) = self.phase {
            self.phase = Phase::Steady;
            return self.conclude(look, &round);
        }
        self.note_unloaded(&round, sign);
        self.note_refusals(&round);
        match sign {
            Sign::Refusals | Sign::Slow => self.look(round, sign),
            Sign::Busy => {
                self.phase = Phase::Steady;
                self.rounds_held += 1;
                if self.rounds_held < HELD_ROUNDS || self.limit == self.ceiling {
                    return self.limit;
                }
                self.look(round, sign)
            }
            Sign::None if round.reached => self.grown(),
            Sign::None => self.limit,
        }
    }

    fn sign(&self, round: &Summary) -> Sign {
        let usual = self.usual_refusals * round.attempts as f64;
        let most = (usual + BEYOND_CHANCE * usual.sqrt()).max(REFUSED_MOST);
        if round.refused as f64 > most && round.refused_share() > REFUSED_SHARE {
            return Sign::Refusals;
        }
        match self.unloaded {
            Some(unloaded) if round.surely_over(slow(unloaded)) => Sign::Slow,
            Some(unloaded) if round.surely_over(busy(unloaded)) => Sign::Busy,
            Some(_) | None => Sign::None,
        }
    }

    fn note_unloaded(&mut self, round: &Summary, sign: Sign) {
        let Some(mean) = round.mean else {
            return;
        };
        let is_guess = self.unloaded_from < JUDGED_FROM;
        let is_better_guess = is_guess && sign == Sign::None && round.timed > self.unloaded_from;
        if is_better_guess || self.unloaded.is_none_or(|known| round.surely_under(known)) {
            // A guess that is too low would make every later round look slow.
            let is_few = round.timed < JUDGED_FROM;
            self.unloaded = Some(if is_few { round.at_most(mean) } else { mean });
            self.unloaded_from = round.timed;
        }
    }

    fn note_refusals(&mut self, round: &Summary) {
        if round.refused_share() < self.usual_refusals {
            self.usual_refusals =
                (self.usual_refusals * (1.0 - FORGETTING)).max(round.refused_share());
        }
    }

    /// Looks whether half the load makes it better.
    fn look(&mut self, before: Summary, sign: Sign) -> usize {
        self.rounds_held = 0;
        self.phase = Phase::Look(Look { limit_before: self.limit, before, sign });
        self.limit / 2
    }

    /// The limit after a look.
    fn conclude(&mut self, look: Look, at_half: &Summary) -> usize {
        let shrunk = (look.limit_before as f64 * SHRINK) as usize;
        match (look.sign, look.is_our_load(at_half)) {
            (Sign::Refusals, true) => {
                self.wall = Some(look.limit_before);
                self.rounds_crept = 0;
                shrunk
            }
            (Sign::Refusals, false) => {
                self.usual_refusals = at_half.refused_share();
                look.limit_before
            }
            (Sign::Slow | Sign::Busy | Sign::None, false) => {
                self.unloaded = at_half.mean;
                self.unloaded_from = at_half.timed;
                look.limit_before
            }
            (sign, true) => match self.sign(at_half) {
                Sign::Refusals | Sign::Slow | Sign::Busy => self.limit,
                Sign::None if sign == Sign::Busy => look.limit_before,
                Sign::None => shrunk,
            },
        }
    }

    /// A limit that was reached, and was borne.
    fn grown(&mut self) -> usize {
        if let Phase::SlowStart = self.phase {
            let near = self.wall.map_or(usize::MAX, |wall| (wall as f64 * NEAR_WALL) as usize);
            if self.limit * 2 > near {
                self.phase = Phase::Steady;
            }
            return (self.limit * 2).min(near);
        }
        let limit = self.limit as f64;
        let step = (limit.sqrt() / 2.0).max(1.0);
        let Some(wall) = self.wall.map(|wall| wall as f64) else {
            return (limit + step) as usize;
        };
        if limit > wall * BEYOND_WALL {
            self.wall = None;
        }
        let near = (wall * NEAR_WALL).floor();
        if limit < near {
            return (limit + step).min(near) as usize;
        }
        self.rounds_crept += 1;
        if self.rounds_crept < CREEP_ROUNDS {
            return self.limit;
        }
        self.rounds_crept = 0;
        (limit + (limit * CREEP).max(1.0)) as usize
    }
}

/// From which latency on answers are slow, in seconds.
fn slow(unloaded: f64) -> f64 {
    (unloaded * SLOW_FACTOR).max(unloaded + SLOW_SECONDS)
}

/// From which latency on the limit grows no more, in seconds.
fn busy(unloaded: f64) -> f64 {
    (unloaded * BUSY_FACTOR).max(unloaded + BUSY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit after a round at `limit` in which so many were refused, all others answered.
    fn after_round(limit: usize, refused: usize) -> usize {
        let mut control = Limit::new(1000, Adapting::On, None);
        (control.limit, control.round) = (limit, Round::new(0, 0));
        control.start(limit);
        for request in 0..limit {
            let effect = if request < refused { Effect::Refused } else { Effect::Answered(0.05) };
            control.settle(effect, RequestSpan { request: request as i64, next: limit as i64 });
        }
        control.get()
    }

    #[test]
    fn one_refusal_or_one_in_fifty_is_no_sign() {
        assert_eq!((after_round(20, 1), after_round(20, 2)), (40, 10));
        assert_eq!((after_round(200, 4), after_round(200, 5)), (400, 100));
    }

    #[test]
    fn a_few_refusals_at_half_the_load_do_not_clear_us() {
        for (refused_at_half, then) in [(5, 160), (50, 200)] {
            let mut control = Limit::new(1000, Adapting::On, None);
            (control.limit, control.round) = (200, Round::new(0, 0));
            let refused = |request| match request {
                0..200 => request < 100,
                _ => request < 200 + refused_at_half,
            };
            for request in 0..200 {
                let effect =
                    if refused(request) { Effect::Refused } else { Effect::Answered(0.05) };
                control.settle(effect, RequestSpan { request, next: 200 });
            }
            assert_eq!(control.get(), 100);
            let mut request = 200;
            while control.get() == 100 {
                let effect =
                    if refused(request) { Effect::Refused } else { Effect::Answered(0.05) };
                control.settle(effect, RequestSpan { request, next: request + 1 });
                request += 1;
            }
            assert_eq!(control.get(), then);
        }
    }

    #[test]
    fn slow_is_by_a_factor_and_by_at_least_the_difference_that_means_anything() {
        let levels = |unloaded| [busy(unloaded), slow(unloaded)].map(|at| (at * 1e4).round());
        assert_eq!(levels(0.2), [2500.0, 3000.0]);
        assert_eq!(levels(0.001), [110.0, 210.0]);
    }

    #[test]
    fn a_limit_that_was_not_reached_does_not_grow() {
        let mut control = Limit::new(64, Adapting::On, None);
        for request in 0..1000 {
            control.start(3);
            control.settle(Effect::Answered(0.05), RequestSpan { request, next: request + 1 });
        }
        assert_eq!(control.get(), FIRST);
    }

    #[test]
    fn a_fixed_limit_is_the_ceiling() {
        let mut control = Limit::new(64, Adapting::Fixed, None);
        (0..1000).for_each(|request| {
            control.settle(Effect::Refused, RequestSpan { request, next: request + 1 })
        });
        control.restart(1000);
        assert_eq!(control.get(), 64);
    }

    /// A limit, and the request that comes next.
    struct Played {
        limit: Limit,
        next: i64,
    }

    impl Played {
        fn new() -> Self {
            Self { limit: Limit::new(1000, Adapting::On, None), next: 0 }
        }

        /// A round in which the limit was reached, with so many refusals and otherwise this latency.
        fn round(&mut self, (latency, refused): (f64, usize)) -> usize {
            let Self { limit, next } = self;
            limit.start(limit.limit);
            for number in 0.. {
                let effect =
                    if number < refused { Effect::Refused } else { Effect::Answered(latency) };
                let has_begun = limit.round.summary(1).is_some();
                limit.settle(effect, RequestSpan { request: *next, next: *next + 1 });
                *next += 1;
                if has_begun && limit.round.summary(1).is_none() {
                    break;
                }
            }
            limit.get()
        }

        fn rounds(&mut self, rounds: &[(f64, usize)]) -> Vec<usize> {
            rounds.iter().map(|round| self.round(*round)).collect()
        }
    }

    const FINE: (f64, usize) = (0.1, 0);

    #[test]
    fn a_slow_start_doubles_up_to_the_ceiling() {
        let mut played = Played { limit: Limit::new(100, Adapting::On, None), next: 0 };
        assert_eq!(played.limit.get(), 4);
        assert_eq!(played.rounds(&[FINE; 6]), [8, 16, 32, 64, 100, 100]);
        assert_eq!(played.limit.sustained(), 100);
        played.limit.restart(1000);
        assert_eq!(
            (played.limit.get(), played.limit.sustained()),
            (4, 100),
            "as before the outage"
        );
        assert_eq!(Limit::new(3, Adapting::On, None).get(), 3);
    }

    #[test]
    fn a_run_begins_at_half_of_what_the_last_one_sustained() {
        let begin = |concurrency| {
            let learned = LearnedLimits { concurrency, rate: None };
            let limit = Limit::new(100, Adapting::On, Some(learned));
            (limit.get(), limit.sustained())
        };
        assert_eq!(begin(40), (20, 40));
        assert_eq!(begin(6), (4, 6));
        assert_eq!(begin(500).0, 100);
    }

    #[test]
    fn refusals_that_end_with_half_the_load_shrink_the_limit_and_leave_a_wall() {
        let mut played = Played::new();
        assert_eq!(played.rounds(&[FINE; 5]).last(), Some(&128));
        assert_eq!(played.rounds(&[(0.1, 20), FINE]), [64, 102]);
        assert_eq!((played.limit.wall, played.limit.sustained()), (Some(128), 102));
        // By half the root up to 95 % of the wall, then by one in so many rounds, and beyond it freely.
        assert_eq!(played.rounds(&[FINE; 4]), [107, 112, 117, 121]);
        let crept = played.rounds(&[FINE; 20]);
        assert!(crept[..19].iter().all(|limit| *limit == 121) && crept[19] == 122, "{crept:?}");
        played.limit.limit = 141;
        assert_eq!(played.rounds(&[FINE])[0], 141);
        assert_eq!(played.limit.wall, None);
        assert_eq!(played.rounds(&[FINE])[0], 146);
    }

    #[test]
    fn refusals_that_half_the_load_leaves_are_usual_until_there_are_fewer() {
        let mut played = Played::new();
        assert_eq!(played.rounds(&[FINE; 5]).last(), Some(&128));
        assert_eq!(played.rounds(&[(0.1, 20), (0.1, 6)]), [64, 128]);
        let usual = played.limit.usual_refusals;
        assert!((0.04..0.1).contains(&usual), "{usual}");
        assert!(played.rounds(&[(0.1, 8)])[0] > 128, "as usual");
        assert!(played.limit.usual_refusals < usual && played.limit.usual_refusals > usual * 0.97);
        let fewer = played.limit.usual_refusals;
        played.limit.note_refusals(&summary(0.1, 20, 20));
        assert!((played.limit.usual_refusals - fewer).abs() < 1e-9, "more are not usual");
    }

    #[test]
    fn slow_answers_that_half_the_load_makes_faster_shrink_the_limit() {
        let mut played = Played::new();
        assert_eq!(played.rounds(&[FINE; 5]).last(), Some(&128));
        assert_eq!(played.rounds(&[(0.2, 0), FINE]), [64, 102]);
        assert_eq!(played.rounds(&[(0.2, 0), (0.2, 0)]), [51, 102], "a slower day");
        assert_eq!(played.rounds(&[(0.2, 0)]), [107], "is what is known now");
    }

    #[test]
    fn busy_answers_hold_the_limit_and_are_looked_into_after_a_hundred_rounds() {
        let mut played = Played::new();
        assert_eq!(played.rounds(&[FINE; 5]).last(), Some(&128));
        let held = played.rounds(&[(0.13, 0); 99]);
        assert!(held.iter().all(|limit| *limit == 128), "{held:?}");
        assert_eq!(played.rounds(&[(0.13, 0), FINE]), [64, 128]);
        assert_eq!(played.rounds(&[(0.13, 0); 99]).last(), Some(&128));
        assert_eq!(played.limit.rounds_held, 99, "counted anew");
    }

    #[test]
    fn only_a_first_doubling_is_judged_by_few_answers() {
        let needed = |ceiling| Limit::new(ceiling, Adapting::On, None).needed();
        assert_eq!((needed(100), needed(4)), (4, JUDGED_FROM));
        let mut played = Played::new();
        played.rounds(&[FINE; 5]);
        assert_eq!(played.limit.needed(), 128);
        played.round((0.1, 100));
        assert_eq!((played.limit.get(), played.limit.needed()), (64, 64));
        played.limit.limit = 2;
        assert_eq!(played.limit.needed(), 64, "a look for refusals");
        played.limit.phase = Phase::Steady;
        assert_eq!(played.limit.needed(), JUDGED_FROM);
    }

    /// A round of so many answers, around this latency by half of it, and so many refusals.
    fn summary(latency: f64, answers: i64, refusals: i64) -> Summary {
        let mut round = Round::new(0, 0);
        for request in 0..answers {
            let seconds = latency * if request % 2 == 0 { 0.5 } else { 1.5 };
            round.add(Effect::Answered(seconds), request);
        }
        (0..refusals).for_each(|request| round.add(Effect::Refused, request));
        round.summary((answers + refusals) as usize).unwrap()
    }

    #[test]
    fn the_latency_without_load_is_a_guess_that_gets_better_and_then_only_falls() {
        let mut limit = Limit::new(1000, Adapting::On, None);
        let mut note = |latency, answers, sign| {
            limit.note_unloaded(&summary(latency, answers, 0), sign);
            (limit.unloaded.unwrap() * 1e4).round()
        };
        // The standard error of four answers is a quarter of the mean here.
        assert_eq!(note(0.1, 4, Sign::None), 1500.0);
        assert_eq!(note(0.4, 4, Sign::None), 1500.0, "from no more answers");
        assert_eq!(note(0.4, 16, Sign::Busy), 1500.0, "under load");
        assert_eq!(note(0.2, 16, Sign::None), 2000.0, "from more");
        assert_eq!(note(0.4, 64, Sign::None), 2000.0);
        assert_eq!(note(0.19, 64, Sign::None), 2000.0, "by chance");
        assert_eq!(note(0.1, 64, Sign::Slow), 1000.0);
    }

    #[test]
    fn a_slow_start_stops_below_a_known_wall() {
        let mut played = Played::new();
        played.limit.wall = Some(128);
        assert_eq!(played.rounds(&[FINE; 5]), [8, 16, 32, 64, 121]);
        assert!(matches!(played.limit.phase, Phase::Steady));
        let mut played = Played::new();
        played.limit.wall = Some(16);
        assert_eq!(played.rounds(&[FINE; 2]), [8, 15]);
        assert!(matches!(played.limit.phase, Phase::Steady));
    }
}
