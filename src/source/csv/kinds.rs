//! Files of other kinds that people take for CSV, by their first bytes, with the command that makes
//! CSV or a list of emails of each.
//!
//! Pure: no clock, no I/O.

use std::path::Path;

use serde::Deserialize as _;

use crate::source::csv::decode::Packing;
use crate::source::csv::encoding::sniff_utf16;

/// What a file is, and how to get at its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct OtherKind {
    pub(in crate::source) what: &'static str,
    pub(in crate::source) advice: String,
}

/// A kind, its bytes at an offset, and its command, in which `FILE` is replaced by the file.
struct Magic(usize, &'static [u8], &'static str, &'static str);

const MAGIC: &[Magic] = &[
    Magic(
        0,
        b"SQLite format 3\0",
        "an SQLite database",
        "telemetron-sync sync sqlite:FILE --table NAME",
    ),
    Magic(0, b"BZh", "bzip2 data", "bzip2 -dc FILE > emails.csv"),
    Magic(0, b"\xfd7zXZ\0", "xz data", "xz -dc FILE > emails.csv"),
    Magic(0, b"\x04\x22\x4d\x18", "LZ4 data", "lz4 -dc FILE > emails.csv"),
    Magic(0, b"LZIP", "lzip data", "lzip -dc FILE > emails.csv"),
    Magic(0, b"\x1f\x9d", "compress (.Z) data", "gzip -dc FILE > emails.csv"),
    Magic(0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "7z e -so FILE > emails.csv"),
    Magic(0, b"Rar!\x1a\x07", "a RAR archive", "unrar p -inul FILE > emails.csv"),
    Magic(257, b"ustar", "a tar archive", "tar -xOf FILE > emails.csv"),
    Magic(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", SPREADSHEET),
    Magic(
        0,
        b"%PDF-",
        "a PDF",
        "pdftotext -layout FILE - | grep -Eio '[^[:space:]<>]+@[a-z0-9.-]+' > emails.csv",
    ),
    Magic(0, b"{\\rtf", "an RTF document", GREP),
    Magic(0, b"PAR1", "a Parquet file", "duckdb -c \"COPY (FROM 'FILE') TO 'emails.csv'\""),
    Magic(
        0,
        b"Obj\x01",
        "an Avro file",
        "duckdb -c \"COPY (FROM read_avro('FILE')) TO 'emails.csv'\"",
    ),
    Magic(0, b"ORC", "an ORC file", "export the data as CSV"),
    Magic(0, b"PGDMP", "a PostgreSQL archive", "pg_restore -f emails.sql FILE"),
    Magic(4, b"Standard Jet DB", "an Access database", "mdb-export FILE TABLE > emails.csv"),
    Magic(4, b"Standard ACE DB", "an Access database", "mdb-export FILE TABLE > emails.csv"),
    Magic(0, b"!BDN", "an Outlook data file", "readpst FILE"),
    Magic(0, b"\x7fELF", "an executable", "name the file that holds the emails"),
    Magic(0, b"\xcf\xfa\xed\xfe", "an executable", "name the file that holds the emails"),
    Magic(0, b"\x89PNG\r\n", "an image", "name the file that holds the emails"),
    Magic(0, b"\xff\xd8\xff", "an image", "name the file that holds the emails"),
    Magic(0, b"GIF8", "an image", "name the file that holds the emails"),
    // These come only out of a file that was packed twice.
    Magic(0, b"\x1f\x8b", "a gzip file inside a packed file", "gzip -dc FILE > emails.csv"),
    Magic(0, b"\x28\xb5\x2f\xfd", "a zstd file inside a packed file", "zstd -dc FILE > emails.csv"),
    Magic(0, b"version https://git-lfs", "a pointer of Git LFS", "git lfs pull"),
];

const SPREADSHEET: &str = "soffice --headless --convert-to csv FILE";
const GREP: &str = "grep -Eio '[a-z0-9._%+-]+@[a-z0-9.-]+' FILE | sort -u > emails.csv";
const JSON: &str = "jq -r '.. | objects | (.email // .Email // .mail // empty)' FILE > emails.csv";
/// The line end of a mainframe is NEL in Unicode.
const EBCDIC: &str =
    "iconv -f IBM037 -t UTF-8 FILE | LC_ALL=C sed 's/\\xc2\\x85/\\n/g' > emails.csv";
const VCARD: &str = "sed -nE 's/^([^:.]*\\.)?EMAIL[^:]*://Ip' FILE | tr -d '\\r' > emails.csv";

/// What the file is if it is no CSV. `head` is its beginning after unpacking, `path` its name for
/// the command.
pub(in crate::source) fn other_kind(
    head: &[u8],
    path: Option<&Path>,
    packing: Packing,
) -> Option<OtherKind> {
    let (what, command) = binary_kind(head).or_else(|| text_kind(head))?;
    let file = path.map_or("FILE".to_owned(), |path| shell_word(&path.to_string_lossy()));
    let file = match packing {
        Packing::Plain => file,
        Packing::Gzip => format!("<(gzip -dc {file})"),
        Packing::Zstd => format!("<(zstd -dc {file})"),
    };
    let command = command.replace("FILE", &file);
    let advice = match command.split(' ').next() {
        Some("name" | "export") => format!("Please {command}."),
        Some(_) | None => format!("To convert it: {command}"),
    };
    Some(OtherKind { what, advice })
}

fn binary_kind(head: &[u8]) -> Option<(&'static str, &'static str)> {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Some(zip_kind(head));
    }
    if head.starts_with(b"MZ") && head.iter().take(256).filter(|&&byte| byte == 0).count() > 8 {
        return Some(("an executable", "name the file that holds the emails"));
    }
    let found = MAGIC
        .iter()
        .find(|Magic(at, magic, ..)| head.get(*at..).is_some_and(|bytes| bytes.starts_with(magic)));
    found
        .filter(|kind| !is_plain_bzh(head, kind))
        .map(|Magic(_, _, what, command)| (*what, *command))
}

/// `BZh` can begin a word; the block size and the number pi follow it in bzip2.
fn is_plain_bzh(head: &[u8], kind: &Magic) -> bool {
    kind.1 == b"BZh"
        && !head.get(4..).is_some_and(|rest| {
            rest.starts_with(b"1AY&SY") || rest.starts_with(b"\x17\x72\x45\x38\x50\x90")
        })
}

/// Workbooks are ZIP archives, recognized by the names of their first entries.
fn zip_kind(head: &[u8]) -> (&'static str, &'static str) {
    let holds = |name: &[u8]| memchr::memmem::find(head, name).is_some();
    if holds(b"xl/") || holds(b"[Content_Types].xml") || holds(b"opendocument.spreadsheet") {
        ("a workbook", SPREADSHEET)
    } else {
        ("a ZIP archive", "unzip -p FILE > emails.csv")
    }
}

fn text_kind(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = head.trim_ascii_start();
    let lower: Vec<u8> = text.iter().take(64).map(u8::to_ascii_lowercase).collect();
    let begins = |with: &str| lower.starts_with(with.as_bytes());
    if begins("<!doctype html") || begins("<html") || begins("<table") {
        return Some(("HTML", GREP));
    }
    if begins("<?xml") || begins("<!doctype") || is_element(text) {
        return Some((
            "XML",
            "xmllint --xpath '//*[local-name()=\"email\"]/text()' FILE > emails.csv",
        ));
    }
    if begins("begin:vcard") {
        return Some(("a vCard", VCARD));
    }
    if begins("begin:vcalendar") {
        return Some(("a calendar", GREP));
    }
    let is_mailbox = begins("from ") && memchr::memmem::find(text, b"\nFrom: ").is_some();
    if is_mailbox || ["return-path: ", "received: ", "delivered-to: "].into_iter().any(begins) {
        return Some(("a mailbox or message", GREP));
    }
    if begins("dn: ") || begins("dn:: ") || begins("version: 1\ndn:") {
        return Some(("LDIF", "sed -n 's/^mail: //p' FILE > emails.csv"));
    }
    if begins("-- postgresql database dump")
        || begins("-- mysql dump")
        || begins("-- mariadb dump")
        || begins("/*m!999999")
    {
        return Some(("an SQL dump", GREP));
    }
    if is_json(text) {
        return Some(("JSON", JSON));
    }
    if is_ebcdic(head) {
        return Some(("EBCDIC text of a mainframe", EBCDIC));
    }
    let zeros = head.iter().filter(|&&byte| byte == 0).count();
    if zeros * 10 > head.len() * 7 {
        return Some(("UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE > emails.csv"));
    }
    // UTF-16 has been distinguished from binary data before.
    (zeros > 0 && zeros * 10 > head.len() && sniff_utf16(head).is_none())
        .then_some(("binary data", "export the data as CSV"))
}

/// Nearly all bytes are letters, digits and usual marks of EBCDIC, and there is no line end of ASCII.
fn is_ebcdic(head: &[u8]) -> bool {
    let is_usual = |&byte: &u8| {
        matches!(byte,
            0x81..=0x89 | 0x91..=0x99 | 0xa2..=0xa9 | 0xc1..=0xc9 | 0xd1..=0xd9 | 0xe2..=0xe9
            | 0xf0..=0xf9 | 0x15 | 0x25 | 0x40 | 0x4b | 0x5e | 0x60 | 0x6b | 0x6d | 0x7c | 0x7f)
    };
    let usual = head.iter().filter(|byte| is_usual(byte)).count();
    let letters = head.iter().filter(|&&byte| byte > 0x80).count();
    head.len() >= 16
        && usual * 20 >= head.len() * 19
        && letters * 2 > head.len()
        && !head.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
}

/// `<name` and no address: `<a@x.io>` begins a list.
fn is_element(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"<") else { return false };
    let Some(end) = rest.iter().position(|&byte| byte == b'>') else { return false };
    let name = &rest[..end];
    name.first().is_some_and(u8::is_ascii_alphabetic)
        && (!name.contains(&b'@') || name.contains(&b'='))
}

