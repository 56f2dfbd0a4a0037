//! The contract, as plainly as it can be written: what is known after each answer, and what the feed
//! tells of it. No batches, no transactions, no times.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::world::Answer;

/// The columns of a customer whose changes the feed tells, and the API's name of each.
pub(crate) const FIELDS: [(&str, &str); 7] = [
    ("organization_id", "organizationId"),
    ("email", "email"),
    ("name", "name"),
    ("phone", "phone"),
    ("address", "address"),
    ("metadata", "metadata"),
    ("created_at", "createdAt"),
];

/// A row of the feed without its number, time and run: customer, kind, field, old, new.
pub(crate) type Told = [String; 5];

/// A customer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Customer {
    pub(crate) fields: BTreeMap<&'static str, Option<String>>,
    pub(crate) devices: BTreeSet<String>,
    pub(crate) orders: BTreeSet<String>,
    pub(crate) is_missing: bool,
}

/// An email that was planned at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub(crate) outcome: Option<&'static str>,
    pub(crate) customer: Option<String>,
    /// The day of its last answer, on which `--max-age` skips it.
    pub(crate) answered_on: Option<i64>,
    /// The run of its last outcome.
    pub(crate) run: Option<i64>,
}

/// A run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) source: String,
    pub(crate) pending: BTreeSet<usize>,
    /// The emails that have an outcome, by that.
    pub(crate) settled: BTreeMap<usize, &'static str>,
    /// The emails that resolved to a customer before and have an answer now, and those of them that
    /// no longer resolve to it.
    pub(crate) known: BTreeSet<usize>,
    pub(crate) lost: BTreeSet<usize>,
    /// The customers that this run brought.
    pub(crate) created: BTreeSet<String>,
    /// The customer to whom each email resolved in this run.
    pub(crate) found: BTreeMap<usize, String>,
    /// What was known of each settled email before.
    pub(crate) before: BTreeMap<usize, Lookup>,
    /// The settled emails that were forgotten since: they stay as they are.
    pub(crate) forgotten: BTreeSet<usize>,
    /// Whether its process was killed and nobody has ended it since.
    pub(crate) is_killed: bool,
    /// How many it has sent, as its row says.
    pub(crate) requests: i64,
}

impl Run {
    /// The answers that can be outcomes of this run: a canary may look up any email.
    pub(crate) fn can_settle(&self, mut answered: Vec<(usize, Answer)>) -> Vec<(usize, Answer)> {
        answered.retain(|(email, _)| self.pending.contains(email));
        answered
    }

    /// Most of the emails that resolved to a customer no longer do: the key is not to be trusted.
    pub(crate) fn is_suspicious(&self) -> bool {
        self.known.len() >= 5 && self.lost.len() * 2 > self.known.len()
    }
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contract {
    pub(crate) customers: BTreeMap<String, Customer>,
    pub(crate) lookups: BTreeMap<usize, Lookup>,
    pub(crate) runs: BTreeMap<i64, Run>,
    pub(crate) feed: Vec<Told>,
    /// The emails and the ids that `forget` erased.
    pub(crate) tombstones: BTreeMap<String, Tombstone>,
    /// What the clock on the wall says, in days from the first.
    pub(crate) today: i64,
    /// How often somebody was forgotten.
    pub(crate) forgets: usize,
}

/// What is kept of an email or a customer that was erased.
#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    /// Which `forget` erased it: what one erased comes back together.
    pub(crate) forget: usize,
    pub(crate) customer: Option<String>,
}

impl Contract {
    /// The emails of a list become a plan: those that are new or old, but not fresh.
    pub(crate) fn plan(&mut self, run: i64, source: &str, emails: &BTreeSet<usize>) {
        for earlier in self.runs.values_mut().filter(|earlier| earlier.source == source) {
            earlier.pending.clear();
        }
        for email in emails {
            self.lookups.entry(*email).or_default();
        }
        let source = source.to_owned();
        self.runs.insert(run, Run { source, pending: emails.clone(), ..Run::default() });
    }

    /// Emails get their outcomes, one after the other.
    pub(crate) fn settle_all(&mut self, run: i64, answers: &[(usize, Answer)]) {
        for (email, answer) in answers {
            self.settle(run, *email, answer);
        }
    }

