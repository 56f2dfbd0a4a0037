//! Encodings: those that the web knows, and the code pages of DOS and Windows.
//!
//! Pure: no clock, no I/O.

use std::borrow::Cow;

use encoding_rs::{UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use oem_cp::code_table::DECODING_TABLE_CP_MAP;
use oem_cp::code_table_type::TableType;

/// How bytes become text.
#[derive(Clone, Copy, Debug)]
pub enum Encoding {
    /// One of <https://encoding.spec.whatwg.org>.
    Web(&'static encoding_rs::Encoding),
    /// A code page of DOS, by its number.
    CodePage(u16, &'static TableType),
}

impl PartialEq for Encoding {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Encoding {
    /// The encoding that a user names: a label of the web, or a code page as `cp852`, `IBM-852`,
    /// `DOS 852` or `852`. Letter case, blanks, hyphens and underscores make no difference.
    pub fn of_name(name: &str) -> Option<Self> {
        let label = name.trim().to_ascii_lowercase();
        let folded: String = label.chars().filter(|c| !matches!(c, ' ' | '_' | '-')).collect();
        let web = |label: &str| encoding_rs::Encoding::for_label_no_replacement(label.as_bytes());
        web(&label)
            .or_else(|| web(other_spelling(&folded)))
            .map(Self::Web)
            .or_else(|| Self::of_number(code_page_number(&folded)?))
    }

    /// Windows numbers every encoding; those of DOS have tables of their own.
    fn of_number(number: u16) -> Option<Self> {
        let label = match number {
            1200 => "utf-16le",
            1201 => "utf-16be",
            65001 | 1208 => "utf-8",
            932 => "shift_jis",
            936 => "gbk",
            949 => "euc-kr",
            950 => "big5",
            951 => "big5-hkscs",
            51932 | 20932 => "euc-jp",
            50220..=50222 => "iso-2022-jp",
            51949 => "euc-kr",
            54936 => "gb18030",
            20866 => "koi8-r",
            21866 => "koi8-u",
            20127 | 367 => "us-ascii",
            10000 => "macintosh",
            10007 => "x-mac-cyrillic",
            819 => "latin1",
            1250..=1258 => return web_numbered("windows-", number),
            28591..=28606 => return web_numbered("iso-8859-", number - 28590),
            other => {
                return DECODING_TABLE_CP_MAP.get(&other).map(|table| Self::CodePage(other, table));
            }
        };
        encoding_rs::Encoding::for_label_no_replacement(label.as_bytes()).map(Self::Web)
    }

    /// As messages call it.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Web(encoding) => match encoding.name().strip_prefix("windows-") {
                Some(number) => Cow::Owned(format!("Windows-{number}")),
                None => Cow::Borrowed(encoding.name()),
            },
            Self::CodePage(number, _) => Cow::Owned(format!("CP{number}")),
        }
    }

    /// How text in this encoding is decoded: cell by cell where every byte of ASCII is itself.
    pub(in crate::source) fn decoding(self) -> Decoding {
        match self {
            Self::Web(encoding) if encoding == UTF_8 => Decoding::Cells(CellEncoding::Guessed),
            Self::Web(encoding) if encoding.is_single_byte() => {
                Decoding::Cells(CellEncoding::Web(encoding))
            }
            Self::Web(encoding) => Decoding::Stream(encoding),
            Self::CodePage(_, table) => Decoding::Cells(CellEncoding::Table(table)),
        }
    }
}

fn web_numbered(prefix: &str, number: u16) -> Option<Encoding> {
    let label = format!("{prefix}{number}");
    encoding_rs::Encoding::for_label_no_replacement(label.as_bytes()).map(Encoding::Web)
}

/// Spellings that the web does not know, without blanks and hyphens.
fn other_spelling(folded: &str) -> &str {
    match folded {
        "utf8sig" | "utf8bom" | "utf8mb4" => "utf-8",
        "utf16" | "utf16le" | "unicode" | "ucs2" => "utf-16le",
        "utf16be" => "utf-16be",
        "ansi" | "windowsansi" => "windows-1252",
        "iso88591" | "latin1" => "latin1",
        "macroman" => "macintosh",
        "koi8r" => "koi8-r",
        "koi8u" => "koi8-u",
        "shiftjis" | "sjis" => "shift_jis",
        "eucjp" => "euc-jp",
        "euckr" => "euc-kr",
        "big5hkscs" => "big5-hkscs",
        other => other,
    }
}

fn code_page_number(folded: &str) -> Option<u16> {
    let prefixes = ["windows", "codepage", "ibm", "dos", "oem", "xcp", "cp", "ms", "win", "iso"];
    let digits = prefixes.iter().find_map(|prefix| folded.strip_prefix(prefix)).unwrap_or(folded);
    if let Some(part) = digits.strip_prefix("8859").filter(|part| !part.is_empty()) {
        return part
            .parse()
            .ok()
            .filter(|part| (1..=16).contains(part))
            .map(|part: u16| 28590 + part);
    }
    digits.parse().ok()
}

/// How bytes become text.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) enum Decoding {
    /// Bytes are split, and only the cells are decoded.
    Cells(CellEncoding),
    /// A delimiter or line end may be part of a character: all is decoded before it is split.
    Stream(&'static encoding_rs::Encoding),
}

/// How one cell is decoded.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) enum CellEncoding {
    /// UTF-8, or else Windows-1252, in which every byte means something. Judged cell by cell, so
    /// files pasted together from both read well.
    Guessed,
    Web(&'static encoding_rs::Encoding),
    Table(&'static TableType),
}

impl CellEncoding {
    pub(in crate::source) fn text(self, bytes: &[u8]) -> String {
        match (self, std::str::from_utf8(bytes)) {
            (Self::Guessed, Ok(text)) => text.to_owned(),
            (Self::Web(_) | Self::Table(_), Ok(text)) if text.is_ascii() => text.to_owned(),
            (Self::Guessed, Err(_)) => {
                WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned()
            }
            (Self::Web(encoding), _) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
            (Self::Table(table), _) => {
                bytes.iter().map(|&byte| char_of(table, byte).unwrap_or('\u{fffd}')).collect()
            }
        }
    }

    /// The bytes that encode `c`, if there are any. `sample` distinguishes UTF-8 from Windows-1252.
    pub(in crate::source) fn bytes_of(self, c: char, sample: &[u8]) -> Option<Vec<u8>> {
        if c.is_ascii() {
            return u8::try_from(c).ok().map(|byte| vec![byte]);
        }
        let single = |is: &dyn Fn(u8) -> bool| (0x80..=0xff).find(|&b| is(b)).map(|b| vec![b]);
        match self {
            Self::Guessed
                if std::str::from_utf8(sample).is_err_and(|e| e.error_len().is_some()) =>
            {
                Self::Web(WINDOWS_1252).bytes_of(c, sample)
            }
            Self::Guessed => Some(c.to_string().into_bytes()),
            Self::Web(encoding) => {
                single(&|byte| encoding.decode_without_bom_handling(&[byte]).0.chars().eq([c]))
            }
            Self::Table(table) => single(&|byte| char_of(table, byte) == Some(c)),
        }
    }
}

fn char_of(table: &TableType, byte: u8) -> Option<char> {
    let Some(high) = byte.checked_sub(0x80).map(usize::from) else {
        return Some(char::from(byte));
    };
    match table {
        TableType::Complete(table) => table.get(high).copied(),
        TableType::Incomplete(table) => table.get(high).copied().flatten(),
    }
}

/// One value of a database as text: UTF-8, or else Windows-1252.
pub(in crate::source) fn text_of(bytes: &[u8]) -> String {
    CellEncoding::Guessed.text(bytes)
}

/// UTF-16 without a byte order mark: in text of any language most line ends, digits, blanks and
/// delimiters leave a zero byte, always on the same side.
pub(in crate::source) fn sniff_utf16(bytes: &[u8]) -> Option<Encoding> {
    let pairs = bytes.chunks_exact(2);
    let all = pairs.len();
    let (mut first_zero, mut second_zero) = (0_usize, 0_usize);
    for pair in pairs {
        first_zero += usize::from(pair[0] == 0);
        second_zero += usize::from(pair[1] == 0);
    }
    let telling = |many: usize, few: usize| many * 5 > all && few * 10 < many;
    if telling(second_zero, first_zero) {
        Some(Encoding::Web(UTF_16LE))
    } else if telling(first_zero, second_zero) {
        Some(Encoding::Web(UTF_16BE))
    } else {
        None
    }
}

/// What a guess says of the beginning of a text that no one named an encoding for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Guess {
    pub(in crate::source) name: &'static str,
    /// Why the guess may be wrong.
    pub(in crate::source) doubt: Option<Doubt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Doubt {
    /// Names would read better in another encoding: this one, or a code page of DOS.
    Another(Option<String>),
    /// UTF-8 that was taken for Windows-1252 and written as UTF-8 again.
    EncodedTwice,
    /// UTF-8 was asked for, and some of the text is none.
    NotUtf8,
}

/// Judges the lines of `head` one by one.
pub(in crate::source) fn guess(head: &[u8]) -> Guess {
    let lines = head.split(|&byte| matches!(byte, b'\r' | b'\n'));
    let (utf8, other): (Vec<&[u8]>, Vec<&[u8]>) =
        lines.filter(|line| !line.is_ascii()).partition(|line| std::str::from_utf8(line).is_ok());
    let name = match (utf8.is_empty(), other.is_empty()) {
        (_, true) => "UTF-8",
        (true, false) => "Windows-1252",
        (false, false) => "UTF-8 with lines in Windows-1252",
    };
    let doubt = if other.is_empty() {
        utf8.iter().any(|line| is_encoded_twice(line)).then_some(Doubt::EncodedTwice)
    } else {
        doubt_of_windows_1252(&other)
    };
    Guess { name, doubt }
}

fn doubt_of_windows_1252(lines: &[&[u8]]) -> Option<Doubt> {
    let mut detector = chardetng::EncodingDetector::new();
    for line in lines {
        detector.feed(line, false);
        detector.feed(b"\n", false);
    }
    detector.feed(b"", true);
    let likely = detector.guess(None, false);
    if likely != WINDOWS_1252 {
        return Some(Doubt::Another(Some(likely.name().to_owned())));
    }
    let odd = lines.iter().any(|line| {
        let text = WINDOWS_1252.decode_without_bom_handling(line).0;
        has_signs_inside_words(&text)
    });
    odd.then_some(Doubt::Another(None))
}

/// What DOS wrote as letters is signs in Windows-1252: `J‚rgen`.
fn has_signs_inside_words(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let is_sign = |c: char| {
        matches!(
            c,
            '\u{80}'
                ..='\u{bf}'
                    | '‚'
                    | 'ƒ'
                    | '„'
                    | '…'
                    | '†'
                    | '‡'
                    | 'ˆ'
                    | '‰'
                    | '‹'
                    | '•'
                    | '˜'
                    | '™'
                    | '›'
                    | '“'
                    | '”'
                    | '€'
        ) && !matches!(c, 'ª' | 'º' | '·' | '\u{a0}' | '\u{ad}')
    };
    chars.windows(3).any(|c| c[0].is_alphabetic() && is_sign(c[1]) && c[2].is_alphabetic())
}

fn is_encoded_twice(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let chars: Vec<char> = text.chars().collect();
    let continues = |c: char| {
        matches!(c, '\u{80}'..='\u{bf}' | '€' | '™' | 'œ' | '˜' | '…' | '„' | '‚' | 'Œ' | 'ž' | 'Ÿ')
    };
    chars.windows(2).any(|c| matches!(c[0], 'Ã' | 'Â' | 'Ä' | 'Å') && continues(c[1]))
        || text.contains("â€")
        || text.contains('\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Option<String> {
        Encoding::of_name(name).map(|encoding| encoding.name().into_owned())
    }

    #[test]
    fn every_usual_name_is_known() {
        for (name, expected) in [
            ("latin1", "Windows-1252"),
            ("Latin-1", "Windows-1252"),
            ("ISO_8859-1", "Windows-1252"),
            ("cp1252", "Windows-1252"),
            ("CP-1252", "Windows-1252"),
            ("ANSI", "Windows-1252"),
            ("windows1250", "Windows-1250"),
            ("ISO 8859-15", "ISO-8859-15"),
            ("28605", "ISO-8859-15"),
            ("koi8_r", "KOI8-R"),
            ("KOI8-R", "KOI8-R"),
            ("cp20866", "KOI8-R"),
            ("UTF_16", "UTF-16LE"),
            ("utf-8-sig", "UTF-8"),
            ("cp65001", "UTF-8"),
            ("cp852", "CP852"),
            ("IBM-852", "CP852"),
            ("dos 437", "CP437"),
            ("850", "CP850"),
            ("ibm866", "IBM866"),
            ("cp932", "Shift_JIS"),
            ("Shift_JIS", "Shift_JIS"),
            ("mac_roman", "macintosh"),
            ("gb2312", "GBK"),
        ] {
            assert_eq!(named(name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(named("klingon"), None);
        assert_eq!(named("cp9999"), None);
        assert_eq!(named("replacement"), None);
    }

    #[test]
    fn cells_are_decoded_by_their_encoding() {
        let text = |name: &str, bytes: &[u8]| match Encoding::of_name(name).unwrap().decoding() {
            Decoding::Cells(encoding) => encoding.text(bytes),
            Decoding::Stream(_) => panic!("{name} is decoded as a stream"),
        };
        assert_eq!(text("cp1251", b"\xef\xee\xf7\xf2\xe0"), "почта");
        assert_eq!(text("cp852", b"ji\xfd\xa1"), "jiří");
        assert_eq!(text("cp857", b"\x80\xe7"), "Ç\u{fffd}");
        assert_eq!(text("utf-8", "ö".as_bytes()), "ö");
        assert_eq!(text("utf-8", b"J\xf6rg \x80\x81"), "Jörg €\u{81}");
    }

    #[test]
    fn a_delimiter_is_found_in_the_texts_own_bytes() {
        let guessed = CellEncoding::Guessed;
        assert_eq!(guessed.bytes_of('§', b"a").unwrap(), "§".as_bytes());
        assert_eq!(guessed.bytes_of('§', b"a\xa7b").unwrap(), b"\xa7");
        let Decoding::Cells(dos) = Encoding::of_name("cp850").unwrap().decoding() else { panic!() };
        assert_eq!(dos.bytes_of('§', b"").unwrap(), b"\xf5");
        assert_eq!(dos.bytes_of('я', b""), None);
    }

    #[test]
    fn a_guess_is_named_with_its_doubt() {
        let plain = |name| Guess { name, doubt: None };
        assert_eq!(guess(b"a\nb\n"), plain("UTF-8"));
        assert_eq!(guess("Jörg Šimůnek 🦀\n".as_bytes()), plain("UTF-8"));
        assert_eq!(guess(b"J\xf6rg M\xfcller\nK\xf6ln"), plain("Windows-1252"));
        assert_eq!(guess(b"J\xc3\xb6rg\nJ\xf6rg\n").name, "UTF-8 with lines in Windows-1252");
        assert_eq!(guess("JÃ¶rg\n".as_bytes()).doubt, Some(Doubt::EncodedTwice));
        assert!(matches!(guess(b"J\x81rgen M\x81ller, K\x94ln").doubt, Some(Doubt::Another(_))));
        let (greek, _, _) = encoding_rs::WINDOWS_1253.encode("Γιώργος Παπαδόπουλος, Αθήνα");
        let doubt = Some(Doubt::Another(Some("windows-1253".to_owned())));
        assert_eq!(guess(&greek).doubt, doubt);
    }
}
