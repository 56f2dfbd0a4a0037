//! Bytes become text: unpacked from gzip or zstd, decoded into UTF-8, a piece at a time.
//!
//! Unless an encoding is named, a byte order mark decides, then the zero bytes of UTF-16. Anything
//! else is judged line by line: a line that is valid UTF-8 is taken as such, any other as
//! Windows-1252, in which every byte means something. So nothing is lost, wherever in the file
//! the first odd byte stands, and files pasted together from both kinds read well.

use std::io::{self, Chain, Cursor, Read};

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// How much is read at once, and how much the encoding is judged by.
const PIECE_BYTES: usize = 64 << 10;

/// A line longer than this is judged by its pieces.
const LINE_BYTES: usize = 1 << 20;

/// Bytes from a file, standard input or an unpacker.
pub(in crate::source) type Bytes = Box<dyn Read + Send>;

/// What the bytes were packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// None for plain bytes.
    pub(in crate::source) fn name(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Unpacks `input` if its first bytes say that it is packed.
pub(in crate::source) fn unpack(mut input: Bytes) -> io::Result<(Bytes, Packing)> {
    let mut magic = Vec::new();
    (&mut input).take(4).read_to_end(&mut magic)?;
    let packing = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Packing::Zstd,
        _ => Packing::Plain,
    };
    let whole: Chain<Cursor<Vec<u8>>, Bytes> = Cursor::new(magic).chain(input);
    let unpacked: Bytes = match packing {
        Packing::Plain => Box::new(whole),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(whole)?),
    };
    Ok((unpacked, packing))
}

/// Text as UTF-8, from bytes in whatever encoding.
pub(in crate::source) struct Text {
    input: Bytes,
    /// What each read fills.
    buffer: Vec<u8>,
    /// Read and not yet decoded.
    raw: Vec<u8>,
    /// So much of `raw` holds no line end.
    searched: usize,
    end: End,
    how: How,
    /// An odd number of bytes was decoded so far.
    odd: bool,
    encoding: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ahead,
    Reached,
    /// Reached, and the last byte is decoded.
    Passed,
}

enum How {
    LineByLine,
    Decoder(Box<Decoder>),
}

impl Text {
    /// Reads the beginning and judges by it. A byte order mark says more than `named`.
    pub(in crate::source) fn new(
        input: Bytes,
        named: Option<&'static Encoding>,
    ) -> io::Result<Self> {
        let mut text = Self {
            input,
            buffer: vec![0; PIECE_BYTES],
            raw: Vec::new(),
            searched: 0,
            end: End::Ahead,
            how: How::LineByLine,
            odd: false,
            encoding: String::new(),
        };
        while text.end == End::Ahead && text.raw.len() < PIECE_BYTES {
            text.read_piece()?;
        }
        let marked = Encoding::for_bom(&text.raw);
        if let Some((_, mark_bytes)) = marked {
            text.raw.drain(..mark_bytes);
        }
        let certain = marked.map(|(encoding, _)| encoding).or(named).or(sniff_utf16(&text.raw));
        match certain {
            Some(encoding) if encoding != UTF_8 => {
                text.encoding = encoding_name(encoding);
                text.how = How::Decoder(Box::new(encoding.new_decoder_without_bom_handling()));
            }
            Some(_) | None => text.encoding = name_of_lines(text.whole_lines()).to_owned(),
        }
        Ok(text)
    }

    /// The encoding, as far as the beginning tells.
    pub(in crate::source) fn encoding(&self) -> &str {
        &self.encoding
    }

    /// The first bytes after unpacking, not decoded.
    pub(in crate::source) fn raw_head(&self) -> &[u8] {
        &self.raw
    }

