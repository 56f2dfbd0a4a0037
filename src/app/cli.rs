//! The command line as it can be typed; `settings` interprets it.

use crate::domain::exit::Exit;
use crate::percent;
use crate::report::Format;
use crate::sandbox::{FaultShare, Outage, RetryAfter, When};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Keeps a local SQLite copy of an organization's Telemetron customers, device assignments and
/// orders.
#[derive(Debug, Parser)]
#[command(version, about, after_help = after_help(), max_term_width = 100)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look up emails at the API and store the answers
    Sync(Box<SyncArgs>),
    /// Print the report of a run
    Report(ReportArgs),
    /// List the runs of a store
    Runs(RunsArgs),
    /// Erase a person from the store, deleted data that is still in the file included
    Forget(ForgetArgs),
    /// Publish a store to PostgreSQL, where reports see all organizations
    Publish(PublishArgs),
    /// Create a store from what was published, for a machine that takes over
    Restore(RestoreArgs),
    /// Run a local copy of the API with made-up customers, to try things out
    Sandbox(SandboxArgs),
    /// Check everything that a run needs and say how to fix what is wrong
    Doctor(Box<DoctorArgs>),
    /// Print a shell's completion script
    Completions(CompletionsArgs),
    /// Print the manual page of the program or of a command
    Man(ManArgs),
}

fn after_help() -> String {
    format!("Exit codes (if several apply, the first in this table wins):\n{}", Exit::table())
}

/// The command line. The help mentions the environment once, not at each option.
pub fn command() -> clap::Command {
    let behavior = SandboxBehavior::augment_args(clap::Command::new(""));
    let of_sandbox =
        |arg: &clap::Arg| behavior.get_arguments().any(|it| it.get_id() == arg.get_id());
    Cli::command()
        .mut_subcommands(|sub| sub.mut_args(|arg| arg.hide_env(true)))
        .mut_subcommand("sync", |sync| {
            sync.mut_args(|arg| if of_sandbox(&arg) { arg.requires("sandbox") } else { arg })
        })
}

/// The names of the environment variables that stand for options.
pub fn variables() -> BTreeSet<String> {
    let command = command();
    let args = command.get_subcommands().flat_map(clap::Command::get_arguments);
    args.filter_map(clap::Arg::get_env).map(|name| name.to_string_lossy().into_owned()).collect()
}

/// What was typed.
///
/// # Errors
/// The command line is invalid, or asks for the help or the version.
pub fn parse() -> Result<Cli, clap::Error> {
    parse_from(std::env::args_os())
}

/// What `sync` would be told in this environment.
///
/// # Errors
/// The environment sets an option to something that it cannot be.
pub fn sync_by_environment(source: Option<&str>) -> Result<SyncArgs, clap::Error> {
    let work = source.map_or(["--resume", "--"], |source| ["--", source]);
    match parse_from(["telemetron-sync", "sync"].into_iter().chain(work))?.command {
        Command::Sync(args) => Ok(*args),
        _ => Err(command().error(ErrorKind::InvalidSubcommand, "not sync")),
    }
}

fn parse_from(
    words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(words).map_err(named_as_given)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Command::Sync(sync), Some((_, matches))) = (&mut cli.command, matches.subcommand())
        && matches.value_source("report") == Some(ValueSource::EnvVariable)
    {
        // A list in the environment is separated by commas; an argument is one path.
        sync.output.report = sync.output.report.iter().flat_map(|list| paths(list)).collect();
    }
    Ok(cli)
}

/// The error with the name of the variable instead of the option, if that is where its value is from.
fn named_as_given(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(usage)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let option = usage.split(' ').next().unwrap_or_default().to_owned();
    let variable = option.trim_start_matches('-').replace('-', "_").to_ascii_uppercase();
    let variable = format!("TELEMETRON_{variable}");
    let is_typed =
        std::env::args().any(|arg| arg == option || arg.starts_with(&format!("{option}=")));
    if !is_typed && variables().contains(&variable) && std::env::var_os(&variable).is_some() {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
    }
    error
}

fn paths(list: &Path) -> Vec<PathBuf> {
    let Some(list) = list.to_str() else {
        return vec![list.to_owned()];
    };
    let paths = list.split(',').map(str::trim).filter(|path| !path.is_empty());
    paths.map(PathBuf::from).collect()
}

