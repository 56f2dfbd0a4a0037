//! What an answer changes about a customer that is stored.
//!
//! Pure: no clock, no I/O.

use crate::domain::customer::{Customer, Field, merge_extra, same_json};
use crate::domain::outcome::ChangeKind;
use crate::time;
use std::borrow::Cow;
use std::collections::HashSet;
use std::rc::Rc;

/// The columns of a customer that an answer can set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomerRow<'a> {
    /// `organization_id`.
    pub organization_id: Option<Cow<'a, str>>,
    /// `email`.
    pub email: Option<Cow<'a, str>>,
    /// `name`.
    pub name: Option<Cow<'a, str>>,
    /// `phone`.
    pub phone: Option<Cow<'a, str>>,
    /// `address`.
    pub address: Option<Cow<'a, str>>,
    /// `metadata`, as JSON text.
    pub metadata: Option<Cow<'a, str>>,
    /// `created_at`.
    pub created_at: Option<Cow<'a, str>>,
    /// `extra`, as JSON text.
    pub extra: Option<Cow<'a, str>>,
}

/// A customer as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCustomer {
    /// The key in the store.
    pub key: i64,
    /// The number of the request whose answer holds.
    pub request: i64,
    /// The columns that an answer can set.
    pub row: CustomerRow<'static>,
    /// When the last answer came.
    pub synced_at: Rc<str>,
    /// Since when no email leads here.
    pub missing_since: Option<Rc<str>>,
    /// The devices.
    pub devices: StoredList,
    /// The orders.
    pub orders: StoredList,
}

/// A stored list of devices or orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredList {
    /// When an answer last held this list; `None`: never.
    pub listed_at: Option<Rc<str>>,
    /// The open intervals: number and identifier.
    pub open: Vec<(i64, String)>,
    /// The number of the next interval.
    pub next: i64,
}

/// What is to be written for one answer, whose texts it borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged<'a> {
    /// When this answer counts as given: never before the one before, whatever the clock did.
    pub at: Rc<str>,
    /// The columns, if any is different.
    pub row: Option<CustomerRow<'a>>,
    /// Devices to close and to open.
    pub devices: MergedList<'a>,
    /// Orders to close and to open.
    pub orders: MergedList<'a>,
    /// What is told in `changes`.
    pub changes: Vec<Change>,
}

/// What is to be written of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergedList<'a> {
    /// Numbers of the intervals that end.
    pub close: Vec<i64>,
    /// Intervals that begin.
    pub open: Vec<NewInterval<'a>>,
    /// When an answer last held this list.
    pub listed_at: Option<Rc<str>>,
}

/// An interval that begins with this answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInterval<'a> {
    /// Its number among the customer's.
    pub n: i64,
    /// The device or order.
    pub id: Cow<'a, str>,
    /// The last answer that did not hold it; `None`: it was there at first sight.
    pub after: Option<Rc<str>>,
}

/// One row of `changes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The column, where a field was updated.
    pub field: Option<&'static str>,
    /// What was.
    pub old: Option<String>,
    /// What is.
    pub new: Option<String>,
}

impl Change {
    /// A change that is told by its kind alone.
    pub fn of(kind: ChangeKind) -> Self {
        Self { kind, field: None, old: None, new: None }
    }
}

/// What a customer's first answer brings.
pub fn first<'a>(answer: &Customer<'a>, at: &Rc<str>) -> Merged<'a> {
    let list = |answered| merge_list(&StoredList::default(), answered, Sight { at, missing: None });
    Merged {
        at: Rc::clone(at),
        row: Some(updated_row(&CustomerRow::default(), answer)),
        devices: list(&answer.devices),
        orders: list(&answer.orders),
        changes: vec![Change::of(ChangeKind::Created)],
    }
}

