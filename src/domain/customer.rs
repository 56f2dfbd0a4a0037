//! A customer as one answer of the API tells of it.
//!
//! Pure: no clock, no I/O.

use crate::domain::email::Email;
use crate::domain::json::{Entries, Text, object_text};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// A field that an answer may leave out, which says nothing about its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field<T> {
    /// Not in the answer: what is stored stays.
    Absent,
    /// In the answer: this holds now.
    Given(T),
}

impl<T> Field<T> {
    /// The value, if the answer held one.
    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Absent => None,
            Self::Given(value) => Some(value),
        }
    }
}

impl<T> From<Option<T>> for Field<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Given)
    }
}

/// The body of an answer that tells of a customer, as it came. It travels as one piece; who needs
/// the fields reads them in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerBody {
    json: Box<[u8]>,
    digest: Digest,
    lists: Lists,
    email: Option<Email>,
    present: PresentFields,
}

/// The fields that the API documents, in the order of its documentation.
pub const KNOWN_FIELDS: [&str; 10] = [
    "id",
    "organizationId",
    "name",
    "email",
    "phone",
    "address",
    "devices",
    "orders",
    "metadata",
    "createdAt",
];

/// An answer names at most this many unknown fields, each of at most so many bytes: a report lists
/// them, and an API that makes names up shall not fill it.
const UNKNOWN_FIELDS: usize = 20;
const UNKNOWN_FIELD_BYTES: usize = 64;

/// Which fields an answer holds, whatever their values are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresentFields {
    known: [bool; KNOWN_FIELDS.len()],
    unknown: Box<[Box<str>]>,
}

impl PresentFields {
    /// Whether the field is there, for each of [`KNOWN_FIELDS`].
    pub fn known(&self) -> [bool; KNOWN_FIELDS.len()] {
        self.known
    }

    /// The names of fields that the API does not document.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().map(AsRef::as_ref)
    }
}

/// Which lists an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lists {
    /// Whether `devices` is one of them.
    pub devices: bool,
    /// Whether `orders` is one of them.
    pub orders: bool,
}

impl CustomerBody {
    /// Takes the body of a 200, if it keeps the contract.
    ///
    /// # Errors
    /// See [`BrokenCustomer`].
    pub fn new(json: &[u8]) -> Result<Self, BrokenCustomer> {
        let fields = Fields::of_answer(json)?;
        let customer = fields.customer().map_err(BrokenCustomer::Contract)?;
        Ok(Self {
            present: fields.present(),
            digest: Digest::of(json),
            lists: Lists {
                devices: customer.devices.given().is_some(),
                orders: customer.orders.given().is_some(),
            },
            email: customer.email.given().and_then(|email| Email::parse(email).ok()),
            json: json.into(),
        })
    }

    /// The customer. It was read once before, so this succeeds.
    ///
    /// # Errors
    /// See [`BrokenCustomer`].
    pub fn customer(&self) -> Result<Customer<'_>, BrokenCustomer> {
        Customer::from_json(&self.json)
    }

    /// Which fields it holds.
    pub fn present(&self) -> &PresentFields {
        &self.present
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.json.len()
    }

    /// What tells this body from all others.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Which lists it holds.
    pub fn lists(&self) -> Lists {
        self.lists
    }

    /// The customer's own email, if there is one that could be asked for.
    pub fn email(&self) -> Option<&Email> {
        self.email.as_ref()
    }
}

/// Tells bodies apart: the first half of a SHA-256, after how this program understands a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 16]);

impl Digest {
    /// To be raised when another field becomes known, or the same is understood in another way: a
    /// customer that is stored as the answer was understood before is then no longer taken for
    /// the same.
    const UNDERSTANDING: u8 = 1;

    fn of(body: &[u8]) -> Self {
        let hash = Sha256::new().chain_update([Self::UNDERSTANDING]).chain_update(body).finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Self(half)
    }

