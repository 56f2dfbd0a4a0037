//! Which answers go wrong, and in which way.

use std::fmt;
use std::str::FromStr;

use super::hash::{mix, text, unit};
use crate::percent::{self, InvalidPercent};

/// The last attempt of an email at which [`FaultPlan::shares`] apply: fewer than the attempts that a
/// client makes, so that every email gets its answer in the end.
pub const FAULTS_UNTIL_ATTEMPT: u32 = 3;

/// Distinguishes the hashes of faults from those of customers.
const FAULTS: u64 = 0x6661_756c_7473;

/// Distinguishes the hashes of permanent faults from those of others.
const PERMANENT: u64 = 0x7065_726d;

/// The end of the name of a status that comes with Retry-After.
const RETRY_AFTER: &str = "-retry-after";

/// One way in which an answer can be bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A status from 300 to 599: 400, 401, 429 and 500 as the API writes errors, 301 to 308 with the
    /// address of another host, any other with a page such as a proxy, a firewall or a web server
    /// sends.
    Status(u16),
    /// The same with Retry-After.
    StatusRetryAfter(u16),
    /// 404 in the form in which a gateway or a web framework says that there is no such route.
    MissingRoute,
    /// No answer, while the connection stays open.
    Timeout,
    /// The connection is reset before the answer.
    Reset,
    /// The connection is reset in the middle of the body.
    ResetMidway,
    /// The connection is closed before as many bytes came as were promised.
    Truncated,
    /// The body comes in small pieces over two seconds.
    Slow,
    /// 200 with a page.
    NotJson,
    /// 200 with `null`.
    Null,
    /// 200 with the first half of a JSON text, as if it were complete.
    CutJson,
    /// 200 with a customer whose fields have the wrong types.
    WrongTypes,
    /// 200 with a customer of more than 8 MiB.
    Huge,
    /// 200 with a customer whose metadata is a hundred thousand lists deep.
    Deep,
    /// 200 with a small gzip body that inflates to more than 8 MiB.
    GzipBomb,
}

impl Fault {
    /// Every fault that is not a status.
    pub const NAMED: [Self; 13] = [
        Self::MissingRoute,
        Self::Timeout,
        Self::Reset,
        Self::ResetMidway,
        Self::Truncated,
        Self::Slow,
        Self::NotJson,
        Self::Null,
        Self::CutJson,
        Self::WrongTypes,
        Self::Huge,
        Self::Deep,
        Self::GzipBomb,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Status(_) | Self::StatusRetryAfter(_) => "status",
            Self::MissingRoute => "missing-route",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::ResetMidway => "reset-midway",
            Self::Truncated => "truncated",
            Self::Slow => "slow",
            Self::NotJson => "not-json",
            Self::Null => "null",
            Self::CutJson => "cut-json",
            Self::WrongTypes => "wrong-types",
            Self::Huge => "huge",
            Self::Deep => "deep",
            Self::GzipBomb => "gzip-bomb",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::StatusRetryAfter(status) => write!(f, "{status}{RETRY_AFTER}"),
            named => f.write_str(named.name()),
        }
    }
}

/// Why a text is not a fault and its share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFault {
    #[error(
        "there is no fault {0:?}; give a status from 300 to 599 (with {RETRY_AFTER} if that header \
         is to come with it) or one of {names}",
        names = Fault::NAMED.map(Fault::name).join(", ")
    )]
    Name(String),
    #[error("give a fault and its share, such as 503=5%")]
    Form,
    #[error(transparent)]
    Share(#[from] InvalidPercent),
}

impl FromStr for Fault {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let unknown = || InvalidFault::Name(text.into());
        if let Some(fault) = Self::NAMED.into_iter().find(|fault| fault.name() == text) {
            return Ok(fault);
        }
        let status = |digits: &str| {
            let status = digits.parse().ok().filter(|status| (300..600).contains(status));
            status.ok_or_else(unknown)
        };
        match text.strip_suffix(RETRY_AFTER) {
            Some(digits) => status(digits).map(Self::StatusRetryAfter),
            None => status(text).map(Self::Status),
        }
    }
}

/// A fault and how often it happens, as in `503=5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultShare {
    pub fault: Fault,
    /// From 0 to 1.
    pub share: f64,
}

impl FromStr for FaultShare {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let (fault, share) = text.split_once('=').ok_or(InvalidFault::Form)?;
        Ok(Self { fault: fault.parse()?, share: percent::parse(share)? })
    }
}

