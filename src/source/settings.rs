//! What the user specified about a source, and whether it is consistent.

use std::path::{Path, PathBuf};

use super::error::SourceError;
use super::location::lasting_path;
use super::{Encoding, Location, Quoting};
use crate::display::{escaped, quoted};
use crate::source::csv::column;
use crate::source::database::table::TableName;

/// The share of invalid rows that a source may hold, unless the user says otherwise.
pub const MAX_INVALID: f64 = 0.5;

/// Where the rows are and how to read them; what is not said is found out.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Where the rows are.
    pub location: Location,
    /// The column of emails: its name, or its number from 1.
    pub column: Option<String>,
    /// What separates the cells of a CSV file.
    pub delimiter: Option<char>,
    /// Whether quotes enclose cells of a CSV file.
    pub quoting: Quoting,
    /// The first row of a CSV file is a row like any other.
    pub no_header: bool,
    /// The encoding of a CSV file, see [`super::encoding()`]. A byte order mark says more.
    pub encoding: Option<Encoding>,
    /// The table of a database, with or without its schema.
    pub table: Option<String>,
    /// The query of a database whose first column is the email.
    pub query: Option<String>,
    /// Fewer rows are an error.
    pub min_rows: u64,
    /// A greater share of invalid rows is an error, of 20 or more that are not blank.
    pub max_invalid: f64,
    /// The store that the answers go to, which cannot be the source as well.
    pub store: Option<PathBuf>,
}

impl SourceSettings {
    /// A source of which nothing is said but where it is.
    pub fn new(location: Location) -> Self {
        Self {
            location,
            column: None,
            delimiter: None,
            quoting: Quoting::default(),
            no_header: false,
            encoding: None,
            table: None,
            query: None,
            min_rows: 0,
            max_invalid: MAX_INVALID,
            store: None,
        }
    }

    /// How the source is named in the store, in reports and logs: an absolute path, `standard
    /// input`, or the address of a database without its password; then the table or query.
    /// The same between runs, whatever the working directory.
    pub fn name(&self) -> String {
        let place = self.location.name();
        match (&self.table, &self.query) {
            (Some(table), _) => format!("{place} table {}", escaped(table)),
            (None, Some(query)) => format!("{place} query {}", escaped(query.trim())),
            (None, None) => place,
        }
    }

    /// Whether the settings fit together; nothing is opened.
    ///
    /// # Errors
    /// A [`super::SourceErrorKind::Usage`] for those that do not.
    pub fn check(&self) -> Result<(), SourceError> {
        let texts = [&self.column, &self.table, &self.query];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(usage("--column, --table and --query cannot hold a zero byte."));
        }
        if self.column.as_deref().is_some_and(|column| column.trim().is_empty()) {
            return Err(usage("--column is empty. Give a name, or a number from 1."));
        }
        match self.location {
            Location::Stdin | Location::File(_) => self.check_csv(),
            Location::Sqlite(_) | Location::Postgres(_) | Location::Mysql(_) => {
                self.check_database()
            }
        }
    }

    fn check_csv(&self) -> Result<(), SourceError> {
        if self.table.is_some() || self.query.is_some() {
            return Err(usage(
                "--table and --query read a database, and the source is a CSV file. For an \
                 SQLite file write `sqlite:PATH`.",
            ));
        }
        if self.delimiter.is_some_and(|delimiter| matches!(delimiter, '"' | '\r' | '\n' | '\0')) {
            return Err(usage(
                "--delimiter is one character other than a quote, a line end or a zero byte.",
            ));
        }
        match self.column.as_deref() {
            Some(wanted) if self.no_header && column::as_number(wanted).is_none() => {
                Err(SourceError::Usage(format!(
                    "--no-header leaves no names, so --column {} means nothing. Give a number \
                     from 1.",
                    quoted(wanted)
                )))
            }
            Some(wanted) if self.no_header && column::as_number(wanted) == Some(0) => {
                Err(usage("--column counts from 1."))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_database(&self) -> Result<(), SourceError> {
        let reads_csv = self.delimiter.is_some()
            || self.no_header
            || self.encoding.is_some()
            || self.quoting != Quoting::default();
        if reads_csv {
            return Err(usage(
                "--delimiter, --quote, --no-header and --encoding read CSV, and the source is a \
                 database.",
            ));
        }
        match (&self.table, &self.query) {
            (None, None) => {
                Err(usage("A database needs --table NAME (and --column) or --query SQL."))
            }
            (Some(_), Some(_)) => Err(usage("Give --table or --query, not both.")),
            (Some(table), None) => TableName::parse(table).map(|_| ()),
            (None, Some(query)) if query.trim().is_empty() => Err(usage("--query is empty.")),
            (None, Some(_)) => Ok(()),
        }
    }

    /// What to do about rows that hold no emails.
    pub(super) fn column_advice(&self) -> &'static str {
        match (&self.query, &self.column) {
            (Some(_), None) => "Select the email first, or name its column with --column.",
            (None, None) => "If another column holds the emails, name it with --column.",
            (_, Some(_)) => "Check --column.",
        }
    }

    /// Whether `path` is the store, by whatever name.
    pub(super) fn is_store(&self, path: &Path) -> bool {
        self.store.as_ref().is_some_and(|store| {
            lasting_path(store) == lasting_path(path) || is_same_file(store, path)
        })
    }
}

#[cfg(unix)]
fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Ok(_) | Err(_), _) => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(_: &Path, _: &Path) -> bool {
    false
}

