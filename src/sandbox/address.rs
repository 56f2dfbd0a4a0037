//! What an email address says about its owner.

use std::borrow::Cow;

use super::hash::{mix, text};

/// What the local part of an address ends with after its customer has changed it.
const NEW_ADDRESS: &str = ".new";

pub(super) struct Parts<'a> {
    pub(super) local: &'a str,
    pub(super) domain: &'a str,
}

/// The parts before and after the last `@`.
pub(super) fn split(email: &str) -> Parts<'_> {
    let (local, domain) = email.rsplit_once('@').unwrap_or((email, ""));
    Parts { local, domain }
}

/// The address that a customer had before it changed to `email`.
pub(super) fn before_change(email: &str) -> Option<String> {
    let Parts { local, domain } = split(email);
    Some(format!("{}@{domain}", local.strip_suffix(NEW_ADDRESS)?))
}

/// `name@domain` of `name+tag@domain`.
pub(super) fn without_tag(email: &str) -> Option<String> {
    let Parts { local, domain } = split(email);
    Some(format!("{}@{domain}", local.split_once('+')?.0))
}

/// The API ignores letter case.
pub(super) fn lowercase(email: &str) -> Cow<'_, str> {
    if email.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return email.into();
    }
    email.to_lowercase().into()
}

pub(super) struct FullName<'a> {
    pub(super) first: &'a str,
    pub(super) last: &'a str,
}

/// The name in an address such as `ada.lovelace+shop@example.com`.
pub(super) fn full_name(email: &str) -> Option<FullName<'_>> {
    let local = split(email).local;
    let local = local.strip_suffix(NEW_ADDRESS).unwrap_or(local);
    let local = local.split('+').next().unwrap_or_default();
    let local = local.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_name = |word: &str| word.chars().count() > 1 && word.chars().all(char::is_alphabetic);
    let (first, last) = local.split_once(['.', '_', '-'])?;
    (is_name(first) && is_name(last)).then_some(FullName { first, last })
}

/// The household of those who share a surname, or have neighboring numbers, at one domain:
/// `ann.lee@x` and `bob.lee@x`; `user10@x` and `user11@x`.
pub(super) fn household(seed: u64, email: &str) -> Option<u64> {
    let Parts { local, domain } = split(email);
    let local = local.split('+').next().unwrap_or_default();
    let stem = local.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &local[stem.len()..];
    let name = stem.rsplit(['.', '_', '-']).next().unwrap_or_default();
    if digits.is_empty() && name.len() == stem.len() {
        return None;
    }
    let pair = digits.parse::<u64>().unwrap_or_default() / 2;
    Some(mix(text(seed, name) ^ text(!seed, domain), pair))
}
