//! Text is split into records and cells, with the line on which each record starts.
//!
//! Pure: no clock, no I/O. Not the `csv` crate's parser, for four reasons that a file from the
//! wild gives: `"a@b"@x.io` must stay as it is (there the quotes are lost), a lone CR is a line
//! end that counts, a record's size has a limit, and only the one wanted cell is kept.

/// The longest record, in bytes of UTF-8. One that is longer has most likely an open quote.
pub(in crate::source) const MAX_RECORD_BYTES: usize = 8 << 20;

/// Which cells of a record are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Keep {
    All,
    Only(usize),
}

/// What the bytes so far have led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Step {
    /// A record is complete: [`Splitter::take`] it.
    Record,
    /// More input is needed, or all of it is used up.
    Continue,
}

/// One record: the line on which it starts, counted from 1, and the cells that were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Record {
    pub(in crate::source) line: u64,
    pub(in crate::source) cells: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum SplitError {
    /// The input ended inside quotes that opened on this line.
    UnclosedQuote { line: u64 },
    /// Over [`MAX_RECORD_BYTES`]; the record starts on this line.
    TooLong { line: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    RecordStart,
    FieldStart,
    Plain,
    Quoted,
    /// After a quote that may have closed the cell; so many blanks have followed it.
    AfterQuote {
        blanks: usize,
    },
}

/// A state machine over bytes of UTF-8, fed in pieces of any size.
#[derive(Debug)]
pub(in crate::source) struct Splitter {
    delimiter: Option<u8>,
    keep: Keep,
    state: State,
    /// The line of the next byte.
    line: u64,
    after_cr: bool,
    record_line: u64,
    quote_line: u64,
    size: usize,
    field: usize,
    cell: Vec<u8>,
    cells: Vec<String>,
}

impl Splitter {
    /// Without a delimiter every record is one cell.
    pub(in crate::source) fn new(delimiter: Option<u8>, keep: Keep) -> Self {
        Self {
            delimiter,
            keep,
            state: State::RecordStart,
            line: 1,
            after_cr: false,
            record_line: 1,
            quote_line: 1,
            size: 0,
            field: 0,
            cell: Vec::new(),
            cells: Vec::new(),
        }
    }

    /// The line that is being read, counted from 1.
    pub(in crate::source) fn line(&self) -> u64 {
        self.line
    }

    /// Reads until a record is complete or `input` is used up; returns how much was read.
    pub(in crate::source) fn feed(&mut self, input: &[u8]) -> Result<(usize, Step), SplitError> {
        let mut at = 0;
        while at < input.len() {
            let run = self.ordinary_run(&input[at..]);
            if run > 0 {
                self.after_cr = false;
                self.push(&input[at..at + run]);
                at += run;
                self.grow(run)?;
                continue;
            }
            let step = self.read(input[at]);
            at += 1;
            if step == Step::Record {
                return Ok((at, step));
            }
            self.grow(1)?;
        }
        Ok((at, Step::Continue))
    }

    /// Tells that the input has ended: there may be one more record.
    pub(in crate::source) fn finish(&mut self) -> Result<Step, SplitError> {
        match self.state {
            State::RecordStart => Ok(Step::Continue),
            State::Quoted => Err(SplitError::UnclosedQuote { line: self.quote_line }),
            State::FieldStart | State::Plain | State::AfterQuote { .. } => {
                self.end_field();
                self.state = State::RecordStart;
                Ok(Step::Record)
            }
        }
    }

    /// The record that a [`Step::Record`] told of.
    pub(in crate::source) fn take(&mut self) -> Record {
        Record { line: self.record_line, cells: std::mem::take(&mut self.cells) }
    }

    /// How many bytes at the start of `input` mean nothing but themselves.
    fn ordinary_run(&self, input: &[u8]) -> usize {
        let end = match self.state {
            State::Plain => input
                .iter()
                .position(|&byte| byte == b'\n' || byte == b'\r' || Some(byte) == self.delimiter),
            State::Quoted => input.iter().position(|&byte| matches!(byte, b'"' | b'\n' | b'\r')),
            State::RecordStart | State::FieldStart | State::AfterQuote { .. } => Some(0),
        };
        end.unwrap_or(input.len())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), SplitError> {
        if self.state == State::RecordStart {
            self.size = 0;
            return Ok(());
        }
        self.size += bytes;
        if self.size > MAX_RECORD_BYTES {
            return Err(SplitError::TooLong { line: self.record_line });
        }
        Ok(())
    }

    fn read(&mut self, byte: u8) -> Step {
        let line_end = matches!(byte, b'\r' | b'\n');
        let started_on = self.line;
        if line_end && !(byte == b'\n' && self.after_cr) {
            self.line += 1;
        }
        self.after_cr = byte == b'\r';
        match self.state {
            State::RecordStart if line_end => Step::Continue,
            State::RecordStart => {
                self.record_line = started_on;
                self.size = 0;
                self.start_field(0);
                self.read_unquoted(byte)
            }
            State::FieldStart | State::Plain => self.read_unquoted(byte),
            State::Quoted => {
                if byte == b'"' {
                    self.state = State::AfterQuote { blanks: 0 };
                } else {
                    self.push(&[byte]);
                }
                Step::Continue
            }
            State::AfterQuote { blanks } => self.read_after_quote(byte, blanks),
        }
    }

    fn read_unquoted(&mut self, byte: u8) -> Step {
        let at_start = self.state == State::FieldStart;
        if self.ends_field(byte) {
            return self.end_at(byte);
        }
        if at_start && byte == b'"' {
            self.cell.clear();
            self.quote_line = self.line;
            self.state = State::Quoted;
            return Step::Continue;
        }
        if !(at_start && self.is_blank(byte)) {
            self.state = State::Plain;
        }
        self.push(&[byte]);
        Step::Continue
    }

    /// A quote inside quotes is written twice, a single one ends the cell. When more text follows
    /// that one, the cell was no quoted one, and is taken as it stands, quotes and all.
    fn read_after_quote(&mut self, byte: u8, blanks: usize) -> Step {
        if self.ends_field(byte) {
            return self.end_at(byte);
        }
        if byte == b'"' && blanks == 0 {
            self.state = State::Quoted;
        } else if self.is_blank(byte) {
            self.state = State::AfterQuote { blanks: blanks + 1 };
        } else {
            self.unquote_nothing(blanks);
            self.state = State::Plain;
        }
        self.push(&[byte]);
        Step::Continue
    }

    fn unquote_nothing(&mut self, blanks: usize) {
        let inside = self.cell.len().saturating_sub(blanks);
        let mut raw = vec![b'"'];
        for &byte in &self.cell[..inside] {
            if byte == b'"' {
                raw.push(b'"');
            }
            raw.push(byte);
        }
        raw.push(b'"');
        raw.extend_from_slice(&self.cell[inside..]);
        if self.is_kept() {
            self.cell = raw;
        }
    }

    fn end_at(&mut self, byte: u8) -> Step {
        self.end_field();
        if Some(byte) == self.delimiter {
            self.start_field(self.field + 1);
            return Step::Continue;
        }
        self.state = State::RecordStart;
        Step::Record
    }

    fn start_field(&mut self, field: usize) {
        self.field = field;
        self.cell.clear();
        self.state = State::FieldStart;
    }

    fn end_field(&mut self) {
        if self.is_kept() {
            let cell = std::mem::take(&mut self.cell);
            self.cells.push(String::from_utf8(cell).unwrap_or_else(|invalid| {
                String::from_utf8_lossy(invalid.as_bytes()).into_owned()
            }));
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.is_kept() {
            self.cell.extend_from_slice(bytes);
        }
    }

    fn is_kept(&self) -> bool {
        match self.keep {
            Keep::All => true,
            Keep::Only(wanted) => wanted == self.field,
        }
    }

    fn ends_field(&self, byte: u8) -> bool {
        matches!(byte, b'\r' | b'\n') || Some(byte) == self.delimiter
    }

    fn is_blank(&self, byte: u8) -> bool {
        matches!(byte, b' ' | b'\t') && Some(byte) != self.delimiter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every record of `text`, fed in pieces of each size up to a few bytes: all must agree.
    fn split(text: &str, delimiter: Option<u8>) -> Result<Vec<(u64, Vec<String>)>, SplitError> {
        let whole = split_in_pieces(text, delimiter, usize::MAX);
        for size in 1..=3 {
            assert_eq!(split_in_pieces(text, delimiter, size), whole, "pieces of {size}");
        }
        whole
    }

    fn split_in_pieces(
        text: &str,
        delimiter: Option<u8>,
        size: usize,
    ) -> Result<Vec<(u64, Vec<String>)>, SplitError> {
        let mut splitter = Splitter::new(delimiter, Keep::All);
        let mut records = Vec::new();
        for piece in text.as_bytes().chunks(size.min(text.len().max(1))) {
            let mut at = 0;
            while at < piece.len() {
                let (read, step) = splitter.feed(&piece[at..])?;
                at += read;
                if step == Step::Record {
                    let record = splitter.take();
                    records.push((record.line, record.cells));
                }
            }
        }
        if splitter.finish()? == Step::Record {
            let record = splitter.take();
            records.push((record.line, record.cells));
        }
        assert_eq!(splitter.finish(), Ok(Step::Continue));
        Ok(records)
    }

    fn cells(text: &str) -> Vec<Vec<String>> {
        split(text, Some(b',')).unwrap().into_iter().map(|(_, cells)| cells).collect()
    }

    #[test]
    fn each_line_end_counts_once() {
        let lines = |text| -> Vec<u64> {
            split(text, Some(b',')).unwrap().into_iter().map(|(line, _)| line).collect()
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
        assert_eq!(cells("a, \"b,c\" ,d"), [["a", "b,c ", "d"]]);
    }

    #[test]
    fn a_stray_quote_stands_for_itself() {
        assert_eq!(cells("o\"neil@x.io,b\"\"c\n"), [["o\"neil@x.io", "b\"\"c"]]);
        assert_eq!(cells("\"a@b\"@x.io,c"), [["\"a@b\"@x.io", "c"]]);
        assert_eq!(cells("\"a,b\"@x.io,c"), [["\"a,b\"@x.io", "c"]]);
        assert_eq!(cells("\"a\"\"b\" \"@x.io,c"), [["\"a\"\"b\" \"@x.io", "c"]]);
    }

    #[test]
    fn without_a_delimiter_a_line_is_a_cell() {
        let records = split("a,b;c\td|e\n\"x,y\"\n", None).unwrap();
        assert_eq!(records, [(1, vec!["a,b;c\td|e".to_owned()]), (2, vec!["x,y".to_owned()])]);
    }

    #[test]
    fn an_unclosed_quote_names_its_line() {
        assert_eq!(
            split("a\nb,\n\nc,\"d\ne\n", Some(b',')),
            Err(SplitError::UnclosedQuote { line: 4 })
        );
    }

    #[test]
    fn a_record_may_be_so_long_and_no_longer() {
        let longest = format!("x\n{}", "a".repeat(MAX_RECORD_BYTES));
        let records = split_in_pieces(&longest, Some(b','), 1 << 16).unwrap();
        assert_eq!(records[1].1[0].len(), MAX_RECORD_BYTES);
        assert_eq!(
            split_in_pieces(&format!("{longest}a"), Some(b','), 1 << 16),
            Err(SplitError::TooLong { line: 2 })
        );
        let many = format!("{}\n", "a".repeat(MAX_RECORD_BYTES / 3)).repeat(4);
        assert!(split_in_pieces(&many, Some(b','), 1 << 16).is_ok());
    }

    #[test]
    fn only_the_wanted_cell_is_kept() {
        let mut splitter = Splitter::new(Some(b','), Keep::Only(1));
        let text = b"a,\"b\"x,c\nd\n";
        let (read, _) = splitter.feed(text).unwrap();
        assert_eq!(splitter.take().cells, ["\"b\"x"]);
        splitter.feed(&text[read..]).unwrap();
        assert!(splitter.take().cells.is_empty());
    }
}
