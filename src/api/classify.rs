//! What a response means: one total function of its status, headers and body.
//!
//! Pure: no clock, no I/O.

use crate::api::key::ApiKey;
use crate::display::counted;
use crate::domain::customer::{BrokenCustomer, CustomerBody};
use crate::domain::outcome::{Answer, Failure, FailureCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest reason, in characters.
const MAX_REASON_CHARS: usize = 300;

/// How much of a text that is not JSON a reason quotes, in characters.
const QUOTED_CHARS: usize = 80;

/// How much of a body is searched for the key and then quoted, in bytes.
const HEAD_BYTES: usize = 4096;

/// Fields by which gateways and frameworks mark a missing route. The API's own 404 has none.
const MISSING_ROUTE_FIELDS: [&str; 7] =
    ["path", "status", "statusCode", "message", "detail", "title", "timestamp"];

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Fields of a customer. Of a body that has one, no reason quotes anything.
const PERSONAL_FIELDS: [&str; 5] = ["email", "name", "phone", "address", "metadata"];

/// What stands for the looked-up email in a reason: reasons are printed and kept for each run, while
/// single emails are named only where a person asked for them.
const EMAIL_HIDDEN: &str = "(email hidden)";

/// A response, its body read as far as the limits allow.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The one that was looked up.
    pub email: &'a str,
    pub status: u16,
    pub content_type: Option<&'a str>,
    pub retry_after: Option<Duration>,
    pub body: &'a [u8],
}

/// What a response to a request with `key` means for its email. No reason contains the key, the email,
/// or what a customer is.
pub fn classify(received: Received<'_>, key: &ApiKey) -> Answer {
    let received =
        Received { body: received.body.strip_prefix(BOM).unwrap_or(received.body), ..received };
    let retry = |code, what| Answer::Retry(failure(code, what, &received, key));
    let failed = |code, what| Answer::Failed(failure(code, what, &received, key));
    match received.status {
        200 => found(&received, key),
        400 => {
            let words = error_text(received.body).map(|words| received.harmless(&words, key));
            let words = words.unwrap_or_else(|| described("bad request", &received, key));
            Answer::Rejected(shortened(words))
        }
        403 if received.retry_after.is_some() => {
            retry(FailureCode::RateLimited, "too many requests")
        }
        401 | 403 => Answer::KeyRefused,
        404 if is_documented_not_found(received.body) => Answer::NotFound,
        404 => retry(FailureCode::MissingRoute, "not the API's own 404"),
        429 => retry(FailureCode::RateLimited, "too many requests"),
        503 => retry(FailureCode::Unavailable, "unavailable"),
        408 | 425 | 500 | 502 | 504 | 520..=529 => retry(FailureCode::ServerError, "server error"),
        300..=399 => failed(FailureCode::Redirect, "a redirect, which is never followed"),
        _ => failed(FailureCode::UnexpectedStatus, "undocumented status"),
    }
}

fn found(received: &Received<'_>, key: &ApiKey) -> Answer {
    match CustomerBody::new(received.body) {
        Ok(customer) => Answer::Found(Box::new(customer)),
        Err(BrokenCustomer::NoObject(why)) => {
            let what = if received.is_like_json() {
                format!("not a complete JSON object: {why}")
            } else {
                "not a complete JSON object".to_owned()
            };
            Answer::Retry(failure(FailureCode::NoJson, &what, received, key))
        }
        Err(BrokenCustomer::Contract(why)) => {
            let reason = shortened(format!("HTTP 200: {}", received.harmless(&why, key)));
            Answer::Failed(Failure::new(FailureCode::BrokenCustomer, reason))
        }
    }
}

/// Whether the body is what the API documents for an email without a customer.
fn is_documented_not_found(body: &[u8]) -> bool {
    let Ok(fields) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(body) else {
        return false;
    };
    let is_string = |value: &&RawValue| value.get().starts_with('"');
    fields.get("error").is_some_and(is_string)
        && MISSING_ROUTE_FIELDS.iter().all(|field| !fields.contains_key(*field))
}

fn failure(code: FailureCode, what: &str, received: &Received<'_>, key: &ApiKey) -> Failure {
    Failure::new(code, shortened(described(what, received, key)))
}

/// `HTTP 502: server error (text/html: <html><head>…)`, or the API's own words for an error.
fn described(what: &str, received: &Received<'_>, key: &ApiKey) -> String {
    let status = received.status;
    if let Some(words) = error_text(received.body) {
        return format!("HTTP {status}: {what} ({})", received.harmless(&words, key));
    }
    let kind = received.harmless(received.content_type.unwrap_or("no content type"), key);
    let text = received.harmless(&received.head(), key);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        format!("HTTP {status}: {what} ({kind}, empty)")
    } else if received.is_about_a_customer() {
        let bytes = counted(received.body.len() as u64, "byte");
        format!("HTTP {status}: {what} ({kind}, {bytes} about a customer)")
    } else {
        format!("HTTP {status}: {what} ({kind}: {})", cut(&text, QUOTED_CHARS))
    }
}

