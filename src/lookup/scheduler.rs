//! Decides what is asked next. All limits stand here, asked in a fixed order.
//!
//! Pure: no clock, no I/O; time and chance are arguments.

use crate::lookup::backoff::Backoff;
use crate::lookup::pace::Pace;
use crate::outcome::{
    Answer, Attempt, Cause, Failure, FailureCode, Outcome, PlannedEmail, Settled,
};
use crate::stop::StopReason;
use fastrand::Rng;
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

/// Emails asked for from the plan at once: one short read of the store.
const PAGE: usize = 500;

/// At most this many emails wait for a retry; beyond it no new ones are asked. Keeps memory flat
/// when many fail, at some 150 bytes each.
const MAX_DEFERRED: usize = 50_000;

/// The failure limit is not judged before this many emails are settled.
const FAILURES_JUDGED_FROM: u64 = 100;

/// The limits of a run's lookups.
#[derive(Clone, Debug)]
pub struct LookupSettings {
    /// At most this many requests in flight.
    pub concurrency: usize,
    /// At most this many requests started per second.
    pub rate: Option<f64>,
    /// Attempts for one email, 429s aside.
    pub max_attempts: u32,
    /// The longest pause that the API may ask for.
    pub max_retry_after: Duration,
    /// The share of settled emails (0 to 1) that may be rejected or failed.
    pub fail_above: f64,
}

/// An email on its way, with its attempts so far.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending {
    planned: PlannedEmail,
    /// Attempts that count.
    attempts: u32,
    /// All attempts, 429s included.
    tries: u32,
}

/// One request to make; it comes back with its answer.
#[derive(Debug)]
pub struct Ticket {
    pending: Pending,
    request: i64,
    purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To get an answer for the email.
    Lookup,
    /// To tell a refused key from a refused email, too.
    KeyCheck,
}

impl Ticket {
    /// The email to ask for.
    pub fn email(&self) -> &str {
        &self.pending.planned.email
    }

    /// Whether the email was asked for before.
    pub fn is_retry(&self) -> bool {
        self.pending.tries > 0
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Make this request.
    Start(Ticket),
    /// Hand this email on: it is settled.
    Settled(Settled),
    /// Offer this many emails of the plan.
    Refill(usize),
    /// Read the key again and tell whether it changed.
    RereadKey,
    /// Wait for an answer, for a stop, and until this time if there is one.
    Wait(Option<Instant>),
    /// Nothing is left to do, or to wait for.
    Finished,
}

/// Whether the key is good, as far as is known.
#[derive(Debug)]
enum Key {
    Good,
    /// Refused; nothing new starts until those in flight are back and the key was read again.
    Suspect,
    /// One other email is asked, not before this time.
    Check {
        not_before: Instant,
    },
}

/// The state of a run's lookups.
#[derive(Debug)]
pub struct Scheduler {
    settings: LookupSettings,
    backoff: Backoff,
    chance: Rng,
    next_request: i64,
    ready: VecDeque<Pending>,
    deferred: BinaryHeap<Reverse<Deferred>>,
    plan_ended: bool,
    settled: VecDeque<Settled>,
    in_flight: usize,
    pace: Pace,
    paused_until: Option<Instant>,
    key: Key,
    /// Emails that were refused with the key, and with which status.
    refused: Vec<(Pending, Option<u16>)>,
    finished: u64,
    unanswered: u64,
    stop: Option<StopReason>,
}

impl Scheduler {
    /// A scheduler before its first request, whose number is `first_request`.
    pub fn new(settings: LookupSettings, first_request: i64, chance: Rng) -> Self {
        Self {
            pace: Pace::new(settings.rate),
            settings,
            backoff: Backoff::default(),
            chance,
            next_request: first_request,
            ready: VecDeque::new(),
            deferred: BinaryHeap::new(),
            plan_ended: false,
            settled: VecDeque::new(),
            in_flight: 0,
            paused_until: None,
            key: Key::Good,
            refused: Vec::new(),
            finished: 0,
            unanswered: 0,
            stop: None,
        }
    }

    /// Takes further emails of the plan; none: there are no more.
    pub fn offer(&mut self, page: Vec<PlannedEmail>) {
        self.plan_ended = page.is_empty();
        let pending = page.into_iter().map(|planned| Pending { planned, attempts: 0, tries: 0 });
        self.ready.extend(pending);
    }

    /// Starts nothing more; what is in flight may come back.
    pub fn stop(&mut self, reason: StopReason) {
        self.stop = self.stop.take().max(Some(reason));
    }

