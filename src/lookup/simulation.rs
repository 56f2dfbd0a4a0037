//! Runs the scheduler in simulated time: a plan, a simulated API, and a clock that only moves when
//! the scheduler waits.

use crate::domain::customer::CustomerBody;
use crate::domain::outcome::{
    Answer, Attempt, CanaryCandidates, Failure, FailureCode, Outcome, PlannedEmail, Settled,
};
use crate::domain::stop::StopReason;
use crate::lookup::scheduler::Scheduler;
use crate::lookup::settings::{Adapting, Beginning, LookupSettings, Progress};
use crate::lookup::step::{KeyReread, Notice, Places, RequestKind, Step, Ticket};
use crate::time::{self, Clock, Moment};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A request as the simulated API sees it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The number of its email in the plan.
    pub(crate) number: usize,
    /// How often this email was looked up before, canaries included.
    pub(crate) before: usize,
    pub(crate) at: Duration,
    pub(crate) kind: RequestKind,
}

/// The simulated API. The latency of an attempt is the time that it takes.
pub(crate) trait Api {
    fn respond(&mut self, request: &Request) -> Attempt;

    /// Looks at the scheduler when an attempt comes back, before it takes it.
    fn observe(
        &mut self,
        _attempt: &Attempt,
        _kind: RequestKind,
        _scheduler: &Scheduler,
        _at: Duration,
    ) {
    }

    /// What reading the key again brings; `None`: what the simulation says.
    fn reread_key(&mut self, _at: Duration) -> Option<KeyReread> {
        None
    }
}

impl<F: FnMut(&Request) -> Attempt> Api for F {
    fn respond(&mut self, request: &Request) -> Attempt {
        self(request)
    }
}

/// Where the emails of a simulated process come from, and where their outcomes go.
pub(crate) trait Plan {
    fn next_page(&mut self, wanted: usize) -> Vec<PlannedEmail>;
    fn canaries(&mut self, places: Places) -> CanaryCandidates;
    fn settled(&mut self, _settled: &Settled) {}
}

/// One process of a run.
pub(crate) struct Simulation {
    pub(crate) settings: LookupSettings,
    pub(crate) beginning: Beginning,
    pub(crate) clock: SimulatedClock,
    /// The size of the plan; `None`: endless.
    pub(crate) emails: Option<usize>,
    pub(crate) seed: u64,
    /// When the process is suspended, and for how long.
    pub(crate) suspended: Option<(Duration, Duration)>,
    /// It ends then, finished or not.
    pub(crate) until: Option<Duration>,
    /// Emails that earlier runs got an answer for.
    pub(crate) answered_earlier: Vec<usize>,
    /// What each reading of the key again brings, from the first on; then the same.
    pub(crate) rereads: Vec<KeyReread>,
}

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn settings() -> LookupSettings {
    LookupSettings {
        concurrency: 4,
        adapting: Adapting::On,
        rate: None,
        max_attempts: 5,
        timeout: TIMEOUT,
        max_retry_after: Duration::from_secs(300),
        outage_wait: Duration::from_secs(600),
        fail_above: 0.5,
    }
}

/// The time of a simulated process: it only passes when the scheduler waits.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedClock {
    pub(crate) begin: Moment,
    /// Jumps of the wall clock, each with its time since the beginning.
    jumps: Vec<(Duration, SignedDuration)>,
    passed: Arc<Mutex<Duration>>,
}

impl SimulatedClock {
    pub(crate) fn new(wall: Timestamp) -> Self {
        let begin = Moment { mono: time::instant(), wall };
        Self { begin, jumps: Vec::new(), passed: Arc::default() }
    }

    /// A clock whose wall time jumps by so much at each of these times since the beginning.
    pub(crate) fn jumping(wall: Timestamp, jumps: Vec<(Duration, SignedDuration)>) -> Self {
        Self { jumps, ..Self::new(wall) }
    }

    fn set(&self, passed: Duration) {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) = passed;
    }

    pub(crate) fn now(&self) -> Moment {
        let passed = *self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let Moment { mono, wall } = self.begin;
        let jumped = self.jumps.iter().filter(|(at, _)| *at <= passed);
        let jumped: SignedDuration = jumped.map(|(_, by)| *by).sum();
        Moment { mono: mono + passed, wall: wall + passed + jumped }
    }

    /// The same, for the parts of the program beside the scheduler.
    pub(crate) fn clock(&self) -> Clock {
        let clock = self.clone();
        Clock::new(move || clock.now())
    }
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) scheduler: Scheduler,
    pub(crate) requests: Vec<Request>,
    pub(crate) settled: Vec<Settled>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) time: Duration,
    pub(crate) rereads: usize,
    pub(crate) reconnects: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) last_found: Duration,
}

