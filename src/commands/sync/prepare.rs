//! The first part of `sync`: everything that has to stand before the first request.

use crate::api::client::{ApiSettings, Client};
use crate::api::key::{ApiKey, KeySource};
use crate::app::environment::{self, Environment};
use crate::app::error::Error;
use crate::app::publishing::Schedule;
use crate::app::run_options::{Api, RunOptions};
use crate::app::settings::{Job, NewPlan, Resume, SyncSettings, store_option};
use crate::app::{logging, os};
use crate::commands::sync::Session;
use crate::commands::sync::dry_run::DryRunReport;
use crate::commands::sync::outputs::{NothingToResume, Outputs};
use crate::commands::sync::planning::{Kept, Planned, Planner, plan_aside};
use crate::display::{counted, escaped, grouped, shown};
use crate::domain::counts::HttpTally;
use crate::domain::run::{RunReport, Status};
use crate::lookup::settings::LookupSettings;
use crate::sandbox::{self, Sandbox};
use crate::store::finish::end_killed_runs;
use crate::store::writer::{claim, organization};
use crate::store::{Store, StoreError, runs};
use crate::time;
use jiff::Timestamp;
use reqwest::Url;
use rusqlite::{Connection, TransactionBehavior};
use std::time::Duration;

/// Files that a run opens besides its connections to the API: the store's, reports, a new key; to publish,
/// the store's once more and a connection.
const OTHER_FILES: u64 = 14;

/// How often the store is tried while another run holds it.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// What `sync` has to do, ready to be done.
pub(super) enum Prepared {
    DryRun(Box<DryRunReport>),
    NothingToResume(NothingToResume),
    Run(Box<ReadyRun>),
}

/// A run whose plan stands in the store, and the API to look it up at.
pub(super) struct ReadyRun {
    pub(super) store: Store,
    pub(super) run: RunReport,
    /// The requests of its earlier processes.
    pub(super) http: HttpTally,
    pub(super) setup: Box<Setup>,
}

/// How a run looks its emails up.
pub(super) struct Setup {
    pub(super) client: Client,
    /// The server behind the client, for as long as the run lasts.
    _sandbox: Option<Sandbox>,
    pub(super) lookup: LookupSettings,
    /// When and where the run is published, if it is.
    pub(super) schedule: Option<Schedule>,
    options: RunOptions,
    warnings: Vec<String>,
}

/// What is to do, once the store has been asked.
enum Work {
    DryRun(NewPlan),
    NothingToResume(NothingToResume),
    New(NewPlan, Box<Setup>),
    Resume(Box<RunReport>, Box<Setup>),
}

/// Opens the store, reads the settings and the key, and makes the plan or takes the run up again.
///
/// # Errors
/// Why nothing can be looked up. Nothing is changed then, and a store that was made for nothing is
/// gone again.
pub(super) async fn prepare(
    session: &Session<'_>,
    outputs: &mut Outputs,
) -> Result<Prepared, Error> {
    let Session { settings, clock, .. } = session;
    let was_there = settings.store.exists();
    let mut store = wait_for_store(session).await?;
    let work = match work(&store.connection, session, outputs) {
        Ok(work) => work,
        Err(error) => {
            store.discard();
            return Err(error);
        }
    };
    match work {
        Work::DryRun(plan) => {
            let (store, mut planned) = plan_aside(store, Planner::Trial(plan), session).await?;
            planned.run.warnings.extend(environment::unknown_variables());
            let report = DryRunReport::new(&store.connection, planned, settings)?;
            Ok(Prepared::DryRun(Box::new(report)))
        }
        Work::NothingToResume(which) => {
            let which =
                if was_there { which } else { NothingToResume::NoStore(settings.store.clone()) };
            store.discard();
            Ok(Prepared::NothingToResume(which))
        }
        Work::New(plan, setup) => {
            let options = setup.options.to_json().map_err(Error::bug)?;
            let organization = settings.organization.clone();
            let kept = Kept { options, organization };
            let planner = Planner::ToKeep { plan, kept };
            let (store, planned) = plan_aside(store, planner, session).await?;
            let Planned { mut run, line, notes, .. } = planned;
            logging::set_run(run.run_id);
            tracing::info!(event = "planned", planned = run.counts.planned, "{}", escaped(&line));
            if let Some(notes) = &notes {
                tracing::info!(event = "source_notes", "{}", escaped(notes));
            }
            run.notes.extend(notes);
            Ok(ready(store, run, HttpTally::default(), setup))
        }
        Work::Resume(run, setup) => {
            logging::set_run(run.run_id);
            let organization = settings.organization.as_deref();
            let resumed = Resumed { options: &setup.options, organization, now: clock.now().wall };
            let (run, http) = take_up(&mut store, *run, &resumed)?;
            Ok(ready(store, run, http, setup))
        }
    }
}