    /// Why nothing more starts, if so.
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Instant) -> Step {
        if let Some(settled) = self.settled.pop_front() {
            return Step::Settled(settled);
        }
        if self.stop.is_some() {
            return if self.in_flight == 0 { Step::Finished } else { Step::Wait(None) };
        }
        match self.key {
            Key::Good => self.next_lookup(now),
            _ if self.in_flight > 0 => Step::Wait(None),
            Key::Suspect => Step::RereadKey,
            Key::Check { not_before } => self.next_key_check(now, not_before),
        }
    }

    fn next_lookup(&mut self, now: Instant) -> Step {
        if self.in_flight >= self.settings.concurrency {
            return Step::Wait(None);
        }
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Step::Wait(Some(until));
        }
        let due = self.deferred.peek().map(|Reverse(first)| first.due);
        let is_due = due.is_some_and(|due| due <= now);
        let may_begin = self.deferred.len() < MAX_DEFERRED;
        if !is_due && may_begin && self.ready.is_empty() && !self.plan_ended {
            return Step::Refill(PAGE);
        }
        let begins = may_begin && !self.ready.is_empty();
        if !is_due && !begins {
            return match due {
                None if self.in_flight == 0 => Step::Finished,
                due => Step::Wait(due),
            };
        }
        if let Some(until) = self.pace.wait(now) {
            return Step::Wait(Some(until));
        }
        let pending = if is_due { self.pop_deferred() } else { self.ready.pop_front() };
        pending.map_or(Step::Wait(None), |pending| self.start(pending, Purpose::Lookup, now))
    }

    /// Asks for one email other than those refused; without any, the key is refused.
    fn next_key_check(&mut self, now: Instant, not_before: Instant) -> Step {
        let until = self.paused_until.map_or(not_before, |until| until.max(not_before));
        let until = self.pace.wait(now).map_or(until, |pace| pace.max(until));
        if until > now {
            return Step::Wait(Some(until));
        }
        if self.ready.is_empty() && self.deferred.is_empty() && !self.plan_ended {
            return Step::Refill(PAGE);
        }
        match self.ready.pop_front().or_else(|| self.pop_deferred()) {
            Some(other) => self.start(other, Purpose::KeyCheck, now),
            None => {
                self.stop(StopReason::KeyRefused);
                Step::Finished
            }
        }
    }

    fn start(&mut self, pending: Pending, purpose: Purpose, now: Instant) -> Step {
        self.pace.start(now);
        self.in_flight += 1;
        let request = self.next_request;
        self.next_request += 1;
        Step::Start(Ticket { pending, request, purpose })
    }

    fn pop_deferred(&mut self) -> Option<Pending> {
        self.deferred.pop().map(|Reverse(deferred)| deferred.pending)
    }

    /// The key was read again, as [`Step::RereadKey`] asked.
    pub fn key_reread(&mut self, changed: KeyReread, now: Instant) {
        match changed {
            KeyReread::Changed => self.key_is_good(),
            KeyReread::Same => self.key = Key::Check { not_before: now },
        }
    }

    /// The refused emails are asked again, first of all.
    fn key_is_good(&mut self) {
        self.key = Key::Good;
        for (pending, _) in self.refused.drain(..).rev() {
            self.ready.push_front(pending);
        }
    }

    /// Takes the answer of `ticket`, which came at `now`; `at` is the same by the wall clock.
    pub fn settle(&mut self, ticket: Ticket, attempt: Attempt, (now, at): (Instant, Timestamp)) {
        self.in_flight -= 1;
        let Ticket { mut pending, request, purpose } = ticket;
        pending.tries += 1;
        let status = attempt.status;
        if purpose == Purpose::KeyCheck {
            self.judge_key(&attempt.answer, (now, at));
        }
        let outcome = match attempt.answer {
            Answer::Found(customer) => Outcome::Found(customer),
            Answer::NotFound => Outcome::NotFound,
            Answer::Rejected(reason) => Outcome::Rejected(reason),
            Answer::Failed(failure) => Outcome::Failed { failure, cause: Cause::Lasting },
            Answer::KeyRefused => {
                if matches!(self.key, Key::Good) {
                    self.key = Key::Suspect;
                }
                self.refused.push((pending, status));
                return;
            }
            Answer::Retry(failure) => {
                let wait = self.pause(&failure, attempt.retry_after, now);
                let counted = failure.code != FailureCode::RateLimited;
                pending.attempts += u32::from(counted);
                if !counted || pending.attempts < self.settings.max_attempts {
                    self.defer(pending, wait, now);
                    return;
                }
                Outcome::Failed { failure, cause: Cause::Passing }
            }
        };
        let counted = u32::from(!matches!(outcome, Outcome::Failed { cause: Cause::Passing, .. }));
        let attempts = pending.attempts + counted;
        let planned = pending.planned;
        self.finish(Settled { planned, outcome, status, attempts, request, at });
    }

    /// What the answer to a key check says of the key. No answer says nothing.
    fn judge_key(&mut self, answer: &Answer, (now, at): (Instant, Timestamp)) {
        match answer {
            Answer::KeyRefused => self.stop(StopReason::KeyRefused),
            Answer::Retry(_) => {
                let wait = self.backoff.wait(1, &mut self.chance);
                self.key = Key::Check { not_before: now + wait };
            }
            Answer::Found(_) | Answer::NotFound | Answer::Rejected(_) | Answer::Failed(_) => {
                // The key is good, so it is the first email that is refused. The others were in
                // flight beside it and are asked again.
                let (first, status) = self.refused.remove(0);
                self.key_is_good();
                let reason = "refused (HTTP 401 or 403), while the key is good";
                let failure = Failure::new(FailureCode::KeyRefused, reason);
                self.finish(Settled {
                    planned: first.planned,
                    outcome: Outcome::Failed { failure, cause: Cause::Lasting },
                    status,
                    attempts: first.attempts + 1,
                    request: self.next_request,
                    at,
                });
            }
        }
    }

    /// Heeds what the server asks: a pause for all after 429 and 503, for this email alone
    /// otherwise. Returns the email's own least wait.
    fn pause(&mut self, failure: &Failure, asked: Option<Duration>, now: Instant) -> Duration {
        let Some(asked) = asked else {
            return Duration::ZERO;
        };
        if asked > self.settings.max_retry_after {
            self.stop(StopReason::LongPause(asked));
            return Duration::ZERO;
        }
        if matches!(failure.code, FailureCode::RateLimited | FailureCode::Unavailable) {
            self.paused_until = self.paused_until.max(Some(now + asked));
        }
        asked
    }

    fn defer(&mut self, pending: Pending, least: Duration, now: Instant) {
        let wait = self.backoff.wait(pending.tries, &mut self.chance).max(least);
        self.deferred.push(Reverse(Deferred { due: now + wait, pending }));
    }

    fn finish(&mut self, settled: Settled) {
        self.finished += 1;
        if matches!(settled.outcome, Outcome::Rejected(_) | Outcome::Failed { .. }) {
            self.unanswered += 1;
        }
        self.settled.push_back(settled);
        let share = self.unanswered as f64 / self.finished as f64;
        if self.finished >= FAILURES_JUDGED_FROM && share > self.settings.fail_above {
            let (unanswered, settled) = (self.unanswered, self.finished);
            self.stop(StopReason::FailureLimit { unanswered, settled });
        }
    }
}

