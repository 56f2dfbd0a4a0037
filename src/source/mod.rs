//! Rows out of a file or a database, streamed: nothing here holds the whole input.
//!
//! What the user writes becomes a [`Location`] and [`SourceSettings`]; [`open()`] detects the rest
//! and returns rows. Bytes of CSV are unpacked and decoded (`decode`), sniffed by their beginning
//! (`sniff`, `column`) and split (`records`). A database is read by a thread of its own (`feed`),
//! which `sqlite` or `sql` runs. Each row's text is normalized by [`Email::parse_wrapped`].

mod csv;
mod database;
mod error;
mod location;
mod mysql_url;
mod notes;
mod settings;
mod url_text;

pub use self::csv::dialect::Quoting;
pub use self::csv::encoding::Encoding;
pub use self::error::{ColumnError, InvalidRow, NearNames, SourceError, SourceErrorKind};
pub use self::location::{DatabaseUrl, Location};
pub use self::settings::{MAX_INVALID, SourceSettings};
use crate::display::{counted, quoted};
use crate::domain::email::{Email, InvalidEmail, ParsedEmail};
use csv::decode::Trailing;
use csv::scan::Quotes;
use csv::{CsvInput, CsvRow, CsvRows, OpenCsv};
use database::feed::RowReceiver;
pub use database::remote::connect_to_postgres;
use database::{remote, sqlite};
use notes::Notes;

/// `--max-invalid` applies from this many rows on.
const JUDGED_ROWS: u64 = 20;

/// This many rows are kept to be shown.
const FIRST_ROWS: usize = 5;

/// One row of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRow {
    /// The line on which the row starts in a file, counted from 1 as an editor does; the row's
    /// number in the result of a query.
    pub row: u64,
    /// The cell that should hold an email, as it was read.
    pub text: String,
    /// What it holds.
    pub email: Result<Email, InvalidEmail>,
}

impl InputRow {
    /// The row with its text normalized.
    pub fn new(row: u64, text: String) -> Self {
        let email = Email::parse(&text);
        Self { row, text, email }
    }
}

/// The encoding that a user names, as `latin1`, `UTF-16`, `cp852` or any other name that the web,
/// Windows or DOS has for it.
///
/// # Errors
/// A [`SourceErrorKind::Usage`] when there is none of this name.
pub fn encoding(name: &str) -> Result<Encoding, SourceError> {
    Encoding::of_name(name).ok_or_else(|| {
        SourceError::Usage(format!(
            "There is no encoding {}. Try UTF-8, UTF-16, Windows-1252, Latin-1, a code page such \
             as CP850, or another of https://encoding.spec.whatwg.org/#names-and-labels.",
            error::short_name(name)
        ))
    })
}

/// A source that is open and ready to give its rows: an iterator that ends after its
/// first error. Rows that are not what [`SourceSettings`] demand end with an error, too. Dropping
/// it closes the file, or ends the query.
#[derive(Debug)]
pub struct OpenSource {
    name: String,
    settings: SourceSettings,
    description: String,
    rows: Rows,
    notes: Notes,
    trailing: Trailing,
    first_rows: Vec<InputRow>,
    judgement: Judgement,
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

/// What the rows so far say of the source.
#[derive(Clone, Debug, Default)]
struct Judgement {
    rows: u64,
    filled: u64,
    invalid: u64,
    first_blank: Option<u64>,
    first_invalid: Option<InvalidRow>,
}

/// Reads CSV from anywhere, as [`open()`] reads a file; the settings' location is not looked at.
///
/// # Errors
/// As for a file.
pub fn open_bytes(
    bytes: Box<dyn std::io::Read + Send>,
    settings: &SourceSettings,
) -> Result<OpenSource, SourceError> {
    open_csv(CsvInput { name: "The input".to_owned(), path: None, bytes }, settings)
}

/// Opens the source and finds out how to read it. Blocks; a server has 10 seconds to let us in.
///
/// # Errors
/// What [`SourceSettings::check`] finds, a [`SourceErrorKind::Empty`] for a file without text,
/// and a [`SourceErrorKind::Unusable`] for all else.
pub fn open(settings: &SourceSettings) -> Result<OpenSource, SourceError> {
    settings.check()?;
    match &settings.location {
        Location::Stdin => {
            let (name, bytes) = ("Standard input".to_owned(), Box::new(std::io::stdin()));
            open_csv(CsvInput { name, path: None, bytes }, settings)
        }
        Location::File(path) => {
            let name = quoted(&path.to_string_lossy());
            let bytes = csv::open_file(path)?;
            open_csv(CsvInput { name, path: Some(path), bytes }, settings)
        }
        Location::Sqlite(path) => {
            let (description, feed) = sqlite::open(path, settings)?;
            let name = quoted(&path.to_string_lossy());
            Ok(OpenSource::new(name, description, Rows::Database(feed), settings))
        }
        Location::Postgres(url) | Location::Mysql(url) => {
            let (description, feed) = remote::open(url, settings)?;
            Ok(OpenSource::new(url.to_string(), description, Rows::Database(feed), settings))
        }
    }
}

fn open_csv(input: CsvInput<'_>, settings: &SourceSettings) -> Result<OpenSource, SourceError> {
    let name = input.name.clone();
    let OpenCsv { description, remarks, trailing, rows } = csv::open(input, settings)?;
    let mut source = OpenSource::new(name, description, Rows::Csv(Box::new(rows)), settings);
    source.notes.remarks = remarks;
    source.trailing = trailing;
    Ok(source)
}

impl OpenSource {
    fn new(name: String, description: String, rows: Rows, settings: &SourceSettings) -> Self {
        Self {
            name,
            settings: settings.clone(),
            description,
            rows,
            notes: Notes::default(),
            trailing: Trailing::default(),
            first_rows: Vec::new(),
            judgement: Judgement::default(),
        }
    }

