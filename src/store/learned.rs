//! The limits that a run found at an API, for the next run to start from.

use crate::store::StoreError;
use rusqlite::{Connection, OptionalExtension as _};

/// What the last run against an API learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedLimits {
    /// The most lookups in flight; `None`: not learned.
    pub concurrency: Option<u32>,
    /// Requests per second; `None`: the API refused none.
    pub rate: Option<f64>,
}

/// What was learned at the API with this base URL.
///
/// # Errors
/// The store cannot be read.
pub fn load(store: &Connection, api_url: &str) -> Result<Option<LearnedLimits>, StoreError> {
    let select = "SELECT concurrency, rate FROM _learned_limits WHERE api_url = ?1";
    let learned = store.query_row(select, [api_url], |row| {
        Ok(LearnedLimits { concurrency: row.get(0)?, rate: row.get(1)? })
    });
    Ok(learned.optional()?)
}

/// Replaces what was learned at the API with this base URL.
///
/// # Errors
/// The store cannot be written.
pub fn save(
    store: &Connection,
    api_url: &str,
    limits: LearnedLimits,
    at: &str,
) -> Result<(), StoreError> {
    let save = "INSERT OR REPLACE INTO _learned_limits (api_url, concurrency, rate, at)
         VALUES (?1, ?2, ?3, ?4)";
    store.prepare_cached(save)?.execute((api_url, limits.concurrency, limits.rate, at))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn each_api_has_the_limits_of_its_last_run() {
        let store = Store::temporary().unwrap().connection;
        let limits = |concurrency, rate| LearnedLimits { concurrency, rate };
        assert_eq!(load(&store, "a").unwrap(), None);
        save(&store, "a", limits(Some(8), Some(20.5)), "2026-01-01T00:00:00.000Z").unwrap();
        save(&store, "b", limits(None, None), "2026-01-01T00:00:00.000Z").unwrap();
        save(&store, "a", limits(Some(16), None), "2026-01-02T00:00:00.000Z").unwrap();
        assert_eq!(load(&store, "a").unwrap(), Some(limits(Some(16), None)));
        assert_eq!(load(&store, "b").unwrap(), Some(limits(None, None)));
    }
}
