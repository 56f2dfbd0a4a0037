//! What an attempt brought, and what became of an email.
//!
//! Pure: no clock, no I/O.

use crate::domain::customer::CustomerBody;
use jiff::Timestamp;
use std::fmt;
use std::time::Duration;

/// An email that waits for its lookup, as the plan hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEmail {
    /// The place in the plan's order.
    pub position: i64,
    /// The email's key in the store.
    pub key: i64,
    /// The normalised address.
    pub email: String,
    /// The key of the customer that the email resolved to so far.
    pub resolved_to: Option<i64>,
}

/// Emails that a canary may look up before one was answered in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CanaryCandidates {
    /// From elsewhere in the plan, not looked up yet.
    pub planned: Vec<String>,
    /// Those answered most recently in earlier runs, the newest first.
    pub answered: Vec<String>,
}

/// What one request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What the answer means.
    pub answer: Answer,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// From the start of the request to the last byte of the answer.
    pub latency: Duration,
}

/// What an answer means for the email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A customer of this organization.
    Found(Box<CustomerBody>),
    /// The organization has no customer with this email.
    NotFound,
    /// The API does not take this text for an email; with its words.
    Rejected(String),
    /// 401 or 403: the key, or perhaps this email alone.
    KeyRefused,
    /// No answer, for a cause that asking again may cure.
    Retry(Failure),
    /// No answer, and asking again would bring the same.
    Failed(Failure),
}

/// Why an attempt brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind, which `rejects` carries.
    pub code: FailureCode,
    /// What happened, for a person.
    pub reason: String,
}

impl Failure {
    /// A failure of kind `code`, with its causes.
    pub fn new(code: FailureCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// The kinds of failure. The name of each is part of the store's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureCode {
    /// No connection could be made.
    Connect,
    /// The connection broke before the answer was there.
    ConnectionLost,
    /// The answer took too long.
    Timeout,
    /// The answer's body ended early.
    IncompleteBody,
    /// The answer is no HTTP, or its body cannot be decoded.
    InvalidResponse,
    /// 429.
    RateLimited,
    /// 503.
    Unavailable,
    /// 408, 425, 500, 502, 504, 520 to 529.
    ServerError,
    /// A 200 that is not one complete JSON object.
    NoJson,
    /// A 404 that is not the API's own.
    MissingRoute,
    /// A redirect, which is never followed.
    Redirect,
    /// Any other status.
    UnexpectedStatus,
    /// A body over the limit.
    BodyTooLarge,
    /// A 200 whose object breaks the contract.
    BrokenCustomer,
    /// 401 or 403 for this email alone, while the key is good.
    KeyRefused,
}

impl FailureCode {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::ConnectionLost,
        Self::Timeout,
        Self::IncompleteBody,
        Self::InvalidResponse,
        Self::RateLimited,
        Self::Unavailable,
        Self::ServerError,
        Self::NoJson,
        Self::MissingRoute,
        Self::Redirect,
        Self::UnexpectedStatus,
        Self::BodyTooLarge,
        Self::BrokenCustomer,
        Self::KeyRefused,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectionLost => "connection_lost",
            Self::Timeout => "timeout",
            Self::IncompleteBody => "incomplete_body",
            Self::InvalidResponse => "invalid_response",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::ServerError => "server_error",
            Self::NoJson => "no_json",
            Self::MissingRoute => "missing_route",
            Self::Redirect => "redirect",
            Self::UnexpectedStatus => "unexpected_status",
            Self::BodyTooLarge => "body_too_large",
            Self::BrokenCustomer => "broken_customer",
            Self::KeyRefused => "key_refused",
        }
    }
}

/// The name of a rejected email's code in `rejects`.
pub const REJECTED: &str = "rejected";

/// An email whose lookup is over, for this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which email.
    pub planned: PlannedEmail,
    /// What became of it.
    pub outcome: Outcome,
    /// The HTTP status of the last attempt, if there was one.
    pub status: Option<u16>,
    /// How many attempts counted.
    pub attempts: u32,
    /// The number of the request that settled it: a later request has a higher one.
    pub request: i64,
    /// When the last answer came.
    pub at: Timestamp,
}