    /// How the source is read, in words: `semicolon, Windows-1252, column 3 `E-Mail``.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What a person should look into: parameters of the URL that make no difference, and, after the
    /// last row, what follows the packed data.
    pub fn warnings(&self) -> Vec<String> {
        let trailing = self.trailing.bytes();
        let after = (trailing > 0).then(|| {
            format!(
                "{} has {} after the end of its gzip data, which were left out. Check the job that writes it.",
                self.name,
                counted(trailing, "byte")
            )
        });
        let ignored = match &self.settings.location {
            Location::Postgres(url) | Location::Mysql(url) => url.ignored.as_slice(),
            Location::Stdin | Location::File(_) | Location::Sqlite(_) => &[],
        };
        let ignored = (!ignored.is_empty()).then(|| {
            format!(
                "Parameters of the database URL that make no difference here are ignored: {}.",
                ignored.join(", ")
            )
        });
        after.into_iter().chain(ignored).collect()
    }

    /// What was skipped, unwrapped or looks suspicious so far, in one line.
    pub fn notes(&self) -> Option<String> {
        self.notes.line()
    }

    /// The first five rows that were read.
    pub fn first_rows(&self) -> &[InputRow] {
        &self.first_rows
    }

    fn next_raw(&mut self) -> Result<Option<InputRow>, SourceError> {
        let (row, text) = match &mut self.rows {
            Rows::Csv(rows) => {
                let Some(CsvRow { row, text, quotes }) = rows.next_row()? else { return Ok(None) };
                match quotes {
                    Quotes::Plain => {}
                    Quotes::OverLines => self.notes.quoted_over_lines.add(row),
                    Quotes::Stray => self.notes.stray_quotes.add(row),
                }
                (row, text)
            }
            Rows::Database(feed) => match feed.next_row()? {
                Some(raw) => (raw.row, raw.text),
                None => return Ok(None),
            },
            Rows::Ended => return Ok(None),
        };
        let ParsedEmail { email, wrappings } = Email::parse_wrapped(&text);
        self.notes.unwrapped(wrappings, row);
        Ok(Some(InputRow { row, text, email }))
    }
}

impl Iterator for OpenSource {
    type Item = Result<InputRow, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.rows, Rows::Ended) {
            return None;
        }
        let next = match self.next_raw() {
            Ok(Some(row)) => Ok(row),
            Ok(None) => {
                self.rows = Rows::Ended;
                return self.judgement.end(&self.name, &self.settings).err().map(Err);
            }
            Err(error) => {
                self.rows = Rows::Ended;
                Err(error)
            }
        };
        if let Ok(row) = &next {
            self.judgement.add(row);
            if self.first_rows.len() < FIRST_ROWS {
                self.first_rows.push(row.clone());
            }
        }
        Some(next)
    }
}

impl Judgement {
    fn add(&mut self, row: &InputRow) {
        self.rows += 1;
        let Err(reason) = row.email else {
            self.filled += 1;
            return;
        };
        let seen = match reason {
            InvalidEmail::Blank => {
                self.first_blank.get_or_insert(row.row);
                return;
            }
            _ => &mut self.first_invalid,
        };
        self.filled += 1;
        self.invalid += 1;
        if seen.is_none() {
            *seen = Some(InvalidRow { row: row.row, text: row.text.clone(), reason });
        }
    }

