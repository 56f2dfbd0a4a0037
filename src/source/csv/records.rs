//! Text is split into records and cells, with the line on which each record starts.
//!
//! Pure: no clock, no I/O. Every byte belongs to exactly one record or blank line. Not the `csv`
//! crate's parser: there a cell that begins with a quote but is no quoted cell takes the following
//! lines with it, a lone CR is no line end that counts, and a record's size has no limit.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2, memchr3, memmem};

/// The longest record, in bytes.
pub(in crate::source) const MAX_RECORD_BYTES: usize = 8 << 20;

/// What separates cells: a character as the text's encoding writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Delimiter {
    bytes: [u8; 4],
    length: usize,
}

impl Delimiter {
    /// None for an empty text and one of over four bytes.
    pub(in crate::source) fn new(encoded: &[u8]) -> Option<Self> {
        let mut bytes = [0; 4];
        bytes.get_mut(..encoded.len()).filter(|bytes| !bytes.is_empty())?.copy_from_slice(encoded);
        Some(Self { bytes, length: encoded.len() })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn find(&self, text: &[u8]) -> Option<usize> {
        match self.as_bytes() {
            [byte] => memchr(*byte, text),
            bytes => memmem::find(text, bytes),
        }
    }
}

/// Whether quotes enclose cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quoting {
    #[default]
    Double,
    None,
}

/// How cells are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Dialect {
    /// Without one every record is one cell.
    pub(in crate::source) delimiter: Option<Delimiter>,
    pub(in crate::source) quoting: Quoting,
}

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

/// What stands at the beginning of the rest of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Step {
    /// Nothing but line ends, this many bytes.
    Blank(usize),
    Record(Record),
    /// The record continues after the buffer.
    NeedMore,
    End,
}

/// One record; its cells are [`Splitter::cells`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Record {
    /// On which it starts, counted from 1.
    pub(in crate::source) line: u64,
    /// With its line end.
    pub(in crate::source) bytes: usize,
    pub(in crate::source) quotes: Quotes,
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

/// Where a cell's text stands.
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

/// A record over [`MAX_RECORD_BYTES`], which starts on this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct TooLong {
    pub(in crate::source) line: u64,
}

/// Splits text of which the caller keeps the part from the current record on.
#[derive(Clone, Debug)]
pub(in crate::source) struct Splitter {
    dialect: Dialect,
    keep: Keep,
    /// The line of the next record.
    line: u64,
    /// Of the last record; kept, because to allocate them for each would take a third of the time.
    cells: Vec<Cell>,
}

impl Splitter {
    pub(in crate::source) fn new(dialect: Dialect, keep: Keep) -> Self {
        Self { dialect, keep, line: 1, cells: Vec::new() }
    }

    /// The cells of the last record: all, or the wanted one if the record is wide enough.
    pub(in crate::source) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The line that comes next, counted from 1.
    pub(in crate::source) fn line(&self) -> u64 {
        self.line
    }

    /// Looks at `text`, which begins where the step before ended. What it finds does not depend on
    /// how much more of the text is in the buffer.
    pub(in crate::source) fn step(&mut self, text: &[u8], end: End) -> Result<Step, TooLong> {
        if text.is_empty() {
            return Ok(if end == End::OfText { Step::End } else { Step::NeedMore });
        }
        let blank = self.blank_lines(text, end);
        if blank > 0 {
            return Ok(Step::Blank(blank));
        }
        let too_long = TooLong { line: self.line };
        self.cells.clear();
        let scan = Scan { text, end, dialect: self.dialect };
        match scan.record(Kept { cells: &mut self.cells, keep: self.keep, field: 0 }) {
            Some(found) if found.bytes > MAX_RECORD_BYTES => Err(too_long),
            Some(Found { bytes, quotes, line_ends }) => {
                let line = self.line;
                self.line += line_ends;
                Ok(Step::Record(Record { line, bytes, quotes }))
            }
            None if text.len() > MAX_RECORD_BYTES => Err(too_long),
            None => Ok(Step::NeedMore),
        }
    }

