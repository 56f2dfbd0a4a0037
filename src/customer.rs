//! A customer as one answer of the API tells of it.
//!
//! Pure: no clock, no I/O.

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
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

/// One customer, as answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// The identity: opaque text, never empty.
    pub id: String,
    /// The organization that the customer belongs to.
    pub organization_id: Field<String>,
    /// The customer's own email, which may differ from the one asked for.
    pub email: Field<String>,
    /// The full name.
    pub name: Field<String>,
    /// `None` where the answer has none: the API leaves it out if it is not known.
    pub phone: Option<String>,
    /// `None` where the answer has none, as with `phone`.
    pub address: Option<String>,
    /// Identifiers of the devices assigned now, each once.
    pub devices: Field<Vec<String>>,
    /// Identifiers of the orders listed now, each once.
    pub orders: Field<Vec<String>>,
    /// The exact JSON text of the object.
    pub metadata: Field<String>,
    /// As sent: ISO 8601 by the contract.
    pub created_at: Field<String>,
    /// The fields not known here as one JSON object, their values' text exact.
    pub extra: Option<String>,
}

/// Why a body that should hold a customer does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokenCustomer {
    /// Not one complete JSON object: cut short, or not the API's words at all. Asking again may
    /// help.
    NoObject(String),
    /// An object that breaks the contract, with the reason. Asking again would bring the same.
    Contract(String),
}

impl Customer {
    /// Reads the body of a 200.
    ///
    /// # Errors
    /// See [`BrokenCustomer`].
    pub fn from_json(body: &[u8]) -> Result<Self, BrokenCustomer> {
        let fields =
            Fields::read(body).map_err(|error| BrokenCustomer::NoObject(error.to_string()))?;
        fields.customer().map_err(BrokenCustomer::Contract)
    }
}

/// Whether `body` is one complete JSON object, whatever it holds.
pub fn is_json_object(body: &[u8]) -> bool {
    Fields::read(body).is_ok()
}

/// Whether two JSON texts hold the same value: key order and white space say nothing, and numbers
/// are the same by their digits. Text too deep to be taken apart is the same only to the letter.
pub fn same_json(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let value = |text| serde_json::from_str::<serde_json::Value>(text);
    matches!((value(one), value(other)), (Ok(one), Ok(other)) if one == other)
}

/// The unknown fields of all answers so far: a field that is left out says nothing, so it stays,
/// and one that is given again has the new value. Both texts are those of [`Customer::extra`].
pub fn merge_extra(stored: &str, answered: &str) -> String {
    let read = |text| Fields::read_all(text).unwrap_or_default();
    let mut fields = read(stored);
    for (name, value) in read(answered) {
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, held)) if same_json(held.get(), value.get()) => {}
            Some((_, held)) => *held = value,
            None => fields.push((name, value)),
        }
    }
    object_text(&fields)
}

fn object_text(fields: &[(Cow<'_, str>, &RawValue)]) -> String {
    let mut object = String::from("{");
    for (name, value) in fields {
        if object.len() > 1 {
            object.push(',');
        }
        object.push_str(&serde_json::Value::from(name.as_ref()).to_string());
        object.push(':');
        object.push_str(value.get());
    }
    object.push('}');
    object
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
    extra: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    fn read(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let fields = json.deserialize_map(FieldsVisitor)?;
        json.end()?;
        Ok(fields)
    }

    fn customer(&self) -> Result<Customer, String> {
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

    /// The fields of an object in which none is known.
    fn read_all(json: &'a str) -> Result<Vec<(Cow<'a, str>, &'a RawValue)>, serde_json::Error> {
        Ok(Self::read(json.as_bytes())?.extra)
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
        while let Some(Name(name)) = map.next_key()? {
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

/// A key of an object, borrowed from the body unless it holds escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A field's text; absent and null are `None`.
fn text(name: &str, value: Option<&RawValue>) -> Result<Option<String>, String> {
    decode(value).map_err(|()| format!("the field {name} is not a text"))
}

/// A list of identifiers, each once, in the order of the answer; absent and null are `None`.
fn identifiers(name: &str, value: Option<&RawValue>) -> Result<Option<Vec<String>>, String> {
    let list: Option<Vec<String>> =
        decode(value).map_err(|()| format!("the field {name} is not a list of texts"))?;
    Ok(list.map(|mut ids| {
        let mut seen = HashSet::with_capacity(ids.len());
        ids.retain(|id| seen.insert(id.clone()));
        ids
    }))
}

/// The exact text of an object; null is the empty one, absent is `None`.
fn object(name: &str, value: Option<&RawValue>) -> Result<Option<String>, String> {
    match value.map(RawValue::get) {
        None => Ok(None),
        Some("null") => Ok(Some("{}".to_owned())),
        Some(json) if json.starts_with('{') => Ok(Some(json.to_owned())),
        Some(_) => Err(format!("the field {name} is not an object")),
    }
}

fn decode<'a, T: serde::Deserialize<'a>>(value: Option<&'a RawValue>) -> Result<Option<T>, ()> {
    value.map_or(Ok(None), |raw| serde_json::from_str(raw.get()).map_err(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(json: &str) -> Result<Customer, BrokenCustomer> {
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
        assert_eq!(customer.metadata, Field::Given(metadata.into()));
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
        assert_eq!(customer.metadata, Field::Given("{}".into()));
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
    fn json_is_compared_by_value() {
        assert!(same_json(r#"{"a":1,"b":[1,2]}"#, r#"{ "b": [1, 2], "a": 1 }"#));
        assert!(!same_json(r#"{"a":1.0}"#, r#"{"a":1}"#));
        assert!(!same_json(r#"{"a":18446744073709551616}"#, r#"{"a":18446744073709551617}"#));
        assert!(!same_json(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#));
    }

    #[test]
    fn an_unknown_field_left_out_stays() {
        let merged =
            merge_extra(r#"{"a":1.0,"b":{"k":1,"l":2}}"#, r#"{"c":[],"b":{"l": 2,"k": 1},"a":2}"#);
        assert_eq!(merged, r#"{"a":2,"b":{"k":1,"l":2},"c":[]}"#);
        assert_eq!(merge_extra(&merged, r#"{"c":[]}"#), merged);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Customer::from_json(&body);
        }

        #[test]
        fn texts_come_out_as_they_went_in(name in any::<String>(), devices in proptest::collection::vec("[a-d]{1,2}", 0..6)) {
            let body = serde_json::json!({"id": "c", "name": name, "devices": devices});
            let customer = parse(&body.to_string()).unwrap();
            prop_assert_eq!(customer.name, Field::Given(name));
            let mut once: Vec<String> = Vec::new();
            for id in devices {
                if !once.contains(&id) { once.push(id); }
            }
            prop_assert_eq!(customer.devices, Field::Given(once));
        }
    }
}