fn ready(store: Store, mut run: RunReport, http: HttpTally, mut setup: Box<Setup>) -> Prepared {
    run.store_option = store_option(store.path());
    run.api_option = setup.options.api_option();
    for warning in setup.warnings.drain(..) {
        if !run.warnings.contains(&warning) {
            run.warnings.push(warning);
        }
    }
    for warning in &run.warnings {
        tracing::warn!(event = "warning", "{}", escaped(warning));
    }
    Prepared::Run(Box::new(ReadyRun { store, run, http, setup }))
}

/// Opens the store; while another run holds it, waits for as long as `--wait-for-lock` allows.
async fn wait_for_store(session: &Session<'_>) -> Result<Store, Error> {
    let Session { settings, began, clock, stop, .. } = session;
    let until = *began + settings.wait_for_lock;
    let mut is_first = true;
    loop {
        match open_store(settings, clock.now().wall) {
            Err(Error::Store(StoreError::Held(held))) if time::instant() < until => {
                if let Some(reason) = stop.reason() {
                    return Err(Error::StoppedPlanning(reason));
                }
                if std::mem::take(&mut is_first) {
                    let store = shown(&held.path);
                    tracing::info!(
                        event = "waiting",
                        "Waiting for another run that holds {store}."
                    );
                }
                tokio::time::sleep(LOCK_RETRY).await;
            }
            opened => return opened,
        }
    }
}

/// Opens the store and brings it up to what is known of its runs and its organization.
fn open_store(settings: &SyncSettings, now: Timestamp) -> Result<Store, Error> {
    let is_dry = matches!(settings.job, Job::DryRun(_));
    let store = match (is_dry, settings.store.exists()) {
        (true, true) => Store::trial(&settings.store)?,
        (true, false) => Store::temporary()?,
        (false, _) => Store::open_at(&settings.store, now)?,
    };
    runs::mark_killed(&store.connection)?;
    if let Some(named) = &settings.organization
        && let Some(ours) = organization(&store.connection)?
        && ours != *named
    {
        return Err(Error::Organization { ours, named: named.clone() });
    }
    Ok(store)
}

/// What there is to do with this store. Nothing is changed yet.
fn work(store: &Connection, session: &Session<'_>, outputs: &mut Outputs) -> Result<Work, Error> {
    let Session { settings, clock, .. } = session;
    let mut set_up = |resumed: Option<&RunReport>| {
        let mut options = settings.options.clone();
        if let Some(run) = resumed {
            options = options.or_kept(kept_options(store, run.run_id)?);
        }
        let kept = Outputs::new(&options, settings, resumed, clock);
        // A file that is something else must not even get the report of this error.
        *outputs = kept.inspect_err(|_| outputs.write_none())?;
        outputs.prove_writable()?;
        Setup::new(options, settings)
    };
    match &settings.job {
        Job::DryRun(plan) => Ok(Work::DryRun(plan.clone())),
        Job::New(plan) => Ok(Work::New(plan.clone(), set_up(None)?)),
        Job::Resume(resume) => match unfinished(store, resume, settings)? {
            Unfinished::Run(run) => {
                let setup = set_up(Some(&run))?;
                Ok(Work::Resume(run, setup))
            }
            Unfinished::None(plan) => Ok(Work::New(plan, set_up(None)?)),
            Unfinished::Nothing(which) => Ok(Work::NothingToResume(which)),
        },
    }
}

enum Unfinished {
    Run(Box<RunReport>),
    /// The source has no unfinished run; this is its new plan.
    None(NewPlan),
    Nothing(NothingToResume),
}

