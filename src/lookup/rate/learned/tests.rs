use super::*;
use crate::time;

const SECOND: Duration = Duration::from_secs(1);

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-6
}

fn search(from: f64, cut_short: u32) -> Known {
    Known::new(Curve::Search { from, cut_short }, 0)
}

/// What is known, with so many answers.
fn answered(known: Known, admitted: u32, throttled: u32) -> Known {
    Known { admitted, throttled, ..known }
}

/// So many were accepted in `time` after the first 429, and 5 in the second before it.
fn overload(admitted_between: u32, time: Duration) -> Overload {
    let first = time::instant();
    Overload {
        first,
        last: first + time,
        admitted: admitted_between,
        admitted_between,
        started_before: 9.0,
        admitted_before: 5.0,
    }
}

/// The rate that was accepted, and the recovery, that follow from what is known.
fn steady(judged: Option<Known>) -> (f64, f64) {
    match judged.expect("a conclusion").curve {
        Curve::Steady { accepted, recovery } => (accepted, recovery),
        Curve::Search { .. } => panic!("still searching"),
    }
}

#[test]
fn a_steady_rate_nears_what_was_accepted_stays_there_and_leaves_it() {
    let at = |tried| Known { tried, ..Known::steady(100.0, 10.0, 0) }.per_second();
    for (tried, rate) in [(0.0, 93.0), (5.0, 99.125), (10.0, 100.0), (15.0, 100.875), (20.0, 107.0)]
    {
        assert!(close(at(tried), rate), "{tried} s: {}", at(tried));
    }
}

#[test]
fn a_search_doubles_the_rate_every_six_tenths_of_a_second() {
    let at = |tried| Known { tried, ..search(8.0, 0) }.per_second();
    assert!(close(at(0.0), 8.0) && close(at(0.6), 16.0) && close(at(1.8), 64.0));
    assert!(close(search(0.01, 0).per_second(), SLOWEST), "never slower than that");
    assert!(close(Known::steady(0.01, 1.0, 0).per_second(), SLOWEST));
}

#[test]
fn only_a_rate_that_is_used_grows() {
    let (mut known, begin) = (Known::steady(93.0, 10.0, 0), time::instant());
    known.use_for(begin);
    assert!(close(known.tried, 0.0), "there is no start before the first");
    known.use_for(begin + Duration::from_millis(10));
    assert!(close(known.tried, 0.01));
    known.use_for(begin + 10 * SECOND);
    let used = known.tried - 0.01;
    assert!((0.02..0.025).contains(&used), "the time of two starts: {used}");
}

#[test]
fn what_was_accepted_between_two_429s_is_the_rate_once_it_is_enough() {
    let measured = |admitted, time| overload(admitted, time).measured_rate();
    assert_eq!(measured(20, 2 * SECOND), Some(10.0));
    assert_eq!(measured(19, 2 * SECOND), None);
    assert_eq!(measured(20, MEASURED_FROM), Some(200.0));
    assert_eq!(measured(20, MEASURED_FROM - Duration::from_millis(1)), None);
}

#[test]
fn only_what_was_accepted_before_the_last_429_is_between_them() {
    let (recent, now) = (Recent::default(), time::instant());
    let mut overload = Overload::new(&recent, now);
    for (admission, seconds) in [
        (Admission::Throttled, 0),
        (Admission::Admitted, 1),
        (Admission::Admitted, 2),
        (Admission::Throttled, 3),
        (Admission::Admitted, 4),
    ] {
        overload.count(admission, now + seconds * SECOND);
    }
    assert_eq!((overload.admitted, overload.admitted_between), (3, 2));
    assert_eq!(overload.last - overload.first, 3 * SECOND);
}

#[test]
fn a_search_begins_at_what_was_accepted_or_at_half_of_what_was_sent() {
    let from = |started_before, admitted_before| {
        let before = Overload { started_before, admitted_before, ..overload(0, SECOND) };
        before.teach(7)
    };
    assert!(close(from(9.0, 5.0).per_second(), 5.0));
    assert!(close(from(9.0, 1.0).per_second(), 1.0));
    assert!(close(from(9.0, 0.0).per_second(), 4.5));
    assert!(close(from(1.0, 0.0).per_second(), 1.0));
    assert_eq!(from(9.0, 5.0).first_request, 7);
}

#[test]
fn without_a_429_nothing_follows() {
    let recent = Recent::default();
    assert!(answered(search(10.0, 0), 500, 0).judge(None, &recent, 1).is_none());
    assert!(answered(Known::steady(10.0, 7.5, 0), 500, 0).judge(None, &recent, 1).is_none());
}

#[test]
fn a_search_of_few_answers_begins_again_at_half_the_rate_three_times() {
    let recent = Recent::default();
    for (before, answers) in [(0, 1), (2, 9)] {
        let known = answered(search(10.0, before), answers - 1, 1);
        let again = known.judge(None, &recent, 3).unwrap();
        assert!(close(again.per_second(), 5.0));
        assert!(matches!(again.curve, Curve::Search { cut_short, .. } if cut_short == before + 1));
        assert_eq!((again.first_request, again.admitted, again.throttled), (3, 0, 0));
    }
    for (before, answers) in [(3, 1), (0, 10)] {
        let ended = answered(search(10.0, before), answers - 1, 1).judge(None, &recent, 3);
        assert_eq!(steady(ended), (5.0, FIRST_RECOVERY_SECONDS));
    }
}

