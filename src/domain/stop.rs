//! Why a run ends before its plan does.
//!
//! Pure: no clock, no I/O.

use crate::display::{escaped, grouped};
use crate::domain::exit::Exit;
use std::fmt;
use std::time::Duration;

/// Why a run stops early. The order is the severity: if several apply, the greatest wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// As many emails as `--limit` allows were looked up.
    Limit(u64),
    /// `--deadline` has passed.
    Deadline(Duration),
    /// More of the finished emails than `--fail-above` allows were rejected or failed.
    FailureLimit { unanswered: u64, settled: u64 },
    /// Nothing was answered for as long as `--outage-wait` allows.
    Outage { wait: Duration, cause: String },
    /// Nothing but 429s came for as long as `--max-retry-after` allows.
    OnlyThrottled(Duration),
    /// The API asked for a longer pause than `--max-retry-after` allows.
    LongPause(Duration),
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
    /// SIGHUP.
    HungUp,
    /// More than half of the answered emails that resolved to a customer no longer do.
    CustomersLost { lost: u64, known: u64 },
    /// No email was found, and none ever was.
    NothingFound { answered: u64 },
    /// An answer belongs to another organization than the store.
    OtherOrganization { ours: String, theirs: String },
    /// The API refuses the key.
    KeyRefused,
    /// Another store publishes for the organization now; how that came to be known.
    Superseded(String),
}

impl StopReason {
    /// The exit code for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Limit(_) | Self::Deadline(_) => Exit::LimitReached,
            Self::FailureLimit { .. }
            | Self::Outage { .. }
            | Self::OnlyThrottled(_)
            | Self::LongPause(_) => Exit::ApiTrouble,
            Self::Terminated => Exit::Terminated,
            Self::Interrupted => Exit::Interrupted,
            Self::HungUp => Exit::HungUp,
            Self::CustomersLost { .. }
            | Self::NothingFound { .. }
            | Self::OtherOrganization { .. }
            | Self::KeyRefused => Exit::WrongKey,
            Self::Superseded(_) => Exit::Failed,
        }
    }

    /// Whether answers that come now may be another organization's: no more of them are stored.
    pub fn distrusts_answers(&self) -> bool {
        matches!(
            self,
            Self::CustomersLost { .. } | Self::NothingFound { .. } | Self::OtherOrganization { .. }
        )
    }

    /// Whether emails that failed for a transient cause are reset to pending: the problem was the
    /// API, not the emails.
    pub fn resets_failures(&self) -> bool {
        self.exit() == Exit::ApiTrouble
    }
}

/// Whether the cause of an outage is a response of the API, or of something in its place.
fn is_response(cause: &str) -> bool {
    cause.starts_with("HTTP ")
}

/// What an API does in an outage with this cause.
pub fn outage_state(cause: &str) -> &'static str {
    match is_response(cause) {
        true => "returns nothing but errors",
        false => "is unreachable",
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was measured has nanoseconds, which only distract.
        let time = |time: &Duration| {
            let whole = Duration::from_secs(time.as_secs());
            humantime::format_duration(if whole.is_zero() { *time } else { whole })
        };
        match self {
            Self::Limit(limit) => write!(f, "--limit {limit} reached"),
            Self::Deadline(after) => write!(f, "--deadline {} reached", time(after)),
            Self::FailureLimit { unanswered, settled } => write!(
                f,
                "{} of {} emails failed or were rejected, more than --fail-above allows",
                grouped(*unanswered),
                grouped(*settled)
            ),
            Self::Outage { wait, cause } => {
                let what = match is_response(cause) {
                    true => "returned nothing but errors",
                    false => "was unreachable",
                };
                write!(f, "the API {what} for {} ({cause})", time(wait))
            }
            Self::OnlyThrottled(during) => write!(
                f,
                "the API answered nothing but HTTP 429 (too many requests) for {}, longer than \
                 --max-retry-after allows",
                time(during)
            ),
            Self::LongPause(pause) => write!(
                f,
                "the API asked for a pause of {}, longer than --max-retry-after allows",
                time(pause)
            ),
            Self::Terminated => f.write_str("interrupted by SIGTERM"),
            Self::Interrupted => f.write_str("interrupted by SIGINT"),
            Self::HungUp => f.write_str("interrupted by SIGHUP"),
            Self::CustomersLost { lost, known } => write!(
                f,
                "{} of {} known emails no longer resolve to their customer, so the key probably \
                 belongs to another organization (if they are really gone, add --accept-missing)",
                grouped(*lost),
                grouped(*known)
            ),
            Self::NothingFound { answered } => write!(
                f,
                "none of {} answered emails is found, and none ever was, as with a wrong key, \
                 --api-url or --column (if it is right, add --accept-missing)",
                grouped(*answered)
            ),
            Self::OtherOrganization { ours, theirs } => write!(
                f,
                "the key belongs to organization {}, the store to {}",
                escaped(theirs),
                escaped(ours)
            ),
            Self::KeyRefused => f.write_str("the API refused the key (HTTP 401 or 403)"),
            Self::Superseded(how) => f.write_str(how),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_follows_the_table_of_exit_codes() {
        let reasons = [
            StopReason::Limit(1),
            StopReason::Deadline(Duration::from_secs(1)),
            StopReason::FailureLimit { unanswered: 1, settled: 1 },
            StopReason::Outage { wait: Duration::from_secs(1), cause: "c".into() },
            StopReason::OnlyThrottled(Duration::from_secs(1)),
            StopReason::LongPause(Duration::from_secs(1)),
            StopReason::Terminated,
            StopReason::Interrupted,
            StopReason::HungUp,
            StopReason::CustomersLost { lost: 1, known: 1 },
            StopReason::NothingFound { answered: 20 },
            StopReason::OtherOrganization { ours: "a".into(), theirs: "b".into() },
            StopReason::KeyRefused,
            StopReason::Superseded("s".into()),
        ];
        assert!(reasons.is_sorted());
        assert!(reasons.iter().map(StopReason::exit).is_sorted());
    }

    #[test]
    fn what_is_doubted_and_what_is_reset_depends_on_the_reason() {
        let outage = StopReason::Outage { wait: Duration::from_secs(90), cause: "refused".into() };
        let stranger = StopReason::OtherOrganization { ours: "a".into(), theirs: "b".into() };
        let doubts = [&outage, &stranger, &StopReason::KeyRefused];
        assert_eq!(doubts.map(StopReason::distrusts_answers), [false, true, false]);
        assert_eq!(doubts.map(StopReason::resets_failures), [true, false, false]);
        assert_eq!(outage.to_string(), "the API was unreachable for 1m 30s (refused)");
        let errors = StopReason::Outage { wait: Duration::from_secs(9), cause: "HTTP 503".into() };
        assert_eq!(errors.to_string(), "the API returned nothing but errors for 9s (HTTP 503)");
    }
}
