//! What is true, as the API knows it, and the API that serves it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Map, Value, json};
use telemetron_sync::sandbox::{self, Reply, Request, Sandbox};

/// How many people and emails there are; some emails are those of nobody.
pub(crate) const PEOPLE: usize = 9;
pub(crate) const EMAILS: usize = 14;

pub(crate) fn email(n: usize) -> String {
    format!("e{n}@x.io")
}

/// The number of an email in its usual spelling.
pub(crate) fn number(email: &str) -> Option<usize> {
    email.strip_prefix('e')?.strip_suffix("@x.io")?.parse().ok().filter(|n| *n < EMAILS)
}

pub(crate) fn id(person: usize) -> String {
    format!("cust_{person}")
}

/// What the API says about an email.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolves {
    To(usize),
    ToNobody,
    /// Status 400.
    Rejected,
    /// A customer without an id.
    Malformed,
}

/// A customer, by the number of each value that it can have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Person {
    pub(crate) email: usize,
    name: u8,
    phone: Option<u8>,
    metadata: u8,
    extra: u8,
    devices: BTreeSet<u8>,
    orders: BTreeSet<u8>,
    /// The fields that the API leaves out.
    absent: BTreeSet<&'static str>,
    /// Changes the spelling, but not the meaning, of an answer.
    spelling: usize,
}

/// Something that changes at the API.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Device { person: usize, device: u8 },
    Order { person: usize, order: u8 },
    Name { person: usize, name: u8 },
    Phone { person: usize, phone: Option<u8> },
    Metadata { person: usize, metadata: u8 },
    Extra { person: usize, extra: u8 },
    Absent { person: usize, field: &'static str },
    Spelling { person: usize, spelling: usize },
    Email { email: usize, resolves: Resolves },
}

/// Fields that an answer may leave out.
const CAN_BE_ABSENT: [&str; 5] = ["devices", "orders", "name", "metadata", "createdAt"];

impl Mutation {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        let person = rng.usize(..PEOPLE);
        match rng.u8(..16) {
            0..3 => Self::Device { person, device: rng.u8(..4) },
            3..5 => Self::Order { person, order: rng.u8(..4) },
            5 => Self::Name { person, name: rng.u8(..3) },
            6 => Self::Phone { person, phone: rng.bool().then(|| rng.u8(..3)) },
            7 => Self::Metadata { person, metadata: rng.u8(..3) },
            8 => Self::Extra { person, extra: rng.u8(..3) },
            9 => Self::Absent { person, field: CAN_BE_ABSENT[rng.usize(..CAN_BE_ABSENT.len())] },
            10 => Self::Spelling { person, spelling: rng.usize(..4) },
            _ => {
                let resolves = match rng.u8(..10) {
                    0..6 => Resolves::To(person),
                    6 => Resolves::Rejected,
                    7 => Resolves::Malformed,
                    _ => Resolves::ToNobody,
                };
                Self::Email { email: rng.usize(..EMAILS), resolves }
            }
        }
    }
}

