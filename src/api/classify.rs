//! What an answer means: one total function from status and body.
//!
//! Pure: no clock, no I/O.

use crate::domain::customer::{BrokenCustomer, CustomerBody, is_json_object};
use crate::domain::outcome::{Answer, Failure, FailureCode};

/// The longest message of the API that is kept, in characters.
const MAX_MESSAGE: usize = 300;

/// Tells what the answer with this `status` and `body` means for the email that was asked for.
pub fn classify(status: u16, body: &[u8]) -> Answer {
    let told = |code, what: &str| Failure::new(code, format!("HTTP {status}, {what}"));
    let retry = |code, what| Answer::Retry(told(code, what));
    let failed = |code, what| Answer::Failed(told(code, what));
    match status {
        200 => found(body),
        400 => Answer::Rejected(message(body).unwrap_or_else(|| "HTTP 400".to_owned())),
        401 | 403 => Answer::KeyRefused,
        404 if is_json_object(body) => Answer::NotFound,
        404 => retry(FailureCode::LostRoute, "but not the API's own"),
        429 => retry(FailureCode::RateLimited, "too many requests"),
        503 => retry(FailureCode::Unavailable, "unavailable"),
        408 | 425 | 500 | 502 | 504 | 520..=529 => {
            retry(FailureCode::ServerError, "a passing error of the server")
        }
        300..=399 => failed(FailureCode::Redirect, "a redirect, which is never followed"),
        _ => failed(FailureCode::UnexpectedStatus, "which the API does not speak of"),
    }
}

fn found(body: &[u8]) -> Answer {
    match CustomerBody::new(body) {
        Ok(customer) => Answer::Found(Box::new(customer)),
        Err(broken) => {
            let reason = format!("HTTP 200, but {broken}");
            match broken {
                BrokenCustomer::NoObject(_) => {
                    Answer::Retry(Failure::new(FailureCode::NoJson, reason))
                }
                BrokenCustomer::Contract(_) => {
                    Answer::Failed(Failure::new(FailureCode::BrokenCustomer, reason))
                }
            }
        }
    }
}

/// The API's own words for an error: `{"error": "text"}`.
fn message(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        error: String,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(body.error.chars().take(MAX_MESSAGE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    /// Runs of statuses with the same meaning, a line each.
    fn table(body: &[u8]) -> String {
        let mut runs: Vec<(u16, u16, String)> = Vec::new();
        for status in 100..=599 {
            let meaning = name(&classify(status, body));
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
        assert_eq!(table(br#"{"id":"c1"}"#), expected("found", "not_found"));
        assert_eq!(table(b"<html>"), expected("retry no_json", "retry lost_route"));
        assert_eq!(table(b"{}"), expected("failed broken_customer", "not_found"));
    }

    #[test]
    fn the_apis_words_are_told() {
        let rejected = classify(400, br#"{"error":"Email is required"}"#);
        assert_eq!(rejected, Answer::Rejected("Email is required".into()));
        assert_eq!(classify(400, b"<html>"), Answer::Rejected("HTTP 400".into()));
        assert_eq!(name(&classify(200, br#"{"id":7}"#)), "failed broken_customer");
        assert_eq!(name(&classify(200, br#"{"id":"c"#)), "retry no_json");
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(status in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = classify(status, &body);
        }
    }
}
