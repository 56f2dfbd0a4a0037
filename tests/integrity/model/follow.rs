//! Lets the contract follow what a process did, by what it was answered and which emails it settled.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::compare::{Checked, compare, compare_lookups, ensure};
use super::contract::{Contract, Customer, Run};
use super::history::{End, Sync, Work, list};
use super::observed::{Observed, ObservedRun};
use super::play::Player;
use super::world::{Answer, email, number};

/// How a process ended.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub(super) exit: u8,
    pub(super) is_killed: bool,
}

/// Which run a process worked on.
pub(super) enum Active {
    None,
    Run(i64),
}

impl Player {
    /// Which run the process worked on, planned by it or resumed.
    pub(super) fn active_run(
        &mut self,
        sync: &Sync,
        observed: &Observed,
        outcome: Outcome,
    ) -> Result<Active, String> {
        let new: Vec<i64> = observed
            .runs
            .keys()
            .filter(|id| !self.contract.runs.contains_key(id))
            .copied()
            .collect();
        let target = match &sync.work {
            Work::List(_) | Work::RetryFailed => {
                let may_fail = outcome.is_killed || matches!(sync.end, End::Deadline(_));
                return match *new {
                    [id] => self.planned(id, sync, &observed.runs[&id]),
                    [] if may_fail => Ok(Active::None),
                    _ => Err(format!("exit {}, new runs {new:?}", outcome.exit)),
                };
            }
            Work::Resume => self.resumed(observed)?,
            Work::ResumeRun(id) => Some(*id),
        };
        ensure!(new.is_empty(), "a resume has planned {new:?}");
        let Some(id) = target.filter(|id| self.contract.is_unfinished(*id)) else {
            let is_known = target.is_none_or(|id| self.contract.runs.contains_key(&id));
            let expected = if is_known { 0 } else { 1 };
            ensure!(outcome.is_killed || outcome.exit == expected, "exit {}", outcome.exit);
            return Ok(Active::None);
        };
        Ok(Active::Run(id))
    }

    /// The run that `--resume` chose, which is the newest unfinished one. A run whose emails are all
    /// settled may be ended already, by a process that was killed right after.
    fn resumed(&mut self, observed: &Observed) -> Result<Option<i64>, String> {
        let unfinished = self.contract.unfinished();
        // What it settled may be undone, but not what it sent.
        let has_worked = |id: &&i64| {
            let sent = observed.runs[*id].requests > self.contract.runs[*id].requests;
            sent || !self.newly_settled(**id, observed).is_empty()
        };
        let active = unfinished.iter().find(has_worked).or(unfinished.first()).copied();
        for id in unfinished.into_iter().take_while(|id| Some(*id) != active) {
            let run = self.contract.runs.get_mut(&id).expect("a run");
            ensure!(run.pending.is_empty(), "run {active:?} is resumed in place of {id}");
            run.is_killed &= !observed.runs[&id].is_ended;
        }
        Ok(active)
    }

    /// The emails that this run has settled since the last step.
    fn newly_settled(&self, id: i64, observed: &Observed) -> BTreeSet<usize> {
        let settled = observed.of_run.get(&id).into_iter().flatten();
        let emails = settled.filter_map(|email| number(email));
        let run = &self.contract.runs[&id];
        // An email that turned out to be one of a customer who was forgotten is gone.
        let is_gone = |number: &usize| !observed.lookups.contains_key(&email(*number));
        let gone = run.pending.iter().copied().filter(is_gone);
        emails.filter(|email| !run.settled.contains_key(email)).chain(gone).collect()
    }

    /// A plan is as its source and its counts say.
    fn planned(&mut self, id: i64, sync: &Sync, run: &ObservedRun) -> Result<Active, String> {
        let (source, rows) = match &sync.work {
            Work::List(list_number) => {
                let rows =
                    list(*list_number).iter().map(|row| number(&row.to_lowercase())).collect();
                (format!("{list_number}"), rows)
            }
            _ => {
                let rows: Vec<_> = self.contract.unanswered().into_iter().map(Some).collect();
                ("retry".to_owned(), rows)
            }
        };
        let today = Some(self.contract.today);
        let is_fresh = |email: &usize| {
            let answered = || self.contract.lookups.get(email).and_then(|it| it.answered_on);
            sync.skips_fresh && answered() == today
        };
        let [mut invalid, mut duplicate, mut fresh] = [0; 3];
        let (mut seen, mut planned) = (BTreeSet::new(), BTreeSet::new());
        for row in &rows {
            match row {
                None => invalid += 1,
                Some(email) if self.contract.is_forgotten(*email) => fresh += 1,
                Some(email) if !seen.insert(*email) => duplicate += 1,
                Some(email) if is_fresh(email) => fresh += 1,
                Some(email) => {
                    planned.insert(*email);
                }
            }
        }
        let expected =
            [rows.len(), invalid, duplicate, fresh, planned.len()].map(|count| count as i64);
        let counts =
            ["rows", "invalid", "duplicate", "fresh", "planned"].map(|name| run.counts[name]);
        ensure!(counts == expected, "planned {counts:?} in place of {expected:?}");
        self.end_killed(id);
        self.contract.plan(id, &source, &planned);
        Ok(Active::Run(id))
    }

