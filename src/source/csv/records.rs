//! Text is split into records and cells, with the line on which each record starts.
//!
//! Pure: no clock, no I/O. Every byte belongs to exactly one record or blank line. Not the `csv`
//! crate's parser: there a cell that begins with a quote but is no quoted cell takes the following
//! lines with it, a lone CR is no line end that counts, and a record's size has no limit.

use crate::source::csv::dialect::Dialect;
use crate::source::csv::scan::{
    Cell, End, Found, Keep, Kept, MAX_RECORD_BYTES, Quotes, Scan, line_end_at,
};

/// What comes next in the text.
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

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::source::csv::dialect::{Delimiter, Quoting};
    use crate::source::csv::scan::count_line_ends;
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

    /// Splits `text` with this much of it in the buffer at first, and more of it later.
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
    fn a_quoted_cell_may_end_with_the_text() {
        assert_eq!(cells("a,\"b\""), [["a", "b"]]);
        assert_eq!(cells("\"b\" \t"), [["b"]]);
        assert_eq!(split("\"b\"", dialect(","))[0].quotes, Quotes::Plain);
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
    fn a_quote_encloses_what_a_record_has_room_for() {
        let quoted = |bytes: usize| format!("\"\n{}\"", "a".repeat(bytes - 3));
        let split = |text: &str| split_in_pieces(text.as_bytes(), dialect(","), usize::MAX);
        let whole = split(&quoted(MAX_RECORD_BYTES)).unwrap();
        assert_eq!((whole.len(), whole[0].quotes), (1, Quotes::OverLines));
        let longer = split(&quoted(MAX_RECORD_BYTES + 1)).unwrap();
        assert_eq!((longer.len(), longer[0].quotes), (2, Quotes::Stray));
    }

    #[test]
    fn nothing_is_waited_for_once_a_record_is_too_long() {
        let step = |text: &str| {
            Splitter::new(dialect(","), Keep::All).step(text.as_bytes(), End::MoreFollows)
        };
        let longest = "a".repeat(MAX_RECORD_BYTES);
        assert_eq!(step(&longest), Ok(Step::NeedMore));
        assert_eq!(step(&format!("{longest}a")), Err(TooLong { line: 1 }));
        let Ok(Step::Record(open)) = step(&format!("\"\n{longest}")) else { panic!() };
        assert_eq!((open.bytes, open.quotes), (2, Quotes::Stray));
    }

    #[test]
    fn the_line_that_comes_next_is_known() {
        let mut splitter = Splitter::new(dialect(","), Keep::All);
        assert_eq!(splitter.line(), 1);
        for (text, line) in [("\"a\nb\"\nc", 3), ("\n\n\nc", 6), ("c", 6)] {
            splitter.step(text.as_bytes(), End::OfText).unwrap();
            assert_eq!(splitter.line(), line);
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
            "a", "b@x.io", "\"", "\"\"", ",", "§", "\n", "\r", "\r\n", " ", "\t", "é", "¡",
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
        fn a_record_is_decided_as_soon_as_the_next_one_begins(
            text in text(), delimiter in prop::sample::select(vec![",", "§", "\t"]),
        ) {
            for record in split(&text, dialect(delimiter)) {
                let (text, bytes) = (&text.as_bytes()[record.bytes.start..], record.bytes.len());
                // Only a quote that may be closed later waits for more.
                if record.quotes != Quotes::Stray && bytes < text.len() {
                    let mut splitter = Splitter::new(dialect(delimiter), Keep::All);
                    let step = splitter.step(&text[..=bytes], End::MoreFollows).unwrap();
                    let quotes = record.quotes;
                    prop_assert_eq!(step, Step::Record(Record { line: 1, bytes, quotes }));
                }
            }
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
