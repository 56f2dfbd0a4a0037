//! The stand-in for the API: its rules, its customers, its pace, its faults.
//!
//! Pure: no clock, no I/O.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::customers::World;
use super::faults::FaultPlan;
use super::limit::Bucket;
use super::reply::{Answer, Delivery, Reply, Request};
use super::{SandboxSettings, hash, rules, spoil};

/// Tells the hash behind a delay from those behind the customers.
const DELAY: u64 = 0x64656c6179;

pub(super) struct SandboxState {
    key: String,
    world: World,
    revision: Arc<AtomicU32>,
    latency: Duration,
    jitter: Duration,
    bucket: Option<Mutex<Bucket>>,
    faults: FaultPlan,
}

impl SandboxState {
    pub(super) fn new(settings: SandboxSettings, revision: Arc<AtomicU32>) -> Self {
        let mut faults = settings.faults;
        faults.add_mixture(settings.fail_rate);
        Self {
            key: settings.key,
            world: World { seed: settings.seed, organization: settings.organization },
            revision,
            latency: settings.latency,
            jitter: settings.jitter,
            bucket: settings.rate_limit.map(|rate| Mutex::new(Bucket::new(rate))),
            faults,
        }
    }

    fn decide(&self, request: &Request<'_>) -> Reply {
        if let Some(outage) = self.faults.outage.filter(|it| it.from_request == request.number) {
            return Reply::error(503, "Outage").deliver(Delivery::Outage(outage.length));
        }
        if self.is_too_fast(request.at) {
            return spoil::too_many();
        }
        if self.faults.key_refused_from.is_some_and(|first| request.number >= first) {
            return rules::key_refused();
        }
        let email = match rules::check(request, &self.key) {
            Ok(email) => email,
            Err(refusal) => return refusal,
        };
        let good = match self.world.customer(email, self.revision.load(Ordering::Relaxed)) {
            Some(customer) => Reply::json(200, customer),
            None => rules::not_found(),
        };
        match self.faults.draw(self.world.seed, email, request.attempt) {
            Some(fault) => spoil::spoil(good, fault),
            None => good,
        }
    }

    fn is_too_fast(&self, now: Duration) -> bool {
        self.bucket
            .as_ref()
            .is_some_and(|bucket| !bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now))
    }

    /// Even over [latency, latency + jitter), and the same for the same request of every run.
    fn delay(&self, number: u64) -> Duration {
        if self.jitter.is_zero() {
            return self.latency;
        }
        self.latency + self.jitter.mul_f64(hash::unit(hash::mix(self.world.seed ^ DELAY, number)))
    }
}

impl Answer for SandboxState {
    fn answer(&self, request: &Request<'_>) -> Reply {
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

    fn stand_in(settings: SandboxSettings) -> SandboxState {
        SandboxState::new(settings, Arc::default())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn delays(seed: u64) -> Vec<Duration> {
        let settings =
            SandboxSettings { seed, latency: ms(10), jitter: ms(20), ..Default::default() };
        let stand_in = stand_in(settings);
        (1..=2000).map(|number| stand_in.delay(number)).collect()
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
    fn emails_are_counted_for_faults_alone() {
        let without = SandboxSettings::default();
        let shares = vec![FaultShare { fault: Fault::Reset, share: 0.01 }];
        let faults = FaultPlan { shares, ..Default::default() };
        assert!(stand_in(SandboxSettings { faults, ..without.clone() }).counts_attempts());
        assert!(stand_in(SandboxSettings { fail_rate: 0.01, ..without.clone() }).counts_attempts());
        assert!(!stand_in(without).counts_attempts());
    }
}
