//! How a CSV file is laid out, from its first records: delimiter, header, column of emails.
//!
//! Pure: no clock, no I/O.

use crate::display::quoted;
use crate::domain::email::Email;
use crate::source::csv::column::{self, Choice, Evidence};
use crate::source::csv::records::{Keep, Record, SplitError, Splitter, Step};
use crate::source::error::ColumnError;

/// What separates cells, in the order in which a tie is decided.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// So many records are looked at; more would tell nothing new.
const SAMPLE_RECORDS: usize = 200;

/// The beginning of a file, as UTF-8.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Head<'a> {
    pub(in crate::source) text: &'a [u8],
    /// Whether the file ends here, or the last record may be cut.
    pub(in crate::source) end: HeadEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum HeadEnd {
    EndOfFile,
    Cut,
}

/// What the user has said; the rest is sniffed.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::source) struct Wishes<'a> {
    pub(in crate::source) delimiter: Option<u8>,
    pub(in crate::source) column: Option<&'a str>,
    pub(in crate::source) header: Header,
}

/// Whether the first row holds names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source) enum Header {
    #[default]
    Sniffed,
    None,
}

/// How to read the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Layout {
    /// None for one email a line.
    pub(in crate::source) delimiter: Option<u8>,
    /// The column of emails, counted from 0.
    pub(in crate::source) column: usize,
    /// So many records at the beginning are no rows.
    pub(in crate::source) skip: usize,
    /// The name of the column, if there is a header.
    pub(in crate::source) name: Option<String>,
    /// The names, or numbers from 1, of other columns that could have been meant.
    pub(in crate::source) others: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum LayoutError {
    Split(SplitError),
    Column(ColumnError),
}

impl From<ColumnError> for LayoutError {
    fn from(error: ColumnError) -> Self {
        Self::Column(error)
    }
}

/// Whether the head holds a whole record, whatever the delimiter may be.
pub(in crate::source) fn is_enough(head: Head<'_>) -> bool {
    let holds_one = |delimiter| {
        let mut splitter = Splitter::new(Some(delimiter), Keep::Only(0));
        !matches!(splitter.feed(head.text), Ok((_, Step::Continue)))
    };
    head.end == HeadEnd::EndOfFile || DELIMITERS.into_iter().all(holds_one)
}

/// Finds out how the file is laid out.
pub(in crate::source) fn layout(head: Head<'_>, wishes: Wishes<'_>) -> Result<Layout, LayoutError> {
    let announced = announced_delimiter(head);
    let delimiter = match (wishes.delimiter, announced) {
        (Some(delimiter), _) | (None, Some(delimiter)) => Some(delimiter),
        (None, None) => sniff_delimiter(head),
    };
    let (mut records, error) = sample(head, delimiter);
    let skip = usize::from(announced.is_some());
    records.drain(..skip.min(records.len()));
    let Some((first, rows)) = records.split_first() else {
        return match error {
            Some(error) => Err(LayoutError::Split(error)),
            None => Ok(Layout { delimiter, column: 0, skip, name: None, others: Vec::new() }),
        };
    };
    let has_header = has_header(&first.cells, wishes);
    let choice = if has_header {
        choose_by_header(&first.cells, rows, wishes)?
    } else {
        choose_by_number(&records, wishes)?
    };
    let label = |index: usize| match (has_header, first.cells.get(index)) {
        (true, Some(name)) => quoted(name.trim()),
        _ => (index + 1).to_string(),
    };
    Ok(Layout {
        delimiter,
        column: choice.index,
        skip: skip + usize::from(has_header),
        name: has_header.then(|| first.cells.get(choice.index).cloned().unwrap_or_default()),
        others: choice.others.into_iter().map(label).collect(),
    })
}

/// What the file says of itself, in words: `semicolon`, `one email a line`.
pub(in crate::source) fn delimiter_name(delimiter: Option<u8>) -> String {
    match delimiter {
        None => "one email a line".to_owned(),
        Some(b',') => "comma".to_owned(),
        Some(b';') => "semicolon".to_owned(),
        Some(b'\t') => "tab".to_owned(),
        Some(b'|') => "pipe".to_owned(),
        Some(other) => format!("delimiter {}", quoted(&char::from(other).to_string())),
    }
}

