//! The truth: which email resolves to which customer, and what each customer has, from hour to hour.

use crate::lookup::simulation::email;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// A customer as the API answers it, and as the store should hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Customer {
    pub(super) name: String,
    pub(super) devices: BTreeSet<String>,
    pub(super) orders: BTreeSet<String>,
}

/// All of it at one moment.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) customers: BTreeMap<String, Customer>,
    /// The customer that each email resolves to.
    pub(super) emails: Vec<Option<String>>,
    /// The first email that resolves to a customer: its own.
    own: HashMap<String, usize>,
}

impl World {
    /// Every tenth email is an alias of the one before, and some belong to nobody.
    fn new(emails: usize, rng: &mut Rng) -> Self {
        let mut world =
            Self { customers: BTreeMap::new(), emails: Vec::new(), own: HashMap::new() };
        for number in 0..emails {
            let id = match number {
                _ if number % 17 == 16 => None,
                _ if number % 10 == 9 => world.emails[number - 1].clone(),
                _ => Some(format!("cus_{number}")),
            };
            if let Some(id) = &id {
                world.customers.entry(id.clone()).or_insert_with(|| Customer {
                    name: format!("Name {number}"),
                    devices: (0..rng.usize(..3)).map(|n| format!("dev_{number}_{n}")).collect(),
                    orders: (0..rng.usize(..3)).map(|n| format!("ord_{number}_{n}")).collect(),
                });
            }
            world.emails.push(id);
        }
        world.with_own_emails()
    }

    fn with_own_emails(mut self) -> Self {
        self.own.clear();
        for (number, id) in self.emails.iter().enumerate() {
            if let Some(id) = id {
                self.own.entry(id.clone()).or_insert(number);
            }
        }
        self
    }

    /// The same an hour later: names, devices and orders have changed, an email belongs to another
    /// customer, and another one to nobody.
    fn changed(&self, rng: &mut Rng) -> Self {
        let mut world = self.clone();
        for customer in world.customers.values_mut() {
            match rng.u8(..12) {
                0 => customer.name = format!("Name {}", rng.u32(..)),
                1 => drop(customer.devices.insert(format!("dev_{}", rng.u32(..)))),
                2 => drop(customer.devices.pop_first()),
                3 => drop(customer.orders.insert(format!("ord_{}", rng.u32(..)))),
                _ => {}
            }
        }
        let count = world.emails.len();
        let (moved, gone, to) = (rng.usize(..count), rng.usize(..count), rng.usize(..count));
        world.emails[gone] = None;
        // A customer that nobody resolves to stays gone.
        if let Some(to) = world.emails[to].clone() {
            world.emails[moved] = Some(to);
        }
        world.with_own_emails()
    }

    /// The customers that some email resolves to.
    pub(super) fn reachable(&self) -> BTreeMap<String, Customer> {
        let ids = self.emails.iter().flatten();
        ids.map(|id| (id.clone(), self.customers[id].clone())).collect()
    }

    /// The API's answer for the email of this number.
    pub(super) fn body(&self, number: usize) -> Option<String> {
        let id = self.emails[number].as_ref()?;
        let customer = &self.customers[id];
        let own = self.own.get(id).copied().map(email);
        let body = serde_json::json!({
            "id": id, "organizationId": "org_1", "name": customer.name, "email": own,
            "devices": customer.devices, "orders": customer.orders,
        });
        Some(body.to_string())
    }
}

/// The worlds of all hours, each with the time from which it holds.
pub(super) struct Worlds(Vec<(Duration, World)>);

impl Worlds {
    /// A world that changes once in each hour but the last, most often in the middle of a run.
    pub(super) fn new(emails: usize, hours: u32, rng: &mut Rng) -> Self {
        let mut worlds = vec![(Duration::ZERO, World::new(emails, rng))];
        for hour in 1..hours - 1 {
            let at = super::HOUR * hour + Duration::from_millis(rng.u64(..6000));
            let changed = worlds[worlds.len() - 1].1.changed(rng);
            worlds.push((at, changed));
        }
        Self(worlds)
    }

    pub(super) fn at(&self, at: Duration) -> &World {
        let now = self.0.iter().rev().find(|(from, _)| *from <= at);
        &now.expect("a first world").1
    }
}
