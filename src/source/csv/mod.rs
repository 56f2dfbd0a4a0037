//! Rows out of a CSV file or standard input.

pub(in crate::source) mod column;
pub(in crate::source) mod decode;
mod delimiter;
pub(in crate::source) mod dialect;
pub(in crate::source) mod encoding;
mod kinds;
mod records;
mod sample;
pub(in crate::source) mod scan;
mod sniff;

use std::fs::File;
use std::io;
use std::path::Path;

use crate::display::{grouped, quoted};
use crate::source::SourceSettings;
use crate::source::csv::decode::{Bytes, HalfCharacter, Packing, Text, Trailing, Unpacked, unpack};
use crate::source::csv::encoding::Doubt;
use crate::source::csv::kinds::OtherKind;
use crate::source::csv::records::{Record, Splitter, Step, TooLong};
use crate::source::csv::sample::{Head, Header, Requested};
use crate::source::csv::scan::{End, Keep, MAX_RECORD_BYTES, Quotes};
use crate::source::csv::sniff::{Layout, LayoutError, Shape};
use crate::source::error::{SourceError, short_name};

/// How much text the layout is judged by.
const HEAD_BYTES: usize = 256 << 10;

/// How much is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// The rows of one file, read as they are asked for.
pub(in crate::source) struct CsvRows {
    name: String,
    text: Text,
    packing: Packing,
    /// Read and not yet split, from `at` on.
    buffer: Vec<u8>,
    at: usize,
    end: End,
    splitter: Splitter,
    shape: Shape,
    /// The cells of a list on one line that are left.
    list: std::vec::IntoIter<String>,
}

/// A file that is open, and how it is read.
pub(in crate::source) struct OpenCsv {
    pub(in crate::source) description: String,
    pub(in crate::source) remarks: Vec<String>,
    pub(in crate::source) trailing: Trailing,
    pub(in crate::source) rows: CsvRows,
}

/// One row, and whether its quotes are suspicious.
pub(in crate::source) struct CsvRow {
    pub(in crate::source) row: u64,
    pub(in crate::source) text: String,
    pub(in crate::source) quotes: Quotes,
}

/// Where the bytes come from.
pub(in crate::source) struct CsvInput<'a> {
    /// For messages.
    pub(in crate::source) name: String,
    /// For commands; none for standard input.
    pub(in crate::source) path: Option<&'a Path>,
    pub(in crate::source) bytes: Bytes,
}

/// Opens a file to read.
pub(in crate::source) fn open_file(path: &Path) -> Result<Bytes, SourceError> {
    let name = quoted(&path.to_string_lossy());
    let explain = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::Missing { name: name.clone() },
        io::ErrorKind::PermissionDenied => SourceError::Denied { name: name.clone() },
        io::ErrorKind::IsADirectory => SourceError::Directory { name: name.clone() },
        _ => SourceError::Read { name: name.clone(), line: 0, error },
    };
    let file = File::open(path).map_err(explain)?;
    if file.metadata().map_err(explain)?.is_dir() {
        return Err(SourceError::Directory { name });
    }
    Ok(Box::new(file))
}

/// Unpacks, decodes and judges the input.
pub(in crate::source) fn open(
    CsvInput { name, path, bytes }: CsvInput<'_>,
    settings: &SourceSettings,
) -> Result<OpenCsv, SourceError> {
    let unpacked = unpack(bytes);
    let Unpacked { bytes, packing, trailing } =
        unpacked.map_err(|error| explain(&name, Packing::Plain, 0, error))?;
    let failed = |error| explain(&name, packing, 0, error);
    let mut text = Text::new(bytes, settings.encoding).map_err(failed)?;
    if let Some(OtherKind { what, advice }) = kinds::other_kind(text.raw_head(), path, packing) {
        return Err(SourceError::NotText { name, what, advice });
    }
    let mut buffer = Vec::new();
    let mut end = fill(&mut text, &mut buffer, HEAD_BYTES).map_err(failed)?;
    let encoding = text.cells();
    if !delimiter::is_enough(Head { text: &buffer, end, encoding }, settings.quoting) {
        end = fill(&mut text, &mut buffer, MAX_RECORD_BYTES + 1).map_err(failed)?;
    }
    if buffer.is_empty() {
        return Err(SourceError::Empty { name });
    }
    let requested = Requested {
        delimiter: settings.delimiter,
        column: settings.column.as_deref(),
        header: if settings.no_header { Header::None } else { Header::Sniffed },
        quoting: settings.quoting,
    };
    let layout = sniff::layout(Head { text: &buffer, end, encoding }, requested);
    let layout = layout.map_err(|error| no_layout(&name, text.encoding(), error))?;
    let description = describe(packing, text.encoding(), &layout);
    let remarks = remarks(text.doubt(), &layout);
    let keep = match layout.shape {
        Shape::Column(column) => Keep::Only(column),
        Shape::OneLine(_) => Keep::All,
    };
    let splitter = Splitter::new(layout.dialect, keep);
    let (shape, list) = (layout.shape, Vec::new().into_iter());
    let mut rows = CsvRows { name, text, packing, buffer, at: 0, end, splitter, shape, list };
    for _ in 0..layout.skip {
        rows.next_record()?;
    }
    Ok(OpenCsv { description, remarks, trailing, rows })
}