/// `sep=;` as the first line is a spreadsheet's own way to name the delimiter.
fn announced_delimiter(head: Head<'_>) -> Option<u8> {
    let line = head.text.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    match line {
        [s, e, p, b'=', delimiter] if [*s, *e, *p].eq_ignore_ascii_case(b"sep") => Some(*delimiter),
        _ => None,
    }
}

/// The delimiter under which most records hold an address in a cell of its own; when that does
/// not tell, the one under which most records are of one width.
fn sniff_delimiter(head: Head<'_>) -> Option<u8> {
    let whole_lines = score(&sample(head, None).0);
    let mut best: Option<(Score, u8)> = None;
    for delimiter in DELIMITERS {
        let (records, _) = sample(head, Some(delimiter));
        if usual_width(&records) < 2 {
            continue;
        }
        let score = score(&records);
        let loses =
            (score.known_name, score.addresses) < (whole_lines.known_name, whole_lines.addresses);
        if !loses && best.is_none_or(|(leader, _)| score > leader) {
            best = Some((score, delimiter));
        }
    }
    best.map(|(_, delimiter)| delimiter)
}

/// How well a delimiter fits, the more telling sign first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    known_name: bool,
    addresses: usize,
    of_usual_width: usize,
}

fn score(records: &[Record]) -> Score {
    let width = usual_width(records);
    Score {
        known_name: records.first().is_some_and(|r| r.cells.iter().any(|c| column::is_known(c))),
        addresses: records.iter().filter(|r| r.cells.iter().any(|c| is_address(c))).count(),
        of_usual_width: records.iter().filter(|record| record.cells.len() == width).count(),
    }
}

/// The width that most records have; of two the greater.
fn usual_width(records: &[Record]) -> usize {
    let mut counts = std::collections::BTreeMap::<usize, usize>::new();
    for record in records {
        *counts.entry(record.cells.len()).or_default() += 1;
    }
    counts.into_iter().max_by_key(|&(width, count)| (count, width)).map_or(0, |(width, _)| width)
}

/// The first whole records, and what ended them early.
fn sample(head: Head<'_>, delimiter: Option<u8>) -> (Vec<Record>, Option<SplitError>) {
    let mut splitter = Splitter::new(delimiter, Keep::All);
    let (mut records, mut at) = (Vec::new(), 0);
    while records.len() < SAMPLE_RECORDS {
        match splitter.feed(&head.text[at..]) {
            Err(error) => return (records, Some(error)),
            Ok((_, Step::Continue)) => break,
            Ok((read, Step::Record)) => {
                at += read;
                records.push(splitter.take());
            }
        }
    }
    let at_end = records.len() < SAMPLE_RECORDS;
    if at_end && (head.end == HeadEnd::EndOfFile || records.is_empty()) {
        match splitter.finish() {
            Ok(Step::Record) => records.push(splitter.take()),
            Ok(Step::Continue) => {}
            Err(error) => return (records, Some(error)),
        }
    }
    (records, None)
}

fn has_header(first: &[String], wishes: Wishes<'_>) -> bool {
    match wishes.header {
        Header::None => false,
        Header::Sniffed => {
            let named = wishes.column.is_some_and(|wanted| first.iter().any(|name| name == wanted));
            named || !first.iter().any(|cell| is_address(cell))
        }
    }
}

fn choose_by_header(
    names: &[String],
    rows: &[Record],
    wishes: Wishes<'_>,
) -> Result<Choice, ColumnError> {
    if let Some(wanted) = wishes.column {
        return column::by_wish(names, wanted);
    }
    if names.len() == 1 && rows.iter().all(|row| row.cells.len() == 1) {
        return Ok(Choice { index: 0, others: Vec::new() });
    }
    column::by_known_name(names, |index| evidence(rows, index))
}

