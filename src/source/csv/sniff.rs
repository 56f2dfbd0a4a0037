//! How a CSV file is laid out, from its beginning: delimiter, header, column of emails.
//!
//! Pure: no clock, no I/O.

use std::ops::RangeInclusive;

use crate::domain::email::is_address;
use crate::source::csv::column::{self, Choice, Evidence, Sampled};
use crate::source::csv::delimiter::{HEADER_ROWS, announced_delimiter, sniff_delimiter};
use crate::source::csv::dialect::Dialect;
use crate::source::csv::records::TooLong;
use crate::source::csv::sample::{Head, Header, Requested, Row, dialect, sample};
use crate::source::csv::scan::End;
use crate::source::error::{ColumnError, MAX_LISTED, short_name};

/// How to read the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Layout {
    /// None for one email a line.
    pub(in crate::source) delimiter: Option<char>,
    pub(in crate::source) dialect: Dialect,
    pub(in crate::source) shape: Shape,
    /// So many records at the beginning are no rows, a header among them.
    pub(in crate::source) skip: usize,
    pub(in crate::source) header: Option<HeaderRow>,
    /// The lines above the header, or above the first row, that hold something else.
    pub(in crate::source) skipped: Option<RangeInclusive<u64>>,
    /// The line of what looks like a header, too far down to be taken for one.
    pub(in crate::source) late_header: Option<u64>,
    /// The names, or numbers from 1, of other columns that could have been meant.
    pub(in crate::source) others: Vec<String>,
}

/// Where the emails are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Shape {
    /// In this cell of each row, counted from 0.
    Column(usize),
    /// In the cells of the only row, most of which are addresses: these, counted from 0.
    OneLine(Vec<usize>),
}

/// The row of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct HeaderRow {
    pub(in crate::source) line: u64,
    /// Of the column of emails.
    pub(in crate::source) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum LayoutError {
    TooLong(TooLong),
    Column(ColumnError),
    /// The file's encoding cannot write this delimiter.
    Delimiter(char),
}

impl From<ColumnError> for LayoutError {
    fn from(error: ColumnError) -> Self {
        Self::Column(error)
    }
}

impl From<TooLong> for LayoutError {
    fn from(error: TooLong) -> Self {
        Self::TooLong(error)
    }
}

/// Finds out how the file is laid out.
pub(in crate::source) fn layout(
    head: Head<'_>,
    requested: Requested<'_>,
) -> Result<Layout, LayoutError> {
    let announced = announced_delimiter(head);
    let delimiter = match requested.delimiter.or(announced) {
        Some(delimiter) => Some(delimiter),
        None => sniff_delimiter(head, requested),
    };
    let dialect = dialect(head, delimiter, requested.quoting)
        .ok_or(LayoutError::Delimiter(delimiter.unwrap_or_default()))?;
    let mut rows = sample(head, dialect)?;
    let announcing = usize::from(announced.is_some());
    rows.drain(..announcing.min(rows.len()));
    if let Some(columns) = one_line(&rows, head.end, requested) {
        return Ok(Layout {
            delimiter,
            dialect,
            shape: Shape::OneLine(columns),
            skip: announcing,
            header: None,
            skipped: None,
            late_header: None,
            others: Vec::new(),
        });
    }
    let found = find_column(&rows, requested)?;
    let header = found.header.map(|at| &rows[at]);
    let last_above = header.or(rows.get(found.first_row)).map_or(0, |row| row.line - 1);
    let first_line = if announced.is_some() { 2 } else { 1 };
    let holds_something = found.header.unwrap_or(found.first_row) > 0;
    let named = |index: usize| header.map(|row| row.cell(index)).filter(|name| !name.is_empty());
    let choice = &found.choice;
    let is_shared = |index: usize| {
        let mut all = choice.others.iter().chain([&choice.index]);
        all.any(|&other| other != index && named(other) == named(index))
    };
    let label = |index: usize| match named(index) {
        Some(name) if is_shared(index) => format!("{} {}", index + 1, short_name(name)),
        Some(name) => short_name(name),
        None => (index + 1).to_string(),
    };
    Ok(Layout {
        delimiter,
        dialect,
        shape: Shape::Column(found.choice.index),
        skip: announcing + found.first_row,
        header: header
            .map(|row| HeaderRow { line: row.line, name: row.cell(found.choice.index).to_owned() }),
        skipped: holds_something.then_some(first_line..=last_above),
        late_header: late_header(&rows, &found, requested),
        others: found.choice.others.iter().copied().map(label).collect(),
    })
}