    /// Appends the next piece to `out`; false at the end.
    pub(in crate::source) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        while self.end != End::Passed {
            let before = out.len();
            match self.how {
                How::LineByLine => self.decode_lines(out),
                How::Decoder(_) => self.decode_all(out)?,
            }
            if self.end == End::Reached && self.raw.is_empty() {
                self.end = End::Passed;
            }
            if out.len() > before {
                return Ok(true);
            }
            if self.end == End::Ahead {
                self.read_piece()?;
            }
        }
        Ok(false)
    }

    /// What is read, without a last line that may be cut inside a character.
    fn whole_lines(&self) -> &[u8] {
        let last_end = self.raw.iter().rposition(|&byte| is_line_end(byte));
        match self.end {
            End::Reached | End::Passed => &self.raw,
            End::Ahead => {
                &self.raw[..last_end.unwrap_or_else(|| before_a_cut_character(&self.raw))]
            }
        }
    }

    fn read_piece(&mut self) -> io::Result<()> {
        let read = loop {
            match self.input.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.raw.extend_from_slice(&self.buffer[..read]);
        if read == 0 {
            self.end = End::Reached;
        }
        Ok(())
    }

    fn decode_lines(&mut self, out: &mut Vec<u8>) {
        let unsearched = &self.raw[self.searched..];
        let line_end = unsearched.iter().rposition(|&byte| is_line_end(byte));
        let ready = match (self.end, line_end) {
            (End::Reached | End::Passed, _) => self.raw.len(),
            (End::Ahead, Some(at)) => self.searched + at + 1,
            (End::Ahead, None) if self.raw.len() >= LINE_BYTES => before_a_cut_character(&self.raw),
            (End::Ahead, None) => 0,
        };
        push_lines(&self.raw[..ready], out);
        self.raw.drain(..ready);
        self.searched = self.raw.len();
    }

    fn decode_all(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let How::Decoder(decoder) = &mut self.how else { return Ok(()) };
        let last = self.end != End::Ahead;
        self.odd ^= self.raw.len() % 2 == 1;
        if last && self.odd && [UTF_16LE, UTF_16BE].contains(&decoder.encoding()) {
            return Err(io::Error::other(HalfCharacter));
        }
        let mut at = 0;
        loop {
            let before = out.len();
            let room = decoder.max_utf8_buffer_length(self.raw.len() - at).unwrap_or(PIECE_BYTES);
            out.resize(before + room.max(16), 0);
            let (result, read, written, _) =
                decoder.decode_to_utf8(&self.raw[at..], &mut out[before..], last);
            out.truncate(before + written);
            at += read;
            if result == CoderResult::InputEmpty {
                break;
            }
        }
        self.raw.clear();
        if last {
            self.end = End::Passed;
        }
        Ok(())
    }
}

/// UTF-16 with an odd number of bytes: something is missing, most likely at the end.
#[derive(Debug, thiserror::Error)]
#[error("UTF-16 text ends in half a character")]
pub(in crate::source) struct HalfCharacter;

/// The encoding that a user names: what the web knows, and a few more spellings.
pub(in crate::source) fn encoding_of_name(name: &str) -> Option<&'static Encoding> {
    let folded: String =
        name.trim().to_ascii_lowercase().chars().filter(|c| !matches!(c, ' ' | '_')).collect();
    let label = match folded.as_str() {
        "latin-1" | "iso8859-1" => "latin1",
        "ansi" | "cp-1252" | "windows1252" => "windows-1252",
        "utf16" | "utf16le" => "utf-16le",
        "utf16be" => "utf-16be",
        "utf-8-sig" | "utf8bom" => "utf-8",
        label => label,
    };
    Encoding::for_label_no_replacement(label.as_bytes())
}

fn encoding_name(encoding: &'static Encoding) -> String {
    encoding.name().replace("windows", "Windows")
}

/// UTF-16 without a mark: in text of any language most line ends, digits, blanks and delimiters
/// leave a zero byte, always on the same side.
fn sniff_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    let pairs = bytes.chunks_exact(2);
    let all = pairs.len();
    let (mut first_zero, mut second_zero) = (0_usize, 0_usize);
    for pair in pairs {
        first_zero += usize::from(pair[0] == 0);
        second_zero += usize::from(pair[1] == 0);
    }
    let telling = |many: usize, few: usize| many * 5 > all && few * 10 < many;
    if telling(second_zero, first_zero) {
        Some(UTF_16LE)
    } else if telling(first_zero, second_zero) {
        Some(UTF_16BE)
    } else {
        None
    }
}

fn name_of_lines(bytes: &[u8]) -> &'static str {
    let (mut utf8, mut other) = (false, false);
    for line in bytes.split(|&byte| is_line_end(byte)).filter(|line| !line.is_ascii()) {
        match std::str::from_utf8(line) {
            Ok(_) => utf8 = true,
            Err(_) => other = true,
        }
    }
    match (utf8, other) {
        (_, false) => "UTF-8",
        (false, true) => "Windows-1252",
        (true, true) => "UTF-8 with lines in Windows-1252",
    }
}

/// One value of a database as text: UTF-8, or else Windows-1252.
pub(in crate::source) fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

