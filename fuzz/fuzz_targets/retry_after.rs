//! Any value of `Retry-After`: a number is so many seconds, and anything else is a date or ignored.
#![no_main]

use std::time::Duration;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use telemetron_sync::api::retry_after;

fuzz_target!(|value: &[u8]| {
    let now = Timestamp::from_second(784_111_770).expect("a time");
    let wait = retry_after::parse(value, now);
    let text = String::from_utf8_lossy(value);
    let digits = text.trim_matches([' ', '\t']);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        assert_eq!(wait, digits.parse().ok().map(Duration::from_secs));
    } else {
        assert!(wait.is_none() || digits.contains("GMT") || digits.contains(':'));
    }
});