/// What a further answer brings, given at `at`.
pub fn merge<'a>(stored: &StoredCustomer, answer: &Customer<'a>, at: &Rc<str>) -> Merged<'a> {
    let missing = stored.missing_since.as_ref();
    let at = at.max(&stored.synced_at);
    let at = missing.map_or(at, |missing| at.max(missing));
    let sight = Sight { at, missing };
    let devices = merge_list(&stored.devices, &answer.devices, sight);
    let orders = merge_list(&stored.orders, &answer.orders, sight);
    let row = (!same_row(&stored.row, answer)).then(|| updated_row(&stored.row, answer));

    let mut changes = Vec::new();
    if missing.is_some() {
        changes.push(Change::of(ChangeKind::Returned));
    }
    if let Some(row) = &row {
        changes.extend(field_changes(&stored.row, row));
    }
    if missing.is_none() {
        let kinds = (ChangeKind::DeviceUnassigned, ChangeKind::DeviceAssigned);
        changes.extend(list_changes(&stored.devices, &devices, kinds));
        let kinds = (ChangeKind::OrderRemoved, ChangeKind::OrderAdded);
        changes.extend(list_changes(&stored.orders, &orders, kinds));
    }
    Merged { at: Rc::clone(at), row, devices, orders, changes }
}

/// When the answer came, and since when the customer was missing before it.
#[derive(Clone, Copy)]
struct Sight<'a> {
    at: &'a Rc<str>,
    missing: Option<&'a Rc<str>>,
}

fn merge_list<'a>(
    stored: &StoredList,
    answered: &Field<Vec<Cow<'a, str>>>,
    sight: Sight<'_>,
) -> MergedList<'a> {
    let Field::Given(ids) = answered else {
        return MergedList { listed_at: stored.listed_at.clone(), ..MergedList::default() };
    };
    // A missing customer's intervals were closed then: that is the last look that did not hold it.
    let after = stored.listed_at.as_ref().map(|listed_at| sight.missing.unwrap_or(listed_at));
    let listed_at = Some(Rc::clone(sight.at));
    if stored.open.iter().map(|(_, id)| id).eq(ids) {
        return MergedList { listed_at, ..MergedList::default() };
    }
    let held: HashSet<&str> = stored.open.iter().map(|(_, id)| id.as_str()).collect();
    let listed: HashSet<&str> = ids.iter().map(|id| &**id).collect();
    let new = ids.iter().filter(|id| !held.contains(&***id));
    let open = new.zip(stored.next..).map(|(id, n)| NewInterval {
        n,
        id: id.clone(),
        after: after.cloned(),
    });
    let gone = stored.open.iter().filter(|(_, id)| !listed.contains(id.as_str()));
    MergedList { close: gone.map(|(n, _)| *n).collect(), open: open.collect(), listed_at }
}

/// The changes that a list tells of, once a list was seen: kinds for (gone, new).
fn list_changes(
    stored: &StoredList,
    merged: &MergedList<'_>,
    (gone, new): (ChangeKind, ChangeKind),
) -> Vec<Change> {
    if stored.listed_at.is_none() {
        return Vec::new();
    }
    let closing: HashSet<i64> = merged.close.iter().copied().collect();
    let closed = stored.open.iter().filter(|(n, _)| closing.contains(n));
    let closed = closed.map(|(_, id)| Change { old: Some(id.clone()), ..Change::of(gone) });
    let opened = merged.open.iter();
    let opened = opened.map(|one| Change { new: Some(one.id.to_string()), ..Change::of(new) });
    closed.chain(opened).collect()
}

