//! Whatever an API answers, it is classified, and only a complete customer is taken for one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetron_sync::api::classify::{Received, classify};
use telemetron_sync::api::key::ApiKey;
use telemetron_sync::domain::customer::{BrokenCustomer, Customer, is_json_object};
use telemetron_sync::domain::json::same_json;
use telemetron_sync::domain::outcome::Answer;

fuzz_target!(|body: &[u8]| {
    let parsed = Customer::from_json(body);
    let no_object = matches!(parsed, Err(BrokenCustomer::NoObject(_)));
    assert_eq!(is_json_object(body), !no_object);
    if let Ok(customer) = &parsed {
        assert!(!customer.id.is_empty());
        let kept = [customer.metadata.given().copied(), customer.extra.as_deref()];
        for json in kept.into_iter().flatten() {
            assert!(is_json_object(json.as_bytes()) && same_json(json, json), "{json}");
        }
    }
    let key = ApiKey::parse("key").expect("a key");
    let answer = |status| {
        let content_type = Some("application/json");
        classify(Received { email: "a@x.io", status, content_type, retry_after: None, body }, &key)
    };
    if !body.starts_with(b"\xef\xbb\xbf") {
        assert_eq!(matches!(answer(200), Answer::Found(_)), parsed.is_ok());
    }
    for status in [204, 302, 400, 401, 403, 404, 418, 429, 500, 503, 599] {
        assert!(!matches!(answer(status), Answer::Found(_)), "HTTP {status}");
    }
});
