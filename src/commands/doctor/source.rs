//! The check of the source: how a run would read it.

use super::Check;
use crate::app::cli::SourceArgs;
use crate::app::settings::source_settings;
use crate::display::{counted, escaped, grouped};
use crate::domain::email::Email;
use crate::source::{self, Location, SourceSettings};
use std::path::Path;

/// So many rows are tried.
const ROWS: usize = 1_000;

/// A plan takes less than this many times the size of its source.
const PLAN_PER_BYTE: u64 = 4;

/// The check, and the size of the plan as far as it is known.
pub(super) fn check(source: Option<&str>, args: SourceArgs, store: &Path) -> (Option<Check>, u64) {
    let Some(source) = source else {
        return (Some(Check::skipped("source", "none was given")), 0);
    };
    let settings = match source_settings(source, args, store) {
        Ok(settings) => settings,
        Err(error) => return (Some(Check::failed("source", error.to_string())), 0),
    };
    let bytes = match &settings.location {
        Location::Stdin => {
            return (Some(Check::skipped("source", "standard input is not read")), 0);
        }
        // Reading takes what is in it away, or waits for a writer.
        Location::File(path) if path.exists() && !path.is_file() && !path.is_dir() => {
            return (Some(Check::skipped("source", "a pipe or a device is not read")), 0);
        }
        Location::File(path) => path.metadata().map_or(0, |metadata| metadata.len()),
        _ => 0,
    };
    (Some(read(&settings)), bytes.saturating_mul(PLAN_PER_BYTE))
}

fn read(settings: &SourceSettings) -> Check {
    let rows = match source::open(settings) {
        Ok(rows) => rows,
        Err(error) => return Check::failed("source", error.to_string()),
    };
    let read_as = escaped(rows.description()).into_owned();
    let (mut count, mut emails) = (0_u64, 0_u64);
    for row in rows.take(ROWS) {
        match row {
            Ok(row) => {
                count += 1;
                emails += u64::from(Email::parse(&row.text).is_ok());
            }
            Err(error) => return Check::failed("source", error.to_string()),
        }
    }
    let found = format!("{} of the first {} are emails", grouped(emails), counted(count, "row"));
    match (count, emails) {
        (0, _) => Check::warning("source", format!("{read_as}; it has no rows")),
        (_, 0) => Check::failed(
            "source",
            format!(
                "{read_as}; none of the first {} is an email. Name the column with --column.",
                counted(count, "row")
            ),
        ),
        _ => Check::ok("source", format!("{read_as}; {found}")),
    }
}
