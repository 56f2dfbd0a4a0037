//! Who stands behind an email: made-up customers without limit, each a function of the seed, the
//! email and the revision.
//!
//! Pure: no clock, no I/O.

use std::borrow::Cow;

use super::changes::{self, Change};
use super::hash::{below, mix, pick, text, unit};
use super::{names, record};

/// The share of emails that no customer has.
const UNKNOWN: f64 = 0.08;

/// The share of tagged addresses (`name+tag@`) that lead to the customer of the plain one.
const TAG_IS_ALIAS: f64 = 0.25;

/// The share of households that own a device in common.
const SHARING: f64 = 0.3;

/// Addresses that begin so are never a customer's.
const NEVER: &str = "missing";

/// Addresses that begin so always are.
const ALWAYS: &str = "known";

/// What the local part of an address ends with after its customer has changed it.
const NEW_ADDRESS: &str = ".new";

/// How many devices a customer has: about four.
const DEVICES: [usize; 16] = [0, 1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6];

/// How many orders a customer has: about six.
const ORDERS: [usize; 16] = [0, 1, 2, 3, 4, 4, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12];

/// All customers of one seed.
#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) organization: String,
}

/// A field that may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Absent,
    Null,
    /// Text made from this hash.
    Text(u64),
}

/// One customer, before it is written out. Numbers are hashes from which the text is made.
#[derive(Debug)]
pub(super) struct Customer<'a> {
    pub(super) id: u64,
    pub(super) email: Cow<'a, str>,
    pub(super) phone: Given,
    pub(super) address: Given,
    pub(super) devices: Vec<u64>,
    pub(super) orders: Vec<Order>,
    /// How often its metadata has changed.
    pub(super) contacts: u32,
}

/// One order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) year: u64,
    pub(super) number: u64,
}

/// Whether the email leads to its customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Here,
    /// Not yet.
    Unknown,
    /// Not before this revision.
    AwayUntil(u32),
    /// The customer has another address.
    Moved,
}

impl World {
    /// The JSON of the customer whom `email` leads to, if there is one.
    pub(super) fn customer(&self, email: &str, revision: u32) -> Option<String> {
        let email = lowercase(email);
        let (local, domain) = split(&email);
        if local.starts_with(NEVER) {
            return None;
        }
        if let Some(old) = local.strip_suffix(NEW_ADDRESS).filter(|_| revision > 0) {
            let (mut customer, presence) = self.find(format!("{old}@{domain}").into(), revision);
            if presence == Presence::Moved {
                customer.email = email;
                return Some(record::write(&customer, &self.organization));
            }
        }
        let own = match local.split_once('+') {
            Some((plain, _)) if unit(mix(text(self.seed, &email), 1)) < TAG_IS_ALIAS => {
                format!("{plain}@{domain}").into()
            }
            _ => email,
        };
        let (customer, presence) = self.find(own, revision);
        let here = match presence {
            Presence::Here => true,
            Presence::AwayUntil(back) => back <= revision,
            Presence::Unknown | Presence::Moved => false,
        };
        here.then(|| record::write(&customer, &self.organization))
    }

    /// The customer as all changes up to `revision` have left it.
    fn find<'a>(&self, email: Cow<'a, str>, revision: u32) -> (Customer<'a>, Presence) {
        let root = text(self.seed, &email);
        let always = email.starts_with(ALWAYS);
        let mut presence = Presence::Here;
        if !always && unit(mix(root, 2)) < UNKNOWN {
            presence = Presence::Unknown;
        }
        let mut customer = Customer::at_first(root, root, email, self.seed);
        for (at, change, draw) in changes::up_to(revision, root) {
            if presence == Presence::Unknown {
                presence = Presence::Here;
                continue;
            }
            match change {
                Change::Gone if !always && presence != Presence::Moved => {
                    presence = Presence::AwayUntil(at + 1 + draw as u32 % 3);
                }
                Change::Moved if !always => presence = Presence::Moved,
                Change::Replaced => {
                    customer = Customer::at_first(mix(root, draw), root, customer.email, self.seed);
                }
                change => customer.apply(change, draw),
            }
        }
        (customer, presence)
    }
}

