//! Which customer an email resolves to: made-up customers without limit, each a function of the
//! seed, the email and the revision.

use std::borrow::Cow;

use super::address;
use super::changes::{self, Change, Event};
use super::customer::{Customer, Origin};
use super::hash::{mix, text, unit};

/// The share of emails that no customer has.
const UNKNOWN: f64 = 0.08;

/// The share of tagged addresses (`name+tag@`) that resolve to the customer of the plain one.
const TAG_IS_ALIAS: f64 = 0.25;

/// The share of households that own a device in common.
const SHARING: f64 = 0.3;

/// Addresses that begin so are never a customer's.
const NEVER: &str = "missing";

/// Addresses that begin so always are.
const ALWAYS: &str = "known";

/// All customers of one organization.
#[derive(Debug)]
pub(super) struct Customers {
    pub(super) seed: u64,
}

/// What an email stands for at some revision.
#[derive(Debug)]
struct Entry<'a> {
    customer: Customer<'a>,
    presence: Presence,
}

/// Whether the email resolves to its customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Found,
    /// Nobody has had the email so far.
    Unknown,
    /// Not before this revision.
    AwayUntil(u32),
    /// The customer has another address.
    Moved,
}

impl Customers {
    /// The customer that `email` resolves to, if there is one.
    pub(super) fn get<'a>(&self, email: &'a str, revision: u32) -> Option<Customer<'a>> {
        let email = address::lowercase(email);
        if email.starts_with(NEVER) {
            return None;
        }
        if revision > 0
            && let Some(old) = address::before_change(&email)
        {
            let mut entry = self.entry(old.into(), revision);
            if entry.presence == Presence::Moved {
                entry.customer.email = email;
                return Some(entry.customer);
            }
        }
        let Entry { customer, presence } = self.entry(self.resolve_tag(email), revision);
        let is_found = match presence {
            Presence::Found => true,
            Presence::AwayUntil(back) => back <= revision,
            Presence::Unknown | Presence::Moved => false,
        };
        is_found.then_some(customer)
    }

    fn resolve_tag<'a>(&self, email: Cow<'a, str>) -> Cow<'a, str> {
        match address::without_tag(&email) {
            Some(plain) if unit(mix(text(self.seed, &email), 1)) < TAG_IS_ALIAS => plain.into(),
            _ => email,
        }
    }

    /// The email's entry after all changes up to `revision`.
    fn entry<'a>(&self, email: Cow<'a, str>, revision: u32) -> Entry<'a> {
        let root = text(self.seed, &email);
        let always = email.starts_with(ALWAYS);
        let home = address::household(self.seed, &email).filter(|it| unit(mix(*it, 3)) < SHARING);
        let mut presence = Presence::Found;
        if !always && unit(mix(root, 2)) < UNKNOWN {
            presence = Presence::Unknown;
        }
        let mut customer = Customer::new(Origin { id: root, root, home }, email);
        for Event { revision, change, draw } in changes::up_to(revision, root) {
            if presence == Presence::Unknown {
                presence = Presence::Found;
                continue;
            }
            match change {
                Change::Gone if !always && presence != Presence::Moved => {
                    presence = Presence::AwayUntil(revision + 1 + draw as u32 % 3);
                }
                Change::Moved if !always => presence = Presence::Moved,
                Change::Replaced => {
                    let origin = Origin { id: mix(root, draw), root, home };
                    customer = Customer::new(origin, customer.email);
                }
                change => customer.apply(change, draw),
            }
        }
        Entry { customer, presence }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;
    use serde_json::Value;
    use std::collections::{HashMap, HashSet};

    fn text_of(seed: u64, email: &str, revision: u32) -> Option<String> {
        let customer = Customers { seed }.get(email, revision)?;
        Some(String::from_utf8(json::write(&customer, "org_sandbox")).unwrap())
    }

    fn emails() -> impl Iterator<Item = String> {
        (0..10_000).map(|n| format!("user{n}@example.com"))
    }

    fn customer(email: &str, revision: u32) -> Option<Value> {
        let text = text_of(0, email, revision)?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    fn texts<'a>(customer: &'a Value, list: &str) -> Vec<&'a str> {
        customer[list].as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
    }

    #[test]
    fn reads_as_the_api_writes() {
        let emails =
            ["Known.Doe@Example.com", "known7@x.io", "known_anna-maria@x.io", "known@x.io"];
        let texts = emails.map(|email| text_of(0, email, 0).unwrap());
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn letter_case_makes_no_difference_and_the_seed_does() {
        let plain = text_of(0, "known.ünal@example.com", 3);
        assert_eq!(text_of(0, "KNOWN.Ünal@EXAMPLE.com", 3), plain);
        assert_ne!(text_of(1, "known.ünal@example.com", 3), plain);
    }

    #[test]
    fn about_one_in_twelve_is_unknown_and_prefixes_choose() {
        let unknown = emails().filter(|email| customer(email, 0).is_none()).count();
        assert!((750..850).contains(&unknown), "{unknown}");
        for n in 0..500 {
            for revision in [0, 20] {
                assert!(customer(&format!("missing{n}@x.io"), revision).is_none());
                assert!(customer(&format!("Known{n}@x.io"), revision).is_some());
            }
        }
    }

    #[test]
    fn about_four_devices_and_six_orders() {
        let all: Vec<Value> = emails().filter_map(|email| customer(&email, 0)).collect();
        let mean = |list| {
            all.iter().map(|one| texts(one, list).len()).sum::<usize>() as f64 / all.len() as f64
        };
        let (devices, orders) = (mean("devices"), mean("orders"));
        assert!((3.85..4.05).contains(&devices), "{devices}");
        assert!((5.8..6.1).contains(&orders), "{orders}");
    }

    #[test]
    fn every_field_is_left_out_or_null_for_some() {
        let all: Vec<Value> = emails().filter_map(|email| customer(&email, 0)).collect();
        for field in ["phone", "address"] {
            let share = |of: fn(Option<&Value>) -> bool| {
                all.iter().filter(|one| of(one.get(field))).count() * 100 / all.len()
            };
            assert!((13..17).contains(&share(|value| value.is_none())), "{field}");
            assert!((10..14).contains(&share(|value| value == Some(&Value::Null))), "{field}");
        }
        assert!(all.iter().any(|one| one["metadata"].as_object().unwrap().is_empty()));
        let numbers = |one: &Value| one["metadata"].to_string().contains("\"balance\":1.50");
        assert!(all.iter().any(numbers));
    }

    #[test]
    fn some_devices_belong_to_a_household_and_the_others_to_one_customer() {
        let mut owners: HashMap<String, Vec<String>> = HashMap::new();
        for email in emails() {
            for device in customer(&email, 0).iter().flat_map(|one| texts(one, "devices")) {
                owners.entry(device.into()).or_default().push(email.clone());
            }
        }
        let shared = owners.values().filter(|owners| owners.len() > 1).count();
        assert!((1000..1400).contains(&shared), "{shared}");
        let shared = |a: &str, b: &str| {
            let (a, b) = (customer(a, 0).unwrap(), customer(b, 0).unwrap());
            let (a, b): (HashSet<_>, HashSet<_>) = (
                texts(&a, "devices").into_iter().collect(),
                texts(&b, "devices").into_iter().collect(),
            );
            a.intersection(&b).count()
        };
        let families = (0..40).filter(|n| {
            shared(&format!("known-a.lee@{n}.io"), &format!("known-b.lee@{n}.io")) == 1
        });
        assert!((5..20).contains(&families.count()));
        assert_eq!(shared("known.alone@x.io", "known.other@x.io"), 0);
    }

    #[test]
    fn some_tagged_addresses_resolve_to_the_customer_of_the_plain_one() {
        let plain = customer("known.doe@x.io", 0).unwrap();
        let same = (0..400)
            .filter_map(|n| customer(&format!("known.doe+{n}@x.io"), 0))
            .filter(|tagged| tagged["id"] == plain["id"])
            .inspect(|tagged| assert_eq!(tagged["email"], "known.doe@x.io"))
            .count();
        assert!((80..120).contains(&same), "{same}");
    }

    #[test]
    fn one_in_twenty_changes_from_one_revision_to_the_next() {
        for revision in [0, 1, 7] {
            let differs =
                |email: &String| text_of(0, email, revision) != text_of(0, email, revision + 1);
            let changed = emails().filter(differs).count();
            assert!((430..570).contains(&changed), "{changed} after {revision}");
        }
    }

    #[test]
    fn an_unknown_email_can_come_to_be_known() {
        let here = |email: &str, revision| customer(email, revision).is_some();
        let comes = |email: &String| !here(email, 0) && here(email, 20);
        let came = emails().take(2000).filter(comes).count();
        assert!((80..125).contains(&came), "{came}");
    }

    #[test]
    fn customers_go_and_return() {
        let here = |email: &str, revision| customer(email, revision).is_some();
        let goes_and_returns = |email: &String| {
            (1..12).any(|at| here(email, at - 1) && !here(email, at) && here(email, at + 3))
        };
        assert!((40..80).contains(&emails().take(2000).filter(goes_and_returns).count()));
    }

    #[test]
    fn a_customer_who_moves_is_found_under_the_new_address_alone() {
        let mut moved = 0;
        for n in 0..10_000 {
            let (old, new) = (format!("user{n}@example.com"), format!("user{n}.new@example.com"));
            let (Some(before), None) = (customer(&old, 0), customer(&old, 1)) else { continue };
            let Some(after) = customer(&new, 1).filter(|one| one["id"] == before["id"]) else {
                continue;
            };
            assert_eq!(after["email"], new.as_str());
            assert_ne!(customer(&new, 0).map(|one| one["id"].clone()), Some(before["id"].clone()));
            moved += 1;
        }
        assert!((8..25).contains(&moved), "{moved}");
    }

    #[test]
    fn an_email_can_come_to_resolve_to_another_customer() {
        let id = |email: &str, revision| customer(email, revision).map(|one| one["id"].clone());
        let replaced = |email: &String| {
            let (before, after) = (id(email, 0), id(email, 1));
            before.is_some() && after.is_some() && before != after
        };
        assert!((10..32).contains(&emails().filter(replaced).count()));
    }

    #[test]
    fn any_text_for_an_email_is_answered_with_valid_json() {
        for odd in [
            "@",
            "a\"b\\c@x\u{1}",
            "knownÄ.\u{2028}ß@",
            "+@",
            "known",
            ".new@x",
            "known99999999999999999999@x",
        ] {
            for revision in [0, 5, u32::MAX] {
                customer(odd, revision);
            }
        }
    }
}
