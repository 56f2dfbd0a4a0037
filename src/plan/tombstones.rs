//! Emails that `forget` erased: a plan leaves them out.

use crate::domain::email::{Email, salted_digest};
use rusqlite::{Connection, Result};
use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) struct Tombstones {
    salt: Vec<u8>,
    digests: BTreeSet<Vec<u8>>,
}

impl Tombstones {
    pub(super) fn load(store: &Connection) -> Result<Self> {
        let salt = store.query_row("SELECT salt FROM _store", [], |row| row.get(0))?;
        let mut select = store.prepare("SELECT digest FROM _tombstones")?;
        let digests = select.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
        Ok(Self { salt, digests })
    }

    pub(super) fn hold(&self, email: &Email) -> bool {
        !self.digests.is_empty()
            && self.digests.contains(&salted_digest(&self.salt, email.as_str()))
    }
}