fn toggle<T: Ord>(set: &mut BTreeSet<T>, one: T) {
    if !set.remove(&one) {
        set.insert(one);
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    people: Vec<Person>,
    emails: Vec<Resolves>,
}

impl World {
    /// As many people as there are, each with an email of the same number.
    pub(crate) fn new() -> Self {
        let person = |n| Person {
            email: n,
            devices: (0..n as u8 % 3).collect(),
            orders: (0..n as u8 % 2).collect(),
            ..Person::default()
        };
        let resolves = |n| if n < PEOPLE { Resolves::To(n) } else { Resolves::ToNobody };
        Self {
            people: (0..PEOPLE).map(person).collect(),
            emails: (0..EMAILS).map(resolves).collect(),
        }
    }

    pub(crate) fn apply(&mut self, mutation: &Mutation) {
        match *mutation {
            Mutation::Device { person, device } => toggle(&mut self.people[person].devices, device),
            Mutation::Order { person, order } => toggle(&mut self.people[person].orders, order),
            Mutation::Name { person, name } => self.people[person].name = name,
            Mutation::Phone { person, phone } => self.people[person].phone = phone,
            Mutation::Metadata { person, metadata } => self.people[person].metadata = metadata,
            Mutation::Extra { person, extra } => self.people[person].extra = extra,
            Mutation::Absent { person, field } => toggle(&mut self.people[person].absent, field),
            Mutation::Spelling { person, spelling } => self.people[person].spelling = spelling,
            Mutation::Email { email, resolves } => {
                self.emails[email] = resolves;
                if let Resolves::To(person) = resolves {
                    // Any other email of the person is an alias from now on.
                    self.people[person].email = email;
                }
            }
        }
    }

    pub(crate) fn resolves(&self, email: usize) -> Resolves {
        self.emails[email]
    }

    /// The text of a person's customer.
    fn body(&self, person: usize) -> String {
        let it = &self.people[person];
        let list = |name: &str, ids: &BTreeSet<u8>| {
            let mut ids: Vec<Value> = ids.iter().map(|n| json!(format!("{name}_{n}"))).collect();
            if let Some(first) = ids.first().cloned() {
                // The order says nothing, and neither does a second mention.
                let length = ids.len();
                ids.rotate_left(it.spelling % length);
                if it.spelling > 1 {
                    ids.push(first);
                }
            }
            Value::Array(ids)
        };
        let metadata = match it.metadata {
            0 => Value::Null,
            n => json!({"plan": n, "tags": ["a"]}),
        };
        let fields = [
            ("id", json!(id(person))),
            ("organizationId", json!("org_1")),
            ("name", json!(format!("N{}", it.name))),
            ("email", json!(email(it.email))),
            ("phone", it.phone.map_or(Value::Null, |n| json!(format!("+{n}")))),
            ("devices", list("dev", &it.devices)),
            ("orders", list("ord", &it.orders)),
            ("metadata", metadata),
            ("createdAt", json!("2025-10-01T12:00:00.000Z")),
            ("updatedAt", json!(it.extra)),
        ];
        let present = fields.into_iter().filter(|(name, _)| !it.absent.contains(name));
        let body: Map<_, _> = present.map(|(name, value)| (name.to_owned(), value)).collect();
        let body = Value::Object(body).to_string();
        // White space says nothing either.
        if it.spelling % 2 == 1 { body.replace(r#"{"plan":"#, r#"{ "plan" : "#) } else { body }
    }
}

/// One answer that was given.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The text of a body.
    Customer(String),
    /// The same for a customer of whom a newer answer came before.
    Older(String),
    Nobody,
    Rejected,
    Malformed,
}

/// What a run meets at the API besides the truth.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Events {
    /// The person to whom these two emails resolve changes after the first is asked for, and the
    /// answer to the first comes after that to the second.
    pub(crate) race: Option<(usize, usize)>,
    /// At this request, the process is asked to end.
    pub(crate) terminate_at: Option<u64>,
    /// How long each answer takes.
    pub(crate) latency: Duration,
}

/// A process has keys of its own, so that its requests are known by them.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    process: u64,
    pub(crate) right: String,
    /// Another organization's.
    pub(crate) wrong: String,
}

impl Keys {
    fn of(process: u64) -> Self {
        Self { process, right: format!("right-{process}"), wrong: format!("wrong-{process}") }
    }
}

struct State {
    world: World,
    /// The keys of the process that is under way.
    keys: Keys,
    events: Events,
    requests: u64,
    /// The request that asked for the first email of a race.
    race_began: Option<u64>,
    /// What was answered, in the order of the requests.
    answered: Vec<(usize, Answer)>,
}

