//! What the sandbox answers: by the API's rules, with its customers, limits and faults.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::customers::Customers;
use super::faults::FaultPlan;
use super::incidents::{KeyChanges, Moment, Outage, RetryAfter};
use super::limit::Bucket;
use super::reply::{Delivery, Handler, Reply, Request};
use super::{SandboxSettings, bad, hash, json, rules};

/// Distinguishes the hash behind a delay from those behind the customers.
const DELAY: u64 = 0x64656c6179;

/// Distinguishes the customers of two organizations.
const ORGANIZATION: u64 = 0x6f7267;

pub(super) struct SandboxState {
    seed: u64,
    organizations: Vec<Organization>,
    revision: Arc<AtomicU32>,
    latency: Duration,
    jitter: Duration,
    retry_after: RetryAfter,
    faults: FaultPlan,
    outages: Vec<Outage>,
    key_changes: KeyChanges,
    /// When the first request came in, counted from the start of the server.
    first_request: OnceLock<Duration>,
}

/// The customers behind one key.
struct Organization {
    id: String,
    key: String,
    customers: Customers,
    bucket: Option<Mutex<Bucket>>,
}

impl Organization {
    fn is_too_fast(&self, now: Duration) -> bool {
        self.bucket
            .as_ref()
            .is_some_and(|bucket| !bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now))
    }
}

impl SandboxState {
    pub(super) fn new(settings: SandboxSettings, revision: Arc<AtomicU32>) -> Self {
        let organizations = settings.organizations().into_iter().zip(0..);
        let organization = |(names, number): (super::Organization, u64)| Organization {
            id: names.id,
            key: names.key,
            customers: Customers {
                seed: match number {
                    0 => settings.seed,
                    _ => hash::mix(settings.seed ^ ORGANIZATION, number),
                },
            },
            bucket: settings.rate_limit.map(|rate| Mutex::new(Bucket::new(rate))),
        };
        let organizations = organizations.map(organization).collect();
        let mut faults = settings.faults;
        faults.add_mixture(settings.fail_rate);
        Self {
            seed: settings.seed,
            organizations,
            revision,
            latency: settings.latency,
            jitter: settings.jitter,
            retry_after: settings.retry_after,
            faults,
            outages: settings.outages,
            key_changes: settings.key_changes,
            first_request: OnceLock::new(),
        }
    }

    fn decide(&self, request: &Request<'_>) -> Reply {
        let first = *self.first_request.get_or_init(|| request.at);
        let moment = Moment { request: request.number, elapsed: request.at.saturating_sub(first) };
        if let Some(left) = self.outages.iter().find_map(|outage| outage.left(moment)) {
            return Reply::error(503, "Outage").deliver(Delivery::Outage(left));
        }
        self.look_up(request, moment).unwrap_or_else(|refusal| refusal)
    }

    fn look_up(&self, request: &Request<'_>, moment: Moment) -> Result<Reply, Reply> {
        rules::check_route(request)?;
        let organization = self.organization(request.key, moment).ok_or_else(rules::key_refused)?;
        if organization.is_too_fast(request.at) {
            return Err(bad::too_many_requests(self.retry_after));
        }
        let email = rules::email(request)?;
        let revision = self.revision.load(Ordering::Relaxed);
        let good = match organization.customers.get(email, revision) {
            Some(customer) => Reply::json(200, json::write(&customer, &organization.id)),
            None => rules::not_found(),
        };
        let seed = organization.customers.seed;
        Ok(match self.faults.draw(seed, email, request.attempt) {
            Some(fault) => bad::reply(good, fault, self.retry_after),
            None => good,
        })
    }

    /// The organization whose key this is.
    fn organization(&self, key: Option<&str>, moment: Moment) -> Option<&Organization> {
        let key = key?;
        let accepts = |it: &&Organization| self.key_changes.accept(&it.key, key, moment);
        self.organizations.iter().find(accepts)
    }

    /// Uniform over [latency, latency + jitter), and the same for the same request of every run.
    fn delay(&self, number: u64) -> Duration {
        if self.jitter.is_zero() {
            return self.latency;
        }
        self.latency + self.jitter.mul_f64(hash::unit(hash::mix(self.seed ^ DELAY, number)))
    }
}

impl Handler for SandboxState {
    fn respond(&self, request: &Request<'_>) -> Reply {
        self.decide(request).after(self.delay(request.number))
    }

    fn counts_attempts(&self) -> bool {
        !self.faults.shares.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::{Fault, FaultShare};
    use super::*;

    fn state(settings: SandboxSettings) -> SandboxState {
        SandboxState::new(settings, Arc::default())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn delays(seed: u64) -> Vec<Duration> {
        let settings =
            SandboxSettings { seed, latency: ms(10), jitter: ms(20), ..Default::default() };
        let state = state(settings);
        (1..=2000).map(|number| state.delay(number)).collect()
    }

    #[test]
    fn delays_are_spread_evenly_above_the_latency() {
        let delays = delays(0);
        assert!(delays.iter().all(|delay| (ms(10)..ms(30)).contains(delay)));
        for (from, to) in [(10, 15), (15, 20), (20, 25), (25, 30)] {
            let count = delays.iter().filter(|delay| (ms(from)..ms(to)).contains(delay)).count();
            assert!((440..560).contains(&count), "{count} from {from} ms");
        }
    }

    #[test]
    fn delays_repeat_and_differ_by_seed() {
        assert_eq!(delays(0), delays(0));
        assert_ne!(delays(0), delays(1));
    }

    #[test]
    fn attempts_are_counted_only_for_faults_that_end() {
        let without = SandboxSettings::default();
        let shares = vec![FaultShare { fault: Fault::Reset, share: 0.01 }];
        let passing = FaultPlan { shares: shares.clone(), ..Default::default() };
        let permanent = FaultPlan { permanent: shares, ..Default::default() };
        let counts = |faults: FaultPlan| {
            state(SandboxSettings { faults, ..without.clone() }).counts_attempts()
        };
        assert!(counts(passing) && !counts(permanent));
        assert!(state(SandboxSettings { fail_rate: 0.01, ..without.clone() }).counts_attempts());
        assert!(!state(without.clone()).counts_attempts());
    }
}
