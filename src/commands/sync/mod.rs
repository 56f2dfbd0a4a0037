//! `sync`: the main job. Lock, plan, ask, report.

mod lookups;
mod planning;

use crate::api::client::{ApiSettings, Client};
use crate::api::key::{ApiKey, KeySource};
use crate::app::cli::{RunChoice, SyncArgs};
use crate::app::error::Error;
use crate::app::logging;
use crate::app::progress::{self, Mode};
use crate::app::settings::{Api, Environment, Job, OutputSettings, SyncSettings, Verbosity};
use crate::app::signals;
use crate::commands::print;
use crate::commands::sync::lookups::{Asking, ask, live, note_failure};
use crate::commands::sync::planning::{Planned, plan};
use crate::display::{counted, escaped, grouped, human_duration};
use crate::domain::counts::HttpTally;
use crate::domain::exit::Exit;
use crate::domain::report_data::ReportData;
use crate::domain::run::{RunReport, Status};
use crate::domain::stop::StopReason;
use crate::report::output::{Readers, prove_writable, replace};
use crate::report::rejects;
use crate::report::{Format, text};
use crate::sandbox::{Sandbox, start};
use crate::stop_switch::StopSwitch;
use crate::store::finish::end_killed_runs;
use crate::store::writer::{Live, WriterSettings, organization, set_organization};
use crate::store::{Store, StoreError, open_to_read, runs};
use crate::time;
use reqwest::Url;
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Report files are written this often while the run goes on.
const REPORT_FILES_EVERY: Duration = Duration::from_secs(60);

/// A source that gives no row for this long after a stop was asked for is left behind.
const PLANNING_GRACE: Duration = Duration::from_secs(5);

/// Runs `sync`, in a process that began at `began`.
///
/// # Errors
/// Why the run could not do its job.
pub fn run(args: SyncArgs, began: Instant) -> Result<Exit, Error> {
    let settings = SyncSettings::new(args, &Environment::read())?;
    let mode = match settings.output.voice {
        Verbosity::Quiet => Mode::None,
        Verbosity::Normal | Verbosity::Emails | Verbosity::Attempts => {
            Mode::new(settings.output.progress)
        }
    };
    let bar = progress::bar(mode);
    logging::begin(settings.output.voice, settings.output.log_format, &bar);
    prove_outputs(&settings.output)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(sync(settings, began, (mode, bar)));
    // A planner that hangs in its source is left behind.
    runtime.shutdown_background();
    exit
}

async fn sync(
    settings: SyncSettings,
    began: Instant,
    (mode, bar): (Mode, indicatif::ProgressBar),
) -> Result<Exit, Error> {
    let stop = StopSwitch::default();
    let _signals = signals::listen(stop.clone())?;
    if let Some(deadline) = settings.deadline {
        tokio::spawn(stop_at(began + deadline, StopReason::Deadline(deadline), stop.clone()));
    }
    let (client, _sandbox) = client(&settings.api)?;
    let store = open_store(&settings)?;
    let Prepared { store, run, http } = match &settings.work {
        Job::Resume(choice) => match resume(store, *choice)? {
            Resumed::Run(prepared) => *prepared,
            Resumed::Nothing(told) => {
                tell(settings.output.voice, &told);
                return Ok(Exit::Complete);
            }
        },
        Job::Plan(_) | Job::DryRun(_) | Job::RetryFailed | Job::DryRetryFailed => {
            let (store, planned) = plan_aside(store, &settings, &stop).await?;
            for warning in &planned.run.warnings {
                tracing::warn!("{}", escaped(warning));
            }
            if settings.work.is_dry() {
                return tell_plan(&store.connection, &settings, &planned);
            }
            tracing::info!("{}", escaped(&planned.line));
            Prepared { store, run: planned.run, http: HttpTally::default() }
        }
    };
    let Some(client) = client else {
        return Err(Error::Fault("a run that asks has somebody to ask".to_owned()));
    };
    let asking = Asking {
        lookup: settings.lookup.clone(),
        limit: settings.limit,
        client,
        writer: WriterSettings {
            missing: settings.missing,
            organization: organization(&store.connection)?,
            began,
        },
    };
    let live = live(run, http);
    let watched = Arc::clone(&live);
    let progress = tokio::spawn(progress::show(mode, bar.clone(), move || watched.report()));
    let files = tokio::spawn(keep_files_fresh(settings.output.clone(), Arc::clone(&live)));
    let path = store.path().to_owned();
    let asked = ask(store, &live, asking, &stop).await;
    progress.abort();
    files.abort();
    bar.finish_and_clear();
    let (store, run) = asked.inspect_err(|error| fail(&path, &live, error))?;
    tell_end(&store.connection, &settings.output, &run)?;
    Ok(exit_of(&run))
}

