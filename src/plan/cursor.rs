//! Hands the plan out, page by page, in its order.

use crate::domain::outcome::{CanaryCandidates, PlannedEmail};
use rusqlite::{Connection, OptionalExtension as _, Result};
use std::ops::Deref;

/// A place in a plan, with a connection of its own that only reads. Positions grow, so what is
/// being written behind it is never read again.
pub struct Cursor {
    reader: Box<dyn Deref<Target = Connection> + Send>,
    run_id: i64,
    after: i64,
    left: u64,
    /// The emails answered most recently in earlier runs, once they were needed.
    answered: Option<Vec<String>>,
}

impl Cursor {
    /// A cursor before the first pending email of `run_id`, that hands out `limit` at most.
    pub fn new(
        reader: impl Deref<Target = Connection> + Send + 'static,
        run_id: i64,
        limit: Option<u64>,
    ) -> Self {
        let reader = Box::new(reader);
        Self { reader, run_id, after: -1, left: limit.unwrap_or(u64::MAX), answered: None }
    }

    /// Up to `wanted` further emails; none: the plan, or the limit, is at its end.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn next_page(&mut self, wanted: usize) -> Result<Vec<PlannedEmail>> {
        let wanted = self.left.min(wanted as u64);
        let mut select = self.reader.prepare_cached(
            "SELECT p.position, e.key, e.email, e.customer_key
             FROM _plan_items AS p JOIN _emails AS e ON e.key = p.email_key
             WHERE p.run_id = ?1 AND p.position > ?2 AND p.first_lookup IS NULL
             ORDER BY p.position LIMIT ?3",
        )?;
        let limit = i64::try_from(wanted).unwrap_or(i64::MAX);
        let page = select.query_map((self.run_id, self.after, limit), |row| {
            Ok(PlannedEmail {
                position: row.get(0)?,
                key: row.get(1)?,
                email: row.get(2)?,
                resolved_to: row.get(3)?,
            })
        })?;
        let page = page.collect::<Result<Vec<_>>>()?;
        self.left -= page.len() as u64;
        if let Some(last) = page.last() {
            self.after = last.position;
        }
        Ok(page)
    }

    /// Emails that a canary may look up: pending ones from these places (0 to 1) of what was not
    /// handed out yet, and those answered most recently in earlier runs.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn canaries(&mut self, places: [f64; 3]) -> Result<CanaryCandidates> {
        let last: Option<i64> = self.reader.query_row(
            "SELECT max(position) FROM _plan_items WHERE run_id = ?1",
            [self.run_id],
            |row| row.get(0),
        )?;
        let first = self.after + 1;
        let length = (last.unwrap_or(-1) - first).max(0);
        let mut planned = Vec::new();
        for place in places {
            let position = first + (length as f64 * place) as i64;
            if let Some(email) = self.pending_from(position)?
                && !planned.contains(&email)
            {
                planned.push(email);
            }
        }
        if self.answered.is_none() {
            self.answered = Some(self.answered_recently()?);
        }
        Ok(CanaryCandidates { planned, answered: self.answered.clone().unwrap_or_default() })
    }

    fn pending_from(&self, position: i64) -> Result<Option<String>> {
        let mut select = self.reader.prepare_cached(
            "SELECT e.email FROM _plan_items AS p JOIN _emails AS e ON e.key = p.email_key
             WHERE p.run_id = ?1 AND p.position >= ?2 AND p.first_lookup IS NULL
             ORDER BY p.position LIMIT 1",
        )?;
        select.query_row((self.run_id, position), |row| row.get(0)).optional()
    }

    fn answered_recently(&self) -> Result<Vec<String>> {
        let mut select = self.reader.prepare(
            "SELECT email FROM _emails WHERE answered_at IS NOT NULL 
             ORDER BY answered_at DESC LIMIT 5",
        )?;
        select.query_map([], |row| row.get(0))?.collect()
    }
}