/// Everything that goes wrong with single answers.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// Faults of single answers: each attempt of an email draws anew.
    pub shares: Vec<FaultShare>,
    /// The last attempt of an email at which they apply.
    pub until_attempt: u32,
    /// Faults of single emails: at every attempt.
    pub permanent: Vec<FaultShare>,
}

impl Default for FaultPlan {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self { shares: Vec::new(), until_attempt: FAULTS_UNTIL_ATTEMPT, permanent: Vec::new() }
    }
}

impl FaultPlan {
    /// Adds a mixture of which `share` of the answers get something: a third each of status 500,
    /// status 503 and resets.
    pub(super) fn add_mixture(&mut self, share: f64) {
        if share > 0.0 {
            let faults = [Fault::Status(500), Fault::Status(503), Fault::Reset];
            self.shares.extend(faults.map(|fault| FaultShare { fault, share: share / 3.0 }));
        }
    }

    /// The fault that this attempt of this email gets: always the same for the same seed.
    pub(super) fn draw(&self, seed: u64, email: &str, attempt: u32) -> Option<Fault> {
        let email = |kind| text(seed ^ kind, email);
        let permanent = choose(&self.permanent, || email(FAULTS ^ PERMANENT));
        permanent.or_else(|| {
            let shares = if attempt <= self.until_attempt { &self.shares[..] } else { &[] };
            choose(shares, || mix(email(FAULTS), u64::from(attempt)))
        })
    }
}

fn choose(shares: &[FaultShare], hash: impl FnOnce() -> u64) -> Option<Fault> {
    if shares.is_empty() {
        return None;
    }
    let mut left = unit(hash());
    for one in shares {
        if left < one.share {
            return Some(one.fault);
        }
        left -= one.share;
    }
    None
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
    fn each_fault_is_found_by_its_own_name() {
        let statuses = [Fault::Status(429), Fault::StatusRetryAfter(503)];
        for fault in Fault::NAMED.into_iter().chain(statuses) {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
    }

    #[test]
    fn a_fault_and_its_share_are_read_together() {
        let share = FaultShare { fault: Fault::StatusRetryAfter(429), share: 0.05 };
        assert_eq!("429-retry-after=5%".parse(), Ok(share));
        for (wrong, told) in [
            ("reset", "such as 503=5%"),
            ("reset=5", "with its sign"),
            ("reset=101%", "from 0% to 100%"),
            ("200=5%", "there is no fault \"200\"; give a status from 300 to 599"),
            ("600=5%", "there is no fault \"600\""),
            ("hang=5%", "one of missing-route, timeout, reset,"),
            ("reset-retry-after=5%", "there is no fault \"reset-retry-after\""),
        ] {
            let error = wrong.parse::<FaultShare>().unwrap_err().to_string();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }

    #[test]
    fn draws_each_fault_as_often_as_requested() {
        let drawn = drawn(&plan(&["500=5%", "reset=10%"]), 1);
        assert!((450..550).contains(&count(&drawn, Fault::Status(500))));
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
    fn faults_of_answers_end_after_some_attempts() {
        let plan = plan(&["500=100%"]);
        assert_eq!(plan.draw(0, "a@b", FAULTS_UNTIL_ATTEMPT), Some(Fault::Status(500)));
        assert_eq!(plan.draw(0, "a@b", FAULTS_UNTIL_ATTEMPT + 1), None);
    }

    #[test]
    fn a_permanent_fault_belongs_to_an_email_and_never_ends() {
        let permanent = vec!["403=10%".parse().unwrap()];
        let plan = FaultPlan { permanent, ..plan(&["reset=20%"]) };
        let (first, last) = (drawn(&plan, 1), drawn(&plan, 1000));
        assert!((930..1070).contains(&count(&last, Fault::Status(403))));
        assert!((1700..1900).contains(&count(&first, Fault::Reset)));
        for (first, last) in first.iter().zip(&last) {
            assert_eq!(*first == Some(Fault::Status(403)), last.is_some());
        }
    }

    #[test]
    fn a_rate_of_failures_is_a_mixture() {
        let mut plan = FaultPlan::default();
        plan.add_mixture(0.3);
        let drawn = [1, 2, 3].map(|attempt| drawn(&plan, attempt)).concat();
        for fault in [Fault::Status(500), Fault::Status(503), Fault::Reset] {
            let count = count(&drawn, fault);
            assert!((2850..3150).contains(&count), "{fault}: {count}");
        }
    }
}
