//! JSON texts, compared by value and combined to the letter.
//!
//! Pure: no clock, no I/O.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The fields of an object, in order, a name that appears twice included.
pub(super) type Entries<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// Whether two JSON texts hold the same value: key order and white space say nothing, and numbers
/// are the same by their digits. A key that appears twice has two values. Text too deep to be taken
/// apart is the same only to the letter.
pub fn same_json(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let value = |text| serde_json::from_str::<Value>(text);
    matches!((value(one), value(other)), (Ok(one), Ok(other)) if one == other)
}

/// The unknown fields of all answers so far: a field that is left out says nothing, so it stays,
/// and one that is given again has the new value, or values, if its name appears twice. Both texts
/// are those of [`super::customer::Customer::extra`].
pub fn merge_extra(stored: &str, answered: &str) -> String {
    let read = |text| object_entries(text).unwrap_or_default();
    let (mut fields, answered) = (read(stored), read(answered));
    let mut merged: Vec<&Cow<'_, str>> = Vec::new();
    for (name, _) in &answered {
        if !merged.contains(&name) {
            merged.push(name);
            set(&mut fields, name.clone(), values(&answered, name));
        }
    }
    object_text(&fields)
}

fn values<'a>(fields: &Entries<'a>, name: &str) -> Vec<&'a RawValue> {
    fields.iter().filter(|(known, _)| known == name).map(|(_, value)| *value).collect()
}

/// Puts `new` where the values of `name` are, unless they are the same.
fn set<'a>(fields: &mut Entries<'a>, name: Cow<'a, str>, new: Vec<&'a RawValue>) {
    let old = values(fields, &name);
    let same = |(old, new): (&&RawValue, &&RawValue)| same_json(old.get(), new.get());
    if old.len() == new.len() && old.iter().zip(&new).all(same) {
        return;
    }
    let place = fields.iter().position(|(known, _)| *known == name).unwrap_or(fields.len());
    fields.retain(|(known, _)| *known != name);
    let new = new.into_iter().map(|value| (name.clone(), value));
    fields.splice(place..place, new);
}

/// An object of these fields, their values' text exact.
pub(super) fn object_text(fields: &Entries<'_>) -> String {
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

fn object_entries(json: &str) -> Result<Entries<'_>, serde_json::Error> {
    struct Object;
    impl<'de> Visitor<'de> for Object {
        type Value = Entries<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
            let mut entries = Vec::new();
            while let Some(Text(name)) = map.next_key()? {
                entries.push((name, map.next_value()?));
            }
            Ok(entries)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_map(Object)
}

/// A text, borrowed from the JSON unless it holds escapes.
#[derive(serde::Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A value to compare. serde_json hands a number beyond 64 bits over as an object of its digits.
#[derive(PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Zero, too, if it is written `-0`.
    Negative(i64),
    Text(String),
    List(Vec<Value>),
    /// Sorted by name; those of one name stay in order.
    Object(Vec<(String, Value)>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Negative(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(String, Value)> = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(Value::Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_is_compared_by_value() {
        assert!(same_json(r#"{"a":1,"b":[1,2]}"#, r#"{ "b": [1, 2], "a": 1 }"#));
        assert!(same_json(r#"[null,true,"\u00e9"]"#, r#"[null, true, "é"]"#));
        assert!(!same_json(r#"{"a":1.0}"#, r#"{"a":1}"#));
        assert!(!same_json(r#"{"a":18446744073709551616}"#, r#"{"a":18446744073709551617}"#));
        assert!(!same_json("[-0]", "[0]"));
        assert!(same_json("[-5, 1e400]", "[-5,1e400]"));
        assert!(!same_json(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#));
        assert!(!same_json(r#"{"a":"1"}"#, r#"{"a":1}"#));
        assert!(!same_json("[true]", "[false]"));
        assert!(!same_json("[null]", "[]"));
    }

    #[test]
    fn a_key_that_appears_twice_has_two_values() {
        assert!(!same_json(r#"{"a":1,"a":2}"#, r#"{"a":3,"a":2}"#));
        assert!(!same_json(r#"{"a":1,"a":2}"#, r#"{"a":2}"#));
        assert!(same_json(r#"{"a":1,"b":0,"a":2}"#, r#"{"b":0,"a":1,"a":2}"#));
    }

    #[test]
    fn an_unknown_field_left_out_stays() {
        let merged =
            merge_extra(r#"{"a":1.0,"b":{"k":1,"l":2}}"#, r#"{"c":[],"b":{"l": 2,"k": 1},"a":2}"#);
        assert_eq!(merged, r#"{"a":2,"b":{"k":1,"l":2},"c":[]}"#);
        assert_eq!(merge_extra(&merged, r#"{"c":[]}"#), merged);
    }

    #[test]
    fn an_unknown_field_that_appears_twice_is_kept_as_it_came() {
        let twice = r#"{"a":1,"b":0,"a":2}"#;
        assert_eq!(merge_extra(twice, r#"{"a":1,"a":2}"#), twice);
        assert_eq!(merge_extra(twice, r#"{"b":5}"#), r#"{"a":1,"b":5,"a":2}"#);
        assert_eq!(merge_extra(twice, r#"{"a":1,"a":3}"#), r#"{"a":1,"a":3,"b":0}"#);
        assert_eq!(merge_extra(twice, r#"{"a":9}"#), r#"{"a":9,"b":0}"#);
    }

    proptest! {
        #[test]
        fn what_is_merged_with_itself_stays(
            fields in proptest::collection::vec(("[a-c]{0,2}", "[0-9]|null|\\[1,2\\]|\"x\""), 0..6),
        ) {
            let fields: Vec<String> =
                fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let extra = format!("{{{}}}", fields.join(","));
            prop_assert_eq!(merge_extra(&extra, &extra), extra.clone());
            prop_assert!(same_json(&extra, &extra.replace(',', " , ")));
        }
    }
}
