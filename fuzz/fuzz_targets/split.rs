//! The splitter without quotes loses no cell: the first column is what the lines begin with.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use telemetron_sync::source::{Location, Quoting, SourceSettings, open_bytes};

fn first_column(text: &str) -> Option<Vec<String>> {
    let settings = SourceSettings {
        column: Some("1".to_owned()),
        delimiter: Some(','),
        quoting: Quoting::None,
        no_header: true,
        ..SourceSettings::new(Location::Stdin)
    };
    let source = open_bytes(Box::new(Cursor::new(text.as_bytes().to_vec())), &settings).ok()?;
    // The last item may be that no row holds an email.
    Some(source.map_while(Result::ok).map(|row| row.text).collect())
}

fuzz_target!(|text: &str| {
    // A byte order mark, zero bytes, `sep=` and packed or foreign files are read differently, on
    // purpose.
    let announces = text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("sep="));
    if announces || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || text.contains('\0') {
        return;
    }
    let Some(found) = first_column(text) else { return };
    let lines = text.split(['\r', '\n']).filter(|line| !line.is_empty());
    let expected: Vec<&str> =
        lines.map(|line| line.split(',').next().unwrap_or_default()).collect();
    assert_eq!(found, expected);
});