impl Simulation {
    pub(crate) fn new(emails: usize) -> Self {
        let progress = Progress { planned: emails as u64, ..Progress::default() };
        Self {
            settings: settings(),
            beginning: Beginning { first_request: 1, progress, learned: None },
            clock: SimulatedClock::new(Timestamp::UNIX_EPOCH),
            emails: Some(emails),
            seed: 1,
            suspended: None,
            until: None,
            answered_earlier: Vec::new(),
            rereads: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut LookupSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Runs to the end against this API.
    pub(crate) fn run(mut self, api: &mut impl Api) -> Run {
        let answered = std::mem::take(&mut self.answered_earlier);
        let mut plan = Numbers { emails: self.emails, offered: 0, answered };
        self.run_plan(api, &mut plan)
    }

    /// Runs this plan to the end against this API.
    pub(crate) fn run_plan(self, api: &mut impl Api, plan: &mut impl Plan) -> Run {
        let scheduler =
            Scheduler::new(self.settings.clone(), self.beginning, Rng::with_seed(self.seed));
        let playing = Playing {
            in_flight: BTreeMap::new(),
            before: HashMap::new(),
            run: Run {
                scheduler,
                requests: Vec::new(),
                settled: Vec::new(),
                notices: Vec::new(),
                time: Duration::ZERO,
                rereads: 0,
                reconnects: 0,
                max_in_flight: 0,
                last_found: Duration::ZERO,
            },
            simulation: self,
        };
        playing.play(api, plan)
    }

    /// Runs to the end against an API in which every request takes as long as its attempt says.
    pub(crate) fn against(self, mut respond: impl FnMut(&Request) -> Attempt) -> Run {
        self.run(&mut |request: &Request| respond(request))
    }
}

/// The plan of emails 0, 1, 2 and so on.
struct Numbers {
    emails: Option<usize>,
    offered: usize,
    answered: Vec<usize>,
}

impl Numbers {
    fn left(&self) -> usize {
        self.emails.map_or(usize::MAX / 2, |emails| emails - self.offered)
    }
}

impl Plan for Numbers {
    fn next_page(&mut self, wanted: usize) -> Vec<PlannedEmail> {
        let numbers = self.offered..self.offered + wanted.min(self.left());
        self.offered = numbers.end;
        let page = numbers.map(|number| PlannedEmail {
            position: number as i64,
            key: number as i64,
            email: email(number),
            resolved_to: None,
        });
        page.collect()
    }

    fn canaries(&mut self, places: Places) -> CanaryCandidates {
        let left = self.left();
        let at = |place: f64| email(self.offered + (left as f64 * place) as usize);
        let planned = if left > 0 { places.map(at).to_vec() } else { Vec::new() };
        let answered = self.answered.iter().map(|number| email(*number));
        CanaryCandidates { planned, answered: answered.collect() }
    }
}

struct Playing {
    simulation: Simulation,
    /// By when they come back, and a number that tells them apart.
    in_flight: BTreeMap<(Duration, usize), (Ticket, Attempt)>,
    before: HashMap<usize, usize>,
    run: Run,
}

impl Playing {
    fn play(mut self, api: &mut impl Api, plan: &mut impl Plan) -> Run {
        let mut idle_steps = 0;
        while self.simulation.until.is_none_or(|until| self.run.time < until) {
            idle_steps += 1;
            assert!(idle_steps < 1_000_000, "the scheduler goes round in circles");
            match self.run.scheduler.next(self.simulation.clock.now().mono) {
                Step::Start(ticket) => {
                    idle_steps = 0;
                    self.send(ticket, api);
                }
                Step::Settled(settled) => {
                    idle_steps = 0;
                    if !matches!(settled.outcome, Outcome::Failed { .. }) {
                        self.run.last_found = self.run.time;
                    }
                    plan.settled(&settled);
                    self.run.settled.push(settled);
                }
                Step::Refill(wanted) => self.run.scheduler.offer(plan.next_page(wanted)),
                Step::FindCanaries(places) => {
                    self.run.scheduler.offer_canaries(plan.canaries(places));
                }
                Step::RereadKey => {
                    let next = self.simulation.rereads.get(self.run.rereads).copied();
                    let reread = api.reread_key(self.run.time).or(next);
                    self.run.scheduler.key_reread(reread.unwrap_or(KeyReread::Same));
                    self.run.rereads += 1;
                }
                Step::Reconnect => self.run.reconnects += 1,
                Step::Notice(notice) => self.run.notices.push(notice),
                Step::Wait(until) => self.wait(until, api),
                Step::Finished => break,
            }
        }
        self.run
    }

    fn send(&mut self, ticket: Ticket, api: &mut impl Api) {
        let number = number(ticket.email());
        let before = self.before.entry(number).or_default();
        let request = Request { number, before: *before, at: self.run.time, kind: ticket.kind() };
        *before += 1;
        let attempt = api.respond(&request);
        let back = self.run.time + attempt.latency;
        self.in_flight.insert((back, self.run.requests.len()), (ticket, attempt));
        self.run.requests.push(request);
        self.run.max_in_flight = self.run.max_in_flight.max(self.in_flight.len());
    }

    fn wait(&mut self, until: Option<Instant>, api: &mut impl Api) {
        let until = until.map(|until| until - self.simulation.clock.begin.mono);
        let back = self.in_flight.first_key_value().map(|((back, _), _)| *back);
        let next = [back, until].into_iter().flatten().min();
        self.run.time = self.run.time.max(next.expect("a wait has something to wait for"));
        if let Some((at, time)) = self.simulation.suspended
            && at <= self.run.time
        {
            self.run.time = self.run.time.max(at + time);
            self.simulation.suspended = None;
        }
        self.simulation.clock.set(self.run.time);
        if back.is_none_or(|back| back > self.run.time) {
            return;
        }
        let Some((_, (ticket, attempt))) = self.in_flight.pop_first() else { return };
        api.observe(&attempt, ticket.kind(), &self.run.scheduler, self.run.time);
        self.run.scheduler.settle(ticket, attempt, self.simulation.clock.now());
    }
}

impl Run {
    /// How often this email was looked up, canaries aside.
    pub(crate) fn attempts(&self, number: usize) -> usize {
        let of_email = |one: &&Request| one.number == number && one.kind != RequestKind::Check;
        self.requests.iter().filter(of_email).count()
    }

    pub(crate) fn checks(&self) -> usize {
        self.requests.iter().filter(|one| one.kind == RequestKind::Check).count()
    }

    pub(crate) fn outcome(&self, number: usize) -> &Outcome {
        &self.settled.iter().find(|one| one.planned.key == number as i64).unwrap().outcome
    }

    pub(crate) fn failed(&self) -> usize {
        let failed = |one: &&Settled| matches!(one.outcome, Outcome::Failed { .. });
        self.settled.iter().filter(failed).count()
    }

    pub(crate) fn stop(&self) -> Option<&StopReason> {
        self.scheduler.stop_reason()
    }
}

pub(crate) fn email(number: usize) -> String {
    format!("e{number}@x.io")
}

fn number(email: &str) -> usize {
    email.trim_start_matches('e').trim_end_matches("@x.io").parse().unwrap()
}

pub(crate) const LATENCY: Duration = Duration::from_millis(50);

fn attempt(status: Option<u16>, answer: Answer) -> Attempt {
    Attempt { answer, status, retry_after: None, latency: LATENCY }
}

pub(crate) fn found() -> Attempt {
    let customer = CustomerBody::new(br#"{"id":"c"}"#).unwrap();
    attempt(Some(200), Answer::Found(Box::new(customer)))
}

pub(crate) fn failing(code: FailureCode, status: Option<u16>) -> Attempt {
    attempt(status, Answer::Retry(Failure::new(code, code.name())))
}

pub(crate) fn server_error() -> Attempt {
    failing(FailureCode::ServerError, Some(500))
}

pub(crate) fn throttled(retry_after: Option<u64>) -> Attempt {
    let retry_after = retry_after.map(Duration::from_secs);
    Attempt { retry_after, ..failing(FailureCode::RateLimited, Some(429)) }
}

pub(crate) fn refused() -> Attempt {
    attempt(Some(401), Answer::KeyRefused)
}

pub(crate) fn permanent() -> Attempt {
    attempt(Some(418), Answer::Failed(Failure::new(FailureCode::UnexpectedStatus, "x")))
}