impl<'a> Customer<'a> {
    /// A customer whom nothing has happened to. `id` tells it from others under the same email.
    fn at_first(id: u64, root: u64, email: Cow<'a, str>, seed: u64) -> Self {
        let home = household(seed, &email).filter(|home| unit(mix(*home, 3)) < SHARING);
        let mut devices: Vec<u64> =
            (0..pick(mix(id, 4), &DEVICES)).map(|n| mix(id ^ 0xd0, n as u64)).collect();
        if let (Some(home), Some(first)) = (home, devices.first_mut()) {
            *first = mix(home, 5);
        }
        let created = record::created_year(id);
        let years = record::THIS_YEAR - created + 1;
        let orders = pick(mix(id, 6), &ORDERS) as u64;
        let order = |n| Order { year: created + n * years / orders, number: mix(id ^ 0x0d, n) };
        let mut orders: Vec<Order> = (0..orders).map(order).collect();
        orders.sort_unstable();
        Self {
            id,
            email,
            phone: given(mix(id, 7), mix(id, 8)),
            address: given(mix(id, 9), mix(home.unwrap_or(root), 10)),
            devices,
            orders,
            contacts: 0,
        }
    }

    fn apply(&mut self, change: Change, draw: u64) {
        match change {
            Change::DeviceRemoved if !self.devices.is_empty() => {
                self.devices.remove(below(draw, self.devices.len()));
            }
            Change::DeviceAdded | Change::DeviceRemoved => self.devices.push(draw),
            Change::Phone => self.phone = Given::Text(draw),
            Change::Address => self.address = Given::Text(draw),
            Change::Metadata => self.contacts += 1,
            Change::OrderAdded | Change::Gone | Change::Moved | Change::Replaced => {
                self.orders.push(Order { year: record::THIS_YEAR + 1, number: draw });
            }
        }
    }
}

fn given(kind: u64, value: u64) -> Given {
    match below(kind, 100) {
        0..15 => Given::Absent,
        15..27 => Given::Null,
        _ => Given::Text(value),
    }
}

/// Those who share a surname, or have neighbouring numbers, at one domain: `ann.lee@x` and
/// `bob.lee@x`; `user10@x` and `user11@x`.
fn household(seed: u64, email: &str) -> Option<u64> {
    let (local, domain) = split(email);
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

/// The name of a customer: that of the address if it reads like one.
pub(super) fn name(customer: &Customer<'_>) -> (Cow<'static, str>, Cow<'static, str>) {
    let (local, _) = split(&customer.email);
    let local = local.strip_suffix(NEW_ADDRESS).unwrap_or(local);
    let local = local.split('+').next().unwrap_or_default();
    let local = local.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_name = |word: &&str| word.chars().count() > 1 && word.chars().all(char::is_alphabetic);
    let words = local.split_once(['.', '_', '-']);
    match words.filter(|(first, last)| is_name(first) && is_name(last)) {
        Some((first, last)) => (capitalized(first).into(), capitalized(last).into()),
        None => (
            pick(mix(customer.id, 11), &names::FIRST).into(),
            pick(mix(customer.id, 12), &names::LAST).into(),
        ),
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// The API ignores letter case.
fn lowercase(email: &str) -> Cow<'_, str> {
    if email.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return email.into();
    }
    email.to_lowercase().into()
}

/// The parts before and after the last `@`.
fn split(email: &str) -> (&str, &str) {
    email.rsplit_once('@').unwrap_or((email, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::{HashMap, HashSet};

    fn world() -> World {
        World { seed: 0, organization: "org_sandbox".into() }
    }

    fn emails() -> impl Iterator<Item = String> {
        (0..10_000).map(|n| format!("user{n}@example.com"))
    }

    fn customer(email: &str, revision: u32) -> Option<Value> {
        let text = world().customer(email, revision)?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    fn texts<'a>(customer: &'a Value, list: &str) -> Vec<&'a str> {
        customer[list].as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
    }

    #[test]
    fn reads_as_the_api_writes() {
        let emails =
            ["Known.Doe@Example.com", "known7@x.io", "known_anna-maria@x.io", "known@x.io"];
        let texts = emails.map(|email| world().customer(email, 0).unwrap());
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn letter_case_makes_no_difference_and_the_seed_does() {
        let plain = world().customer("known.ünal@example.com", 3);
        assert_eq!(world().customer("KNOWN.Ünal@EXAMPLE.com", 3), plain);
        let other = World { seed: 1, ..world() };
        assert_ne!(other.customer("known.ünal@example.com", 3), plain);
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
    fn some_tagged_addresses_lead_to_the_customer_of_the_plain_one() {
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
            let differs = |email: &String| {
                world().customer(email, revision) != world().customer(email, revision + 1)
            };
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
    fn an_email_can_come_to_lead_to_another_customer() {
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