impl CsvRows {
    /// The next row, or none at the end.
    pub(in crate::source) fn next_row(&mut self) -> Result<Option<CsvRow>, SourceError> {
        if let Some(text) = self.list.next() {
            return Ok(Some(CsvRow { row: 1, text, quotes: Quotes::Plain }));
        }
        let Some((record, start)) = self.next_record()? else { return Ok(None) };
        let (text, encoding) = (&self.buffer[start..], self.text.cells());
        let mut cells = self.splitter.cells().iter().map(|cell| encoding.text(&cell.bytes(text)));
        let (row, quotes) = (record.line, record.quotes);
        match self.shape {
            Shape::Column(_) => {
                Ok(Some(CsvRow { row, text: cells.next().unwrap_or_default(), quotes }))
            }
            Shape::OneLine(_) => {
                let mut cells: Vec<String> = cells.collect();
                // A delimiter ends the line: there is no email behind it.
                cells.pop_if(|last| last.is_empty());
                self.list = cells.into_iter();
                self.next_row()
            }
        }
    }

    /// The next record and where in the buffer it starts.
    fn next_record(&mut self) -> Result<Option<(Record, usize)>, SourceError> {
        loop {
            let step = self.splitter.step(&self.buffer[self.at..], self.end);
            match step.map_err(|error| too_long(&self.name, error))? {
                Step::Blank(bytes) => self.at += bytes,
                Step::Record(record) => {
                    let start = self.at;
                    self.at += record.bytes;
                    return Ok(Some((record, start)));
                }
                Step::NeedMore => self.read_more()?,
                Step::End => return Ok(None),
            }
        }
    }

    /// Twice as much as before is looked at next, so that a long record is not split again and
    /// again.
    fn read_more(&mut self) -> Result<(), SourceError> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let bytes = self.buffer.len().max(PIECE_BYTES);
        let more = self.text.read(&mut self.buffer, bytes);
        let line = self.splitter.line();
        if !more.map_err(|error| explain(&self.name, self.packing, line, error))? {
            self.end = End::OfText;
        }
        Ok(())
    }
}

/// Reads until `buffer` holds this many bytes, or all.
fn fill(text: &mut Text, buffer: &mut Vec<u8>, bytes: usize) -> io::Result<End> {
    while buffer.len() < bytes {
        if !text.read(buffer, bytes - buffer.len())? {
            return Ok(End::OfText);
        }
    }
    Ok(End::MoreFollows)
}

fn describe(packing: Packing, encoding: &str, layout: &Layout) -> String {
    let mut words: Vec<String> = packing.name().map(str::to_owned).into_iter().collect();
    words.push(delimiter::delimiter_name(layout.delimiter));
    words.push(encoding.to_owned());
    if let Some(header) = layout.header.as_ref().filter(|header| header.line > 1) {
        words.push(format!("header on line {}", grouped(header.line)));
    }
    let name = layout.header.as_ref().map(|header| short_name(&header.name));
    words.push(match (&layout.shape, name, layout.delimiter) {
        (Shape::OneLine(columns), ..) => {
            let numbers: Vec<String> = columns.iter().map(|it| (it + 1).to_string()).collect();
            format!(
                "a list on one line (columns {} hold addresses)",
                sniff::listed(&numbers, "and")
            )
        }
        (Shape::Column(_), Some(name), None) => format!("header {name}"),
        (Shape::Column(column), Some(name), Some(_)) => format!("column {} {name}", column + 1),
        (Shape::Column(_), None, None) => "no header".to_owned(),
        (Shape::Column(column), None, Some(_)) => format!("no header, column {}", column + 1),
    });
    if !layout.others.is_empty() {
        words.push(format!("not column {}", sniff::listed(&layout.others, "or")));
    }
    words.join(", ")
}