/// The format of lines on standard error, also of an invalid command line.
pub fn log_format() -> LogFormat {
    let args: Vec<String> = std::env::args().collect();
    let by_option = args.windows(2).any(|pair| pair == ["--log-format", "json"])
        || args.iter().any(|arg| arg == "--log-format=json");
    let by_environment = || std::env::var("TELEMETRON_LOG_FORMAT").is_ok_and(|it| it == "json");
    if by_option || by_environment() { LogFormat::Json } else { LogFormat::Text }
}

const SYNC_HELP: &str = "\
Most options can also be set in the environment: TELEMETRON_ and the name, as in
TELEMETRON_MAX_AGE=12h. The API key comes from TELEMETRON_API_KEY, from the file that --api-key-file
names, or from a systemd credential named telemetron-api-key; never from an argument.

Examples:
  telemetron-sync sync customers.csv
  telemetron-sync sync customers.csv --max-age 12h --rate 20/s --deadline 50m --report last.json
  telemetron-sync sync postgres://crm@db/crm --table people --column email
  telemetron-sync sync customers.csv --resume --deadline 50m
  telemetron-sync sync --resume
  telemetron-sync sync customers.csv --sandbox
";

#[derive(Debug, Args)]
#[command(after_help = format!("{SYNC_HELP}\n{}", after_help()))]
pub struct SyncArgs {
    /// Where to read emails: a CSV file, - for standard input, sqlite:PATH, postgres://…, mysql://…
    #[arg(value_name = "SOURCE")]
    pub source: Option<String>,

    /// Continue the newest unfinished run, or run number RUN; with a SOURCE, the unfinished run of
    /// that SOURCE, or a new one if there is none
    #[arg(
        long,
        value_name = "RUN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "newest",
        conflicts_with = "retry_failed"
    )]
    pub resume: Option<ResumeChoice>,

    /// Look up again the emails whose last lookup failed or was rejected
    #[arg(long, conflicts_with = "source")]
    pub retry_failed: bool,

    /// Plan, print what a run would do, and stop: no request is sent and the store stays as it is
    #[arg(long, env = "TELEMETRON_DRY_RUN", value_parser = on_or_off)]
    pub dry_run: bool,

    /// Wait up to this long for another run to release the store [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = duration, env = "TELEMETRON_WAIT_FOR_LOCK")]
    pub wait_for_lock: Option<Duration>,

    #[command(flatten)]
    pub store: StoreArgs,

    #[command(flatten)]
    pub source_options: SourceArgs,

    #[command(flatten)]
    pub plan: PlanArgs,

    #[command(flatten)]
    pub api: ApiArgs,

    #[command(flatten)]
    pub sandbox: SyncSandboxArgs,

    #[command(flatten)]
    pub publishing: PublishingArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// A run, as `--resume` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeChoice {
    Newest,
    Run(i64),
}

impl std::str::FromStr for ResumeChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "newest" => Ok(Self::Newest),
            number => number.parse().map(Self::Run).map_err(
                |_| "give the number of a run, as in --resume=7 (see `telemetron-sync runs`)",
            ),
        }
    }
}

#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The SQLite store, on a local disk [default: telemetron.db; with --sandbox, sandbox.db]
    #[arg(long, value_name = "PATH", env = "TELEMETRON_STORE")]
    pub store: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Reading the source")]
pub struct SourceArgs {
    /// The column of emails: its name, or its number from 1 [default: detected]
    #[arg(long, value_name = "NAME", env = "TELEMETRON_COLUMN")]
    pub column: Option<String>,

    /// The delimiter of a CSV file: one character, or "tab" [default: detected]
    #[arg(long, value_name = "C", value_parser = delimiter, env = "TELEMETRON_DELIMITER")]
    pub delimiter: Option<char>,

    /// What encloses the cells of a CSV file: double (quotes) or none
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value = "double",
        hide_possible_values = true,
        env = "TELEMETRON_QUOTE"
    )]
    pub quote: QuoteChoice,

    /// The first row of a CSV file is data, not a header
    #[arg(long, env = "TELEMETRON_NO_HEADER", value_parser = on_or_off)]
    pub no_header: bool,

    /// The encoding of a CSV file [default: detected]
    #[arg(long, value_name = "NAME", env = "TELEMETRON_ENCODING")]
    pub encoding: Option<String>,

    /// The database table to read; --column names its email column
    #[arg(long, value_name = "NAME", env = "TELEMETRON_TABLE")]
    pub table: Option<String>,

    /// A database query; the email is its first column, unless --column names another
    #[arg(long, value_name = "SQL", env = "TELEMETRON_QUERY")]
    pub query: Option<String>,

    /// Stop before the first request if the source has fewer rows [default: 0]
    #[arg(long, value_name = "N", env = "TELEMETRON_MIN_ROWS")]
    pub min_rows: Option<u64>,

    /// Stop before the first request if more than this share of the rows is invalid; blank rows do
    /// not count, and fewer than 20 rows are not checked [default: 50%]
    #[arg(long, value_name = "P%", value_parser = percent::parse, env = "TELEMETRON_MAX_INVALID")]
    pub max_invalid: Option<f64>,
}

