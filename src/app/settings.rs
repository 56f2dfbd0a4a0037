//! What the command line means: the job, and what it needs.

use crate::app::cli::{
    LogFormat, OutputArgs, PlanArgs, ProgressChoice, QuoteChoice, ResumeChoice, SourceArgs,
    StoreArgs, SyncArgs,
};
use crate::app::ping::PingUrl;
use crate::app::publishing::Publishing;
use crate::app::run_options::{RunOptions, SettingsError};
use crate::display::shell_word;
use crate::source::{self, Location, Quoting, SourceSettings};
use crate::store::wrong_key::MissingCustomers;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The store, unless named.
const STORE: &str = "telemetron.db";

/// The store of a run against the sandbox, unless named: made-up customers stay apart.
const SANDBOX_STORE: &str = "sandbox.db";

/// What `sync` is to do.
#[derive(Clone, Debug)]
pub struct SyncSettings {
    pub job: Job,
    pub store: PathBuf,
    /// What the run keeps for a resume, as far as it was given.
    pub options: RunOptions,
    pub api_key_file: Option<PathBuf>,
    /// At most this many emails in this process.
    pub limit: Option<u64>,
    /// Counted from the start of the process.
    pub deadline: Option<Duration>,
    /// For another run that holds the store.
    pub wait_for_lock: Duration,
    pub missing: MissingCustomers,
    /// The one organization whose answers are accepted.
    pub organization: Option<String>,
    pub terminal: TerminalSettings,
    /// The monitor to ping; a dry run pings none.
    pub ping: Option<PingUrl>,
}

/// Only the second and the third send requests.
#[derive(Clone, Debug)]
pub enum Job {
    DryRun(NewPlan),
    New(NewPlan),
    Resume(Resume),
}

/// Which emails a new run is for.
#[derive(Clone, Debug)]
pub struct NewPlan {
    pub emails: Emails,
    /// Emails answered within this time are left out.
    pub max_age: Option<Duration>,
}

/// Where the emails of a plan come from.
#[derive(Clone, Debug)]
pub enum Emails {
    Source(Box<SourceSettings>),
    /// The store: those whose last lookup failed or was rejected.
    Unanswered,
}

impl Job {
    /// The emails that the command line names.
    pub fn emails(&self) -> Option<&Emails> {
        match self {
            Self::DryRun(plan) | Self::New(plan) | Self::Resume(Resume::OrPlan(plan)) => {
                Some(&plan.emails)
            }
            Self::Resume(Resume::Newest | Resume::Run(_)) => None,
        }
    }
}

impl Emails {
    /// The file that they are read from.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Source(source) => source.location.file(),
            Self::Unanswered => None,
        }
    }
}

/// Which run continues.
#[derive(Clone, Debug)]
pub enum Resume {
    /// The newest unfinished one.
    Newest,
    /// The one of this number.
    Run(i64),
    /// The unfinished one of this source; a new one if there is none.
    OrPlan(NewPlan),
}

/// What concerns only the terminal; a resume does not keep it.
#[derive(Clone, Copy, Debug)]
pub struct TerminalSettings {
    pub progress: ProgressChoice,
    pub verbosity: Verbosity,
    pub log_format: LogFormat,
}

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Only problems.
    Quiet,
    Normal,
    /// Single emails, too.
    Emails,
    /// Each attempt, too.
    Attempts,
}

impl SyncSettings {
    /// What `args` mean.
    ///
    /// # Errors
    /// `Usage` or `Source`: the command line is invalid.
    pub fn new(args: SyncArgs) -> Result<Self, SettingsError> {
        let sandbox = &args.sandbox;
        let store = store_path(&args.store, if sandbox.sandbox { SANDBOX_STORE } else { STORE });
        let OutputArgs { report, rejects, .. } = &args.output;
        let publishing = Publishing::new(args.publishing)?;
        let options =
            RunOptions::new(&args.api, sandbox, report, rejects.as_deref())?.publishing(publishing);
        let terminal = terminal(&args.output);
        let PlanArgs { max_age, limit, deadline, accept_missing } = args.plan;
        let emails = match (args.retry_failed, args.source) {
            (true, _) => Some(Emails::Unanswered),
            (false, Some(source)) => Some(Emails::Source(Box::new(source_settings(
                &source,
                args.source_options,
                &store,
            )?))),
            (false, None) => None,
        };
        let plan = emails.map(|emails| NewPlan { emails, max_age });
        let ping = args.output.ping.filter(|_| !args.dry_run).map(|url| PingUrl::parse(&url.0));
        let ping =
            ping.transpose().map_err(|why| SettingsError::Usage(format!("--ping: {why}.")))?;
        Ok(Self {
            job: if args.dry_run {
                dry_run(args.resume, plan)?
            } else {
                real_run(args.resume, plan)?
            },
            store,
            options,
            api_key_file: args.api.api_key_file,
            limit,
            deadline,
            wait_for_lock: args.wait_for_lock.unwrap_or_default(),
            missing: if accept_missing {
                MissingCustomers::Accepted
            } else {
                MissingCustomers::Doubted
            },
            organization: args.api.organization,
            terminal,
            ping,
        })
    }
}

