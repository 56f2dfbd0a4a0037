use super::*;
use crate::domain::customer::CustomerBody;
use crate::lookup::settings::Adapting;
use crate::lookup::step::KeyReread;
use crate::time;
use std::collections::HashMap;

/// A simulated run: a plan, and a clock that only moves when the scheduler waits.
struct Run {
    scheduler: Scheduler,
    begin: Instant,
    now: Instant,
    plan: Vec<PlannedEmail>,
    asked: Vec<(String, Duration)>,
    /// How often each email was answered.
    before: HashMap<String, usize>,
    settled: Vec<Settled>,
    rereads: usize,
    most_in_flight: usize,
}

/// How long each simulated request takes.
const LATENCY: Duration = Duration::from_millis(50);

fn settings() -> LookupSettings {
    LookupSettings {
        concurrency: 4,
        adapting: Adapting::On,
        rate: None,
        max_attempts: 5,
        max_retry_after: Duration::from_secs(300),
        outage_wait: Duration::from_secs(600),
        fail_above: 0.5,
    }
}

fn run(settings: LookupSettings, emails: usize) -> Run {
    let plan = (0..emails as i64).map(|position| PlannedEmail {
        position,
        key: position,
        email: format!("e{position}@x"),
        led_to: None,
    });
    let begin = time::instant();
    Run {
        scheduler: Scheduler::new(settings, 1, Rng::with_seed(1)),
        begin,
        now: begin,
        plan: plan.collect(),
        asked: Vec::new(),
        before: HashMap::new(),
        settled: Vec::new(),
        rereads: 0,
        most_in_flight: 0,
    }
}

impl Run {
    /// Runs to the end against a server that answers each (email, how often asked before).
    fn against(self, mut answer: impl FnMut(&str, usize) -> Attempt) -> Self {
        self.against_at(|email, before, _| answer(email, before))
    }

    /// The same, for a server that looks at its clock, too.
    fn against_at(mut self, mut answer: impl FnMut(&str, usize, Duration) -> Attempt) -> Self {
        let mut in_flight: VecDeque<(Instant, Ticket)> = VecDeque::new();
        loop {
            match self.scheduler.next(self.now) {
                Step::Start(ticket) => {
                    self.asked.push((ticket.email().to_owned(), self.now - self.begin));
                    in_flight.push_back((self.now + LATENCY, ticket));
                    self.most_in_flight = self.most_in_flight.max(in_flight.len());
                }
                Step::Settled(settled) => self.settled.push(settled),
                Step::Refill(wanted) => {
                    let page = self.plan.drain(..wanted.min(self.plan.len())).collect();
                    self.scheduler.offer(page);
                }
                Step::RereadKey => {
                    self.rereads += 1;
                    self.scheduler.key_reread(KeyReread::Same, self.now);
                }
                Step::Finished => return self,
                Step::Wait(until) => {
                    let back = in_flight.front().map(|(back, _)| *back);
                    let next = [back, until].into_iter().flatten().min();
                    self.now = next.expect("a wait has something to wait for");
                    if back.is_some_and(|back| back <= self.now) {
                        let (_, ticket) = in_flight.pop_front().unwrap();
                        let email = ticket.email().to_owned();
                        let before = self.before.entry(email.clone()).or_default();
                        let attempt = answer(&email, *before, self.now - self.begin);
                        *before += 1;
                        let at = (self.now, Timestamp::UNIX_EPOCH);
                        self.scheduler.settle(ticket, attempt, at);
                    }
                }
            }
        }
    }

    fn times(&self, email: &str) -> usize {
        self.asked.iter().filter(|(asked, _)| asked == email).count()
    }

    fn outcome(&self, email: &str) -> &Outcome {
        &self.settled.iter().find(|one| one.planned.email == email).unwrap().outcome
    }
}

fn attempt(status: u16, answer: Answer) -> Attempt {
    Attempt { answer, status: Some(status), retry_after: None, latency: LATENCY }
}

