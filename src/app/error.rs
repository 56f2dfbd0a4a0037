//! Why a command could not do its job, in a sentence, and the exit code for it.

use crate::api::client::ClientError;
use crate::api::key::KeyError;
use crate::app::run_options::SettingsError;
use crate::app::settings::store_option;
use crate::display::{escaped, shown};
use crate::domain::exit::Exit;
use crate::domain::stop::StopReason;
use crate::plan::build::PlanError;
use crate::plan::staging::{StageError, StagingError};
use crate::publish::PublishError;
use crate::source::{SourceError, SourceErrorKind};
use crate::store::StoreError;
use std::io;
use std::path::PathBuf;

/// The minimum of files that a run may have open: its own, the store's, and some connections.
pub const LEAST_OPEN_FILES: u64 = 32;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Proxy(String),
    #[error(
        "The store belongs to organization {}, not to {}. Name another --store, or leave --organization out.",
        escaped(ours),
        escaped(named)
    )]
    Organization { ours: String, named: String },
    #[error(
        "There is no run {run} in this store. List them with: telemetron-sync runs{}",
        store_option(store)
    )]
    NoRun { run: i64, store: PathBuf },
    #[error("There is no run in this store yet. Start one with: telemetron-sync sync SOURCE")]
    NoRuns,
    #[error(
        "The store {} knows neither an email nor a customer id like this. Nothing was erased.",
        shown(.0)
    )]
    NobodyToForget(PathBuf),
    #[error("The store {} has no erased email like this. Nothing was changed.", shown(.0))]
    NotForgotten(PathBuf),
    #[error(
        "The options that run {run} was started with cannot be read ({}). Start a new run instead of resuming it.",
        escaped(reason)
    )]
    KeptOptions { run: i64, reason: String },
    #[error(
        "{} cannot be written: {}. {}",
        shown(path),
        escaped(&reason.to_string()),
        writing_advice(option, reason)
    )]
    Unwritable { option: &'static str, path: PathBuf, reason: io::Error },
    #[error("The sandbox cannot be started: {0}.")]
    Sandbox(io::Error),
    #[error("The run was stopped while it planned: {0}. Nothing was changed.")]
    StoppedPlanning(StopReason),
    #[error(
        "The rows of the source cannot wait beside the store ({0}). Make room there, or name a store \
         in another folder with --store; nothing was changed."
    )]
    Staging(StagingError),
    #[error("Standard output cannot be written: {0}.")]
    Stdout(io::Error),
    #[error(
        "The limit on open files (ulimit -n) is {0}, and a run needs {LEAST_OPEN_FILES} or more. Raise it."
    )]
    OpenFiles(u64),
    /// The operating system refuses what every run needs.
    #[error("The run cannot be set up: {0}.")]
    Setup(#[from] io::Error),
    #[error("This is a bug in telemetron-sync ({0}). Please report it.")]
    Bug(String),
}

impl Error {
    /// What cannot happen, and has.
    pub fn bug(cause: impl ToString) -> Self {
        Self::Bug(cause.to_string())
    }

    /// The exit code for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Source(error) => match error.kind() {
                SourceErrorKind::Usage => Exit::Usage,
                SourceErrorKind::Empty | SourceErrorKind::Unusable => Exit::Failed,
            },
            Self::Store(StoreError::Held(_)) => Exit::StoreLocked,
            Self::StoppedPlanning(reason) => reason.exit(),
            Self::Store(_)
            | Self::Publish(_)
            | Self::Key(_)
            | Self::Client(_)
            | Self::Organization { .. }
            | Self::NoRun { .. }
            | Self::NoRuns
            | Self::NobodyToForget(_)
            | Self::NotForgotten(_)
            | Self::Unwritable { .. }
            | Self::Sandbox(_)
            | Self::Proxy(_)
            | Self::KeptOptions { .. }
            | Self::Stdout(_)
            | Self::OpenFiles(_)
            | Self::Staging(_)
            | Self::Setup(_)
            | Self::Bug(_) => Exit::Failed,
        }
    }
}

/// What helps where the file of `option` cannot be written.
fn writing_advice(option: &str, reason: &io::Error) -> String {
    match reason.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("Make room there, or give {option} a path on another disk.")
        }
        _ => format!("Check the path given with {option}."),
    }
}

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Usage(message) => Self::Usage(message),
            SettingsError::Proxy(message) => Self::Proxy(message),
            SettingsError::Source(error) => error.into(),
            SettingsError::Key(error) => error.into(),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<StagingError> for Error {
    fn from(error: StagingError) -> Self {
        Self::Staging(error)
    }
}

impl<E: Into<Self>> From<StageError<E>> for Error {
    fn from(error: StageError<E>) -> Self {
        match error {
            StageError::Source(error) => error.into(),
            StageError::Stopped(reason) => Self::StoppedPlanning(reason),
            StageError::File(error) => Self::Staging(error),
        }
    }
}

impl<E: Into<Self>> From<PlanError<E>> for Error {
    fn from(error: PlanError<E>) -> Self {
        match error {
            PlanError::Source(error) => error.into(),
            PlanError::Stopped(reason) => Self::StoppedPlanning(reason),
            PlanError::Store(error) => error.into(),
        }
    }
}
