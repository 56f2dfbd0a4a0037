//! What comes from the environment and has no option of its own, and what is wrong with it.

use crate::api::key::{KeyError, KeyPlaces, KeySource};
use crate::app::cli;
use crate::display::{escaped, quoted};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The only variable that stands for no option: a key never comes from an argument.
const API_KEY: &str = "TELEMETRON_API_KEY";

/// The variables that name a proxy for HTTPS.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The parts of the environment that a run uses besides its options.
// No Debug: it holds the key.
#[derive(Clone, Default)]
pub struct Environment {
    /// `TELEMETRON_API_KEY`.
    pub api_key: Option<String>,
    /// `TELEMETRON_API_KEY_FILE`, which clap reads, too.
    pub api_key_file: Option<PathBuf>,
    /// systemd's directory of credentials.
    pub credentials: Option<PathBuf>,
}

impl Environment {
    /// The process's own.
    pub fn read() -> Self {
        Self {
            api_key: std::env::var(API_KEY).ok(),
            api_key_file: std::env::var_os("TELEMETRON_API_KEY_FILE").map(PathBuf::from),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }

    /// Where the key is, if the command line (or the environment in its place) names `key_file`.
    ///
    /// # Errors
    /// There is no usable key.
    pub fn key_source(&self, key_file: Option<&Path>) -> Result<KeySource, KeyError> {
        let is_from_environment = key_file.is_some() && key_file == self.api_key_file.as_deref();
        KeySource::find(KeyPlaces {
            file: key_file.filter(|_| !is_from_environment),
            environment_file: key_file.filter(|_| is_from_environment),
            variable: self.api_key.as_deref(),
            credentials: self.credentials.as_deref(),
        })
    }
}

/// A warning for each variable that looks like one of ours and is none.
pub fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    unknown(names, &cli::variables())
}

fn unknown(names: impl Iterator<Item = String>, known: &BTreeSet<String>) -> Vec<String> {
    let ours = names.filter(|name| name.starts_with("TELEMETRON_") && name != API_KEY);
    let mut unknown: Vec<String> = ours.filter(|name| !known.contains(name)).collect();
    unknown.sort();
    unknown.iter().map(|name| warning(name, known)).collect()
}

fn warning(name: &str, known: &BTreeSet<String>) -> String {
    let nearest = known
        .iter()
        .map(|one| (strsim::damerau_levenshtein(name, one), one))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let hint = nearest.map(|(_, near)| format!(" Did you mean {near}?")).unwrap_or_default();
    format!("The environment variable {} is not an option and has no effect.{hint}", escaped(name))
}

/// What is wrong with the proxy that the environment names: one sentence, without its password.
///
/// # Errors
/// The first variable that is set and cannot be used.
pub fn check_proxies() -> Result<(), String> {
    for name in PROXIES {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(value) = value {
            check_proxy(name, value.to_str())?;
        }
    }
    Ok(())
}

fn check_proxy(name: &str, value: Option<&str>) -> Result<(), String> {
    let advice = "Set it to http://host:port, or unset it.";
    let Some(value) = value else {
        return Err(format!("{name} is not text. {advice}"));
    };
    // Without a scheme it is http, as for other tools.
    let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let parsed = reqwest::Url::parse(&url)
        .map_err(|error| format!("{name} does not name a usable proxy ({error}). {advice}"))?;
    match parsed.scheme() {
        "http" | "https" if parsed.has_host() => Ok(()),
        scheme => Err(format!(
            "{name} names a proxy of the kind {}, which is not supported. {advice}",
            quoted(scheme)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variables_are_named_with_the_nearest_known_one() {
        let set =
            ["TELEMETRON_RTAE", "TELEMETRON_API_KEY", "TELEMETRON_RATE", "TELEMETRON_X_Y", "HOME"];
        let warnings = unknown(set.map(str::to_owned).into_iter(), &cli::variables());
        assert_eq!(
            warnings,
            [
                "The environment variable TELEMETRON_RTAE is not an option and has no effect. \
                 Did you mean TELEMETRON_RATE?",
                "The environment variable TELEMETRON_X_Y is not an option and has no effect.",
            ]
        );
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
        for good in ["http://proxy:3128", "proxy:3128", "https://me:secret@proxy.example"] {
            assert_eq!(check_proxy("HTTPS_PROXY", Some(good)), Ok(()), "{good}");
        }
        for bad in ["http://", "http://me:secret@:x", "socks5://me:secret@proxy", "http://a b"] {
            let error = check_proxy("ALL_PROXY", Some(bad)).unwrap_err();
            assert!(error.starts_with("ALL_PROXY ") && !error.contains("secret"), "{error}");
        }
        assert!(check_proxy("https_proxy", None).is_err());
    }
}
