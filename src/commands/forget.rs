//! `forget`: erases a person from the store.

use crate::app::cli::ForgetArgs;
use crate::app::error::Error;
use crate::app::settings::{read_store_path, store_option};
use crate::commands::print;
use crate::display::{counted, escaped, shown};
use crate::domain::exit::Exit;
use crate::store::forget::{Person, find, forget, is_erased, undo_forget};
use crate::store::{Checkpoint, Store, StoreError, open_to_read};
use crate::time::{self, Clock};
use std::path::Path;
use std::time::Duration;

/// How often the store is tried while a run holds it.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// Does what was typed, and prints what came of it.
///
/// # Errors
/// The store cannot be used, or does not know the person.
pub fn run(args: &ForgetArgs, clock: &Clock) -> Result<Exit, Error> {
    print(&text(args, clock)?)?;
    Ok(Exit::Complete)
}

/// Erases a person, or lets an erased one be looked up again, or says whom that concerns. Returns what
/// to print.
///
/// # Errors
/// The store cannot be used, or does not know the person.
pub fn text(args: &ForgetArgs, clock: &Clock) -> Result<String, Error> {
    let path = read_store_path(&args.store);
    let person = args.person.trim();
    if args.dry_run {
        return preview(&path, person);
    }
    if !path.exists() {
        return Err(StoreError::NotThere(path).into());
    }
    let mut store = open(&path, args.wait_for_lock.unwrap_or_default(), clock)?;
    if args.undo {
        if !undo_forget(&store.connection, person)? {
            return Err(Error::NotForgotten(path));
        }
        store.checkpoint()?;
        return Ok(format!("{} will be looked up again when a list holds it.\n", escaped(person)));
    }
    let erased = forget(&mut store, person, &time::text(clock.now().wall))?;
    let text = if !erased.is_unknown() {
        format!(
            "Erased {} from {}. Later runs skip these emails, until: telemetron-sync forget --undo \
             EMAIL{}\n",
            counts(&erased),
            shown(&path),
            store_option(&path)
        )
    } else if is_erased(&store.connection, person)? {
        format!("{} was erased from {} before.\n", escaped(person), shown(&path))
    } else {
        return Err(Error::NobodyToForget(path));
    };
    Ok(match store.erase_log()? {
        Checkpoint::Complete => text,
        Checkpoint::ReaderInTheWay => {
            text + "Another program reads the store, so its -wal file still holds what was erased. \
                    Run the same command again when that program is done.\n"
        }
    })
}

/// Opens the store; while a run holds it, waits for as long as allowed.
#[expect(clippy::disallowed_methods, reason = "this command has nothing else to do meanwhile")]
fn open(path: &Path, wait: Duration, clock: &Clock) -> Result<Store, Error> {
    let until = clock.now().mono + wait;
    loop {
        match Store::open_at(path, clock.now().wall) {
            Err(StoreError::Held(_)) if clock.now().mono < until => std::thread::sleep(LOCK_RETRY),
            opened => return Ok(opened?),
        }
    }
}

fn preview(path: &Path, person: &str) -> Result<String, Error> {
    let known = find(&open_to_read(path)?, person)?;
    if known.is_unknown() {
        return Err(Error::NobodyToForget(path.to_owned()));
    }
    let mut text = format!("This would erase {} from {}", counts(&known), shown(path));
    let ids: Vec<_> = known.customers.values().map(|id| escaped(id)).collect();
    if !ids.is_empty() {
        text = format!("{text}: {}", ids.join(", "));
    }
    Ok(text + ". Nothing was changed.\n")
}

fn counts(person: &Person) -> String {
    let [customers, emails] = [person.customers.len(), person.emails.len()].map(|it| it as u64);
    format!("{} and {}", counted(customers, "customer"), counted(emails, "email"))
}
