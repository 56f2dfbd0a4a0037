//! A stand-in for the API on loopback, with made-up customers.
//!
//! Suggested reading order: `server` puts an [`Answer`] behind HTTP, `stand_in` is the answer
//! that knows the API's `rules` and asks `customers` who stands behind an email.

mod body;
mod changes;
mod customers;
mod hash;
mod limit;
mod names;
mod record;
mod reply;
mod rules;
mod server;
mod stand_in;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use reply::{Answer, Asked, Delivery, Reply};

use server::Server;
use stand_in::StandIn;

/// The key that the sandbox accepts unless told another. No secret: it opens nothing else.
pub const SANDBOX_KEY: &str = "sandbox";

/// The organization of the made-up customers unless told another.
pub const SANDBOX_ORGANIZATION: &str = "org_sandbox";

/// The time until an answer begins: that of a hosted API within one region.
pub const SANDBOX_LATENCY: Duration = Duration::from_millis(20);

/// By how much an answer can come later than that.
pub const SANDBOX_JITTER: Duration = Duration::from_millis(20);

/// How the sandbox behaves.
#[derive(Clone, Debug)]
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
    let server = Server::start(listen, threads, StandIn::new(settings, Arc::clone(&revision)))?;
    Ok(Sandbox { server, revision })
}

/// Serves what `answer` says, for tests: any function `|asked: &Asked<'_>| -> Reply` will do.
///
/// # Errors
/// `listen` is no loopback address or cannot be bound.
pub fn start_with(listen: SocketAddr, answer: impl Answer) -> io::Result<Sandbox> {
    let server = Server::start(listen, 1, answer)?;
    Ok(Sandbox { server, revision: Arc::default() })
}

fn check(settings: &SandboxSettings) -> io::Result<()> {
    let wrong = match settings.rate_limit {
        Some(rate) if !(rate.is_finite() && rate > 0.0) => "the rate limit must be above 0",
        _ => return Ok(()),
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