fn found() -> Attempt {
    let customer = CustomerBody::new(br#"{"id":"c"}"#).unwrap();
    attempt(200, Answer::Found(Box::new(customer)))
}

fn retry(code: FailureCode, retry_after: Option<u64>) -> Attempt {
    let answer = Answer::Retry(Failure::new(code, "x"));
    let retry_after = retry_after.map(Duration::from_secs);
    Attempt { retry_after, ..attempt(503, answer) }
}

fn refused() -> Attempt {
    attempt(401, Answer::KeyRefused)
}

#[test]
fn each_email_is_asked_once_and_the_ceiling_holds() {
    let run = run(settings(), 1000).against(|_, _| found());
    assert_eq!((run.asked.len(), run.settled.len(), run.most_in_flight), (1000, 1000, 4));
    assert_eq!(run.now - run.begin, LATENCY * 250);
    assert!(run.settled.iter().map(|one| one.request).eq(1..=1000));
}

#[test]
fn the_rate_spaces_all_requests() {
    let run = run(LookupSettings { rate: Some(10.0), ..settings() }, 50).against(|_, _| found());
    assert!(run.asked.windows(2).all(|two| two[1].1 - two[0].1 == Duration::from_millis(100)));
}

#[test]
fn a_waiting_email_holds_no_slot() {
    let one = LookupSettings { concurrency: 1, ..settings() };
    let run = run(one, 20).against(|email, before| match (email, before) {
        ("e0@x", 0..3) => retry(FailureCode::Unavailable, None),
        _ => found(),
    });
    assert_eq!(run.times("e0@x"), 4);
    assert_eq!(run.settled.last().unwrap().planned.email, "e0@x");
    assert_eq!(run.settled.last().unwrap().attempts, 4);
}

#[test]
fn attempts_run_out() {
    let run = run(settings(), 3).against(|email, _| match email {
        "e1@x" => retry(FailureCode::ServerError, None),
        _ => found(),
    });
    assert_eq!(run.times("e1@x"), 5);
    assert!(matches!(run.outcome("e1@x"), Outcome::Failed { cause: Cause::Transient, .. }));
    assert_eq!(run.scheduler.stop_reason(), None);
}

#[test]
fn a_429_uses_up_no_attempt() {
    let run = run(settings(), 1).against(|_, before| match before {
        0..20 => retry(FailureCode::RateLimited, None),
        _ => found(),
    });
    assert_eq!(run.settled[0].attempts, 1);
    assert!(matches!(run.settled[0].outcome, Outcome::Found(_)));
}

#[test]
fn retry_after_pauses_all_on_503_and_one_email_otherwise() {
    for (code, pauses_all) in [(FailureCode::Unavailable, true), (FailureCode::ServerError, false)]
    {
        let run = run(settings(), 100).against(|email, before| match (email, before) {
            ("e0@x", 0) => retry(code, Some(100)),
            _ => found(),
        });
        let last = run.asked.iter().rfind(|(email, _)| email == "e0@x").unwrap().1;
        assert!(last >= Duration::from_secs(100), "{last:?}");
        let begun = run.asked.iter().filter(|(_, at)| *at < Duration::from_secs(100)).count();
        assert_eq!(begun < 10, pauses_all, "{begun} asked within the pause");
    }
}

#[test]
fn a_longer_pause_than_allowed_stops_the_run() {
    let run = run(settings(), 100).against(|_, _| retry(FailureCode::RateLimited, Some(301)));
    let reason = StopReason::LongPause(Duration::from_secs(301));
    assert_eq!(run.scheduler.stop_reason(), Some(&reason));
    assert_eq!((run.asked.len(), run.settled.len()), (4, 0));
}

#[test]
fn a_refused_key_is_confirmed_by_one_other_email() {
    let run = run(settings(), 100).against(|_, _| refused());
    assert_eq!(run.scheduler.stop_reason(), Some(&StopReason::KeyRefused));
    assert_eq!((run.asked.len(), run.settled.len(), run.rereads), (5, 0, 1));
    let alone = self::run(settings(), 1).against(|_, _| refused());
    assert_eq!(alone.scheduler.stop_reason(), Some(&StopReason::KeyRefused));
    assert_eq!(alone.asked.len(), 1);
}

#[test]
fn a_refused_email_alone_fails_and_the_run_goes_on() {
    let run = run(settings(), 100).against(|email, _| match email {
        "e2@x" => refused(),
        _ => found(),
    });
    assert_eq!((run.settled.len(), run.scheduler.stop_reason()), (100, None));
    assert!(matches!(run.outcome("e2@x"), Outcome::Failed { cause: Cause::Permanent, .. }));
}

#[test]
fn an_unclear_key_check_is_made_again() {
    let mut asked = 0;
    let run = run(settings(), 100).against(|_, _| {
        asked += 1;
        match asked {
            1..=4 => refused(),
            5..=7 => retry(FailureCode::ServerError, None),
            8 => refused(),
            _ => found(),
        }
    });
    assert_eq!(run.scheduler.stop_reason(), Some(&StopReason::KeyRefused));
    assert_eq!(run.asked.len(), 8);
}

#[test]
fn too_many_failures_stop_the_run() {
    let run = run(settings(), 10_000).against(|_, _| {
        attempt(418, Answer::Failed(Failure::new(FailureCode::UnexpectedStatus, "x")))
    });
    let reason = run.scheduler.stop_reason();
    assert!(matches!(reason, Some(StopReason::FailureLimit { .. })), "{reason:?}");
    assert!(run.asked.len() < 110, "{}", run.asked.len());
}

/// The number of an email of the simulated plan.
fn number(email: &str) -> usize {
    email.trim_start_matches('e').trim_end_matches("@x").parse().unwrap()
}

#[test]
fn memory_stays_flat_when_many_emails_fail() {
    let wide = LookupSettings {
        concurrency: 150_000,
        adapting: Adapting::Fixed,
        fail_above: 1.0,
        max_attempts: 2,
        ..settings()
    };
    let run = run(wide, 150_000).against(|email, _| match number(email) % 2 {
        0 => found(),
        _ => retry(FailureCode::ServerError, None),
    });
    assert_eq!(run.settled.len(), 150_000);
    assert_eq!(run.asked.len(), 75_000 + 2 * 75_000);
}

#[test]
fn an_outage_stops_the_run_after_its_wait() {
    for emails in [100, 100_000] {
        let run = run(settings(), emails).against(|_, _| retry(FailureCode::ServerError, None));
        let reason = StopReason::Outage(Duration::from_secs(600));
        assert_eq!(run.scheduler.stop_reason(), Some(&reason));
        assert_eq!(run.settled.len(), 0);
        assert!((60..90).contains(&run.asked.len()), "{}", run.asked.len());
    }
}

#[test]
fn an_outage_uses_up_no_attempts() {
    let once = LookupSettings { max_attempts: 1, concurrency: 16, ..settings() };
    let mut asked = 0;
    let run = run(once, 1000).against(|_, _| {
        asked += 1;
        match asked {
            200..270 => retry(FailureCode::Unavailable, None),
            _ => found(),
        }
    });
    assert!(run.settled.iter().all(|one| matches!(one.outcome, Outcome::Found(_))));
    assert!(run.settled.iter().all(|one| one.attempts == 1));
    assert_eq!((run.settled.len(), run.scheduler.stop_reason()), (1000, None));
}

#[test]
fn emails_that_fail_by_themselves_fail_at_the_end_of_a_run_too() {
    for concurrency in [1, 4, 64] {
        let wide = LookupSettings { concurrency, ..settings() };
        let run = run(wide, 2000).against(|email, _| match number(email) % 5 {
            0..3 => found(),
            _ => retry(FailureCode::ServerError, None),
        });
        assert_eq!((run.settled.len(), run.scheduler.stop_reason()), (2000, None));
        assert_eq!(run.asked.len(), 1200 + 5 * 800);
    }
}

#[test]
fn a_key_that_is_refused_in_an_outage_is_checked_at_the_distance_of_probes() {
    let mut asked = 0;
    let run = run(settings(), 1000).against(|_, _| {
        asked += 1;
        match asked {
            1..=4 => refused(),
            _ => retry(FailureCode::ServerError, None),
        }
    });
    assert!(matches!(run.scheduler.stop_reason(), Some(StopReason::Outage(_))));
    assert!(run.asked.len() < 100, "{}", run.asked.len());
}

#[test]
fn a_learned_pace_and_a_set_rate_hold_the_lower() {
    for (set, held) in [(5.0, 5.0), (1000.0, 10.0)] {
        let rated = LookupSettings { rate: Some(set), ..settings() };
        let mut bucket = (Duration::ZERO, 1.0_f64);
        let run = run(rated, 600).against_at(|_, _, now| {
            let (at, tokens) = bucket;
            let tokens = (tokens + (now - at).as_secs_f64() * 10.0).min(2.0);
            bucket = (now, if tokens >= 1.0 { tokens - 1.0 } else { tokens });
            if tokens >= 1.0 { found() } else { retry(FailureCode::RateLimited, None) }
        });
        let pace = run.scheduler.pace().unwrap();
        assert!((held * 0.85..held * 1.05).contains(&pace), "{pace}");
        assert_eq!(run.settled.len(), 600);
    }
}