/// What is remarkable before the first row is read.
fn remarks(doubt: Option<&Doubt>, layout: &Layout) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(lines) = &layout.skipped {
        let what = if layout.header.is_some() { "header" } else { "first row" };
        remarks.push(match (lines.start(), lines.end()) {
            (first, last) if first == last => format!("line {first} above the {what} skipped"),
            (first, last) => format!("lines {first} to {last} above the {what} skipped"),
        });
    }
    remarks.extend(layout.late_header.map(|line| {
        let line = grouped(line);
        format!(
            "line {line} looks like a header, but only the first 50 rows are searched, so the lines \
             above it were read as rows; if they are notes, remove them"
        )
    }));
    remarks.extend(doubt.map(|doubt| match doubt {
        Doubt::Another(Some(likely)) => format!(
            "the text is not UTF-8; if names look wrong, use --encoding, perhaps --encoding {likely}"
        ),
        Doubt::Another(None) => "the text is not UTF-8; if names look wrong, use --encoding, \
             perhaps a code page of DOS such as --encoding cp850"
            .to_owned(),
        Doubt::EncodedTwice => "some text looks as if it was decoded wrongly before (`Ã¶` for `ö`); \
             if names look wrong, export again as UTF-8, or use --encoding"
            .to_owned(),
        Doubt::NotUtf8 => "some text is not UTF-8, although --encoding says so, and was read as \
             Windows-1252; leave --encoding out, or name the right one"
            .to_owned(),
    }));
    remarks
}

fn no_layout(name: &str, encoding: &str, error: LayoutError) -> SourceError {
    match error {
        LayoutError::TooLong(error) => too_long(name, error),
        LayoutError::Column(error) => SourceError::Column { name: name.to_owned(), error },
        LayoutError::Delimiter(delimiter) => SourceError::Usage(format!(
            "--delimiter {} cannot be written in {encoding}, the encoding of {name}.",
            short_name(&delimiter.to_string())
        )),
    }
}

fn too_long(name: &str, TooLong { line }: TooLong) -> SourceError {
    SourceError::RowTooLong { name: name.to_owned(), line }
}

/// The system's own errors have a number; without one, the packed data itself is wrong.
fn explain(name: &str, packing: Packing, line: u64, error: io::Error) -> SourceError {
    let name = name.to_owned();
    if error.get_ref().is_some_and(|inner| inner.is::<HalfCharacter>()) {
        return SourceError::CutShort { name, packing: "UTF-16", place: place(line) };
    }
    match (packing.name(), error.raw_os_error()) {
        (Some(packing), None) if error.kind() == io::ErrorKind::UnexpectedEof => {
            SourceError::CutShort { name, packing, place: place(line) }
        }
        (Some(packing), None) => {
            SourceError::Damaged { name, packing, line, error: error.to_string() }
        }
        (Some(_), Some(_)) | (None, _) => SourceError::Read { name, line, error },
    }
}

