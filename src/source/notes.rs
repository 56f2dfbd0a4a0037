//! What a person should know of how a source was read: everything that was skipped, unwrapped or
//! looks suspicious, with its count and its first place.
//!
//! Pure: no clock, no I/O.

use crate::display::{counted, grouped};
use crate::domain::email::unwrap::{Wrapping, Wrappings};

/// How often something happened, and where first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct Tally {
    count: u64,
    first: u64,
}

impl Tally {
    pub(in crate::source) fn add(&mut self, row: u64) {
        if self.count == 0 {
            self.first = row;
        }
        self.count += 1;
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(in crate::source) struct Notes {
    /// Remarks that are known before the first row.
    pub(in crate::source) remarks: Vec<String>,
    pub(in crate::source) stray_quotes: Tally,
    pub(in crate::source) quoted_over_lines: Tally,
    wrappings: [Tally; Wrapping::ALL.len()],
}

impl Notes {
    pub(in crate::source) fn unwrapped(&mut self, wrappings: Wrappings, row: u64) {
        if wrappings.is_empty() {
            return;
        }
        for (wrapping, tally) in Wrapping::ALL.into_iter().zip(&mut self.wrappings) {
            if wrappings.contains(wrapping) {
                tally.add(row);
            }
        }
    }

    /// All of it in one line; none if there is nothing to say.
    pub(in crate::source) fn line(&self) -> Option<String> {
        let mut parts = self.remarks.clone();
        let first = |tally: &Tally| match tally.count {
            1 => format!("line {}", grouped(tally.first)),
            _ => format!("first: line {}", grouped(tally.first)),
        };
        if self.stray_quotes.count > 0 {
            parts.push(format!(
                "{} whose quotes enclose no cell read as unquoted ({})",
                counted(self.stray_quotes.count, "line"),
                first(&self.stray_quotes)
            ));
        }
        if self.quoted_over_lines.count > 0 {
            parts.push(format!(
                "{} with a quoted cell over several lines ({}; if that is a stray quote, use \
                 --quote none)",
                counted(self.quoted_over_lines.count, "row"),
                first(&self.quoted_over_lines)
            ));
        }
        let unwrapped = Wrapping::ALL.into_iter().zip(&self.wrappings);
        let unwrapped: Vec<String> = unwrapped
            .filter(|(_, tally)| tally.count > 0)
            .map(|(wrapping, tally)| {
                format!(
                    "{} with {wrapping} ({})",
                    grouped(tally.count),
                    first(tally).replace("line", "row")
                )
            })
            .collect();
        if !unwrapped.is_empty() {
            parts.push(format!("cleaned emails: {}", unwrapped.join(", ")));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::email::Email;

    #[test]
    fn one_line_says_what_happened_how_often_and_where_first() {
        let mut notes = Notes::default();
        assert_eq!(notes.line(), None);
        notes.remarks.push("lines 1 to 5 above the header skipped".to_owned());
        notes.stray_quotes.add(3);
        notes.stray_quotes.add(9);
        notes.quoted_over_lines.add(12);
        for (row, text) in
            [(2, "Ann <a@x.io>"), (3, "<mailto:b@x.io>"), (4, "c@x.io"), (5, "[d@x.io]")]
        {
            notes.unwrapped(Email::parse_wrapped(text).wrappings, row);
        }
        let expected = "lines 1 to 5 above the header skipped; 2 lines whose quotes enclose no cell \
            read as unquoted (first: line 3); 1 row with a quoted cell over several lines (line 12; \
            if that is a stray quote, use --quote none); cleaned emails: 1 with `Name <address>` (row \
            2), 1 with `mailto:` (row 3), 2 with surrounding brackets (first: row 3)";
        assert_eq!(notes.line().as_deref(), Some(expected));
    }
}