    /// As it is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One customer, as answered. It borrows from the body what stands there as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer<'a> {
    /// The identity: opaque text, never empty.
    pub id: Cow<'a, str>,
    /// The organization that the customer belongs to.
    pub organization_id: Field<Cow<'a, str>>,
    /// The customer's own email, which may differ from the one asked for.
    pub email: Field<Cow<'a, str>>,
    /// The full name.
    pub name: Field<Cow<'a, str>>,
    /// `None` where the answer has none: the API leaves it out if it is not known.
    pub phone: Option<Cow<'a, str>>,
    /// `None` where the answer has none, as with `phone`.
    pub address: Option<Cow<'a, str>>,
    /// Identifiers of the devices assigned now, each once.
    pub devices: Field<Vec<Cow<'a, str>>>,
    /// Identifiers of the orders listed now, each once.
    pub orders: Field<Vec<Cow<'a, str>>>,
    /// The exact JSON text of the object.
    pub metadata: Field<&'a str>,
    /// As sent: ISO 8601 by the contract.
    pub created_at: Field<Cow<'a, str>>,
    /// The fields not known here as one JSON object, their values' text exact.
    pub extra: Option<String>,
}

/// Why a body that should hold a customer does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenCustomer {
    /// Not one complete JSON object: cut short, or not the API's words at all. Asking again may
    /// help.
    #[error("no complete JSON object: {0}")]
    NoObject(String),
    /// An object that breaks the contract, with the reason. Asking again would bring the same.
    #[error("{0}")]
    Contract(String),
}

impl<'a> Customer<'a> {
    /// Reads the body of a 200.
    ///
    /// # Errors
    /// See [`BrokenCustomer`].
    pub fn from_json(body: &'a [u8]) -> Result<Self, BrokenCustomer> {
        Fields::of_answer(body)?.customer().map_err(BrokenCustomer::Contract)
    }
}

/// Whether `body` is one complete JSON object, whatever it holds.
pub fn is_json_object(body: &[u8]) -> bool {
    Fields::read(body).is_ok()
}

/// The fields of the answer's object, still as JSON text.
#[derive(Default)]
struct Fields<'a> {
    id: Option<&'a RawValue>,
    organization_id: Option<&'a RawValue>,
    email: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    phone: Option<&'a RawValue>,
    address: Option<&'a RawValue>,
    devices: Option<&'a RawValue>,
    orders: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    created_at: Option<&'a RawValue>,
    extra: Entries<'a>,
}

impl<'a> Fields<'a> {
    fn of_answer(body: &'a [u8]) -> Result<Self, BrokenCustomer> {
        Self::read(body).map_err(|error| BrokenCustomer::NoObject(error.to_string()))
    }

    fn present(&self) -> PresentFields {
        let known = [
            self.id,
            self.organization_id,
            self.name,
            self.email,
            self.phone,
            self.address,
            self.devices,
            self.orders,
            self.metadata,
            self.created_at,
        ];
        let names = self.extra.iter().map(|(name, _)| name.as_ref());
        let short = names.filter(|name| name.len() <= UNKNOWN_FIELD_BYTES);
        PresentFields {
            known: known.map(|field| field.is_some()),
            unknown: short.take(UNKNOWN_FIELDS).map(Box::from).collect(),
        }
    }

    fn read(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let fields = json.deserialize_map(FieldsVisitor)?;
        json.end()?;
        Ok(fields)
    }

    fn customer(&self) -> Result<Customer<'a>, String> {
        let id = text("id", self.id)?.ok_or("the answer has no id")?;
        if id.is_empty() {
            return Err("the id is empty".to_owned());
        }
        Ok(Customer {
            id,
            organization_id: text("organizationId", self.organization_id)?.into(),
            email: text("email", self.email)?.into(),
            name: text("name", self.name)?.into(),
            phone: text("phone", self.phone)?,
            address: text("address", self.address)?,
            devices: identifiers("devices", self.devices)?.into(),
            orders: identifiers("orders", self.orders)?.into(),
            metadata: object("metadata", self.metadata)?.into(),
            created_at: text("createdAt", self.created_at)?.into(),
            extra: (!self.extra.is_empty()).then(|| object_text(&self.extra)),
        })
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(Text(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            let known = match name.as_ref() {
                "id" => &mut fields.id,
                "organizationId" => &mut fields.organization_id,
                "email" => &mut fields.email,
                "name" => &mut fields.name,
                "phone" => &mut fields.phone,
                "address" => &mut fields.address,
                "devices" => &mut fields.devices,
                "orders" => &mut fields.orders,
                "metadata" => &mut fields.metadata,
                "createdAt" => &mut fields.created_at,
                _ => {
                    fields.extra.push((name, value));
                    continue;
                }
            };
            if known.replace(value).is_some() {
                return Err(A::Error::custom(format_args!("the field {name} stands twice")));
            }
        }
        Ok(fields)
    }
}

