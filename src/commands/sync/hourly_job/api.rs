//! The API of a night: answers the truth, unless something is wrong with it.

use super::world::Worlds;
use super::{Incident, Trouble};
use crate::api::classify::{Received, classify};
use crate::api::key::ApiKey;
use crate::domain::outcome::{Answer, Attempt, Failure, FailureCode};
use crate::lookup::scheduler::Scheduler;
use crate::lookup::simulation::{Api, Request, TIMEOUT};
use crate::lookup::step::{KeyReread, RequestKind};
use crate::store::live::Live;
use fastrand::Rng;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// What a gateway answers where it has no route.
const NO_ROUTE: &str = r#"{"statusCode":404,"error":"Not Found","message":"no route matched"}"#;

pub(super) struct NightApi {
    pub(super) worlds: Worlds,
    pub(super) incidents: Vec<Incident>,
    random: Rng,
    tokens: f64,
    filled_at: Duration,
    key: ApiKey,
    process: Process,
}

/// The process that sends the requests.
struct Process {
    began: Duration,
    /// How many keys were there before the one that it uses.
    key: usize,
    live: Option<Arc<Live>>,
}

/// A response, before it is classified.
struct Response {
    status: u16,
    body: String,
    retry_after: Option<Duration>,
}

impl Response {
    fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), retry_after: None }
    }
}

impl NightApi {
    pub(super) fn new(worlds: Worlds, incidents: Vec<Incident>, seed: u64) -> Self {
        Self {
            worlds,
            incidents,
            random: Rng::with_seed(seed),
            tokens: 0.0,
            filled_at: Duration::ZERO,
            key: ApiKey::parse("night-key").unwrap(),
            process: Process { began: Duration::ZERO, key: 0, live: None },
        }
    }

    /// A process begins, and reads the key.
    pub(super) fn begin(&mut self, at: Duration, live: Arc<Live>) {
        self.process = Process { began: at, key: self.key_in_file(at), live: Some(live) };
    }

    /// The emails that the firewall refuses at this time.
    pub(super) fn is_blocked(&self, number: usize, at: Duration) -> bool {
        self.troubles(at).any(|trouble| matches!(trouble, Trouble::Firewall) && number % 25 == 3)
    }

    fn troubles(&self, at: Duration) -> impl Iterator<Item = Trouble> {
        let now = self.incidents.iter().filter(move |one| (one.from..one.until).contains(&at));
        now.map(|one| one.trouble)
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
        let troubles: Vec<Trouble> = self.troubles(at).collect();
        for trouble in &troubles {
            match trouble {
                Trouble::Errors => return Ok(Response::new(500, "<html>oops</html>")),
                Trouble::NoConnection => return Err(FailureCode::Connect),
                Trouble::Silence => return Err(FailureCode::Timeout),
                Trouble::MissingRoute => return Ok(Response::new(404, NO_ROUTE)),
                Trouble::Quota { .. } | Trouble::Firewall | Trouble::KeyRotation { .. } => {}
            }
        }
        if self.process.key != self.key_that_works(at) {
            return Ok(Response::new(401, r#"{"error":"Unauthorized"}"#));
        }
        for trouble in &troubles {
            if let Trouble::Quota { per_second, retry_after } = trouble
                && !self.take(*per_second, at)
            {
                let retry_after = retry_after.map(Duration::from_secs);
                return Ok(Response { retry_after, ..Response::new(429, "") });
            }
        }
        if self.is_blocked(number, at) {
            return Ok(Response::new(403, "blocked"));
        }
        Ok(match self.worlds.at(at).body(number) {
            Some(body) => Response::new(200, body),
            None => Response::new(404, r#"{"error":"Customer not found"}"#),
        })
    }

    /// Takes a token of the quota's bucket, which holds those of a fifth of a second.
    fn take(&mut self, per_second: f64, at: Duration) -> bool {
        let passed = at.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = at;
        self.tokens = (self.tokens + passed * per_second).min((per_second / 5.0).max(1.0));
        let taken = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(taken));
        taken
    }
}

impl Api for NightApi {
    fn respond(&mut self, request: &Request) -> Attempt {
        let latency = Duration::from_millis(self.random.u64(20..80));
        match self.response(request.number, self.process.began + request.at) {
            Ok(response) => {
                let received = Received {
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
                let latency = if code == FailureCode::Timeout { TIMEOUT } else { latency };
                let answer = Answer::Retry(Failure::new(code, code.name()));
                Attempt { answer, status: None, retry_after: None, latency }
            }
        }
    }

    fn observe(&mut self, attempt: &Attempt, kind: RequestKind, _: &Scheduler, _: Duration) {
        if let Some(live) = &self.process.live {
            let mut http = live.http.lock().unwrap_or_else(PoisonError::into_inner);
            http.add(attempt);
            http.retries += u64::from(kind == RequestKind::Retry);
        }
    }

    fn reread_key(&mut self, at: Duration) -> Option<KeyReread> {
        let in_file = self.key_in_file(self.process.began + at);
        let before = std::mem::replace(&mut self.process.key, in_file);
        Some(if before == in_file { KeyReread::Same } else { KeyReread::Changed })
    }
}
