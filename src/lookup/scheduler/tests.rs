use crate::domain::outcome::{Cause, FailureCode, Outcome};
use crate::domain::stop::StopReason;
use crate::lookup::settings::{Adapting, Progress};
use crate::lookup::simulation::{
    LATENCY, Simulation, failing, found, permanent, refused, server_error, throttled,
};
use crate::lookup::step::{KeyReread, Notice, RequestKind};
use std::time::Duration;

#[test]
fn each_email_is_looked_up_once_and_the_maximum_holds() {
    let run = Simulation::new(1000).against(|_| found());
    assert_eq!((run.requests.len(), run.settled.len(), run.max_in_flight), (1000, 1000, 4));
    assert_eq!(run.time, LATENCY * 250);
    assert!(run.settled.iter().map(|one| one.request).eq(1..=1000));
}

#[test]
fn the_rate_spaces_all_requests() {
    let run = Simulation::new(50).with(|with| with.rate = Some(10.0)).against(|_| found());
    let requests = run.requests.windows(2);
    assert!(requests.map(|two| two[1].at - two[0].at).all(|gap| gap.as_millis() == 100));
}

#[test]
fn a_waiting_email_holds_no_slot_and_retries_come_after_new_emails() {
    let run = Simulation::new(20).with(|with| with.concurrency = 1).against(|request| {
        match (request.number, request.before) {
            (0, 0..3) => failing(FailureCode::Unavailable, Some(503)),
            _ => found(),
        }
    });
    assert_eq!(run.attempts(0), 4);
    let last = run.settled.last().unwrap();
    assert_eq!((last.planned.key, last.attempts), (0, 4));
}

#[test]
fn attempts_run_out() {
    let run = Simulation::new(3).against(|request| match request.number {
        1 => server_error(),
        _ => found(),
    });
    assert_eq!(run.attempts(1), 5);
    let of_one = run.requests.iter().filter(|request| request.number == 1);
    let kinds: Vec<RequestKind> = of_one.map(|request| request.kind).collect();
    assert_eq!(kinds[..2], [RequestKind::First, RequestKind::Retry]);
    assert!(kinds[1..].iter().all(|kind| *kind == RequestKind::Retry));
    assert!(matches!(run.outcome(1), Outcome::Failed { cause: Cause::Transient, .. }));
    assert_eq!(run.stop(), None);
}

#[test]
fn a_429_uses_up_no_attempt() {
    let run = Simulation::new(1).against(|request| match request.before {
        0..20 => throttled(None),
        _ => found(),
    });
    assert_eq!(run.settled[0].attempts, 1);
    assert!(matches!(run.settled[0].outcome, Outcome::Found(_)));
}

#[test]
fn a_connection_found_dead_is_replaced_once_without_an_attempt() {
    for (lost, attempts) in [(1, 1), (2, 2), (9, 5)] {
        let run = Simulation::new(10).against(|request| match (request.number, request.kind) {
            (4, RequestKind::First | RequestKind::Retry) if request.before < lost => {
                failing(FailureCode::ConnectionLost, None)
            }
            _ => found(),
        });
        let settled = run.settled.iter().find(|one| one.planned.key == 4).unwrap();
        assert_eq!(settled.attempts, attempts);
    }
}

#[test]
fn retry_after_pauses_all_on_503_and_one_email_otherwise() {
    for (code, pauses_all) in [(FailureCode::Unavailable, true), (FailureCode::ServerError, false)]
    {
        let mut paused = failing(code, Some(503));
        paused.retry_after = Some(Duration::from_secs(100));
        let run = Simulation::new(100).against(|request| match (request.number, request.before) {
            (0, 0) => paused.clone(),
            _ => found(),
        });
        let last = run.requests.iter().rfind(|one| one.number == 0).unwrap().at;
        assert!(last >= Duration::from_secs(100), "{last:?}");
        let early = run.requests.iter().filter(|one| one.at < Duration::from_secs(100));
        assert_eq!(early.count() < 10, pauses_all);
    }
}

#[test]
fn a_longer_pause_than_allowed_stops_the_run() {
    let run = Simulation::new(100).against(|_| throttled(Some(301)));
    assert_eq!(run.stop(), Some(&StopReason::LongPause(Duration::from_secs(301))));
    assert_eq!((run.requests.len(), run.settled.len()), (4, 0));
}

#[test]
fn nothing_but_429s_stop_the_run() {
    for retry_after in [None, Some(1), Some(60)] {
        let run = Simulation::new(1000).against(|_| throttled(retry_after));
        assert!(matches!(run.stop(), Some(StopReason::OnlyThrottled(_))), "{:?}", run.stop());
        assert!((300..370).contains(&run.time.as_secs()), "{:?}", run.time);
        assert_eq!(run.settled.len(), 0);
    }
}