/// A field's text; absent and null are `None`.
fn text<'a>(name: &str, value: Option<&'a RawValue>) -> Result<Option<Cow<'a, str>>, String> {
    let text: Option<Text<'a>> =
        decode(value).map_err(|()| format!("the field {name} is not a text"))?;
    Ok(text.map(|Text(text)| text))
}

/// A list of identifiers, each once, in the order of the answer; absent and null are `None`.
fn identifiers<'a>(
    name: &str,
    value: Option<&'a RawValue>,
) -> Result<Option<Vec<Cow<'a, str>>>, String> {
    let list: Option<Vec<Text<'a>>> =
        decode(value).map_err(|()| format!("the field {name} is not a list of texts"))?;
    Ok(list.map(|texts| each_once(texts.into_iter().map(|Text(text)| text).collect())))
}

fn each_once(mut ids: Vec<Cow<'_, str>>) -> Vec<Cow<'_, str>> {
    let distinct: HashSet<&Cow<'_, str>> = ids.iter().collect();
    if distinct.len() != ids.len() {
        let mut seen = HashSet::with_capacity(ids.len());
        ids.retain(|id| seen.insert(id.clone()));
    }
    ids
}

/// The exact text of an object; null is the empty one, absent is `None`.
fn object<'a>(name: &str, value: Option<&'a RawValue>) -> Result<Option<&'a str>, String> {
    match value.map(RawValue::get) {
        None => Ok(None),
        Some("null") => Ok(Some("{}")),
        Some(json) if json.starts_with('{') => Ok(Some(json)),
        Some(_) => Err(format!("the field {name} is not an object")),
    }
}

