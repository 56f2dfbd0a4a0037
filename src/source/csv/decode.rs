//! Bytes from a file: unpacked from gzip or zstd, and decoded where an encoding needs it before
//! they are split.
//!
//! Unless an encoding is named, a byte order mark decides, then the zero bytes of UTF-16. Anything
//! else is decoded cell by cell.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use encoding_rs::{CoderResult, Decoder, UTF_8, UTF_16BE, UTF_16LE};

use crate::source::csv::encoding::{self, CellEncoding, Decoding, Doubt, Encoding};

/// How much is read at once, and how much the encoding is judged by.
const PIECE_BYTES: usize = 64 << 10;

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

/// How many bytes that are neither data nor padding came after the end of packed data, so far.
#[derive(Clone, Debug, Default)]
pub(in crate::source) struct Trailing(Arc<AtomicU64>);

impl Trailing {
    pub(in crate::source) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was unpacked, or is plain.
pub(in crate::source) struct Unpacked {
    pub(in crate::source) bytes: Bytes,
    pub(in crate::source) packing: Packing,
    pub(in crate::source) trailing: Trailing,
}

/// Unpacks `input` if its first bytes say that it is packed.
pub(in crate::source) fn unpack(mut input: Bytes) -> io::Result<Unpacked> {
    let mut magic = Vec::new();
    (&mut input).take(4).read_to_end(&mut magic)?;
    let packing = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Packing::Zstd,
        _ => Packing::Plain,
    };
    let whole: Bytes = Box::new(Cursor::new(magic).chain(input));
    let trailing = Trailing::default();
    let bytes: Bytes = match packing {
        Packing::Plain => whole,
        Packing::Gzip => Box::new(Gunzip::new(whole, trailing.clone())),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(whole)?),
    };
    Ok(Unpacked { bytes, packing, trailing })
}

/// The first byte of a member of a gzip file.
const MEMBER_BEGINS: u8 = 0x1f;

/// Unpacks the members of a gzip file one after the other. Zeros behind one are padding, as tapes
/// and block devices add it; what else is there and is no member is counted, and left out.
struct Gunzip {
    /// None between two members.
    member: Option<flate2::bufread::GzDecoder<BufReader<Bytes>>>,
    rest: Option<BufReader<Bytes>>,
    trailing: Trailing,
}

impl Gunzip {
    fn new(packed: Bytes, trailing: Trailing) -> Self {
        let rest = Some(BufReader::with_capacity(PIECE_BYTES, packed));
        Self { member: None, rest, trailing }
    }

    /// Whether there is another member.
    fn begin_member(&mut self) -> io::Result<bool> {
        let Some(mut rest) = self.rest.take() else { return Ok(false) };
        loop {
            let buffered = rest.fill_buf()?;
            if buffered.is_empty() {
                return Ok(false);
            }
            let zeros = buffered.iter().take_while(|&&byte| byte == 0).count();
            let next = buffered.get(zeros).copied();
            rest.consume(zeros);
            match next {
                None => {}
                Some(MEMBER_BEGINS) => {
                    self.member = Some(flate2::bufread::GzDecoder::new(rest));
                    return Ok(true);
                }
                Some(_) => {
                    let bytes = io::copy(&mut rest, &mut io::sink())?;
                    self.trailing.0.store(bytes, Ordering::Relaxed);
                    return Ok(false);
                }
            }
        }
    }
}

impl Read for Gunzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(member) = &mut self.member {
                let read = member.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
                self.rest = self.member.take().map(flate2::bufread::GzDecoder::into_inner);
            }
            if !self.begin_member()? {
                return Ok(0);
            }
        }
    }
}

/// Text that can be split, from bytes in whatever encoding.
pub(in crate::source) struct Text {
    input: Bytes,
    /// Read from `input`, not yet returned.
    raw: Vec<u8>,
    ended: bool,
    decoder: Option<Box<Decoder>>,
    /// An odd number of bytes was decoded so far.
    odd: bool,
    cells: CellEncoding,
    encoding: String,
    doubt: Option<Doubt>,
}