    /// Whether the source holds what it must.
    fn end(&mut self, name: &str, settings: &SourceSettings) -> Result<(), SourceError> {
        let (name, rows) = (name.to_owned(), self.rows);
        if rows < settings.min_rows {
            return Err(SourceError::TooFewRows { name, rows, min_rows: settings.min_rows });
        }
        let (valid, advice) = (self.filled - self.invalid, settings.column_advice());
        let blank = || InvalidRow {
            row: self.first_blank.unwrap_or_default(),
            text: String::new(),
            reason: InvalidEmail::Blank,
        };
        let first = self.first_invalid.clone().unwrap_or_else(blank);
        if rows > 0 && valid == 0 {
            return Err(SourceError::NoValidEmail { name, rows, first, advice });
        }
        let share = self.invalid as f64 / self.filled.max(1) as f64;
        if self.filled >= JUDGED_ROWS && share > settings.max_invalid {
            return Err(SourceError::TooManyInvalid {
                name,
                rows: self.filled,
                invalid: self.invalid,
                max_invalid: settings.max_invalid,
                first,
                advice,
            });
        }
        Ok(())
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
        let long = "x".repeat(9 << 20);
        std::fs::write(&path, format!("id,email\n1,a@x.io\n2,{long}\n")).unwrap();
        let mut open = open(&settings(&path)).unwrap();
        assert_eq!(open.description(), "comma, UTF-8, column 2 `email`");
        assert_eq!(open.next().unwrap().unwrap(), InputRow::new(2, "a@x.io".to_owned()));
        assert!(matches!(open.next(), Some(Err(SourceError::RowTooLong { line: 3, .. }))));
        assert!(open.next().is_none());
    }

    #[test]
    fn what_follows_gzip_data_is_a_warning_when_all_rows_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv.gz");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, b"email\na@x.io\n").unwrap();
        let mut bytes = gzip.finish().unwrap();
        let warnings = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let mut open = open(&settings(&path)).unwrap();
            assert_eq!(open.by_ref().map(Result::unwrap).count(), 1);
            open.warnings().join("")
        };
        assert_eq!(warnings(&bytes), "");
        bytes.extend(b"junk");
        let expected = "a.csv.gz` has 4 bytes after the end of its gzip data, which were left out.";
        assert!(warnings(&bytes).contains(expected), "{}", warnings(&bytes));
    }

    /// The error at the end of a file, or the number of its rows.
    fn judged(text: &str, change: impl Fn(&mut SourceSettings)) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        let mut settings = settings(&path);
        change(&mut settings);
        let rows: Result<Vec<InputRow>, SourceError> = open(&settings).unwrap().collect();
        rows.map(|rows| rows.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_source_that_is_not_what_it_must_be_ends_with_an_error() {
        let rows = |valid: usize, invalid: usize, blank: usize| {
            let lines = ["a@x.io,\n".repeat(valid), "Ann,\n".repeat(invalid), ",\n".repeat(blank)];
            format!("email,x\n{}", lines.concat())
        };
        let usual = |text: &str| judged(text, |_| {});
        assert_eq!(usual(&rows(0, 0, 0)), Ok(0));
        assert_eq!(usual(&rows(10, 10, 500)), Ok(520));
        assert_eq!(usual(&rows(1, 18, 0)), Ok(19));
        let most = usual(&rows(9, 11, 0)).unwrap_err();
        assert!(most.contains("11 of 20 rows that are not blank"), "{most}");
        assert!(
            most.contains("first: row 11, `Ann`: no @), more than --max-invalid 50%"),
            "{most}"
        );
        assert_eq!(judged(&rows(9, 11, 0), |s| s.max_invalid = 0.55), Ok(20));
        let none = usual(&rows(0, 2, 1)).unwrap_err();
        assert!(none.contains("no valid email in 3 rows (first: row 2, `Ann`: no @)"), "{none}");
        let few = judged(&rows(3, 0, 0), |s| s.min_rows = 4).unwrap_err();
        assert!(few.contains("has 3 rows, fewer than --min-rows 4"), "{few}");
        assert_eq!(judged(&rows(3, 0, 0), |s| s.min_rows = 3), Ok(3));
        assert!(judged(&rows(0, 0, 0), |s| s.min_rows = 1).is_err());
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
        assert_eq!(encoding("Latin-1").unwrap().name(), "Windows-1252");
    }
}
