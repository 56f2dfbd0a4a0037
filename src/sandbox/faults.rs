//! What goes wrong, for which email and at which attempt.
//!
//! Pure: no clock, no I/O.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::hash::{mix, text, unit};

/// The last attempt of an email at which faults are drawn, unless told another: less than the
/// attempts that a client makes, so that every email gets its answer in the end.
pub const FAULTS_UNTIL_ATTEMPT: u32 = 3;

/// Tells the hashes of faults from those of customers.
const FAULTS: u64 = 0x6661_756c_7473;

/// One way in which an answer can be bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 500, as the API documents it.
    ServerError,
    /// 502 with a page of a proxy.
    BadGateway,
    /// 503 with a page of a proxy.
    Unavailable,
    /// The same with Retry-After.
    UnavailableRetryAfter,
    /// 429 with Retry-After.
    TooMany,
    /// No answer, while the connection stays open.
    Hang,
    /// The connection is reset before the answer.
    Reset,
    /// The connection is reset in the middle of the body.
    ResetMidway,
    /// The connection is closed before as many bytes came as were promised.
    Truncated,
    /// The body comes in small pieces over two seconds.
    Slow,
    /// 200 with a page.
    Html,
    /// 200 with `null`.
    Null,
    /// 200 with the first half of a JSON text, as if it were whole.
    CutJson,
    /// 200 with a customer whose fields have the wrong types.
    WrongTypes,
    /// 200 with a customer of more than 8 MiB.
    Huge,
    /// 200 with a customer whose metadata is a hundred thousand lists deep.
    Deep,
    /// 200 with a small gzip body that inflates to more than 8 MiB.
    GzipBomb,
    /// 302 to another host.
    Found,
    /// 307 to another host, where a client would send key and body again.
    TemporaryRedirect,
    /// 404 with a page, as when a route is lost.
    LostRoute,
}

impl Fault {
    /// Every fault, in the order of the documentation.
    pub const ALL: [Self; 20] = [
        Self::ServerError,
        Self::BadGateway,
        Self::Unavailable,
        Self::UnavailableRetryAfter,
        Self::TooMany,
        Self::Hang,
        Self::Reset,
        Self::ResetMidway,
        Self::Truncated,
        Self::Slow,
        Self::Html,
        Self::Null,
        Self::CutJson,
        Self::WrongTypes,
        Self::Huge,
        Self::Deep,
        Self::GzipBomb,
        Self::Found,
        Self::TemporaryRedirect,
        Self::LostRoute,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerError => "500",
            Self::BadGateway => "502",
            Self::Unavailable => "503",
            Self::UnavailableRetryAfter => "503-retry-after",
            Self::TooMany => "429",
            Self::Hang => "hang",
            Self::Reset => "reset",
            Self::ResetMidway => "reset-midway",
            Self::Truncated => "truncated",
            Self::Slow => "slow",
            Self::Html => "html",
            Self::Null => "null",
            Self::CutJson => "cut-json",
            Self::WrongTypes => "wrong-types",
            Self::Huge => "huge",
            Self::Deep => "deep",
            Self::GzipBomb => "gzip-bomb",
            Self::Found => "302",
            Self::TemporaryRedirect => "307",
            Self::LostRoute => "404-html",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text names no fault or no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFault {
    /// No fault has this name.
    #[error("no fault is named {0:?}: there are {names}", names = Fault::ALL.map(Fault::name).join(", "))]
    Name(String),
    /// Not `FAULT=SHARE`.
    #[error("{0:?} is not of the form FAULT=SHARE, as in 500=5%")]
    Form(String),
    /// The share is no number from 0 to 1, nor from 0% to 100%.
    #[error("{0:?} is no share: it goes from 0% to 100%, or from 0 to 1")]
    Share(String),
}

impl FromStr for Fault {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let named = Self::ALL.into_iter().find(|fault| fault.name() == text);
        named.ok_or_else(|| InvalidFault::Name(text.into()))
    }
}

/// The share of answers that a fault spoils. As text: `500=5%` or `500=0.05`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultShare {
    /// What goes wrong.
    pub fault: Fault,
    /// How often, from 0 to 1.
    pub share: f64,
}

impl FromStr for FaultShare {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let (fault, share) = text.split_once('=').ok_or(InvalidFault::Form(text.into()))?;
        Ok(Self { fault: fault.parse()?, share: parse_share(share)? })
    }
}

impl fmt::Display for FaultShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.fault, self.share)
    }
}

/// A share as `5%` or `0.05`.
///
/// # Errors
/// It is no number, or not from 0 to 1.
pub fn parse_share(text: &str) -> Result<f64, InvalidFault> {
    let parsed = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    let share = parsed.ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| InvalidFault::Share(text.into()))
}

/// A time in which the port is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The request that meets it first, counted from 1.
    pub from_request: u64,
    /// How long it lasts.
    pub length: Duration,
}

