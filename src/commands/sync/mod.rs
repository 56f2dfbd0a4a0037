//! `sync`: the main job. Prepare, look up, report.

mod dry_run;
mod lookups;
#[cfg(test)]
mod hourly_job;
mod outputs;
mod planning;
mod prepare;
mod publishing;

use crate::app::cli::SyncArgs;
use crate::app::error::{Error, LEAST_OPEN_FILES};
use crate::app::ping::Pinger;
use crate::app::settings::SyncSettings;
use crate::app::{logging, os, signals};
use crate::domain::exit::Exit;
use crate::domain::stop::StopReason;
use crate::stop_switch::StopSwitch;
use crate::time::Clock;
use lookups::{Watched, look_up};
use outputs::{Outputs, print_nothing_to_resume};
use prepare::{Prepared, prepare};
use std::time::Instant;

/// Runs `sync`, in a process that begins now by this clock.
///
/// # Errors
/// Why the run could not do its job.
pub fn run(args: SyncArgs, clock: &Clock) -> Result<Exit, Error> {
    let settings = SyncSettings::new(args)?;
    logging::start(settings.terminal.verbosity, settings.terminal.log_format);
    check_open_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut outputs = Outputs::new(&settings.options, &settings, None, clock)?;
    let pinger = settings.ping.clone().map(Pinger::new).transpose()?;
    let ended = runtime.block_on(sync(&settings, clock, &mut outputs, pinger.as_ref()));
    // A planner that hangs in its source is left behind.
    runtime.shutdown_background();
    if let Err(error) = &ended {
        outputs.report_failure(error);
    }
    if let Some(pinger) = pinger {
        let (exit, report) = match &ended {
            Ok(exit) => (*exit, outputs.summary().to_owned()),
            Err(error) => (error.exit(), error.to_string()),
        };
        pinger.end(exit, &report);
    }
    ended
}

/// Finds an output of a run that cannot be written, or that is something else.
///
/// # Errors
/// The first of them.
pub fn check_outputs(settings: &SyncSettings) -> Result<(), Error> {
    Outputs::new(&settings.options, settings, None, &Clock::real())?.prove_writable()
}

/// Finds too low a limit before any part of the run fails for it.
fn check_open_files() -> Result<(), Error> {
    match os::open_file_limit() {
        Some(limit) if limit < LEAST_OPEN_FILES => Err(Error::OpenFiles(limit)),
        Some(_) | None => Ok(()),
    }
}

/// What all parts of the command share.
struct Session<'a> {
    settings: &'a SyncSettings,
    /// When the process began.
    began: Instant,
    clock: &'a Clock,
    stop: StopSwitch,
    watched: Watched,
}

async fn sync(
    settings: &SyncSettings,
    clock: &Clock,
    outputs: &mut Outputs,
    pinger: Option<&Pinger>,
) -> Result<Exit, Error> {
    let (began, watched) = (clock.now().mono, Watched::default());
    let stop = stop_switch(settings, began, &watched)?;
    let session = Session { settings, began, clock, stop, watched };
    match prepare(&session, outputs).await? {
        Prepared::DryRun(report) => report.print(settings.terminal),
        Prepared::NothingToResume(which) => print_nothing_to_resume(&which, settings.terminal),
        Prepared::Run(run) => {
            // Not before: if another run holds the store, that one pings.
            if let Some(pinger) = pinger {
                pinger.start();
            }
            let ended = look_up(*run, &session, outputs).await?;
            outputs.report(&ended, settings)
        }
    }
}

/// What ends the run early: signals, the deadline, and whatever else has the switch.
fn stop_switch(
    settings: &SyncSettings,
    began: Instant,
    watched: &Watched,
) -> Result<StopSwitch, Error> {
    let stop = StopSwitch::default();
    let shown = watched.clone();
    signals::listen(stop.clone(), move || shown.print_status())?;
    if let Some(deadline) = settings.deadline {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until((began + deadline).into()).await;
            stop.stop(StopReason::Deadline(deadline));
        });
    }
    Ok(stop)
}