/// What encloses the cells of a CSV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum QuoteChoice {
    /// Double quotes
    Double,
    /// Nothing: a quote is a character like any other
    None,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub struct PlanArgs {
    /// Skip emails answered (found or not found) within this time, such as 12h
    #[arg(long, value_name = "TIME", value_parser = duration, env = "TELEMETRON_MAX_AGE")]
    pub max_age: Option<Duration>,

    /// Look up at most this many emails; the remaining ones stay pending
    #[arg(long, value_name = "N", env = "TELEMETRON_LIMIT")]
    pub limit: Option<u64>,

    /// Stop this long after the start; the remaining emails stay pending
    #[arg(long, value_name = "TIME", value_parser = positive, env = "TELEMETRON_DEADLINE")]
    pub deadline: Option<Duration>,

    /// Trust the answers even if no email is found, or more than half of the known emails no longer
    /// resolve to their customer (without it, such a run stops with exit code 5; 20 known emails are
    /// needed for that, 5 at the end)
    #[arg(long, env = "TELEMETRON_ACCEPT_MISSING", value_parser = on_or_off)]
    pub accept_missing: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "API")]
pub struct ApiArgs {
    /// The base URL of the API [default: the vendor's]
    #[arg(long, value_name = "URL", env = "TELEMETRON_API_URL")]
    pub api_url: Option<String>,

    /// The file that contains the API key [default: TELEMETRON_API_KEY holds the key]
    #[arg(long, value_name = "PATH", env = "TELEMETRON_API_KEY_FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Refuse answers from any other organization [default: the first one stored]
    #[arg(long, value_name = "ID", env = "TELEMETRON_ORGANIZATION")]
    pub organization: Option<String>,

    /// At most this many lookups in flight [default: 32]
    #[arg(long, value_name = "N", env = "TELEMETRON_CONCURRENCY", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub concurrency: Option<u32>,

    /// Always keep --concurrency lookups in flight, instead of adapting to how the API responds
    #[arg(long, env = "TELEMETRON_FIXED_CONCURRENCY", value_parser = on_or_off)]
    pub fixed_concurrency: bool,

    /// At most this many requests per second or minute, such as 10/s or 600/m [default: no limit]
    #[arg(long, value_name = "N/s", value_parser = rate, env = "TELEMETRON_RATE")]
    pub rate: Option<f64>,

    /// Requests for one email before it counts as failed [default: 5]
    #[arg(long, value_name = "N", env = "TELEMETRON_MAX_ATTEMPTS", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub max_attempts: Option<u32>,

    /// Timeout for a whole request [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = positive, env = "TELEMETRON_TIMEOUT")]
    pub timeout: Option<Duration>,

    /// Timeout for a connection [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = positive, env = "TELEMETRON_CONNECT_TIMEOUT")]
    pub connect_timeout: Option<Duration>,

    /// Stop if the API asks for a longer pause than this [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = duration, env = "TELEMETRON_MAX_RETRY_AFTER")]
    pub max_retry_after: Option<Duration>,

    /// Stop if an outage lasts longer than this [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration, env = "TELEMETRON_OUTAGE_WAIT")]
    pub outage_wait: Option<Duration>,

    /// Stop if more than this share of the finished emails failed or were rejected; checked from 100
    /// finished emails and a tenth of the plan on, and at the end from 20 on [default: 50%]
    #[arg(long, value_name = "P%", value_parser = percent::parse, env = "TELEMETRON_FAIL_ABOVE")]
    pub fail_above: Option<f64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Publishing")]
pub struct PublishingArgs {
    /// Publish the store to this PostgreSQL database during the run and at its end, as `publish` does:
    /// postgres://user@host/database; without a password in it, PGPASSWORD or ~/.pgpass has the password
    #[arg(long, value_name = "URL", env = "TELEMETRON_PUBLISH", hide_env_values = true)]
    pub publish: Option<Secret>,

