//! What an answer changes about a customer that is stored.
//!
//! Pure: no clock, no I/O.

use crate::domain::customer::{Customer, Field};
use crate::domain::json::{merge_extra, same_json};
use crate::domain::outcome::ChangeKind::{
    self, Created, DeviceAssigned, DeviceUnassigned, Missing, OrderAdded, OrderRemoved, Returned,
};
use crate::time;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// The columns of a customer that an answer can set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomerRow<'a> {
    pub organization_id: Option<Cow<'a, str>>,
    pub email: Option<Cow<'a, str>>,
    pub name: Option<Cow<'a, str>>,
    pub phone: Option<Cow<'a, str>>,
    pub address: Option<Cow<'a, str>>,
    /// `metadata`, as JSON text.
    pub metadata: Option<Cow<'a, str>>,
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
    /// Since when no email resolves to it.
    pub missing_since: Option<Rc<str>>,
    /// The devices.
    pub devices: StoredList,
    /// The orders.
    pub orders: StoredList,
}

/// A stored list of devices or orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredList {
    /// When the list was last known: at an answer that held it, or when the customer went missing,
    /// which closed it. `None`: never.
    pub listed_at: Option<Rc<str>>,
    /// The intervals that have not ended, in the order of their numbers.
    pub open: Vec<OpenInterval>,
    /// When the last ended interval of each device or order ended.
    pub ended: HashMap<String, Rc<str>>,
    /// The number of the next interval.
    pub next: i64,
}

/// An interval that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenInterval {
    /// Its number among the customer's.
    pub n: i64,
    /// The device or order.
    pub id: String,
    /// When it began.
    pub begin: Rc<str>,
}

/// What is to be written for one answer, whose texts it borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged<'a> {
    /// When the answer came, by the clock of that time.
    pub at: Rc<str>,
    /// The columns, if any is different.
    pub row: Option<CustomerRow<'a>>,
    /// Devices to close and to open.
    pub devices: MergedList<'a>,
    /// Orders to close and to open.
    pub orders: MergedList<'a>,
    /// What is recorded in `changes`.
    pub changes: Vec<Change>,
}

/// What is to be written of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergedList<'a> {
    /// Intervals that end.
    pub close: Vec<EndedInterval>,
    /// Intervals that begin.
    pub open: Vec<NewInterval<'a>>,
    /// When the list was last known.
    pub listed_at: Option<Rc<str>>,
}

/// An interval that ends with this answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedInterval {
    /// Its number among the customer's.
    pub n: i64,
    /// The device or order.
    pub id: String,
    /// When it ends: not before it began, whatever the clock did.
    pub end: Rc<str>,
}

/// An interval that begins with this answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInterval<'a> {
    /// Its number among the customer's.
    pub n: i64,
    /// The device or order.
    pub id: Cow<'a, str>,
    /// When it was last known not to be there, the end of its last interval or later; `None`: it
    /// was there when the list was first seen.
    pub after: Option<Rc<str>>,
    /// When it begins: not before `after`, whatever the clock did.
    pub begin: Rc<str>,
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
    /// When the interval that it reports begins or ends; `None`: it reports none, and happened when the
    /// answer came.
    pub at: Option<Rc<str>>,
}

/// What a customer lost by going missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub devices: Vec<String>,
    pub orders: Vec<String>,
}

impl Change {
    /// A change that its kind describes completely.
    pub fn of(kind: ChangeKind) -> Self {
        Self { kind, field: None, old: None, new: None, at: None }
    }
}

/// What a customer's first answer brings.
pub fn first<'a>(answer: &Customer<'a>, at: &Rc<str>) -> Merged<'a> {
    let list = |answered| merge_list(&StoredList::default(), answered, at);
    let (devices, orders) = (list(&answer.devices), list(&answer.orders));
    let created = Change { new: Some(lists_json(&devices, &orders)), ..Change::of(Created) };
    Merged {
        at: Rc::clone(at),
        row: Some(updated_row(&CustomerRow::default(), answer)),
        devices,
        orders,
        changes: vec![created],
    }
}

/// `{"devices":[…],"orders":[…]}`: what a new customer has, for the feed.
fn lists_json(devices: &MergedList<'_>, orders: &MergedList<'_>) -> String {
    let ids = |list: &MergedList<'_>| -> Vec<Value> {
        list.open.iter().map(|interval| Value::from(interval.id.as_ref())).collect()
    };
    serde_json::json!({ "devices": ids(devices), "orders": ids(orders) }).to_string()
}