    /// An email gets its outcome.
    fn settle(&mut self, run: i64, email: usize, answer: &Answer) {
        let known: BTreeSet<String> = self.customers.keys().cloned().collect();
        let forgotten = self.forgotten_in(answer);
        let (outcome, customer) = match answer {
            Answer::Customer(_) | Answer::Older(_) if forgotten.is_some() => ("found", None),
            Answer::Customer(body) => ("found", Some(self.answer(body))),
            Answer::Older(id) => ("found", Some(id.clone())),
            Answer::Nobody => ("not_found", None),
            Answer::Rejected => ("rejected", None),
            Answer::Malformed => ("failed", None),
        };
        let lookup = self.lookups.get_mut(&email).expect("an email that was planned");
        let (id, run) = (run, self.runs.get_mut(&run).expect("a run"));
        run.before.insert(email, lookup.clone());
        lookup.run = Some(id);
        let is_pending = run.pending.remove(&email);
        assert!(is_pending, "email {email} was settled and is settled again");
        run.settled.insert(email, outcome);
        if let Some(customer) = &customer {
            run.found.insert(email, customer.clone());
            if !known.contains(customer) {
                run.created.insert(customer.clone());
            }
        }
        lookup.outcome = Some(outcome);
        if matches!(outcome, "found" | "not_found") {
            if let Some(before) = &lookup.customer {
                run.known.insert(email);
                if customer.as_ref() != Some(before) {
                    run.lost.insert(email);
                }
            }
            lookup.customer = customer;
            lookup.answered_on = Some(self.today);
        }
        if let Some(customer) = forgotten {
            self.forget_alias(email, customer);
        }
    }

    /// A customer as the API has it now. Returns the id.
    fn answer(&mut self, body: &str) -> String {
        let body = &Body::new(body);
        let id = body.value["id"].as_str().expect("an id").to_owned();
        let Some(stored) = self.customers.get_mut(&id) else {
            return self.created(id, body);
        };
        let mut told = Vec::new();
        if std::mem::take(&mut stored.is_missing) {
            told.push(["returned", "", "", ""].map(str::to_owned));
        }
        for (column, name) in FIELDS {
            let old = stored.fields[column].clone();
            let new = field(body, column, name, old.as_ref());
            if old != new {
                let [old, told_new] = [old, new.clone()].map(Option::unwrap_or_default);
                told.push(["updated".to_owned(), column.to_owned(), old, told_new]);
                stored.fields.insert(column, new);
            }
        }
        for (list, stored, kinds) in [
            (list(body, "devices"), &mut stored.devices, ["device_unassigned", "device_assigned"]),
            (list(body, "orders"), &mut stored.orders, ["order_removed", "order_added"]),
        ] {
            if let Some(list) = list {
                told.extend(differences(stored, &list, kinds));
                *stored = list;
            }
        }
        self.tell(&id, told);
        id
    }

    fn created(&mut self, id: String, body: &Body<'_>) -> String {
        let fields = FIELDS.map(|(column, name)| (column, field(body, column, name, None)));
        let list = |name| list(body, name).unwrap_or_default();
        let (devices, orders) = (list("devices"), list("orders"));
        let new = serde_json::json!({ "devices": devices, "orders": orders }).to_string();
        self.tell(&id, vec![["created".to_owned(), String::new(), String::new(), new]]);
        let customer = Customer { fields: fields.into(), devices, orders, is_missing: false };
        self.customers.insert(id.clone(), customer);
        id
    }

    /// The emails whose last outcome is no answer.
    pub(crate) fn unanswered(&self) -> BTreeSet<usize> {
        let unanswered = |lookup: &Lookup| matches!(lookup.outcome, Some("rejected" | "failed"));
        let emails = self.lookups.iter().filter(|(_, lookup)| unanswered(lookup));
        emails.map(|(email, _)| *email).collect()
    }

    pub(crate) fn is_unfinished(&self, run: i64) -> bool {
        self.runs.get(&run).is_some_and(|run| {
            !run.pending.is_empty() || (run.is_killed && !run.settled.is_empty())
        })
    }

    /// The unfinished runs, the newest first.
    pub(crate) fn unfinished(&self) -> Vec<i64> {
        self.runs.keys().rev().copied().filter(|run| self.is_unfinished(*run)).collect()
    }