#[test]
fn a_refused_key_is_confirmed_by_other_emails() {
    let run = Simulation::new(100).against(|_| refused());
    assert_eq!(run.stop(), Some(&StopReason::KeyRefused));
    assert_eq!((run.requests.len(), run.checks(), run.settled.len()), (7, 3, 0));
    assert_eq!(run.rereads, 1);
    let alone = Simulation::new(1).against(|_| refused());
    assert_eq!(alone.stop(), Some(&StopReason::KeyRefused));
    assert_eq!((alone.requests.len(), alone.settled.len()), (2, 0));
}

#[test]
fn a_key_revoked_midway_is_confirmed_by_the_newest_answered_email() {
    let mut count = 0;
    let run = Simulation::new(100).against(|_| {
        count += 1;
        if count > 30 { refused() } else { found() }
    });
    assert_eq!(run.stop(), Some(&StopReason::KeyRefused));
    assert_eq!((run.requests.len(), run.settled.len(), run.failed()), (35, 30, 0));
    assert_eq!(run.requests[34].kind, RequestKind::Check);
}

#[test]
fn another_key_is_used_without_a_stop() {
    let mut count = 0;
    let simulation = Simulation { rereads: vec![KeyReread::Changed], ..Simulation::new(100) };
    let run = simulation.against(|_| {
        count += 1;
        if (20..=24).contains(&count) { refused() } else { found() }
    });
    assert_eq!((run.stop(), run.settled.len(), run.failed()), (None, 100, 0));
}

#[test]
fn a_refused_email_alone_fails_and_the_run_continues() {
    for refused_email in [0, 2, 99] {
        let run = Simulation::new(100)
            .against(|request| if request.number == refused_email { refused() } else { found() });
        assert_eq!((run.settled.len(), run.stop()), (100, None));
        let outcome = run.outcome(refused_email);
        assert!(matches!(outcome, Outcome::Failed { cause: Cause::Permanent, .. }));
        assert_eq!(run.checks(), if refused_email == 0 { 3 } else { 1 });
    }
}

#[test]
fn emails_of_which_all_are_refused_do_not_condemn_a_key_that_earlier_answers_clear() {
    let answered_earlier = vec![1000, 1001];
    let simulation = Simulation { answered_earlier, ..Simulation::new(10) };
    let run = simulation.against(|one| if one.number < 1000 { refused() } else { found() });
    assert_eq!((run.stop(), run.failed()), (None, 10));
}

#[test]
fn a_canary_that_gets_a_429_is_repeated() {
    let mut checks = 0;
    let run = Simulation::new(100).against(|request| match (request.number, request.kind) {
        (50, _) => refused(),
        (_, RequestKind::Check) => {
            checks += 1;
            if checks < 4 { throttled(None) } else { found() }
        }
        _ => found(),
    });
    assert_eq!((run.settled.len(), run.failed(), run.stop()), (100, 1, None));
    assert_eq!(run.checks(), 4);
}

#[test]
fn too_many_failures_stop_the_run() {
    let run = Simulation::new(1000).against(|_| permanent());
    assert!(matches!(run.stop(), Some(StopReason::FailureLimit { .. })), "{:?}", run.stop());
    assert!(run.requests.len() < 110, "{}", run.requests.len());
    let few = Simulation::new(20).against(|_| permanent());
    assert!(matches!(few.stop(), Some(StopReason::FailureLimit { .. })), "{:?}", few.stop());
    assert_eq!(few.settled.len(), 20);
}

#[test]
fn failures_of_earlier_processes_count() {
    let mut simulation = Simulation::new(100);
    simulation.beginning.progress = Progress { planned: 200, finished: 99, unanswered: 60 };
    let run = simulation.against(|_| found());
    assert!(matches!(run.stop(), Some(StopReason::FailureLimit { .. })), "{:?}", run.stop());
}

#[test]
fn memory_stays_flat_when_many_emails_fail() {
    let simulation = Simulation::new(150_000).with(|with| {
        with.concurrency = 150_000;
        with.adapting = Adapting::Fixed;
        with.max_attempts = 2;
    });
    let run = simulation.against(|request| match request.number % 2 {
        0 => found(),
        _ => server_error(),
    });
    assert_eq!(run.settled.len(), 150_000);
    assert_eq!(run.requests.len() - run.checks(), 75_000 + 2 * 75_000);
}

#[test]
fn a_run_in_which_nothing_is_answered_stops_after_the_wait() {
    for emails in [1, 100, 100_000] {
        let run = Simulation::new(emails).against(|_| server_error());
        let Some(StopReason::Outage { wait, cause }) = run.stop() else {
            panic!("{:?}", run.stop());
        };
        assert_eq!((wait.as_secs(), cause.as_str()), (600, "server_error"));
        assert!((600..605).contains(&run.time.as_secs()), "{:?}", run.time);
        assert_eq!(run.settled.len(), 0);
        assert!(run.requests.len() < 140, "{}", run.requests.len());
        assert_eq!(run.reconnects, run.checks() - if emails == 1 { 1 } else { 3 });
    }
}

