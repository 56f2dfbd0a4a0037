//! The API key: where it comes from, and that it shows up nowhere.

use crate::display::shown;
use reqwest::header::HeaderValue;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// An organization's key. Its `Debug` text does not hold it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(HeaderValue);

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

impl ApiKey {
    /// A key out of `text`; white space around it and a byte order mark are not part of it.
    ///
    /// # Errors
    /// What is wrong with it, without saying what it is.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err("is empty");
        }
        if text.len() > MAX_BYTES {
            return Err("is longer than any key");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("holds characters that no key has (white space or non-ASCII)");
        }
        let mut value = HeaderValue::from_str(text).map_err(|_| "cannot be sent in a header")?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The value of the `x-api-key` header, marked as sensitive.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// `text` without the key: also where its characters are escaped as in JSON, and where only
    /// its beginning is left.
    pub fn hidden_in(&self, text: &str) -> String {
        let key = self.0.as_bytes();
        let plain = without(
            key,
            text.char_indices()
                .map(|(at, c)| Unit { text: &text[at..at + c.len_utf8()], means: c }),
        );
        without(key, Unescaped(&plain))
    }
}

/// No server takes a longer header.
const MAX_BYTES: usize = 8 * 1024;

/// What stands for the key in a text.
const HIDDEN: &str = "(key hidden)";

/// The beginning of a key is hidden from this length on; at the end of a text, which may have been
/// cut there, from a shorter one on.
const MIN_BEGINNING: usize = 8;
const MIN_BEGINNING_AT_END: usize = 4;

/// A character, or an escape that stands for one.
#[derive(Clone, Copy)]
struct Unit<'a> {
    text: &'a str,
    means: char,
}

/// The text of these units without the key.
fn without<'a>(key: &[u8], units: impl Iterator<Item = Unit<'a>>) -> String {
    let units: Vec<Unit<'_>> = units.collect();
    let mut rest = &units[..];
    let mut safe = String::new();
    while let Some(first) = rest.first() {
        let same = rest.iter().zip(key).take_while(|(unit, byte)| unit.means == char::from(**byte));
        let length = same.count();
        let is_key = length == key.len()
            || length >= MIN_BEGINNING
            || (length == rest.len() && length >= MIN_BEGINNING_AT_END);
        safe.push_str(if is_key { HIDDEN } else { first.text });
        rest = &rest[if is_key { length } else { 1 }..];
    }
    safe
}

/// The units of a text with escapes as in JSON, or as in Rust's `Debug`.
struct Unescaped<'a>(&'a str);

impl<'a> Iterator for Unescaped<'a> {
    type Item = Unit<'a>;

    fn next(&mut self) -> Option<Unit<'a>> {
        let first = self.0.chars().next()?;
        let (length, means) = match escape(self.0) {
            Some(escape) => escape,
            None => (first.len_utf8(), first),
        };
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(Unit { text, means })
    }
}

/// The length of the escape that `text` begins with, and the character it stands for.
fn escape(text: &str) -> Option<(usize, char)> {
    let escaped = text.strip_prefix('\\')?;
    let kind = escaped.chars().next()?;
    if kind != 'u' {
        return kind.is_ascii_punctuation().then_some((2, kind));
    }
    let (digits, length) = match escaped.strip_prefix("u{") {
        Some(rest) => {
            let end = rest.find('}')?;
            (&rest[..end], end + 4)
        }
        None => (escaped.get(1..5)?, 6),
    };
    Some((length, char::from_u32(u32::from_str_radix(digits, 16).ok()?)?))
}

/// Where the key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file, which is read again when the API refuses the key.
    File(PathBuf),
    /// `TELEMETRON_API_KEY`, or a key made for the sandbox.
    Given(ApiKey),
}

