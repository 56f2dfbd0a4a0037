//! Text from outside, made fit for a person's eyes.
//!
//! Pure: no clock, no I/O.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// The longest piece of outside text that a message repeats, in characters.
const QUOTED_CHARS: usize = 200;

/// `text` with each character that could steer a terminal, change the reading direction or hide
/// replaced by its escape.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            let _ = write!(safe, "{}", c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// A path as [`escaped`] text.
pub fn shown(path: &Path) -> String {
    escaped(&path.to_string_lossy()).into_owned()
}

/// JSON with the same characters as JSON escapes, so that it means the same and is safe to print.
/// Those below U+0020 are escaped in any JSON.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| c >= '\u{7f}' && is_unsafe(c);
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Text from outside as part of a message: escaped, and cut after 200 characters.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", escaped(&text[..end])),
        None => escaped(text).into_owned(),
    }
}

/// What another program says, as a clause of a sentence: [`shortened`], without its own full stop.
pub fn clause(text: &str) -> String {
    shortened(text.trim().trim_end_matches('.'))
}

/// [`shortened`] text between backticks.
pub fn quoted(text: &str) -> String {
    format!("`{}`", shortened(text))
}

/// Control characters, and those of Unicode's category Cf and its separators of lines: they show
/// nothing themselves and change what stands beside them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A number with a comma at every third digit.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number of things, in the singular where there is one: `1 row`, `2 rows`.
pub fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// A time that a person can grasp: `0.4 s`, `12 s`, `3 min 20 s`, `5 h 2 min`.
pub fn human_duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{seconds:.0} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// One word of a shell.
pub fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(shell_word("/a/b.db"), "/a/b.db");
        assert_eq!(shell_word("/my store/it's.db"), r"'/my store/it'\''s.db'");
    }
    use proptest::prelude::*;

    #[test]
    fn what_could_harm_a_terminal_is_escaped() {
        assert_eq!(escaped("plain äöü"), "plain äöü");
        assert_eq!(escaped("\u{1b}[31mred\n"), "\\u{1b}[31mred\\n");
        assert_eq!(escaped("a\u{202e}b\u{9b}"), "a\\u{202e}b\\u{9b}");
        assert_eq!(escaped("\u{feff}a\u{200b}"), "\\u{feff}a\\u{200b}");
        assert_eq!(escaped("it's \"na\u{308}h\" C:\\x"), "it's \"na\u{308}h\" C:\\x");
        assert_eq!(quoted("a\u{1b}[31m\r\n"), "`a\\u{1b}[31m\\r\\n`");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(shortened(&"ä".repeat(1000)).chars().count(), QUOTED_CHARS + 1);
        assert_eq!(shortened(&"ä".repeat(QUOTED_CHARS)).chars().count(), QUOTED_CHARS);
        assert_eq!(clause(" no\nroute. "), "no\\nroute");
    }

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(2_000, "row"), "2,000 rows");
        assert_eq!(human_duration(0.44), "0.4 s");
        assert_eq!(human_duration(200.0), "3 min 20 s");
        assert_eq!(human_duration(18_120.0), "5 h 2 min");
    }

    proptest! {
        #[test]
        fn escaped_json_means_the_same(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let safe = escaped_json(&json);
            prop_assert!(!safe.contains(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        }

        #[test]
        fn no_control_character_comes_through(text in any::<String>()) {
            prop_assert!(!escaped(&text).chars().any(char::is_control));
        }
    }
}
