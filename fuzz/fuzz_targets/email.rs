//! The normalizer of emails: what it accepts is an address that it leaves alone the next time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetron_sync::domain::email::unwrap::unwrap;
use telemetron_sync::domain::email::{Email, MAX_EMAIL_BYTES, is_address};

fuzz_target!(|text: &str| {
    let once = unwrap(text);
    let twice = unwrap(&once.text);
    assert!(twice.text == once.text && twice.wrappings.is_empty(), "{once:?} {twice:?}");
    let parsed = Email::parse_wrapped(text);
    assert_eq!(is_address(text), parsed.email.is_ok());
    let Ok(email) = parsed.email else { return };
    let address = email.as_str();
    assert!(address.len() <= MAX_EMAIL_BYTES && address.contains('@'));
    assert!(!address.chars().any(|c| c.is_whitespace() || c.is_control()));
    assert!(!address.bytes().any(|byte| byte.is_ascii_uppercase()));
    let again = Email::parse_wrapped(address);
    assert!(again.wrappings.is_empty());
    assert_eq!(again.email.as_ref(), Ok(&email));
});