/// A row below the searched ones that names the column, unless the header does.
fn late_header(rows: &[Row], found: &Found, requested: Requested<'_>) -> Option<u64> {
    let names_it = |row: &Row| column::is_known(row.cell(found.choice.index));
    if requested.header == Header::None || found.header.is_some_and(|at| names_it(&rows[at])) {
        return None;
    }
    let mut late = rows.iter().skip(HEADER_ROWS);
    late.find(|row| names_it(row) && !row.holds_address()).map(|row| row.line)
}

/// Names or numbers of columns for a person, ten of them at most: `1, 2 and 3`.
pub(in crate::source) fn listed(columns: &[String], conjunction: &str) -> String {
    let (more, shown) = (columns.len().saturating_sub(MAX_LISTED), columns.len().min(MAX_LISTED));
    let mut list = columns[..shown].to_vec();
    if more > 0 {
        list.push(format!("{more} more"));
    }
    let last = list.pop().unwrap_or_default();
    if list.is_empty() { last } else { format!("{} {conjunction} {last}", list.join(", ")) }
}

/// The cells that hold addresses if the file is a list on one line: of its only row, most cells do
/// if the first does, or three in four. `1,a@x.io,b@x.io` is a row of a table.
fn one_line(rows: &[Row], end: End, requested: Requested<'_>) -> Option<Vec<usize>> {
    let [row] = rows else { return None };
    if end == End::MoreFollows || requested.column.is_some() {
        return None;
    }
    let holding: Vec<usize> =
        (0..row.cells.len()).filter(|&index| is_address(row.cell(index))).collect();
    let filled = row.cells.iter().filter(|cell| !cell.trim().is_empty()).count();
    let most = if holding.first() == Some(&0) {
        holding.len() * 2 > filled
    } else {
        holding.len() * 4 >= filled * 3
    };
    (holding.len() > 1 && most).then_some(holding)
}

/// Where the column of emails and its header are.
struct Found {
    /// The row of names.
    header: Option<usize>,
    /// The first row that is one.
    first_row: usize,
    choice: Choice,
}

impl Found {
    fn below(header: usize, choice: Choice) -> Self {
        Self { header: Some(header), first_row: header + 1, choice }
    }
}

fn find_column(rows: &[Row], requested: Requested<'_>) -> Result<Found, ColumnError> {
    if rows.is_empty() {
        return Ok(above_all(rows));
    }
    if requested.header == Header::None {
        return Ok(Found { header: None, first_row: 0, choice: without_header(rows, requested)? });
    }
    let wanted_number = requested.column.and_then(column::as_number);
    if let Some(wanted) = requested.column {
        let named = rows.iter().take(HEADER_ROWS).enumerate().find_map(|(at, row)| {
            let is_header = match wanted_number {
                // A column may be called `2`.
                Some(_) => row.cells.iter().any(|name| name == wanted),
                None => true,
            };
            let choice = column::by_request(&row.cells, wanted).ok().filter(|_| is_header)?;
            (!row.holds_address()).then(|| Found::below(at, choice))
        });
        if let Some(found) = named {
            return Ok(found);
        }
    }
    let sniffed = sniff_column(rows);
    match (requested.column, wanted_number) {
        (None, _) => sniffed.ok_or_else(|| nothing_found(rows)),
        (Some(_), Some(number)) => {
            let found = sniffed.unwrap_or_else(|| above_all(rows));
            let choice = column::by_number(number, width(rows))?;
            Ok(Found { choice, ..found })
        }
        (Some(wanted), None) => {
            let is_named = |row: &&Row| column::by_request(&row.cells, wanted).is_ok();
            let late = rows.iter().skip(HEADER_ROWS).find(is_named).map(|row| row.line);
            let (wanted, header) = (wanted.to_owned(), sniffed.unwrap_or_else(|| above_all(rows)));
            if let Some(line) = late {
                return Err(ColumnError::LateHeader { wanted, line, width: width(rows) });
            }
            Err(match header.header.map(|at| rows[at].cells.clone()) {
                Some(columns) => ColumnError::Unknown { wanted, columns },
                None => ColumnError::NoHeader { wanted, width: width(rows) },
            })
        }
    }
}

