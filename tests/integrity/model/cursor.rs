//! A reader of the feed that comes back after each step.

use std::collections::BTreeMap;

use super::compare::{Checked, ensure};
use super::observed::{Observed, ObservedChange};

/// A reader that remembers all changes it has seen, and the last number of them.
#[derive(Clone, Default)]
pub(crate) struct Cursor {
    /// Those that are still there.
    seen: BTreeMap<i64, ObservedChange>,
    /// How many of each kind each run has made, those included that are gone.
    counts: BTreeMap<(i64, String), usize>,
    last: i64,
    /// The last one that the store has had itself: an older one if it was restored.
    of_store: i64,
}

impl Cursor {
    /// The store is as it was when this reader was `then`. The reader keeps the number of the last
    /// change it saw, though that change is gone.
    pub(crate) fn store_was_restored(&mut self, then: &Self) {
        *self = Self { last: self.last, ..then.clone() };
    }

    /// A process begins, by a clock that shows these microseconds. It numbers changes from there, or
    /// from the last one in its store: where both are of the past, nothing tells it of this reader.
    pub(crate) fn process_begins(&mut self, now: i64) {
        if now < self.last {
            self.last = self.of_store;
        }
    }

    /// Reads what is new; how much that was.
    pub(crate) fn read(&mut self, observed: &Observed) -> Result<u64, String> {
        let mut new = 0;
        for (id, change) in &observed.feed {
            match self.seen.get(id) {
                Some(seen) => ensure!(seen == change, "change {id} was {seen:?}, is {change:?}"),
                None => {
                    ensure!(*id > self.last, "change {id} comes after {} was seen", self.last);
                    new += 1;
                    if let Some(run) = change.run {
                        *self.counts.entry((run, change.told[1].clone())).or_default() += 1;
                    }
                }
            }
        }
        for (id, change) in self.seen.iter().filter(|(id, _)| !observed.feed.contains_key(id)) {
            // What is erased leaves a trace.
            let erased = |later: &ObservedChange| {
                later.told[1] == "erased" && later.told[0] == change.told[0]
            };
            let is_traced = observed.feed.range(*id..).any(|(_, later)| erased(later));
            ensure!(is_traced, "change {id} is gone: {change:?}");
        }
        self.seen.clone_from(&observed.feed);
        let last = self.seen.keys().next_back().copied().unwrap_or(0);
        self.last = self.last.max(last);
        self.of_store = self.of_store.max(last);
        self.check_counts(observed)?;
        Ok(new)
    }

    /// A report counts the changes that its run has made, though some may be erased since.
    fn check_counts(&self, observed: &Observed) -> Checked {
        let of = |run: i64, kind: &str| {
            let is_of =
                |change: &&ObservedChange| change.run == Some(run) && change.told[1] == kind;
            self.seen.values().filter(is_of).count()
        };
        for (id, run) in &observed.runs {
            for (kind, count) in &run.changes {
                let count = *count as usize;
                let (there, ever) = (of(*id, kind), self.counts.get(&(*id, kind.clone())));
                let ever = ever.copied().unwrap_or_default();
                ensure!(
                    there <= count && count <= ever,
                    "run {id} counts {count} {kind}, but {there} of {ever} are there"
                );
            }
        }
        Ok(())
    }
}