    /// The schema to publish to [default: telemetron]
    #[arg(long, value_name = "NAME", env = "TELEMETRON_SCHEMA")]
    pub schema: Option<String>,

    /// How often to publish during the run [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = positive, env = "TELEMETRON_PUBLISH_EVERY")]
    pub publish_every: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Write the report to this file, in the format of its extension (.txt, .json, .md, .html,
    /// .prom); repeatable (in TELEMETRON_REPORT: separated by commas)
    #[arg(long, value_name = "PATH", env = "TELEMETRON_REPORT")]
    pub report: Vec<PathBuf>,

    /// Write the rows that were invalid, rejected or failed to this file, as CSV
    #[arg(long, value_name = "PATH", env = "TELEMETRON_REJECTS")]
    pub rejects: Option<PathBuf>,

    /// Ping this URL when the run begins (URL/start), succeeds (URL) or fails (URL/fail), as
    /// healthchecks.io expects; the URL is a secret, so TELEMETRON_PING is the better place for it
    #[arg(long, value_name = "URL", env = "TELEMETRON_PING", hide_env_values = true)]
    pub ping: Option<Secret>,

    /// Progress on stderr: auto (a bar on a terminal, else lines), bar, plain or none
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = true,
        env = "TELEMETRON_PROGRESS"
    )]
    pub progress: ProgressChoice,

    /// Print only problems
    #[arg(short, long, env = "TELEMETRON_QUIET", value_parser = on_or_off)]
    pub quiet: bool,

    /// Print more: -v names single emails, -vv each attempt
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// The format of the lines on stderr: text or json
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true,
        env = "TELEMETRON_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
}