impl Settled {
    /// About what it takes in memory, in bytes, while it waits to be written: the body of an answer
    /// can have any size.
    pub fn bytes(&self) -> usize {
        match &self.outcome {
            Outcome::Found(body) => body.bytes(),
            Outcome::NotFound | Outcome::Rejected(_) | Outcome::Failed { .. } => 0,
        }
    }
}

/// What became of an email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It resolves to this customer.
    Found(Box<CustomerBody>),
    /// It resolves to no customer.
    NotFound,
    /// The API does not take it for an email.
    Rejected(String),
    /// No answer.
    Failed {
        /// The last attempt's failure.
        failure: Failure,
        /// Whether another run may fare better by itself.
        cause: Cause,
    },
}

/// Whether a failure passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Out of attempts, for a cause that may pass.
    Transient,
    /// Asking again brings the same.
    Permanent,
}

/// The outcomes by name, as the store and the report name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    /// See [`Outcome::Found`].
    Found,
    /// See [`Outcome::NotFound`].
    NotFound,
    /// See [`Outcome::Rejected`].
    Rejected,
    /// See [`Outcome::Failed`].
    Failed,
}

impl OutcomeKind {
    /// The outcome of that name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Found, Self::NotFound, Self::Rejected, Self::Failed];
        all.into_iter().find(|kind| kind.name() == name)
    }

    /// The name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotFound => "not_found",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

impl Outcome {
    /// Which of the outcomes it is.
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Found(_) => OutcomeKind::Found,
            Self::NotFound => OutcomeKind::NotFound,
            Self::Rejected(_) => OutcomeKind::Rejected,
            Self::Failed { .. } => OutcomeKind::Failed,
        }
    }
}

/// What can happen to a customer, as `changes` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Seen for the first time, with all devices and orders.
    Created,
    /// One field has another value.
    Updated,
    /// A device is assigned that was not before.
    DeviceAssigned,
    /// A device is no longer assigned.
    DeviceUnassigned,
    /// An order is listed that was not before.
    OrderAdded,
    /// An order is no longer listed.
    OrderRemoved,
    /// No email resolves to the customer any more.
    Missing,
    /// An email resolves to a missing customer again.
    Returned,
    /// All that was known of the customer was removed, but for its id.
    Erased,
}

impl ChangeKind {
    /// Every kind, in the order of the report.
    pub const ALL: [Self; 9] = [
        Self::Created,
        Self::Updated,
        Self::DeviceAssigned,
        Self::DeviceUnassigned,
        Self::OrderAdded,
        Self::OrderRemoved,
        Self::Missing,
        Self::Returned,
        Self::Erased,
    ];

    /// The change of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::DeviceAssigned => "device_assigned",
            Self::DeviceUnassigned => "device_unassigned",
            Self::OrderAdded => "order_added",
            Self::OrderRemoved => "order_removed",
            Self::Missing => "missing",
            Self::Returned => "returned",
            Self::Erased => "erased",
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_in_the_store_stand_for_one_kind_each() {
        let kinds = ["found", "not_found", "rejected", "failed"];
        assert_eq!(
            kinds.map(|name| OutcomeKind::named(name).map(OutcomeKind::name)),
            kinds.map(Some)
        );
        assert_eq!(OutcomeKind::named("lost"), None);
        for kind in ChangeKind::ALL {
            assert_eq!(ChangeKind::named(kind.name()), Some(kind));
        }
        assert_eq!(ChangeKind::named("deleted"), None);
    }

    #[test]
    fn only_the_body_of_an_answer_takes_memory_worth_counting() {
        let body = br#"{"id":"c1"}"#;
        let found = Outcome::Found(Box::new(CustomerBody::new(body).unwrap()));
        let reason = "x".repeat(300);
        for (outcome, bytes) in [(found, body.len()), (Outcome::Rejected(reason), 0)] {
            let planned =
                PlannedEmail { position: 0, key: 1, email: "a@x.io".into(), resolved_to: None };
            let at = Timestamp::UNIX_EPOCH;
            let settled = Settled { planned, outcome, status: None, attempts: 1, request: 1, at };
            assert_eq!(settled.bytes(), bytes);
        }
    }
}