impl Received<'_> {
    fn head(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body[..self.body.len().min(HEAD_BYTES)])
    }

    fn is_like_json(&self) -> bool {
        self.head().trim_start().starts_with(['{', '['])
    }

    fn is_about_a_customer(&self) -> bool {
        let head = self.head();
        self.is_like_json()
            && PERSONAL_FIELDS.iter().any(|field| head.contains(&format!("\"{field}\"")))
    }

    /// The text without the key and without the email.
    fn harmless(&self, text: &str, key: &ApiKey) -> String {
        let text = key.hidden_in(text);
        let (lower, email) = (text.to_ascii_lowercase(), self.email.to_ascii_lowercase());
        if email.is_empty() {
            return text;
        }
        let mut rest = 0;
        let mut harmless = String::new();
        for (at, _) in lower.match_indices(&email) {
            harmless.push_str(&text[rest..at]);
            harmless.push_str(EMAIL_HIDDEN);
            rest = at + email.len();
        }
        harmless + &text[rest..]
    }
}

/// The API's own words for an error: `{"error": "text"}`.
fn error_text(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        error: String,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(body.error)
}

/// A reason that is short enough to be kept.
pub fn shortened(reason: String) -> String {
    if reason.len() <= MAX_REASON_CHARS { reason } else { cut(&reason, MAX_REASON_CHARS) }
}