/// What a further answer brings, which came at `at`.
pub fn merge<'a>(stored: &StoredCustomer, answer: &Customer<'a>, at: &Rc<str>) -> Merged<'a> {
    let row = (!same_row(&stored.row, answer)).then(|| updated_row(&stored.row, answer));
    let returned = stored.missing_since.as_ref().map(|_| Change::of(Returned));
    let fields = row.iter().flat_map(|row| field_changes(&stored.row, row));
    let mut merged = Merged {
        at: Rc::clone(at),
        changes: returned.into_iter().chain(fields).collect(),
        devices: merge_list(&stored.devices, &answer.devices, at),
        orders: merge_list(&stored.orders, &answer.orders, at),
        row: None,
    };
    merged.add_list_changes();
    Merged { row, ..merged }
}

/// What it brings that no email resolves to the customer any more, from `at` on.
pub fn missing(stored: &StoredCustomer, at: &Rc<str>) -> Merged<'static> {
    let list = |list: &StoredList| MergedList {
        close: list.open.iter().map(|interval| interval.ended(at)).collect(),
        listed_at: list.listed_at.as_ref().map(|_| Rc::clone(at)),
        open: Vec::new(),
    };
    let mut merged = Merged {
        at: Rc::clone(at),
        row: None,
        devices: list(&stored.devices),
        orders: list(&stored.orders),
        changes: vec![Change::of(Missing)],
    };
    merged.add_list_changes();
    merged
}

/// What it brings that the customer was not missing after all: it has again what it lost.
pub fn not_missing(stored: &StoredCustomer, lost: Lost, at: &Rc<str>) -> Merged<'static> {
    let list = |list: &StoredList, lost: Vec<String>| {
        let open = lost.into_iter().zip(list.next..).map(|(id, n)| list.opened(id.into(), n, at));
        MergedList {
            close: Vec::new(),
            open: open.collect(),
            listed_at: list.listed_at.as_ref().map(|_| Rc::clone(at)),
        }
    };
    let mut merged = Merged {
        at: Rc::clone(at),
        row: None,
        devices: list(&stored.devices, lost.devices),
        orders: list(&stored.orders, lost.orders),
        changes: vec![Change::of(Returned)],
    };
    merged.add_list_changes();
    merged
}

impl Merged<'_> {
    /// A row for each interval that ends or begins.
    fn add_list_changes(&mut self) {
        self.changes.extend(list_changes(&self.devices, DeviceUnassigned, DeviceAssigned));
        self.changes.extend(list_changes(&self.orders, OrderRemoved, OrderAdded));
    }
}

fn list_changes(
    list: &MergedList<'_>,
    ended: ChangeKind,
    begun: ChangeKind,
) -> impl Iterator<Item = Change> {
    let close = list.close.iter().map(move |one| Change {
        old: Some(one.id.clone()),
        at: Some(Rc::clone(&one.end)),
        ..Change::of(ended)
    });
    let open = list.open.iter().map(move |one| Change {
        new: Some(one.id.to_string()),
        at: Some(Rc::clone(&one.begin)),
        ..Change::of(begun)
    });
    close.chain(open)
}

fn merge_list<'a>(
    stored: &StoredList,
    answered: &Field<Vec<Cow<'a, str>>>,
    at: &Rc<str>,
) -> MergedList<'a> {
    let Field::Given(ids) = answered else {
        return MergedList { listed_at: stored.listed_at.clone(), ..MergedList::default() };
    };
    let listed_at = Some(Rc::clone(at));
    if stored.open.iter().map(|interval| &interval.id).eq(ids) {
        return MergedList { listed_at, ..MergedList::default() };
    }
    let held: HashSet<&str> = stored.open.iter().map(|interval| interval.id.as_str()).collect();
    let listed: HashSet<&str> = ids.iter().map(|id| &**id).collect();
    let new = ids.iter().filter(|id| !held.contains(&***id));
    let open = new.zip(stored.next..).map(|(id, n)| stored.opened(id.clone(), n, at)).collect();
    let gone = stored.open.iter().filter(|interval| !listed.contains(interval.id.as_str()));
    MergedList { close: gone.map(|interval| interval.ended(at)).collect(), open, listed_at }
}

impl StoredList {
    /// The interval of a device or order that is there from `at` on. A clock that was set back makes
    /// it begin where its last one ended.
    fn opened<'a>(&self, id: Cow<'a, str>, n: i64, at: &Rc<str>) -> NewInterval<'a> {
        let last_end = self.ended.get(&*id);
        let begin = last_end.map_or(at, |end| end.max(at));
        let after = self.listed_at.as_ref().map(|listed_at| {
            let before = listed_at.min(begin);
            Rc::clone(last_end.map_or(before, |end| end.max(before)))
        });
        NewInterval { n, id, after, begin: Rc::clone(begin) }
    }
}

impl OpenInterval {
    fn ended(&self, at: &Rc<str>) -> EndedInterval {
        EndedInterval { n: self.n, id: self.id.clone(), end: Rc::clone(at.max(&self.begin)) }
    }
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
        field: Some(field),
        old: old.as_deref().map(str::to_owned),
        new: new.as_deref().map(str::to_owned),
        ..Change::of(ChangeKind::Updated)
    })
}

#[cfg(test)]
mod tests;
