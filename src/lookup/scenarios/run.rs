//! Plays a scenario and measures it.

use super::server::Server;
use super::{Before, Phase, Scenario, Variant};
use crate::domain::outcome::{Answer, Attempt, FailureCode};
use crate::lookup::scheduler::Scheduler;
use crate::lookup::simulation::{Api, Request, Run, Simulation};
use crate::lookup::step::RequestKind;
use std::fmt;
use std::time::Duration;

/// What a phase came to, after it settled.
pub(super) struct Figures {
    /// The least and the greatest.
    pub(super) limit: [f64; 2],
    pub(super) rate: [f64; 2],
    pub(super) requests: u32,
    answered: u32,
    /// For the share that was refused.
    judged: u32,
    refused: u32,
}

impl Default for Figures {
    fn default() -> Self {
        let none = [f64::INFINITY, f64::NEG_INFINITY];
        Self { limit: none, rate: none, requests: 0, answered: 0, judged: 0, refused: 0 }
    }
}

fn widen(range: &mut [f64; 2], value: f64) {
    *range = [range[0].min(value), range[1].max(value)];
}

impl Figures {
    /// The share of what the best fixed limit would get.
    pub(super) fn used(&self, phase: &Phase) -> f64 {
        let seconds = phase.seconds - phase.settle;
        f64::from(self.answered) / seconds / phase.best.unwrap_or(f64::INFINITY)
    }

    /// The share of requests that were refused.
    pub(super) fn wasted(&self) -> f64 {
        f64::from(self.refused) / f64::from(self.judged.max(1))
    }

    pub(super) fn line(&self, phase: &Phase) -> String {
        let ([least, most], [slowest, fastest]) = (self.limit, self.rate);
        let (used, wasted, requests) = (self.used(phase), self.wasted(), self.requests);
        format!(
            "limit {least} to {most}, rate {slowest:.1} to {fastest:.1}, used {used:.3}, \
             wasted {wasted:.4}, requests {requests}"
        )
    }

    fn count(&mut self, attempt: &Attempt) {
        self.requests += 1;
        self.answered += u32::from(attempt.answer == Answer::NotFound);
    }

    fn judge(&mut self, attempt: &Attempt) {
        self.judged += 1;
        let is_refused = match &attempt.answer {
            Answer::Retry(failure) => failure.code != FailureCode::ServerError,
            _ => false,
        };
        self.refused += u32::from(is_refused);
    }
}

/// What the run came to.
pub(super) struct Played {
    pub(super) phases: Vec<Figures>,
    pub(super) run: Run,
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = &self.run;
        write!(
            f,
            "{} requests of which {} checks, {} settled, {} failed, {:.1} s, {:?}, {:?}",
            run.requests.len(),
            run.checks(),
            run.settled.len(),
            run.failed(),
            run.time.as_secs_f64(),
            run.stop(),
            run.scheduler.status(crate::time::instant()).outages
        )
    }
}

/// The API of a scenario, with what is measured.
struct Measured<'a> {
    scenario: &'a Scenario,
    phases: Vec<Phase>,
    figures: Vec<Figures>,
    server: Server,
}

impl Api for Measured<'_> {
    fn respond(&mut self, request: &Request) -> Attempt {
        let (phase, _) = self.phase(request.at);
        self.server.respond(&self.phases[phase], request, self.scenario.emails)
    }

    fn observe(&mut self, attempt: &Attempt, _: RequestKind, scheduler: &Scheduler, at: Duration) {
        self.server.responded(attempt);
        let (at, since) = self.phase(at);
        let (phase, figures) = (&self.phases[at], &mut self.figures[at]);
        if since >= phase.wasted_from.unwrap_or(phase.settle) {
            figures.judge(attempt);
        }
        if since >= phase.settle {
            figures.count(attempt);
            widen(&mut figures.limit, scheduler.limit() as f64);
            if let Some(rate) = scheduler.rate() {
                widen(&mut figures.rate, rate);
            }
        }
    }
}

impl Measured<'_> {
    /// The phase at this time, and since how many seconds.
    fn phase(&self, at: Duration) -> (usize, f64) {
        let mut since = at.as_secs_f64();
        for (at, phase) in self.phases.iter().enumerate() {
            if since < phase.seconds {
                return (at, since);
            }
            since -= phase.seconds;
        }
        (self.phases.len() - 1, f64::INFINITY)
    }
}

pub(super) fn play(scenario: &Scenario, variant: Variant, before: &Before) -> Played {
    let mut phases = scenario.phase.clone();
    if let Some(latency_ms) = variant.latency_ms {
        phases.iter_mut().for_each(|phase| phase.latency_ms = latency_ms);
    }
    let seconds: f64 = phases.iter().map(|phase| phase.seconds).sum();
    let mut simulation = Simulation::new(scenario.emails.unwrap_or(0)).with(|with| {
        with.concurrency = scenario.concurrency;
        with.rate = scenario.rate;
    });
    simulation.emails = scenario.emails;
    simulation.seed = variant.seed;
    simulation.until = Some(Duration::from_secs_f64(seconds));
    simulation.beginning.learned = before.learned;
    simulation.answered_earlier.clone_from(&before.answered);
    let mut api = Measured {
        scenario,
        figures: phases.iter().map(|_| Figures::default()).collect(),
        phases,
        server: Server::new(variant.seed + 1),
    };
    let run = simulation.run(&mut api);
    Played { phases: api.figures, run }
}
