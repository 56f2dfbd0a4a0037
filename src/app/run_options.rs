//! The options that a run keeps, so that a resume continues as the run was started.

use crate::api::client::{ApiSettings, DEFAULT_URL, base_url};
use crate::api::key::KeyError;
use crate::app::cli::{ApiArgs, SandboxArgs, SandboxBehavior, SyncSandboxArgs};
use crate::app::environment::{self, Environment};
use crate::app::publishing::{Publishing, Schedule};
use crate::lookup::settings::{Adapting, LookupSettings};
use crate::report::Format;
use crate::sandbox::{FaultPlan, KeyChanges, SandboxSettings};
use crate::source::SourceError;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Requests in flight: at 50 ms each some 600 a second, which a hosted API can take.
const CONCURRENCY: u32 = 32;

/// Attempts for one email: with full jitter about 4 s of waiting, 7.5 s at most.
const MAX_ATTEMPTS: u32 = 5;

const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Longer than a deployment, shorter than the hour between two runs.
const OUTAGE_WAIT: Duration = Duration::from_secs(10 * 60);

const FAIL_ABOVE: f64 = 0.5;

/// What was given of them; `None`: the default. The store keeps them as JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    api: Option<ApiChoice>,
    concurrency: Option<u32>,
    fixed_concurrency: bool,
    rate: Option<f64>,
    max_attempts: Option<u32>,
    timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    max_retry_after: Option<Duration>,
    outage_wait: Option<Duration>,
    fail_above: Option<f64>,
    reports: Vec<PathBuf>,
    rejects: Option<PathBuf>,
    publishing: Publishing,
}

/// The API that a run looks emails up at.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum ApiChoice {
    Url(String),
    Sandbox(SandboxBehavior),
}

/// The API that a run looks emails up at.
#[derive(Clone)]
pub enum Api {
    /// The vendor's, or one at another URL.
    At(ApiSettings),
    /// The built-in sandbox, started for the time of the run.
    Sandbox { sandbox: SandboxSettings, connect_timeout: Duration, timeout: Duration },
}