/// A value that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressChoice {
    /// A bar on a terminal, plain lines elsewhere
    Auto,
    /// A bar
    Bar,
    /// A line every 10 seconds
    Plain,
    /// None
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// A JSON object a line
    Json,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The number of the run [default: the newest]
    #[arg(value_name = "RUN")]
    pub run: Option<i64>,

    /// The format: text, json, md, html or prom
    #[arg(long, value_enum, default_value = "text", hide_possible_values = true)]
    pub format: Format,

    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct RunsArgs {
    /// List at most this many runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,

    /// The format: text or json
    #[arg(long, value_enum, default_value = "text", hide_possible_values = true)]
    pub format: RunsFormat,

    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// The person: an email, or a customer's id
    #[arg(value_name = "EMAIL|ID")]
    pub person: String,

    /// Allow an erased person to be looked up again
    #[arg(long, conflicts_with = "dry_run")]
    pub undo: bool,

    /// Print whom this would erase, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Wait up to this long for a run to release the store [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = duration, env = "TELEMETRON_WAIT_FOR_LOCK")]
    pub wait_for_lock: Option<Duration>,

    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct PublishArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    /// Overwrite what another store, or a newer state of this one, has published
    #[arg(long)]
    pub replace: bool,

    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    /// The organization whose store to create; the store that published it so far no longer may
    #[arg(long, value_name = "ID", env = "TELEMETRON_ORGANIZATION")]
    pub organization: String,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Where stores are published.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// The PostgreSQL database: postgres://user@host/database; without a password in it, PGPASSWORD or
    /// ~/.pgpass has the password
    #[arg(value_name = "URL", env = "TELEMETRON_PUBLISH", hide_env_values = true)]
    pub url: Secret,

    /// The schema, which is created if it does not exist
    #[arg(long, value_name = "NAME", default_value = "telemetron", env = "TELEMETRON_SCHEMA")]
    pub schema: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunsFormat {
    /// A table for people
    Text,
    /// A JSON array, an object for each run
    Json,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sandbox")]
pub struct SyncSandboxArgs {
    /// Use a built-in local API with made-up customers for this run; no key, no traffic
    #[arg(long)]
    pub sandbox: bool,

    #[command(flatten)]
    pub behavior: SandboxBehavior,
}

/// The options that `sync --sandbox` and `sandbox` share.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxBehavior {
    /// The sandbox's shortest response time [default: 20ms]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub latency: Option<Duration>,

    /// Up to this much is added to the latency at random [default: 20ms]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub jitter: Option<Duration>,

    /// The share of requests that fail with 500, 503 or a reset, up to an email's third attempt
    #[arg(long, value_name = "P%", value_parser = percent::parse)]
    pub fail_rate: Option<f64>,

    /// The share of requests that get a fault, such as 503=5%, up to an email's third attempt;
    /// repeatable. FAULT is a status from 300 to 599, one with -retry-after (429-retry-after), or
    /// missing-route (404 from a gateway), timeout, reset, reset-midway, truncated, slow, not-json,
    /// null, cut-json, wrong-types, huge, deep, gzip-bomb
    #[serde(skip)]
    #[arg(long, value_name = "FAULT=P%")]
    pub fault: Vec<FaultShare>,

    /// The share of emails that get a fault at every attempt, such as 403=2%; repeatable
    #[serde(skip)]
    #[arg(long, value_name = "FAULT=P%")]
    pub permanent_fault: Vec<FaultShare>,

    /// Refuse connections for a time: 30s+10s begins 30 seconds after the first request and lasts 10
    /// seconds, 200+10s begins with the 200th request; repeatable
    #[serde(skip)]
    #[arg(long, value_name = "BEGIN+TIME")]
    pub outage: Vec<Outage>,

    /// Start to refuse every key: a time after the first request, or the number of a request
    #[serde(skip)]
    #[arg(long, value_name = "WHEN")]
    pub revoke_key: Option<When>,

    /// Replace every key by itself plus "-rotated": a time after the first request, or the number
    /// of a request
    #[serde(skip)]
    #[arg(long, value_name = "WHEN")]
    pub rotate_key: Option<When>,

    /// Requests allowed per key; more get a 429 [default: no limit]
    #[arg(long, value_name = "N/s", value_parser = rate)]
    pub rate_limit: Option<f64>,

    /// The Retry-After header of 429 and of -retry-after faults: a time or "none" [default: 1s]
    #[serde(skip)]
    #[arg(long, value_name = "TIME")]
    pub retry_after: Option<RetryAfter>,

    /// The seed of the made-up customers; another seed makes others [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// The revision of the made-up customers: 5% of them change from one to the next [default: 0]
    #[arg(long, value_name = "N")]
    pub revision: Option<u32>,
}

#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// The loopback address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// How many organizations there are, each with its own key and customers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub organizations: u32,

    #[command(flatten)]
    pub behavior: SandboxBehavior,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A source to check, too: what a run would read, and how
    #[arg(value_name = "SOURCE")]
    pub source: Option<String>,

    #[command(flatten)]
    pub store: StoreArgs,

    #[command(flatten)]
    pub source_options: SourceArgs,

    /// The base URL of the API [default: the vendor's]
    #[arg(long, value_name = "URL", env = "TELEMETRON_API_URL")]
    pub api_url: Option<String>,

    /// The file that contains the API key [default: TELEMETRON_API_KEY holds the key]
    #[arg(long, value_name = "PATH", env = "TELEMETRON_API_KEY_FILE")]
    pub api_key_file: Option<PathBuf>,

    /// The PostgreSQL database that `sync --publish` would write: whether it could
    #[arg(long, value_name = "URL", env = "TELEMETRON_PUBLISH", hide_env_values = true)]
    pub publish: Option<Secret>,

    /// The schema to publish to [default: telemetron]
    #[arg(long, value_name = "NAME", env = "TELEMETRON_SCHEMA")]
    pub schema: Option<String>,

    /// The format: text or json
    #[arg(long, value_enum, default_value = "text", hide_possible_values = true)]
    pub format: DoctorFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// bash, zsh, fish or powershell
    #[arg(value_enum, value_name = "SHELL", hide_possible_values = true)]
    pub shell: ShellName,
}

/// The shells whose completion is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShellName {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The command, such as sync [default: the program]
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

/// No time is longer: sums of times stay far from overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text);
    let parsed = parsed.map_err(|_| "give a time with its unit, such as 500ms, 30s, 5m or 12h")?;
    if parsed > LONGEST { Err("give less than 100 years".to_owned()) } else { Ok(parsed) }
}

/// A time in which something is to happen.
fn positive(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    let help = || "nothing can be done in no time; give a longer one, or leave the option out";
    if parsed.is_zero() { Err(help().to_owned()) } else { Ok(parsed) }
}

