//! The name of a table, as a user writes it: `people`, `crm.people`, `"odd.name"."x"`.
//!
//! Pure: no clock, no I/O.

use crate::display::quoted;
use crate::source::csv::column::{self, Choice, Evidence};
use crate::source::error::{ColumnError, MAX_LISTED, SourceError, short_name};

/// One to three parts: the table, its schema, its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct TableName(Vec<String>);

impl TableName {
    /// A dot separates the parts; in double quotes or backticks it is part of a name.
    pub(in crate::source) fn parse(text: &str) -> Result<Self, SourceError> {
        let broken = || {
            SourceError::Usage(format!(
                "--table {} is not the name of a table. Write `name` or `schema.name`, in double \
                 quotes where a name holds a dot.",
                quoted(text)
            ))
        };
        let mut parts = Vec::new();
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (part, after) = next_part(text).ok_or_else(broken)?;
            parts.push(part);
            rest = after;
        }
        let wellformed = parts.len() <= 3 && parts.iter().all(|part| !part.is_empty());
        if wellformed { Ok(Self(parts)) } else { Err(broken()) }
    }

    /// As SQL, each part in quotes of this kind.
    pub(in crate::source) fn as_sql(&self, quote: char) -> String {
        self.0.iter().map(|part| quoted_name(part, quote)).collect::<Vec<_>>().join(".")
    }

    /// As text, for messages and to compare.
    pub(in crate::source) fn as_text(&self) -> String {
        self.0.join(".")
    }
}

/// What is read of a database, and how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct ReadQuery {
    pub(in crate::source) sql: String,
    /// Which of its columns holds the emails, counted from 0.
    pub(in crate::source) column: usize,
    pub(in crate::source) description: String,
}

/// The kind of a database, as far as the text of a query depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct SqlKind {
    pub(in crate::source) name: &'static str,
    /// What quotes a name.
    pub(in crate::source) quote: char,
}

/// So many rows of a table are looked at when no column has a usual name.
const SAMPLE_ROWS: u32 = 500;

/// Reads the first rows of a table.
pub(in crate::source) fn sample_query(kind: SqlKind, table: &TableName) -> String {
    format!("SELECT * FROM {} LIMIT {SAMPLE_ROWS}", table.as_sql(kind.quote))
}

/// The column of emails of a table that has these columns, by its name.
pub(in crate::source) fn by_name(
    columns: &[String],
    wanted: Option<&str>,
) -> Result<Choice, ColumnError> {
    match wanted {
        Some(wanted) => column::by_request(columns, wanted),
        None => {
            let known = column::by_known_name(columns, |_| Evidence::Unknown);
            Choice::first_of(&known)
                .ok_or_else(|| ColumnError::NoneKnown { columns: columns.to_vec() })
        }
    }
}

/// Reads this column of a table.
pub(in crate::source) fn table_query(
    kind: SqlKind,
    table: &TableName,
    columns: &[String],
    choice: &Choice,
) -> ReadQuery {
    let column = &columns[choice.index];
    let from = table.as_sql(kind.quote);
    let others: Vec<String> =
        choice.others.iter().take(MAX_LISTED).map(|&other| short_name(&columns[other])).collect();
    let not = if others.is_empty() {
        String::new()
    } else {
        format!(", not column {}", others.join(" or "))
    };
    ReadQuery {
        sql: format!("SELECT {} FROM {from}", quoted_name(column, kind.quote)),
        column: 0,
        description: format!(
            "{}, table {}, column {}{not}",
            kind.name,
            short_name(&table.as_text()),
            short_name(column)
        ),
    }
}

/// Reads one column of a query that has these columns: the first, unless the user names one.
pub(in crate::source) fn user_query(
    kind: SqlKind,
    query: &str,
    columns: &[String],
    wanted: Option<&str>,
) -> Result<ReadQuery, ColumnError> {
    let column = match wanted {
        Some(wanted) => column::by_request(columns, wanted)?.index,
        None => 0,
    };
    let description = format!("{}, query, column {}", kind.name, short_name(&columns[column]));
    Ok(ReadQuery { sql: query.to_owned(), column, description })
}

/// A name as SQL: in quotes, those inside it doubled, so that it can be nothing but a name.
pub(in crate::source) fn quoted_name(name: &str, quote: char) -> String {
    let doubled = name.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

fn next_part(text: &str) -> Option<(String, Option<&str>)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '`'));
    let Some(quote) = quote else {
        return Some(match text.split_once('.') {
            Some((part, rest)) => (part.to_owned(), Some(rest)),
            None => (text.to_owned(), None),
        });
    };
    let mut part = String::new();
    let mut rest = &text[1..];
    loop {
        let end = rest.find(quote)?;
        part.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(quote) {
            Some(after) => {
                part.push(quote);
                rest = after;
            }
            None if rest.is_empty() => return Some((part, None)),
            None => return rest.strip_prefix('.').map(|after| (part, Some(after))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sql(text: &str) -> Option<String> {
        TableName::parse(text).ok().map(|name| name.as_sql('"'))
    }

    #[test]
    fn a_dot_separates_unless_quoted() {
        for (text, expected) in [
            ("people", Some("\"people\"")),
            ("crm.people", Some("\"crm\".\"people\"")),
            ("\"a.b\".`c\"d`", Some("\"a.b\".\"c\"\"d\"")),
            ("\"a\"\"b\"", Some("\"a\"\"b\"")),
            ("p; DROP TABLE x", Some("\"p; DROP TABLE x\"")),
            ("p\"; DROP TABLE x; --", Some("\"p\"\"; DROP TABLE x; --\"")),
            ("", None),
            ("a.", None),
            (".a", None),
            ("a.b.c.d", None),
            ("\"a", None),
            ("\"a\"b", None),
        ] {
            assert_eq!(sql(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_name_is_one_name(name in "[a-z\"`.; -]{1,12}") {
            for quote in ['"', '`'] {
                let parsed = TableName::parse(&quoted_name(&name, quote)).unwrap();
                prop_assert_eq!(parsed, TableName(vec![name.clone()]));
            }
        }
    }
}
