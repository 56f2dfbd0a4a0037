//! Hands the plan out, page by page, in its order.

use crate::domain::outcome::PlannedEmail;
use rusqlite::{Connection, Result};

/// A place in a plan, with a connection of its own that only reads. Positions grow, so what is
/// being written behind it is never read again.
#[derive(Debug)]
pub struct Cursor {
    reader: Connection,
    run_id: i64,
    after: i64,
    left: u64,
}

impl Cursor {
    /// A cursor before the first pending email of `run_id`, that hands out `limit` at most.
    pub fn new(reader: Connection, run_id: i64, limit: Option<u64>) -> Self {
        Self { reader, run_id, after: -1, left: limit.unwrap_or(u64::MAX) }
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
        let page = select.query_map((self.run_id, self.after, wanted as i64), |row| {
            Ok(PlannedEmail {
                position: row.get(0)?,
                key: row.get(1)?,
                email: row.get(2)?,
                led_to: row.get(3)?,
            })
        })?;
        let page = page.collect::<Result<Vec<_>>>()?;
        self.left -= page.len() as u64;
        if let Some(last) = page.last() {
            self.after = last.position;
        }
        Ok(page)
    }
}
