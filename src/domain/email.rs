//! One row's text becomes an email that can be looked up, or the reason why not.
//!
//! Pure: no clock, no I/O.

use std::fmt;

/// The longest address that mail systems carry, in bytes (RFC 5321, section 4.5.3.1.3).
pub const MAX_EMAIL_BYTES: usize = 254;

/// An email in the form that is compared, stored and asked for: trimmed and ASCII-lowercased.
///
/// The API ignores letter case. Letters outside ASCII, plus-tags and dots stay as they are,
/// because they can tell one customer from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Email(String);

/// Why a row cannot be looked up. The code of each is part of the store's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidEmail {
    /// Nothing but white space.
    Blank,
    /// No `@` outside quotes.
    NoAt,
    /// More than one `@` outside quotes.
    ManyAts,
    /// Nothing before the `@`.
    NoLocalPart,
    /// Nothing after the `@`.
    NoDomain,
    /// White space inside.
    WhiteSpace,
    /// A control character inside.
    ControlCharacter,
    /// Over [`MAX_EMAIL_BYTES`].
    TooLong,
}

impl InvalidEmail {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Blank,
        Self::NoAt,
        Self::ManyAts,
        Self::NoLocalPart,
        Self::NoDomain,
        Self::WhiteSpace,
        Self::ControlCharacter,
        Self::TooLong,
    ];

    /// The stable code that `rejects` carries.
    pub fn code(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::NoAt => "no_at",
            Self::ManyAts => "many_ats",
            Self::NoLocalPart => "no_local_part",
            Self::NoDomain => "no_domain",
            Self::WhiteSpace => "white_space",
            Self::ControlCharacter => "control_character",
            Self::TooLong => "too_long",
        }
    }
}

impl fmt::Display for InvalidEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "blank",
            Self::NoAt => "no @ in it",
            Self::ManyAts => "more than one @ in it",
            Self::NoLocalPart => "nothing before the @",
            Self::NoDomain => "nothing after the @",
            Self::WhiteSpace => "white space inside",
            Self::ControlCharacter => "a control character inside",
            Self::TooLong => "longer than 254 bytes",
        })
    }
}

impl Email {
    /// Normalises `text` and checks that it can be an address.
    ///
    /// # Errors
    /// The first of [`InvalidEmail`]'s reasons that holds.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        check(trimmed)?;
        Ok(Self(trimmed.to_ascii_lowercase()))
    }

    /// The normalised address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(address: &str) -> Result<(), InvalidEmail> {
    if address.is_empty() {
        return Err(InvalidEmail::Blank);
    }
    if address.len() > MAX_EMAIL_BYTES {
        return Err(InvalidEmail::TooLong);
    }
    for c in address.chars() {
        if c.is_whitespace() {
            return Err(InvalidEmail::WhiteSpace);
        }
        if c.is_control() {
            return Err(InvalidEmail::ControlCharacter);
        }
    }
    let at = the_only_at(address)?;
    if at == 0 {
        return Err(InvalidEmail::NoLocalPart);
    }
    if at + 1 == address.len() {
        return Err(InvalidEmail::NoDomain);
    }
    Ok(())
}

/// The byte offset of the one `@` that no quotes enclose. In quotes a backslash takes away the
/// meaning of the next character.
fn the_only_at(address: &str) -> Result<usize, InvalidEmail> {
    let (mut found, mut quoted, mut escaped) = (None, false, false);
    for (offset, byte) in address.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'@' if !quoted && found.is_some() => return Err(InvalidEmail::ManyAts),
            b'@' if !quoted => found = Some(offset),
            _ => {}
        }
    }
    found.ok_or(InvalidEmail::NoAt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<String, InvalidEmail> {
        Email::parse(text).map(|email| email.0)
    }

    #[test]
    fn trims_and_lowercases_ascii_alone() {
        assert_eq!(
            parse("\u{feff} John.DOE+Tag@Example.COM\u{a0}\r\n").unwrap(),
            "john.doe+tag@example.com"
        );
        assert_eq!(parse("ÄNNE@BÜCHER.example").unwrap(), "Änne@bÜcher.example");
    }

    #[test]
    fn names_each_reason() {
        for (text, reason) in [
            ("", InvalidEmail::Blank),
            (" \u{feff}\t", InvalidEmail::Blank),
            ("john.doe", InvalidEmail::NoAt),
            ("\"a@b\"", InvalidEmail::NoAt),
            ("a@b@c", InvalidEmail::ManyAts),
            ("@example.com", InvalidEmail::NoLocalPart),
            ("john@", InvalidEmail::NoDomain),
            ("john doe@example.com", InvalidEmail::WhiteSpace),
            ("john\u{a0}doe@example.com", InvalidEmail::WhiteSpace),
            ("john\u{7}@example.com", InvalidEmail::ControlCharacter),
        ] {
            assert_eq!(parse(text), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn an_at_in_quotes_is_no_second_one() {
        assert_eq!(parse("\"a@b\"@example.com").unwrap(), "\"a@b\"@example.com");
        assert_eq!(parse("\"a\\\"@b\"@example.com").unwrap(), "\"a\\\"@b\"@example.com");
    }

    #[test]
    fn length_counts_bytes_after_trimming() {
        let longest = format!("{}@example.com", "a".repeat(MAX_EMAIL_BYTES - "@example.com".len()));
        assert_eq!(parse(&format!("  {longest}  ")).unwrap(), longest);
        assert_eq!(parse(&format!("a{longest}")), Err(InvalidEmail::TooLong));
        let umlauts = format!("{}@example.com", "ä".repeat(125));
        assert_eq!(parse(&umlauts), Err(InvalidEmail::TooLong));
    }

    #[test]
    fn codes_are_all_different() {
        let mut codes = InvalidEmail::ALL.map(InvalidEmail::code).to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), InvalidEmail::ALL.len());
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC{0,40}@?\\PC{0,40}") {
            if let Ok(once) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(once.as_str()), Ok(once.clone()));
            }
        }

        #[test]
        fn letter_case_and_outer_white_space_make_no_second_email(
            local in "[a-zA-Z0-9.+_-]{1,20}", domain in "[a-zA-Z0-9.-]{1,20}", pad in "[ \t\u{a0}]{0,3}",
        ) {
            let plain = Email::parse(&format!("{local}@{domain}")).unwrap();
            let dressed = format!("{pad}{}@{}{pad}", local.to_ascii_uppercase(), domain.to_ascii_lowercase());
            prop_assert_eq!(Email::parse(&dressed).unwrap(), plain);
        }

        #[test]
        fn what_is_accepted_keeps_the_rules(text in any::<String>()) {
            if let Ok(email) = Email::parse(&text) {
                let address = email.as_str();
                prop_assert!(address.len() <= MAX_EMAIL_BYTES);
                prop_assert!(!address.chars().any(|c| c.is_whitespace() || c.is_control()));
                prop_assert!(!address.bytes().any(|b| b.is_ascii_uppercase()));
                prop_assert!(address.contains('@'));
            }
        }
    }
}
