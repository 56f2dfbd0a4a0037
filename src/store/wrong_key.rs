//! Detects a key of another organization, a wrong URL or a wrong column, by what becomes of emails.

use crate::domain::counts::Counts;
use crate::domain::stop::StopReason;
use crate::store::numbers::{count, stored};
use rusqlite::{Connection, Result};

/// How much evidence a verdict takes.
struct Evidence {
    /// Emails that resolved to a customer before, answered.
    known: u64,
    /// Emails answered with `not_found`, while none was ever found.
    not_found: u64,
}

/// While the run continues.
const DURING_RUN: Evidence = Evidence { known: 20, not_found: 1_000 };

/// When it ends: nothing more will come.
const AT_END: Evidence = Evidence { known: 5, not_found: 20 };

/// Whether it is believed that customers are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingCustomers {
    /// Not if they are more than half of those known, or if there never was one.
    Doubted,
    /// Always (`--accept-missing`).
    Accepted,
}

/// Watches whether emails resolve to customers, in all processes of a run.
#[derive(Clone, Copy, Debug)]
pub struct WrongKeyDetector {
    missing: MissingCustomers,
    /// Whether the store had no customer before the run.
    no_customers: bool,
    known: u64,
    lost: u64,
}

impl WrongKeyDetector {
    /// A detector that continues from what the earlier processes of the run saw.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn load(store: &Connection, run_id: i64, missing: MissingCustomers) -> Result<Self> {
        let no_customers = "SELECT NOT EXISTS (SELECT 1 FROM _customers WHERE erased_at IS NULL)";
        let no_customers = store.query_row(no_customers, [], |row| row.get(0))?;
        let select = "SELECT known_answered, known_lost FROM _run_states WHERE run_id = ?1";
        let [known, lost] =
            store.query_row(select, [run_id], |row| Ok([count(row, 0)?, count(row, 1)?]))?;
        Ok(Self { missing, no_customers, known, lost })
    }

    /// Keeps what was seen for a process that may have to continue.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn save(&self, store: &Connection, run_id: i64) -> Result<()> {
        let save = "UPDATE _run_states SET known_answered = ?2, known_lost = ?3 WHERE run_id = ?1";
        let seen = (run_id, stored(self.known)?, stored(self.lost)?);
        store.prepare_cached(save)?.execute(seen)?;
        Ok(())
    }

    /// An email that resolved to a customer was answered, and still resolves to it.
    pub fn kept(&mut self) {
        self.known += 1;
    }

    /// An email that resolved to a customer was answered, and no longer resolves to it.
    pub fn lost(&mut self) {
        self.known += 1;
        self.lost += 1;
    }

    /// The reason to stop, while answers still come; `counts` are the run's.
    pub fn verdict(&self, counts: &Counts) -> Option<StopReason> {
        self.judge(counts, &DURING_RUN)
    }

    /// The same when no more answers come.
    pub fn last_verdict(&self, counts: &Counts) -> Option<StopReason> {
        self.judge(counts, &AT_END)
    }

    fn judge(&self, counts: &Counts, evidence: &Evidence) -> Option<StopReason> {
        let Self { known, lost, .. } = *self;
        if self.missing == MissingCustomers::Accepted {
            None
        } else if known >= evidence.known && lost > known / 2 {
            Some(StopReason::CustomersLost { lost, known })
        } else if self.no_customers && counts.found == 0 && counts.not_found >= evidence.not_found {
            Some(StopReason::NothingFound { answered: counts.not_found })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detector(no_customers: bool, known: u64, lost: u64) -> WrongKeyDetector {
        WrongKeyDetector { missing: MissingCustomers::Doubted, no_customers, known, lost }
    }

    #[test]
    fn more_than_half_of_the_known_customers_cannot_be_gone() {
        let counts = Counts::default();
        let lost = |known, lost| Some(StopReason::CustomersLost { lost, known });
        for (known, gone, during, at_end) in [
            (4, 4, None, None),
            (5, 3, None, lost(5, 3)),
            (5, 2, None, None),
            (19, 19, None, lost(19, 19)),
            (20, 10, None, None),
            (20, 11, lost(20, 11), lost(20, 11)),
            (21, 11, lost(21, 11), lost(21, 11)),
        ] {
            let detector = detector(false, known, gone);
            assert_eq!(detector.verdict(&counts), during, "{gone} of {known}");
            assert_eq!(detector.last_verdict(&counts), at_end, "{gone} of {known}");
        }
        let accepted = MissingCustomers::Accepted;
        let accepting = WrongKeyDetector { missing: accepted, ..detector(true, 30, 30) };
        let nothing = Counts { not_found: 5_000, ..Counts::default() };
        assert_eq!(accepting.last_verdict(&nothing), None);
    }

    #[test]
    fn a_store_without_customers_wants_to_see_one() {
        let counts = |found, not_found| Counts { found, not_found, ..Counts::default() };
        let nothing = |answered| Some(StopReason::NothingFound { answered });
        let new = detector(true, 0, 0);
        assert_eq!(new.verdict(&counts(0, 999)), None);
        assert_eq!(new.verdict(&counts(0, 1_000)), nothing(1_000));
        assert_eq!(new.verdict(&counts(1, 5_000)), None);
        assert_eq!(new.last_verdict(&counts(0, 19)), None);
        assert_eq!(new.last_verdict(&counts(0, 20)), nothing(20));
        assert_eq!(detector(false, 0, 0).last_verdict(&counts(0, 5_000)), None);
    }
}
