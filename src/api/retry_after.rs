//! The `Retry-After` header (RFC 9110, section 10.2.3).
//!
//! Pure: no clock, no I/O.

use jiff::Timestamp;
use std::time::Duration;

/// How long the server asks to wait, counted from `now`: given in seconds or as a date in any of
/// HTTP's three forms. A date that is past asks for no wait. Nonsense is `None`.
pub fn parse(value: &[u8], now: Timestamp) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    Some(Duration::try_from(date(value)?.duration_since(now)).unwrap_or_default())
}

/// A date in any of HTTP's three forms.
pub fn date(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    fn then() -> Timestamp {
        Timestamp::from_second(784_111_777).unwrap()
    }

    fn seconds(value: &str) -> Option<u64> {
        parse(value.as_bytes(), then() - Duration::from_secs(7)).map(|wait| wait.as_secs())
    }

    #[test]
    fn reads_seconds_and_the_three_forms_of_a_date() {
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:49:37 GMT"), Some(7));
        assert_eq!(seconds("Sun Nov  6 08:49:37 1994"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
    }

    #[test]
    fn ignores_nonsense() {
        for value in ["", " ", "-1", "+1", "1.5", "soon", "1e3", "99999999999999999999999", "12 s"]
        {
            assert_eq!(seconds(value), None, "{value:?}");
        }
        assert_eq!(parse(b"\xff\xfe", then()), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&value, then());
        }
    }
}
