//! The one place that knows addresses: what one may look like, and why a text is none. What can
//! surround one is taken off by [`unwrap()`] first.
//!
//! Pure: no clock, no I/O.

pub mod unwrap;

use sha2::{Digest as _, Sha256};
use std::fmt;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

use crate::domain::email::unwrap::{Unwrapped, Wrappings, unwrap};

/// The longest address that mail systems carry, in bytes (RFC 5321, section 4.5.3.1.3).
pub const MAX_EMAIL_BYTES: usize = 254;

/// What an address holds only in a quoted local part or an address literal.
const FORBIDDEN: &[char] = &['(', ')', '<', '>', '[', ']', '{', '}', ':', ';', ',', '\\', '"'];

/// An email as it is compared, stored and looked up: unwrapped and ASCII-lowercased.
///
/// The API ignores letter case. Letters outside ASCII, plus tags and dots stay as they are,
/// because they can distinguish two customers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Email(String);

/// Why a row cannot be looked up. The code of each is part of the store's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidEmail {
    Blank,
    NoAt,
    SeveralAddresses,
    ManyAts,
    NoLocalPart,
    NoDomain,
    WhiteSpace,
    ControlCharacter,
    ForbiddenCharacter,
    NoHostName,
    TooLong,
}

impl InvalidEmail {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Blank,
        Self::NoAt,
        Self::SeveralAddresses,
        Self::ManyAts,
        Self::NoLocalPart,
        Self::NoDomain,
        Self::WhiteSpace,
        Self::ControlCharacter,
        Self::ForbiddenCharacter,
        Self::NoHostName,
        Self::TooLong,
    ];

    /// The stable code that `rejects` carries.
    pub fn code(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::NoAt => "no_at",
            Self::SeveralAddresses => "several_addresses",
            Self::ManyAts => "many_ats",
            Self::NoLocalPart => "no_local_part",
            Self::NoDomain => "no_domain",
            Self::WhiteSpace => "white_space",
            Self::ControlCharacter => "control_character",
            Self::ForbiddenCharacter => "forbidden_character",
            Self::NoHostName => "no_host_name",
            Self::TooLong => "too_long",
        }
    }
}

impl fmt::Display for InvalidEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "blank",
            Self::NoAt => "no @",
            Self::SeveralAddresses => "several addresses in one cell",
            Self::ManyAts => "more than one @",
            Self::NoLocalPart => "nothing before the @",
            Self::NoDomain => "nothing after the @",
            Self::WhiteSpace => "white space inside",
            Self::ControlCharacter => "a control character inside",
            Self::ForbiddenCharacter => "one of ()<>[]{}:;,\\\" inside",
            Self::NoHostName => "no host name after the @",
            Self::TooLong => "longer than 254 bytes",
        })
    }
}

/// What one text of the source turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedEmail {
    pub email: Result<Email, InvalidEmail>,
    /// What was taken off; of an invalid text too.
    pub wrappings: Wrappings,
}

impl Email {
    /// Unwraps `text` and checks that it can be an address.
    ///
    /// # Errors
    /// The first of [`InvalidEmail`]'s reasons that applies.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        Self::parse_wrapped(text).email
    }

    /// The same, and what was taken off.
    pub fn parse_wrapped(text: &str) -> ParsedEmail {
        if is_plain(text) {
            let email = Ok(Self(text.to_ascii_lowercase()));
            return ParsedEmail { email, wrappings: Wrappings::default() };
        }
        let Unwrapped { text, wrappings } = unwrap(text);
        let email = check(&text).map(|()| {
            let mut address = text.into_owned();
            address.make_ascii_lowercase();
            Self(address)
        });
        ParsedEmail { email, wrappings }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What stays of an erased email: only who has the email and the salt can recognize it.
pub fn salted_digest(salt: &[u8], email: &str) -> Vec<u8> {
    Sha256::new().chain_update(salt).chain_update(email).finalize().to_vec()
}

/// Whether `text` is one address, apart from what surrounds it.
pub fn is_address(text: &str) -> bool {
    // Most cells hold no @: they need no closer look.
    text.contains('@') && check(&unwrap(text).text).is_ok()
}

/// The parts of a text that are addresses, whatever separates them.
fn addresses_in(text: &str) -> Vec<String> {
    let separators = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|' | '/' | '<' | '>');
    let parts = text.split(separators).filter(|part| part.contains('@'));
    parts
        .map(|part| unwrap(part).text)
        .filter(|part| check_shape(part).is_ok())
        .map(std::borrow::Cow::into_owned)
        .collect()
}

/// Whether this is an address of the usual form, with nothing around it: what nearly every row
/// holds, checked in one pass. Any other text is left to [`unwrap`] and [`check`].
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(at) = memchr::memchr(b'@', bytes).filter(|&at| at > 0) else { return false };
    let (local, domain) = (&bytes[..at], &bytes[at + 1..]);
    let (mut labels, mut in_label) = (0, false);
    for &byte in domain {
        match byte {
            b'.' if in_label => in_label = false,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => {
                labels += usize::from(!in_label);
                in_label = true;
            }
            _ => return false,
        }
    }
    let is_usual = |&byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'\'')
    };
    in_label && labels > 1 && bytes.len() <= MAX_EMAIL_BYTES && local.iter().all(is_usual)
}

