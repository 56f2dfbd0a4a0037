//! A customer's JSON, as the API writes it.

use std::fmt::{self, Display, Formatter};
use std::sync::LazyLock;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::customer::{Address, Customer, Device, Field, Order, Phone, THIS_YEAR, created_year};
use super::hash::{below, mix, pick};
use super::{address, names};

/// The bytes that nearly every customer's JSON fits in.
const USUAL_LENGTH: usize = 1024;

/// The body of a 200.
pub(super) fn write(customer: &Customer<'_>, organization: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_LENGTH);
    let body = Body::of(customer, organization);
    serde_json::to_writer(&mut out, &body).expect("a Vec takes texts, numbers and lists");
    out
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    id: Text<Id>,
    organization_id: &'a str,
    name: Text<Name<'a>>,
    email: &'a str,
    #[serde(skip_serializing_if = "Field::is_absent")]
    phone: Field<Phone>,
    #[serde(skip_serializing_if = "Field::is_absent")]
    address: Field<Address>,
    devices: &'a [Device],
    orders: &'a [Order],
    metadata: Metadata,
    created_at: Text<CreatedAt>,
    /// Some deployments send it.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Text<UpdatedAt>>,
}

impl<'a> Body<'a> {
    fn of(customer: &'a Customer<'_>, organization: &'a str) -> Self {
        let id = customer.id;
        Self {
            id: Text(Id(id)),
            organization_id: organization,
            name: Text(Name { email: &customer.email, id }),
            email: &customer.email,
            phone: customer.phone,
            address: customer.address,
            devices: &customer.devices,
            orders: &customer.orders,
            metadata: Metadata::of(customer),
            created_at: Text(CreatedAt(id)),
            updated_at: (below(mix(id, 20), 100) < 3).then_some(Text(UpdatedAt)),
        }
    }
}

/// Writes what it shows as a JSON string.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<T> Field<T> {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T: Display> Serialize for Field<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_none(),
            Self::Value(value) => serializer.collect_str(value),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct Id(u64);

impl Display for Id {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "cust_{:012x}", self.0 >> 16)
    }
}

/// That of the address if it reads like a name, otherwise one made from the id.
struct Name<'a> {
    email: &'a str,
    id: u64,
}

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(name) = address::full_name(self.email) {
            return write!(f, "{} {}", Capitalized(name.first), Capitalized(name.last));
        }
        let first = pick(mix(self.id, 11), &names::FIRST);
        write!(f, "{first} {}", pick(mix(self.id, 12), &names::LAST))
    }
}

struct Capitalized<'a>(&'a str);

impl Display for Capitalized<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut letters = self.0.chars();
        if let Some(first) = letters.next() {
            write!(f, "{}", first.to_uppercase())?;
        }
        f.write_str(letters.as_str())
    }
}

impl Display for Phone {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let area = pick(mix(self.0, 1), &names::AREAS);
        write!(f, "+1-{area}-555-01{:02}", below(self.0, 100))
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let city = pick(mix(self.0, 1), &names::CITIES);
        let street = pick(mix(self.0, 2), &names::STREETS);
        let number = 1 + below(mix(self.0, 3), 1999);
        let rest = below(mix(self.0, 4), 100);
        write!(f, "{number} {street}, {}, {} {}{rest:02}", city.name, city.state, city.zip)
    }
}

/// A serial number, or for two devices in five a MAC address.
impl Display for Device {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let hash = self.0;
        if below(mix(hash, 1), 5) < 3 {
            return write!(f, "TM-{:04X}-{:04}", hash >> 48, hash % 10_000);
        }
        let maker = pick(mix(hash, 2), &names::MAKERS);
        let [a, b, c, ..] = hash.to_be_bytes();
        write!(f, "{maker}:{a:02X}:{b:02X}:{c:02X}")
    }
}

impl Display for Order {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ORD-{}-{:08}", self.year, below(self.number, 100_000_000))
    }
}

/// ISO 8601, in one of three forms.
struct CreatedAt(u64);

impl Display for CreatedAt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let hash = mix(self.0, 23);
        let part = |n, len| below(mix(hash, n), len);
        let (month, day) = (1 + part(1, 12), 1 + part(2, 28));
        write!(f, "{}-{month:02}-{day:02}T", created_year(self.0))?;
        write!(f, "{:02}:{:02}:{:02}", part(3, 24), part(4, 60), part(5, 60))?;
        f.write_str(match part(6, 10) {
            0 => ".482Z",
            1 => "+02:00",
            _ => "Z",
        })
    }
}

struct UpdatedAt;

impl Display for UpdatedAt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{THIS_YEAR}-10-01T08:30:00Z")
    }
}

/// Free-form, so now and then with what is easily lost: depth, numbers beyond 64 bits or with an
/// unusual spelling, escapes.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferences: Option<Preferences>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loyalty_points: Option<&'static RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<&'static RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discount: Option<&'static RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vip: Option<Null>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contacts: Option<u32>,
}

#[derive(Serialize)]
struct Preferences {
    language: &'static str,
    newsletter: bool,
    contact: Contact,
}

#[derive(Serialize)]
struct Contact {
    channel: &'static str,
    hours: [u8; 2],
}

#[derive(Serialize)]
struct Null;

/// Values whose exact text matters.
struct Exact {
    beyond_64_bits: Box<RawValue>,
    trailing_zero: Box<RawValue>,
    exponent: Box<RawValue>,
    escapes: Box<RawValue>,
}

static EXACT: LazyLock<Exact> = LazyLock::new(|| {
    let raw = |json: &str| RawValue::from_string(json.to_owned()).expect("JSON");
    Exact {
        beyond_64_bits: raw("12345678901234567890"),
        trailing_zero: raw("1.50"),
        exponent: raw("1e-2"),
        escapes: raw(r#""asks for \"Zo\u00eb\"\nin the evening""#),
    }
});

impl Metadata {
    fn of(customer: &Customer<'_>) -> Self {
        let hash = mix(customer.id, 22);
        let plan = Some(pick(mix(hash, 1), &names::PLANS));
        let language = pick(mix(hash, 2), &names::LANGUAGES);
        let contacts = (customer.contacts > 0).then_some(customer.contacts);
        let none = Self { contacts, ..Self::default() };
        match below(hash, 100) {
            0..30 => none,
            30..65 => Self { plan, tags: Some([language]), ..none },
            65..88 => {
                let contact = Contact { channel: "sms", hours: [8, 18] };
                let preferences = Preferences { language, newsletter: hash & 1 == 0, contact };
                Self { plan, preferences: Some(preferences), ..none }
            }
            88..95 => Self {
                loyalty_points: Some(&EXACT.beyond_64_bits),
                balance: Some(&EXACT.trailing_zero),
                discount: Some(&EXACT.exponent),
                ..none
            },
            _ => Self { note: Some(&EXACT.escapes), vip: Some(Null), ..none },
        }
    }
}