fn same_row(stored: &CustomerRow<'_>, answer: &Customer<'_>) -> bool {
    let same = |stored: &Option<Cow<'_, str>>, answered: &Field<Cow<'_, str>>| {
        answered.given().is_none_or(|value| stored.as_ref() == Some(value))
    };
    let same_value = |stored: &Option<Cow<'_, str>>, answered: Option<&str>| {
        answered.is_none_or(|answered| stored.as_ref().is_some_and(|old| same_json(old, answered)))
    };
    same(&stored.organization_id, &answer.organization_id)
        && same(&stored.email, &answer.email)
        && same(&stored.name, &answer.name)
        && stored.phone == answer.phone
        && stored.address == answer.address
        && same_value(&stored.metadata, answer.metadata.given().copied())
        && answer
            .created_at
            .given()
            .is_none_or(|sent| stored.created_at.as_deref() == Some(time::converted(sent).as_str()))
        && same_value(&stored.extra, answer.extra.as_deref())
}

fn updated_row<'a>(stored: &CustomerRow<'_>, answer: &Customer<'a>) -> CustomerRow<'a> {
    let updated = |stored: &Option<Cow<'_, str>>, answered: &Field<Cow<'a, str>>| {
        answered.given().cloned().or_else(|| owned(stored))
    };
    let metadata = match (&stored.metadata, answer.metadata.given().copied()) {
        (Some(stored), Some(answered)) if same_json(stored, answered) => None,
        (_, answered) => answered.map(Cow::Borrowed),
    };
    let extra = match (&stored.extra, &answer.extra) {
        (Some(stored), Some(answered)) => Some(merge_extra(stored, answered)),
        (_, answered) => answered.clone(),
    };
    CustomerRow {
        organization_id: updated(&stored.organization_id, &answer.organization_id),
        email: updated(&stored.email, &answer.email),
        name: updated(&stored.name, &answer.name),
        phone: answer.phone.clone(),
        address: answer.address.clone(),
        metadata: metadata.or_else(|| owned(&stored.metadata)),
        created_at: match answer.created_at.given() {
            Some(sent) => Some(time::converted(sent).into()),
            None => owned(&stored.created_at),
        },
        extra: extra.map(Cow::Owned).or_else(|| owned(&stored.extra)),
    }
}