/// A store with a run whose plan stands.
struct Prepared {
    store: Store,
    run: RunReport,
    http: HttpTally,
}

enum Resumed {
    Run(Box<Prepared>),
    Nothing(String),
}

async fn stop_at(at: Instant, reason: StopReason, stop: StopSwitch) {
    tokio::time::sleep_until(at.into()).await;
    stop.stop(reason);
}

/// Finds what cannot be written before there is anything to write.
fn prove_outputs(output: &OutputSettings) -> Result<(), Error> {
    let reports = output.reports.iter().map(|(path, _)| ("--report", path));
    let rejects = output.rejects.iter().map(|path| ("--rejects", path));
    for (option, path) in reports.chain(rejects) {
        prove_writable(path).map_err(|reason| unwritable(option, path, reason))?;
    }
    Ok(())
}

fn unwritable(option: &'static str, path: &Path, reason: std::io::Error) -> Error {
    Error::Unwritable { option, path: path.to_owned(), reason }
}

/// Whom to ask, and the stand-in if it is that.
fn client(api: &Api) -> Result<(Option<Client>, Option<Sandbox>), Error> {
    match api {
        Api::Nobody => Ok((None, None)),
        Api::At(settings) => {
            if let Some(warning) = settings.key.warning() {
                tracing::warn!("{}", escaped(&warning));
            }
            Ok((Some(Client::new(settings)?), None))
        }
        Api::Sandbox { sandbox, connect_timeout, timeout } => {
            let fault = |what: String| Error::Fault(format!("The sandbox's {what}."));
            let key = ApiKey::parse(&sandbox.key).map_err(|why| fault(format!("key {why}")))?;
            let sandbox = start(sandbox.clone()).map_err(Error::Sandbox)?;
            let url = Url::parse(&sandbox.url()).map_err(|why| fault(format!("URL: {why}")))?;
            let settings = ApiSettings {
                url,
                key: KeySource::Given(key),
                connect_timeout: *connect_timeout,
                timeout: *timeout,
            };
            Ok((Some(Client::new(&settings)?), Some(sandbox)))
        }
    }
}

/// Opens the store and brings it up to what is known of its runs and its organization.
fn open_store(settings: &SyncSettings) -> Result<Store, Error> {
    let is_trial = settings.work.is_dry() && !settings.store.exists();
    let store = if is_trial { Store::temporary()? } else { Store::open(&settings.store)? };
    runs::mark_killed(&store.connection)?;
    if let Some(named) = &settings.organization {
        match organization(&store.connection)? {
            Some(ours) if ours != *named => {
                return Err(Error::Organization { ours, named: named.clone() });
            }
            Some(_) => {}
            None if settings.work.is_dry() => {}
            None => set_organization(&store.connection, named)?,
        }
    }
    Ok(store)
}

fn resume(mut store: Store, choice: RunChoice) -> Result<Resumed, Error> {
    let wanted = match choice {
        RunChoice::Numbered(run) => Some(run),
        RunChoice::Newest => runs::newest_unfinished(&store.connection)?,
    };
    let Some(wanted) = wanted else {
        store.discard();
        return Ok(Resumed::Nothing("Nothing to resume: no run has emails pending.".to_owned()));
    };
    let Some(run) = runs::load(&store.connection, Some(wanted))? else {
        store.discard();
        return Err(Error::NoRun(wanted));
    };
    if !runs::is_unfinished(&store.connection, wanted)? {
        let told = format!("Nothing to resume: run {wanted} has no emails pending any more.");
        return Ok(Resumed::Nothing(told));
    }
    let http = runs::load_http(&store.connection, &run)?;
    let run = RunReport {
        status: Status::Running,
        stop_reason: None,
        finished_at: None,
        exit_code: None,
        ..run
    };
    let begin = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    end_killed_runs(&begin, Some(wanted), &time::text(time::now()))?;
    runs::set_begun(&begin, wanted)?;
    runs::save(&begin, &run, &http)?;
    begin.commit()?;
    let (left, planned) = (counted(run.counts.pending, "email"), grouped(run.counts.planned));
    tracing::info!("going on with run {wanted}: {left} of {planned} pending");
    Ok(Resumed::Run(Box::new(Prepared { store, run, http })))
}

