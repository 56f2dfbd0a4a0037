//! What a user names as the source: no text makes the parsers panic, and what is shown of it
//! controls no terminal and repeats no password.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetron_sync::source::{Location, SourceSettings};

const PASSWORD: &str = "Ge-heim_7";

fuzz_target!(|input: (&str, Option<&str>)| {
    let (source, table) = input;
    let login = source.split_once("://").and_then(|(_, rest)| rest.split_once(&format!(":{PASSWORD}@")));
    let hides_password = login.is_some_and(|(user, _)| !user.contains(['/', '?', '#', '@', '%']));
    let shown = match Location::parse(source) {
        Err(error) => error.to_string(),
        Ok(location) => {
            let mut settings = SourceSettings::new(location);
            settings.table = table.map(str::to_owned);
            let checked = settings.check().err().map(|error| error.to_string());
            format!("{} {}", settings.name(), checked.unwrap_or_default())
        }
    };
    assert!(!shown.contains(['\u{1b}', '\n', '\r', '\0']), "{shown:?}");
    let is_file = matches!(Location::parse(source), Ok(Location::File(_) | Location::Sqlite(_)));
    let elsewhere = source.replacen(&format!(":{PASSWORD}@"), "", 1).contains(PASSWORD);
    if hides_password && !is_file && !elsewhere && !table.unwrap_or_default().contains(PASSWORD) {
        assert!(!shown.contains(PASSWORD), "{shown:?}");
    }
});