/// Where a key may be.
#[derive(Clone, Copy, Default)]
pub struct KeyPlaces<'a> {
    /// The file that the command line names.
    pub file: Option<&'a Path>,
    /// The file that only the environment names.
    pub environment_file: Option<&'a Path>,
    /// The key itself, from the environment.
    pub variable: Option<&'a str>,
    /// systemd's directory of credentials.
    pub credentials: Option<&'a Path>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nothing says where it is.
    #[error(
        "There is no API key. Set TELEMETRON_API_KEY, or name a file that holds it with --api-key-file."
    )]
    None,
    /// The file cannot be read.
    #[error(
        "The API key file {} cannot be read: {reason}. Put the key into it, readable by this account.",
        shown(path)
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        reason: std::io::Error,
    },
    /// What is there is no key.
    #[error("The API key in {place} {reason}.")]
    Invalid {
        /// Where it stands.
        place: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The name of the systemd credential that may hold the key.
const CREDENTIAL: &str = "telemetron-api-key";

impl KeySource {
    /// The source that the settings name: a file, else the variable, else a systemd credential. A
    /// credential comes before a file that cannot be read, if only the environment names the file:
    /// the same environment file then serves a unit with the credential and one without.
    ///
    /// # Errors
    /// `None` or `Invalid`.
    pub fn find(places: KeyPlaces<'_>) -> Result<Self, KeyError> {
        let KeyPlaces { file, environment_file, variable, credentials } = places;
        let credential = credentials.map(|directory| directory.join(CREDENTIAL));
        let credential = credential.filter(|file| file.exists()).map(Self::File);
        if let Some(file) = file {
            return Ok(Self::File(file.to_owned()));
        }
        if let Some(file) = environment_file {
            let file_or_credential = match fs::File::open(file) {
                Ok(_) => None,
                Err(_) => credential,
            };
            return Ok(file_or_credential.unwrap_or_else(|| Self::File(file.to_owned())));
        }
        if let Some(text) = variable {
            let place = "TELEMETRON_API_KEY".to_owned();
            let key = ApiKey::parse(text).map_err(|reason| KeyError::Invalid { place, reason })?;
            return Ok(Self::Given(key));
        }
        credential.ok_or(KeyError::None)
    }

    /// The key as it is now.
    ///
    /// # Errors
    /// `Unreadable` or `Invalid`.
    pub fn read(&self) -> Result<ApiKey, KeyError> {
        match self {
            Self::Given(key) => Ok(key.clone()),
            Self::File(path) => {
                let text = beginning_of(path)
                    .map_err(|reason| KeyError::Unreadable { path: path.clone(), reason })?;
                let place = shown(path);
                ApiKey::parse(&text).map_err(|reason| KeyError::Invalid { place, reason })
            }
        }
    }

    /// Where the key is, for people.
    pub fn place(&self) -> String {
        match self {
            Self::Given(_) => "TELEMETRON_API_KEY".to_owned(),
            Self::File(path) => shown(path),
        }
    }

    /// A warning, if others than its owner can read the key's file.
    pub fn warning(&self) -> Option<String> {
        let Self::File(path) = self else {
            return None;
        };
        let open = others_can_read(path);
        open.then(|| {
            let path = shown(path);
            format!("The API key file {path} can be read by others. Run: chmod 600 {path}")
        })
    }
}

/// As much of a file as no key has, so that one that never ends is refused too.
fn beginning_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(2 * MAX_BYTES as u64).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_shows() {
        let key = ApiKey::parse("  s3cret-key\n").unwrap();
        assert_eq!(key.header().as_bytes(), b"s3cret-key");
        let source = KeySource::Given(key.clone());
        let shown = format!("{key:?} {source:?} {:?}", key.header());
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn no_text_shows_the_key_however_it_is_written() {
        let key = ApiKey::parse(r#"sk/live"123\n-xyz"#).unwrap();
        for (text, safe) in [
            (r#"sk/live"123\n-xyz"#, "(key hidden)"),
            (r#"a sk\/live\"123\\n-xyz b"#, "a (key hidden) b"),
            (r#""\u0073k/live\u{22}123\\n-xyz!"#, "\"(key hidden)!"),
            (r#"sk/live"1… and sk/live"#, "(key hidden)… and (key hidden)"),
            (r#"sk/live and sk/"#, "sk/live and sk/"),
            ("schlüssel \\u12 \\u{zz} \\", "schlüssel \\u12 \\u{zz} \\"),
        ] {
            assert_eq!(key.hidden_in(text), safe);
        }
    }

    #[test]
    fn an_invalid_key_is_refused_without_being_shown() {
        for text in ["", " \n", "two words", "schlüssel", "tab\tbed", "nul\0"] {
            let error = ApiKey::parse(text).unwrap_err();
            assert!(text.trim().is_empty() || !error.contains(text.trim()));
        }
    }

    #[test]
    fn the_file_comes_before_the_variable_and_the_credential_last() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let credentials = Some(folder.path());
        let find = |file, variable| {
            KeySource::find(KeyPlaces { file, variable, credentials, ..KeyPlaces::default() })
        };
        assert_eq!(find(Some(file.as_path()), Some("k")).unwrap(), KeySource::File(file.clone()));
        assert_eq!(find(None, Some("k")).unwrap().read().unwrap(), ApiKey::parse("k").unwrap());
        assert!(matches!(find(None, None), Err(KeyError::None)));
        fs::write(folder.path().join(CREDENTIAL), "c\n").unwrap();
        let credential = find(None, None).unwrap();
        assert_eq!(credential.read().unwrap(), ApiKey::parse("c").unwrap());
        // A file that only the environment names gives way if it cannot be read.
        let of_environment = |path| {
            KeySource::find(KeyPlaces {
                environment_file: Some(path),
                credentials,
                ..KeyPlaces::default()
            })
        };
        assert_eq!(of_environment(&file).unwrap(), credential);
        fs::write(&file, "\u{feff}k\r\n").unwrap();
        let source = of_environment(&file).unwrap();
        assert_eq!(source, KeySource::File(file.clone()));
        assert_eq!(source.read().unwrap(), ApiKey::parse("k").unwrap(), "without its BOM");
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_without_reading_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "k".repeat(100 * MAX_BYTES)).unwrap();
        let error = KeySource::File(file.clone()).read().unwrap_err().to_string();
        assert!(error.contains("is longer than any key"), "{error}");
        if cfg!(unix) {
            let endless = KeySource::File("/dev/zero".into()).read();
            assert!(matches!(endless, Err(KeyError::Invalid { .. })), "{endless:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_gets_a_warning() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "k").unwrap();
        let source = KeySource::File(file.clone());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(source.warning().unwrap().contains("chmod 600"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(source.warning(), None);
    }
}
