//! A few runs, write by write, and what readers could see meanwhile.

use std::path::{Path, PathBuf};

use rusqlite::OpenFlags;

use super::checks::{check_customers, check_sums};
use super::customers::{Api, CONCURRENCY, EMAILS, LATENCY, REVISIONS, email};
use crate::disk::{Disk, Files, Syncs};
use crate::program::{TestDir, folder};
use crate::recorder::{Event, Part, Recording};
use crate::store::{State, check_feed, lasting, open, open_with, rows};

/// A few runs, as they came to disk.
pub(crate) struct Recorded {
    /// The number of the first email.
    pub(crate) first: u32,
    pub(crate) events: Vec<Event>,
    /// What readers could see.
    pub(crate) seen: Vec<Seen>,
    /// The end of each process but those that were stopped.
    pub(crate) ends: Vec<End>,
}

/// What a process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// It synced the list at this revision of the API.
    Sync {
        revision: u32,
    },
    Forget,
    UndoForget,
}

pub(crate) struct End {
    pub(crate) work: Work,
    /// How many events there were by then.
    pub(crate) events: usize,
    /// See [`lasting`].
    pub(crate) lasting: Vec<String>,
}

/// What readers can see from one event on.
pub(crate) struct Seen {
    pub(crate) from: usize,
    pub(crate) state: Option<State>,
}

pub(crate) fn list(first: u32) -> impl Iterator<Item = String> {
    (first..first + EMAILS).map(email)
}

/// The person of a list who is forgotten.
pub(crate) fn person(first: u32) -> u32 {
    first + 1
}

/// Runs the program once for each revision, with stops between; then a person is forgotten, allowed
/// back, and synced again.
pub(crate) fn recorded(first: u32) -> Recorded {
    let api = Api::new(LATENCY);
    let dir = TestDir::new(api.url());
    dir.list(list(first));
    let recording = Recording::of(&dir.store());
    let mut ends = Vec::new();
    let mut ended = |work| {
        ends.push(End { work, events: recording.len(), lasting: lasting(&open(&dir.store())) });
    };
    for revision in 0..REVISIONS {
        api.at(revision);
        // A reader that keeps the log from being emptied, the last time until somebody is forgotten.
        let reader = (revision >= 2).then(|| {
            let reader = open(&dir.store());
            reader.execute_batch("BEGIN; SELECT count(*) FROM changes").expect("a reader");
            reader
        });
        if revision == 1 {
            assert_eq!(dir.sync(&["list.csv", "--concurrency", CONCURRENCY, "--limit", "11"]), 4);
            assert_eq!(dir.sync(&["--resume", "--concurrency", CONCURRENCY]), 0);
        } else {
            assert_eq!(dir.sync(&["list.csv", "--concurrency", CONCURRENCY]), 0);
        }
        drop(reader);
        ended(Work::Sync { revision });
    }
    let person = email(person(first));
    assert_eq!(dir.forget(&[&person]), 0);
    ended(Work::Forget);
    assert_eq!(dir.forget(&["--undo", &person]), 0);
    ended(Work::UndoForget);
    assert_eq!(dir.sync(&["list.csv", "--concurrency", CONCURRENCY]), 0);
    ended(Work::Sync { revision: REVISIONS - 1 });
    let events = recording.events();
    let seen = seen(&events);
    Recorded { first, events, seen, ends }
}

/// The states that readers could see. Each keeps the contract and follows from the one before.
pub(crate) fn seen(events: &[Event]) -> Vec<Seen> {
    let (mut disk, folder) = (Disk::default(), folder());
    let mut seen = vec![Seen { from: 0, state: None }];
    let mut is_written = false;
    for (at, event) in events.iter().enumerate() {
        disk.apply(event, events.get(at + 1), Syncs::All);
        is_written |= matches!(event, Event::Write { .. });
        if matches!(event, Event::Visible) && is_written {
            is_written = false;
            let files = disk.whole();
            let state = read(folder.path(), &files).expect("a store that is intact");
            let Some(before) = seen.last().filter(|last| last.state != state) else { continue };
            if let Some(state) = &state {
                check_feed(before.state.as_ref(), state);
                let store = open_with(&write_files(folder.path(), &files), OpenFlags::default());
                check_sums(&store);
                check_customers(&store);
            }
            seen.push(Seen { from: at + 1, state });
        }
    }
    seen
}

/// Makes `folder` hold these files of a store, and no other; where the store is.
pub(crate) fn write_files(folder: &Path, files: &Files) -> PathBuf {
    let path = |suffix: &str| folder.join(format!("s.db{suffix}"));
    for suffix in Part::ALL.map(Part::suffix).into_iter().chain(["-shm"]) {
        // Most are not there.
        let _ = std::fs::remove_file(path(suffix));
    }
    for (part, bytes) in files {
        std::fs::write(path(part.suffix()), bytes).expect("an image");
    }
    path("")
}

/// What SQLite makes of these files, or what it finds wrong with them.
pub(crate) fn read(folder: &Path, files: &Files) -> Result<Option<State>, String> {
    let store = open_with(&write_files(folder, files), OpenFlags::default());
    let check = store.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    match check.as_deref() {
        Ok("ok") => {}
        Ok(other) => return Err(format!("integrity_check: {other}")),
        Err(error) => return Err(format!("integrity_check: {error}")),
    }
    let broken = rows(&store, "PRAGMA foreign_key_check");
    if !broken.is_empty() {
        return Err(format!("foreign_key_check: {broken:?}"));
    }
    Ok(State::of(&store))
}