fn owned(stored: &Option<Cow<'_, str>>) -> Option<Cow<'static, str>> {
    stored.as_deref().map(|text| Cow::Owned(text.to_owned()))
}

/// One change a field that differs; `extra` is none of them.
fn field_changes<'a>(
    old: &'a CustomerRow<'_>,
    new: &'a CustomerRow<'_>,
) -> impl Iterator<Item = Change> + 'a {
    let fields = [
        ("organization_id", &old.organization_id, &new.organization_id),
        ("email", &old.email, &new.email),
        ("name", &old.name, &new.name),
        ("phone", &old.phone, &new.phone),
        ("address", &old.address, &new.address),
        ("metadata", &old.metadata, &new.metadata),
        ("created_at", &old.created_at, &new.created_at),
    ];
    fields.into_iter().filter(|(_, old, new)| old != new).map(|(field, old, new)| Change {
        kind: ChangeKind::Updated,
        field: Some(field),
        old: old.as_deref().map(str::to_owned),
        new: new.as_deref().map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: &str = "2026-01-01T00:00:00.000Z";
    const T1: &str = "2026-01-01T01:00:00.000Z";
    const T2: &str = "2026-01-01T02:00:00.000Z";

    fn answer(fields: &str) -> Customer<'static> {
        let rest = if fields.is_empty() { String::new() } else { format!(",{fields}") };
        Customer::from_json(format!(r#"{{"id":"c1"{rest}}}"#).leak().as_bytes()).unwrap()
    }

    fn first(answer: &Customer<'static>, at: &str) -> Merged<'static> {
        super::first(answer, &at.into())
    }

    fn merge(stored: &StoredCustomer, answer: &Customer<'static>, at: &str) -> Merged<'static> {
        super::merge(stored, answer, &at.into())
    }

    /// The customer as it is stored once `merged` was written.
    fn stored(before: Option<&StoredCustomer>, merged: &Merged<'static>) -> StoredCustomer {
        let list = |before: Option<&StoredList>, merged: &MergedList<'_>| {
            let mut open = before.map(|list| list.open.clone()).unwrap_or_default();
            open.retain(|(n, _)| !merged.close.contains(n));
            open.extend(merged.open.iter().map(|one| (one.n, one.id.to_string())));
            let next = before.map_or(0, |list| list.next) + merged.open.len() as i64;
            StoredList { listed_at: merged.listed_at.clone(), open, next }
        };
        let row = merged.row.clone().or(before.map(|stored| stored.row.clone()));
        StoredCustomer {
            key: 1,
            request: 1,
            row: row.unwrap_or_default(),
            synced_at: merged.at.clone(),
            missing_since: None,
            devices: list(before.map(|stored| &stored.devices), &merged.devices),
            orders: list(before.map(|stored| &stored.orders), &merged.orders),
        }
    }

    fn seen(fields: &str) -> StoredCustomer {
        stored(None, &first(&answer(fields), T0))
    }

    fn told<'a>(merged: &'a Merged<'_>) -> Vec<(&'static str, Option<&'a str>, Option<&'a str>)> {
        let of = |change: &Change| change.field.unwrap_or(change.kind.name());
        let changes = merged.changes.iter();
        changes.map(|one| (of(one), one.old.as_deref(), one.new.as_deref())).collect()
    }

    #[test]
    fn a_new_customer_is_one_change_and_was_there_at_first_sight() {
        let merged = first(&answer(r#""devices":["d1","d2"],"orders":["o1"]"#), T0);
        assert_eq!(told(&merged), [("created", None, None)]);
        assert!(merged.devices.open.iter().all(|one| one.after.is_none()));
        assert_eq!(merged.devices.open[1].n, 1);
        assert_eq!(merged.orders.open.len(), 1);
    }

    #[test]
    fn the_same_answer_changes_nothing() {
        let fields = r#""name":"A","phone":"1","devices":["d1","d2"],"metadata":{"a":1,"b":2}"#;
        let again = r#""name":"A","phone":"1","devices":["d2","d1"],"metadata":{"b": 2,"a": 1}"#;
        let merged = merge(&seen(fields), &answer(again), T1);
        assert_eq!(merged.row, None);
        assert_eq!(merged.changes, []);
        assert_eq!((merged.devices.open, merged.devices.close), (vec![], vec![]));
    }

    #[test]
    fn a_device_that_goes_and_comes_back_is_a_new_interval() {
        let first = seen(r#""devices":["d1","d2"]"#);
        let gone = merge(&first, &answer(r#""devices":["d2"]"#), T1);
        assert_eq!(told(&gone), [("device_unassigned", Some("d1"), None)]);
        assert_eq!(gone.devices.close, [0]);
        let back = merge(&stored(Some(&first), &gone), &answer(r#""devices":["d1","d2"]"#), T2);
        assert_eq!(told(&back), [("device_assigned", None, Some("d1"))]);
        let again = NewInterval { n: 2, id: "d1".into(), after: Some(T1.into()) };
        assert_eq!(back.devices.open, [again]);
    }

    #[test]
    fn an_absent_list_says_nothing_and_an_empty_one_closes_all() {
        let first = seen(r#""devices":["d1"],"orders":["o1"]"#);
        let absent = merge(&first, &answer(r#""devices":null"#), T1);
        assert_eq!(absent.changes, []);
        assert_eq!(absent.devices.listed_at.as_deref(), Some(T0));
        let empty = merge(&first, &answer(r#""devices":[],"orders":[]"#), T1);
        assert_eq!(
            told(&empty),
            [("device_unassigned", Some("d1"), None), ("order_removed", Some("o1"), None)]
        );
    }

    #[test]
    fn the_first_list_is_first_sight_even_if_the_customer_is_known() {
        let first = seen("");
        let listed = merge(&first, &answer(r#""orders":["o1"]"#), T1);
        assert_eq!(listed.changes, []);
        assert_eq!(listed.orders.open[0].after, None);
        let unlisted = merge(&stored(Some(&first), &listed), &answer(""), T2);
        let more = stored(Some(&stored(Some(&first), &listed)), &unlisted);
        let more = merge(&more, &answer(r#""orders":["o1","o2"]"#), T2);
        assert_eq!(told(&more), [("order_added", None, Some("o2"))]);
        assert_eq!(more.orders.open[0].after.as_deref(), Some(T1), "T2's answer held no list");
    }

    #[test]
    fn each_field_that_differs_is_told() {
        let first = seen(r#""name":"A","email":"a@x","phone":"1","metadata":{"a":1.0}"#);
        let merged = merge(&first, &answer(r#""name":"B","metadata":{"a":1.00}"#), T1);
        assert_eq!(
            told(&merged),
            [
                ("name", Some("A"), Some("B")),
                ("phone", Some("1"), None),
                ("metadata", Some(r#"{"a":1.0}"#), Some(r#"{"a":1.00}"#)),
            ]
        );
        assert_eq!(merged.row.unwrap().email.as_deref(), Some("a@x"), "left out says nothing");
    }

    #[test]
    fn extra_is_kept_but_no_news() {
        let first = seen(r#""updatedAt":"x""#);
        let merged = merge(&first, &answer(r#""updatedAt":"y","tier":1"#), T1);
        assert_eq!(merged.changes, []);
        assert_eq!(merged.row.unwrap().extra.as_deref(), Some(r#"{"updatedAt":"y","tier":1}"#));
        assert_eq!(merge(&first, &answer(""), T1).row, None);
    }

    #[test]
    fn a_missing_customer_returns_in_one_row_with_new_intervals() {
        let mut missing = seen(r#""name":"A","devices":["d1"]"#);
        missing.missing_since = Some(T1.into());
        missing.devices.open.clear();
        let merged = merge(&missing, &answer(r#""name":"A","devices":["d1","d2"]"#), T2);
        assert_eq!(told(&merged), [("returned", None, None)]);
        assert!(merged.devices.open.iter().all(|one| one.after.as_deref() == Some(T1)));
    }

    #[test]
    fn a_clock_set_back_makes_no_interval_end_before_it_begins() {
        let merged = merge(&seen(r#""devices":["d1"]"#), &answer(r#""devices":[]"#), "1999");
        assert_eq!(&*merged.at, T0);
    }

    #[test]
    fn created_at_is_compared_in_the_stores_form() {
        let first = seen(r#""createdAt":"2025-10-01T12:00:00Z""#);
        assert_eq!(first.row.created_at.as_deref(), Some("2025-10-01T12:00:00.000Z"));
        assert_eq!(
            merge(&first, &answer(r#""createdAt":"2025-10-01T12:00:00.000Z""#), T1).row,
            None
        );
    }

    proptest! {
        #[test]
        fn the_open_intervals_are_always_the_last_list(
            lists in proptest::collection::vec(proptest::collection::hash_set("[a-f]", 0..6), 1..8),
        ) {
            let mut now: Option<StoredCustomer> = None;
            let mut told = 0;
            for list in lists {
                let given = answer(&format!(r#""devices":{}"#, serde_json::json!(list)));
                let merged = match &now {
                    None => first(&given, T0),
                    Some(stored) => merge(stored, &given, T1),
                };
                told += usize::from(now.is_some()) * (merged.devices.open.len() + merged.devices.close.len());
                told -= usize::from(now.is_some()) * merged.changes.len();
                now = Some(stored(now.as_ref(), &merged));
                let open = now.as_ref().unwrap().devices.open.iter();
                prop_assert_eq!(open.map(|(_, id)| id.clone()).collect::<std::collections::HashSet<_>>(), list);
            }
            prop_assert_eq!(told, 0, "a change row for each interval that opens or closes");
        }
    }
}
