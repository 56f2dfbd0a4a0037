//! Which column holds the emails: by the usual names of one, or as the user names it.
//!
//! Pure: no clock, no I/O.

use crate::source::error::ColumnError;

/// What a column of emails is called, best first, as [`folded`] leaves it. With and without
/// accents where people leave them out.
const KNOWN_NAMES: &[&str] = &[
    "email",
    "emailaddress",
    "emails",
    "mail",
    "mailaddress",
    "emailaddresses",
    "emailid",
    "primaryemail",
    "useremail",
    "customeremail",
    "contactemail",
    "emailadresse",
    "mailadresse",
    "correo",
    "correoelectrónico",
    "correoelectronico",
    "direccióndecorreo",
    "direcciondecorreo",
    "direccióndecorreoelectrónico",
    "direcciondecorreoelectronico",
    "courriel",
    "adresseemail",
    "adressemail",
    "adressecourriel",
    "adresseélectronique",
    "adresseelectronique",
    "indirizzoemail",
    "postaelettronica",
    "correio",
    "correioeletrônico",
    "correioeletronico",
    "endereçodeemail",
    "enderecodeemail",
    "emailadres",
    "mailadres",
    "epost",
    "epostadress",
    "epostadresse",
    "mejl",
    "mejladress",
    "mailadress",
    "sähköposti",
    "sahkoposti",
    "sähköpostiosoite",
    "sahkopostiosoite",
    "adresemail",
    "pocztaelektroniczna",
    "emailováadresa",
    "emailovaadresa",
    "emailcím",
    "emailcim",
    "adresadeemail",
    "eposta",
    "epostaadresi",
    "почта",
    "электроннаяпочта",
    "адресэлектроннойпочты",
    "електроннапошта",
    "имейл",
    "ηλεκτρονικόταχυδρομείο",
    "メール",
    "メールアドレス",
    "邮箱",
    "电子邮箱",
    "电子邮件",
    "電子郵件",
    "電子信箱",
    "이메일",
    "이메일주소",
    "البريدالإلكتروني",
    "דואל",
];

/// What a longer name begins or ends with, as in `Kunden-E-Mail` or `email_1`.
const KNOWN_PARTS: &[&str] = &["email", "emailaddress", "mail", "correo", "courriel", "epost"];

/// What the first rows of a column hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Evidence {
    Addresses,
    Otherwise,
    /// Nothing was seen.
    Unknown,
}

/// A column, counted from 0, and the others that could have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Choice {
    pub(in crate::source) index: usize,
    pub(in crate::source) others: Vec<usize>,
}

/// The column that its name says to hold emails.
///
/// # Errors
/// [`ColumnError::NoneKnown`] when no name does.
pub(in crate::source) fn by_known_name(
    names: &[String],
    evidence: impl Fn(usize) -> Evidence,
) -> Result<Choice, ColumnError> {
    let mut exact: Vec<(bool, usize, usize)> = names
        .iter()
        .enumerate()
        .filter_map(|(index, name)| {
            rank(name).map(|rank| (evidence(index) == Evidence::Otherwise, rank, index))
        })
        .collect();
    exact.sort_unstable();
    let mut candidates: Vec<usize> = exact.into_iter().map(|(_, _, index)| index).collect();
    if candidates.is_empty() {
        candidates = names
            .iter()
            .enumerate()
            .filter(|&(index, name)| is_partly_known(name, evidence(index)))
            .map(|(index, _)| index)
            .collect();
    }
    match candidates.split_first() {
        Some((&index, others)) => Ok(Choice { index, others: others.to_vec() }),
        None => Err(ColumnError::NoneKnown { columns: names.to_vec() }),
    }
}

/// The column that the user names: exactly, else by its number from 1, else with letter case,
/// blanks and hyphens ignored.
///
/// # Errors
/// [`ColumnError::Unknown`] or [`ColumnError::NoSuchNumber`].
pub(in crate::source) fn by_wish(names: &[String], wanted: &str) -> Result<Choice, ColumnError> {
    let all = |is: &dyn Fn(&String) -> bool| -> Vec<usize> {
        names.iter().enumerate().filter(|(_, name)| is(name)).map(|(index, _)| index).collect()
    };
    let exact = all(&|name| name == wanted);
    if let Some((&index, others)) = exact.split_first() {
        return Ok(Choice { index, others: others.to_vec() });
    }
    if let Some(number) = as_number(wanted) {
        return by_number(number, names.len());
    }
    let loose = all(&|name| folded(name) == folded(wanted) && !folded(name).is_empty());
    match loose.split_first() {
        Some((&index, others)) => Ok(Choice { index, others: others.to_vec() }),
        None => Err(ColumnError::Unknown { wanted: wanted.to_owned(), columns: names.to_vec() }),
    }
}