fn check(address: &str) -> Result<(), InvalidEmail> {
    match check_shape(address) {
        Err(
            InvalidEmail::ManyAts | InvalidEmail::WhiteSpace | InvalidEmail::ForbiddenCharacter,
        ) if addresses_in(address).len() > 1 => Err(InvalidEmail::SeveralAddresses),
        result => result,
    }
}

fn check_shape(address: &str) -> Result<(), InvalidEmail> {
    if address.is_empty() {
        return Err(InvalidEmail::Blank);
    }
    let at = the_only_at(address)?;
    let (local, domain) = (&address[..at], &address[at + 1..]);
    if local.is_empty() {
        return Err(InvalidEmail::NoLocalPart);
    }
    if domain.is_empty() {
        return Err(InvalidEmail::NoDomain);
    }
    if address.contains(char::is_whitespace) {
        return Err(InvalidEmail::WhiteSpace);
    }
    if address.contains(char::is_control) {
        return Err(InvalidEmail::ControlCharacter);
    }
    let is_literal = is_address_literal(domain);
    if (!is_quoted(local) && local.contains(FORBIDDEN))
        || (!is_literal && domain.contains(FORBIDDEN))
    {
        return Err(InvalidEmail::ForbiddenCharacter);
    }
    if !is_literal && !is_host_name(domain) {
        return Err(InvalidEmail::NoHostName);
    }
    if address.len() > MAX_EMAIL_BYTES {
        return Err(InvalidEmail::TooLong);
    }
    Ok(())
}

/// The byte offset of the one `@` that no quotes enclose: those of a local part that begins with
/// one. In quotes a backslash takes away the meaning of the next character.
fn the_only_at(address: &str) -> Result<usize, InvalidEmail> {
    // A quote that is never closed encloses nothing.
    let may_quote = address.starts_with('"') && address[1..].contains('"');
    let (mut found, mut quoted, mut escaped) = (None, false, false);
    for (offset, byte) in address.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if may_quote => quoted = !quoted,
            b'@' if !quoted && found.is_some() => return Err(InvalidEmail::ManyAts),
            b'@' if !quoted => found = Some(offset),
            _ => {}
        }
    }
    found.ok_or(InvalidEmail::NoAt)
}

/// Whether the local part is one quoted string.
fn is_quoted(local: &str) -> bool {
    let Some(inside) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut escaped = false;
    for byte in inside.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return false,
            _ => {}
        }
    }
    !escaped
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
fn is_address_literal(domain: &str) -> bool {
    let Some(inside) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    match inside.split_once(':') {
        Some((tag, address)) => {
            tag.eq_ignore_ascii_case("ipv6") && url::Host::parse(&format!("[{address}]")).is_ok()
        }
        None => {
            let is_byte =
                |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u8>().is_ok();
            inside.split('.').count() == 4 && inside.split('.').all(is_byte)
        }
    }
}

/// Two labels or more, of letters and marks of any script, digits and hyphens.
fn is_host_name(domain: &str) -> bool {
    let mut labels = 0;
    for label in domain.split('.') {
        labels += 1;
        if label.is_empty() || !label.chars().all(is_of_label) {
            return false;
        }
    }
    labels > 1
}

