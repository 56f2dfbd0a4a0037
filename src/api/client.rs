//! One attempt at one lookup.

use crate::api::classify::classify;
use crate::api::key::{ApiKey, KeyError, KeySource};
use crate::api::retry_after;
use crate::domain::outcome::{Answer, Attempt, Failure, FailureCode};
use crate::time;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, Url};
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// The vendor's API.
pub const DEFAULT_URL: &str = "https://admin.telemetron.ai/api/ext-v1";

/// What a body may hold after decompression, in bytes: a hundred times the largest customer that
/// anybody has seen.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// A connection that no request used for this long is closed: longer than any backoff.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How the API is reached.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// The base, such as [`DEFAULT_URL`]; checked by [`base_url`].
    pub url: Url,
    /// Where the key comes from.
    pub key: KeySource,
    /// For a connection.
    pub connect_timeout: Duration,
    /// For a whole request.
    pub timeout: Duration,
}

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no usable key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The system's TLS certificates cannot be used, most likely.
    #[error("The HTTP client cannot be set up: {0}.")]
    Setup(String),
}

/// Reads the base URL of an API: https, or http to this machine.
///
/// # Errors
/// One sentence that says what is wrong and what would be right.
pub fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| {
        format!("{} is no URL ({error}); it looks like {DEFAULT_URL}", text.escape_debug())
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL holds a user name or a password; the API takes a key alone".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the URL has a ? or # part; give the base alone".into());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err("plain http would show the key to the network; use https \
                       (http is for 127.0.0.1, [::1] and localhost)"
            .into()),
        scheme => Err(format!("{scheme} is not https")),
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Asks the API. One for a run: it keeps its connections alive.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    source: KeySource,
    key: RwLock<ApiKey>,
}

impl Client {
    /// Sets a client up and reads the key. Nothing is sent yet.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn new(settings: &ApiSettings) -> Result<Self, ClientError> {
        let key = RwLock::new(settings.key.read()?);
        // Err means that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true);
        if is_loopback(&settings.url) {
            builder = builder.no_proxy();
        } else {
            builder = builder.https_only(true);
        }
        let http = builder.build().map_err(|error| ClientError::Setup(story(&error)))?;
        let mut url = settings.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/customer/queryCustomer"));
        Ok(Self { http, url, source: settings.key.clone(), key })
    }

    /// Reads the key again where it came from. Whether it is another one now; a key that cannot
    /// be read is none.
    pub fn reread_key(&self) -> bool {
        let Ok(new) = self.source.read() else {
            return false;
        };
        let mut key = self.key.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *key != new;
        *key = new;
        changed
    }

    /// One attempt: asks for the customer of `email`.
    pub async fn lookup(&self, email: &str) -> Attempt {
        let began = time::instant();
        let body = format!(r#"{{"email":{}}}"#, serde_json::Value::from(email));
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner).clone();
        let request = self
            .http
            .post(self.url.clone())
            .header(API_KEY, key.header())
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON)
            .body(body);
        let (mut status, mut retry_after) = (None, None);
        let answer = match request.send().await {
            Err(error) => Answer::Retry(failure(&error)),
            Ok(response) => {
                status = Some(response.status().as_u16());
                let header = response.headers().get(RETRY_AFTER);
                retry_after =
                    header.and_then(|value| retry_after::parse(value.as_bytes(), time::now()));
                without_key(answer(response).await, &key)
            }
        };
        Attempt { answer, status, retry_after, latency: began.elapsed() }
    }
}

/// An API may repeat the key in its own words, which are kept and told.
fn without_key(answer: Answer, key: &ApiKey) -> Answer {
    match answer {
        Answer::Rejected(words) => Answer::Rejected(key.hidden_in(words)),
        other => other,
    }
}

async fn answer(mut response: Response) -> Answer {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY_BYTES => {
                let reason = format!("HTTP {status}, with a body over {MAX_BODY_BYTES} bytes");
                return Answer::Failed(Failure::new(FailureCode::BodyTooLarge, reason));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return classify(status, &body),
            Err(error) => {
                let mut failure = failure(&error);
                if failure.code == FailureCode::ConnectionLost {
                    failure.code = FailureCode::IncompleteBody;
                }
                return Answer::Retry(failure);
            }
        }
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    let code = if error.is_connect() {
        FailureCode::Connect
    } else if error.is_timeout() {
        FailureCode::Timeout
    } else {
        FailureCode::ConnectionLost
    };
    Failure::new(code, story(error))
}

/// What an error says, with its causes and without the URL, which is the same for all.
fn story(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.dedup();
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off or cannot be decoded"
    } else {
        "the connection was lost"
    };
    match causes.last() {
        Some(cause) => format!("{what}: {cause}"),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_goes_over_https_or_stays_on_this_machine() {
        for good in [
            DEFAULT_URL,
            "https://api.example.com/base/",
            "http://127.0.0.1:8080/api",
            "http://127.9.9.9/",
            "http://localhost:1",
            "http://[::1]:8080",
        ] {
            base_url(good).unwrap();
        }
        for bad in [
            "",
            "admin.telemetron.ai",
            "http://admin.telemetron.ai",
            "http://10.0.0.1/",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "ftp://example.com",
            "https://user:pass@example.com/",
            "https://example.com/?key=1",
        ] {
            let error = base_url(bad).unwrap_err();
            assert!(!error.contains("pass@"), "{error}");
        }
    }
}
