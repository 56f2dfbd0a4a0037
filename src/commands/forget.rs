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

/// Erases, or lets an erased email be looked up again.
///
/// # Errors
/// The store cannot be used, or does not know the person.
pub fn run(args: &ForgetArgs) -> Result<Exit, Error> {
    let path = read_store_path(&args.store);
    if !path.exists() {
        return Err(StoreError::NotThere(path).into());
    }
    let mut store = Store::open(&path)?;
    let person = args.person.trim();
    let text = if args.undo {
        if !undo_forget(&store.connection, person)? {
            return Err(Error::NotForgotten(path));
        }
        format!("{} will be looked up again when a list holds it.\n", escaped(person))
    } else {
        let forgotten = forget(&mut store, person, &time::text(time::now()))?;
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
    print(&text)?;
    Ok(Exit::Complete)
}