impl Text {
    /// Reads the beginning and judges by it. A byte order mark takes precedence over `named`.
    pub(in crate::source) fn new(mut input: Bytes, named: Option<Encoding>) -> io::Result<Self> {
        let mut raw = Vec::new();
        read_some(&mut input, &mut raw, PIECE_BYTES)?;
        let marked = encoding_rs::Encoding::for_bom(&raw);
        if let Some((_, mark_bytes)) = marked {
            raw.drain(..mark_bytes);
        }
        let marked = marked.map(|(encoding, _)| Encoding::Web(encoding));
        let certain = marked.or(named).or_else(|| encoding::sniff_utf16(&raw));
        let decoding = certain.map_or(Decoding::Cells(CellEncoding::Guessed), Encoding::decoding);
        let is_guessed = matches!(decoding, Decoding::Cells(CellEncoding::Guessed));
        let guess = encoding::guess(whole_lines(&raw));
        let encoding = match certain {
            Some(encoding) if !is_guessed => encoding.name().into_owned(),
            Some(_) | None => guess.name.to_owned(),
        };
        let (decoder, cells) = match decoding {
            Decoding::Cells(cells) => (None, cells),
            Decoding::Stream(encoding) => {
                (Some(Box::new(encoding.new_decoder_without_bom_handling())), CellEncoding::Guessed)
            }
        };
        let is_wrong = named == Some(Encoding::Web(UTF_8)) && is_guessed && guess.name != "UTF-8";
        let doubt =
            if is_wrong { Some(Doubt::NotUtf8) } else { guess.doubt.filter(|_| is_guessed) };
        Ok(Self { input, raw, ended: false, decoder, odd: false, cells, encoding, doubt })
    }

    /// The encoding, judged by the beginning.
    pub(in crate::source) fn encoding(&self) -> &str {
        &self.encoding
    }

    pub(in crate::source) fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// How the cells of the text are decoded.
    pub(in crate::source) fn cells(&self) -> CellEncoding {
        self.cells
    }

    /// The first bytes after unpacking, not decoded; gone after the first [`Text::read`].
    pub(in crate::source) fn raw_head(&self) -> &[u8] {
        &self.raw
    }

    /// Appends about `bytes` bytes to `out`, at least one; false at the end.
    pub(in crate::source) fn read(&mut self, out: &mut Vec<u8>, bytes: usize) -> io::Result<bool> {
        let before = out.len();
        while out.len() == before {
            if self.raw.is_empty() && !self.ended {
                self.ended = read_some(&mut self.input, &mut self.raw, bytes)? == 0;
            }
            match self.decoder {
                Some(_) => self.decode(out)?,
                None => out.append(&mut self.raw),
            }
            if self.ended {
                break;
            }
        }
        Ok(out.len() > before)
    }

    fn decode(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        self.odd ^= self.raw.len() % 2 == 1;
        if self.ended && self.odd && [UTF_16LE, UTF_16BE].contains(&decoder.encoding()) {
            return Err(io::Error::other(HalfCharacter));
        }
        let mut at = 0;
        loop {
            let before = out.len();
            let room = decoder.max_utf8_buffer_length(self.raw.len() - at).unwrap_or(PIECE_BYTES);
            out.resize(before + room.max(16), 0);
            let (result, read, written, _) =
                decoder.decode_to_utf8(&self.raw[at..], &mut out[before..], self.ended);
            out.truncate(before + written);
            at += read;
            if result == CoderResult::InputEmpty {
                break;
            }
        }
        self.raw.clear();
        if self.ended {
            self.decoder = None;
        }
        Ok(())
    }
}

/// Appends up to `bytes` bytes; fewer only at the end.
fn read_some(input: &mut Bytes, out: &mut Vec<u8>, bytes: usize) -> io::Result<usize> {
    input.take(u64::try_from(bytes).unwrap_or(u64::MAX)).read_to_end(out)
}

/// The text without a last line that may be cut inside a character.
fn whole_lines(head: &[u8]) -> &[u8] {
    if head.len() < PIECE_BYTES - 4 {
        return head;
    }
    let last_end = head.iter().rposition(|&byte| matches!(byte, b'\r' | b'\n'));
    let cut = match std::str::from_utf8(head) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Ok(_) | Err(_) => head.len(),
    };
    &head[..last_end.unwrap_or(cut)]
}