    /// How many bytes of line ends `text` begins with. A CR at the end of the buffer waits for its
    /// LF.
    fn blank_lines(&mut self, text: &[u8], end: End) -> usize {
        let mut at = 0;
        loop {
            match line_end_at(text, at, end) {
                0 => return at,
                length => at += length,
            }
            self.line += 1;
        }
    }
}

/// The length of the line end at `at`: 0 if there is none, or not yet.
fn line_end_at(text: &[u8], at: usize, end: End) -> usize {
    match (text.get(at), text.get(at + 1), end) {
        (Some(b'\n'), _, _) => 1,
        (Some(b'\r'), Some(b'\n'), _) => 2,
        (Some(b'\r'), Some(_), _) | (Some(b'\r'), None, End::OfText) => 1,
        _ => 0,
    }
}

/// How many line ends `text` holds.
fn count_line_ends(text: &[u8]) -> u64 {
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
struct Scan<'a> {
    text: &'a [u8],
    end: End,
    dialect: Dialect,
}

/// A record's extent.
struct Found {
    bytes: usize,
    quotes: Quotes,
    line_ends: u64,
}

/// Takes the cells of a record one after the other.
struct Kept<'a> {
    cells: &'a mut Vec<Cell>,
    keep: Keep,
    field: usize,
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

/// What stands at the end of a cell.
enum CellEnd {
    Delimiter { next: usize },
    Line { next: usize },
    Text,
}

