//! What is meant by what was typed. Every default stands here or in the part that it is for, once.

use crate::api::client::{ApiSettings, DEFAULT_URL, base_url};
use crate::api::key::{KeyError, KeySource};
use crate::app::cli::{
    ApiArgs, LogFormat, OutputArgs, PlanArgs, ProgressChoice, RunChoice, SandboxArgs,
    SandboxBehavior, SourceArgs, StoreArgs, SyncArgs,
};
use crate::lookup::settings::{Adapting, LookupSettings};
use crate::report::Format;
use crate::sandbox::{FaultPlan, KeyChanges, SandboxSettings};
use crate::source::{self, Location, SourceError, SourceSettings};
use crate::store::wrong_key::MissingCustomers;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The store, unless named.
const STORE: &str = "telemetron.db";

/// The store of a run against the sandbox, unless named: made-up customers stay apart.
const SANDBOX_STORE: &str = "sandbox.db";

/// Requests in flight: with answers after 50 ms some 600 a second, which a hosted API bears.
const CONCURRENCY: u32 = 32;

/// Attempts for one email: with full jitter about 4 s of waiting, 7.5 s at most.
const MAX_ATTEMPTS: u32 = 5;

/// For a whole request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// For a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest pause that the API may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// How long an outage may last until the run stops: longer than a deployment, shorter than the hour
/// between two runs.
const OUTAGE_WAIT: Duration = Duration::from_secs(10 * 60);

/// The share of finished emails that may fail before the run stops.
const FAIL_ABOVE: f64 = 0.5;

/// What `sync` is to do.
#[derive(Clone, Debug)]
pub struct SyncSettings {
    /// Which emails.
    pub work: Job,
    /// The store's path.
    pub store: PathBuf,
    /// Emails answered within this time are left out.
    pub max_age: Option<Duration>,
    /// How many emails at most.
    pub limit: Option<u64>,
    /// How long, from the start of the process.
    pub deadline: Option<Duration>,
    /// Whether missing customers are believed.
    pub missing: MissingCustomers,
    /// The one organization whose answers are taken.
    pub organization: Option<String>,
    /// Whom to ask.
    pub api: Api,
    /// How often and how much.
    pub lookup: LookupSettings,
    /// What is told.
    pub output: OutputSettings,
}

/// Which emails a run is for.
#[derive(Clone, Debug)]
pub enum Job {
    /// Those of a source.
    Plan(SourceSettings),
    /// Those of a source, only to tell what would be done.
    DryRun(SourceSettings),
    /// Those that have no answer.
    RetryFailed,
    /// The same, only to tell what would be done.
    DryRetryFailed,
    /// Those that are left of a run.
    Resume(RunChoice),
}

impl Job {
    /// Whether nothing is asked and nothing kept.
    pub fn is_dry(&self) -> bool {
        matches!(self, Self::DryRun(_) | Self::DryRetryFailed)
    }
}

/// Whom to ask.
#[derive(Clone)]
pub enum Api {
    /// The vendor, or whoever answers at a URL.
    At(ApiSettings),
    /// The stand-in, for the time of the run.
    Sandbox {
        /// How it behaves.
        sandbox: SandboxSettings,
        /// For a connection.
        connect_timeout: Duration,
        /// For a whole request.
        timeout: Duration,
    },
    /// Nobody: a dry run.
    Nobody,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(settings) => f.debug_tuple("At").field(&settings.url.as_str()).finish(),
            Self::Sandbox { .. } => f.write_str("Sandbox"),
            Self::Nobody => f.write_str("Nobody"),
        }
    }
}

