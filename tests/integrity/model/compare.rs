//! Compares a store with the contract.

use std::collections::BTreeSet;

use super::contract::{Contract, Told};
use super::observed::Observed;
use super::world::email;

/// What went wrong, if anything did.
pub(crate) type Checked = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($wrong:tt)+) => {
        if !$holds {
            return Err(format!($($wrong)+));
        }
    };
}

pub(crate) use ensure;

/// What the store says is what the contract says.
pub(crate) fn compare(contract: &Contract, observed: &Observed) -> Checked {
    for (id, customer) in &contract.customers {
        let stored = observed.customers.get(id);
        ensure!(stored == Some(customer), "{id} is {customer:?}, stored as {stored:?}");
    }
    let extra = observed.customers.keys().find(|id| !contract.customers.contains_key(*id));
    ensure!(extra.is_none(), "a customer that nobody has answered with: {extra:?}");
    compare_lookups(contract, observed)?;
    let sorted = |mut feed: Vec<Told>| {
        feed.sort();
        feed
    };
    let told = sorted(observed.feed.values().map(|change| change.told.clone()).collect());
    let expected = sorted(contract.feed.clone());
    if told != expected {
        return Err(format!("the feed tells {}", differences(&told, &expected)));
    }
    Ok(())
}

pub(crate) fn compare_lookups(contract: &Contract, observed: &Observed) -> Checked {
    for (number, lookup) in &contract.lookups {
        let stored = observed.lookups.get(&email(*number)).cloned();
        let expected = (lookup.outcome.map(str::to_owned), lookup.customer.clone());
        ensure!(stored.as_ref() == Some(&expected), "email {number}: {stored:?}, {expected:?}");
    }
    ensure!(observed.lookups.len() == contract.lookups.len(), "other emails");
    Ok(())
}

/// What only one of two sorted feeds has.
fn differences(told: &[Told], expected: &[Told]) -> String {
    let count = |feed: &[Told], one: &Told| feed.iter().filter(|other| *other == one).count();
    let more = |a: &[Told], b: &[Told]| {
        let rows: BTreeSet<&Told> = a.iter().filter(|one| count(a, one) > count(b, one)).collect();
        format!("{rows:?}")
    };
    format!("too much: {}, too little: {}", more(told, expected), more(expected, told))
}