impl Scan<'_> {
    /// The record at the beginning; none if the buffer does not hold all of it.
    fn record(&self, mut kept: Kept<'_>) -> Option<Found> {
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
            let next = delimiter.and_then(|it| Some((it.find(rest)?, it.length)));
            let length = next.map_or(rest.len(), |(found, _)| found);
            kept.take(Cell { range: at..at + length, doubled: false });
            match next {
                Some((found, delimiter)) => at += found + delimiter,
                None => return,
            }
        }
    }

    /// A record in whose first line, which ends at `line_end`, there are quotes.
    fn split_quoted(&self, line_end: usize, mut kept: Kept<'_>) -> Option<Found> {
        let (mut at, mut quotes, mut line_ends) = (0, Quotes::Plain, 0);
        loop {
            let (cell, end) = match self.quoted(at) {
                Some(Quoted::NeedMore) => return None,
                Some(Quoted::Closed { cell, end }) => {
                    if cell.range.end > line_end {
                        let inside = count_line_ends(&self.text[cell.range.clone()]);
                        quotes = if inside > 0 { quotes.max(Quotes::OverLines) } else { quotes };
                        line_ends += inside;
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
                Some(delimiter) => memchr3(delimiter.bytes[0], b'\r', b'\n', rest),
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
                    || self.text.len() > MAX_RECORD_BYTES;
                return if decided { Quoted::Stray { resume: open + 1 } } else { Quoted::NeedMore };
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

    /// Text follows the quote at `close`, so the quotes enclose no cell. What stands between them
    /// on one line stays together, as in `"Lee, Ann" <a@x.io>`, unless the second quote begins a
    /// cell itself.
    fn end_of_stray(&self, open: usize, close: usize) -> usize {
        let between = &self.text[open + 1..close];
        let begins_cell =
            self.dialect.delimiter.is_some_and(|delimiter| between.ends_with(delimiter.as_bytes()));
        if begins_cell || memchr2(b'\r', b'\n', between).is_some() { open + 1 } else { close + 1 }
    }

    /// What stands at `at`; none if the buffer ends too early to tell.
    fn cell_end(&self, at: usize) -> Option<CellEnd> {
        let rest = &self.text[at..];
        let more = self.end == End::MoreFollows;
        if rest.is_empty() {
            return (!more).then_some(CellEnd::Text);
        }
        // Most delimiters are one byte: a comparison of texts would cost more than the rest.
        if let Some(delimiter) = self.dialect.delimiter.filter(|it| it.bytes[0] == rest[0]) {
            let bytes = delimiter.as_bytes();
            if bytes.len() == 1 || rest.starts_with(bytes) {
                return Some(CellEnd::Delimiter { next: at + bytes.len() });
            }
            if more && bytes.starts_with(rest) {
                return None;
            }
        }
        match line_end_at(self.text, at, self.end) {
            0 if more && rest == b"\r" => None,
            0 => Some(CellEnd::Text),
            length => Some(CellEnd::Line { next: at + length }),
        }
    }

    fn skip_blanks(&self, at: usize) -> usize {
        let delimiter = self.dialect.delimiter.map(|delimiter| delimiter.bytes[0]);
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t') && Some(*byte) != delimiter;
        at + self.text[at..].iter().take_while(|byte| is_blank(byte)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dialect(delimiter: &str) -> Dialect {
        Dialect { delimiter: Delimiter::new(delimiter.as_bytes()), quoting: Quoting::Double }
    }

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Found {
        line: u64,
        quotes: Quotes,
        bytes: Range<usize>,
        cells: Vec<String>,
    }

    /// Splits `text` with this much of it in the buffer at first, and more of it by and by.
    fn split_in_pieces(text: &[u8], dialect: Dialect, piece: usize) -> Result<Vec<Found>, TooLong> {
        let mut splitter = Splitter::new(dialect, Keep::All);
        let (mut found, mut at, mut filled) = (Vec::new(), 0, piece.min(text.len()));
        loop {
            let end = if filled == text.len() { End::OfText } else { End::MoreFollows };
            let buffer = &text[at..filled];
            match splitter.step(buffer, end)? {
                Step::End => return Ok(found),
                Step::NeedMore => filled = (filled + piece).min(text.len()),
                Step::Blank(bytes) => at += bytes,
                Step::Record(record) => {
                    let cells = splitter.cells().iter().map(|cell| cell.bytes(buffer));
                    let cells = cells.map(|cell| String::from_utf8_lossy(&cell).into_owned());
                    found.push(Found {
                        line: record.line,
                        quotes: record.quotes,
                        bytes: at..at + record.bytes,
                        cells: cells.collect(),
                    });
                    at += record.bytes;
                }
            }
        }
    }

    /// Every record of `text`; with buffers of each size up to a few bytes the same.
    fn split(text: &str, dialect: Dialect) -> Vec<Found> {
        let whole = split_in_pieces(text.as_bytes(), dialect, usize::MAX).unwrap();
        for size in 1..=3 {
            let pieces = split_in_pieces(text.as_bytes(), dialect, size).unwrap();
            assert_eq!(pieces, whole, "pieces of {size}: {text:?}");
        }
        whole
    }

    fn cells(text: &str) -> Vec<Vec<String>> {
        split(text, dialect(",")).into_iter().map(|record| record.cells).collect()
    }

    #[test]
    fn each_line_end_counts_once() {
        let lines = |text| -> Vec<u64> {
            split(text, dialect(",")).into_iter().map(|record| record.line).collect()
        };
        assert_eq!(lines("a\nb\r\nc\rd"), [1, 2, 3, 4]);
        assert_eq!(lines("\n\r\n\ra\r\r\n\nb\n"), [4, 7]);
        assert_eq!(lines("a,\"x\r\ny\rz\n\"\r\nb"), [1, 5]);
    }

    #[test]
    fn blank_lines_are_no_records_but_blank_cells_are() {
        assert_eq!(cells("\n\na\n\n"), [["a"]]);
        assert_eq!(cells("\"\"\n \n,\n"), [vec![""], vec![" "], vec!["", ""]]);
    }

    #[test]
    fn quotes_enclose_delimiters_line_ends_and_doubled_quotes() {
        assert_eq!(cells("\"a,b\",\"c\nd\",\"e\"\"f\"\n"), [["a,b", "c\nd", "e\"f"]]);
        assert_eq!(cells("a, \"b,c\" ,d"), [["a", "b,c", "d"]]);
        let quotes = |text| split(text, dialect(","))[0].quotes;
        assert_eq!(quotes("\"a,b\"\n"), Quotes::Plain);
        assert_eq!(quotes("\"a\nb\"\n"), Quotes::OverLines);
        assert_eq!(quotes("\"a\" b\n"), Quotes::Stray);
    }

    #[test]
    fn a_stray_quote_takes_no_other_line_with_it() {
        assert_eq!(cells("o\"neil@x.io,b\"\"c\n"), [["o\"neil@x.io", "b\"\"c"]]);
        assert_eq!(cells("\"Doc\" Brown,\"b,c\"\n"), [["\"Doc\" Brown", "b,c"]]);
        assert_eq!(cells("\"a,b\"@x.io,c"), [["\"a,b\"@x.io", "c"]]);
        assert_eq!(cells("\"a,b,\"c,d\n"), [["\"a", "b", "\"c", "d"]]);
        assert_eq!(
            cells("\"a,b\nc,\"d,e\n"),
            [["\"a", "b", ""], ["c", "\"d", "e"]]
                .map(|c| { c.into_iter().filter(|cell| !cell.is_empty()).collect::<Vec<_>>() })
        );
        assert_eq!(cells("a,\"b\nc,d\n"), [["a", "\"b"], ["c", "d"]]);
        assert_eq!(cells("\""), [["\""]]);
    }

    #[test]
    fn without_quoting_a_quote_is_a_character() {
        let none = Dialect { quoting: Quoting::None, ..dialect(",") };
        let records = split("a,\"b\nc,d\",e\n", none);
        assert_eq!(records[0].cells, ["a", "\"b"]);
        assert_eq!(records[1].cells, ["c", "d\"", "e"]);
        assert!(records.iter().all(|record| record.quotes == Quotes::Plain));
    }

    #[test]
    fn a_delimiter_may_have_several_bytes() {
        let records = split("a§\"b§c\"§ü¡\u{c2}\n", dialect("§"));
        assert_eq!(records[0].cells, ["a", "b§c", "ü¡\u{c2}"]);
    }

    #[test]
    fn without_a_delimiter_a_line_is_a_cell() {
        let lines = Dialect { delimiter: None, quoting: Quoting::Double };
        let records = split("a,b;c\td|e\n\"x,y\"\n", lines);
        assert_eq!(records[0].cells, ["a,b;c\td|e"]);
        assert_eq!((records[1].line, &records[1].cells[0]), (2, &"x,y".to_owned()));
    }

    #[test]
    fn a_record_may_be_so_long_and_no_longer() {
        let split = |text: &str, piece| split_in_pieces(text.as_bytes(), dialect(","), piece);
        let longest = format!("x\n{}", "a".repeat(MAX_RECORD_BYTES));
        for piece in [1 << 20, usize::MAX] {
            assert_eq!(split(&longest, piece).unwrap()[1].cells[0].len(), MAX_RECORD_BYTES);
            assert_eq!(split(&format!("{longest}a"), piece), Err(TooLong { line: 2 }));
            // A quote that is closed too late encloses nothing.
            let line = format!("{}\n", "a".repeat(1023));
            let open = format!("\"b\n{}", line.repeat(MAX_RECORD_BYTES / 1024));
            for text in [open.clone(), format!("{open}\",")] {
                let found = split(&text, piece).unwrap();
                assert_eq!(found[0].cells, ["\"b"]);
                assert_eq!(found[1].line, 2);
                assert!(found.len() > MAX_RECORD_BYTES / 1024);
            }
        }
    }

    #[test]
    fn only_the_wanted_cell_is_kept() {
        let mut splitter = Splitter::new(dialect(","), Keep::Only(1));
        let text = b"a,\"b\"\"x\",c\nd\n";
        let Step::Record(first) = splitter.step(text, End::OfText).unwrap() else { panic!() };
        assert_eq!(&*splitter.cells()[0].bytes(text), b"b\"x");
        let rest = &text[first.bytes..];
        let Step::Record(second) = splitter.step(rest, End::OfText).unwrap() else { panic!() };
        assert_eq!((second.line, splitter.cells()), (2, &[][..]));
    }

    fn text() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a", "b@x.io", "\"", "\"\"", ",", "§", "\n", "\r", "\r\n", " ", "\t", "é",
        ]);
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    /// What a record's cells must hold all of: everything but quotes, delimiters, line ends and the
    /// blanks beside quotes.
    fn content(text: &str, delimiter: &str) -> String {
        text.replace(delimiter, "").replace(['"', '\r', '\n', ' ', '\t'], "")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]
        #[test]
        fn every_byte_belongs_to_one_record_or_blank_line(
            text in text(), delimiter in prop::sample::select(vec![",", "§", "\t"]),
            none in any::<bool>(),
        ) {
            let quoting = if none { Quoting::None } else { Quoting::Double };
            let records = split(&text, Dialect { quoting, ..dialect(delimiter) });
            let mut at = 0;
            for record in &records {
                prop_assert!(text[at..record.bytes.start].bytes().all(|b| b"\r\n".contains(&b)));
                prop_assert_eq!(record.line, 1 + count_line_ends(&text.as_bytes()[..record.bytes.start]));
                let bytes = &text[record.bytes.clone()];
                let cells = record.cells.concat();
                prop_assert_eq!(content(&cells, delimiter), content(bytes, delimiter));
                let lines = count_line_ends(bytes.as_bytes());
                if record.quotes != Quotes::OverLines {
                    // Only a quoted cell reaches over the end of its line.
                    prop_assert!(lines <= 1 || record.quotes == Quotes::Stray, "{:?}", record);
                }
                if quoting == Quoting::None {
                    let line = bytes.trim_end_matches(['\r', '\n']);
                    prop_assert_eq!(record.cells.join(delimiter), line);
                }
                at = record.bytes.end;
            }
            prop_assert!(text[at..].bytes().all(|byte| b"\r\n".contains(&byte)));
        }

        #[test]
        fn a_line_without_quotes_is_split_as_any_other(
            text in text(), delimiter in prop::sample::select(vec![",", "§", "\t"]),
            more in any::<bool>(), only in prop::option::of(0..4_usize),
        ) {
            let text = text.replace('"', "").into_bytes();
            let end = if more { End::MoreFollows } else { End::OfText };
            let scan = Scan { text: &text, end, dialect: dialect(delimiter) };
            let keep = only.map_or(Keep::All, Keep::Only);
            let (mut fast, mut slow) = (Vec::new(), Vec::new());
            let found = scan.record(Kept { cells: &mut fast, keep, field: 0 });
            let expected = scan.split_quoted(0, Kept { cells: &mut slow, keep, field: 0 });
            prop_assert_eq!(
                found.map(|it| (it.bytes, it.quotes, it.line_ends, fast)),
                expected.map(|it| (it.bytes, it.quotes, it.line_ends, slow))
            );
        }

        #[test]
        fn the_csv_crate_finds_the_same_where_no_quote_is_stray(
            text in prop::collection::vec(prop::sample::select(vec![
                "a", "b@x.io", "\"c\"", "\"d,\ne\"\"f\"", "\"\"", ",", ",", "\n", "\r", "\r\n", "é",
            ]), 0..30).prop_map(|pieces| pieces.concat()),
        ) {
            let ours = split(&text, dialect(","));
            if ours.iter().all(|record| record.quotes != Quotes::Stray) {
                let mut reader = ::csv::ReaderBuilder::new()
                    .has_headers(false).flexible(true).from_reader(text.as_bytes());
                let theirs: Vec<Vec<String>> = reader.records()
                    .map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
                let ours: Vec<Vec<String>> = ours.into_iter().map(|record| record.cells).collect();
                prop_assert_eq!(ours, theirs, "{:?}", text);
            }
        }
    }
}