/// The column by its name, or by what it holds.
fn sniff_column(rows: &[Row]) -> Option<Found> {
    let by_content = by_content(rows);
    let (mut best, mut fallback): (Option<(usize, Found)>, _) = (None, None);
    for at in 0..rows.len().min(HEADER_ROWS) {
        let Some(found) = named_below(rows, at, &by_content) else { continue };
        let (below, index) = (&rows[at + 1..], found.choice.index);
        if evidence(below, index) == Evidence::Otherwise {
            fallback = fallback.or(Some(found));
            continue;
        }
        // A summary above the table can have a header of its own.
        let count = addresses(below, index);
        if best.as_ref().is_none_or(|(most, _)| count > *most) {
            best = Some((count, found));
        }
    }
    if let Some((_, found)) = best {
        return Some(found);
    }
    if let Some(choice) = Choice::first_of(&by_content) {
        let first = first_address(rows, choice.index);
        return Some(match fallback {
            // No fewer addresses under the usual name than elsewhere: the name decides.
            Some(named) if addresses(rows, named.choice.index) >= addresses(rows, choice.index) => {
                named
            }
            Some(Found { header: Some(header), .. }) if header < first => {
                Found::below(header, choice)
            }
            Some(_) | None => above_column(rows, choice),
        });
    }
    if fallback.is_none() && !rows.is_empty() && width(rows) == 1 {
        return Some(above_all(rows));
    }
    fallback
}

/// The column of emails by the names in this row, if it can be the header.
fn named_below(rows: &[Row], at: usize, by_content: &[usize]) -> Option<Found> {
    let row = &rows[at];
    if row.holds_address() || row.is_comment() {
        return None;
    }
    let mut named = column::by_known_name(&row.cells, |index| evidence(&rows[at + 1..], index));
    // An address above its own header would be lost with it.
    named.retain(|&index| !rows[..at].iter().any(|above| is_address(above.cell(index))));
    if named.is_empty() {
        return None;
    }
    add_missing(&mut named, by_content.iter().copied());
    Choice::first_of(&named).map(|choice| Found::below(at, choice))
}