/// An object or an array, whole or cut. `{a@x.io}`, `{"a@x.io"}` and `[a@x.io]` are none.
fn is_json(text: &[u8]) -> bool {
    if !matches!(text.first(), Some(b'{' | b'[')) {
        return false;
    }
    let mut parser = serde_json::Deserializer::from_slice(text);
    match serde::de::IgnoredAny::deserialize(&mut parser) {
        Ok(_) => true,
        Err(error) => error.is_eof() && text.trim_ascii_end().len() > 1,
    }
}

/// A name as a shell takes it.
fn shell_word(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ',');
    if !name.is_empty() && name.chars().all(plain) && !name.starts_with('-') {
        name.to_owned()
    } else {
        let dash = if name.starts_with('-') { "./" } else { "" };
        format!("'{}'", format!("{dash}{name}").replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(head: &[u8]) -> Option<&'static str> {
        other_kind(head, None, Packing::Plain).map(|kind| kind.what)
    }

    #[test]
    fn other_kinds_are_named() {
        for (head, what) in [
            (&b"{\"customers\": [\n {\"email\": \"a@x.io\"}"[..], "JSON"),
            (b"[{\"email\":\"a@x.io\"}]", "JSON"),
            (b"{\"email\":\"a@x.io\"}\n{\"email\":\"b@x.io\"}\n", "JSON"),
            (b"\n<!DOCTYPE HTML><html>", "HTML"),
            (b"<?xml version=\"1.0\"?><a/>", "XML"),
            (b"<people>\n<email>a@x.io</email>", "XML"),
            (b"BEGIN:VCARD\r\nEMAIL:a@x.io", "a vCard"),
            (b"BZh91AY&SY\0\0", "bzip2 data"),
            (b"\xfd7zXZ\0\0", "xz data"),
            (b"PK\x03\x04\0\0xl/worksheets/sheet1.xml", "a workbook"),
            (b"PK\x03\x04\0\0customers.csv", "a ZIP archive"),
            (b"%PDF-1.7", "a PDF"),
            (b"\x1f\x8b\x08\0", "a gzip file inside a packed file"),
            (b"\x7fELF\x02\x01", "an executable"),
            (b"e\0\0\0m\0\0\0a\0\0\0", "UTF-32 text"),
            (b"From a@x.io Mon\nFrom: Ann <a@x.io>\n\nHi\n", "a mailbox or message"),
            (b"dn: cn=Ann\nmail: a@x.io", "LDIF"),
            (b"\x01\x02\0\0\x03\xffab\0\x04", "binary data"),
            (
                b"\x89\x84\x6b\x85\x94\x81\x89\x93\x15\xf1\x6b\x81\x7c\xa7\x4b\x89\x96\x15",
                "EBCDIC text of a mainframe",
            ),
        ] {
            assert_eq!(kind(head), Some(what), "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn lists_and_tables_are_no_other_kind() {
        for head in [
            &b"<a@x.io>\n<b@x.io>\n"[..],
            b"[a@x.io]\n",
            b"{a@x.io}\n{b@x.io}\n",
            b"{\"a@x.io\"}\n",
            b"[\n",
            b"BZhou,a@x.io\n",
            b"MZ,email\n1,a@x.io\n",
            b"GIF,email\n",
            // Greek and Cyrillic of Windows are letters above 0x80, too.
            b"\xcf\xed\xef\xec\xe1;\xc7\xeb\xe5\xea\xf4\xf1\xef\xed\xe9\xea\xfc\r\n",
            b"\xc8\xe2\xe0\xed\xc8\xe2\xe0\xed\xc8\xe2\xe0\xed\xc8\xe2\xe0\xed\xe0@x.io",
            b"",
        ] {
            assert_eq!(kind(head), None, "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn the_command_names_the_file_as_a_shell_takes_it() {
        let advice = |path: &str| {
            other_kind(b"\xfd7zXZ\0", Some(Path::new(path)), Packing::Plain).unwrap().advice
        };
        assert_eq!(advice("a/b.csv.xz"), "To convert it: xz -dc a/b.csv.xz > emails.csv");
        assert_eq!(advice("it's; rm"), "To convert it: xz -dc 'it'\\''s; rm' > emails.csv");
    }
}