#[test]
fn silence_ends_the_run_after_the_wait_too() {
    for wait in [20, 30, 45, 100, 600] {
        let simulation = Simulation::new(1000).with(|with| {
            with.outage_wait = Duration::from_secs(wait);
        });
        let run = simulation.against(|_| {
            let mut silent = failing(FailureCode::Timeout, None);
            silent.latency = Duration::from_secs(30);
            silent
        });
        assert!(matches!(run.stop(), Some(StopReason::Outage { .. })), "{:?}", run.stop());
        // The simulation waits for what is in flight; the driver gives it a second.
        assert!((wait..wait + 31).contains(&run.time.as_secs()), "{:?}", run.time);
    }
}

#[test]
fn a_suspended_process_continues_where_it_was() {
    for respond in [found, server_error as fn() -> _] {
        let mut simulation = Simulation::new(200);
        let suspended = (Duration::from_secs(1), Duration::from_secs(1000));
        simulation.suspended = Some(suspended);
        let mut failures = 0..8;
        let run =
            simulation.against(|_| if failures.next().is_some() { respond() } else { found() });
        assert_eq!(run.stop(), None);
        assert_eq!((run.settled.len(), run.failed()), (200, 0));
        assert!((1001..1015).contains(&run.time.as_secs()), "{:?}", run.time);
    }
}

#[test]
fn an_outage_after_a_suspension_has_the_whole_wait() {
    let mut simulation = Simulation::new(200);
    simulation.suspended = Some((Duration::from_secs(1), Duration::from_secs(1000)));
    let run = simulation.against(|_| server_error());
    assert!(matches!(run.stop(), Some(StopReason::Outage { .. })), "{:?}", run.stop());
    assert!((1595..1605).contains(&run.time.as_secs()), "{:?}", run.time);
}

#[test]
fn our_own_rate_limit_is_no_silence_of_the_api() {
    let slow = Simulation::new(10).with(|with| {
        with.rate = Some(1.0 / 60.0);
        with.outage_wait = Duration::from_secs(30);
    });
    let run = slow.against(|request| match request.number {
        3 => server_error(),
        _ => found(),
    });
    assert_eq!((run.stop(), run.settled.len(), run.failed()), (None, 10, 1));
}

#[test]
fn an_outage_uses_up_no_attempts() {
    for begins in [0, 200] {
        let simulation = Simulation::new(1000).with(|with| {
            with.max_attempts = 1;
            with.concurrency = 16;
        });
        let mut count = 0;
        let run = simulation.against(|_| {
            count += 1;
            if (begins..begins + 40).contains(&count) { server_error() } else { found() }
        });
        assert!(run.settled.iter().all(|one| matches!(one.outcome, Outcome::Found(_))));
        assert!(run.settled.iter().all(|one| one.attempts == 1));
        assert_eq!((run.settled.len(), run.stop()), (1000, None));
        let began = Notice::OutageBegan { cause: "server_error".to_owned() };
        assert_eq!(run.notices.iter().filter(|one| **one == began).count(), 1);
        assert!(matches!(run.notices.last(), Some(Notice::OutageEnded { .. })));
    }
}

#[test]
fn emails_that_always_fail_are_no_outage() {
    for concurrency in [1, 4, 64] {
        let simulation = Simulation::new(2000).with(|with| with.concurrency = concurrency);
        let run = simulation.against(|request| match request.number % 5 {
            0..3 => found(),
            _ => server_error(),
        });
        assert_eq!((run.settled.len(), run.stop()), (2000, None));
        assert_eq!(run.requests.len() - run.checks(), 1200 + 5 * 800);
        assert_eq!(run.notices, []);
        assert!(run.checks() < 700, "{}", run.checks());
    }
}

#[test]
fn a_key_that_is_refused_in_an_outage_is_checked_at_growing_intervals() {
    let mut count = 0;
    let run = Simulation::new(1000).against(|_| {
        count += 1;
        match count {
            1..=4 => refused(),
            _ => server_error(),
        }
    });
    assert!(matches!(run.stop(), Some(StopReason::Outage { .. })), "{:?}", run.stop());
    assert!(run.requests.len() < 100, "{}", run.requests.len());
}

#[test]
fn of_a_learned_rate_and_a_set_one_the_lower_applies() {
    for (set, applied) in [(5.0, 5.0), (1000.0, 10.0)] {
        let simulation = Simulation::new(600).with(|with| with.rate = Some(set));
        let mut bucket = (Duration::ZERO, 1.0_f64);
        let run = simulation.against(|request| {
            let (at, tokens) = bucket;
            let tokens = (tokens + (request.at - at).as_secs_f64() * 10.0).min(2.0);
            bucket = (request.at, if tokens >= 1.0 { tokens - 1.0 } else { tokens });
            if tokens >= 1.0 { found() } else { throttled(None) }
        });
        let begin = crate::time::instant();
        let rate = run.scheduler.status(begin).rate_limit.unwrap().per_second;
        assert!((applied * 0.85..applied * 1.05).contains(&rate), "{rate}");
        assert_eq!(run.settled.len(), 600);
    }
}
