//! Which column holds the emails: by the usual names of one, or as the user names it.
//!
//! Pure: no clock, no I/O.

use crate::domain::email::is_address;
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
    "emailprimary",
    "email1",
    "email1value",
    "emailaddress1",
    "emailaddressrequired",
    "useremail",
    "fromemailaddress",
    "memberemail",
    "subscriberemail",
    "attendeeemail",
    "inviteeemail",
    "billingemail",
    "workemail",
    "businessemail",
    "personalemail",
    "userprincipalname",
    "customeremail",
    "contactemail",
    "emailadresse",
    "emailadresse1",
    "mailadresse",
    "correo",
    "correoelectrónico",
    "correoelectronico",
    "direccióndecorreo",
    "direcciondecorreo",
    "direccióndecorreoelectrónico",
    "direcciondecorreoelectronico",
    "adreçaelectrònica",
    "courriel",
    "adressedemessagerie",
    "adresseemail1",
    "adresseemail",
    "adressemail",
    "adressecourriel",
    "adresseélectronique",
    "adresseelectronique",
    "indirizzoemail",
    "indirizzodiposta",
    "indirizzodipostaelettronica",
    "indirizzopostaelettronica",
    "postaelettronica",
    "correio",
    "correioeletrônico",
    "correioeletronico",
    "endereçodeemail",
    "enderecodeemail",
    "endereçodecorreioeletrónico",
    "endereçodecorreioeletrônico",
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
    "adrespocztyelektronicznej",
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
    "адресэлпочты",
    "элпочта",
    "електроннапошта",
    "имейл",
    "ηλεκτρονικόταχυδρομείο",
    "διεύθυνσηηλεκτρονικούταχυδρομείου",
    "メール",
    "メールアドレス",
    "電子メール",
    "電子メールアドレス",
    "邮箱",
    "电子邮箱",
    "电子邮件",
    "电子邮件地址",
    "電子郵件",
    "電子郵件地址",
    "電子信箱",
    "이메일",
    "이메일주소",
    "البريدالإلكتروني",
    "דואל",
];

/// What a longer name begins or ends with, as in `Kunden-E-Mail` or `email_1`.
const KNOWN_PARTS: &[&str] = &[
    "email",
    "emailaddress",
    "mail",
    "correo",
    "correoelectrónico",
    "correoelectronico",
    "courriel",
    "epost",
    "eposta",
    "messagerie",
    "mailadresse",
    "mailadres",
    "postaelettronica",
    "sähköposti",
    "почта",
    "почты",
    "メール",
    "メールアドレス",
    "邮箱",
    "邮件",
    "이메일",
];

/// What the sampled rows of a column hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Evidence {
    Addresses,
    Otherwise,
    /// Nothing was seen.
    Unknown,
}

/// What the sampled cells of one column hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct Sampled {
    filled: usize,
    addresses: usize,
}

impl Sampled {
    /// Blank cells say nothing.
    pub(in crate::source) fn add(&mut self, cell: &str) {
        if cell.trim().is_empty() {
            return;
        }
        self.filled += 1;
        self.addresses += usize::from(is_address(cell));
    }

    /// Addresses are 80% or more.
    pub(in crate::source) fn evidence(self) -> Evidence {
        match self.filled {
            0 => Evidence::Unknown,
            _ if self.addresses * 5 >= self.filled * 4 => Evidence::Addresses,
            _ => Evidence::Otherwise,
        }
    }
}

/// A column, counted from 0, and the others that could have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Choice {
    pub(in crate::source) index: usize,
    pub(in crate::source) others: Vec<usize>,
}

impl Choice {
    /// The first of these, if there is one.
    pub(in crate::source) fn first_of(candidates: &[usize]) -> Option<Self> {
        let (&index, others) = candidates.split_first()?;
        Some(Self { index, others: others.to_vec() })
    }
}

