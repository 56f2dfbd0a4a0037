//! What can be wrong with a source: each message says what, where, and what to do next.

use std::fmt::{self, Write as _};
use std::io;

use crate::display::{counted, escaped, grouped, quoted};
use crate::domain::email::InvalidEmail;

/// The most columns or tables that a message lists.
pub(super) const MAX_LISTED: usize = 10;

/// The longest name of a column or table that a message repeats, in characters.
const NAME_CHARS: usize = 60;

/// Which exit code a [`SourceError`] causes.
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
    #[error("{name} is empty (0 bytes). Check the job that writes it.")]
    Empty { name: String },
    #[error("{name} does not exist. Check the path.")]
    Missing { name: String },
    #[error("{name} is a directory. Name a file in it.")]
    Directory { name: String },
    #[error("{name} may not be read by this account. Change its permissions, or use another one.")]
    Denied { name: String },
    #[error("{name} is {what}, not CSV. {advice}")]
    NotText { name: String, what: &'static str, advice: String },
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
        "{name}, line {line}: the row that starts here is longer than 8 MiB. Check that it is a text file with line ends."
    )]
    RowTooLong { name: String, line: u64 },
    #[error(
        "{name} has {}, fewer than --min-rows {}. Nothing was planned; check the job that writes it.",
        counted(*rows, "row"),
        grouped(*min_rows)
    )]
    TooFewRows { name: String, rows: u64, min_rows: u64 },
    #[error(
        "{name} holds no valid email in {} ({first}). Nothing was planned. {advice}",
        counted(*rows, "row")
    )]
    NoValidEmail { name: String, rows: u64, first: InvalidRow, advice: &'static str },
    #[error(
        "{name}: {} of {} that are not blank hold no valid email ({first}), more than --max-invalid {}%. Nothing was planned. {advice} Or raise --max-invalid.",
        grouped(*invalid),
        counted(*rows, "row"),
        max_invalid * 100.0
    )]
    TooManyInvalid {
        name: String,
        rows: u64,
        invalid: u64,
        max_invalid: f64,
        first: InvalidRow,
        advice: &'static str,
    },
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
        "{server}: {view} exists but cannot be read: {message}. Fix the view, or read what it reads with --query."
    )]
    BrokenView { server: String, view: String, message: String },
    #[error(
        "{server}: the query has the parameter {parameter}, and no value is bound to it. Write the value into the query."
    )]
    UnboundParameter { server: String, parameter: String },
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
    #[error("{server} gives no connection: {message}. {advice}")]
    NoConnection { server: String, message: String, advice: &'static str },
    #[error("{server} cannot be read: {message}. {advice}")]
    Database { server: String, message: String, advice: &'static str },
    #[error("{server} broke off after row {row}: {message}. Nothing was planned. {advice}")]
    BrokeOff { server: String, row: u64, message: String, advice: &'static str },
}

impl SourceError {
    /// Which exit code this causes: only [`SourceErrorKind::Usage`] is the command
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
            | Self::RowTooLong { .. }
            | Self::TooFewRows { .. }
            | Self::NoValidEmail { .. }
            | Self::TooManyInvalid { .. }
            | Self::Column { .. }
            | Self::Unreachable { .. }
            | Self::LoginRefused { .. }
            | Self::UnknownTable { .. }
            | Self::BrokenView { .. }
            | Self::UnboundParameter { .. }
            | Self::QueryRefused { .. }
            | Self::QueryWrites { .. }
            | Self::QueryWithoutColumn { .. }
            | Self::NoConnection { .. }
            | Self::Database { .. }
            | Self::BrokeOff { .. } => SourceErrorKind::Unusable,
        }
    }
}

/// What is wrong with a URL, which is not repeated, because it may hold a password.
pub(super) fn broken_url(error: &dyn fmt::Display) -> SourceError {
    SourceError::Usage(format!(
        "The database URL cannot be understood: {}. Write kind://user:password@host:port/database, \
         with special characters in the password as %23 (#), %2F (/), %3A (:), %3F (?), %40 (@).",
        escaped(&error.to_string())
    ))
}

/// The first row that holds no valid email.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("first: row {row}, {}: {reason}", short_name(text))]
pub struct InvalidRow {
    pub(super) row: u64,
    pub(super) text: String,
    pub(super) reason: InvalidEmail,
}

/// Why no column of a source can be taken for the emails. Completes a sentence that begins with
/// the source's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each variant and field means")]
pub enum ColumnError {
    #[error(
        "has no column of emails: none has a usual name or holds mostly addresses. Name one with --column: {}.",
        listed(columns)
    )]
    NoneKnown { columns: Vec<String> },
    #[error("has no column {}. It has: {}.", short_name(wanted), listed(columns))]
    Unknown { wanted: String, columns: Vec<String> },
    #[error(
        "has no column {wanted}: its rows have {width}. Give --column a number from 1 to {width}."
    )]
    NoSuchNumber { wanted: usize, width: usize },
    #[error(
        "has no header, so there is no column {}. Give --column a number from 1 to {width}.",
        short_name(wanted)
    )]
    NoHeader { wanted: String, width: usize },
    #[error(
        "has no column {} in its first 50 rows; line {} has it. Remove the lines above that one, or give --column a number from 1 to {width}.",
        short_name(wanted), grouped(*line)
    )]
    LateHeader { wanted: String, line: u64, width: usize },
    #[error(
        "has no header and no column that holds mostly addresses. Give --column a number from 1 to {width}."
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
        write!(f, "Did you mean: {}?", listed(&self.0))
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

/// The name of a column or table, or a short text, between backticks.
pub(super) fn short_name(name: &str) -> String {
    let name = name.trim();
    match name.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => quoted(&format!("{}…", &name[..end])),
        None => quoted(name),
    }
}

fn listed(names: &[String]) -> String {
    let mut list =
        names.iter().take(MAX_LISTED).map(|name| short_name(name)).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_LISTED {
        let _ = write!(
            list,
            ", … and {} more",
            grouped(u64::try_from(names.len() - MAX_LISTED).unwrap_or(u64::MAX))
        );
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