    /// Runs that were killed are ended, but for the one that continues.
    pub(crate) fn end_killed(&mut self, continued: i64) {
        let run = self.runs.get(&continued).filter(|run| run.is_killed);
        let lost = run
            .into_iter()
            .flat_map(|run| run.lost.iter().filter_map(|email| run.before[email].customer.clone()));
        let spared = lost.collect();
        self.mark_missing(&spared);
        for (id, run) in &mut self.runs {
            run.is_killed &= *id == continued;
        }
    }

    /// Customers that no email resolves to go missing.
    pub(crate) fn mark_missing(&mut self, spared: &BTreeSet<String>) {
        let resolved: BTreeSet<_> =
            self.lookups.values().filter_map(|lookup| lookup.customer.clone()).collect();
        let mut told = Vec::new();
        for (id, customer) in &mut self.customers {
            if customer.is_missing || resolved.contains(id) || spared.contains(id) {
                continue;
            }
            customer.is_missing = true;
            let mut rows = vec![["missing", "", "", ""].map(str::to_owned)];
            let none = BTreeSet::new();
            let devices = ["device_unassigned", "device_assigned"];
            rows.extend(differences(&customer.devices, &none, devices));
            rows.extend(differences(&customer.orders, &none, ["order_removed", "order_added"]));
            customer.devices.clear();
            customer.orders.clear();
            told.push((id.clone(), rows));
        }
        for (id, rows) in told {
            self.tell(&id, rows);
        }
    }

    fn tell(&mut self, id: &str, rows: Vec<[String; 4]>) {
        for [kind, field, old, new] in rows {
            self.feed.push([id.to_owned(), kind, field, old, new]);
        }
    }
}

/// An answer, with the text of its metadata.
struct Body<'a> {
    value: Value,
    metadata: Option<&'a str>,
}

impl<'a> Body<'a> {
    fn new(text: &'a str) -> Self {
        #[derive(Deserialize)]
        struct Raw<'a> {
            #[serde(borrow)]
            metadata: Option<&'a RawValue>,
        }
        let value: Value = serde_json::from_str(text).expect("a customer");
        let raw: Raw<'a> = serde_json::from_str(text).expect("a customer");
        // Null is an empty object; absent is absent.
        let is_null = value.get("metadata").is_some_and(Value::is_null);
        let metadata = raw.metadata.map(RawValue::get).or(is_null.then_some("{}"));
        Self { value, metadata }
    }
}

/// The value of a column after an answer. What is absent keeps its value, but for the phone and the
/// address, which are gone then. JSON keeps its text as long as it has the same value.
fn field(body: &Body<'_>, column: &str, name: &str, old: Option<&String>) -> Option<String> {
    let old = old.cloned();
    match (column, body.value[name].as_str()) {
        ("phone" | "address", new) => new.map(str::to_owned),
        ("metadata", _) => match (body.metadata, old) {
            (Some(new), Some(old)) if json(new) == json(&old) => Some(old),
            (Some(new), _) => Some(new.to_owned()),
            (None, old) => old,
        },
        (_, new) => new.map(str::to_owned).or(old),
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn list(body: &Body<'_>, name: &str) -> Option<BTreeSet<String>> {
    let ids = body.value[name].as_array()?;
    Some(ids.iter().map(|id| id.as_str().expect("an id").to_owned()).collect())
}

fn differences(
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
    [closed, opened]: [&str; 2],
) -> Vec<[String; 4]> {
    let row = |kind: &str, old: &str, new: &str| {
        [kind.to_owned(), String::new(), old.to_owned(), new.to_owned()]
    };
    let gone = old.difference(new).map(|id| row(closed, id, ""));
    gone.chain(new.difference(old).map(|id| row(opened, "", id))).collect()
}

#[test]
fn an_answer_to_a_canary_settles_no_email_twice() {
    let mut contract = Contract::default();
    contract.plan(1, "0", &[0, 1].into());
    contract.settle_all(1, &[(0, Answer::Nobody)]);
    let answered = vec![(0, Answer::Nobody), (1, Answer::Rejected), (2, Answer::Nobody)];
    contract.settle_all(1, &contract.runs[&1].can_settle(answered));
    assert_eq!(contract.runs[&1].settled, [(0, "not_found"), (1, "rejected")].into());
}