/// A file that the report is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    pub path: PathBuf,
    pub format: Format,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Proxy(String),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl RunOptions {
    /// What was typed. Paths become absolute: a resume may start elsewhere.
    ///
    /// # Errors
    /// `Usage` for what no run could use.
    pub fn new(
        api: &ApiArgs,
        sandbox: &SyncSandboxArgs,
        reports: &[PathBuf],
        rejects: Option<&Path>,
    ) -> Result<Self, SettingsError> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let choice = if sandbox.sandbox {
            Some(ApiChoice::Sandbox(sandbox.behavior.clone()))
        } else {
            api.api_url.clone().map(ApiChoice::Url)
        };
        let options = Self {
            api: choice,
            concurrency: api.concurrency,
            fixed_concurrency: api.fixed_concurrency,
            rate: api.rate,
            max_attempts: api.max_attempts,
            timeout: api.timeout,
            connect_timeout: api.connect_timeout,
            max_retry_after: api.max_retry_after,
            outage_wait: api.outage_wait,
            fail_above: api.fail_above,
            reports: reports.iter().map(|path| absolute(path)).collect(),
            rejects: rejects.map(absolute),
            publishing: Publishing::default(),
        };
        options.reports()?;
        if let Some(ApiChoice::Url(url)) = &options.api {
            checked_url(url)?;
        }
        Ok(options)
    }

    /// These options where they were given, else those that the run was started with.
    pub fn or_kept(self, kept: Self) -> Self {
        Self {
            api: self.api.or(kept.api),
            concurrency: self.concurrency.or(kept.concurrency),
            fixed_concurrency: self.fixed_concurrency || kept.fixed_concurrency,
            rate: self.rate.or(kept.rate),
            max_attempts: self.max_attempts.or(kept.max_attempts),
            timeout: self.timeout.or(kept.timeout),
            connect_timeout: self.connect_timeout.or(kept.connect_timeout),
            max_retry_after: self.max_retry_after.or(kept.max_retry_after),
            outage_wait: self.outage_wait.or(kept.outage_wait),
            fail_above: self.fail_above.or(kept.fail_above),
            reports: if self.reports.is_empty() { kept.reports } else { self.reports },
            rejects: self.rejects.or(kept.rejects),
            publishing: self.publishing.or_kept(kept.publishing),
        }
    }

    /// These options, published as given.
    pub fn publishing(self, publishing: Publishing) -> Self {
        Self { publishing, ..self }
    }

    /// The options as the store keeps them.
    ///
    /// # Errors
    /// A bug: all of them can be written as JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// The options that the store kept; the defaults if it kept none.
    ///
    /// # Errors
    /// It is not what [`Self::to_json`] wrote.
    pub fn kept(json: Option<&str>) -> serde_json::Result<Self> {
        json.map_or_else(|| Ok(Self::default()), serde_json::from_str)
    }

    /// The API as a command line has to name it again, after a space; empty for the vendor's.
    pub fn api_option(&self) -> String {
        match &self.api {
            Some(ApiChoice::Url(url)) => format!(" --api-url {url}"),
            Some(ApiChoice::Sandbox(_)) => " --sandbox".to_owned(),
            None => String::new(),
        }
    }

    /// The limits of the lookups.
    pub fn lookup(&self) -> LookupSettings {
        LookupSettings {
            concurrency: self.concurrency.unwrap_or(CONCURRENCY) as usize,
            adapting: if self.fixed_concurrency { Adapting::Fixed } else { Adapting::On },
            rate: self.rate,
            max_attempts: self.max_attempts.unwrap_or(MAX_ATTEMPTS),
            timeout: self.timeout.unwrap_or(TIMEOUT),
            max_retry_after: self.max_retry_after.unwrap_or(MAX_RETRY_AFTER),
            outage_wait: self.outage_wait.unwrap_or(OUTAGE_WAIT),
            fail_above: self.fail_above.unwrap_or(FAIL_ABOVE),
        }
    }

    /// The maximum request rate, if there is one.
    pub fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// The report files, with the formats that their extensions ask for.
    ///
    /// # Errors
    /// `Usage` for an extension without a format.
    pub fn reports(&self) -> Result<Vec<ReportFile>, SettingsError> {
        let file = |path: &PathBuf| {
            let format = Format::of_extension(path)
                .map_err(|reason| SettingsError::Usage(format!("--report: {reason}.")))?;
            Ok(ReportFile { path: path.clone(), format })
        };
        self.reports.iter().map(file).collect()
    }

    /// Where and how often to publish; `None`: nowhere.
    ///
    /// # Errors
    /// The place cannot be understood any more.
    pub fn schedule(&self) -> Result<Option<Schedule>, SettingsError> {
        Ok(self.publishing.schedule()?)
    }

    /// The file for the rejects.
    pub fn rejects(&self) -> Option<&Path> {
        self.rejects.as_deref()
    }

    /// The API, and the key for it.
    ///
    /// # Errors
    /// There is no key, or the environment names a proxy that cannot be used.
    pub fn api(
        &self,
        key_file: Option<&Path>,
        environment: &Environment,
    ) -> Result<Api, SettingsError> {
        let connect_timeout = self.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        let url = match &self.api {
            Some(ApiChoice::Sandbox(args)) => {
                let sandbox = behavior(SandboxSettings::default(), args);
                return Ok(Api::Sandbox { sandbox, connect_timeout, timeout });
            }
            Some(ApiChoice::Url(url)) => url.as_str(),
            None => DEFAULT_URL,
        };
        let url = checked_url(url)?;
        if url.scheme() == "https" {
            environment::check_proxies().map_err(SettingsError::Proxy)?;
        }
        let key = environment.key_source(key_file)?;
        Ok(Api::At(ApiSettings { url, key, connect_timeout, timeout }))
    }
}

fn checked_url(url: &str) -> Result<reqwest::Url, SettingsError> {
    base_url(url).map_err(|reason| SettingsError::Usage(format!("--api-url: {reason}.")))
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