    /// Lets the contract follow what a process did to a run.
    pub(super) fn follow(
        &mut self,
        id: i64,
        sync: &Sync,
        observed: &Observed,
        outcome: Outcome,
        before: Contract,
    ) -> Checked {
        let run = &observed.runs[&id];
        let is_resumed = before.runs.contains_key(&id);
        let settled = self.newly_settled(id, observed);
        if is_resumed {
            let known = &self.contract.runs[&id];
            let is_as_before = settled.is_empty() && run.is_ended != known.is_killed;
            let is_untouched = outcome.is_killed || (known.pending.is_empty() && outcome.exit == 0);
            if is_as_before && is_untouched && self.matches(observed) {
                // It was killed before it worked on the run, or the run was ended before.
                return Ok(());
            }
            self.end_killed(id);
        }
        if self.is_over {
            return Ok(());
        }
        if let End::Limit(limit) = sync.end {
            ensure!(settled.len() <= limit, "{} settled", settled.len());
        }
        let answered = self.contract.runs[&id].can_settle(self.api.answered());
        let asked: BTreeSet<usize> = answered.iter().map(|(email, _)| *email).collect();
        ensure!(settled.is_subset(&asked), "settled {settled:?}, asked {asked:?}");
        let is_undone = outcome.exit == 5
            || (outcome.is_killed && run.is_ended && self.would_be_undone(id, &answered));
        if is_undone {
            // What is undone has no outcome of this run any more.
            self.contract.settle_all(id, &answered);
            let run = &self.contract.runs[&id];
            ensure!(run.is_suspicious(), "a key is not trusted: {run:?}");
            self.figures.undone += 1;
            return self.undone(id, observed);
        }
        let answers = answered.into_iter().filter(|(email, _)| settled.contains(email));
        let answers: Vec<(usize, Answer)> = answers.collect();
        let before = self.contract.clone();
        self.contract.settle_all(id, &answers);
        self.end(id, run);
        // Of two answers, the one that was asked for later may have come first.
        if let Some(overtaken) =
            overtaken(self.api.race(), &answers).filter(|_| !self.matches(observed))
        {
            self.contract = before;
            self.contract.settle_all(id, &overtaken);
            self.end(id, run);
        }
        self.check_run(id, sync, run, outcome)
    }

    /// Whether a run that was killed at its very end was undone before.
    fn would_be_undone(&self, id: i64, answered: &[(usize, Answer)]) -> bool {
        let mut contract = self.contract.clone();
        contract.settle_all(id, answered);
        contract.runs[&id].is_suspicious()
    }

    fn run_mut(&mut self, id: i64) -> &mut Run {
        self.contract.runs.get_mut(&id).expect("a run")
    }

    /// Lets the contract end a run, if it has ended.
    fn end(&mut self, id: i64, run: &ObservedRun) {
        if run.is_ended {
            self.contract.mark_missing(&BTreeSet::new());
        }
        self.run_mut(id).is_killed = !run.is_ended;
    }

    fn check_run(&self, id: i64, sync: &Sync, run: &ObservedRun, outcome: Outcome) -> Checked {
        let contract = &self.contract.runs[&id];
        ensure!(run.is_ended || outcome.is_killed, "exit {}, but no end", outcome.exit);
        ensure!(!run.is_ended || !contract.is_suspicious(), "a wrong key is trusted");
        let pending = contract.pending.len();
        let counted = run.counts["pending"];
        ensure!(pending as i64 == counted, "{pending} pending, {counted} counted");
        for name in ["found", "not_found", "rejected", "failed"] {
            let settled = contract.settled.values().filter(|outcome| **outcome == name).count();
            ensure!(settled as i64 == run.counts[name], "{settled} {name}, {:?}", run.counts);
        }
        let unanswered = run.counts["rejected"] + run.counts["failed"] > 0;
        let is_right = match (outcome.exit, &sync.end) {
            _ if outcome.is_killed => true,
            (0, _) => pending == 0 && !unanswered,
            (3, _) => pending == 0 && unanswered,
            (4, End::Limit(_) | End::Deadline(_)) | (143, End::Terminated(_)) => true,
            _ => false,
        };
        ensure!(is_right, "exit {}, {run:?}", outcome.exit);
        Ok(())
    }

