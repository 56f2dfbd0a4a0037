//! The last part of `sync`: what it leaves on the terminal and in files.

use crate::app::cli::LogFormat;
use crate::app::error::Error;
use crate::app::logging::{self, Line};
use crate::app::run_options::{ReportFile, RunOptions};
use crate::app::settings::{Emails, SyncSettings, TerminalSettings, Verbosity};
use crate::commands::print;
use crate::display::shown;
use crate::domain::exit::Exit;
use crate::domain::report_data::ReportData;
use crate::domain::run::RunReport;
use crate::report::output::{Readers, is_same_file, prove_writable, replace};
use crate::report::{Format, prom, rejects, text};
use crate::store::live::Live;
use crate::store::{Store, companions, open_to_read, report_data};
use crate::time::{self, Clock};
use rusqlite::Connection;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tracing::Level;

/// Report files are written this often while the run continues.
const REPORTS_EVERY: Duration = Duration::from_secs(60);

/// The files that a run leaves.
#[derive(Clone)]
pub(super) struct Outputs {
    reports: Vec<ReportFile>,
    rejects: Option<PathBuf>,
    store: PathBuf,
    source: String,
    /// The run that they are about, once there is one.
    live: Option<Arc<Live>>,
    summary: String,
    clock: Clock,
}

impl Outputs {
    /// Those that `options` name. A resumed run names its source; the command line need not.
    ///
    /// # Errors
    /// The options cannot be understood, or a file is two things at once.
    pub(super) fn new(
        options: &RunOptions,
        settings: &SyncSettings,
        resumed: Option<&RunReport>,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let emails = settings.job.emails();
        let (source, source_file) = match resumed {
            Some(run) => (run.source.clone(), Some(PathBuf::from(&run.source))),
            None => (emails.map(Emails::name).unwrap_or_default(), emails.and_then(Emails::file)),
        };
        let outputs = Self {
            reports: options.reports()?,
            rejects: options.rejects().map(Path::to_owned),
            store: settings.store.clone(),
            source,
            live: None,
            summary: String::new(),
            clock: clock.clone(),
        };
        outputs.check_distinct(source_file, settings.api_key_file.clone())?;
        Ok(outputs)
    }

    /// Finds an output that would take the place of something else, another output included.
    fn check_distinct(&self, source: Option<PathBuf>, key: Option<PathBuf>) -> Result<(), Error> {
        let mut files = vec![("--store", self.store.clone())];
        files.extend(companions(&self.store).map(|path| ("a file that belongs to --store", path)));
        files.extend(key.map(|path| ("--api-key-file", path)));
        files.extend(source.map(|path| ("SOURCE", path)));
        for (option, path) in self.files() {
            if let Some((other, _)) = files.iter().find(|(_, file)| is_same_file(file, path)) {
                return Err(Error::Usage(format!(
                    "{option} and {other} are the same file, {}. Let {option} name another one.",
                    shown(path)
                )));
            }
            files.push((option, path.clone()));
        }
        Ok(())
    }

    /// Each file that the run leaves, with its option.
    fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let reports = self.reports.iter().map(|report| ("--report", &report.path));
        reports.chain(self.rejects.iter().map(|path| ("--rejects", path)))
    }

    /// Finds what cannot be written before there is anything to write.
    pub(super) fn prove_writable(&self) -> Result<(), Error> {
        for (option, path) in self.files() {
            prove_writable(path).map_err(|reason| unwritable(option, path, reason))?;
        }
        Ok(())
    }

    /// From now on the files are about this run; they show it while it is worked on, too.
    pub(super) fn follow(&mut self, live: &Arc<Live>) -> tokio::task::JoinHandle<()> {
        self.live = Some(Arc::clone(live));
        let (outputs, live) = (self.clone(), Arc::clone(live));
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(REPORTS_EVERY);
            loop {
                ticks.tick().await;
                // Aside, because counting a large store takes seconds.
                let (outputs, run) = (outputs.clone(), live.report());
                let written = tokio::task::spawn_blocking(move || outputs.write_reports(&run));
                if let Ok(Err(error)) = written.await {
                    tracing::warn!(event = "report_not_written", "{error}");
                }
            }
        })
    }

    fn write_reports(&self, run: &RunReport) -> Result<(), Error> {
        if self.reports.is_empty() {
            return Ok(());
        }
        let mut data = self.data(run);
        let mut written = Ok(());
        for ReportFile { path, format } in &self.reports {
            if *format == Format::Prom && data.gauges.is_none() {
                data.last_success = last_success_in(path, &run.source);
            }
            let text = format.render(run, &data);
            let replaced = replace(path, Readers::Others, |file| file.write_all(text.as_bytes()))
                .map_err(|reason| unwritable("--report", path, reason));
            // The others are written all the same.
            written = written.and(replaced);
        }
        written
    }

    /// What the store knows besides the run. If it cannot be read, the report does without.
    fn data(&self, run: &RunReport) -> ReportData {
        let load = || {
            let store = open_to_read(&self.store)?;
            match run.run_id {
                0 => report_data::load_metrics(&store, &run.source),
                _ => report_data::load(&store, run),
            }
        };
        load().unwrap_or_default()
    }

    fn write_rejects(&self, store: &Connection, run_id: i64) -> Result<(), Error> {
        let Some(path) = &self.rejects else {
            return Ok(());
        };
        replace(path, Readers::Owner, |file| rejects::write(store, run_id, file))
            .map_err(|error| unwritable("--rejects", path, error.into()))
    }

    /// Reports a run that has ended, in the files and on the terminal.
    ///
    /// # Errors
    /// A file cannot be written. The others are, and the store is right.
    pub(super) fn report(
        &mut self,
        ended: &EndedRun,
        settings: &SyncSettings,
    ) -> Result<Exit, Error> {
        let EndedRun { store, run } = ended;
        self.summary = text::render(run);
        let reports = self.write_reports(run);
        let rejects = self.write_rejects(&store.connection, run.run_id);
        print_end(run, settings.terminal);
        // If something fails from here on, the report stays as it is.
        self.write_none();
        reports.and(rejects)?;
        Ok(exit_of(run))
    }

    /// Leaves all reports as they are from now on.
    pub(super) fn write_none(&mut self) {
        self.reports.clear();
    }

    /// The report as text, once the run has ended.
    pub(super) fn summary(&self) -> &str {
        &self.summary
    }

    /// Leaves in the report files why there is no other report. Another run that holds the store
    /// writes its own.
    pub(super) fn report_failure(&self, error: &Error) {
        if error.exit() == Exit::StoreLocked {
            return;
        }
        let at = time::text(self.clock.now().wall);
        let mut run = match &self.live {
            Some(live) => live.report(),
            None => RunReport::without_plan(self.source.clone(), at.clone()),
        };
        run.fail(error.exit(), error.to_string(), at);
        let written = self.write_reports(&run);
        // That a file cannot be written may be what the run failed of.
        if let Err(unwritten) = written
            && unwritten.to_string() != error.to_string()
        {
            logging::print_error(&unwritten.to_string(), unwritten.exit());
        }
    }
}

