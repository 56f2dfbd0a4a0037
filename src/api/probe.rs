//! One request that shows whether the API, the key and the path are right, without looking anybody up.

use crate::api::client::{ApiSettings, is_loopback};
use crate::api::key::ApiKey;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE};
use std::error::Error as _;

/// The text of a body is cut after so many characters.
const BODY_CHARS: usize = 80;

/// What the API answered to the lookup of an empty email.
#[derive(Debug)]
pub struct Probe {
    pub status: u16,
    /// What the body's `error` says; `None` if there is no such field.
    pub error: Option<String>,
    /// The beginning of the body, for a message.
    pub body: String,
    /// The server's clock.
    pub date: Option<Timestamp>,
}

/// Looks up an empty email, which the API documents to answer with 400.
///
/// # Errors
/// Why there was no response, with its cause.
pub async fn probe(settings: &ApiSettings, key: &ApiKey) -> Result<Probe, String> {
    // Err means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.timeout);
    client = if is_loopback(&settings.url) { client.no_proxy() } else { client.https_only(true) };
    let client = client.build().map_err(cause)?;
    let mut url = settings.url.clone();
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/customer/queryCustomer"));
    let request = client
        .post(url)
        .header("x-api-key", key.header())
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .body(r#"{"email":""}"#);
    let response = request.send().await.map_err(cause)?;
    let status = response.status().as_u16();
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let date = date.and_then(|date| Timestamp::try_from(date).ok());
    let body = response.text().await.map_err(cause)?;
    let json: Option<serde_json::Value> = serde_json::from_str(&body).ok();
    let error = json.as_ref().and_then(|json| json.get("error")?.as_str());
    let hidden = |text: &str| key.hidden_in(text).chars().take(BODY_CHARS).collect::<String>();
    Ok(Probe { status, error: error.map(hidden), body: hidden(body.trim()), date })
}

/// The last cause, without the URL.
fn cause(error: reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match error.source() {
        Some(_) => cause.to_string(),
        None => error.without_url().to_string(),
    }
}
