//! Beyond one machine: the stores of many organizations, brought together in PostgreSQL.
//!
//! A publication is one transaction. It locks the row of its organization, and only then looks at the store:
//! what was written since the last publication is copied into temporary tables (`stages`, `copy`) and merged
//! from there (`merge`). Its position in the store's log is a column of the locked row, so a publication that
//! is killed has not happened, and the next one does it.

mod copy;
mod error;
mod inspect;
mod merge;
mod publication;
mod restore;
mod schema;
mod session;
mod stages;

pub use error::PublishError;
pub use inspect::{Inspection, Standing, inspect};
pub use publication::{Published, PublishedRows, Takeover, publish};
pub use restore::{Restored, restore};

use crate::display::{clause, shortened};
use crate::source::DatabaseUrl;
use error::advice;
use std::fmt;
use std::io;

/// The most bytes that PostgreSQL keeps of a name.
const LONGEST_NAME: usize = 63;

/// The name of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema(String);

impl Schema {
    /// A name that PostgreSQL keeps whole.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
            Err("give a name of 1 to 63 bytes")
        } else if name.starts_with("pg_") {
            Err("names that begin with pg_ are PostgreSQL's own")
        } else {
            Ok(Self(name.to_owned()))
        }
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// Where to publish.
#[derive(Clone, Debug)]
pub struct Target {
    pub url: DatabaseUrl,
    pub schema: Schema,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, schema {}", self.url, shortened(self.schema.name()))
    }
}

impl Target {
    fn explain(&self, error: &sqlx::Error) -> PublishError {
        let (server, schema) = (self.url.to_string(), self.schema.name().to_owned());
        let message = message(error);
        if matches!(error, sqlx::Error::Io(_)) {
            return PublishError::BrokeOff { server, schema, message };
        }
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
        PublishError::Database {
            server,
            schema,
            advice: advice(&code, &message),
            message,
            code: code.into_owned(),
        }
    }

    fn not_published(&self, organization: &str, organizations: Vec<String>) -> PublishError {
        PublishError::NotPublished {
            server: self.url.to_string(),
            schema: self.schema.name().to_owned(),
            organization: organization.to_owned(),
            organizations,
        }
    }
}

/// What the server or the driver says, on one line and without its own end.
fn message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => clause(error.message()),
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed it".to_owned()
        }
        sqlx::Error::Io(error) => clause(&error.to_string()),
        other => clause(&other.to_string()),
    }
}