/// At most so many characters of the text.
fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMAIL: &str = "ann@example.com";
    const KEY: &str = "s3cret-key/with\\all";

    fn key() -> ApiKey {
        ApiKey::parse(KEY).unwrap()
    }

    fn received(status: u16, body: &[u8]) -> Received<'_> {
        Received { email: EMAIL, status, content_type: Some("text/plain"), retry_after: None, body }
    }

    fn meaning(status: u16, body: impl AsRef<[u8]>) -> Answer {
        classify(received(status, body.as_ref()), &key())
    }

    fn name(answer: &Answer) -> String {
        match answer {
            Answer::Found(_) => "found".into(),
            Answer::NotFound => "not_found".into(),
            Answer::Rejected(_) => "rejected".into(),
            Answer::KeyRefused => "key refused".into(),
            Answer::Retry(failure) => format!("retry {}", failure.code),
            Answer::Failed(failure) => format!("failed {}", failure.code),
        }
    }

    fn reason(answer: &Answer) -> &str {
        match answer {
            Answer::Rejected(reason) => reason,
            Answer::Retry(failure) | Answer::Failed(failure) => &failure.reason,
            Answer::Found(_) | Answer::NotFound | Answer::KeyRefused => "",
        }
    }

    #[test]
    fn no_reason_tells_what_a_customer_is() {
        let whole = r#"{"id":"c1","name":"Ann Smith","phone":"+1 555 7788"}"#;
        for (status, body, expected) in [
            (201, whole, "HTTP 201: undocumented status (text/plain, 52 bytes about a customer)"),
            (500, r#"[{"data": {"phone": "1"}}]"#, "26 bytes about a customer"),
            (
                200,
                &whole[..30],
                "HTTP 200: not a complete JSON object: EOF while parsing a value at line 1 column 30 \
                 (text/plain, 30 bytes about a customer)",
            ),
            (
                200,
                r#"{"id":"c1","id":"c2"}"#,
                "object: the field id stands twice at line 1 column 21 (text/plain: {\"id\":\"c1\",",
            ),
            (200, "<p>\"name\"</p>", "(text/plain: <p>\"name\"</p>)"),
            (404, r#"{"message":"No route"}"#, r#"(text/plain: {"message":"No route"})"#),
        ] {
            let answer = meaning(status, body);
            let reason = reason(&answer);
            assert!(reason.contains(expected), "{reason}");
            assert!(!reason.contains("Ann") && !reason.contains("7788"), "{reason}");
        }
    }

    #[test]
    fn no_reason_names_the_email() {
        for (status, body) in [
            (400, r#"{"error":"Unknown: Ann@Example.com, ann@example.com"}"#),
            (500, r#"{"error":"Unknown: Ann@Example.com, ann@example.com"}"#),
            (502, "Unknown: Ann@Example.com, ann@example.com"),
        ] {
            let answer = meaning(status, body);
            let reason = reason(&answer);
            assert!(reason.contains("Unknown: (email hidden), (email hidden)"), "{reason}");
        }
    }

    /// Runs of statuses with the same meaning, a line each.
    fn table(body: &[u8]) -> String {
        let mut runs: Vec<(u16, u16, String)> = Vec::new();
        for status in 100..=599 {
            let meaning = name(&meaning(status, body));
            match runs.last_mut() {
                Some((_, last, same)) if *same == meaning => *last = status,
                _ => runs.push((status, status, meaning)),
            }
        }
        let lines = runs.iter().map(|(first, last, meaning)| match first == last {
            true => format!("{first} {meaning}\n"),
            false => format!("{first} to {last} {meaning}\n"),
        });
        lines.collect()
    }

    /// What every status means, whatever the body; `200` and `404` depend on it.
    const TABLE: &str = "\
100 to 199 failed unexpected_status
200 <200>
201 to 299 failed unexpected_status
300 to 399 failed redirect
400 rejected
401 key refused
402 failed unexpected_status
403 key refused
404 <404>
405 to 407 failed unexpected_status
408 retry server_error
409 to 424 failed unexpected_status
425 retry server_error
426 to 428 failed unexpected_status
429 retry rate_limited
430 to 499 failed unexpected_status
500 retry server_error
501 failed unexpected_status
502 retry server_error
503 retry unavailable
504 retry server_error
505 to 519 failed unexpected_status
520 to 529 retry server_error
530 to 599 failed unexpected_status
";

    #[test]
    fn every_status_has_one_meaning() {
        let expected = |ok, gone| TABLE.replace("<200>", ok).replace("<404>", gone);
        assert_eq!(table(br#"{"id":"c1"}"#), expected("found", "retry missing_route"));
        assert_eq!(table(b"<html>"), expected("retry no_json", "retry missing_route"));
        assert_eq!(table(br#"{"error":"x"}"#), expected("failed broken_customer", "not_found"));
    }

    #[test]
    fn a_404_counts_only_in_its_documented_form() {
        for body in [
            r#"{"error":"Customer not found"}"#,
            "\u{feff}{\"error\":\"Customer not found\"}",
            r#"{"error":"Customer not found","requestId":"r1"}"#,
        ] {
            assert_eq!(meaning(404, body), Answer::NotFound, "{body}");
        }
        for field in MISSING_ROUTE_FIELDS {
            let body = format!(r#"{{"error":"Not Found","{field}":"x"}}"#);
            assert_eq!(name(&meaning(404, body)), "retry missing_route", "{field}");
        }
        for body in ["", "{}", "[]", r#"{"error":7}"#, r#"{"error":{}}"#, r#"{"error":"x""#, "null"]
        {
            assert_eq!(name(&meaning(404, body)), "retry missing_route", "{body}");
        }
    }

    #[test]
    fn a_bom_before_the_json_is_skipped() {
        assert_eq!(name(&meaning(200, "\u{feff}{\"id\":\"c1\"}")), "found");
    }

    #[test]
    fn a_403_with_retry_after_is_a_rate_limit() {
        let retry_after = Some(Duration::from_secs(1));
        let limited = Received { retry_after, ..received(403, b"") };
        assert_eq!(name(&classify(limited, &key())), "retry rate_limited");
        let refused = Received { retry_after, ..received(401, b"") };
        assert_eq!(classify(refused, &key()), Answer::KeyRefused);
    }

    #[test]
    fn reasons_hold_the_words_of_the_api_or_the_kind_and_the_head_of_the_text() {
        let rejected = meaning(400, br#"{"error":"Email is required"}"#);
        assert_eq!(rejected, Answer::Rejected("Email is required".into()));
        assert_eq!(reason(&meaning(500, r#"{"error":"Oops"}"#)), "HTTP 500: server error (Oops)");
        let page = format!("<html>\n  <p>{}", "x".repeat(200));
        let expected =
            format!("HTTP 502: server error (text/plain: <html> <p>{}…)", "x".repeat(69));
        assert_eq!(reason(&meaning(502, &page)), expected);
        assert_eq!(reason(&meaning(503, "")), "HTTP 503: unavailable (text/plain, empty)");
        assert!(
            reason(&meaning(200, &page)).contains("not a complete JSON object (text/plain: <h")
        );
        assert_eq!(name(&meaning(200, br#"{"id":7}"#)), "failed broken_customer");
        assert_eq!(name(&meaning(200, br#"{"id":"c"#)), "retry no_json");
    }

    #[test]
    fn no_reason_contains_the_key_or_is_long() {
        let json = serde_json::to_string(KEY).unwrap();
        let escaped: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        for padding in [0, 40, 60, 70, 75, 78, 79, 250, 280, 290, 299] {
            for body in [
                KEY.to_owned(),
                json.clone(),
                json[..json.len() - 4].to_owned(),
                format!("\"{escaped}\""),
                format!(r#"{{"error":{json}}}"#),
                format!(r#"{{"error":"{}{escaped}"}}"#, "x".repeat(padding)),
                format!(r#"{{"id":{json},"devices":{json}}}"#),
                format!(r#"{{"id":"c","devices":["{escaped}",7]}}"#),
                format!("{}{KEY}{KEY}", "x".repeat(padding)),
                format!("{}{json} {json}", "x".repeat(padding)),
            ] {
                for status in [200, 204, 302, 400, 404, 418, 429, 500, 503] {
                    let answer = meaning(status, &body);
                    let reason = reason(&answer);
                    assert!(!reason.contains("s3cr"), "{status} {body}: {reason}");
                    assert!(!reason.contains("\\u0073"), "{status} {body}: {reason}");
                    assert!(reason.chars().count() <= MAX_REASON_CHARS, "{reason}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_response_makes_it_panic(status in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let answer = meaning(status, &body);
            prop_assert!(reason(&answer).chars().count() <= MAX_REASON_CHARS);
        }
    }
}