fn add_missing(columns: &mut Vec<usize>, more: impl Iterator<Item = usize>) {
    for column in more {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
}

/// The columns of which 80% or more of the cells that are not blank, below what may be the header,
/// are addresses.
fn by_content(rows: &[Row]) -> Vec<usize> {
    let holds = |index: &usize| {
        let below = match first_filled(rows, *index) {
            Some(first) if is_name(&rows[first], *index) => first + 1,
            Some(first) => first,
            None => return false,
        };
        evidence(&rows[below..], *index) == Evidence::Addresses
    };
    (0..width(rows)).filter(holds).collect()
}

/// The first row that holds something in this column and is no comment.
fn first_filled(rows: &[Row], index: usize) -> Option<usize> {
    rows.iter().position(|row| !row.cell(index).is_empty() && !row.is_comment())
}

fn is_name(row: &Row, index: usize) -> bool {
    !row.cell(index).contains('@') && !row.holds_address()
}

/// The header of a column found by content: the first row that holds something there, unless that
/// is an address or similar to one. So at most one row is taken for a header by mistake.
fn above_column(rows: &[Row], choice: Choice) -> Found {
    match first_filled(rows, choice.index) {
        Some(first) if first < HEADER_ROWS && is_name(&rows[first], choice.index) => {
            Found::below(first, choice)
        }
        Some(_) | None => Found { header: None, first_row: leading_comments(rows), choice },
    }
}

fn leading_comments(rows: &[Row]) -> usize {
    rows.iter().take_while(|row| row.is_comment()).count()
}

fn addresses(rows: &[Row], index: usize) -> usize {
    rows.iter().filter(|row| is_address(row.cell(index))).count()
}

fn first_address(rows: &[Row], index: usize) -> usize {
    rows.iter().position(|row| is_address(row.cell(index))).unwrap_or(0)
}

/// Without any sign of a header: the first row, unless that holds an address.
fn above_all(rows: &[Row]) -> Found {
    let choice = Choice { index: 0, others: Vec::new() };
    match rows.first() {
        Some(first) if !first.cells.iter().any(|cell| cell.contains('@')) => {
            Found::below(0, choice)
        }
        Some(_) | None => Found { header: None, first_row: 0, choice },
    }
}

fn without_header(rows: &[Row], requested: Requested<'_>) -> Result<Choice, ColumnError> {
    let width = width(rows);
    if let Some(wanted) = requested.column {
        let number = column::as_number(wanted)
            .ok_or_else(|| ColumnError::NoHeader { wanted: wanted.to_owned(), width })?;
        return column::by_number(number, width);
    }
    match Choice::first_of(&by_content(rows)) {
        Some(choice) => Ok(choice),
        None if width <= 1 => Ok(Choice { index: 0, others: Vec::new() }),
        None => Err(ColumnError::NoAddresses { width }),
    }
}

fn nothing_found(rows: &[Row]) -> ColumnError {
    // Of rows above a table, the widest is most likely its header.
    let header = rows.iter().take(HEADER_ROWS).rev().max_by_key(|row| row.cells.len());
    match header {
        Some(header) if !header.cells.iter().any(|cell| cell.contains('@')) => {
            ColumnError::NoneKnown { columns: header.cells.clone() }
        }
        Some(_) | None => ColumnError::NoAddresses { width: width(rows) },
    }
}

fn width(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.cells.len()).max().unwrap_or(0)
}

