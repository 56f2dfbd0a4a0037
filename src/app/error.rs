//! Why a command could not do its job, in a sentence, and the exit code for it.

use crate::api::client::ClientError;
use crate::api::key::KeyError;
use crate::app::settings::SettingsError;
use crate::display::{escaped, shown};
use crate::domain::exit::Exit;
use crate::domain::stop::StopReason;
use crate::plan::build::PlanError;
use crate::source::{SourceError, SourceErrorKind};
use crate::store::StoreError;
use std::io;
use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The rows of the source are no list of emails.
    #[error("{0}")]
    NoEmail(String),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no usable key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No client can be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The store belongs to another organization than the one named.
    #[error(
        "The store belongs to organization {}, not to {}. Name another --store, or leave --organization out.",
        escaped(ours),
        escaped(named)
    )]
    Organization {
        /// The store's.
        ours: String,
        /// The one named.
        named: String,
    },
    /// There is no such run.
    #[error("There is no run {0} in this store; `telemetron-sync runs` lists them.")]
    NoRun(i64),
    /// The store holds no run yet.
    #[error("There is no run in this store yet; `telemetron-sync sync` makes one.")]
    NoRuns,
    /// A file of the command line cannot be written.
    #[error(
        "{} cannot be written: {}. Check the path given with {option}.",
        shown(path),
        escaped(&reason.to_string())
    )]
    Unwritable {
        /// The option that named it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: io::Error,
    },
    /// The sandbox cannot be started.
    #[error("The sandbox cannot be started: {0}.")]
    Sandbox(io::Error),
    /// The run was stopped before there was a plan.
    #[error("The run was stopped while it planned: {0}. Nothing was changed.")]
    StoppedPlanning(StopReason),
    /// The operating system refuses what every run needs.
    #[error("The run cannot be set up: {0}.")]
    Setup(#[from] io::Error),
    /// A fault of this program.
    #[error("{0}")]
    Fault(String),
}

impl Error {
    /// The exit code that tells of it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Source(error) => match error.kind() {
                SourceErrorKind::Usage => Exit::Usage,
                SourceErrorKind::Empty | SourceErrorKind::Unusable => Exit::Unusable,
            },
            Self::Store(StoreError::Held(_)) => Exit::Locked,
            Self::StoppedPlanning(reason) => reason.exit(),
            Self::NoEmail(_)
            | Self::Store(_)
            | Self::Key(_)
            | Self::Client(_)
            | Self::Organization { .. }
            | Self::NoRun(_)
            | Self::NoRuns
            | Self::Unwritable { .. }
            | Self::Sandbox(_)
            | Self::Setup(_)
            | Self::Fault(_) => Exit::Unusable,
        }
    }
}

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Usage(message) => Self::Usage(message),
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

impl<E: Into<Self>> From<PlanError<E>> for Error {
    fn from(error: PlanError<E>) -> Self {
        match error {
            PlanError::Source(error) => error.into(),
            PlanError::Stopped(reason) => Self::StoppedPlanning(reason),
            PlanError::Store(error) => error.into(),
            PlanError::NoEmail { rows, first, reason } => Self::NoEmail(format!(
                "None of the {rows} rows holds an email (row {first}: {reason}). If another \
                 column does, name it with --column."
            )),
        }
    }
}
