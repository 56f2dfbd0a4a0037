//! A local API with made-up customers, for trials, tests and benchmarks.
//!
//! Suggested reading order: `server` puts a [`Handler`] behind HTTP, `state` is the handler that
//! knows the API's `rules`, takes its `customers` and goes wrong by `faults` and `incidents`.
//! Everything but `server`, `port`, `body` and `wire` is pure.

mod address;
mod bad;
mod body;
mod changes;
mod customer;
mod customers;
mod faults;
mod hash;
mod incidents;
mod json;
mod limit;
mod names;
mod port;
mod reply;
mod rules;
mod server;
mod state;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use faults::{FAULTS_UNTIL_ATTEMPT, Fault, FaultPlan, FaultShare, InvalidFault};
pub use incidents::{
    InvalidIncident, InvalidRetryAfter, KeyChanges, Outage, ROTATED, RetryAfter, When,
};
pub use reply::{Delivery, Handler, Reply, Request};

use server::Server;
use state::SandboxState;

/// The default key. Not a secret: it opens nothing else.
pub const SANDBOX_KEY: &str = "sandbox";

/// The default organization.
pub const SANDBOX_ORGANIZATION: &str = "org_sandbox";

/// The time until an answer begins: that of a hosted API within one region.
pub const SANDBOX_LATENCY: Duration = Duration::from_millis(20);

/// By how much an answer can come later than that.
pub const SANDBOX_JITTER: Duration = Duration::from_millis(20);

/// How the sandbox behaves.
// Without Debug, here and in `Request`: a key appears in no debug text.
#[derive(Clone)]
pub struct SandboxSettings {
    /// A loopback address; port 0 for any free one.
    pub listen: SocketAddr,
    /// The key that requests must carry.
    pub key: String,
    /// The organization of the customers.
    pub organization: String,
    /// How many organizations there are. If more than one, their names and keys end with `_1` and
    /// `-1`, and so on, and each has its own customers.
    pub organizations: u32,
    /// Another seed makes other customers, delays and faults.
    pub seed: u64,
    /// How often the customers have changed. See [`Sandbox::set_revision`].
    pub revision: u32,
    /// The least time until an answer begins.
    pub latency: Duration,
    /// The span above `latency` over which answers are spread evenly.
    pub jitter: Duration,
    /// How many requests per second each key may send; a further one gets a 429.
    pub rate_limit: Option<f64>,
    pub retry_after: RetryAfter,
    /// The share of answers, from 0 to 1, that a mixture of status 500, status 503 and resets takes
    /// the place of. It adds to the shares of `faults` and ends with them.
    pub fail_rate: f64,
    pub faults: FaultPlan,
    pub outages: Vec<Outage>,
    pub key_changes: KeyChanges,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            key: SANDBOX_KEY.into(),
            organization: SANDBOX_ORGANIZATION.into(),
            organizations: 1,
            seed: 0,
            revision: 0,
            latency: SANDBOX_LATENCY,
            jitter: SANDBOX_JITTER,
            rate_limit: None,
            retry_after: RetryAfter::Seconds(1),
            fail_rate: 0.0,
            faults: FaultPlan::default(),
            outages: Vec::new(),
            key_changes: KeyChanges::default(),
        }
    }
}

/// An organization of the sandbox and the key to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: String,
    pub key: String,
}

impl SandboxSettings {
    pub fn organizations(&self) -> Vec<Organization> {
        if self.organizations == 1 {
            return vec![Organization { id: self.organization.clone(), key: self.key.clone() }];
        }
        let organization = |n| Organization {
            id: format!("{}_{n}", self.organization),
            key: format!("{}-{n}", self.key),
        };
        (1..=self.organizations).map(organization).collect()
    }
}

/// A running server. It stops when dropped.
pub struct Sandbox {
    server: Server,
    revision: Arc<AtomicU32>,
}

/// Serves made-up customers by the API's rules.
///
/// # Errors
/// `listen` is not a loopback address or cannot be bound, or a setting is out of its range.
pub fn start(settings: SandboxSettings) -> io::Result<Sandbox> {
    check(&settings)?;
    let revision = Arc::new(AtomicU32::new(settings.revision));
    let state = SandboxState::new(settings.clone(), Arc::clone(&revision));
    Ok(Sandbox { server: Server::start(settings.listen, state)?, revision })
}

/// Serves the replies of `handler`, for tests: any function `|request: &Request<'_>| -> Reply` will
/// do.
///
/// # Errors
/// `listen` is not a loopback address or cannot be bound.
pub fn start_with(listen: SocketAddr, handler: impl Handler) -> io::Result<Sandbox> {
    let server = Server::start(listen, handler)?;
    Ok(Sandbox { server, revision: Arc::default() })
}

fn check(settings: &SandboxSettings) -> io::Result<()> {
    let faults = &settings.faults;
    let is_share = |share: f64| (0.0..=1.0).contains(&share);
    let shares = faults.shares.iter().chain(&faults.permanent).map(|one| one.share);
    let sum = |shares: &[FaultShare]| shares.iter().map(|one| one.share).sum::<f64>();
    // A sum of shares such as 0.1 + 0.2 + 0.7 can miss 1 by a rounding.
    let is_too_much = |share: f64| share > 1.0 + f64::EPSILON * 8.0;
    let wrong = if settings.organizations == 0 {
        "there must be at least 1 organization"
    } else if settings.rate_limit.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        "the rate limit must be above 0"
    } else if !shares.chain([settings.fail_rate]).all(is_share) {
        "the share of a fault must be between 0% and 100%"
    } else if is_too_much(sum(&faults.shares) + settings.fail_rate)
        || is_too_much(sum(&faults.permanent))
    {
        "the shares of all faults add up to more than 100%"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
}

impl Sandbox {
    /// The base URL, to which a client adds the path of the call.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address(), rules::BASE_PATH)
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How many requests have come in.
    pub fn requests(&self) -> u64 {
        self.server.requests()
    }

    /// Lets the customers change: from one revision to the next about one in twenty does. Each
    /// revision is a fixed state, so going back undoes the changes. Behind [`start_with`] it does
    /// nothing.
    pub fn set_revision(&self, revision: u32) {
        self.revision.store(revision, Ordering::Relaxed);
    }

    /// Serves until the process ends.
    pub fn wait(self) {
        self.server.wait();
    }
}

#[cfg(test)]
mod tests;