/// A run that has ended, and its store.
pub(super) struct EndedRun {
    pub(super) store: Store,
    pub(super) run: RunReport,
}

/// The last success by an earlier report, for a run that cannot read the store.
fn last_success_in(path: &Path, source: &str) -> Option<String> {
    // Reading from a pipe would wait for a writer.
    let earlier = path.is_file().then(|| fs::read_to_string(path).ok())??;
    prom::last_success(&earlier, source)
}

fn unwritable(option: &'static str, path: &Path, reason: io::Error) -> Error {
    Error::Unwritable { option, path: path.to_owned(), reason }
}

/// Prints how the run ended: the report, or, for a quiet run that has something to say, a few lines.
fn print_end(run: &RunReport, terminal: TerminalSettings) {
    let exit = exit_of(run);
    let is_quiet = terminal.verbosity == Verbosity::Quiet;
    let is_well = matches!(exit, Exit::Complete | Exit::LimitReached) && run.warnings.is_empty();
    if is_quiet && is_well {
        return;
    }
    let brief = text::brief(run);
    let mut lines = brief.lines();
    let level = match exit {
        Exit::Failed | Exit::WrongKey => Level::ERROR,
        Exit::ApiTrouble | Exit::Partial => Level::WARN,
        _ => Level::INFO,
    };
    // For a person, the report that follows begins with the same line.
    if is_quiet || terminal.log_format == LogFormat::Json || level == Level::ERROR {
        let text = lines.next().unwrap_or_default();
        logging::print(Line { level, event: "run_ended", text, fields: end_fields(run) });
    }
    if is_quiet {
        for text in lines {
            let (level, fields) = (Level::INFO, Vec::new());
            logging::print(Line { level, event: "summary", text, fields });
        }
    } else if let Err(error) = print(&text::render(run)) {
        tracing::warn!(event = "report_not_printed", "{error}");
    }
}

fn end_fields(run: &RunReport) -> Vec<(&'static str, Value)> {
    vec![
        ("status", run.status.name().into()),
        ("exit_code", run.exit_code.into()),
        ("stop_reason", run.stop_reason.clone().into()),
        ("seconds", run.seconds.into()),
        ("counts", serde_json::to_value(run.counts).unwrap_or_default()),
    ]
}

fn exit_of(run: &RunReport) -> Exit {
    let known = |code: u8| Exit::ALL.into_iter().find(|exit| exit.code() == code);
    run.exit_code.and_then(known).unwrap_or(Exit::Failed)
}

/// Why a resume has nothing to do.
pub(super) enum NothingToResume {
    /// The store was not there.
    NoStore(PathBuf),
    /// No run has emails pending.
    AnyRun,
    /// This one has none.
    Run(i64),
}

/// Says on standard output why there is nothing to do.
pub(super) fn print_nothing_to_resume(
    which: &NothingToResume,
    terminal: TerminalSettings,
) -> Result<Exit, Error> {
    let text = match which {
        NothingToResume::NoStore(store) => {
            format!("Nothing to resume: there is no store at {}.\n", shown(store))
        }
        NothingToResume::AnyRun => "Nothing to resume: no run has emails pending.\n".to_owned(),
        NothingToResume::Run(run) => {
            format!("Nothing to resume: run {run} has no emails pending.\n")
        }
    };
    if terminal.verbosity > Verbosity::Quiet {
        print(&text)?;
    }
    Ok(Exit::Complete)
}
