//! One request that shows whether the API, the key and the path are right, without looking anybody up.

use crate::api::cause;
use crate::api::client::{ApiSettings, MAX_ERROR_BYTES, date, send_once, shown_host};
use crate::api::key::ApiKey;
use jiff::Timestamp;

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
    let failed = |error: reqwest::Error| {
        key.hidden_in(&cause::failure(&error, &shown_host(&settings.url)).reason)
    };
    let mut response = send_once(settings, key, "").await.map_err(failed)?;
    let (status, date) = (response.status().as_u16(), date(response.headers()));
    let mut body = Vec::new();
    // The status counts, even if the body never ends, or ends early.
    while body.len() < MAX_ERROR_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(MAX_ERROR_BYTES);
    let json: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let error = json.as_ref().and_then(|json| json.get("error")?.as_str());
    let hidden = |text: &str| key.hidden_in(text).chars().take(BODY_CHARS).collect::<String>();
    let body = String::from_utf8_lossy(&body);
    Ok(Probe { status, error: error.map(hidden), body: hidden(body.trim()), date })
}
