//! How the cells of a text are separated.
//!
//! Pure: no clock, no I/O.

use memchr::{memchr, memmem};

/// What separates cells: a character as the text's encoding writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Delimiter {
    bytes: [u8; 4],
    length: usize,
}

impl Delimiter {
    /// None for an empty text and one of over four bytes.
    pub(in crate::source) fn new(encoded: &[u8]) -> Option<Self> {
        let mut bytes = [0; 4];
        bytes.get_mut(..encoded.len()).filter(|bytes| !bytes.is_empty())?.copy_from_slice(encoded);
        Some(Self { bytes, length: encoded.len() })
    }

    pub(in crate::source::csv) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(in crate::source::csv) fn first_byte(&self) -> u8 {
        self.bytes[0]
    }

    pub(in crate::source::csv) fn find(&self, text: &[u8]) -> Option<usize> {
        match self.as_bytes() {
            [byte] => memchr(*byte, text),
            bytes => memmem::find(text, bytes),
        }
    }
}

/// Whether quotes enclose cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quoting {
    #[default]
    Double,
    None,
}

/// How cells are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Dialect {
    /// Without one every record is one cell.
    pub(in crate::source) delimiter: Option<Delimiter>,
    pub(in crate::source) quoting: Quoting,
}
