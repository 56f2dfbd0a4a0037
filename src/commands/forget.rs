//! `forget`: erases a person from the store.

use crate::app::cli::ForgetArgs;
use crate::app::error::Error;
use crate::app::settings::read_store_path;
use crate::commands::print;
use crate::display::{counted, escaped, shown};
use crate::domain::exit::Exit;
use crate::store::forget::{Forgotten, forget, undo_forget};
use crate::store::{Store, StoreError};
use crate::time;
use jiff::Timestamp;

/// Does what was typed, and prints what came of it.
///
/// # Errors
/// The store cannot be used, or does not know the person.
pub fn run(args: &ForgetArgs, now: Timestamp) -> Result<Exit, Error> {
    print(&erase_or_undo(args, now)?)?;
    Ok(Exit::Complete)
}

/// Erases a person at this time, or lets an erased one be looked up again. Returns what to print.
///
/// # Errors
/// The store cannot be used, or does not know the person.
pub fn erase_or_undo(args: &ForgetArgs, now: Timestamp) -> Result<String, Error> {
    let path = read_store_path(&args.store);
    if !path.exists() {
        return Err(StoreError::NotThere(path).into());
    }
    let mut store = Store::open_at(&path, now)?;
    let person = args.person.trim();
    let text = if args.undo {
        if !undo_forget(&store.connection, person)? {
            return Err(Error::NotForgotten(path));
        }
        format!("{} will be looked up again when a list holds it.\n", escaped(person))
    } else {
        let forgotten = forget(&mut store, person, &time::text(now))?;
        if forgotten == Forgotten::default() {
            return Err(Error::NobodyToForget(path));
        }
        let Forgotten { customers, emails } = forgotten;
        format!(
            "Erased {} and {} from {}. Later runs skip these emails, until: telemetron-sync forget \
             --undo EMAIL\n",
            counted(customers, "customer"),
            counted(emails, "email"),
            shown(&path)
        )
    };
    store.checkpoint()?;
    Ok(text)
}
