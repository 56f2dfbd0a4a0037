//! Where a run publishes its store. The store keeps it for a resume, without the password.

use crate::app::cli::PublishingArgs;
use crate::display::shell_word;
use crate::publish::{Schema, Target};
use crate::source::{DatabaseUrl, SourceError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Losing a machine costs this much of its lookups.
const EVERY: Duration = Duration::from_secs(30);

const SHORTEST: Duration = Duration::from_secs(1);

/// Where stores are published, unless named.
pub const SCHEMA: &str = "telemetron";

/// What was given of it; `None`: nothing is published, or the default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Publishing {
    url: Option<KeptUrl>,
    schema: Option<String>,
    every: Option<Duration>,
}

/// A URL that loses its password when it is kept or shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
struct KeptUrl {
    given: String,
    without_secrets: String,
}

/// Publications during a run and at its end.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub target: Target,
    pub every: Duration,
    /// `publish` with the place, as it can be typed; without the password.
    pub command: String,
}

impl From<String> for KeptUrl {
    fn from(kept: String) -> Self {
        Self { given: kept.clone(), without_secrets: kept }
    }
}

impl From<KeptUrl> for String {
    fn from(url: KeptUrl) -> Self {
        url.without_secrets
    }
}

impl fmt::Debug for KeptUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_secrets)
    }
}

impl Publishing {
    /// What was typed.
    ///
    /// # Errors
    /// `Usage` for what no run could use.
    pub fn new(args: PublishingArgs) -> Result<Self, SourceError> {
        let PublishingArgs { publish, schema, publish_every } = args;
        let url = publish.map(|given| -> Result<KeptUrl, SourceError> {
            let url = DatabaseUrl::of_postgres(&given.0)?;
            let without_secrets = url.without_secrets().to_owned();
            Ok(KeptUrl { given: given.0, without_secrets })
        });
        if publish_every.is_some_and(|every| every < SHORTEST) {
            let text = "--publish-every: give 1s or more.";
            return Err(SourceError::Usage(text.to_owned()));
        }
        let publishing = Self { url: url.transpose()?, schema, every: publish_every };
        publishing.schema()?;
        Ok(publishing)
    }

    /// These settings where they were given, else those that the run was started with.
    pub fn or_kept(self, kept: Self) -> Self {
        Self {
            url: self.url.or(kept.url),
            schema: self.schema.or(kept.schema),
            every: self.every.or(kept.every),
        }
    }

    /// When and where to publish, if the run is published.
    ///
    /// # Errors
    /// The place cannot be understood any more.
    pub fn schedule(&self) -> Result<Option<Schedule>, SourceError> {
        let Some(KeptUrl { given, without_secrets }) = &self.url else { return Ok(None) };
        let target = target(given, self.schema.as_deref())?;
        let schema = match target.schema.name() {
            SCHEMA => String::new(),
            name => format!(" --schema {}", shell_word(name)),
        };
        let command = format!("telemetron-sync publish {}{schema}", shell_word(without_secrets));
        Ok(Some(Schedule { target, every: self.every.unwrap_or(EVERY), command }))
    }

    fn schema(&self) -> Result<Schema, SourceError> {
        schema(self.schema.as_deref().unwrap_or(SCHEMA))
    }
}

/// The place with that URL and schema.
///
/// # Errors
/// `Usage`: there can be no such place.
pub fn target(url: &str, schema_name: Option<&str>) -> Result<Target, SourceError> {
    let schema = schema(schema_name.unwrap_or(SCHEMA))?;
    Ok(Target { url: DatabaseUrl::of_postgres(url)?, schema })
}

/// The schema of that name.
///
/// # Errors
/// `Usage`: no schema can have it.
pub fn schema(name: &str) -> Result<Schema, SourceError> {
    let schema = Schema::parse(name);
    schema.map_err(|reason| SourceError::Usage(format!("--schema: {reason}.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::cli::Secret;

    #[test]
    fn what_a_resume_keeps_holds_no_password() {
        let url = Secret("postgres://u:geheim@h/d?sslmode=require".to_owned());
        let args = PublishingArgs { publish: Some(url), schema: None, publish_every: None };
        let given = Publishing::new(args).unwrap();
        let json = serde_json::to_string(&given).unwrap();
        assert!(!json.contains("geheim") && !format!("{given:?}").contains("geheim"), "{json}");
        let kept: Publishing = serde_json::from_str(&json).unwrap();
        let command = "telemetron-sync publish 'postgres://u@h/d?sslmode=require'";
        assert_eq!(kept.schedule().unwrap().unwrap().command, command);
        assert_eq!(given.or_kept(kept).schedule().unwrap().unwrap().command, command);
        assert!(Publishing::default().schedule().unwrap().is_none());
    }
}