fn evidence(rows: &[Row], index: usize) -> Evidence {
    let mut sampled = Sampled::default();
    rows.iter().for_each(|row| sampled.add(row.cell(index)));
    sampled.evidence()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::csv::encoding::CellEncoding;
    use proptest::prelude::*;

    fn head(text: &str) -> Head<'_> {
        Head { text: text.as_bytes(), end: End::OfText, encoding: CellEncoding::Guessed }
    }

    fn sniff(text: &str, requested: Requested<'_>) -> Result<Layout, LayoutError> {
        layout(head(text), requested)
    }

    fn column_of(layout: &Layout) -> usize {
        match layout.shape {
            Shape::Column(column) => column,
            Shape::OneLine(_) => usize::MAX,
        }
    }

    fn found(text: &str) -> (Option<char>, usize, usize) {
        let layout =
            sniff(text, Requested::default()).unwrap_or_else(|e| panic!("{text:?}: {e:?}"));
        (layout.delimiter, column_of(&layout), layout.skip)
    }

    #[test]
    fn finds_delimiter_column_and_header() {
        for (text, expected) in [
            ("id,email\n1,a@x.io\n", (Some(','), 1, 1)),
            ("id;E-Mail;name\n1;a@x.io;Doe, John\n", (Some(';'), 1, 1)),
            ("id\temail\n", (Some('\t'), 1, 1)),
            ("name|mail\nx|a@x.io\n", (Some('|'), 1, 1)),
            ("x~a@x.io\ny~b@x.io\n", (Some('~'), 1, 0)),
            ("x^mail\ny^b@x.io\n", (Some('^'), 1, 1)),
            ("x§mail\ny§b@x.io\n", (Some('§'), 1, 1)),
            ("a@x.io:secret\nb@x.io:more\n", (Some(':'), 0, 0)),
            ("x\u{1f}mail\ny\u{1f}b@x.io\n", (Some('\u{1f}'), 1, 1)),
            ("a@x.io;1,5;2,5\nb@x.io;1,5;2,5\n", (Some(';'), 0, 0)),
            ("1,a@x.io\n2,b@x.io\n", (Some(','), 1, 0)),
            ("1,2;a@x.io\n3,4;b@x.io\n", (Some(';'), 1, 0)),
            ("email\na@x.io\n", (None, 0, 1)),
            ("whatever\na@x.io\n", (None, 0, 1)),
            ("a@x.io\nb@x.io\n", (None, 0, 0)),
            ("a@x.io,\nb@x.io,\n", (None, 0, 0)),
            (",\ta@x.io\n,\tb@x.io\n", (Some('\t'), 1, 0)),
            ("a@x.io,\tx\nb@x.io,\ty\n", (Some(','), 0, 0)),
            ("Lee, Ann <a@x.io>\nb@x.io\n", (None, 0, 0)),
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
    fn the_header_may_come_after_other_lines() {
        for (text, expected, skipped) in [
            ("Title\n\nid,email\n1,a@x.io\n", (Some(','), 1, 2), Some(1..=2)),
            ("# a@x.io made this\n#\nid,email\n1,b@x.io\n", (Some(','), 1, 3), Some(1..=2)),
            ("#TYPE Person\n\"Mail\"\n\"a@x.io\"\n", (None, 0, 2), Some(1..=1)),
            ("# list\na@x.io\nb@x.io\n", (None, 0, 1), Some(1..=1)),
            (";;\nBericht;;\n;;\nNr;Kontakt;x\n1;a@x.io;y\n", (Some(';'), 1, 4), Some(1..=3)),
            ("id,contact\n1,\n2,\n3,a@x.io\n", (Some(','), 1, 1), None),
            ("#,email\n1,a@x.io\n", (Some(','), 1, 1), None),
            ("#email\na@x.io\n", (None, 0, 1), Some(1..=1)),
            ("\n\nemail\na@x.io\n", (None, 0, 1), None),
            (
                "Topic,Host Email\nWeekly,h@x.io\n\nUser Email,In\na@x.io,1\nb@x.io,2\n",
                (Some(','), 0, 3),
                Some(1..=3),
            ),
        ] {
            let layout = sniff(text, Requested::default()).unwrap();
            assert_eq!((layout.delimiter, column_of(&layout), layout.skip), expected, "{text:?}");
            assert_eq!(layout.skipped, skipped, "{text:?}");
        }
        let deep = format!("{}id,email\n1,a@x.io\n", "note\n".repeat(HEADER_ROWS - 1));
        assert_eq!(found(&deep), (Some(','), 1, HEADER_ROWS));
    }

    #[test]
    fn no_address_is_lost_above_a_row_that_looks_like_a_header() {
        assert_eq!(found("1,a@x.io\n2,b@x.io\nid,email\n3,c@x.io\n4,d@x.io\n"), (Some(','), 1, 0));
        assert_eq!(found("a@x.io,email\nb@x.io,phone\n"), (Some(','), 0, 0));
        assert_eq!(found("email,help@x.io\nAnn,b@x.io\n"), (Some(','), 1, 0));
        assert_eq!(found("@broken\na@x.io\nb@x.io\nc@x.io\nd@x.io\n"), (None, 0, 0));
    }

    #[test]
    fn content_counts_more_than_a_name() {
        assert_eq!(found("User,E-mail\na@x.io,yes\nb@x.io,no\n"), (Some(','), 0, 1));
        assert_eq!(found("Emails,Who\n2,a@x.io\n3,b@x.io\n"), (Some(','), 1, 1));
        assert_eq!(found("email,email\n,a@x.io\n"), (Some(','), 1, 1));
        let few = "email,cc\na@x.io,b@x.io\nb@x.io,\nn/a,\nn/a,\n";
        assert_eq!(found(few), (Some(','), 0, 1));
        assert_eq!(found("email\na@x.io\nb,b@x.io\nc@x.io\n"), (None, 0, 1));
        let sparse = format!("id,Contacto\n{}1,a@x.io\n", "0,\n".repeat(500));
        assert_eq!(found(&sparse), (Some(','), 1, 1));
    }

    #[test]
    fn a_header_too_far_down_is_named() {
        let notes: String = (1..=50).map(|note| format!("Note {note}\n")).collect();
        let text = format!("{notes}id,email\n1,a@x.io\n");
        assert_eq!(sniff(&text, Requested::default()).unwrap().late_header, Some(51));
        let wanted = Requested { column: Some("email"), ..Requested::default() };
        assert!(matches!(
            sniff(&text, wanted),
            Err(LayoutError::Column(ColumnError::LateHeader { line: 51, .. }))
        ));
        let above = sniff(&text["Note 1\n".len()..], wanted).unwrap();
        assert_eq!((above.skip, above.late_header), (50, None));
        // A header that is repeated further down is no news.
        let again = format!("email\n{}email\nb@x.io\n", "a@x.io\n".repeat(60));
        assert_eq!(sniff(&again, Requested::default()).unwrap().late_header, None);
    }

    #[test]
    fn one_line_of_addresses_is_a_list() {
        for text in ["a@x.io;b@x.io", "a@x.io, b@x.io,\n", "\n Ann <a@x.io>; Bob <b@x.io>"] {
            let list = Shape::OneLine(vec![0, 1]);
            assert_eq!(sniff(text, Requested::default()).unwrap().shape, list, "{text:?}");
        }
        let one_bad = sniff("a@x.io, b@x.io, nobody, c@x.io", Requested::default()).unwrap();
        assert_eq!(one_bad.shape, Shape::OneLine(vec![0, 1, 3]));
        assert_eq!(found("1,Ann,a@x.io,b@x.io\n"), (Some(','), 2, 0));
        let column = Requested { column: Some("2"), ..Requested::default() };
        assert_eq!(sniff("a@x.io;b@x.io", column).unwrap().shape, Shape::Column(1));
        assert_eq!(found("a@x.io;Ann\n"), (Some(';'), 0, 0));
        assert_eq!(found("a@x.io;b@x.io\nc@x.io;d@x.io\n"), (Some(';'), 0, 0));
    }

    #[test]
    fn a_quote_that_stays_open_hides_no_rows_from_the_sample() {
        let text = format!("id;x;who\n1;\"y;a@x.io\n{}", "2;y;b@x.io\n".repeat(99));
        let cut = Head { end: End::MoreFollows, ..head(&text) };
        let layout = layout(cut, Requested::default()).unwrap();
        assert_eq!((layout.delimiter, column_of(&layout), layout.skip), (Some(';'), 2, 1));
    }

    #[test]
    fn what_the_user_says_holds() {
        let text = "id,work,private\n1,a@x.io,b@x.io\n";
        let with =
            |requested| sniff(text, requested).map(|layout| (column_of(&layout), layout.skip));
        let column = |column| Requested { column: Some(column), ..Requested::default() };
        assert_eq!(with(column("private")), Ok((2, 1)));
        assert_eq!(with(column("WORK")), Ok((1, 1)));
        assert_eq!(with(column("3")), Ok((2, 1)));
        assert_eq!(with(Requested { header: Header::None, ..column("3") }), Ok((2, 0)));
        let error = with(column("mail")).unwrap_err();
        assert!(matches!(error, LayoutError::Column(ColumnError::Unknown { .. })), "{error:?}");
        let requested = Requested { delimiter: Some(';'), ..column("1") };
        assert_eq!(sniff(text, requested).unwrap().delimiter, Some(';'));
        let below = sniff("Notes:\n\nid,work\n1,a@x.io\n", column("Work")).unwrap();
        assert_eq!((column_of(&below), below.skip, below.delimiter), (1, 2, Some(',')));
    }

    #[test]
    fn without_a_header_names_mean_nothing() {
        let requested = Requested { column: Some("mail"), ..Requested::default() };
        let error = sniff("1,a@x.io\n", requested).unwrap_err();
        assert!(matches!(error, LayoutError::Column(ColumnError::NoHeader { width: 2, .. })));
        let requested = Requested { header: Header::None, ..Requested::default() };
        let error = sniff("1,x\n", requested).unwrap_err();
        assert!(matches!(error, LayoutError::Column(ColumnError::NoAddresses { width: 2 })));
    }

    #[test]
    fn an_unknown_header_is_an_error_that_names_it() {
        let error = sniff("id,who\n1,2\n", Requested::default()).unwrap_err();
        let columns = vec!["id".to_owned(), "who".to_owned()];
        assert_eq!(error, LayoutError::Column(ColumnError::NoneKnown { columns }));
    }

    #[test]
    fn other_candidates_are_named() {
        let layout = sniff("Mail;email\na@x.io;b@x.io\n", Requested::default()).unwrap();
        assert_eq!((column_of(&layout), layout.others), (1, vec!["`Mail`".to_owned()]));
        let layout = sniff("1;a@x.io;b@x.io\n", Requested::default()).unwrap();
        assert_eq!((column_of(&layout), layout.others), (1, vec!["3".to_owned()]));
    }

    /// Names without the delimiter's neighbours: blanks, quotes and other delimiters are in them.
    fn table() -> impl Strategy<Value = (Vec<Vec<String>>, usize, char)> {
        let others = prop::collection::vec("[a-z0-9é,;|\t \"\n]{0,10}", 1..5);
        let row = (others, "[a-z]{1,9}@[a-z]{1,9}\\.io");
        let delimiter = prop::sample::select(vec![',', ';', '\t', '|']);
        (prop::collection::vec(row, 3..20), 0_usize..5, delimiter).prop_map(
            |(rows, at, delimiter)| {
                let width = rows[0].0.len();
                let at = at.min(width);
                let full = rows.into_iter().map(|(mut cells, email)| {
                    cells.resize(width, "x".to_owned());
                    cells.insert(at, email);
                    cells
                });
                (full.collect(), at, delimiter)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn a_table_with_addresses_is_understood(
            (rows, at, delimiter) in table(), name in prop::option::of("[a-zA-Z]{1,5} ?e-?mail"),
        ) {
            // Where all other cells are empty, the delimiters are as good as commas behind addresses.
            let mut others = rows.iter().flat_map(|row| row.iter().enumerate().filter(|(i, _)| *i != at));
            prop_assume!(others.any(|(_, cell)| !cell.trim().is_empty()));
            let delimiter_byte = u8::try_from(delimiter).unwrap();
            let mut writer =
                ::csv::WriterBuilder::new().delimiter(delimiter_byte).from_writer(Vec::new());
            if let Some(name) = &name {
                let header = (0..rows[0].len())
                    .map(|i| if i == at { name.clone() } else { format!("c{i}") });
                writer.write_record(header).unwrap();
            }
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let layout = sniff(&text, Requested::default()).unwrap();
            prop_assert_eq!(
                (layout.delimiter, column_of(&layout), layout.skip),
                (Some(delimiter), at, usize::from(name.is_some())),
                "{:?}", text
            );
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a@.io,;\"\n\r#=|~ <>é]{0,60}") {
            let _ = sniff(&text, Requested::default());
        }
    }
}