/// UTF-16 with an odd number of bytes: something is missing, most likely at the end.
#[derive(Debug, thiserror::Error)]
#[error("UTF-16 text ends in half a character")]
pub(in crate::source) struct HalfCharacter;

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::WINDOWS_1252;
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

    fn decode(bytes: &[u8], named: Option<Encoding>) -> (Vec<u8>, String) {
        let read = |size| {
            let input = Box::new(Dribble { bytes: bytes.to_vec(), at: 0, size });
            let mut text = Text::new(input, named).unwrap();
            let mut out = Vec::new();
            while text.read(&mut out, 1000).unwrap() {}
            (out, text.encoding().to_owned())
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
        let expected = (SAMPLE.as_bytes().to_vec(), "UTF-8".to_owned());
        assert_eq!(decode(SAMPLE.as_bytes(), None), expected);
        let marked = format!("\u{feff}{SAMPLE}");
        assert_eq!(decode(marked.as_bytes(), None), expected);
        assert_eq!(decode(marked.as_bytes(), Some(Encoding::Web(WINDOWS_1252))), expected);
    }

    #[test]
    fn utf16_with_and_without_a_mark() {
        let long = SAMPLE.repeat(5000);
        for (order, name) in
            [(u16::to_le_bytes as fn(u16) -> [u8; 2], "UTF-16LE"), (u16::to_be_bytes, "UTF-16BE")]
        {
            for text in [SAMPLE, &long] {
                let expected = (text.as_bytes().to_vec(), name.to_owned());
                assert!(decode(&utf16(text, order), None) == expected);
                let marked = utf16(&format!("\u{feff}{text}"), order);
                assert!(decode(&marked, None) == expected);
            }
        }
    }

    #[test]
    fn other_bytes_are_left_to_the_cells() {
        let mut bytes = SAMPLE.repeat(5000).into_bytes();
        assert!(bytes.len() > PIECE_BYTES);
        bytes.extend_from_slice(b"3;J\xf6rg \x80\x81@x.io\r4;");
        assert!(decode(&bytes, None) == (bytes, "UTF-8".to_owned()));
        assert_eq!(decode(b"J\xf6rg", None).1, "Windows-1252");
        let dos = Encoding::of_name("cp852");
        assert_eq!(decode(b"ji\xfd", dos), (b"ji\xfd".to_vec(), "CP852".to_owned()));
        let japanese = Encoding::of_name("sjis");
        assert_eq!(decode(b"\x83\x81|", japanese).0, "メ|".as_bytes());
    }

    #[test]
    fn a_head_cut_inside_a_character_is_no_other_encoding() {
        let text = "ä".repeat(PIECE_BYTES);
        assert_eq!(decode(format!("x{text}").as_bytes(), None).1, "UTF-8");
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked_with_trailing(bytes: &[u8]) -> io::Result<(Vec<u8>, u64)> {
        let input = Box::new(Dribble { bytes: bytes.to_vec(), at: 0, size: 7 });
        let mut out = Vec::new();
        let Unpacked { mut bytes, trailing, .. } = unpack(input)?;
        bytes.read_to_end(&mut out)?;
        Ok((out, trailing.bytes()))
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (out, trailing) = unpacked_with_trailing(bytes)?;
        assert_eq!(trailing, 0);
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
    fn zeros_after_a_gzip_member_are_padding_and_anything_else_is_counted_and_left_out() {
        let text = SAMPLE.as_bytes();
        for zeros in [1, 511, 200_000] {
            let padded = [gzip(text), vec![0; zeros]].concat();
            assert_eq!(unpacked(&padded).unwrap(), text);
            let again = [padded, gzip(text), vec![0]].concat();
            assert_eq!(unpacked(&again).unwrap(), text.repeat(2));
        }
        for (trailing, counted) in [(&b"junk"[..], 4), (b"\0\0junk\0", 5), (&[7; 200_000], 200_000)]
        {
            let bytes = [gzip(text), gzip(text), trailing.to_vec()].concat();
            let (out, trailing) = unpacked_with_trailing(&bytes).unwrap();
            assert_eq!((out, trailing), (text.repeat(2), counted));
        }
        // What begins like a member is one that is cut or damaged.
        for trailing in [&b"\x1f"[..], b"\x1f\x8b", b"\x1fjunk"] {
            assert!(unpacked_with_trailing(&[&gzip(text), trailing].concat()).is_err());
        }
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
