//! Rows out of a file or a database, streamed: nothing here holds the whole input.
//!
//! What the user writes becomes a [`Location`] and [`SourceSettings`]; [`open()`] finds out the rest
//! and gives rows. Bytes of CSV are unpacked and decoded (`decode`), understood by their beginning
//! (`sniff`, `column`) and split (`records`). A database is read by a thread of its own (`feed`),
//! which `sqlite` or `sql` runs.

mod csv;
mod database;
mod error;
mod location;
mod settings;

pub use encoding_rs::Encoding;

pub use self::error::{ColumnError, NearNames, SourceError, SourceErrorKind};
pub use self::location::{DatabaseUrl, Location};
pub use self::settings::SourceSettings;
use crate::display::quoted;
use csv::CsvRows;
use csv::decode;
use database::feed::RowReceiver;
use database::{sql, sqlite};

/// One row of the input, before anything is thought of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRow {
    /// The line on which the row starts in a file, counted from 1 as an editor does; the row's
    /// number in the result of a query.
    pub row: u64,
    /// The cell that should hold an email, as it was read.
    pub text: String,
}

/// The encoding that a user names, as `latin1`, `UTF-16` or any other name that the web knows.
///
/// # Errors
/// A [`SourceErrorKind::Usage`] when there is none of this name.
pub fn encoding(name: &str) -> Result<&'static Encoding, SourceError> {
    decode::encoding_of_name(name).ok_or_else(|| {
        SourceError::Usage(format!(
            "There is no encoding {}. Try UTF-8, UTF-16, Windows-1252, Latin-1 or another of \
             https://encoding.spec.whatwg.org/#names-and-labels.",
            quoted(name)
        ))
    })
}

/// A source that is open, understood, and ready to give its rows: an iterator that ends after its
/// first error. Dropping it closes the file, or breaks off the query.
#[derive(Debug)]
pub struct OpenSource {
    understood: String,
    rows: Rows,
}

enum Rows {
    Csv(Box<CsvRows>),
    Database(RowReceiver),
    Ended,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Csv(_) => "Csv",
            Self::Database(_) => "Database",
            Self::Ended => "Ended",
        })
    }
}

/// Opens the source and finds out how to read it. Blocks; a server has 10 seconds to let us in.
///
/// # Errors
/// What [`SourceSettings::check`] finds, a [`SourceErrorKind::Empty`] for a file without text,
/// and a [`SourceErrorKind::Unusable`] for all else.
pub fn open(settings: &SourceSettings) -> Result<OpenSource, SourceError> {
    settings.check()?;
    let (understood, rows) = match &settings.location {
        Location::Stdin => {
            let input = Box::new(std::io::stdin());
            open_csv(settings, "Standard input".to_owned(), input)?
        }
        Location::File(path) => {
            let name = quoted(&path.to_string_lossy());
            open_csv(settings, name, csv::open_file(path)?)?
        }
        Location::Sqlite(path) => {
            let (understood, feed) = sqlite::open(path, settings)?;
            (understood, Rows::Database(feed))
        }
        Location::Postgres(url) | Location::Mysql(url) => {
            let (understood, feed) = sql::open(url, settings)?;
            (understood, Rows::Database(feed))
        }
    };
    Ok(OpenSource { understood, rows })
}

fn open_csv(
    settings: &SourceSettings,
    name: String,
    input: decode::Bytes,
) -> Result<(String, Rows), SourceError> {
    let (understood, rows) = csv::open(name, input, settings)?;
    Ok((understood, Rows::Csv(Box::new(rows))))
}

impl OpenSource {
    /// How the source is read, in words: `semicolon, Windows-1252, column 3 `E-Mail``.
    pub fn understood(&self) -> &str {
        &self.understood
    }
}

impl Iterator for OpenSource {
    type Item = Result<InputRow, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.rows {
            Rows::Csv(rows) => rows.next_row().transpose(),
            Rows::Database(feed) => feed.next_row().transpose(),
            Rows::Ended => None,
        };
        if !matches!(next, Some(Ok(_))) {
            self.rows = Rows::Ended;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(path: &Path) -> SourceSettings {
        SourceSettings::new(Location::File(path.to_owned()))
    }

    fn message(path: &Path) -> String {
        let error = open(&settings(path)).expect_err("an error");
        assert_eq!(error.kind(), SourceErrorKind::Unusable);
        error.to_string()
    }

    #[test]
    fn rows_may_be_read_by_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<OpenSource>();
        is_send::<SourceError>();
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(message(folder.path()).contains("is a directory"));
        assert!(message(&folder.path().join("no\u{1b}ne")).contains("no\\u{1b}ne` does not exist"));
        assert!(message(&folder.path().join("a").join("b")).contains("does not exist"));
    }

    #[test]
    fn rows_end_after_the_first_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "id,email\n1,a@x.io\n2,\"b@x.io\n").unwrap();
        let mut open = open(&settings(&path)).unwrap();
        assert_eq!(open.understood(), "comma, UTF-8, column 2 `email`");
        assert_eq!(open.next().unwrap().unwrap(), InputRow { row: 2, text: "a@x.io".to_owned() });
        assert!(matches!(open.next(), Some(Err(SourceError::UnclosedQuote { line: 3, .. }))));
        assert!(open.next().is_none());
    }

    #[test]
    fn contradictions_are_found_before_anything_is_opened() {
        let table = Some("t".to_owned());
        let error = open(&SourceSettings { table, ..settings(Path::new("none")) }).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Usage);
    }

    #[test]
    fn an_unknown_encoding_is_the_command_lines_fault() {
        assert_eq!(encoding("klingon").unwrap_err().kind(), SourceErrorKind::Usage);
        assert_eq!(encoding("Latin-1").unwrap().name(), "windows-1252");
    }
}