fn usage(message: &str) -> SourceError {
    SourceError::Usage(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceErrorKind;

    fn settings(source: &str) -> SourceSettings {
        SourceSettings::new(Location::parse(source).unwrap())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn what_contradicts_itself_is_the_command_lines_fault() {
        let csv = settings("a.csv");
        let database = SourceSettings { table: some("t"), ..settings("sqlite:a.db") };
        for (settings, word) in [
            (SourceSettings { table: some("t"), ..csv.clone() }, "CSV"),
            (SourceSettings { query: some("q"), ..csv.clone() }, "CSV"),
            (SourceSettings { delimiter: Some('"'), ..csv.clone() }, "quote"),
            (SourceSettings { delimiter: Some('\n'), ..csv.clone() }, "line end"),
            (SourceSettings { no_header: true, column: some("x"), ..csv.clone() }, "`x`"),
            (SourceSettings { no_header: true, column: some("0"), ..csv.clone() }, "from 1"),
            (SourceSettings { column: some(""), ..csv.clone() }, "empty"),
            (SourceSettings { table: None, ..database.clone() }, "needs --table"),
            (SourceSettings { query: some("q"), ..database.clone() }, "not both"),
            (SourceSettings { delimiter: Some(';'), ..database.clone() }, "--delimiter"),
            (SourceSettings { no_header: true, ..database.clone() }, "--no-header"),
            (SourceSettings { table: some("a..b"), ..database.clone() }, "table"),
            (SourceSettings { table: some("a\0b"), ..database.clone() }, "zero"),
            (SourceSettings { table: None, query: some(" "), ..database.clone() }, "empty"),
        ] {
            let error = settings.check().unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Usage);
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(database.check().is_ok());
        assert!(SourceSettings { no_header: true, column: some("2"), ..csv }.check().is_ok());
    }

    #[test]
    fn a_name_lasts_whatever_way_leads_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        std::fs::write(folder.join("a.csv"), "x").unwrap();
        std::os::unix::fs::symlink(folder.join("a.csv"), folder.join("link.csv")).unwrap();
        let named = |file: &str| settings(&format!("{}/{file}", folder.display())).name();
        let expected = format!("{}/a.csv", folder.display());
        assert_eq!(named("a.csv"), expected);
        assert_eq!(named("./link.csv"), expected);
        assert_eq!(settings("missing.csv").name(), format!("{}/missing.csv", cwd()));
        assert_eq!(settings("-").name(), "standard input");
        let table = SourceSettings { table: some("p"), ..settings("sqlite:m.db") };
        assert_eq!(table.name(), format!("sqlite:{}/m.db table p", cwd()));
    }

    fn cwd() -> String {
        std::env::current_dir().unwrap().display().to_string()
    }
}
