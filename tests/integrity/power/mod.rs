//! The power may go at any operation on the store's files: afterwards the store holds all that a
//! reader can have seen, whole, and the run continues as if nothing had happened.
//!
//! Runs are recorded write by write. From the record, the files are built as a power cut at many
//! points could have left them. `POWER_CUTS` says at how many, `SEED` which.

mod checks;
mod customers;
mod recorded;

use std::fmt::{self, Display, Formatter};
use std::sync::OnceLock;
use std::time::Duration;

use fastrand::Rng;

use crate::disk::{Disk, Files, Syncs, Written};
use crate::program::{TestDir, folder};
use crate::random::{count, rng};
use crate::recorder::Event;
use crate::store::{State, check_feed, lasting, open, rows};
use customers::{Api, email};
use recorded::{End, Recorded, Seen, Work, list, person, read, recorded, write_files};

/// The power goes at this event.
#[derive(Clone, Copy)]
struct Cut {
    at: usize,
    written: Written,
}

impl Display for Cut {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "power cut at event {}, written: {:?}", self.at, self.written)
    }
}

/// A cut at each of these events, with the files that it leaves.
fn cuts<'a>(
    events: &'a [Event],
    mut points: Vec<usize>,
    syncs: Syncs,
    mut chance: Rng,
) -> impl Iterator<Item = (Cut, Files)> + 'a {
    points.sort_unstable();
    let (mut disk, mut done) = (Disk::default(), 0);
    points.into_iter().map(move |at| {
        for (event, next) in (done..at).map(|one| (&events[one], events.get(one + 1))) {
            disk.apply(event, next, syncs);
        }
        done = at;
        let written = Written::any(&mut chance);
        (Cut { at, written }, disk.cut(written, &mut chance))
    })
}

impl Recorded {
    /// So many events, any of them.
    fn points(&self, count: u64, chance: &mut Rng) -> Vec<usize> {
        (0..count).map(|_| chance.usize(..=self.events.len())).collect()
    }

    /// The end of `forget`, again and again: what it says then has to be true.
    fn ends_of_forget(&self, count: u64) -> impl Iterator<Item = usize> {
        let is_forget = |end: &&End| end.work == Work::Forget;
        let end = self.ends.iter().find(is_forget).expect("an end").events;
        (0..count).map(move |_| end)
    }

    /// What a store may hold after a cut at this event: what readers saw by then, or the commit
    /// that was under way.
    fn allowed(&self, at: usize) -> &[Seen] {
        let complete = self.seen.partition_point(|seen| seen.from <= at);
        &self.seen[complete - 1..self.seen.len().min(complete + 1)]
    }

    /// What is wrong with a store after a cut.
    fn violation(&self, cut: Cut, read: Result<Option<State>, String>) -> Option<String> {
        let allowed = self.allowed(cut.at);
        let what = match read {
            Err(what) => what,
            Ok(state) if allowed.iter().any(|seen| seen.state == state) => return None,
            Ok(state) => {
                let last = |state: &Option<State>| state.as_ref().map(State::last_change);
                let seen: Vec<_> = allowed.iter().map(|seen| last(&seen.state)).collect();
                format!("the last change is {:?}; readers may have seen {seen:?}", last(&state))
            }
        };
        Some(format!("{cut}: {what}"))
    }

    /// Continues after a cut, and compares the end with that of a run that was never cut.
    fn resume(&self, cut: Cut, files: &Files, api: &Api) {
        let at = self.ends.iter().position(|end| cut.at <= end.events).expect("a process");
        let dir = TestDir::new(api.url());
        dir.list(list(self.first));
        write_files(dir.store().parent().expect("a folder"), files);
        let person = email(person(self.first));
        match self.ends[at].work {
            Work::Sync { revision } => {
                api.at(revision);
                assert_eq!(self.sync_again(cut, at, &dir), 0, "{cut}");
            }
            Work::Forget => assert_eq!(dir.forget(&[&person]), 0, "{cut}"),
            // Exit 1: it was done before the cut.
            Work::UndoForget => assert!(dir.forget(&["--undo", &person]) <= 1, "{cut}"),
        }
        let store = open(&dir.store());
        let after = lasting(&store);
        let expected = &self.ends[at].lasting;
        let lost: Vec<_> = expected.iter().filter(|row| !after.contains(row)).collect();
        let new: Vec<_> = after.iter().filter(|row| !expected.contains(row)).collect();
        assert!(after == *expected, "{cut}: lost {lost:#?}, has instead {new:#?}");
        check_feed(self.allowed(cut.at)[0].state.as_ref(), &State::of(&store).expect("a store"));
    }

