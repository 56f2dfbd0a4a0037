//! What can be wrong with a publication: each message says what, where, and what to do next. None holds a
//! password.

use crate::display::{counted, escaped, shortened, shown};
use crate::source::SourceError;
use crate::store::StoreError;
use std::path::PathBuf;

/// Why nothing was published or restored.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Server(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "The store {} does not know yet which organization it belongs to. Sync it first, or name the organization with: telemetron-sync sync SOURCE --organization ID",
        shown(.0)
    )]
    NoOrganization(PathBuf),
    #[error(
        "{server}, schema {schema}: organization {organization} was taken over by another store (last published {published_at}), so this store may not publish. If this is the right store, add --replace; if not, stop using it.",
        schema = escaped(schema),
        organization = escaped(organization)
    )]
    Superseded { server: String, schema: String, organization: String, published_at: String },
    #[error(
        "{server}, schema {schema}: a newer state of this store was published {published_at}, so this file is an old copy. Restore the newer state with `telemetron-sync restore`, or overwrite it with --replace.",
        schema = escaped(schema)
    )]
    OldCopy { server: String, schema: String, published_at: String },
    #[error(
        "{server}: the schema {} was made by telemetron-sync {}, which is newer than this program ({}). Use that version; nothing was changed.",
        escaped(schema),
        escaped(made_by),
        env!("CARGO_PKG_VERSION")
    )]
    NewerSchema { server: String, schema: String, made_by: String },
    #[error(
        "{server}: the schema {} does not exist, and this user may not create it ({message}). Let its owner run: CREATE SCHEMA {} AUTHORIZATION {user}",
        escaped(schema),
        escaped(schema)
    )]
    NoSchema { server: String, schema: String, user: String, message: String },
    #[error("{server}, schema {}: {message}. {advice} Nothing was changed.", escaped(schema))]
    Database {
        server: String,
        schema: String,
        message: String,
        advice: &'static str,
        /// PostgreSQL's SQLSTATE.
        code: String,
    },
    #[error(
        "{server}, schema {}: the connection broke off ({message}). Try again when the server is back. Nothing was changed.",
        escaped(schema)
    )]
    BrokeOff { server: String, schema: String, message: String },
    #[error(
        "{server}, schema {}: the connection broke off ({message}) just as everything was to be committed, so it may be done or not. Run the same again: nothing is written twice.",
        escaped(schema)
    )]
    CommitBrokeOff { server: String, schema: String, message: String },
    #[error(
        "{server}: organization {} is not published in schema {}. {}",
        escaped(organization),
        escaped(schema),
        published(organizations)
    )]
    NotPublished {
        server: String,
        schema: String,
        organization: String,
        /// Some of those that are.
        organizations: Vec<String>,
    },
    #[error(
        "The store {} exists already. Sync with it, or name another place with --store.",
        shown(.0)
    )]
    StoreExists(PathBuf),
    #[error("The store {} cannot be created: {reason}.", shown(path))]
    NoStore { path: PathBuf, reason: std::io::Error },
    #[error(
        "Nothing was published: several customers' ids differ only in U+0000, which PostgreSQL cannot hold: {}. Ask the API's vendor for other ids.",
        shortened(.0)
    )]
    SameIds(String),
    #[error("The publication cannot be started: {0}.")]
    Setup(std::io::Error),
}

/// How many organizations a message names.
pub(super) const MOST_NAMED: usize = 10;

fn published(organizations: &[String]) -> String {
    let names: Vec<String> = organizations.iter().map(|name| shortened(name)).collect();
    match names.len() {
        0 => "Nothing is: check --schema and the database in the URL.".to_owned(),
        number if number > MOST_NAMED => format!(
            "Published are {} and others.",
            names.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ")
        ),
        number => {
            format!("Published: {} ({}).", names.join(", "), counted(number as u64, "organization"))
        }
    }
}

impl PublishError {
    /// An error of a COMMIT.
    pub(super) fn of_commit(self) -> Self {
        match self {
            Self::BrokeOff { server, schema, message } => {
                Self::CommitBrokeOff { server, schema, message }
            }
            other => other,
        }
    }

    /// An error of CREATE SCHEMA.
    pub(super) fn of_creation(self, user: String) -> Self {
        match self {
            Self::Database { server, schema, message, code, .. } if code == "42501" => {
                Self::NoSchema { server, schema, user, message }
            }
            other => other,
        }
    }

    /// How this store was superseded, as a part of a sentence, if that is why nothing was published.
    pub fn supersession(&self) -> Option<String> {
        match self {
            Self::Superseded { server, schema, organization, published_at } => Some(format!(
                "another store took organization {} over at {server}, schema {} (last published \
                 {published_at})",
                escaped(organization),
                escaped(schema)
            )),
            Self::OldCopy { server, schema, published_at } => Some(format!(
                "a newer state of this store was published at {server}, schema {}, {published_at}",
                escaped(schema)
            )),
            _ => None,
        }
    }
}

impl From<rusqlite::Error> for PublishError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// What to do about an error that PostgreSQL names by its code, or PgBouncer in its message.
pub(super) fn advice(code: &str, message: &str) -> &'static str {
    match code {
        "08P01" if message.contains("statement pooling") => {
            "Use a PgBouncer pool in transaction or session mode, or the server itself."
        }
        "08P01" if message.contains("query_wait_timeout") => {
            "Every session of the pool is in use: publish again later."
        }
        // No right to use a schema makes it invisible.
        "42501" | "3F000" => {
            "Grant this user the right to use and write the schema and its tables."
        }
        "42P07" => "A table of another program is in the way: name another schema with --schema.",
        "25006" => "This server only reads: name the one that writes.",
        "53100" => "The server's disk is full: make room, then publish again.",
        "55P03" => "Another publication of the organization takes long: publish again later.",
        "57014" => "A time limit or an administrator ended the statement: publish again.",
        "57P01" | "57P02" | "57P03" => "Publish again when the server is back.",
        code if code.starts_with("53") => {
            "The server is short of connections, memory or disk: publish again later."
        }
        code if code.starts_with("08") => "Publish again when the server is back.",
        "42P01" | "42703" => {
            "The schema was changed by another program: publish to another one with --schema."
        }
        _ => "Publish again; if it stays, please report it.",
    }
}
