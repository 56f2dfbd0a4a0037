//! What surrounds an address in real-world text, or hides in it, is taken off.
//!
//! Pure: no clock, no I/O.

use std::borrow::Cow;
use std::fmt;

use crate::domain::email::addresses_in;

/// What can surround an address, or hide in it, without being part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    InvisibleCharacters,
    WhiteSpace,
    Name,
    Mailto,
    Brackets,
    Quotes,
    TrailingMark,
    Formula,
}

impl Wrapping {
    pub const ALL: [Self; 8] = [
        Self::InvisibleCharacters,
        Self::WhiteSpace,
        Self::Name,
        Self::Mailto,
        Self::Brackets,
        Self::Quotes,
        Self::TrailingMark,
        Self::Formula,
    ];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvisibleCharacters => "invisible characters",
            Self::WhiteSpace => "surrounding white space",
            Self::Name => "`Name <address>`",
            Self::Mailto => "`mailto:`",
            Self::Brackets => "surrounding brackets",
            Self::Quotes => "surrounding quotes",
            Self::TrailingMark => "a trailing comma or semicolon",
            Self::Formula => "`=\"address\"`",
        })
    }
}

/// The kinds of wrapping that were taken off one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrappings(u8);

impl Wrappings {
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn contains(self, wrapping: Wrapping) -> bool {
        self.0 & wrapping.bit() != 0
    }

    fn insert(&mut self, wrapping: Wrapping) {
        self.0 |= wrapping.bit();
    }
}

/// A text without what surrounded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwrapped<'a> {
    pub text: Cow<'a, str>,
    pub wrappings: Wrappings,
}

/// Takes off everything that can surround an address, until nothing more comes off.
pub fn unwrap(text: &str) -> Unwrapped<'_> {
    let mut wrappings = Wrappings::default();
    let mut text = without_invisible(text);
    if let Cow::Owned(_) = text {
        wrappings.insert(Wrapping::InvisibleCharacters);
    }
    loop {
        let (rest, wrapping) = {
            let trimmed = text.trim();
            if trimmed.len() < text.len() {
                (trimmed, Wrapping::WhiteSpace)
            } else if let Some(layer) = outer_layer(&text) {
                layer
            } else {
                return Unwrapped { text, wrappings };
            }
        };
        // An empty cell is as blank as one of spaces: nothing was cleaned.
        if !rest.is_empty() {
            wrappings.insert(wrapping);
        }
        let start = rest.as_ptr() as usize - text.as_ptr() as usize;
        let kept = start..start + rest.len();
        text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[kept]),
            Cow::Owned(text) => Cow::Owned(text[kept].to_owned()),
        };
    }
}

/// The outermost layer around `text`, if there is one: what it holds, and its kind.
fn outer_layer(text: &str) -> Option<(&str, Wrapping)> {
    let inside = |open: &str, close: char| text.strip_prefix(open)?.strip_suffix(close);
    if let Some(rest) = strip_mailto(text) {
        return Some((rest, Wrapping::Mailto));
    }
    if let Some(rest) = text.strip_suffix([',', ';']) {
        return Some((rest, Wrapping::TrailingMark));
    }
    if let Some(rest) = inside("=\"", '"') {
        return Some((rest, Wrapping::Formula));
    }
    for (open, close) in [("\"", '"'), ("'", '\''), ("“", '”'), ("„", '“'), ("‘", '’'), ("«", '»')]
    {
        if let Some(rest) = inside(open, close) {
            return Some((rest, Wrapping::Quotes));
        }
    }
    for (open, close) in [("<", '>'), ("[", ']'), ("(", ')'), ("{", '}')] {
        if let Some(rest) = inside(open, close).filter(|rest| !rest.contains(open)) {
            return Some((rest, Wrapping::Brackets));
        }
    }
    let (name, address) = text.strip_suffix('>')?.rsplit_once('<')?;
    // `a@x.io, Bob <b@y.io>` holds two addresses, not a name and one.
    names_no_other(name, address).then_some((address, Wrapping::Name))
}

/// Without `mailto:`, and without what a link adds to an address, such as `?subject=…`.
fn strip_mailto(text: &str) -> Option<&str> {
    let scheme = text.get(.."mailto:".len())?;
    if !scheme.eq_ignore_ascii_case("mailto:") {
        return None;
    }
    let rest = &text[scheme.len()..];
    let after_at = rest.find('@').unwrap_or(rest.len());
    let end = rest[after_at..].find('?').map_or(rest.len(), |query| after_at + query);
    Some(&rest[..end])
}

fn names_no_other(name: &str, address: &str) -> bool {
    let address = unwrap(address).text;
    let mut addresses = name.contains('@').then(|| addresses_in(name)).into_iter().flatten();
    addresses.all(|other| other.eq_ignore_ascii_case(&address))
}

fn without_invisible(text: &str) -> Cow<'_, str> {
    // Every invisible character is outside ASCII.
    if text.is_ascii() || !text.contains(is_invisible) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|&c| !is_invisible(c)).collect())
}

/// Characters that take no room: joiners, marks of direction, variation selectors and the like.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}