fn choose_by_number(rows: &[Record], wishes: Wishes<'_>) -> Result<Choice, ColumnError> {
    let width = rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
    if let Some(wanted) = wishes.column {
        let Some(number) = column::as_number(wanted) else {
            return Err(ColumnError::NoHeader { wanted: wanted.to_owned(), width });
        };
        return column::by_number(number, width);
    }
    let addresses = |index: usize| {
        rows.iter().filter(|row| row.cells.get(index).is_some_and(|cell| is_address(cell))).count()
    };
    let mut columns: Vec<usize> = (0..width).filter(|&index| addresses(index) > 0).collect();
    columns.sort_by_key(|&index| (std::cmp::Reverse(addresses(index)), index));
    match columns.split_first() {
        Some((&index, others)) => Ok(Choice { index, others: others.to_vec() }),
        None if width == 1 => Ok(Choice { index: 0, others: Vec::new() }),
        None => Err(ColumnError::NoAddresses { width }),
    }
}

fn evidence(rows: &[Record], index: usize) -> Evidence {
    let cells = || rows.iter().filter_map(|row| row.cells.get(index));
    if cells().any(|cell| is_address(cell)) {
        Evidence::Addresses
    } else if cells().all(|cell| cell.trim().is_empty()) {
        Evidence::Unknown
    } else {
        Evidence::Otherwise
    }
}

