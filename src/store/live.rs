//! A run while a process works on it: what its other parts see of it and bring to it.

use crate::domain::counts::HttpTally;
use crate::domain::run::{
    HttpReport, LimitsReport, OutagesReport, PauseReport, ProgressReport, RunReport, Status,
};
use crate::domain::speed::Speed;
use crate::domain::status::LookupStatus;
use crate::time;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What the run's other parts see of it and bring to it.
#[derive(Debug)]
pub struct Live {
    /// The report as of the last commit.
    pub run: Mutex<RunReport>,
    /// The requests so far.
    pub http: Mutex<HttpTally>,
    /// The lookups at this moment.
    pub status: Mutex<LookupStatus>,
    speed: Mutex<Speed>,
    /// What earlier processes of the run count to.
    earlier: Earlier,
}

#[derive(Debug)]
struct Earlier {
    checks: u64,
    outages: OutagesReport,
}

impl Live {
    /// A run that a process begins to work on, and the requests of its earlier processes.
    pub fn new(run: RunReport, http: HttpTally) -> Self {
        let earlier = Earlier { checks: run.http.checks, outages: run.outages.clone() };
        Self {
            run: Mutex::new(run),
            http: Mutex::new(http),
            status: Mutex::new(LookupStatus::default()),
            speed: Mutex::new(Speed::default()),
            earlier,
        }
    }

    /// The report of this moment.
    pub fn report(&self) -> RunReport {
        let mut run = lock(&self.run).clone();
        run.http = HttpReport::from(&*lock(&self.http));
        self.complete(&mut run);
        run
    }

    /// Adds to the report what only the lookups know.
    pub(super) fn complete(&self, run: &mut RunReport) {
        let status = lock(&self.status).clone();
        run.http.checks = self.earlier.checks + status.checks;
        run.limits = LimitsReport {
            concurrency: Some(status.concurrency_limit as u64).filter(|limit| *limit > 0),
            rate: status.rate_limit.map(|rate| rate.per_second),
        };
        let OutagesReport { count, seconds, last_cause } = self.earlier.outages.clone();
        run.outages = OutagesReport {
            count: count + status.outages.count,
            seconds: seconds + status.outages.time.as_secs_f64(),
            last_cause: status.outages.last_cause.clone().or(last_cause),
        };
        let is_running = run.status == Status::Running;
        run.progress = is_running.then(|| self.progress(run, &status));
    }

    fn progress(&self, run: &RunReport, status: &LookupStatus) -> ProgressReport {
        let now = time::instant();
        let mut speed = lock(&self.speed);
        speed.look(now, run.counts.settled());
        let per_second = speed.per_second();
        let moving = per_second.filter(|per_second| *per_second > 0.0);
        let until = |instant: Instant| {
            let left = instant.saturating_duration_since(now);
            time::text(time::now().saturating_add(left).unwrap_or(jiff::Timestamp::MAX))
        };
        ProgressReport {
            per_second,
            seconds_left: moving.map(|per_second| run.counts.pending as f64 / per_second),
            in_flight: status.in_flight as u64,
            rate_reason: status.rate_limit.map(|rate| rate.reason.text().to_owned()),
            pause: status.pause.as_ref().map(|pause| PauseReport {
                until: until(pause.until),
                reason: pause.reason.text(),
            }),
        }
    }
}

/// A lock whose holder cannot leave it half done: both hold plain counts.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