/// Where a file broke off, for a person.
fn place(line: u64) -> String {
    if line == 0 { "before the first line ends".to_owned() } else { format!("after line {line}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Location;
    use proptest::prelude::*;

    fn settings() -> SourceSettings {
        SourceSettings::new(Location::Stdin)
    }

    fn read_with(
        bytes: &[u8],
        settings: &SourceSettings,
    ) -> Result<(String, Vec<(u64, String)>), SourceError> {
        let bytes = Box::new(io::Cursor::new(bytes.to_vec()));
        let input = CsvInput { name: "input".to_owned(), path: None, bytes };
        let OpenCsv { description, mut rows, .. } = open(input, settings)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next_row()? {
            found.push((row.row, row.text));
        }
        Ok((description, found))
    }

    fn read(bytes: &[u8]) -> (String, Vec<(u64, String)>) {
        read_with(bytes, &settings()).unwrap()
    }

    fn error(bytes: &[u8]) -> String {
        read_with(bytes, &settings()).unwrap_err().to_string()
    }

    #[test]
    fn utf16_that_ends_in_half_a_character_is_cut_short() {
        let text = "id,email\n1,a@x.io\n";
        let mut bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read_with(&bytes, &settings()).unwrap().1.len(), 1);
        bytes.push(b'a');
        let error = read_with(&bytes, &settings()).unwrap_err().to_string();
        assert!(error.contains("cut short: its UTF-16 data ends in the middle"), "{error}");
    }

    #[test]
    fn says_how_a_file_was_understood() {
        let (description, rows) =
            read(b"Name;Ort;E-Mail\r\nJ\xf6rg;K\xf6ln;j@x.io\r\nAnn;;\r\nX\r\n");
        assert_eq!(description, "semicolon, Windows-1252, column 3 `E-Mail`");
        let expected = [(2, "j@x.io"), (3, ""), (4, "")];
        assert_eq!(rows, expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(read(b"a@x.io\n").0, "one email a line, UTF-8, no header");
        assert_eq!(read(b"Who\na@x.io\n").0, "one email a line, UTF-8, header `Who`");
        assert_eq!(read(b"1,a@x.io\n").0, "comma, UTF-8, no header, column 2");
        assert_eq!(
            read(b"email\tMail\na@x.io\tb@x.io\n").0,
            "tab, UTF-8, column 1 `email`, not column `Mail`"
        );
    }

    #[test]
    fn columns_of_one_name_are_named_by_their_numbers() {
        let described = |bytes: &[u8]| read(bytes).0;
        assert_eq!(
            described(b"email,id,email\na@x.io,1,b@x.io\n"),
            "comma, UTF-8, column 1 `email`, not column 3 `email`"
        );
        assert_eq!(
            described(b"email,Mail,Mail\na@x.io,b@x.io,c@x.io\n"),
            "comma, UTF-8, column 1 `email`, not column 2 `Mail` or 3 `Mail`"
        );
    }

    #[test]
    fn an_encoding_that_does_not_fit_is_remarked() {
        let remarks = |encoding: Option<&str>, bytes: &[u8]| {
            let encoding = encoding.map(|name| crate::source::encoding(name).unwrap());
            let bytes = Box::new(io::Cursor::new(bytes.to_vec()));
            let input = CsvInput { name: "input".to_owned(), path: None, bytes };
            open(input, &SourceSettings { encoding, ..settings() }).unwrap().remarks.join("; ")
        };
        let (utf8, other) =
            ("name,email\nJörg,a@x.io\n".as_bytes(), b"name,email\nJ\xf6rg,a@x.io\n");
        assert!(
            remarks(Some("utf-8"), other).contains("some text is not UTF-8, although --encoding")
        );
        for (encoding, bytes) in [(Some("utf-8"), utf8), (None, other), (Some("latin1"), other)] {
            assert_eq!(remarks(encoding, bytes), "", "{encoding:?}");
        }
    }

    #[test]
    fn a_file_without_text_is_empty_and_one_with_a_header_alone_is_not() {
        for bytes in [&b""[..], b"\xef\xbb\xbf", b"\xff\xfe"] {
            let error = read_with(bytes, &settings()).unwrap_err();
            assert_eq!(error.kind(), crate::source::SourceErrorKind::Empty, "{error}");
        }
        assert_eq!(read(b"id,email\n").1, []);
        assert_eq!(read(b"email").1, []);
    }

    #[test]
    fn what_is_no_csv_is_named() {
        assert!(error(b"SQLite format 3\0....").contains("sync sqlite:FILE --table"));
        assert!(error(b"PK\x03\x04....").contains("ZIP archive"));
        let mut packed = b"email\na@x.io\n".to_vec();
        for _ in 0..2 {
            let mut gzip = flate2::read::GzEncoder::new(&packed[..], flate2::Compression::fast());
            let mut again = Vec::new();
            io::Read::read_to_end(&mut gzip, &mut again).unwrap();
            packed = again;
        }
        let twice = error(&packed);
        assert!(twice.contains("input is a gzip file inside a packed file, not CSV."), "{twice}");
        assert!(twice.contains("gzip -dc <(gzip -dc FILE) > emails.csv"), "{twice}");
    }

    #[test]
    fn a_row_out_of_bounds_names_its_line() {
        let mut long = b"id,email\n1,a@x.io\n2,".to_vec();
        long.resize(9 << 20, b'x');
        assert!(error(&long).contains("line 3: the row"));
    }

    #[test]
    fn a_cell_of_megabytes_beside_the_email_is_read() {
        let blob = "x".repeat(7 << 20);
        let text = format!("blob,email\n\"{blob}\",a@x.io\n{blob},b@x.io\n");
        let rows = read(text.as_bytes()).1;
        assert_eq!(rows, [(2, "a@x.io".to_owned()), (3, "b@x.io".to_owned())]);
    }

    #[test]
    fn a_first_row_of_megabytes_is_understood() {
        let blob = "x\n".repeat(3 << 20);
        let rows = read(format!("\"{blob}\";a@x.io\n\";\";b@x.io\n").as_bytes());
        assert_eq!(rows.0, "semicolon, UTF-8, no header, column 2");
        assert_eq!(rows.1, [(1, "a@x.io".to_owned()), ((3 << 20) + 2, "b@x.io".to_owned())]);
    }

    #[test]
    fn an_odd_byte_far_into_the_file_loses_nothing() {
        let mut bytes = b"id,email\n".to_vec();
        for row in 0..20_000 {
            bytes.extend_from_slice(format!("{row},jörg{row}@x.io\n").as_bytes());
        }
        bytes.extend_from_slice(b"x,j\xf6rg@x.io\n");
        let (description, rows) = read(&bytes);
        assert_eq!(description, "comma, UTF-8, column 2 `email`");
        assert_eq!(rows[19_999], (20_001, "jörg19999@x.io".to_owned()));
        assert_eq!(rows[20_000], (20_002, "jörg@x.io".to_owned()));
    }

    #[test]
    fn packed_data_cut_short_is_said_to_be() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for row in 0..50_000 {
            writeln!(encoder, "{row},a{row}@x.io").unwrap();
        }
        let packed = encoder.finish().unwrap();
        assert!(error(&packed[..packed.len() - 9]).contains("cut short: its gzip data"));
        let mut damaged = packed;
        let middle = damaged.len() / 2;
        damaged[middle..middle + 64].fill(0xff);
        assert!(error(&damaged).contains("damaged: its gzip data"));
    }

    fn records() -> impl Strategy<Value = (Vec<Vec<String>>, usize)> {
        (1_usize..5).prop_flat_map(|width| {
            let cell = prop_oneof![
                "[a-z]{0,6}@[a-z]{1,4}\\.io",
                "[ a-zé\",;|\t\r\n]{0,12}",
                Just("\"a@b\"@x.io".to_owned()),
            ];
            let row = prop::collection::vec(cell, width);
            (prop::collection::vec(row, 1..12), 0..width)
        })
    }

    /// Where each record starts, from the records themselves.
    fn lines(records: &[Vec<String>], skipped: u64) -> Vec<u64> {
        let mut line = 1 + skipped;
        let mut starts = Vec::new();
        for record in records {
            starts.push(line);
            let text = record.join("");
            let inside =
                record.iter().map(|c| c.replace("\r\n", "\n").matches(['\r', '\n']).count());
            assert!(text.len() < 1000);
            line += 1 + inside.sum::<usize>() as u64;
        }
        starts
    }

    fn encode(text: &str, encoding: usize) -> Vec<u8> {
        match encoding {
            0 => text.as_bytes().to_vec(),
            1 => encoding_rs::WINDOWS_1252.encode(text).0.into_owned(),
            2 => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            3 => format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_be_bytes).collect(),
            _ => format!("\u{feff}{text}").into_bytes(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_the_csv_crate_writes_is_read_back(
            (records, wanted) in records(),
            delimiter in prop::sample::select(vec![b',', b';', b'\t', b'|']),
            line_end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
            encoding in 0_usize..5,
            always in any::<bool>(),
        ) {
            let terminator = match line_end {
                "\r\n" => ::csv::Terminator::CRLF,
                other => ::csv::Terminator::Any(other.as_bytes()[0]),
            };
            let style = if always { ::csv::QuoteStyle::Always } else { ::csv::QuoteStyle::Necessary };
            let mut writer = ::csv::WriterBuilder::new()
                .delimiter(delimiter).terminator(terminator).quote_style(style).from_writer(Vec::new());
            let width = records[0].len();
            let header: Vec<String> = (0..width)
                .map(|i| if i == wanted { "E-Mail".to_owned() } else { format!("c{i}") }).collect();
            writer.write_record(&header).unwrap();
            for record in &records {
                writer.write_record(record).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let mut settings = settings();
            settings.delimiter = Some(char::from(delimiter));
            settings.column = Some("E-Mail".to_owned());
            let bytes = encode(&text, encoding);
            let (_, rows) = read_with(&bytes, &settings).unwrap();
            // The sniffed encoding needs text enough: a few bytes of UTF-16 may look like another.
            let expected: Vec<(u64, String)> = lines(&records, 1)
                .into_iter()
                .zip(records.iter().map(|record| record[wanted].clone()))
                .collect();
            prop_assert_eq!(rows, expected, "{:?}", text);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_with(&bytes, &settings());
        }
    }
}
