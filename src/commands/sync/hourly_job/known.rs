//! What the store has to hold: the last answer to each email, and the newest one about each customer.

use super::api::Sent;
use super::world::{Customer, Worlds};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An email's last answer.
#[derive(Clone, Debug)]
pub(super) struct LastAnswer {
    pub(super) at: Duration,
    pub(super) customer: Option<String>,
}

pub(super) struct Known {
    pub(super) emails: Vec<Option<LastAnswer>>,
    customers: BTreeMap<String, (Duration, Customer)>,
    /// How many emails each run settled, and when it began.
    runs: Vec<(Duration, u64)>,
    /// The latest that the wall clock has shown at the end of a run.
    newest_time: Timestamp,
    /// Emails that were looked up in vain, until they are answered: they are at the end of the order.
    in_vain: BTreeSet<usize>,
}

impl Known {
    pub(super) fn new(emails: usize) -> Self {
        Self {
            emails: vec![None; emails],
            customers: BTreeMap::new(),
            runs: Vec::new(),
            newest_time: Timestamp::MIN,
            in_vain: BTreeSet::new(),
        }
    }

    /// Takes the answers of a run that were back in time.
    pub(super) fn add(&mut self, sent: &[Sent], worlds: &Worlds, until: Duration) {
        self.lose_turns(sent);
        for one in sent.iter().filter(|one| one.is_true && !one.is_canary && one.back <= until) {
            let world = worlds.at(one.at);
            let customer = world.emails[one.number].clone();
            if let Some(id) = &customer {
                let known = self.customers.entry(id.clone()).or_default();
                if one.at >= known.0 {
                    *known = (one.at, world.customers[id].clone());
                }
            }
            self.emails[one.number] = Some(LastAnswer { at: one.at, customer });
            self.in_vain.remove(&one.number);
        }
    }

    /// Remembers a run, and how many emails it settled. The order of lookups goes by the wall clock: as
    /// long as it is behind what it showed before, nothing is promised.
    pub(super) fn end_run(&mut self, began: Duration, settled: u64, ended: Timestamp) {
        if ended < self.newest_time {
            self.runs.clear();
        } else {
            self.newest_time = ended;
            self.runs.push((began, settled));
        }
    }

    /// Notes the emails of a run; the answers that count are added.
    pub(super) fn lose_turns(&mut self, sent: &[Sent]) {
        self.in_vain.extend(sent.iter().filter(|one| !one.is_canary).map(|one| one.number));
    }

    /// Since when every email has been answered that could be: emails are looked up in the order of
    /// their last lookup, so it takes the runs that settled as many as there are.
    pub(super) fn promised_since(&self) -> Option<Duration> {
        let mut settled = 0;
        let mut runs = self.runs.iter().rev();
        runs.find_map(|(began, count)| {
            settled += count;
            (settled >= self.emails.len() as u64).then_some(*began)
        })
    }

    /// Emails whose last answer is older than promised.
    pub(super) fn overdue(&self) -> Vec<usize> {
        let Some(since) = self.promised_since() else { return Vec::new() };
        let is_old = |answer: &Option<LastAnswer>| answer.as_ref().is_none_or(|it| it.at < since);
        let old = self.emails.iter().enumerate().filter(|(_, answer)| is_old(answer));
        old.map(|(number, _)| number).filter(|number| !self.in_vain.contains(number)).collect()
    }

    /// The customers that some email resolves to.
    pub(super) fn current(&self) -> BTreeMap<String, Customer> {
        let ids = self.emails.iter().flatten().filter_map(|answer| answer.customer.clone());
        let ids: BTreeSet<String> = ids.collect();
        ids.into_iter().map(|id| (id.clone(), self.customers[&id].1.clone())).collect()
    }
}
