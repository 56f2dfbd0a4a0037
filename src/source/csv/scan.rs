//! One record and its cells, found in a buffer that may hold a part of it.
//!
//! Pure: no clock, no I/O.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2, memchr3};

use crate::source::csv::dialect::{Dialect, Quoting};

/// The longest record, in bytes.
pub(in crate::source) const MAX_RECORD_BYTES: usize = 8 << 20;

/// Which cells of a record are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Keep {
    All,
    Only(usize),
}

/// Whether the text ends where the buffer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum End {
    OfText,
    MoreFollows,
}

/// What the quotes of a record turned out to be; the more suspicious one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::source) enum Quotes {
    /// None, or each encloses a cell on one line.
    Plain,
    /// One encloses a cell of several lines, as a stray quote can seem to.
    OverLines,
    /// One begins a cell and does not enclose it: the cell was read as unquoted.
    Stray,
}

/// Where a cell's text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Cell {
    range: Range<usize>,
    /// Quotes inside are written twice.
    doubled: bool,
}

impl Cell {
    /// The cell's bytes; `text` is what the record was split from.
    pub(in crate::source) fn bytes<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let bytes = &text[self.range.clone()];
        if !self.doubled {
            return Cow::Borrowed(bytes);
        }
        let mut single = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some(quote) = memchr(b'"', rest) {
            single.extend_from_slice(&rest[..=quote]);
            rest = rest.get(quote + 2..).unwrap_or_default();
        }
        single.extend_from_slice(rest);
        Cow::Owned(single)
    }
}

/// The length of the line end at `at`: 0 if there is none, or not yet.
pub(in crate::source::csv) fn line_end_at(text: &[u8], at: usize, end: End) -> usize {
    match (text.get(at), text.get(at + 1), end) {
        (Some(b'\n'), _, _) => 1,
        (Some(b'\r'), Some(b'\n'), _) => 2,
        (Some(b'\r'), Some(_), _) | (Some(b'\r'), None, End::OfText) => 1,
        _ => 0,
    }
}

/// How many line ends `text` holds.
pub(in crate::source::csv) fn count_line_ends(text: &[u8]) -> u64 {
    let (mut count, mut at) = (0, 0);
    while let Some(found) = memchr2(b'\r', b'\n', &text[at..]) {
        at += found;
        at += line_end_at(text, at, End::OfText);
        count += 1;
    }
    count
}

/// A buffer in which one record is looked for.
#[derive(Clone, Copy)]
pub(in crate::source::csv) struct Scan<'a> {
    pub(in crate::source::csv) text: &'a [u8],
    pub(in crate::source::csv) end: End,
    pub(in crate::source::csv) dialect: Dialect,
}

/// A record's extent.
pub(in crate::source::csv) struct Found {
    pub(in crate::source::csv) bytes: usize,
    pub(in crate::source::csv) quotes: Quotes,
    pub(in crate::source::csv) line_ends: u64,
}

/// Takes the cells of a record one after the other.
pub(in crate::source::csv) struct Kept<'a> {
    pub(in crate::source::csv) cells: &'a mut Vec<Cell>,
    pub(in crate::source::csv) keep: Keep,
    pub(in crate::source::csv) field: usize,
}

impl Kept<'_> {
    fn take(&mut self, cell: Cell) {
        if matches!(self.keep, Keep::All) || self.keep == Keep::Only(self.field) {
            self.cells.push(cell);
        }
        self.field += 1;
    }

    fn is_done(&self) -> bool {
        matches!(self.keep, Keep::Only(wanted) if self.field > wanted)
    }
}

/// What a cell that begins with a quote turned out to be.
enum Quoted {
    Closed {
        cell: Cell,
        end: CellEnd,
    },
    /// No quoted cell: its end is to be looked for from here.
    Stray {
        resume: usize,
    },
    NeedMore,
}

/// What follows a cell.
enum CellEnd {
    Delimiter { next: usize },
    Line { next: usize },
    Text,
}