    /// A run whose answers are not trusted is undone: its emails are as they were before, and nobody
    /// stays whom it brought. What the feed says of it is taken as it is; the checks that hold at
    /// any moment hold for it, too.
    fn undone(&mut self, id: i64, observed: &Observed) -> Checked {
        let contract = &mut self.contract;
        let run = contract.runs.get_mut(&id).expect("a run");
        let mut touched = BTreeSet::new();
        for (email, outcome) in run.settled.clone() {
            let before = &run.before[&email];
            let found = run.found.get(&email);
            let now = contract.lookups.get(&email);
            let customers =
                [now.and_then(|it| it.customer.as_ref()), before.customer.as_ref(), found];
            touched.extend(customers.into_iter().flatten().cloned());
            let Some(lookup) = now.filter(|_| !run.forgotten.contains(&email)) else { continue };
            let is_answer = matches!(outcome, "found" | "not_found");
            let is_kept = outcome == "found" && found == before.customer.as_ref();
            if is_answer && !is_kept {
                run.settled.remove(&email);
                run.pending.insert(email);
                if lookup.run == Some(id) {
                    let mut before = before.clone();
                    before.customer =
                        before.customer.filter(|it| contract.customers.contains_key(it));
                    contract.lookups.insert(email, before);
                }
            }
        }
        run.known.clear();
        run.lost.clear();
        run.is_killed = false;
        let pending = run.pending.len() as i64;
        let counts = &observed.runs[&id].counts;
        ensure!(counts["pending"] == pending, "{pending} are pending again, {counts:?}");
        compare_lookups(&self.contract, observed)?;
        let resolved: BTreeSet<_> =
            self.contract.lookups.values().filter_map(|it| it.customer.clone()).collect();
        for customer in &touched {
            let stored = observed.customers.get(customer);
            let is_right = match resolved.contains(customer) {
                true => stored.is_some_and(|stored| !stored.is_missing),
                false => stored.is_none_or(|stored| stored.is_missing),
            };
            ensure!(is_right, "{customer} is undone, but {stored:?}");
        }
        let mut strangers = std::mem::take(&mut self.run_mut(id).created);
        strangers.retain(|customer| !resolved.contains(customer));
        let stranger = strangers.iter().find(|id| observed.customers.contains_key(*id));
        ensure!(stranger.is_none(), "{stranger:?} stays");
        let untouched = |customers: &BTreeMap<String, Customer>| {
            let mut customers = customers.clone();
            customers.retain(|id, _| !touched.contains(id));
            customers
        };
        let (stored, known) = (untouched(&observed.customers), untouched(&self.contract.customers));
        ensure!(stored == known, "others changed: {stored:?} {known:?}");
        self.contract.customers = observed.customers.clone();
        self.contract.feed = observed.feed.values().map(|change| change.told.clone()).collect();
        Ok(())
    }

    fn matches(&self, observed: &Observed) -> bool {
        compare(&self.contract, observed).is_ok()
    }

    /// Runs that were killed are ended when another process begins to work on `id`. That one of them
    /// is undone then is left to the checks that hold at any moment.
    fn end_killed(&mut self, id: i64) {
        let mut killed =
            self.contract.runs.iter().filter(|(other, run)| **other != id && run.is_killed);
        self.is_over |= killed.any(|(_, run)| run.is_suspicious());
        self.contract.end_killed(id);
    }
}

/// The same answers, but the second of a race comes first, so that the first says nothing new.
fn overtaken(
    race: Option<(usize, usize)>,
    answers: &[(usize, Answer)],
) -> Option<Vec<(usize, Answer)>> {
    let at = |email| answers.iter().position(|(other, _)| *other == email);
    let (first, second) = (at(race?.0)?, at(race?.1)?);
    let Answer::Customer(body) = &answers[first].1 else { return None };
    let body: Value = serde_json::from_str(body).expect("a customer");
    let id = body["id"].as_str().expect("an id").to_owned();
    let mut answers = answers.to_vec();
    let (email, _) = answers.remove(first);
    answers.insert(second, (email, Answer::Older(id)));
    Some(answers)
}
