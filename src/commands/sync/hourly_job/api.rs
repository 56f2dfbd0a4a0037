//! The API of all hours: answers the truth, unless something is wrong with it. Keeps what it answered.

use super::course::{Course, Incident, Trouble};
use super::world::Worlds;
use crate::api::classify::{Received, classify};
use crate::api::key::ApiKey;
use crate::domain::counts::HttpTally;
use crate::domain::outcome::{Answer, Attempt, Failure, FailureCode};
use crate::lookup::scheduler::Scheduler;
use crate::lookup::simulation::{Api, Request, TIMEOUT};
use crate::lookup::step::{KeyReread, RequestKind};
use crate::store::live::Live;
use fastrand::Rng;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// What a gateway answers where it has no route.
const NO_ROUTE: &str = r#"{"statusCode":404,"error":"Not Found","message":"no route matched"}"#;

pub(super) struct SimulatedApi {
    pub(super) worlds: Worlds,
    incidents: Vec<Incident>,
    slowdown_at_noon: f64,
    random: Rng,
    tokens: f64,
    filled_at: Duration,
    /// How many requests each part of a quota's time has had.
    spent: HashMap<(Duration, u128), u64>,
    key: ApiKey,
    process: Process,
}

/// The process that sends the requests.
#[derive(Default)]
struct Process {
    began: Duration,
    /// How many keys were there before the one that it uses.
    key: usize,
    live: Option<Arc<Live>>,
    sent: Vec<Sent>,
}

/// A request, and what it brought.
pub(super) struct Sent {
    pub(super) number: usize,
    pub(super) at: Duration,
    pub(super) back: Duration,
    pub(super) status: Option<u16>,
    pub(super) is_canary: bool,
    /// The answer is that of the key's own organization: the truth.
    pub(super) is_true: bool,
}

/// A response, before it is classified.
struct Response {
    status: u16,
    body: String,
    retry_after: Option<Duration>,
    is_true: bool,
}

impl Response {
    fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), retry_after: None, is_true: false }
    }
}

impl SimulatedApi {
    pub(super) fn new(worlds: Worlds, course: &Course, seed: u64) -> Self {
        Self {
            worlds,
            incidents: course.incidents(),
            slowdown_at_noon: course.slowdown_at_noon,
            random: Rng::with_seed(seed),
            tokens: 0.0,
            filled_at: Duration::ZERO,
            spent: HashMap::new(),
            key: ApiKey::parse("hourly-key").unwrap(),
            process: Process::default(),
        }
    }

    /// A process begins, and reads the key.
    pub(super) fn begin(&mut self, at: Duration, live: Arc<Live>) {
        let key = self.key_in_file(at);
        self.process = Process { began: at, key, live: Some(live), sent: Vec::new() };
    }