/// The API.
pub(crate) struct Api {
    server: Sandbox,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Api {
    pub(crate) fn new() -> Self {
        let state = State {
            world: World::new(),
            keys: Keys::of(0),
            events: Events::default(),
            requests: 0,
            race_began: None,
            answered: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let served = Arc::clone(&state);
        let answer = move |request: &Request<'_>| lock(&served).answer(request);
        let server = sandbox::start_with(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), answer);
        Self { server: server.expect("a server"), state }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn apply(&self, mutation: &Mutation) {
        lock(&self.state).world.apply(mutation);
    }

    pub(crate) fn world(&self) -> World {
        lock(&self.state).world.clone()
    }

    /// Makes the next process meet these; it needs one of these keys. What is answered to one before
    /// it, which was killed while it waited, does not count.
    pub(crate) fn expect(&self, events: Events) -> Keys {
        let mut state = lock(&self.state);
        state.keys = Keys::of(state.keys.process + 1);
        state.events = events;
        state.requests = 0;
        state.race_began = None;
        state.answered.clear();
        state.keys.clone()
    }

    /// The emails of the race that the run met, if it met one.
    pub(crate) fn race(&self) -> Option<(usize, usize)> {
        lock(&self.state).events.race
    }

    /// What was answered since, each email's last answer, in the order of the requests.
    pub(crate) fn answered(&self) -> Vec<(usize, Answer)> {
        let answered = std::mem::take(&mut lock(&self.state).answered);
        let last: BTreeMap<usize, usize> =
            answered.iter().enumerate().map(|(at, (email, _))| (*email, at)).collect();
        let is_last = |(at, (email, _)): &(usize, (usize, Answer))| last[email] == *at;
        answered.into_iter().enumerate().filter(is_last).map(|(_, one)| one).collect()
    }
}

/// How long the first answer of a race takes.
const RACE: Duration = Duration::from_millis(15);

impl State {
    fn answer(&mut self, request: &Request<'_>) -> Reply {
        let is = |key: &str| request.key == Some(key);
        if !is(&self.keys.right) && !is(&self.keys.wrong) {
            return Reply::error(503, "the process that asked was killed");
        }
        self.requests += 1;
        if self.events.terminate_at == Some(self.requests) {
            // SAFETY: the run under test handles it.
            unsafe { libc::raise(libc::SIGTERM) };
        }
        let Some(email) = request.email.and_then(number) else {
            return Reply::error(404, "Customer not found");
        };
        if is(&self.keys.wrong) {
            return self.stranger(email);
        }
        let latency = self.race(email).unwrap_or(self.events.latency);
        let (reply, answer) = match self.world.resolves(email) {
            Resolves::To(person) => {
                let body = self.world.body(person);
                (Reply::json(200, body.clone()), Answer::Customer(body))
            }
            Resolves::ToNobody => (Reply::error(404, "Customer not found"), Answer::Nobody),
            Resolves::Rejected => (Reply::error(400, "Email is required"), Answer::Rejected),
            Resolves::Malformed => (Reply::json(200, r#"{"name":"N"}"#), Answer::Malformed),
        };
        self.answered.push((email, answer));
        reply.after(latency)
    }

    /// Another organization's key finds nobody, or strangers in emails of even numbers who do not
    /// say whose they are.
    fn stranger(&mut self, email: usize) -> Reply {
        let body = json!({"id": format!("stranger_{email}"), "devices": ["theirs"]}).to_string();
        let (reply, answer) = match email % 2 {
            0 => (Reply::json(200, body.clone()), Answer::Customer(body)),
            _ => (Reply::error(404, "Customer not found"), Answer::Nobody),
        };
        self.answered.push((email, answer));
        reply
    }

    /// With two lookups in flight, the first email's among them, the second email's lookup starts
    /// after another one has ended, which started after the first email's.
    fn race(&mut self, email: usize) -> Option<Duration> {
        let (first, second) = self.events.race?;
        if email == first && self.race_began.is_none() {
            self.race_began = Some(self.requests);
            return Some(RACE);
        }
        let is_later = self.race_began.is_some_and(|began| began + 1 < self.requests);
        if let (true, Resolves::To(person)) =
            (email == second && is_later, self.world.resolves(email))
        {
            let it = &mut self.world.people[person];
            it.name = (it.name + 1) % 3;
            toggle(&mut it.devices, 3);
        }
        None
    }
}

#[test]
fn an_answer_to_a_process_that_was_killed_is_not_the_next_ones() {
    let api = Api::new();
    let keys = [api.expect(Events::default()), api.expect(Events::default())];
    for (number, keys) in keys.iter().enumerate() {
        let email = email(number);
        let request = Request {
            number: 1,
            at: Duration::ZERO,
            method: "POST",
            path: "/",
            key: Some(&keys.right),
            body: b"",
            email: Some(&email),
            attempt: 1,
        };
        lock(&api.state).answer(&request);
    }
    let answered: Vec<usize> = api.answered().into_iter().map(|(email, _)| email).collect();
    assert_eq!(answered, [1]);
}
