//! Values as PostgreSQL's COPY takes them.

use rusqlite::types::ValueRef;

/// What a column of a stage holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// The value itself.
    Value,
    /// Whether the value is JSON that jsonb can hold.
    IsJson,
    /// The value if it is a time in the store's form, else nothing.
    Time,
}

/// Lines of COPY, as they are built.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    /// Values with U+0000, which PostgreSQL cannot hold.
    pub(super) with_nul: u64,
}

impl Lines {
    pub(super) fn add(&mut self, cell: Cell, value: ValueRef<'_>) {
        match (cell, value) {
            (Cell::Value, ValueRef::Null) => self.bytes.extend_from_slice(b"\\N"),
            (Cell::Value, ValueRef::Integer(number)) => {
                self.bytes.extend_from_slice(number.to_string().as_bytes());
            }
            // The shortest form that reads as the same number.
            (Cell::Value, ValueRef::Real(number)) => {
                self.bytes.extend_from_slice(format!("{number:?}").as_bytes());
            }
            (Cell::Value, ValueRef::Text(text)) => self.text(text),
            (Cell::Value, ValueRef::Blob(bytes)) => {
                self.bytes.extend_from_slice(b"\\\\x");
                for byte in bytes {
                    self.bytes.extend_from_slice(format!("{byte:02x}").as_bytes());
                }
            }
            (Cell::IsJson, value) => {
                let fits = matches!(value, ValueRef::Text(json) if fits_jsonb(json));
                self.bytes.push(if fits { b't' } else { b'f' });
            }
            (Cell::Time, ValueRef::Text(text)) if is_time(text) => self.text(text),
            (Cell::Time, _) => self.bytes.extend_from_slice(b"\\N"),
        }
    }

    fn text(&mut self, text: &[u8]) {
        // SQLite does not check that a text is UTF-8.
        let text = String::from_utf8_lossy(text);
        let before = self.bytes.len();
        for byte in text.bytes() {
            match byte {
                b'\\' => self.bytes.extend_from_slice(b"\\\\"),
                b'\n' => self.bytes.extend_from_slice(b"\\n"),
                b'\r' => self.bytes.extend_from_slice(b"\\r"),
                b'\t' => self.bytes.extend_from_slice(b"\\t"),
                0 => self.bytes.extend_from_slice("\u{fffd}".as_bytes()),
                byte => self.bytes.push(byte),
            }
        }
        let has_nul = self.bytes.len() > before && text.as_bytes().contains(&0);
        self.with_nul += u64::from(has_nul);
    }
}

/// `YYYY-MM-DDTHH:MM:SS.sssZ`, of a year that both can hold.
fn is_time(text: &[u8]) -> bool {
    text.len() == 24
        && std::str::from_utf8(text).is_ok_and(|text| text.parse::<jiff::Timestamp>().is_ok())
        && !text.starts_with(b"0000")
}

/// The deepest JSON that is offered as jsonb: PostgreSQL's parser is recursive.
const DEEPEST: usize = 500;

/// The longest number: numeric has 131,072 digits before the point and 16,383 after it.
const LONGEST_NUMBER: usize = 100;

/// The largest exponent.
const LARGEST_EXPONENT: u32 = 1_000;

/// Whether jsonb can hold a valid JSON text. It cannot hold U+0000, half a surrogate pair, or any number.
fn fits_jsonb(json: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => match string_end(json, at + 1) {
                Some(end) => at = end,
                None => return false,
            },
            b'[' | b'{' => {
                depth += 1;
                if depth > DEEPEST {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &u8| matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let end = json[at..].iter().position(|byte| !is_part(byte));
                let end = end.map_or(json.len(), |length| at + length);
                if !number_fits(&json[at..end]) {
                    return false;
                }
                at = end - 1;
            }
            0 => return false,
            _ => {}
        }
        at += 1;
    }
    !json.is_empty()
}

/// Where the string that begins at `at` ends; `None` if jsonb cannot hold it.
fn string_end(json: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match json.get(at)? {
            b'"' => return Some(at),
            0 => return None,
            b'\\' if json.get(at + 1) == Some(&b'u') => {
                match unit(json, at)? {
                    0 | 0xdc00..=0xdfff => return None,
                    0xd800..=0xdbff => {
                        at += 6;
                        if !(0xdc00..=0xdfff).contains(&unit(json, at)?) {
                            return None;
                        }
                    }
                    _ => {}
                }
                at += 6;
            }
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The code unit of the escape `\uXXXX` at `at`.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn number_fits(number: &[u8]) -> bool {
    let exponent = number.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let exponent = exponent.map_or(Some(0), |at| {
        let digits = std::str::from_utf8(&number[at + 1..]).ok()?;
        digits.trim_start_matches(['+', '-']).parse::<u32>().ok()
    });
    number.len() <= LONGEST_NUMBER && exponent.is_some_and(|exponent| exponent <= LARGEST_EXPONENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cell: Cell, value: ValueRef<'_>) -> String {
        let mut lines = Lines::default();
        lines.add(cell, value);
        String::from_utf8(lines.bytes).unwrap()
    }

    #[test]
    fn values_are_escaped_as_copy_reads_them() {
        let text = |text: &'static str| line(Cell::Value, ValueRef::Text(text.as_bytes()));
        assert_eq!(text("a\tb\nc\rd\\N"), "a\\tb\\nc\\rd\\\\N");
        assert_eq!(text(""), "");
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        assert_eq!(line(Cell::Value, ValueRef::Null), "\\N");
        assert_eq!(line(Cell::Value, ValueRef::Integer(-7)), "-7");
        assert_eq!(line(Cell::Value, ValueRef::Real(0.1)), "0.1");
        assert_eq!(line(Cell::Value, ValueRef::Blob(&[0, 255])), "\\\\x00ff");
    }

    #[test]
    fn values_with_nul_are_counted() {
        let mut lines = Lines::default();
        for text in ["a\0b\0", "c", "\0"] {
            lines.add(Cell::Value, ValueRef::Text(text.as_bytes()));
        }
        assert_eq!(lines.with_nul, 2);
    }

    #[test]
    fn only_what_jsonb_can_hold_is_json_there() {
        for fits in [
            "{}",
            r#"{"a":[1,-2.5e3,"x\n\"\\",null]}"#,
            r#""\ud83d\ude00 ä""#,
            r#""\\u0000""#,
            "1e1000",
        ] {
            assert_eq!(line(Cell::IsJson, ValueRef::Text(fits.as_bytes())), "t", "{fits}");
        }
        let deep = "[".repeat(501) + &"]".repeat(501);
        let long = "1".repeat(101);
        for not in [
            r#"{"a":"\u0000"}"#,
            r#""\ud83d""#,
            r#""\ud83dx\ude00""#,
            r#""\ude00""#,
            "1e1001",
            "1e-2000",
            "1e99999999999",
            &deep,
            &long,
            "",
        ] {
            assert_eq!(line(Cell::IsJson, ValueRef::Text(not.as_bytes())), "f", "{not}");
        }
        assert_eq!(line(Cell::IsJson, ValueRef::Null), "f");
    }

    #[test]
    fn only_what_is_a_time_is_one_there() {
        let time = |text: &'static str| line(Cell::Time, ValueRef::Text(text.as_bytes()));
        assert_eq!(time("2025-10-01T12:00:00.000Z"), "2025-10-01T12:00:00.000Z");
        for not in ["", "yesterday", "2025-13-01T12:00:00.000Z", "0000-01-01T00:00:00.000Z"] {
            assert_eq!(time(not), "\\N", "{not}");
        }
    }
}