/// Plans on a thread of its own, so that signals and the deadline are heard meanwhile.
async fn plan_aside(
    mut store: Store,
    settings: &SyncSettings,
    stop: &StopSwitch,
) -> Result<(Store, Planned), Error> {
    let (done, planned) = oneshot::channel();
    let (work, max_age, heard) = (settings.work.clone(), settings.max_age, stop.clone());
    std::thread::Builder::new().name("planner".to_owned()).spawn(move || {
        let planned = match plan(&mut store, &work, max_age, &heard) {
            Ok(planned) => Ok((store, planned)),
            Err(error) => {
                store.discard();
                Err(error)
            }
        };
        // Nobody waits any more if the run was stopped.
        let _ = done.send(planned);
    })?;
    let mut watch = stop.watch();
    let left_behind = async {
        // The switch outlives this wait.
        let _ = watch.wait_for(Option::is_some).await;
        tokio::time::sleep_until((time::instant() + PLANNING_GRACE).into()).await;
    };
    tokio::select! {
        planned = planned => planned.map_err(|_| {
            Error::Fault("The planner ended in an unforeseen way. Please report it.".to_owned())
        })?,
        () = left_behind => {
            Err(Error::StoppedPlanning(stop.reason().unwrap_or(StopReason::Terminated)))
        }
    }
}

/// Prints what a run would do.
fn tell_plan(
    store: &Connection,
    settings: &SyncSettings,
    planned: &Planned,
) -> Result<Exit, Error> {
    let counts = &planned.run.counts;
    let asked = settings.limit.map_or(counts.planned, |limit| limit.min(counts.planned));
    let mut text = format!(
        "Plan: {}\nA run would make {} or more, and has made none.\n",
        escaped(&planned.line),
        counted(asked, "request")
    );
    let pace = match settings.lookup.rate {
        Some(rate) => Some(rate),
        None => runs::last_pace(store)?,
    };
    if let Some(pace) = pace.filter(|pace| *pace > 0.0) {
        let whose = if settings.lookup.rate.is_some() { "--rate" } else { "the last run's pace" };
        let time = human_duration(asked as f64 / pace);
        text.push_str(&format!("By {whose} it would take {time} or more.\n"));
    }
    if settings.output.voice > Verbosity::Quiet {
        print(&text)?;
    }
    Ok(Exit::Complete)
}

fn tell(voice: Verbosity, text: &str) {
    if voice > Verbosity::Quiet {
        // Standard output that is closed has nobody to tell.
        let _ = print(&format!("{text}\n"));
    }
}

/// Report files show a run that goes on, too.
async fn keep_files_fresh(output: OutputSettings, live: Arc<Live>) {
    if output.reports.is_empty() {
        return;
    }
    let mut ticks = tokio::time::interval(REPORT_FILES_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = write_reports(&output.reports, &live.report()) {
            tracing::warn!("{error}");
        }
    }
}

fn write_reports(reports: &[(PathBuf, Format)], run: &RunReport) -> Result<(), Error> {
    for (path, format) in reports {
        replace(path, Readers::Others, |file| {
            file.write_all(format.render(run, &ReportData::default()).as_bytes())
        })
        .map_err(|reason| unwritable("--report", path, reason))?;
    }
    Ok(())
}

/// Tells of a run that has ended: in the files that were asked for, and to the person.
fn tell_end(store: &Connection, output: &OutputSettings, run: &RunReport) -> Result<(), Error> {
    write_reports(&output.reports, run)?;
    if let Some(path) = &output.rejects {
        replace(path, Readers::Owner, |file| rejects::write(store, run.run_id, file))
            .map_err(|error| unwritable("--rejects", path, std::io::Error::other(error)))?;
    }
    match output.voice {
        Verbosity::Quiet if exit_of(run) == Exit::Complete => Ok(()),
        Verbosity::Quiet => {
            eprint_brief(run);
            Ok(())
        }
        Verbosity::Normal | Verbosity::Emails | Verbosity::Attempts => {
            for (code, emails) in runs::rejects_by_code(store, run.run_id)? {
                tracing::warn!("{} {code}", counted(emails, "row"));
            }
            print(&text::render(run))
        }
    }
}

/// A quiet run that did not go well says so in a few lines.
fn eprint_brief(run: &RunReport) {
    use std::io::Write as _;
    let brief = text::brief(run);
    // A closed standard error has nobody to tell.
    let _ = std::io::stderr().write_all(brief.as_bytes());
}

fn exit_of(run: &RunReport) -> Exit {
    let known = |code: u8| Exit::ALL.into_iter().find(|exit| exit.code() == code);
    run.exit_code.and_then(known).unwrap_or(Exit::Unusable)
}

/// The writer has let go of the store: notes there, if it still takes a word, that the run failed.
fn fail(path: &Path, live: &Live, error: &Error) {
    let run_id = live.report().run_id;
    let connection: Result<Connection, StoreError> = Connection::open(path).map_err(Into::into);
    if let (Ok(_), Ok(connection)) = (open_to_read(path), connection) {
        note_failure(&connection, run_id, &error.to_string());
    }
}