/// What is told, and where.
#[derive(Clone, Debug)]
pub struct OutputSettings {
    /// Files for the report, with their formats.
    pub reports: Vec<(PathBuf, Format)>,
    /// The file for the rejects.
    pub rejects: Option<PathBuf>,
    /// How progress is shown.
    pub progress: ProgressChoice,
    /// How much is told.
    pub voice: Verbosity,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Nothing while all is well.
    Quiet,
    /// What a person wants to know.
    Normal,
    /// Single emails, too.
    Emails,
    /// Each attempt, too.
    Attempts,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The source's settings are wrong.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no usable key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What comes from the environment and has no option of its own.
#[derive(Clone, Default)]
pub struct Environment {
    /// `TELEMETRON_API_KEY`.
    pub api_key: Option<String>,
    /// systemd's folder of credentials.
    pub credentials: Option<PathBuf>,
}

impl Environment {
    /// The process's own.
    pub fn read() -> Self {
        Self {
            api_key: std::env::var("TELEMETRON_API_KEY").ok(),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }
}

impl SyncSettings {
    /// What is meant by `args`.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(args: SyncArgs, environment: &Environment) -> Result<Self, SettingsError> {
        let sandbox = args.sandbox.sandbox;
        let store = store_path(&args.store, if sandbox { SANDBOX_STORE } else { STORE });
        let output = output(args.output)?;
        let work = match (args.resume, args.retry_failed, args.source) {
            (Some(run), _, _) => Job::Resume(run),
            (None, true, _) if args.dry_run => Job::DryRetryFailed,
            (None, true, _) => Job::RetryFailed,
            (None, false, Some(source)) => {
                let source = source_settings(&source, args.source_options, &store)?;
                if args.dry_run { Job::DryRun(source) } else { Job::Plan(source) }
            }
            (None, false, None) => {
                return Err(SettingsError::Usage(
                    "Name a SOURCE of emails, such as customers.csv, or give --resume or \
                     --retry-failed."
                        .to_owned(),
                ));
            }
        };
        let api = match (args.dry_run, sandbox) {
            (true, _) => Api::Nobody,
            (false, true) => Api::Sandbox {
                sandbox: behavior(SandboxSettings::default(), &args.sandbox.behavior),
                connect_timeout: args.api.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
                timeout: args.api.timeout.unwrap_or(TIMEOUT),
            },
            (false, false) => Api::At(api(&args.api, environment)?),
        };
        let PlanArgs { max_age, limit, deadline, accept_missing } = args.plan;
        Ok(Self {
            work,
            store,
            max_age,
            limit,
            deadline,
            missing: if accept_missing {
                MissingCustomers::Accepted
            } else {
                MissingCustomers::Doubted
            },
            organization: args.api.organization.clone(),
            lookup: lookup(&args.api),
            api,
            output,
        })
    }
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

/// The settings of a sandbox that runs by itself.
pub fn sandbox(args: &SandboxArgs) -> SandboxSettings {
    let base = SandboxSettings {
        listen: args.listen,
        organizations: args.organizations,
        ..SandboxSettings::default()
    };
    behavior(base, &args.behavior)
}

fn behavior(base: SandboxSettings, args: &SandboxBehavior) -> SandboxSettings {
    SandboxSettings {
        latency: args.latency.unwrap_or(base.latency),
        jitter: args.jitter.unwrap_or(base.jitter),
        fail_rate: args.fail_rate.unwrap_or(base.fail_rate),
        faults: FaultPlan {
            shares: args.fault.clone(),
            permanent: args.permanent_fault.clone(),
            ..base.faults
        },
        outages: args.outage.clone(),
        key_changes: KeyChanges { revoked: args.revoke_key, rotated: args.rotate_key },
        rate_limit: args.rate_limit.or(base.rate_limit),
        retry_after: args.retry_after.unwrap_or(base.retry_after),
        seed: args.seed.unwrap_or(base.seed),
        revision: args.revision.unwrap_or(base.revision),
        ..base
    }
}

fn source_settings(
    source: &str,
    args: SourceArgs,
    store: &Path,
) -> Result<SourceSettings, SettingsError> {
    let encoding = args.encoding.as_deref().map(source::encoding).transpose()?;
    let settings = SourceSettings {
        location: Location::parse(source)?,
        column: args.column,
        delimiter: args.delimiter,
        no_header: args.no_header,
        encoding,
        table: args.table,
        query: args.query,
        store: Some(store.to_owned()),
    };
    settings.check()?;
    Ok(settings)
}

fn api(args: &ApiArgs, environment: &Environment) -> Result<ApiSettings, SettingsError> {
    let url = base_url(args.api_url.as_deref().unwrap_or(DEFAULT_URL))
        .map_err(|reason| SettingsError::Usage(format!("--api-url: {reason}.")))?;
    let key = KeySource::find(
        args.api_key_file.as_deref(),
        environment.api_key.as_deref(),
        environment.credentials.as_deref(),
    )?;
    Ok(ApiSettings {
        url,
        key,
        connect_timeout: args.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
        timeout: args.timeout.unwrap_or(TIMEOUT),
    })
}

fn lookup(args: &ApiArgs) -> LookupSettings {
    LookupSettings {
        concurrency: args.concurrency.unwrap_or(CONCURRENCY) as usize,
        adapting: if args.fixed_concurrency { Adapting::Fixed } else { Adapting::On },
        rate: args.rate,
        max_attempts: args.max_attempts.unwrap_or(MAX_ATTEMPTS),
        max_retry_after: args.max_retry_after.unwrap_or(MAX_RETRY_AFTER),
        outage_wait: args.outage_wait.unwrap_or(OUTAGE_WAIT),
        fail_above: args.fail_above.unwrap_or(FAIL_ABOVE),
    }
}

fn output(args: OutputArgs) -> Result<OutputSettings, SettingsError> {
    let format = |path: PathBuf| {
        let format = Format::of_ending(&path)
            .map_err(|reason| SettingsError::Usage(format!("--report: {reason}.")))?;
        Ok((path, format))
    };
    let voice = match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, 0) => Verbosity::Normal,
        (false, 1) => Verbosity::Emails,
        (false, _) => Verbosity::Attempts,
    };
    Ok(OutputSettings {
        reports: args.report.into_iter().map(format).collect::<Result<_, SettingsError>>()?,
        rejects: args.rejects,
        progress: args.progress,
        voice,
        log_format: args.log_format,
    })
}