/// All that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// How often which fault is drawn. The shares add up to 1 at most.
    pub shares: Vec<FaultShare>,
    /// The last attempt of an email at which faults are drawn.
    pub until_attempt: u32,
    /// The request from which on the key is refused, counted from 1.
    pub key_refused_from: Option<u64>,
    /// A time in which nothing answers.
    pub outage: Option<Outage>,
}

impl Default for FaultPlan {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self {
            shares: Vec::new(),
            until_attempt: FAULTS_UNTIL_ATTEMPT,
            key_refused_from: None,
            outage: None,
        }
    }
}

impl FaultPlan {
    /// Adds the mixture that a `rate` of failed answers means: a third each of status 500,
    /// status 503 and resets.
    pub(super) fn add_mixture(&mut self, rate: f64) {
        if rate > 0.0 {
            let faults = [Fault::ServerError, Fault::Unavailable, Fault::Reset];
            self.shares.extend(faults.map(|fault| FaultShare { fault, share: rate / 3.0 }));
        }
    }

    /// The sum of all shares.
    pub(super) fn total(&self) -> f64 {
        self.shares.iter().map(|one| one.share).sum()
    }

    /// The fault that this attempt of this email meets: always the same for the same seed.
    pub(super) fn draw(&self, seed: u64, email: &str, attempt: u32) -> Option<Fault> {
        if self.shares.is_empty() || attempt > self.until_attempt {
            return None;
        }
        let mut left = unit(mix(text(seed ^ FAULTS, email), u64::from(attempt)));
        for one in &self.shares {
            if left < one.share {
                return Some(one.fault);
            }
            left -= one.share;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(shares: &[&str]) -> FaultPlan {
        let shares = shares.iter().map(|text| text.parse().unwrap()).collect();
        FaultPlan { shares, ..Default::default() }
    }

    fn drawn(plan: &FaultPlan, attempt: u32) -> Vec<Option<Fault>> {
        (0..10_000).map(|n| plan.draw(0, &format!("user{n}@x.io"), attempt)).collect()
    }

    fn count(drawn: &[Option<Fault>], fault: Fault) -> usize {
        drawn.iter().filter(|one| **one == Some(fault)).count()
    }

    #[test]
    fn each_fault_has_a_name_of_its_own_and_is_found_by_it() {
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
    }

    #[test]
    fn shares_read_as_percent_or_number() {
        let share = FaultShare { fault: Fault::Reset, share: 0.05 };
        assert_eq!("reset=5%".parse(), Ok(share));
        assert_eq!("reset=0.05".parse(), Ok(share));
        assert_eq!(share.to_string().parse(), Ok(share));
        assert_eq!(parse_share("100%"), Ok(1.0));
        for wrong in ["101%", "-1%", "1.5", "NaN", "", "%", "x"] {
            assert_eq!(parse_share(wrong), Err(InvalidFault::Share(wrong.into())));
        }
        assert_eq!("reset".parse::<FaultShare>(), Err(InvalidFault::Form("reset".into())));
    }

    #[test]
    fn a_wrong_name_is_told_the_right_ones() {
        let error = "501=5%".parse::<FaultShare>().unwrap_err();
        assert!(
            error.to_string().starts_with("no fault is named \"501\": there are 500, 502, 503")
        );
    }

    #[test]
    fn draws_each_fault_as_often_as_asked() {
        let drawn = drawn(&plan(&["500=5%", "reset=10%"]), 1);
        assert!((450..550).contains(&count(&drawn, Fault::ServerError)));
        assert!((930..1070).contains(&count(&drawn, Fault::Reset)));
        assert!((8400..8600).contains(&drawn.iter().filter(|one| one.is_none()).count()));
    }

    #[test]
    fn a_schedule_repeats_and_differs_by_seed_and_attempt() {
        let plan = plan(&["500=50%"]);
        assert_eq!(drawn(&plan, 1), drawn(&plan, 1));
        assert_ne!(drawn(&plan, 1), drawn(&plan, 2));
        let draws = |seed| {
            let draw = |n| plan.draw(seed, &format!("user{n}@x.io"), 1);
            (0..100).map(draw).collect::<Vec<_>>()
        };
        assert_ne!(draws(1), draws(2));
        assert_eq!(plan.draw(0, "User1@X.io", 1), plan.draw(0, "user1@x.io", 1));
    }

    #[test]
    fn faults_end_after_the_last_attempt_that_may_meet_one() {
        let plan = plan(&["500=100%"]);
        assert_eq!(plan.draw(0, "a@b", FAULTS_UNTIL_ATTEMPT), Some(Fault::ServerError));
        assert_eq!(plan.draw(0, "a@b", FAULTS_UNTIL_ATTEMPT + 1), None);
    }

    #[test]
    fn a_rate_of_failures_is_a_mixture() {
        let mut plan = FaultPlan::default();
        plan.add_mixture(0.3);
        let drawn = [1, 2, 3].map(|attempt| drawn(&plan, attempt)).concat();
        for fault in [Fault::ServerError, Fault::Unavailable, Fault::Reset] {
            let count = count(&drawn, fault);
            assert!((2850..3150).contains(&count), "{fault}: {count}");
        }
    }
}