fn dry_run(resume: Option<ResumeChoice>, plan: Option<NewPlan>) -> Result<Job, SettingsError> {
    match (resume, plan) {
        (Some(_), _) => Err(usage("Give either --resume or --dry-run.")),
        (None, Some(plan)) => Ok(Job::DryRun(plan)),
        (None, None) => Err(usage(NO_SOURCE)),
    }
}

fn real_run(resume: Option<ResumeChoice>, plan: Option<NewPlan>) -> Result<Job, SettingsError> {
    match (resume, plan) {
        (Some(ResumeChoice::Run(_)), Some(_)) => Err(usage(
            "--resume=RUN continues that run, whatever its source: leave SOURCE out, or give \
             --resume without a number.",
        )),
        (Some(ResumeChoice::Run(run)), None) => Ok(Job::Resume(Resume::Run(run))),
        (Some(ResumeChoice::Newest), Some(plan)) => Ok(Job::Resume(Resume::OrPlan(plan))),
        (Some(ResumeChoice::Newest), None) => Ok(Job::Resume(Resume::Newest)),
        (None, Some(plan)) => Ok(Job::New(plan)),
        (None, None) => Err(usage(NO_SOURCE)),
    }
}

const NO_SOURCE: &str =
    "Name a SOURCE of emails, such as customers.csv, or give --resume or --retry-failed.";

fn usage(text: &str) -> SettingsError {
    SettingsError::Usage(text.to_owned())
}

/// The store that is meant. Absolute, because SQLite takes `file:…` and `:memory:` for more than
/// names of files.
pub fn store_path(args: &StoreArgs, default: &str) -> PathBuf {
    let path = args.store.clone().unwrap_or_else(|| default.into());
    std::path::absolute(&path).unwrap_or(path)
}

/// The store that `report` and `runs` read.
pub fn read_store_path(args: &StoreArgs) -> PathBuf {
    store_path(args, STORE)
}

/// `--store PATH` as a command has to repeat it; empty for the default.
pub fn store_option(store: &Path) -> String {
    let is_default = std::path::absolute(STORE).is_ok_and(|default| default == store);
    let word = || shell_word(&store.to_string_lossy());
    if is_default { String::new() } else { format!(" --store {}", word()) }
}

/// The settings of a source, for a run that writes `store`.
///
/// # Errors
/// The source's settings are wrong.
pub fn source_settings(
    source: &str,
    args: SourceArgs,
    store: &Path,
) -> Result<SourceSettings, SettingsError> {
    let encoding = args.encoding.as_deref().map(source::encoding).transpose()?;
    let settings = SourceSettings {
        location: Location::parse(source)?,
        column: args.column,
        delimiter: args.delimiter,
        quoting: match args.quote {
            QuoteChoice::Double => Quoting::Double,
            QuoteChoice::None => Quoting::None,
        },
        no_header: args.no_header,
        encoding,
        table: args.table,
        query: args.query,
        min_rows: args.min_rows.unwrap_or(0),
        max_invalid: args.max_invalid.unwrap_or(source::MAX_INVALID),
        store: Some(store.to_owned()),
    };
    settings.check()?;
    Ok(settings)
}

fn terminal(args: &OutputArgs) -> TerminalSettings {
    let verbosity = match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, 0) => Verbosity::Normal,
        (false, 1) => Verbosity::Emails,
        (false, _) => Verbosity::Attempts,
    };
    TerminalSettings { progress: args.progress, verbosity, log_format: args.log_format }
}
