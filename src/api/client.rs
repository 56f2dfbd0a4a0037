//! One attempt at one lookup.

use crate::api::cause;
use crate::api::classify::{Received, classify};
use crate::api::key::{ApiKey, KeyError, KeySource};
use crate::api::retry_after;
use crate::domain::outcome::{Answer, Attempt, Failure, FailureCode};
use crate::time;
use reqwest::header::{
    ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Response, Url};
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// The vendor's API.
pub const DEFAULT_URL: &str = "https://admin.telemetron.ai/api/ext-v1";

/// What a body may hold after decompression, in bytes: a hundred times the largest customer that
/// anybody has seen.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// How much of any other response's body is read, in bytes.
pub const MAX_ERROR_BYTES: usize = 64 * 1024;

/// A connection that is silent for longer than both together is dead, and is replaced.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(4);

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

/// Sends lookups to the API. One for a run: it keeps its connections alive.
#[derive(Debug)]
pub struct Client {
    http: RwLock<reqwest::Client>,
    settings: ApiSettings,
    url: Url,
    /// For messages: the host, and the port if it is not the usual one.
    host: String,
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
        let http = build(settings).map_err(|error| ClientError::Setup(with_cause(&error)))?;
        let (url, host) = (lookup_url(&settings.url), shown_host(&settings.url));
        Ok(Self { http: RwLock::new(http), settings: settings.clone(), url, host, key })
    }

    /// The base URL, for what is remembered of each API.
    pub fn base_url(&self) -> &str {
        self.settings.url.as_str()
    }

    /// Uses new connections from now on, and looks the host up again. What is in flight may come
    /// back over the old ones.
    pub fn reconnect(&self) {
        match build(&self.settings) {
            Ok(new) => *self.http.write().unwrap_or_else(PoisonError::into_inner) = new,
            Err(error) => tracing::debug!(
                event = "no_new_client",
                "no new HTTP client: {}",
                with_cause(&error)
            ),
        }
    }

    /// Reads the key again where it came from. Whether it is another one now; a key that cannot
    /// be read is none.
    pub fn reread_key(&self) -> bool {
        let Ok(new) = self.settings.key.read() else {
            return false;
        };
        let mut key = self.key.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *key != new;
        *key = new;
        changed
    }

    /// One attempt to look up `email`.
    pub async fn lookup(&self, email: &str) -> Attempt {
        let began = time::instant();
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner).clone();
        let http = self.http.read().unwrap_or_else(PoisonError::into_inner).clone();
        let request = request(&http, self.url.clone(), &key, email);
        let (mut status, mut retry_after) = (None, None);
        let answer = match request.send().await {
            Err(error) => Answer::Retry(self.failure(&error, &key)),
            Ok(response) => {
                status = Some(response.status().as_u16());
                retry_after = asked_wait(response.headers());
                self.answer(email, response, retry_after, &key).await
            }
        };
        Attempt { answer, status, retry_after, latency: began.elapsed() }
    }

    async fn answer(
        &self,
        email: &str,
        mut response: Response,
        retry_after: Option<Duration>,
        key: &ApiKey,
    ) -> Answer {
        let status = response.status().as_u16();
        let limit = if status == 200 { MAX_BODY_BYTES } else { MAX_ERROR_BYTES };
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let content_type = content_type.as_ref().and_then(|value| value.to_str().ok());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                    if status == 200 {
                        let reason = format!("HTTP 200: a body over {MAX_BODY_BYTES} bytes");
                        return Answer::Failed(Failure::new(FailureCode::BodyTooLarge, reason));
                    }
                    body.extend_from_slice(&chunk[..limit - body.len()]);
                    break;
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => {
                    let mut failure = self.failure(&error, key);
                    if failure.code == FailureCode::ConnectionLost {
                        failure.code = FailureCode::IncompleteBody;
                    }
                    return Answer::Retry(failure);
                }
            }
        }
        classify(Received { email, status, content_type, retry_after, body: &body }, key)
    }

    fn failure(&self, error: &reqwest::Error, key: &ApiKey) -> Failure {
        let Failure { code, reason } = cause::failure(error, &self.host);
        Failure { code, reason: key.hidden_in(&reason) }
    }
}

fn lookup_url(base: &Url) -> Url {
    let mut url = base.clone();
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{path}/customer/queryCustomer"));
    url
}

/// The host, and the port if it is not the usual one.
pub(super) fn shown_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn request(http: &reqwest::Client, url: Url, key: &ApiKey, email: &str) -> reqwest::RequestBuilder {
    let body = format!(r#"{{"email":{}}}"#, serde_json::Value::from(email));
    http.post(url)
        .header(API_KEY, key.header())
        .header(CONTENT_TYPE, JSON)
        .header(ACCEPT, JSON)
        .body(body)
}

/// Sends one lookup outside a run.
pub(super) async fn send_once(
    settings: &ApiSettings,
    key: &ApiKey,
    email: &str,
) -> reqwest::Result<Response> {
    // Err means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    request(&build(settings)?, lookup_url(&settings.url), key, email).send().await
}

/// When the server says that it answered, by its own clock.
pub(super) fn date(headers: &HeaderMap) -> Option<jiff::Timestamp> {
    headers.get(DATE).and_then(|date| retry_after::date(date.as_bytes()))
}

fn build(settings: &ApiSettings) -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if is_loopback(&settings.url) {
        builder.no_proxy().build()
    } else {
        builder.https_only(true).build()
    }
}

/// How long the server asks to wait; a date is measured against the response's own.
fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    retry_after::parse(value.as_bytes(), date(headers).unwrap_or_else(time::now))
}

/// An error with the last of its causes.
fn with_cause(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
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