/// `10/s` or `600/m` as requests a second.
fn rate(text: &str) -> Result<f64, String> {
    let help = || "give requests per second or minute, such as 10/s or 600/m".to_owned();
    let (number, per) = text.split_once('/').ok_or_else(help)?;
    let seconds = match per.trim() {
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(help()),
    };
    let number: f64 = number.trim().parse().map_err(|_| help())?;
    let rate = number / seconds;
    if rate.is_finite() && rate >= 0.001 { Ok(rate) } else { Err(help()) }
}

/// What the environment says of an option that takes no value.
fn on_or_off(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" | "" => Ok(false),
        _ => Err("give true or false".to_owned()),
    }
}

/// One character, or its name where a shell makes it hard to type.
fn delimiter(text: &str) -> Result<char, String> {
    let mut chars = text.chars();
    match (text, chars.next(), chars.next()) {
        ("tab" | "\\t", ..) => Ok('\t'),
        (_, Some(delimiter), None) => Ok(delimiter),
        _ => Err("give one character, or \"tab\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn values_carry_their_units() {
        assert_eq!(rate("10/s"), Ok(10.0));
        assert_eq!(rate("600/m"), Ok(10.0));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(positive("1ms"), Ok(Duration::from_millis(1)));
        assert!(positive("0s").is_err() && positive("0ms").is_err() && positive("5").is_err());
        assert_eq!(delimiter("tab"), Ok('\t'));
        for bad in ["", "10", "10/h", "0/s", "-1/s", "NaN/s", "inf/s", "/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        for bad in ["", "5", "-5s", "soon", "101y", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(delimiter("äö").is_err() && delimiter("").is_err() && delimiter(",,").is_err());
    }

    fn parsed(args: &[&str]) -> Result<SyncArgs, String> {
        let args = ["telemetron-sync", "sync"].iter().chain(args);
        let matches = command().try_get_matches_from(args).map_err(|error| error.to_string())?;
        match Cli::from_arg_matches(&matches).map(|cli| cli.command) {
            Ok(Command::Sync(sync)) => Ok(*sync),
            Ok(_) => unreachable!("sync was typed"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn resume_takes_a_number_after_an_equals_sign_or_nothing() {
        let resume = |args: &[&str]| parsed(args).map(|sync| (sync.resume, sync.source));
        let newest = Some(ResumeChoice::Newest);
        assert_eq!(resume(&["--resume"]), Ok((newest, None)));
        assert_eq!(resume(&["--resume=7"]), Ok((Some(ResumeChoice::Run(7)), None)));
        assert_eq!(resume(&["--resume", "list.csv"]), Ok((newest, Some("list.csv".into()))));
        assert_eq!(resume(&["list.csv", "--resume"]), Ok((newest, Some("list.csv".into()))));
        assert!(resume(&["--resume=list.csv"]).unwrap_err().contains("number of a run"));
    }

    #[test]
    fn a_time_limit_of_zero_is_refused_and_a_wait_of_zero_is_none() {
        for option in ["--timeout", "--connect-timeout", "--deadline", "--publish-every"] {
            let error = parsed(&["list.csv", option, "0s"]).unwrap_err();
            assert!(error.contains("in no time"), "{error}");
        }
        for option in ["--outage-wait", "--max-retry-after", "--max-age", "--wait-for-lock"] {
            assert!(parsed(&["list.csv", option, "0s"]).is_ok(), "{option}");
        }
    }

    /// docs/REFERENCE.md and samples/settings.env name these.
    #[test]
    fn the_environment_sets_every_option_of_sync_but_a_few() {
        let command = command();
        let sync = command.find_subcommand("sync").expect("the command");
        let options = sync.get_arguments().filter(|arg| !arg.is_positional());
        let without = options.filter(|arg| {
            let is_of_sandbox = arg.get_help_heading() == Some("Sandbox");
            arg.get_env().is_none()
                && !is_of_sandbox
                && !matches!(arg.get_id().as_str(), "help" | "version")
        });
        let names: Vec<&str> = without.filter_map(clap::Arg::get_long).collect();
        assert_eq!(names, ["resume", "retry-failed", "verbose"]);
    }

    #[test]
    fn sandbox_options_need_the_sandbox() {
        let seed = |args: &[&str]| parsed(args).map(|sync| sync.sandbox.behavior.seed);
        assert_eq!(seed(&["list.csv", "--sandbox", "--seed", "3"]), Ok(Some(3)));
        assert!(seed(&["list.csv", "--seed", "3"]).unwrap_err().contains("--sandbox"));
    }
}