/// Whether a cell holds one address and nothing that a wrong delimiter would leave in it.
fn is_address(cell: &str) -> bool {
    let (local, domain) = cell.rsplit_once('@').unwrap_or_default();
    let foreign = |text: &str| text.contains([',', ';', '|', '\t', '<', '>', '(', ')', ':']);
    let quoted = local.trim_start().starts_with('"') && local.ends_with('"');
    Email::parse(cell).is_ok()
        && !foreign(domain)
        && !domain.contains('"')
        && (quoted || !foreign(local))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sniff(text: &str, wishes: Wishes<'_>) -> Result<Layout, LayoutError> {
        layout(Head { text: text.as_bytes(), end: HeadEnd::EndOfFile }, wishes)
    }

    fn found(text: &str) -> (Option<char>, usize, usize) {
        let layout = sniff(text, Wishes::default()).unwrap_or_else(|e| panic!("{text:?}: {e:?}"));
        (layout.delimiter.map(char::from), layout.column, layout.skip)
    }

    #[test]
    fn finds_delimiter_column_and_header() {
        for (text, expected) in [
            ("id,email\n1,a@x.io\n", (Some(','), 1, 1)),
            ("id;E-Mail;name\n1;a@x.io;Doe, John\n", (Some(';'), 1, 1)),
            ("id\temail\n", (Some('\t'), 1, 1)),
            ("name|mail\nx|a@x.io\n", (Some('|'), 1, 1)),
            ("a@x.io;1,5;2,5\nb@x.io;1,5;2,5\n", (Some(';'), 0, 0)),
            ("1,a@x.io\n2,b@x.io\n", (Some(','), 1, 0)),
            ("1,2;a@x.io\n3,4;b@x.io\n", (Some(';'), 1, 0)),
            ("email\na@x.io\n", (None, 0, 1)),
            ("whatever\na@x.io\n", (None, 0, 1)),
            ("a@x.io\nb@x.io\n", (None, 0, 0)),
            ("\"a@b\"@x.io\n\"c,d\"@x.io\ne,f@x.io\n", (None, 0, 0)),
            ("sep=;\r\nemail;x\r\na@x.io;1\r\n", (Some(';'), 0, 2)),
            ("email\na@x.io,John\nb@x.io,Jane\n", (Some(','), 0, 1)),
            ("name,notes,email\n\"Doe, J\",\"a;b;c\nd;e;f\",a@x.io\n", (Some(','), 2, 1)),
            ("email", (None, 0, 1)),
            ("\n\n", (None, 0, 0)),
            ("name;a,b;email\nx;1,2;\ny;1,2;\n", (Some(';'), 2, 1)),
        ] {
            assert_eq!(found(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_cut_head_leaves_its_last_record_out() {
        let head = Head { text: b"id,email\n1,a@x.io\n2", end: HeadEnd::Cut };
        assert_eq!(layout(head, Wishes::default()).unwrap().column, 1);
        let (records, _) = sample(head, Some(b','));
        assert_eq!(records.len(), 2);
    }

    #[test]
    fn the_users_word_holds() {
        let text = "id,work,private\n1,a@x.io,b@x.io\n";
        let with = |wishes| sniff(text, wishes).map(|layout| (layout.column, layout.skip));
        let column = |column| Wishes { column: Some(column), ..Wishes::default() };
        assert_eq!(with(column("private")), Ok((2, 1)));
        assert_eq!(with(column("WORK")), Ok((1, 1)));
        assert_eq!(with(column("3")), Ok((2, 1)));
        assert_eq!(with(Wishes { header: Header::None, ..column("3") }), Ok((2, 0)));
        let error = with(column("mail")).unwrap_err();
        assert!(matches!(error, LayoutError::Column(ColumnError::Unknown { .. })), "{error:?}");
        let wishes = Wishes { delimiter: Some(b';'), ..Wishes::default() };
        assert_eq!(sniff(text, wishes).unwrap().delimiter, Some(b';'));
    }

    #[test]
    fn without_a_header_names_mean_nothing() {
        let wishes = Wishes { column: Some("mail"), ..Wishes::default() };
        let error = sniff("1,a@x.io\n", wishes).unwrap_err();
        assert!(matches!(error, LayoutError::Column(ColumnError::NoHeader { width: 2, .. })));
        let wishes = Wishes { header: Header::None, ..Wishes::default() };
        let error = sniff("1,x\n", wishes).unwrap_err();
        assert!(matches!(error, LayoutError::Column(ColumnError::NoAddresses { width: 2 })));
    }

    #[test]
    fn an_unknown_header_is_an_error_that_names_it() {
        let error = sniff("id,who\n1,2\n", Wishes::default()).unwrap_err();
        let columns = vec!["id".to_owned(), "who".to_owned()];
        assert_eq!(error, LayoutError::Column(ColumnError::NoneKnown { columns }));
    }

    #[test]
    fn an_unclosed_quote_at_once_is_told() {
        let error = sniff("\n\"email\na@x.io\n", Wishes::default()).unwrap_err();
        assert_eq!(error, LayoutError::Split(SplitError::UnclosedQuote { line: 2 }));
    }

    #[test]
    fn other_candidates_are_told() {
        let layout = sniff("Mail;email\na@x.io;b@x.io\n", Wishes::default()).unwrap();
        assert_eq!((layout.column, layout.others), (1, vec!["`Mail`".to_owned()]));
        let layout = sniff("a@x.io;b@x.io\n", Wishes::default()).unwrap();
        assert_eq!((layout.column, layout.others), (0, vec!["2".to_owned()]));
    }

    /// Names without the delimiter's neighbours: blanks, quotes and other delimiters are in them.
    fn table() -> impl Strategy<Value = (Vec<Vec<String>>, usize, u8)> {
        let others = prop::collection::vec("[a-z0-9é,;|\t \"\n]{0,10}", 1..5);
        let row = (others, "[a-z]{1,9}@[a-z]{1,9}\\.io");
        (prop::collection::vec(row, 3..20), 0_usize..5, prop::sample::select(DELIMITERS.to_vec()))
            .prop_map(|(rows, at, delimiter)| {
                let width = rows[0].0.len();
                let at = at.min(width);
                let full = rows.into_iter().map(|(mut cells, email)| {
                    cells.resize(width, "x".to_owned());
                    cells.insert(at, email);
                    cells
                });
                (full.collect(), at, delimiter)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn a_table_with_addresses_is_understood(
            (rows, at, delimiter) in table(), name in prop::option::of("[a-zA-Z]{1,5} ?e-?mail"),
        ) {
            let mut writer = ::csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
            if let Some(name) = &name {
                let header = (0..rows[0].len()).map(|i| if i == at { name.clone() } else { format!("c{i}") });
                writer.write_record(header).unwrap();
            }
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let layout = sniff(&text, Wishes::default()).unwrap();
            prop_assert_eq!(
                (layout.delimiter, layout.column, layout.skip),
                (Some(delimiter), at, usize::from(name.is_some())),
                "{:?}", text
            );
        }
    }
}
