//! What separates the cells of a file, from its beginning.
//!
//! Pure: no clock, no I/O.

use std::cmp::Ordering;

use memchr::memmem;

use crate::source::csv::column;
use crate::source::csv::dialect::Quoting;
use crate::source::csv::records::{Splitter, Step};
use crate::source::csv::sample::{Head, Requested, Row, dialect, sample};
use crate::source::csv::scan::Keep;
use crate::source::error::short_name;

/// What separates cells, in the order in which a tie is decided.
const DELIMITERS: [char; 9] = [',', ';', '\t', '|', '^', '~', '§', ':', '\u{1f}'];

/// A known name of a column counts only in the first rows.
pub(in crate::source::csv) const HEADER_ROWS: usize = 50;

/// Whether the head holds a whole record, whatever the delimiter may be.
pub(in crate::source) fn is_enough(head: Head<'_>, quoting: Quoting) -> bool {
    let holds_one = |delimiter: Option<char>| {
        let Some(dialect) = dialect(head, delimiter, quoting) else { return true };
        let mut splitter = Splitter::new(dialect, Keep::Only(0));
        let mut at = 0;
        loop {
            match splitter.step(&head.text[at..], head.end) {
                Ok(Step::Blank(bytes)) => at += bytes,
                Ok(Step::NeedMore) => return false,
                Ok(Step::Record(_) | Step::End) | Err(_) => return true,
            }
        }
    };
    let delimiters = DELIMITERS.into_iter().filter(|&delimiter| occurs(head, delimiter));
    delimiters.map(Some).chain([None]).all(holds_one)
}

fn occurs(head: Head<'_>, delimiter: char) -> bool {
    let bytes = head.encoding.bytes_of(delimiter, head.text);
    bytes.is_some_and(|bytes| memmem::find(head.text, &bytes).is_some())
}

/// How the delimiter is called: `semicolon`, `one email a line`.
pub(in crate::source) fn delimiter_name(delimiter: Option<char>) -> String {
    match delimiter {
        None => "one email a line".to_owned(),
        Some(',') => "comma".to_owned(),
        Some(';') => "semicolon".to_owned(),
        Some('\t') => "tab".to_owned(),
        Some('|') => "pipe".to_owned(),
        Some('\u{1f}') => "unit separator".to_owned(),
        Some(other) => format!("delimiter {}", short_name(&other.to_string())),
    }
}

/// `sep=;` as the first line is a spreadsheet's own way to name the delimiter.
pub(in crate::source::csv) fn announced_delimiter(head: Head<'_>) -> Option<char> {
    let line = head.text.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line = head.encoding.text(line.get(..16).unwrap_or(line));
    let line = line.trim_matches('"');
    let mut named = line.get(4..).filter(|_| line[..4].eq_ignore_ascii_case("sep="))?.chars();
    named.next().filter(|_| named.next().is_none())
}

/// The delimiter under which most rows hold an address in a cell of its own; if that does not
/// decide, the one under which most rows are of one width.
pub(in crate::source::csv) fn sniff_delimiter(
    head: Head<'_>,
    requested: Requested<'_>,
) -> Option<char> {
    let rows_of = |delimiter| {
        sample(head, dialect(head, delimiter, requested.quoting)?)
            .ok()
            .filter(|rows| !rows.is_empty())
    };
    let whole_lines = rows_of(None).map(|rows| fit(&rows, requested))?;
    let signs = |fit: Fit| (fit.known_name, fit.addresses);
    let mut best: Option<(Fit, char)> = None;
    for delimiter in DELIMITERS.into_iter().filter(|&delimiter| occurs(head, delimiter)) {
        let Some(rows) = rows_of(Some(delimiter)) else { continue };
        let fit = fit(&rows, requested);
        if rows.iter().any(|row| row.cells.len() > 1) && best.is_none_or(|(leader, _)| fit > leader)
        {
            best = Some((fit, delimiter));
        }
    }
    let (best, delimiter) = best?;
    if best.usual_width == 1 && signs(whole_lines) > (false, 0) {
        // A list in which some lines happen to hold the delimiter.
        return None;
    }
    let wins = match signs(best).cmp(&signs(whole_lines)) {
        Ordering::Greater => true,
        Ordering::Equal if signs(best) == (false, 0) => best.usual_width > 1,
        // These may stand in an address, but not in every line of a list.
        Ordering::Equal => {
            matches!(delimiter, '|' | '^' | '~') && best.of_usual_width == whole_lines.rows
        }
        Ordering::Less => false,
    };
    wins.then_some(delimiter)
}

/// How well a delimiter fits, the more telling sign first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    known_name: bool,
    addresses: usize,
    /// With nothing around them, as another delimiter would leave it.
    bare_addresses: usize,
    of_usual_width: usize,
    usual_width: usize,
    rows: usize,
}

fn fit(rows: &[Row], requested: Requested<'_>) -> Fit {
    let (usual_width, of_usual_width) = usual_width(rows);
    Fit {
        known_name: rows.iter().take(HEADER_ROWS).any(|row| names_column(row, requested)),
        addresses: rows.iter().filter(|row| row.holds_address()).count(),
        bare_addresses: rows.iter().filter(|row| row.holds_bare_address()).count(),
        of_usual_width: if usual_width > 1 { of_usual_width } else { 0 },
        usual_width,
        rows: rows.len(),
    }
}

/// Whether a row holds the name that the user gave, or else a usual one.
fn names_column(row: &Row, requested: Requested<'_>) -> bool {
    match requested.column.filter(|wanted| column::as_number(wanted).is_none()) {
        Some(wanted) => column::by_request(&row.cells, wanted).is_ok(),
        None => row.cells.iter().any(|cell| column::is_known(cell)),
    }
}

/// The width that most rows have, of two the greater; and how many have it.
fn usual_width(rows: &[Row]) -> (usize, usize) {
    let mut counts = std::collections::BTreeMap::<usize, usize>::new();
    for row in rows {
        *counts.entry(row.cells.len()).or_default() += 1;
    }
    counts.into_iter().max_by_key(|&(width, count)| (count, width)).unwrap_or((0, 0))
}
