//! What can be wrong with a source: each message says what, where, and what to do next.

use crate::display::quoted;
use std::fmt::Write as _;
use std::io;

/// The most columns or tables that a message lists.
const LISTED_NAMES: usize = 30;

/// Which of the program's ends a [`SourceError`] leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// The settings contradict each other or cannot be read: the command line is wrong.
    Usage,
    /// The input holds no byte of text.
    Empty,
    /// The source cannot be opened or read on.
    Unusable,
}

/// Why a source cannot be read. No message holds a password; text from outside is escaped.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each variant and field means")]
pub enum SourceError {
    #[error("{0}")]
    Usage(String),
    #[error("{name} is empty: not one byte of text. Check what was to write it.")]
    Empty { name: String },
    #[error("{name} does not exist. Check the path.")]
    Missing { name: String },
    #[error("{name} is a directory. Name a file in it.")]
    Directory { name: String },
    #[error("{name} may not be read by this account. Change its permissions, or use another one.")]
    Denied { name: String },
    #[error("{name} is {what}, not CSV. {advice}")]
    NotText { name: String, what: &'static str, advice: &'static str },
    #[error("{name} is the store itself, which cannot be its own source. Name another database.")]
    StoreItself { name: String },
    #[error("{name} cannot be read after line {line}: {error}. Nothing was planned; run again.")]
    Read { name: String, line: u64, error: io::Error },
    #[error(
        "{name} is cut short: its {packing} data ends in the middle, {place}. Fetch the whole file again."
    )]
    CutShort { name: String, packing: &'static str, place: String },
    #[error(
        "{name} is damaged: its {packing} data cannot be unpacked after line {line} ({error}). Fetch the file again."
    )]
    Damaged { name: String, packing: &'static str, line: u64, error: String },
    #[error(
        "{name}, line {line}: a quote that opens here is never closed. Close it, or write a quote inside a cell twice."
    )]
    UnclosedQuote { name: String, line: u64 },
    #[error(
        "{name}, line {line}: the row that starts here is over 8 MiB. Is a quote left open, or the delimiter another?"
    )]
    RowTooLong { name: String, line: u64 },
    #[error("{name} {error}")]
    Column { name: String, error: ColumnError },
    #[error(
        "{server} cannot be reached: {message}. Check the address, and that the server runs and lets this machine in."
    )]
    Unreachable { server: String, message: String },
    #[error(
        "{server} refused the login: {message}. Check the user, its rights, and the password ({password_help})."
    )]
    LoginRefused { server: String, message: String, password_help: &'static str },
    #[error("{server} has no table {table}. {near}")]
    UnknownTable { server: String, table: String, near: NearNames },
    #[error(
        "{server} refused the query: {message}. Give one SELECT statement whose first column is the email."
    )]
    QueryRefused { server: String, message: String },
    #[error(
        "{server}: the query would write, and a source is only read. Give one SELECT statement."
    )]
    QueryWrites { server: String },
    #[error(
        "{server}: the query returns no column. Give one SELECT statement whose first column is the email."
    )]
    QueryWithoutColumn { server: String },
    #[error("{server} cannot be read: {message}. {advice}")]
    Database { server: String, message: String, advice: &'static str },
    #[error(
        "{server} broke off after row {row}: {message}. Nothing was planned; run again when it is back."
    )]
    BrokeOff { server: String, row: u64, message: String },
}

impl SourceError {
    /// Which end of the program this leads to: only [`SourceErrorKind::Usage`] is the command
    /// line's fault.
    pub fn kind(&self) -> SourceErrorKind {
        match self {
            Self::Usage(_) => SourceErrorKind::Usage,
            Self::Empty { .. } => SourceErrorKind::Empty,
            Self::Missing { .. }
            | Self::Directory { .. }
            | Self::Denied { .. }
            | Self::NotText { .. }
            | Self::StoreItself { .. }
            | Self::Read { .. }
            | Self::CutShort { .. }
            | Self::Damaged { .. }
            | Self::UnclosedQuote { .. }
            | Self::RowTooLong { .. }
            | Self::Column { .. }
            | Self::Unreachable { .. }
            | Self::LoginRefused { .. }
            | Self::UnknownTable { .. }
            | Self::QueryRefused { .. }
            | Self::QueryWrites { .. }
            | Self::QueryWithoutColumn { .. }
            | Self::Database { .. }
            | Self::BrokeOff { .. } => SourceErrorKind::Unusable,
        }
    }
}

/// Why no column of a source can be taken for the emails. Completes a sentence that begins with
/// the source's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each variant and field means")]
pub enum ColumnError {
    #[error("has no column known to hold emails. Name one with --column: {}.", listed(columns))]
    NoneKnown { columns: Vec<String> },
    #[error("has no column {}. It has: {}.", quoted(wanted), listed(columns))]
    Unknown { wanted: String, columns: Vec<String> },
    #[error(
        "has no column {wanted}: its first row has {width}. Give --column a number from 1 to {width}."
    )]
    NoSuchNumber { wanted: usize, width: usize },
    #[error(
        "has no header, so there is no column {}. Give --column a number from 1 to {width}.",
        quoted(wanted)
    )]
    NoHeader { wanted: String, width: usize },
    #[error(
        "has no header and no column of addresses in its first rows. Give --column a number from 1 to {width}."
    )]
    NoAddresses { width: usize },
}

/// Names that an unknown one may have been meant for; may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearNames(pub(super) Vec<String>);

impl std::fmt::Display for NearNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("Check the name, and that this user may read it.");
        }
        write!(f, "Near names: {}.", listed(&self.0))
    }
}

impl NearNames {
    /// The names of `all` that are most like `wanted`, or simply the first ones when none is.
    pub(super) fn among(wanted: &str, all: Vec<String>) -> Self {
        let wanted = wanted.to_lowercase();
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let mut near: Vec<(usize, String)> = all
            .iter()
            .filter_map(|name| {
                let lower = name.to_lowercase();
                let distance = strsim::damerau_levenshtein(&wanted, &lower)
                    .min(strsim::damerau_levenshtein(&last(&wanted), &last(&lower)));
                let alike = distance <= 1 + wanted.chars().count() / 4;
                alike.then(|| (distance, name.clone()))
            })
            .collect();
        near.sort();
        near.truncate(5);
        if near.is_empty() {
            return Self(all.into_iter().take(10).collect());
        }
        Self(near.into_iter().map(|(_, name)| name).collect())
    }
}

fn listed(names: &[String]) -> String {
    let mut list =
        names.iter().take(LISTED_NAMES).map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED_NAMES {
        let _ = write!(list, " and {} more", names.len() - LISTED_NAMES);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_first() {
        let all = ["public.orders", "crm.people", "public.persons"].map(str::to_owned).to_vec();
        assert_eq!(NearNames::among("peple", all.clone()).0, ["crm.people"]);
        assert_eq!(NearNames::among("CRM.People", all.clone()).0, ["crm.people"]);
        assert_eq!(NearNames::among("zzz", all.clone()).0, all);
    }
}
