//! The beginning of a file, split into rows to be looked at.
//!
//! Pure: no clock, no I/O.

use crate::domain::email::{Email, ParsedEmail, is_address};
use crate::source::csv::column;
use crate::source::csv::dialect::{Delimiter, Dialect, Quoting};
use crate::source::csv::encoding::CellEncoding;
use crate::source::csv::records::{Splitter, Step, TooLong};
use crate::source::csv::scan::{End, Keep};

/// More rows would add no information.
const SAMPLE_ROWS: usize = 20_000;

/// Fewer whole rows before a quote that stays open: the quote is taken for a stray one.
const TELLING_ROWS: usize = 20;

/// The beginning of a file.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Head<'a> {
    pub(in crate::source) text: &'a [u8],
    pub(in crate::source) end: End,
    pub(in crate::source) encoding: CellEncoding,
}

/// What the user specified; the rest is sniffed.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::source) struct Requested<'a> {
    pub(in crate::source) delimiter: Option<char>,
    pub(in crate::source) column: Option<&'a str>,
    pub(in crate::source) header: Header,
    pub(in crate::source) quoting: Quoting,
}

/// Whether the file has a row of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source) enum Header {
    #[default]
    Sniffed,
    None,
}

/// One record of the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::csv) struct Row {
    pub(in crate::source::csv) line: u64,
    pub(in crate::source::csv) cells: Vec<String>,
}

impl Row {
    pub(in crate::source::csv) fn cell(&self, index: usize) -> &str {
        self.cells.get(index).map_or("", |cell| cell.trim())
    }

    pub(in crate::source::csv) fn holds_address(&self) -> bool {
        self.cells.iter().any(|cell| is_address(cell))
    }

    pub(in crate::source::csv) fn holds_bare_address(&self) -> bool {
        let is_bare = |cell: &String| {
            let ParsedEmail { email, wrappings } = Email::parse_wrapped(cell);
            email.is_ok() && wrappings.is_empty()
        };
        self.cells.iter().filter(|cell| cell.contains('@')).any(is_bare)
    }

    /// `# …`, as scripts describe their output.
    pub(in crate::source::csv) fn is_comment(&self) -> bool {
        self.cell(0).starts_with('#') && !self.cells.iter().any(|cell| column::is_known(cell))
            || self.cells.len() == 1 && self.cell(0).starts_with('#')
    }
}

pub(in crate::source::csv) fn dialect(
    head: Head<'_>,
    delimiter: Option<char>,
    quoting: Quoting,
) -> Option<Dialect> {
    let Some(delimiter) = delimiter else { return Some(Dialect { delimiter: None, quoting }) };
    let bytes = head.encoding.bytes_of(delimiter, head.text)?;
    Some(Dialect { delimiter: Some(Delimiter::new(&bytes)?), quoting })
}

/// The first whole rows.
pub(in crate::source::csv) fn sample(
    head: Head<'_>,
    dialect: Dialect,
) -> Result<Vec<Row>, TooLong> {
    let mut splitter = Splitter::new(dialect, Keep::All);
    let (mut rows, mut at, mut end) = (Vec::new(), 0, head.end);
    while rows.len() < SAMPLE_ROWS {
        let rest = &head.text[at..];
        match splitter.step(rest, end)? {
            Step::Blank(bytes) => at += bytes,
            Step::Record(record) => {
                let cells = splitter.cells().iter();
                let cells = cells.map(|cell| head.encoding.text(&cell.bytes(rest))).collect();
                rows.push(Row { line: record.line, cells });
                at += record.bytes;
            }
            // A quote that is never closed would hide all the rows after it.
            Step::NeedMore if rows.len() < TELLING_ROWS && !rest.is_empty() => end = End::OfText,
            Step::NeedMore | Step::End => {
                if head.end == End::MoreFollows && end == End::OfText && rows.len() > 1 {
                    // The last one may be cut.
                    rows.pop();
                }
                break;
            }
        }
    }
    Ok(rows)
}