fn decode<'a, T: serde::Deserialize<'a>>(value: Option<&'a RawValue>) -> Result<Option<T>, ()> {
    value.map_or(Ok(None), |raw| serde_json::from_str(raw.get()).map_err(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::json::same_json;
    use proptest::prelude::*;

    fn parse(json: &str) -> Result<Customer<'_>, BrokenCustomer> {
        Customer::from_json(json.as_bytes())
    }

    #[test]
    fn reads_every_known_field_and_keeps_the_others() {
        let customer = parse(
            r#"{"id": "c1", "organizationId": "o1", "name": "J\u00f6 Doe", "email": "J@x.io",
                "phone": null, "address": "1 Main St", "devices": ["d2", "d1", "d2"], "orders": [],
                "metadata": {"b": 1.50, "a": 123456789012345678901234567890},
                "createdAt": "2025-10-01T12:00:00Z", "updatedAt" : "x", "t\u00efer": [1, {"k":2}]}"#,
        )
        .unwrap();
        assert_eq!(customer.id, "c1");
        assert_eq!(customer.name, Field::Given("Jö Doe".into()));
        assert_eq!(customer.phone, None);
        assert_eq!(customer.address.as_deref(), Some("1 Main St"));
        assert_eq!(customer.devices, Field::Given(vec!["d2".into(), "d1".into()]));
        assert_eq!(customer.orders, Field::Given(vec![]));
        let metadata = r#"{"b": 1.50, "a": 123456789012345678901234567890}"#;
        assert_eq!(customer.metadata, Field::Given(metadata));
        assert_eq!(customer.extra.as_deref(), Some(r#"{"updatedAt":"x","tïer":[1, {"k":2}]}"#));
    }

    #[test]
    fn a_field_left_out_is_no_empty_one() {
        let customer = parse(r#"{"id":"c1"}"#).unwrap();
        assert_eq!(customer.devices, Field::Absent);
        assert_eq!(customer.metadata, Field::Absent);
        assert_eq!(customer.name, Field::Absent);
        assert_eq!(customer.extra, None);
        let customer =
            parse(r#"{"id":"c1","devices":null,"orders":null,"metadata":null}"#).unwrap();
        assert_eq!(customer.devices, Field::Absent);
        assert_eq!(customer.orders, Field::Absent);
        assert_eq!(customer.metadata, Field::Given("{}"));
    }

    #[test]
    fn a_broken_contract_names_the_field() {
        for (json, field) in [
            (r#"{}"#, "id"),
            (r#"{"id":null}"#, "id"),
            (r#"{"id":""}"#, "id"),
            (r#"{"id":7}"#, "id"),
            (r#"{"id":"c","name":7}"#, "name"),
            (r#"{"id":"c","phone":7}"#, "phone"),
            (r#"{"id":"c","devices":"d"}"#, "devices"),
            (r#"{"id":"c","devices":[1]}"#, "devices"),
            (r#"{"id":"c","orders":{}}"#, "orders"),
            (r#"{"id":"c","metadata":[]}"#, "metadata"),
            (r#"{"id":"c","createdAt":12}"#, "createdAt"),
            (r#"{"id":"c","organizationId":[]}"#, "organizationId"),
        ] {
            match parse(json) {
                Err(BrokenCustomer::Contract(reason)) => {
                    assert!(reason.contains(field), "{reason}")
                }
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_complete_object_may_be_asked_for_again() {
        for json in [
            "",
            "null",
            "[]",
            "7",
            "<html>",
            r#"{"id":"c""#,
            r#"{"id":"c"} x"#,
            "{\"id\":\"\u{0}\"}",
        ] {
            assert!(matches!(parse(json), Err(BrokenCustomer::NoObject(_))), "{json:?}");
        }
        assert!(matches!(
            Customer::from_json(b"{\"id\":\"\xff\"}"),
            Err(BrokenCustomer::NoObject(_))
        ));
        assert!(matches!(parse(r#"{"id":"a","id":"b"}"#), Err(BrokenCustomer::NoObject(_))));
        let text = parse("[]").unwrap_err().to_string();
        assert!(text.contains("invalid type: sequence, expected a JSON object"), "{text}");
    }

    #[test]
    fn a_number_may_have_any_size() {
        for json in [r#"{"id":"c","x":1e400}"#, r#"{"id":"c","metadata":{"x":-1E+99999}}"#] {
            parse(json).unwrap();
        }
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!(
            r#"{{"id":"c","metadata":{{"a":{}{}}}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        let customer = parse(&deep).unwrap();
        assert!(customer.metadata.given().unwrap().len() > 400_000);
        assert!(!same_json(customer.metadata.given().unwrap(), "{}"));
    }

    #[test]
    fn a_body_says_what_it_holds_without_being_read_again() {
        let body = |json: &str| CustomerBody::new(json.as_bytes()).unwrap();
        let one = body(r#"{"id":"c","devices":[],"orders":null,"email":" Ann@X.io"}"#);
        assert_eq!(one.lists(), Lists { devices: true, orders: false });
        assert_eq!(one.email().map(Email::as_str), Some("ann@x.io"));
        assert_eq!(one.customer().unwrap().id, "c");
        let other = body(r#"{"id":"c","devices":[],"orders":null,"email":" Ann@X.io" }"#);
        assert_ne!(one.digest(), other.digest(), "to the letter");
        assert_eq!(body(r#"{"id":"c","email":"none"}"#).email(), None);
        assert_eq!(body(r#"{"id":"c"}"#).bytes(), 10);
        assert_eq!(one.digest().as_bytes().len(), 16);
        assert_ne!(one.digest().as_bytes(), other.digest().as_bytes());
    }

    #[test]
    fn an_object_is_distinguished_from_other_json() {
        let texts = ["{}", r#"{"error":1}"#, "[]", "null", "{", r#"{"a":1}x"#, ""];
        let objects = texts.map(|text| is_json_object(text.as_bytes()));
        assert_eq!(objects, [true, true, false, false, false, false, false]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Customer::from_json(&body);
        }

        #[test]
        fn texts_come_out_as_they_went_in(name in any::<String>(), devices in proptest::collection::vec("[a-d]{1,2}", 0..6)) {
            let body = serde_json::json!({"id": "c", "name": name, "devices": devices});
            let body = body.to_string();
            let customer = parse(&body).unwrap();
            prop_assert_eq!(customer.name, Field::Given(name.into()));
            let mut once: Vec<String> = Vec::new();
            for id in devices {
                if !once.contains(&id) { once.push(id); }
            }
            let once = once.into_iter().map(Cow::from).collect();
            prop_assert_eq!(customer.devices, Field::Given(once));
        }
    }
}
