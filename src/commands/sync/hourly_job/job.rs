//! One process of the hourly job, from its plan to the end of its run: the program's own plan,
//! scheduler, writer and store, with the simulated API and clock in place of the driver.

use super::api::SimulatedApi;
use super::course::{Course, HOUR};
use crate::commands::sync::lookups::{load_learned, save_learned};
use crate::domain::counts::HttpTally;
use crate::domain::outcome::{CanaryCandidates, PlannedEmail, Settled};
use crate::domain::run::RunReport;
use crate::lookup::scheduler::Scheduler;
use crate::lookup::settings::{Beginning, Progress};
use crate::lookup::simulation::{Plan, SimulatedClock, Simulation, email};
use crate::lookup::step::Places;
use crate::plan::build::{PlanSettings, build};
use crate::plan::cursor::Cursor;
use crate::source::InputRow;
use crate::stop_switch::StopSwitch;
use crate::store::finish::end_killed_runs;
use crate::store::live::Live;
use crate::store::writer::{self, WriterSettings, organization};
use crate::store::wrong_key::MissingCustomers;
use crate::store::{Store, runs};
use crate::time::{self, Moment};
use jiff::Timestamp;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{self, Sender};

const SOURCE: &str = "hourly.csv";
const API_URL: &str = "https://api.example";

/// A run that is over, and how long it took in simulated time.
pub(super) struct EndedRun {
    pub(super) began: Duration,
    pub(super) report: RunReport,
    pub(super) time: Duration,
}

/// The plan in the store, with the writer at the other end.
struct StoredPlan {
    cursor: Cursor,
    writer: Sender<Vec<Settled>>,
}

impl Plan for StoredPlan {
    fn next_page(&mut self, wanted: usize) -> Vec<PlannedEmail> {
        self.cursor.next_page(wanted).unwrap()
    }

    fn canaries(&mut self, places: Places) -> CanaryCandidates {
        self.cursor.canaries(places).unwrap()
    }

    fn settled(&mut self, settled: &Settled) {
        // A writer that ended early says why when it is joined.
        let _ = self.writer.blocking_send(vec![settled.clone()]);
    }
}

/// Plans all emails anew, as `sync LIST` does.
fn plan(store: &mut Store, emails: usize, now: Timestamp, stop: &StopSwitch) -> RunReport {
    let started_at = time::text(now);
    let begun = store.connection.transaction().unwrap();
    end_killed_runs(&begun, None, &started_at).unwrap();
    let run_id = runs::begin(&begun, SOURCE, &started_at).unwrap();
    let rows = (0..emails)
        .map(|number| Ok::<_, Infallible>(InputRow::new(number as u64 + 2, email(number))));
    let settings = PlanSettings { run_id, source: SOURCE.to_owned(), max_age: None, now };
    let summary = build(&begun, rows, &settings, stop).unwrap();
    let run = RunReport::planned(run_id, SOURCE.to_owned(), started_at.clone(), summary.counts);
    runs::save(&begun, &run, &HttpTally::default(), &started_at).unwrap();
    begun.commit().unwrap();
    run
}

/// Runs the job that starts at this time.
pub(super) fn run(
    path: &Path,
    course: &Course,
    at: Duration,
    api: &mut SimulatedApi,
    seed: u64,
) -> EndedRun {
    let later = course.jumps.iter().filter(|(when, _)| *when > at);
    let jumps = later.map(|(when, by)| (*when - at, *by)).collect();
    let clock = SimulatedClock::jumping(course.wall(at), jumps);
    let mut store = Store::open_at(path, clock.begin.wall).unwrap();
    let stop = StopSwitch::default();
    let run = plan(&mut store, course.emails, clock.begin.wall, &stop);
    let progress = Progress { planned: run.counts.planned, ..Progress::default() };
    let learned = load_learned(&store.connection, API_URL).unwrap();
    let first_request = store.first_request();
    let cursor = Cursor::new(store.reader().unwrap(), run.run_id, None);
    let live = Arc::new(Live::new(run, HttpTally::default()));
    let (settled, inbox) = mpsc::channel(64);
    let writer_settings = WriterSettings {
        missing: MissingCustomers::Doubted,
        organization: organization(&store.connection).unwrap(),
        began: clock.begin.mono,
        clock: clock.clock(),
    };
    let writer =
        writer::start(store, Arc::clone(&live), inbox, stop.clone(), writer_settings).unwrap();
    api.begin(at, Arc::clone(&live));
    let mut stored = StoredPlan { cursor, writer: settled };
    let mut simulation = Simulation::new(course.emails).with(|with| with.concurrency = 4);
    simulation.beginning = Beginning { first_request, progress, learned };
    simulation.clock = clock.clone();
    simulation.seed = seed;
    simulation.until = Some(HOUR);
    let suspended = course.suspended.and_then(|(when, time)| Some((when.checked_sub(at)?, time)));
    simulation.suspended = suspended.filter(|(when, _)| *when < HOUR);
    let simulated = simulation.run_plan(api, &mut stored);
    // The writer may have found a greater reason to stop.
    if let Some(reason) = simulated.stop() {
        stop.stop(reason.clone());
    }
    note_status(&live, &simulated.scheduler, clock.now());
    drop(stored);
    let (store, report) = writer.join().unwrap().unwrap();
    save_learned(&store, API_URL, simulated.scheduler.learned(), clock.now().wall).unwrap();
    EndedRun { began: at, report, time: simulated.time }
}

fn note_status(live: &Live, scheduler: &Scheduler, now: Moment) {
    let status = scheduler.status(now.mono);
    *live.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
}