/// What reading the key again brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyReread {
    /// Another key.
    Changed,
    /// The same, or none.
    Same,
}

/// An email that waits for its retry and holds no slot. The earliest due is the least.
#[derive(Debug, PartialEq, Eq)]
struct Deferred {
    due: Instant,
    pending: Pending,
}

impl Ord for Deferred {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |one: &Self| (one.due, one.pending.planned.position);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Deferred {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::customer::Customer;
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
            rate: None,
            max_attempts: 5,
            max_retry_after: Duration::from_secs(300),
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
        fn against(mut self, mut answer: impl FnMut(&str, usize) -> Attempt) -> Self {
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
                            let attempt = answer(&email, *before);
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
        let customer = Customer::from_json(br#"{"id":"c"}"#).unwrap();
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
        let run =
            run(LookupSettings { rate: Some(10.0), ..settings() }, 50).against(|_, _| found());
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
        assert!(matches!(run.outcome("e1@x"), Outcome::Failed { cause: Cause::Passing, .. }));
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
        for (code, pauses_all) in
            [(FailureCode::Unavailable, true), (FailureCode::ServerError, false)]
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
        assert!(matches!(run.outcome("e2@x"), Outcome::Failed { cause: Cause::Lasting, .. }));
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

    #[test]
    fn memory_stays_flat_when_every_email_fails() {
        let wide = LookupSettings { concurrency: 100_000, fail_above: 1.0, ..settings() };
        let mut most = 0;
        let run = run(LookupSettings { max_attempts: 2, ..wide }, 120_000);
        let run = run.against(|_, _| {
            most += 1;
            retry(FailureCode::ServerError, None)
        });
        assert_eq!(run.settled.len(), 120_000);
        assert_eq!(most, 240_000);
    }
}