fn unfinished(
    store: &Connection,
    resume: &Resume,
    settings: &SyncSettings,
) -> Result<Unfinished, Error> {
    let run = match resume {
        Resume::Newest => match runs::newest_unfinished(store)? {
            Some(run) => run,
            None => return Ok(Unfinished::Nothing(NothingToResume::AnyRun)),
        },
        Resume::Run(run) => *run,
        Resume::OrPlan(plan) => match runs::unfinished_of(store, &plan.emails.name())? {
            Some(run) => run,
            None => return Ok(Unfinished::None(plan.clone())),
        },
    };
    let Some(report) = runs::load(store, Some(run))? else {
        return Err(Error::NoRun { run, store: settings.store.clone() });
    };
    if runs::is_unfinished(store, run)? {
        Ok(Unfinished::Run(Box::new(report)))
    } else {
        Ok(Unfinished::Nothing(NothingToResume::Run(run)))
    }
}

/// The options that a run was started with.
fn kept_options(store: &Connection, run: i64) -> Result<RunOptions, Error> {
    let json = runs::load_settings(store, run)?;
    RunOptions::kept(json.as_deref())
        .map_err(|error| Error::KeptOptions { run, reason: error.to_string() })
}

impl Setup {
    fn new(options: RunOptions, settings: &SyncSettings) -> Result<Box<Self>, Error> {
        let mut warnings = environment::unknown_variables();
        let schedule = options.schedule()?;
        let api = options.api(settings.api_key_file.as_deref(), &Environment::read())?;
        let (client, sandbox) = match &api {
            Api::At(api) => {
                warnings.extend(api.key.warning());
                (Client::new(api)?, None)
            }
            Api::Sandbox { sandbox, connect_timeout, timeout } => {
                let key = ApiKey::parse(&sandbox.key).map_err(Error::bug)?;
                let server = sandbox::start(sandbox.clone()).map_err(Error::Sandbox)?;
                let url = Url::parse(&server.url()).map_err(Error::bug)?;
                let key = KeySource::Given(key);
                let (connect_timeout, timeout) = (*connect_timeout, *timeout);
                let api = ApiSettings { url, key, connect_timeout, timeout };
                (Client::new(&api)?, Some(server))
            }
        };
        // The sandbox holds the other end of each connection.
        let files_per_lookup = if sandbox.is_some() { 2 } else { 1 };
        let mut lookup = options.lookup();
        warnings.extend(fit_to_file_limit(&mut lookup, files_per_lookup));
        Ok(Box::new(Self { client, _sandbox: sandbox, lookup, schedule, options, warnings }))
    }
}

/// Lowers the concurrency to what the process may open, with a warning: the API is not to blame.
fn fit_to_file_limit(lookup: &mut LookupSettings, files_per_lookup: u64) -> Option<String> {
    let files = os::open_file_limit()?.saturating_sub(os::open_files() + OTHER_FILES);
    let affordable = usize::try_from(files / files_per_lookup).unwrap_or(usize::MAX).max(1);
    if lookup.concurrency <= affordable {
        return None;
    }
    let wanted = std::mem::replace(&mut lookup.concurrency, affordable);
    Some(format!(
        "The limit on open files (ulimit -n) allows {} of the {} lookups in flight. Raise it, or \
         lower --concurrency.",
        grouped(affordable as u64),
        grouped(wanted as u64)
    ))
}

/// What a run is resumed with.
struct Resumed<'a> {
    options: &'a RunOptions,
    organization: Option<&'a str>,
    now: Timestamp,
}

/// Notes in the store that a process works on the run again.
fn take_up(
    store: &mut Store,
    run: RunReport,
    resumed: &Resumed<'_>,
) -> Result<(RunReport, HttpTally), Error> {
    let http = runs::load_http(&store.connection, &run)?;
    let run = RunReport {
        status: Status::Running,
        stop_reason: None,
        finished_at: None,
        exit_code: None,
        ..run
    };
    let begin = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let at = time::text(resumed.now);
    end_killed_runs(&begin, Some(run.run_id), &at)?;
    runs::set_begun(&begin, run.run_id)?;
    claim(&begin, resumed.organization)?;
    runs::save(&begin, &run, &http, &at)?;
    runs::save_settings(&begin, run.run_id, &resumed.options.to_json().map_err(Error::bug)?)?;
    begin.commit()?;
    let (pending, planned) = (counted(run.counts.pending, "email"), grouped(run.counts.planned));
    tracing::info!(
        event = "resumed",
        pending = run.counts.pending,
        "Resuming run {}: {pending} of {planned} pending.",
        run.run_id
    );
    Ok((run, http))
}