    /// Resumes the run of the process at this place, or begins it if there is no plan yet.
    fn sync_again(&self, cut: Cut, process: usize, dir: &TestDir) -> u8 {
        let is_sync = |end: &&End| matches!(end.work, Work::Sync { .. });
        let before = self.ends[..process].iter().filter(is_sync).count();
        let runs = || rows(&open(&dir.store()), "SELECT id FROM runs").len();
        let is_planned = self.allowed(cut.at)[0].state.is_some() && runs() > before;
        dir.sync(if is_planned { &["--resume"] } else { &["list.csv"] })
    }

    /// The bytes of the person who was forgotten that files hold from the end of that to the time when
    /// it comes back.
    fn forgotten_bytes(&self, cut: Cut, files: &Files) -> Option<String> {
        let end = |work| self.ends.iter().find(|end| end.work == work).expect("an end").events;
        if !(end(Work::Forget)..=end(Work::UndoForget)).contains(&cut.at) {
            return None;
        }
        let n = person(self.first);
        let texts = [email(n), format!("dev_{n}_"), format!("ord_{n}_")];
        let (part, text) = files.iter().find_map(|(part, bytes)| {
            let holds = |text: &&String| bytes.windows(text.len()).any(|it| it == text.as_bytes());
            Some((part, texts.iter().find(holds)?))
        })?;
        Some(format!("{cut}: {text} is still in {part:?}"))
    }
}

/// The stores that are recorded, at the same time.
const STORES: u64 = 3;

/// Recorded once for all tests.
fn all_recorded() -> &'static [Recorded] {
    static ALL: OnceLock<Vec<Recorded>> = OnceLock::new();
    ALL.get_or_init(|| {
        std::thread::scope(|scope| {
            let record = |n: u64| scope.spawn(move || recorded(n as u32 * 7));
            let running: Vec<_> = (0..STORES).map(record).collect();
            running.into_iter().map(|it| it.join().expect("a record")).collect()
        })
    })
}

/// One cut in so many is followed by a run to its end, and each of those while a store is made.
const RESUMED: u64 = 25;
const MAKING: usize = 30;

#[test]
fn a_power_cut_takes_back_nothing_that_a_reader_has_seen() {
    let all = all_recorded();
    let count = count("POWER_CUTS", 2000).div_ceil(STORES);
    let check = |recorded: &Recorded, number: u64| {
        let (folder, api) = (folder(), Api::new(Duration::ZERO));
        let mut chance = rng(number);
        let mut points = recorded.points(count, &mut chance);
        points.extend(recorded.ends_of_forget(count.div_ceil(50)));
        let cuts = cuts(&recorded.events, points, Syncs::All, chance);
        let mut resumed = 0;
        for ((cut, files), number) in cuts.zip(1..) {
            let violation = recorded.violation(cut, read(folder.path(), &files));
            assert_eq!(violation, None);
            assert_eq!(recorded.forgotten_bytes(cut, &files), None);
            if cut.at < MAKING || u64::is_multiple_of(number, RESUMED) {
                recorded.resume(cut, &files, &api);
                resumed += 1;
            }
        }
        resumed
    };
    let resumed: u64 = std::thread::scope(|scope| {
        let numbered = all.iter().zip(0..);
        let check = |(recorded, number)| scope.spawn(move || check(recorded, number));
        let running: Vec<_> = numbered.map(check).collect();
        running.into_iter().map(|it| it.join().expect("a store that holds")).sum()
    });
    let events: usize = all.iter().map(|it| it.events.len()).sum();
    let commits: usize = all.iter().map(|it| it.seen.len() - 1).sum();
    println!(
        "figure: {} power cuts in {events} operations of {commits} commits on {STORES} stores; \
         {resumed} of them resumed to the end",
        count * STORES,
    );
}

/// The same check finds the losses of a disk that skips syncs: those of commits, which is what
/// SQLite's `synchronous=NORMAL` does, or all.
#[test]
fn without_its_syncs_a_store_would_lose_what_readers_have_seen() {
    let recorded = &all_recorded()[0];
    let folder = folder();
    for (syncs, at_least) in [(Syncs::NotOfCommits, 20), (Syncs::None, 40)] {
        let points = recorded.points(200, &mut rng(9));
        let cuts = cuts(&recorded.events, points, syncs, rng(9));
        let violations =
            cuts.filter_map(|(cut, files)| recorded.violation(cut, read(folder.path(), &files)));
        let violations: Vec<_> = violations.collect();
        assert!(violations.len() >= at_least, "{syncs:?}: {violations:#?}");
        let is_lost = |violation: &String| violation.contains("the last change is");
        assert!(violations.iter().any(is_lost), "{syncs:?}: {violations:#?}");
        let is_damaged = |violation: &String| violation.contains("integrity_check");
        assert_eq!(violations.iter().any(is_damaged), syncs == Syncs::None, "{violations:#?}");
        println!("figure: {syncs:?}: {} of 200 power cuts lose something", violations.len());
    }
}
