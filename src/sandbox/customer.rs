//! One made-up customer, before it is written as JSON.
//!
//! Values are hashes, from which `json` makes the text.

use std::borrow::Cow;

use super::changes::Change;
use super::hash::{below, mix, pick};

/// The year of revision 0. Orders that later revisions add belong to the next one.
pub(super) const THIS_YEAR: u64 = 2025;

/// The first year in which customers were created.
const FIRST_YEAR: u64 = 2019;

/// How many devices a customer has: about four.
const DEVICES: [usize; 16] = [0, 1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6];

/// How many orders a customer has: about six.
const ORDERS: [u64; 16] = [0, 1, 2, 3, 4, 4, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12];

#[derive(Debug)]
pub(super) struct Customer<'a> {
    pub(super) id: u64,
    pub(super) email: Cow<'a, str>,
    pub(super) phone: Field<Phone>,
    pub(super) address: Field<Address>,
    pub(super) devices: Vec<Device>,
    pub(super) orders: Vec<Order>,
    /// How often its metadata has changed.
    pub(super) contacts: u32,
}

/// The hashes that a customer is made of.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// Tells the customer from others under the same email.
    pub(super) id: u64,
    /// What stays the same when another customer takes over the email.
    pub(super) root: u64,
    /// The home that it shares with a neighbor or a relative.
    pub(super) home: Option<u64>,
}

/// A field that the API may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<T> {
    Absent,
    Null,
    Value(T),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phone(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) year: u64,
    pub(super) number: u64,
}

impl<'a> Customer<'a> {
    /// A customer to whom nothing has happened yet.
    pub(super) fn new(origin: Origin, email: Cow<'a, str>) -> Self {
        let Origin { id, root, home } = origin;
        let device = |n| Device(mix(id ^ 0xd0, n as u64));
        let mut devices: Vec<Device> = (0..pick(mix(id, 4), &DEVICES)).map(device).collect();
        if let (Some(home), Some(first)) = (home, devices.first_mut()) {
            *first = Device(mix(home, 5));
        }
        let created = created_year(id);
        let years = THIS_YEAR - created + 1;
        let count = pick(mix(id, 6), &ORDERS);
        let order = |n| Order { year: created + n * years / count, number: mix(id ^ 0x0d, n) };
        let mut orders: Vec<Order> = (0..count).map(order).collect();
        orders.sort_unstable();
        Self {
            id,
            email,
            phone: field(mix(id, 7), Phone(mix(id, 8))),
            address: field(mix(id, 9), Address(mix(home.unwrap_or(root), 10))),
            devices,
            orders,
            contacts: 0,
        }
    }

    /// Lets `change` happen; `draw` chooses its details.
    pub(super) fn apply(&mut self, change: Change, draw: u64) {
        match change {
            Change::DeviceRemoved if !self.devices.is_empty() => {
                self.devices.remove(below(draw, self.devices.len()));
            }
            Change::DeviceAdded | Change::DeviceRemoved => self.devices.push(Device(draw)),
            Change::Phone => self.phone = Field::Value(Phone(draw)),
            Change::Address => self.address = Field::Value(Address(draw)),
            Change::Metadata => self.contacts += 1,
            Change::OrderAdded | Change::Gone | Change::Moved | Change::Replaced => {
                self.orders.push(Order { year: THIS_YEAR + 1, number: draw });
            }
        }
    }
}

pub(super) fn created_year(id: u64) -> u64 {
    FIRST_YEAR + mix(id, 21) % (THIS_YEAR - FIRST_YEAR + 1)
}

fn field<T>(draw: u64, value: T) -> Field<T> {
    match below(draw, 100) {
        0..15 => Field::Absent,
        15..27 => Field::Null,
        _ => Field::Value(value),
    }
}
