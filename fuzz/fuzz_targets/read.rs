//! Unpacker, decoder, sniffer and splitter with nothing said: no bytes make them panic, and how much
//! of the input comes at once makes no difference.
#![no_main]

use std::io::{Cursor, Read};

use libfuzzer_sys::fuzz_target;
use telemetron_sync::source::{Location, SourceSettings, open_bytes};

/// Gives its bytes a few at a time.
struct Dribble(Cursor<Vec<u8>>);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let few = buffer.len().min(3);
        self.0.read(&mut buffer[..few])
    }
}

/// What a person sees of the input, and its rows.
fn rows(input: Box<dyn Read + Send>) -> Vec<String> {
    let mut source = match open_bytes(input, &SourceSettings::new(Location::Stdin)) {
        Ok(source) => source,
        Err(error) => return vec![error.to_string()],
    };
    let (mut rows, mut last) = (vec![source.description().to_owned()], 0);
    for row in &mut source {
        rows.push(match row {
            Err(error) => error.to_string(),
            Ok(row) => {
                assert!(row.row >= last, "rows come in order");
                last = row.row;
                format!("{row:?}")
            }
        });
    }
    rows.extend(source.notes());
    rows
}

fuzz_target!(|bytes: &[u8]| {
    let whole = rows(Box::new(Cursor::new(bytes.to_vec())));
    let dribbled = rows(Box::new(Dribble(Cursor::new(bytes.to_vec()))));
    assert_eq!(whole, dribbled);
    assert!(whole.iter().all(|text| !text.contains('\u{1b}')));
});
