//! What happens to the whole API at some time: outages, and keys that change.

use std::str::FromStr;
use std::time::Duration;

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// With this request of the server, counted from 1.
    Request(u64),
    /// This long after the first request.
    Elapsed(Duration),
}

/// The position of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Its number, counted from 1.
    pub(super) request: u64,
    /// How long after the first request it came in.
    pub(super) elapsed: Duration,
}

/// Why a text is not a time or not an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIncident {
    #[error("give a time after the first request, such as 30s, or the number of a request")]
    When,
    #[error("give when it begins and how long it lasts, such as 30s+10s")]
    Outage,
}

impl When {
    pub(super) fn has_come(self, moment: Moment) -> bool {
        match self {
            Self::Request(number) => moment.request >= number,
            Self::Elapsed(time) => moment.elapsed >= time,
        }
    }
}

impl FromStr for When {
    type Err = InvalidIncident;

    /// `30s`, or `200` for the 200th request.
    fn from_str(text: &str) -> Result<Self, InvalidIncident> {
        if let Ok(number) = text.parse() {
            return if number > 0 { Ok(Self::Request(number)) } else { Err(InvalidIncident::When) };
        }
        humantime::parse_duration(text).map(Self::Elapsed).map_err(|_| InvalidIncident::When)
    }
}

/// A time in which the port is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    pub begin: When,
    pub length: Duration,
}

impl Outage {
    /// How much of it is left, if a request at `moment` falls into it. One that begins with a request
    /// has that request alone: no other comes in before it is over.
    pub(super) fn left(self, moment: Moment) -> Option<Duration> {
        match self.begin {
            When::Request(number) => (moment.request == number).then_some(self.length),
            When::Elapsed(begin) => {
                let since = moment.elapsed.checked_sub(begin)?;
                self.length.checked_sub(since).filter(|left| !left.is_zero())
            }
        }
    }
}

impl FromStr for Outage {
    type Err = InvalidIncident;

    /// `30s+10s`: it begins 30 seconds after the first request and lasts 10 seconds.
    fn from_str(text: &str) -> Result<Self, InvalidIncident> {
        let (begin, length) = text.split_once('+').ok_or(InvalidIncident::Outage)?;
        let length = humantime::parse_duration(length).map_err(|_| InvalidIncident::Outage)?;
        Ok(Self { begin: begin.parse()?, length })
    }
}

/// What happens to the keys of all organizations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// From then on no key is accepted.
    pub revoked: Option<When>,
    /// From then on each key is accepted with [`ROTATED`] at its end only.
    pub rotated: Option<When>,
}

/// What a key ends with after its rotation.
pub const ROTATED: &str = "-rotated";

impl KeyChanges {
    /// Whether `sent` is the key of an organization at `moment`, whose first one was `key`.
    pub(super) fn accept(&self, key: &str, sent: &str, moment: Moment) -> bool {
        let has_come = |when: Option<When>| when.is_some_and(|when| when.has_come(moment));
        if has_come(self.revoked) {
            return false;
        }
        let ending = if has_come(self.rotated) { ROTATED } else { "" };
        sent.strip_suffix(ending) == Some(key)
    }
}

/// The Retry-After header that comes with a 429, and with a fault that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// In whole seconds.
    Seconds(u64),
    /// Without the header.
    None,
}

/// Why a text is not a Retry-After.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give whole seconds, such as 5s, or \"none\"")]
pub struct InvalidRetryAfter;

impl FromStr for RetryAfter {
    type Err = InvalidRetryAfter;

    fn from_str(text: &str) -> Result<Self, InvalidRetryAfter> {
        if text == "none" {
            return Ok(Self::None);
        }
        let time = humantime::parse_duration(text).map_err(|_| InvalidRetryAfter)?;
        if time.subsec_nanos() > 0 {
            return Err(InvalidRetryAfter);
        }
        Ok(Self::Seconds(time.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(request: u64, ms: u64) -> Moment {
        Moment { request, elapsed: Duration::from_millis(ms) }
    }

    #[test]
    fn a_time_or_the_number_of_a_request_says_when() {
        assert_eq!("1m 30s".parse(), Ok(When::Elapsed(Duration::from_secs(90))));
        assert_eq!("200".parse(), Ok(When::Request(200)));
        for wrong in ["", "0", "-1", "soon", "5x", "1.5"] {
            assert_eq!(wrong.parse::<When>(), Err(InvalidIncident::When), "{wrong}");
        }
    }

    #[test]
    fn an_outage_has_a_beginning_and_a_length() {
        let outage = "30s+10s".parse::<Outage>().unwrap();
        assert_eq!(outage.left(at(9, 29_999)), None);
        assert_eq!(outage.left(at(9, 31_000)), Some(Duration::from_secs(9)));
        assert_eq!(outage.left(at(9, 40_000)), None);
        let outage = "200+10s".parse::<Outage>().unwrap();
        assert_eq!([199, 201].map(|number| outage.left(at(number, 0))), [None, None]);
        assert_eq!(outage.left(at(200, 0)), Some(Duration::from_secs(10)));
        for wrong in ["30s", "30s+", "+10s", "30s+10"] {
            assert!(wrong.parse::<Outage>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_rotated_then_revoked() {
        let (rotated, revoked) = (Some(When::Request(10)), Some(When::Elapsed(Duration::ZERO)));
        let rotates = KeyChanges { rotated, revoked: None };
        assert!(rotates.accept("k", "k", at(9, 0)) && !rotates.accept("k", "k-rotated", at(9, 0)));
        assert!(
            !rotates.accept("k", "k", at(10, 0)) && rotates.accept("k", "k-rotated", at(10, 0))
        );
        assert!(!KeyChanges { rotated, revoked }.accept("k", "k-rotated", at(10, 0)));
    }

    #[test]
    fn retry_after_is_whole_seconds_or_nothing() {
        assert_eq!("2m".parse(), Ok(RetryAfter::Seconds(120)));
        assert_eq!("none".parse(), Ok(RetryAfter::None));
        for wrong in ["", "5", "500ms", "never"] {
            assert_eq!(wrong.parse::<RetryAfter>(), Err(InvalidRetryAfter), "{wrong}");
        }
    }
}