impl Scan<'_> {
    /// The record at the beginning; none if the buffer does not hold all of it.
    pub(in crate::source::csv) fn record(&self, mut kept: Kept<'_>) -> Option<Found> {
        let line_end = match (memchr2(b'\r', b'\n', self.text), self.end) {
            (Some(at), _) => at,
            (None, End::OfText) => self.text.len(),
            (None, End::MoreFollows) => return None,
        };
        let line = &self.text[..line_end];
        if self.dialect.quoting == Quoting::None || memchr(b'"', line).is_none() {
            let end = line_end_at(self.text, line_end, self.end);
            if end == 0 && self.end == End::MoreFollows {
                return None;
            }
            self.split_plain(line, &mut kept);
            let bytes = line_end + end;
            return Some(Found { bytes, quotes: Quotes::Plain, line_ends: u64::from(end > 0) });
        }
        self.split_quoted(line_end, kept)
    }

    /// A line without quotes: nearly every line of most files.
    fn split_plain(&self, line: &[u8], kept: &mut Kept<'_>) {
        let mut at = 0;
        while !kept.is_done() {
            let rest = &line[at..];
            let delimiter = self.dialect.delimiter;
            let next = delimiter.and_then(|it| Some((it.find(rest)?, it.as_bytes().len())));
            let length = next.map_or(rest.len(), |(found, _)| found);
            kept.take(Cell { range: at..at + length, doubled: false });
            match next {
                Some((found, delimiter)) => at += found + delimiter,
                None => return,
            }
        }
    }

    /// A record in whose first line, which ends at `line_end`, there are quotes.
    pub(in crate::source::csv) fn split_quoted(
        &self,
        line_end: usize,
        mut kept: Kept<'_>,
    ) -> Option<Found> {
        let (mut at, mut quotes, mut line_ends) = (0, Quotes::Plain, 0);
        loop {
            let (cell, end) = match self.quoted(at) {
                Some(Quoted::NeedMore) => return None,
                Some(Quoted::Closed { cell, end }) => {
                    if cell.range.end > line_end {
                        quotes = quotes.max(Quotes::OverLines);
                        line_ends += count_line_ends(&self.text[cell.range.clone()]);
                    }
                    (cell, end)
                }
                Some(Quoted::Stray { resume }) => {
                    quotes = Quotes::Stray;
                    self.bare(at, resume)?
                }
                None => self.bare(at, at)?,
            };
            kept.take(cell);
            let bytes = match end {
                CellEnd::Delimiter { next } => {
                    at = next;
                    continue;
                }
                CellEnd::Line { next } => {
                    line_ends += 1;
                    next
                }
                CellEnd::Text => self.text.len(),
            };
            return Some(Found { bytes, quotes, line_ends });
        }
    }

    /// The cell from `at` that no quotes enclose; its end is looked for from `resume`.
    fn bare(&self, at: usize, resume: usize) -> Option<(Cell, CellEnd)> {
        let mut from = resume;
        let (end, what) = loop {
            let rest = &self.text[from..];
            let found = match self.dialect.delimiter {
                Some(delimiter) => memchr3(delimiter.first_byte(), b'\r', b'\n', rest),
                None => memchr2(b'\r', b'\n', rest),
            };
            match (found, self.end) {
                (None, End::OfText) => break (self.text.len(), CellEnd::Text),
                (None, End::MoreFollows) => return None,
                // The first byte of a delimiter may begin another character.
                (Some(found), _) => match self.cell_end(from + found)? {
                    CellEnd::Text => from += found + 1,
                    end => break (from + found, end),
                },
            }
        };
        Some((Cell { range: at..end, doubled: false }, what))
    }

    /// None if the cell from `at` does not begin with a quote.
    fn quoted(&self, at: usize) -> Option<Quoted> {
        if self.dialect.quoting == Quoting::None {
            return None;
        }
        let open = self.skip_blanks(at);
        if open >= self.text.len() && self.end == End::MoreFollows {
            return Some(Quoted::NeedMore);
        }
        (self.text.get(open) == Some(&b'"')).then(|| self.after_open(open))
    }

    fn after_open(&self, open: usize) -> Quoted {
        let (mut from, mut doubled) = (open + 1, false);
        loop {
            let quote = memchr(b'"', &self.text[from..]).map(|found| from + found);
            let Some(close) = quote.filter(|&quote| quote < MAX_RECORD_BYTES) else {
                let decided = quote.is_some()
                    || self.end == End::OfText
                    || self.text.len() >= MAX_RECORD_BYTES;
                return if decided { Quoted::Stray { resume: open } } else { Quoted::NeedMore };
            };
            if self.text.get(close + 1) == Some(&b'"') {
                doubled = true;
                from = close + 2;
                continue;
            }
            let next = self.skip_blanks(close + 1);
            return match self.cell_end(next) {
                None => Quoted::NeedMore,
                Some(CellEnd::Text) if next < self.text.len() => {
                    Quoted::Stray { resume: self.end_of_stray(open, close) }
                }
                Some(end) => Quoted::Closed { cell: Cell { range: open + 1..close, doubled }, end },
            };
        }
    }

    /// Text follows the quote at `close`, so the quotes enclose no cell. What is between them
    /// on one line stays together, as in `"Lee, Ann" <a@x.io>`, unless the second quote begins a
    /// cell itself.
    fn end_of_stray(&self, open: usize, close: usize) -> usize {
        let between = &self.text[open..close];
        let begins_cell =
            self.dialect.delimiter.is_some_and(|delimiter| between.ends_with(delimiter.as_bytes()));
        if begins_cell || memchr2(b'\r', b'\n', between).is_some() { open } else { close }
    }

    /// What is at `at`; none if the buffer ends too early to decide.
    fn cell_end(&self, at: usize) -> Option<CellEnd> {
        let rest = &self.text[at..];
        let more = self.end == End::MoreFollows;
        if rest.is_empty() {
            return (!more).then_some(CellEnd::Text);
        }
        // Most delimiters are one byte: a comparison of texts would cost more than the rest.
        if let Some(delimiter) = self.dialect.delimiter.filter(|it| it.first_byte() == rest[0]) {
            let bytes = delimiter.as_bytes();
            if bytes.len() == 1 || rest.starts_with(bytes) {
                return Some(CellEnd::Delimiter { next: at + bytes.len() });
            }
            if more && bytes.starts_with(rest) {
                return None;
            }
        }
        match line_end_at(self.text, at, self.end) {
            0 if rest == b"\r" => None,
            0 => Some(CellEnd::Text),
            length => Some(CellEnd::Line { next: at + length }),
        }
    }

    fn skip_blanks(&self, at: usize) -> usize {
        let delimiter = self.dialect.delimiter.map(|delimiter| delimiter.first_byte());
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t') && Some(*byte) != delimiter;
        at + self.text[at..].iter().take_while(|byte| is_blank(byte)).count()
    }
}
