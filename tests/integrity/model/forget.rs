//! What `forget` leaves of a person by the contract, and what brings the person back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::contract::{Contract, Tombstone};
use super::history::Who;
use super::world::{Answer, email, id, number};

impl Who {
    /// As it is typed.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Email(number) => email(number),
            Self::Person(person) => id(person),
        }
    }
}

impl Contract {
    /// Erases a person: the customers of this name or with this email, all emails that resolve to
    /// them, and their own unless it is another's by now. Returns the emails; `None` if there is
    /// nobody.
    pub(crate) fn forget(&mut self, who: Who) -> Option<BTreeSet<usize>> {
        let customers = self.named(who);
        let mut emails = BTreeMap::new();
        for customer in &customers {
            let resolves =
                self.lookups.iter().filter(|(_, it)| it.customer.as_ref() == Some(customer));
            let resolves = resolves.map(|(email, _)| *email);
            let own = self.own_email(customer).filter(|own| {
                let resolves_to = self.lookups.get(own).and_then(|it| it.customer.as_ref());
                resolves_to.is_none_or(|other| customers.contains(other))
            });
            emails.extend(resolves.chain(own).map(|email| (email, Some(customer.clone()))));
        }
        if let Who::Email(number) = who
            && self.lookups.contains_key(&number)
        {
            emails.entry(number).or_insert(None);
        }
        if customers.is_empty() && emails.is_empty() {
            return None;
        }
        self.forgets += 1;
        for customer in customers {
            self.erase(&customer);
            self.bury(customer.clone(), Some(customer), self.forgets);
        }
        let erased = emails.keys().copied().collect();
        for (number, customer) in emails {
            self.bury(email(number), customer, self.forgets);
            self.erase_email(number);
        }
        Some(erased)
    }

    fn named(&self, who: Who) -> BTreeSet<String> {
        let is_meant = |customer: &String| match who {
            Who::Person(person) => *customer == id(person),
            Who::Email(email) => {
                let resolves_to = self.lookups.get(&email).and_then(|it| it.customer.as_ref());
                resolves_to == Some(customer) || self.own_email(customer) == Some(email)
            }
        };
        self.customers.keys().filter(|customer| is_meant(customer)).cloned().collect()
    }

    fn own_email(&self, customer: &str) -> Option<usize> {
        number(self.customers[customer].fields["email"].as_ref()?)
    }

    /// Lets whoever was erased together with this one come back. False if nobody was.
    pub(crate) fn undo_forget(&mut self, who: Who) -> bool {
        let Some(Tombstone { forget, .. }) = self.tombstones.get(&who.name()).cloned() else {
            return false;
        };
        self.tombstones.retain(|_, tombstone| tombstone.forget != forget);
        true
    }

    pub(crate) fn is_forgotten(&self, email_number: usize) -> bool {
        self.tombstones.contains_key(&email(email_number))
    }

    /// The customer of an answer, if it is not to come back.
    pub(super) fn forgotten_in(&self, answer: &Answer) -> Option<String> {
        let customer = match answer {
            Answer::Customer(body) => {
                let body: Value = serde_json::from_str(body).expect("a customer");
                body["id"].as_str().expect("an id").to_owned()
            }
            Answer::Older(id) => id.clone(),
            Answer::Nobody | Answer::Rejected | Answer::Malformed => return None,
        };
        self.tombstone_of(&customer).map(|_| customer)
    }

    fn tombstone_of(&self, customer: &String) -> Option<&Tombstone> {
        self.tombstones.values().find(|it| it.customer.as_ref() == Some(customer))
    }

    /// An email that turned out to be one of a customer who was erased.
    pub(super) fn forget_alias(&mut self, number: usize, customer: String) {
        let forget = self.tombstone_of(&customer).expect("an erased customer").forget;
        self.bury(email(number), Some(customer), forget);
        self.erase_email(number);
    }

    fn bury(&mut self, name: String, customer: Option<String>, forget: usize) {
        self.tombstones.insert(name, Tombstone { forget, customer });
    }

    fn erase(&mut self, customer: &String) {
        self.customers.remove(customer);
        self.feed.retain(|[of, ..]| of != customer);
        self.feed.push([customer, "erased", "", "", ""].map(str::to_owned));
        for run in self.runs.values_mut() {
            run.created.remove(customer);
        }
    }

    fn erase_email(&mut self, number: usize) {
        self.lookups.remove(&number);
        for run in self.runs.values_mut() {
            if !run.pending.remove(&number) {
                run.forgotten.insert(number);
            }
        }
    }
}