#[test]
fn a_search_ends_with_what_was_measured_or_was_accepted_before_the_429() {
    let (mut recent, now) = (Recent::default(), time::instant());
    let known = answered(search(8.0, 0), 30, 3);
    let ended =
        |overload: &Overload, recent: &Recent| steady(known.judge(Some(overload), recent, 1)).0;
    assert!(close(ended(&overload(40, 2 * SECOND), &recent), 20.0), "measured");
    assert!(close(ended(&overload(4, 2 * SECOND), &recent), 5.0), "accepted before");
    let little = Overload { admitted_before: 1.0, ..overload(4, SECOND) };
    assert!(close(ended(&little, &recent), 4.0), "half the rate at least");
    recent.pause(now, now + SECOND);
    assert!(close(ended(&overload(4, 2 * SECOND), &recent), 5.0 * FALL), "a pause costs more");
}

#[test]
fn a_steady_rate_falls_to_the_share_that_was_accepted() {
    let recent = Recent::default();
    let judge = |admitted, throttled, overload: Option<&Overload>| {
        let known = Known { tried: 7.5, ..Known::steady(100.0, 7.5, 0) };
        answered(known, admitted, throttled).judge(overload, &recent, 1)
    };
    assert!(judge(18, 1, None).is_none(), "too few answers");
    assert_eq!(steady(judge(19, 1, None)), (95.0, 15.0));
    assert_eq!(steady(judge(10, 30, None)).0, 50.0, "half at most");
    assert_eq!(steady(judge(90, 10, Some(&overload(60, SECOND)))).0, 60.0, "measured");
    assert_eq!(steady(judge(90, 10, Some(&overload(99, SECOND)))).0, 90.0, "the lower one");
    let known = answered(Known::steady(100.0, 15.0, 0), 19, 1);
    assert_eq!(steady(known.judge(None, &recent, 1)).1, RECOVERY_SECONDS, "no longer than that");
}

#[test]
fn the_last_second_is_that_without_pauses() {
    let (mut recent, begin) = (Recent::default(), time::instant());
    let at = |milliseconds| begin + Duration::from_millis(milliseconds);
    for milliseconds in [0, 10, 500, 999] {
        recent.start(at(milliseconds));
        recent.admit(at(milliseconds));
    }
    recent.start(at(999));
    assert_eq!((recent.started(), recent.admitted()), (5.0, 4.0));
    recent.start(at(1000));
    assert_eq!((recent.started(), recent.admitted()), (4.0, 2.0), "the first 50 ms are over");
    // For a minute nothing starts: what was accepted before still counts.
    recent.pause(at(1000), at(61_000));
    recent.admit(at(30_000));
    recent.admit(at(61_000));
    assert_eq!((recent.started(), recent.admitted()), (4.0, 4.0));
    recent.start(at(61_500));
    assert_eq!((recent.started(), recent.admitted()), (4.0, 3.0));
    assert!(recent.has_admitted);
}

#[test]
fn a_remembered_rate_is_the_one_that_was_learned() {
    let mut learned = LearnedRate::remembered(Some(40.0));
    assert!(close(learned.per_second().unwrap(), 40.0));
    assert_eq!(learned.reason(), RateReason::Remembered);
    assert_eq!(LearnedRate::remembered(None).per_second(), None);
    let now = time::instant();
    for request in 0..20 {
        learned.settle(Admission::Throttled, request, now);
    }
    assert_eq!(learned.start(20, now), Some(40.0 * LEAST_SHARE), "half is news");
    assert_eq!(learned.reason(), RateReason::Learned);
}

#[test]
fn the_first_429_teaches_at_least_one_a_second_before_anything_was_accepted() {
    let (mut learned, now) = (LearnedRate::default(), time::instant());
    for request in 0..20 {
        assert_eq!(learned.start(request, now), None);
    }
    learned.settle(Admission::Throttled, 0, now);
    assert_eq!(learned.per_second(), None, "until the next start");
    assert_eq!(learned.start(20, now), None, "a search is no news");
    assert_eq!(learned.per_second(), Some(10.0));
    // Answers to earlier requests say nothing of this rate.
    learned.settle(Admission::Throttled, 19, now);
    learned.start(21, now);
    assert_eq!(learned.per_second(), Some(10.0));
    for request in 20..26 {
        learned.settle(Admission::Throttled, request, now);
        learned.start(request + 1, now);
    }
    assert_eq!(learned.per_second(), Some(SLOWEST_AT_FIRST));
}

#[test]
fn a_rate_that_changed_by_a_quarter_is_news() {
    let now = time::instant();
    let after = |admitted: u32, throttled: u32| {
        let mut learned = LearnedRate::remembered(Some(93.0));
        for request in 0..admitted + throttled {
            let admission =
                if request < throttled { Admission::Throttled } else { Admission::Admitted };
            learned.settle(admission, i64::from(request), now);
        }
        learned.start(1000, now)
    };
    assert_eq!(after(80, 20), None);
    assert!(close(after(70, 30).unwrap(), 93.0 * 0.7));
}

#[test]
fn a_rate_that_grew_to_four_times_what_taught_it_is_forgotten() {
    let (mut learned, mut now) = (LearnedRate::remembered(Some(50.0)), time::instant());
    let mut greatest: f64 = 0.0;
    for request in 0..1_000_000 {
        learned.start(request, now);
        let Some(rate) = learned.per_second() else { break };
        greatest = greatest.max(rate);
        now += Duration::from_secs_f64(1.0 / rate);
    }
    assert_eq!(learned.per_second(), None);
    let accepted = 50.0 / FALL;
    assert!((accepted * 3.9..=accepted * 4.0).contains(&greatest), "{greatest}");
    assert_eq!(learned.reported, None);
}