    fn count(&self, change: impl FnOnce(&mut HttpTally)) {
        if let Some(live) = &self.process.live {
            change(&mut live.http.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The requests of the process.
    pub(super) fn sent(&self) -> &[Sent] {
        &self.process.sent
    }

    /// The emails that the firewall refuses at this time.
    pub(super) fn is_blocked(&self, number: usize, at: Duration) -> bool {
        self.troubles(at).any(|one| matches!(one.trouble, Trouble::Firewall) && number % 25 == 3)
    }

    fn troubles(&self, at: Duration) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(move |one| (one.from..one.until).contains(&at))
    }

    fn rotations(&self) -> impl Iterator<Item = (Duration, Duration)> {
        self.incidents.iter().filter_map(|one| match one.trouble {
            Trouble::KeyRotation { file_late } => Some((one.from, one.from + file_late)),
            _ => None,
        })
    }

    fn key_in_file(&self, at: Duration) -> usize {
        self.rotations().filter(|(_, in_file)| *in_file <= at).count()
    }

    fn key_that_works(&self, at: Duration) -> usize {
        self.rotations().filter(|(revoked, _)| *revoked <= at).count()
    }

    /// The response to a request that reaches the API; otherwise how it fails.
    fn response(&mut self, number: usize, at: Duration) -> Result<Response, FailureCode> {
        let troubles: Vec<Incident> = self.troubles(at).copied().collect();
        for Incident { trouble, .. } in &troubles {
            match trouble {
                Trouble::Errors => return Ok(Response::new(500, "<html>oops</html>")),
                Trouble::NoConnection | Trouble::Deploy => return Err(FailureCode::Connect),
                Trouble::Silence => return Err(FailureCode::Timeout),
                Trouble::MissingRoute => return Ok(Response::new(404, NO_ROUTE)),
                _ => {}
            }
        }
        if self.process.key != self.key_that_works(at) {
            return Ok(Response::new(401, r#"{"error":"Unauthorized"}"#));
        }
        for incident in &troubles {
            match incident.trouble {
                Trouble::Rate { per_second, retry_after } if !self.take(per_second, at) => {
                    let retry_after = retry_after.map(Duration::from_secs);
                    return Ok(Response { retry_after, ..Response::new(429, "") });
                }
                Trouble::Quota { requests, each } => {
                    if let Some(left) = self.exceeds(incident.from, requests, each, at) {
                        return Ok(Response { retry_after: Some(left), ..Response::new(429, "") });
                    }
                }
                Trouble::StrangersKey => return Ok(strangers(number)),
                _ => {}
            }
        }
        if self.is_blocked(number, at) {
            return Ok(Response::new(403, "blocked"));
        }
        if troubles.iter().any(|one| matches!(one.trouble, Trouble::Broken)) && number % 5 < 3 {
            return Ok(Response::new(500, r#"{"error":"internal"}"#));
        }
        let truth = match self.worlds.at(at).body(number) {
            Some(body) => Response::new(200, body),
            None => Response::new(404, r#"{"error":"Customer not found"}"#),
        };
        Ok(Response { is_true: true, ..truth })
    }

    /// Takes a token of the rate's bucket, which holds those of a fifth of a second.
    fn take(&mut self, per_second: f64, at: Duration) -> bool {
        let passed = at.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = at;
        self.tokens = (self.tokens + passed * per_second).min((per_second / 5.0).max(1.0));
        let taken = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(taken));
        taken
    }

    /// Counts a request to a quota that began at `from`; how long it is exhausted, if it is.
    fn exceeds(
        &mut self,
        from: Duration,
        requests: u64,
        each: Duration,
        at: Duration,
    ) -> Option<Duration> {
        let part = (at - from).as_nanos() / each.as_nanos();
        let spent = self.spent.entry((from, part)).or_default();
        *spent += 1;
        let end = from + each * (part as u32 + 1);
        // The header has whole seconds.
        (*spent > requests).then(|| Duration::from_secs((end - at).as_secs() + 1))
    }

    /// Slower at noon, and now and then much slower.
    fn latency(&mut self, at: Duration) -> Duration {
        let day = at.as_secs_f64() / 86_400.0 * std::f64::consts::TAU;
        let slowdown = 1.0 + self.slowdown_at_noon * (1.0 - day.cos()) / 2.0;
        let is_odd = self.slowdown_at_noon > 0.0 && self.random.u32(..500) == 0;
        let odd = if is_odd { self.random.f64() * 3.0 } else { 0.0 };
        Duration::from_millis(self.random.u64(20..80)).mul_f64(slowdown)
            + Duration::from_secs_f64(odd)
    }

    /// When connections break next.
    fn is_broken(&self, sent: Duration, back: Duration) -> Option<Duration> {
        let breaks = self.incidents.iter().filter(|one| matches!(one.trouble, Trouble::Deploy));
        breaks.map(|one| one.from).find(|from| sent < *from && *from <= back)
    }
}

/// The other organization knows one email in ten.
fn strangers(number: usize) -> Response {
    if number % 10 != 7 {
        return Response::new(404, r#"{"error":"Customer not found"}"#);
    }
    let id = format!("stranger_{number}");
    let body = serde_json::json!({"id": id, "organizationId": "org_2", "name": "Stranger"});
    Response::new(200, body.to_string())
}

impl Api for SimulatedApi {
    fn respond(&mut self, request: &Request) -> Attempt {
        self.count(|http| {
            http.requests += 1;
            http.retries += u64::from(request.kind == RequestKind::Retry);
        });
        let at = self.process.began + request.at;
        let mut latency = self.latency(at);
        let mut response = self.response(request.number, at);
        if response.as_ref().is_err_and(|code| *code == FailureCode::Timeout) {
            latency = TIMEOUT;
        } else if let Some(broken) = self.is_broken(at, at + latency) {
            latency = broken - at;
            response = Err(FailureCode::ConnectionLost);
        }
        self.process.sent.push(Sent {
            number: request.number,
            at,
            back: at + latency,
            status: response.as_ref().ok().map(|response| response.status),
            is_canary: request.kind == RequestKind::Check,
            is_true: response.as_ref().is_ok_and(|response| response.is_true),
        });
        match response {
            Ok(response) => {
                let received = Received {
                    email: "",
                    status: response.status,
                    content_type: Some("application/json"),
                    retry_after: response.retry_after,
                    body: response.body.as_bytes(),
                };
                let answer = classify(received, &self.key);
                let retry_after = response.retry_after;
                Attempt { answer, status: Some(response.status), retry_after, latency }
            }
            Err(code) => {
                let answer = Answer::Retry(Failure::new(code, code.name()));
                Attempt { answer, status: None, retry_after: None, latency }
            }
        }
    }

    fn observe(&mut self, attempt: &Attempt, _: RequestKind, _: &Scheduler, _: Duration) {
        self.count(|http| http.settle(attempt));
    }

    fn reread_key(&mut self, at: Duration) -> Option<KeyReread> {
        let in_file = self.key_in_file(self.process.began + at);
        let before = std::mem::replace(&mut self.process.key, in_file);
        Some(if before == in_file { KeyReread::Same } else { KeyReread::Changed })
    }
}