fn is_of_label(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '-';
    }
    c.is_alphanumeric() || c.general_category_group() == GeneralCategoryGroup::Mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::email::unwrap::{Wrapping, is_invisible};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn parse(text: &str) -> Result<String, InvalidEmail> {
        Email::parse(text).map(|email| email.0)
    }

    fn wrappings(text: &str) -> Vec<Wrapping> {
        let found = Email::parse_wrapped(text).wrappings;
        Wrapping::ALL.into_iter().filter(|&wrapping| found.contains(wrapping)).collect()
    }

    #[test]
    fn lowercases_ascii_alone() {
        assert_eq!(parse("John.DOE+Tag@Example.COM").unwrap(), "john.doe+tag@example.com");
        assert_eq!(parse("ÄNNE@BÜCHER.example").unwrap(), "Änne@bÜcher.example");
    }

    #[test]
    fn takes_off_what_surrounds_an_address_and_names_it() {
        use Wrapping::*;
        for (text, kinds) in [
            ("a@x.io", &[][..]),
            ("\u{feff}a@\u{200b}x\u{ad}.io\u{202c}", &[InvisibleCharacters]),
            ("\u{a0} a@x.io\r\n", &[WhiteSpace]),
            ("Ann Lee <a@x.io>", &[Name]),
            ("\"Lee, Ann\" <a@x.io>", &[Name]),
            ("a@x.io <a@x.io>", &[Name]),
            ("Ann @ Work <a@x.io>", &[Name]),
            ("MailTo:a@x.io?subject=Hi", &[Mailto]),
            ("<mailto:a@x.io>", &[Mailto, Brackets]),
            ("[a@x.io]", &[Brackets]),
            ("{\"a@x.io\"}", &[Brackets, Quotes]),
            ("'a@x.io'", &[Quotes]),
            ("“a@x.io”", &[Quotes]),
            ("a@x.io ,", &[WhiteSpace, TrailingMark]),
            ("Ann <a@x.io>;", &[Name, TrailingMark]),
            ("=\"a@x.io\"", &[Formula]),
        ] {
            assert_eq!(parse(text).as_deref(), Ok("a@x.io"), "{text:?}");
            assert_eq!(wrappings(text), kinds, "{text:?}");
        }
        assert_eq!(wrappings("  "), []);
    }

    #[test]
    fn names_each_reason() {
        use InvalidEmail::*;
        for (text, reason) in [
            ("", Blank),
            (" \u{feff}\t", Blank),
            ("\"\"", Blank),
            ("john.doe", NoAt),
            ("\"a@b\"", NoHostName),
            ("a@b@c.io", ManyAts),
            ("a@x.io,b@x.io", SeveralAddresses),
            ("a@x.io / b@x.io", SeveralAddresses),
            ("{a@x.io,b@x.io}", SeveralAddresses),
            ("Ann <a@x.io>, Bob <b@x.io>", SeveralAddresses),
            ("b@x.io <a@x.io>", SeveralAddresses),
            ("@example.com", NoLocalPart),
            ("john@", NoDomain),
            ("john doe@example.com", WhiteSpace),
            ("john\u{a0}doe@example.com", WhiteSpace),
            ("john\u{7}@example.com", ControlCharacter),
            ("a:b@x.io", ForbiddenCharacter),
            ("a@x.io (Ann)", WhiteSpace),
            ("1,a@x.io", ForbiddenCharacter),
            ("<email>a@x.io</email>", ForbiddenCharacter),
            ("a@x,y.io", ForbiddenCharacter),
            ("a\"b@x.io", ForbiddenCharacter),
            ("a@localhost", NoHostName),
            ("a@x..io", NoHostName),
            ("a@.io", NoHostName),
            ("a@x_y.io", NoHostName),
            ("a@x.io/path", NoHostName),
            ("a@[1.2.3]", ForbiddenCharacter),
            ("a\\@b@x.io", ManyAts),
            ("\"a\"\"b\"@x.io", ForbiddenCharacter),
            ("\"a\\\"@x.io", NoAt),
        ] {
            assert_eq!(parse(text), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn unusual_addresses_stay_as_they_are() {
        for text in [
            "\"a@b\"@example.com",
            "\"a\\\"@b\"@example.com",
            "\"a,b<c>\"@example.com",
            "o'neil@example.com",
            "=?`@example.com",
            "a@[192.0.2.1]",
            "a@[ipv6:2001:db8::1]",
            "a@例え.テスト",
            "a@दिल्ली.भारत",
            "a@xn--bcher-kva.example",
        ] {
            assert_eq!(parse(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn length_counts_bytes_after_unwrapping() {
        let longest = format!("{}@example.com", "a".repeat(MAX_EMAIL_BYTES - "@example.com".len()));
        assert_eq!(parse(&format!("  {longest}  ")).unwrap(), longest);
        assert_eq!(parse(&format!("a{longest}")), Err(InvalidEmail::TooLong));
        let umlauts = format!("{}@example.com", "ä".repeat(125));
        assert_eq!(parse(&umlauts), Err(InvalidEmail::TooLong));
    }

    #[test]
    fn an_address_is_distinguished_from_other_text() {
        let texts = ["a@x.io", " <a@x.io>, ", "a@b", "hello", "a@x.io b@x.io", ""];
        assert_eq!(texts.map(is_address), [true, true, false, false, false, false]);
        let literals =
            ["a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "a@[x]", "a@[192.0.2.1", "a@192.0.2.1]"];
        assert_eq!(literals.map(|text| parse(text).is_ok()), [true, true, false, false, false]);
        let literals = ["[+1.0.2.1]", "[192.0.2.256]", "[IPv4:2001:db8::1]", "[IPv6:x]"];
        assert!(literals.iter().all(|literal| !is_address_literal(literal)));
    }

    #[test]
    fn nearly_every_address_is_known_for_one_at_a_glance() {
        let of_length = |bytes: usize| format!("{}@example.com", "a".repeat(bytes - 12));
        let usual = ["a@x.io", "A.b_c-d+e'f1@Sub-2.9.Example.co.uk", &of_length(MAX_EMAIL_BYTES)];
        assert!(usual.iter().all(|text| is_plain(text)));
        for other in ["a", "@x.io", "a@x", "a@.x.io", "a@x.io.", "a@x..io", "a@b@x.io", "a b@x.io"]
        {
            assert!(!is_plain(other), "{other:?}");
        }
        let longer = of_length(MAX_EMAIL_BYTES + 1);
        for other in ["ä@x.io", "a@ü.io", "a@x_y.io", "<a@x.io>", "\"a\"@x.io", &longer] {
            assert!(!is_plain(other), "{other:?}");
        }
    }

    #[test]
    fn a_digest_depends_on_the_salt_and_the_email() {
        let digest = |salt: &[u8], email| salted_digest(salt, email);
        assert_eq!(digest(b"s", "a@x.io"), digest(b"s", "a@x.io"));
        assert_eq!(digest(b"s", "a@x.io").len(), 32);
        assert_ne!(digest(b"s", "a@x.io"), digest(b"t", "a@x.io"));
        assert_ne!(digest(b"s", "a@x.io"), digest(b"s", "b@x.io"));
    }

    #[test]
    fn each_reason_has_a_code_and_words_of_its_own() {
        let distinct = |texts: Vec<String>| texts.into_iter().collect::<BTreeSet<_>>().len();
        let all = InvalidEmail::ALL;
        assert_eq!(distinct(all.map(|reason| reason.code().to_owned()).to_vec()), all.len());
        assert_eq!(distinct(all.map(|reason| reason.to_string()).to_vec()), all.len());
    }

    /// Addresses and what people and programs put around them.
    fn wrapped() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a@x.io",
            "b.c+d@ü.example",
            "Ann",
            "mailto:",
            "<",
            ">",
            "\"",
            "'",
            "[",
            "]",
            "(",
            ")",
            "{",
            "}",
            "=\"",
            ",",
            ";",
            " ",
            "\u{200b}",
            "\u{ad}",
            "@",
            "?",
            ":",
            "“",
            "”",
        ]);
        prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]
        #[test]
        fn what_was_unwrapped_is_not_unwrapped_again(text in prop_oneof![wrapped(), any::<String>()]) {
            let once = unwrap(&text);
            let twice = unwrap(&once.text);
            prop_assert_eq!(&twice.text, &once.text);
            prop_assert!(twice.wrappings.is_empty(), "{:?} {:?}", text, twice);
        }

        #[test]
        fn the_usual_form_is_checked_like_any_other(text in prop_oneof![
            wrapped(), "[a-z'.@-]{0,12}", "[a-z'.+]{1,9}@[a-z.-]{1,9}",
        ]) {
            if is_plain(&text) {
                prop_assert!(check(&text).is_ok());
                prop_assert!(unwrap(&text).wrappings.is_empty(), "{:?}", text);
            }
        }

        #[test]
        fn a_valid_address_stays_unchanged(text in prop_oneof![
            wrapped(),
            "[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,20}@[a-z0-9-]{1,9}\\.[a-z]{1,5}",
            "\"[ -~]{0,9}\"@[a-z]{1,9}\\.io",
        ]) {
            if check(&text).is_ok() && !text.contains(is_invisible) {
                let unwrapped = unwrap(&text);
                prop_assert!(unwrapped.wrappings.is_empty(), "{:?}", unwrapped);
                prop_assert_eq!(Email::parse(&text).unwrap().0, text.to_ascii_lowercase());
            }
        }

        #[test]
        fn normalizing_twice_changes_nothing(text in prop_oneof![wrapped(), any::<String>()]) {
            if let Ok(once) = Email::parse(&text) {
                let twice = Email::parse_wrapped(once.as_str());
                prop_assert_eq!(twice.email, Ok(once));
                prop_assert!(twice.wrappings.is_empty());
            }
        }

        #[test]
        fn what_is_accepted_keeps_the_rules(text in prop_oneof![wrapped(), any::<String>()]) {
            if let Ok(email) = Email::parse(&text) {
                let address = email.as_str();
                prop_assert!(address.len() <= MAX_EMAIL_BYTES);
                prop_assert!(!address.chars().any(|c| c.is_whitespace() || c.is_control() || is_invisible(c)));
                prop_assert!(!address.bytes().any(|b| b.is_ascii_uppercase()));
                prop_assert!(address.contains('@'));
            }
        }
    }
}
