//! The readers of CSV with an encoding, a delimiter and a column named: no settings and bytes make
//! them panic, and how much of the input comes at once makes no difference.
#![no_main]

use std::io::{Cursor, Read};

use libfuzzer_sys::{arbitrary, fuzz_target};
use telemetron_sync::source::{self, Location, Quoting, SourceSettings, open_bytes};

const ENCODINGS: [&str; 10] = [
    "utf-8", "utf-16le", "utf-16be", "windows-1252", "koi8-r", "cp852", "shift_jis", "gb18030",
    "iso-2022-jp", "euc-kr",
];

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    encoding: Option<u8>,
    delimiter: Option<char>,
    column: Option<&'a str>,
    no_quotes: bool,
    no_header: bool,
    bytes: &'a [u8],
}

impl Input<'_> {
    fn settings(&self) -> SourceSettings {
        let encoding = self.encoding.map(|it| ENCODINGS[usize::from(it) % ENCODINGS.len()]);
        SourceSettings {
            encoding: encoding.map(|name| source::encoding(name).expect("an encoding")),
            delimiter: self.delimiter,
            column: self.column.map(str::to_owned),
            quoting: if self.no_quotes { Quoting::None } else { Quoting::Double },
            no_header: self.no_header,
            ..SourceSettings::new(Location::Stdin)
        }
    }
}

/// Gives its bytes a few at a time.
struct Dribble(Cursor<Vec<u8>>);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let few = buffer.len().min(3);
        self.0.read(&mut buffer[..few])
    }
}

fn rows(input: Box<dyn Read + Send>, settings: &SourceSettings) -> Vec<String> {
    let mut source = match open_bytes(input, settings) {
        Ok(source) => source,
        Err(error) => return vec![error.to_string()],
    };
    let mut rows = vec![source.description().to_owned()];
    for row in &mut source {
        rows.push(row.map_or_else(|error| error.to_string(), |row| format!("{row:?}")));
    }
    rows.extend(source.notes());
    rows
}

fuzz_target!(|input: Input<'_>| {
    let settings = input.settings();
    if settings.check().is_err() {
        return;
    }
    let whole = rows(Box::new(Cursor::new(input.bytes.to_vec())), &settings);
    let dribbled = rows(Box::new(Dribble(Cursor::new(input.bytes.to_vec()))), &settings);
    assert_eq!(whole, dribbled);
    assert!(whole.iter().all(|text| !text.contains('\u{1b}')));
});