/// The column of this number, counted from 1.
pub(in crate::source) fn by_number(wanted: usize, width: usize) -> Result<Choice, ColumnError> {
    if wanted == 0 || wanted > width {
        return Err(ColumnError::NoSuchNumber { wanted, width });
    }
    Ok(Choice { index: wanted - 1, others: Vec::new() })
}

/// `text` as a column's number, if it is written as one.
pub(in crate::source) fn as_number(text: &str) -> Option<usize> {
    let text = text.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether this is one of the usual names of a column of emails.
pub(in crate::source) fn is_known(name: &str) -> bool {
    rank(name).is_some()
}

fn rank(name: &str) -> Option<usize> {
    let name = folded(name);
    KNOWN_NAMES.iter().position(|known| *known == name)
}

fn is_partly_known(name: &str, evidence: Evidence) -> bool {
    let name = folded(name);
    let ends = KNOWN_PARTS.iter().any(|part| name.ends_with(part));
    match evidence {
        Evidence::Addresses => ends || KNOWN_PARTS.iter().any(|part| name.starts_with(part)),
        Evidence::Unknown => ends,
        Evidence::Otherwise => false,
    }
}

/// Lowercase letters and digits alone.
fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn known(list: &[&str]) -> Result<Choice, ColumnError> {
        by_known_name(&names(list), |_| Evidence::Unknown)
    }

    #[test]
    fn knows_the_usual_spellings() {
        for name in [
            "email",
            "E-Mail",
            " EMAIL ",
            "e_mail",
            "Email Address",
            "E-Mail-Adresse",
            "Courriel",
            "Correo electrónico",
            "CORREO ELECTRONICO",
            "Sähköposti",
            "e-post",
            "Эл. почта?",
        ] {
            let found = known(&["id", name, "name"]);
            if name.contains('?') {
                assert!(found.is_err(), "{name}");
            } else {
                assert_eq!(found.unwrap().index, 1, "{name}");
            }
        }
    }

    #[test]
    fn every_known_name_is_written_as_it_is_compared() {
        for name in KNOWN_NAMES.iter().chain(KNOWN_PARTS) {
            assert_eq!(*name, folded(name));
        }
    }

    #[test]
    fn the_best_name_wins_and_the_others_are_told() {
        let choice = known(&["Mail", "Billing email", "E-Mail", "email"]).unwrap();
        assert_eq!(choice, Choice { index: 2, others: vec![3, 0] });
    }

    #[test]
    fn a_column_of_other_things_comes_last() {
        let list = names(&["email", "mail"]);
        let choice = by_known_name(&list, |index| match index {
            0 => Evidence::Otherwise,
            _ => Evidence::Addresses,
        });
        assert_eq!(choice.unwrap().index, 1);
    }

    #[test]
    fn a_longer_name_needs_addresses_or_the_word_at_its_end() {
        assert_eq!(known(&["id", "Kunden-E-Mail"]).unwrap().index, 1);
        let list = names(&["mailing_list", "email_1", "has_email"]);
        assert!(known(&["mailing_list", "email_verified"]).is_err());
        let choice = by_known_name(&list, |index| match index {
            1 => Evidence::Addresses,
            _ => Evidence::Otherwise,
        });
        assert_eq!(choice.unwrap(), Choice { index: 1, others: vec![] });
    }

    #[test]
    fn none_known_names_those_that_exist() {
        let error = known(&["id", "na\u{1b}me"]).unwrap_err();
        assert!(error.to_string().contains("`id`, `na\\u{1b}me`"), "{error}");
    }

    #[test]
    fn a_wish_is_taken_exactly_then_as_number_then_loosely() {
        let list = names(&["2", "Contact Mail", "contact mail", "x"]);
        assert_eq!(by_wish(&list, "contact mail").unwrap().index, 2);
        assert_eq!(by_wish(&list, "2").unwrap().index, 0);
        assert_eq!(by_wish(&list, "4").unwrap().index, 3);
        assert_eq!(by_wish(&list, "CONTACT_MAIL").unwrap(), Choice { index: 1, others: vec![2] });
        assert_eq!(by_wish(&list, "5"), Err(ColumnError::NoSuchNumber { wanted: 5, width: 4 }));
        assert!(matches!(by_wish(&list, "y"), Err(ColumnError::Unknown { .. })));
    }
}
