//! Why a run ends before its plan does.
//!
//! Pure: no clock, no I/O.

use crate::display::grouped;
use crate::domain::exit::Exit;
use std::fmt;
use std::time::Duration;

/// Why a run stops early. The order is the severity: where several hold, the greatest is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// As many emails as `--limit` allows were looked up.
    Limit(u64),
    /// `--deadline` is over.
    Deadline(Duration),
    /// Too many emails were rejected or failed.
    FailureLimit {
        /// How many.
        unanswered: u64,
        /// Of how many.
        settled: u64,
    },
    /// The API was out of order for as long as `--outage-wait` allows.
    Outage(Duration),
    /// The API asks for a longer pause than `--max-retry-after` allows.
    LongPause(Duration),
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
    /// More than half of the emails that led to a customer no longer do.
    CustomersLost {
        /// How many no longer lead to their customer.
        lost: u64,
        /// Of how many that were answered.
        known: u64,
    },
    /// No email was found, and none ever was.
    NothingFound {
        /// How many were answered.
        answered: u64,
    },
    /// An answer belongs to another organization than the store.
    OtherOrganization {
        /// The store's.
        ours: String,
        /// The answer's.
        theirs: String,
    },
    /// The API refuses the key.
    KeyRefused,
}

impl StopReason {
    /// The exit code that tells of it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Limit(_) | Self::Deadline(_) => Exit::Told,
            Self::FailureLimit { .. } | Self::Outage(_) | Self::LongPause(_) => Exit::Trouble,
            Self::Terminated => Exit::Terminated,
            Self::Interrupted => Exit::Interrupted,
            Self::CustomersLost { .. }
            | Self::NothingFound { .. }
            | Self::OtherOrganization { .. }
            | Self::KeyRefused => Exit::Key,
        }
    }

    /// Whether answers that come now may be another organization's: none is stored any more.
    pub fn distrusts_answers(&self) -> bool {
        matches!(
            self,
            Self::CustomersLost { .. } | Self::NothingFound { .. } | Self::OtherOrganization { .. }
        )
    }

    /// Whether failures that may pass are put back to pending: the trouble was the API's, not
    /// the emails'.
    pub fn puts_failures_back(&self) -> bool {
        self.exit() == Exit::Trouble
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => write!(f, "the limit of {limit} lookups is reached"),
            Self::Deadline(time) => {
                write!(f, "the deadline of {} is reached", humantime::format_duration(*time))
            }
            Self::FailureLimit { unanswered, settled } => {
                write!(f, "{unanswered} of {settled} lookups failed or were rejected")
            }
            Self::Outage(wait) => {
                let wait = humantime::format_duration(*wait);
                write!(f, "the API was out of order for {wait}")
            }
            Self::LongPause(pause) => {
                let pause = humantime::format_duration(*pause);
                write!(f, "the API asks for a pause of {pause}, longer than allowed")
            }
            Self::Terminated => f.write_str("terminated by SIGTERM"),
            Self::Interrupted => f.write_str("interrupted by SIGINT"),
            Self::CustomersLost { lost, known } => write!(
                f,
                "{lost} of {known} emails no longer lead to their customer, as with a key of \
                 another organization (if it is true, add --accept-missing)"
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
                theirs.escape_debug(),
                ours.escape_debug()
            ),
            Self::KeyRefused => f.write_str("the API refuses the key (HTTP 401 or 403)"),
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
            StopReason::Outage(Duration::from_secs(1)),
            StopReason::LongPause(Duration::from_secs(1)),
            StopReason::Terminated,
            StopReason::Interrupted,
            StopReason::CustomersLost { lost: 1, known: 1 },
            StopReason::NothingFound { answered: 20 },
            StopReason::OtherOrganization { ours: "a".into(), theirs: "b".into() },
            StopReason::KeyRefused,
        ];
        assert!(reasons.is_sorted());
        assert!(reasons.iter().map(StopReason::exit).is_sorted());
    }
}
