//! A stand-in for the API on loopback, with made-up customers.
//!
//! Suggested reading order: `server` puts an [`Answer`] behind HTTP, `stand_in` is the answer
//! that knows the API's `rules`, asks `customers` who stands behind an email and `faults` what goes
//! wrong.

mod body;
mod changes;
mod customers;
mod faults;
mod hash;
mod limit;
mod names;
mod port;
mod record;
mod reply;
mod rules;
mod server;
mod spoil;
mod state;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use faults::{
    FAULTS_UNTIL_ATTEMPT, Fault, FaultPlan, FaultShare, InvalidFault, Outage, parse_share,
};
pub use reply::{Answer, Delivery, Reply, Request};

use server::Server;
use state::SandboxState;

/// The key that the sandbox accepts unless told another. No secret: it opens nothing else.
pub const SANDBOX_KEY: &str = "sandbox";

/// The organization of the made-up customers unless told another.
pub const SANDBOX_ORGANIZATION: &str = "org_sandbox";

/// The time until an answer begins: that of a hosted API within one region.
pub const SANDBOX_LATENCY: Duration = Duration::from_millis(20);

/// By how much an answer can come later than that.
pub const SANDBOX_JITTER: Duration = Duration::from_millis(20);

/// How the sandbox behaves.
// No Debug, here and in `Request`: a key shows in no debug text.
#[derive(Clone)]
pub struct SandboxSettings {
    /// Where to listen: loopback alone, port 0 for any free one.
    pub listen: SocketAddr,
    /// The key that requests must carry.
    pub key: String,
    /// The organization of all customers.
    pub organization: String,
    /// Another seed makes other customers, delays and faults.
    pub seed: u64,
    /// How often the customers have changed. See [`Sandbox::set_revision`].
    pub revision: u32,
    /// The least time until an answer begins.
    pub latency: Duration,
    /// The span above `latency` over which answers are spread evenly.
    pub jitter: Duration,
    /// Requests a second that are let through; beyond it the answer is 429.
    pub rate_limit: Option<f64>,
    /// The share of answers, from 0 to 1, that a mixture of status 500, status 503 and resets takes
    /// the place of. It adds to `faults` and ends with them ([`FaultPlan::until_attempt`]).
    pub fail_rate: f64,
    /// What goes wrong besides.
    pub faults: FaultPlan,
    /// Threads that answer.
    pub threads: usize,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            key: SANDBOX_KEY.into(),
            organization: SANDBOX_ORGANIZATION.into(),
            seed: 0,
            revision: 0,
            latency: SANDBOX_LATENCY,
            jitter: SANDBOX_JITTER,
            rate_limit: None,
            fail_rate: 0.0,
            faults: FaultPlan::default(),
            threads: 1,
        }
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
/// `listen` is no loopback address or cannot be bound, or a setting is out of its range.
pub fn start(settings: SandboxSettings) -> io::Result<Sandbox> {
    check(&settings)?;
    let revision = Arc::new(AtomicU32::new(settings.revision));
    let (listen, threads) = (settings.listen, settings.threads);
    let server =
        Server::start(listen, threads, SandboxState::new(settings, Arc::clone(&revision)))?;
    Ok(Sandbox { server, revision })
}

/// Serves what `answer` says, for tests: any function `|request: &Request<'_>| -> Reply` will do.
///
/// # Errors
/// `listen` is no loopback address or cannot be bound.
pub fn start_with(listen: SocketAddr, answer: impl Answer) -> io::Result<Sandbox> {
    let server = Server::start(listen, 1, answer)?;
    Ok(Sandbox { server, revision: Arc::default() })
}

fn check(settings: &SandboxSettings) -> io::Result<()> {
    let is_share = |share: f64| (0.0..=1.0).contains(&share);
    let shares = settings.faults.shares.iter().map(|one| one.share);
    let total = settings.faults.total() + settings.fail_rate;
    // A sum of shares such as 0.1 + 0.2 + 0.7 can miss 1 by a rounding.
    let wrong = if settings.rate_limit.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        "the rate limit must be above 0"
    } else if !shares.chain([settings.fail_rate]).all(is_share) {
        "a share of answers goes from 0 to 1"
    } else if total > 1.0 + f64::EPSILON * 8.0 {
        "the shares of all faults add up to more than 1"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
}

impl Sandbox {
    /// The base URL, as the vendor's: the path of the call comes after it.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address(), rules::BASE_PATH)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How many requests came in so far.
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