/// The columns that their names say to hold emails, best first: those with a usual name, then those
/// whose name contains one. A name means less than what the column holds.
pub(in crate::source) fn by_known_name(
    names: &[String],
    evidence: impl Fn(usize) -> Evidence,
) -> Vec<usize> {
    let mut found: Vec<(bool, usize, bool, usize)> = names
        .iter()
        .enumerate()
        .filter_map(|(index, name)| {
            let held = evidence(index);
            let partly = || is_partly_known(name, held).then_some(usize::MAX);
            let rank = rank(name).or_else(partly)?;
            // Of several columns of one name, those that hold something come first.
            Some((held == Evidence::Otherwise, rank, held == Evidence::Unknown, index))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(.., index)| index).collect()
}

/// The columns that hold addresses, where no name says so.
///
/// # Errors
/// [`ColumnError::NoneKnown`] if there is none.
pub(in crate::source) fn by_content(
    names: &[String],
    sampled: &[Sampled],
) -> Result<Choice, ColumnError> {
    let holding: Vec<usize> = sampled
        .iter()
        .enumerate()
        .filter(|(_, sampled)| sampled.evidence() == Evidence::Addresses)
        .map(|(index, _)| index)
        .collect();
    Choice::first_of(&holding).ok_or_else(|| ColumnError::NoneKnown { columns: names.to_vec() })
}

/// The column that the user names: exactly, else by its number from 1, else with letter case,
/// blanks and hyphens ignored.
///
/// # Errors
/// [`ColumnError::Unknown`] or [`ColumnError::NoSuchNumber`].
pub(in crate::source) fn by_request(names: &[String], wanted: &str) -> Result<Choice, ColumnError> {
    let all = |is: &dyn Fn(&String) -> bool| -> Vec<usize> {
        names.iter().enumerate().filter(|(_, name)| is(name)).map(|(index, _)| index).collect()
    };
    let exact = all(&|name| name == wanted);
    if let Some(choice) = Choice::first_of(&exact) {
        return Ok(choice);
    }
    if let Some(number) = as_number(wanted) {
        return by_number(number, names.len());
    }
    let loose = all(&|name| folded(name) == folded(wanted) && !folded(name).is_empty());
    Choice::first_of(&loose)
        .ok_or_else(|| ColumnError::Unknown { wanted: wanted.to_owned(), columns: names.to_vec() })
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

    fn known(list: &[&str]) -> Vec<usize> {
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
            "E-mail 1 - Value",
            "Email Address [Required]",
            "From Email Address",
            "E-Mail-Adresse",
            "Adresse de messagerie",
            "Courriel",
            "Correo electrónico",
            "CORREO ELECTRONICO",
            "Indirizzo posta elettronica",
            "Endereço de Email",
            "E-mailadres",
            "Sähköposti",
            "e-post",
            "Эл. почта",
            "メール アドレス",
            "UserPrincipalName",
        ] {
            assert_eq!(known(&["id", name, "name"]), [1], "{name}");
        }
        assert_eq!(known(&["id", "mailing list", "e-mailed on"]), [0; 0]);
    }

    #[test]
    fn every_known_name_is_written_as_it_is_compared() {
        for name in KNOWN_NAMES.iter().chain(KNOWN_PARTS) {
            assert_eq!(*name, folded(name));
        }
    }

    #[test]
    fn the_best_name_comes_first() {
        assert_eq!(known(&["Mail", "Billing address (mail)", "E-Mail", "email"]), [2, 3, 0, 1]);
    }

    #[test]
    fn a_column_of_other_things_comes_last() {
        let list = names(&["email", "mail"]);
        let found = by_known_name(&list, |index| match index {
            0 => Evidence::Otherwise,
            _ => Evidence::Addresses,
        });
        assert_eq!(found, [1, 0]);
    }

    #[test]
    fn a_longer_name_needs_addresses_or_the_word_at_its_end() {
        assert_eq!(known(&["id", "Kunden-E-Mail"]), [1]);
        let list = names(&["mailing_list", "email_1st", "has_email"]);
        let found = by_known_name(&list, |index| match index {
            1 => Evidence::Addresses,
            _ => Evidence::Otherwise,
        });
        assert_eq!(found, [1]);
    }

    #[test]
    fn a_wish_is_taken_exactly_then_as_number_then_loosely() {
        let list = names(&["2", "Contact Mail", "contact mail", "x"]);
        assert_eq!(by_request(&list, "contact mail").unwrap().index, 2);
        assert_eq!(by_request(&list, "2").unwrap().index, 0);
        assert_eq!(by_request(&list, "4").unwrap().index, 3);
        assert_eq!(
            by_request(&list, "CONTACT_MAIL").unwrap(),
            Choice { index: 1, others: vec![2] }
        );
        assert_eq!(by_request(&list, "5"), Err(ColumnError::NoSuchNumber { wanted: 5, width: 4 }));
        assert!(matches!(by_request(&list, "y"), Err(ColumnError::Unknown { .. })));
    }
}