fn push_lines(bytes: &[u8], out: &mut Vec<u8>) {
    if std::str::from_utf8(bytes).is_ok() {
        out.extend_from_slice(bytes);
        return;
    }
    for line in bytes.split_inclusive(|&byte| is_line_end(byte)) {
        match std::str::from_utf8(line) {
            Ok(_) => out.extend_from_slice(line),
            Err(_) => {
                let (text, _) = WINDOWS_1252.decode_without_bom_handling(line);
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}

/// Where `bytes` can be cut without cutting a character of UTF-8 in two.
fn before_a_cut_character(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Ok(_) | Err(_) => bytes.len(),
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Gives its bytes in pieces of `size`.
    struct Dribble {
        bytes: Vec<u8>,
        at: usize,
        size: usize,
    }

    impl Read for Dribble {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let end = self.bytes.len().min(self.at + self.size.min(buffer.len()));
            let piece = &self.bytes[self.at..end];
            buffer[..piece.len()].copy_from_slice(piece);
            self.at = end;
            Ok(piece.len())
        }
    }

    fn decode(bytes: &[u8], named: Option<&'static Encoding>) -> (String, String) {
        let read = |size| {
            let input = Box::new(Dribble { bytes: bytes.to_vec(), at: 0, size });
            let mut text = Text::new(input, named).unwrap();
            let mut out = Vec::new();
            while text.read(&mut out).unwrap() {}
            (String::from_utf8(out).unwrap(), text.encoding().to_owned())
        };
        let whole = read(usize::MAX);
        assert!(read(1021) == whole, "in pieces");
        whole
    }

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    const SAMPLE: &str = "id;E-Mail\r\n1;jörg@x.io\r\n2;Łukasz@x.io 🦀\r\n";

    #[test]
    fn utf8_with_and_without_a_mark() {
        assert_eq!(decode(SAMPLE.as_bytes(), None), (SAMPLE.to_owned(), "UTF-8".to_owned()));
        let marked = format!("\u{feff}{SAMPLE}");
        assert_eq!(decode(marked.as_bytes(), None).0, SAMPLE);
        assert_eq!(decode(marked.as_bytes(), Some(WINDOWS_1252)).0, SAMPLE);
    }

    #[test]
    fn utf16_with_and_without_a_mark() {
        let long = SAMPLE.repeat(5000);
        for (order, name) in
            [(u16::to_le_bytes as fn(u16) -> [u8; 2], "UTF-16LE"), (u16::to_be_bytes, "UTF-16BE")]
        {
            for text in [SAMPLE, &long] {
                assert_eq!(decode(&utf16(text, order), None), (text.to_owned(), name.to_owned()));
                let marked = utf16(&format!("\u{feff}{text}"), order);
                assert_eq!(decode(&marked, None), (text.to_owned(), name.to_owned()));
            }
        }
    }

    #[test]
    fn a_line_that_is_not_utf8_is_windows_1252() {
        let mut bytes = SAMPLE.repeat(5000).into_bytes();
        assert!(bytes.len() > PIECE_BYTES);
        bytes.extend_from_slice(b"3;J\xf6rg \x80\x81@x.io\r4;");
        bytes.extend_from_slice("jörg\n".as_bytes());
        let (text, _) = decode(&bytes, None);
        assert_eq!(text.strip_prefix(&SAMPLE.repeat(5000)), Some("3;Jörg €\u{81}@x.io\r4;jörg\n"));
    }

    #[test]
    fn the_encoding_is_named_as_it_is_found() {
        assert_eq!(decode(b"a\nJ\xf6rg\n", None).1, "Windows-1252");
        assert_eq!(decode(b"J\xf6rg", None), ("Jörg".to_owned(), "Windows-1252".to_owned()));
        assert_eq!(decode(b"J\xc3\xb6rg\nJ\xf6rg\n", None).1, "UTF-8 with lines in Windows-1252");
    }

    #[test]
    fn a_named_encoding_holds() {
        let cyrillic = encoding_of_name("windows-1251").unwrap();
        assert_eq!(decode(b"\xef\xee\xf7\xf2\xe0", Some(cyrillic)).0, "почта");
        for name in ["latin1", "Latin-1", "ISO-8859-1", "cp1252", "ANSI", "ISO_8859-1"] {
            assert_eq!(encoding_of_name(name), Some(WINDOWS_1252), "{name}");
        }
        assert_eq!(encoding_of_name("UTF_16"), Some(UTF_16LE));
        assert_eq!(encoding_of_name("klingon"), None);
    }

    #[test]
    fn a_line_without_end_is_decoded_in_pieces() {
        let text = "ä".repeat(LINE_BYTES);
        assert!(decode(text.as_bytes(), None) == (text, "UTF-8".to_owned()));
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let input = Box::new(Dribble { bytes: bytes.to_vec(), at: 0, size: 7 });
        let mut out = Vec::new();
        unpack(input)?.0.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn unpacks_by_content() {
        let text = SAMPLE.repeat(100).into_bytes();
        assert_eq!(unpacked(&text).unwrap(), text);
        assert_eq!(unpacked(&gzip(&text)).unwrap(), text);
        assert_eq!(unpacked(&zstd::encode_all(&*text, 1).unwrap()).unwrap(), text);
        let twice = [gzip(&text), gzip(&text)].concat();
        assert_eq!(unpacked(&twice).unwrap(), text.repeat(2));
    }

    #[test]
    fn packed_data_that_is_cut_short_is_an_error_wherever_it_is_cut() {
        let text = SAMPLE.repeat(100).into_bytes();
        let members = [gzip(&text), gzip(&text)];
        let twice = members.concat();
        for cut in 4..twice.len() {
            assert_eq!(unpacked(&twice[..cut]).is_ok(), cut == members[0].len(), "at {cut}");
        }
        let packed = zstd::encode_all(&*text, 1).unwrap();
        for cut in 4..packed.len() {
            assert!(unpacked(&packed[..cut]).is_err(), "at {cut}");
        }
    }
}
