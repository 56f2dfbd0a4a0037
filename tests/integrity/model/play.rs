//! Plays a history against the program and against the contract, and compares the two after each
//! step.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use rusqlite::{Connection, OpenFlags};

use super::compare::{Checked, compare, ensure};
use super::contract::Contract;
use super::cursor::Cursor;
use super::follow::{Active, Outcome};
use super::history::{End, Step, Sync, Who, Work, list};
use super::observed::{Observed, wrong};
use super::world::{Api, Events, Resolves, email, number};
use crate::program::TestDir;
use crate::recorder::{Part, Recording};

/// What was played.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) runs: u64,
    pub(crate) kills: u64,
    pub(crate) stops: u64,
    pub(crate) undone: u64,
    pub(crate) forgotten: u64,
    pub(crate) changes: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.kills += other.kills;
        self.stops += other.stops;
        self.undone += other.undone;
        self.forgotten += other.forgotten;
        self.changes += other.changes;
    }
}

/// Plays all steps.
pub(crate) fn play(steps: &[Step]) -> Result<Figures, String> {
    let mut player = Player::new();
    for (number, step) in steps.iter().enumerate() {
        if player.is_over {
            break;
        }
        player.step(step).map_err(|wrong| format!("step {number}, {step:?}: {wrong}"))?;
    }
    Ok(player.figures)
}

pub(super) struct Player {
    dir: TestDir,
    pub(super) api: Api,
    recording: Recording,
    pub(super) contract: Contract,
    cursor: Cursor,
    backup: Option<Backup>,
    pub(super) figures: Figures,
    /// The contract does not say what comes next.
    pub(super) is_over: bool,
}

struct Backup {
    files: Vec<(Part, Vec<u8>)>,
    contract: Contract,
    cursor: Cursor,
}

impl Player {
    fn new() -> Self {
        let api = Api::new();
        let dir = TestDir::new(api.url());
        for number in 0..3 {
            dir.write(&format!("{number}.csv"), &list(number).join("\n"));
        }
        let recording = Recording::of(&dir.store());
        Self {
            dir,
            api,
            recording,
            contract: Contract::default(),
            cursor: Cursor::default(),
            backup: None,
            figures: Figures::default(),
            is_over: false,
        }
    }

    fn step(&mut self, step: &Step) -> Checked {
        match step {
            Step::Mutate(mutation) => {
                self.api.apply(mutation);
                Ok(())
            }
            Step::Sync(sync) => self.sync(sync),
            Step::DryRun(number) => self.dry_run(*number),
            Step::Forget(who) => self.forget(*who),
            Step::UndoForget(who) => self.undo_forget(*who),
            Step::Clock(days) => {
                self.dir.clock_jumps(SignedDuration::from_hours(24 * days));
                self.contract.today += days;
                Ok(())
            }
            Step::Backup => {
                self.back_up();
                Ok(())
            }
            Step::Restore => self.restore(),
        }
    }

    fn files(&self) -> Vec<(Part, Vec<u8>)> {
        let file = |part: Part| {
            let path = self.dir.path(&format!("s.db{}", part.suffix()));
            Some((part, std::fs::read(path).ok()?))
        };
        Part::ALL.into_iter().filter_map(file).collect()
    }

    fn dry_run(&mut self, number: usize) -> Checked {
        let keys = self.api.expect(Events::default());
        self.dir.write("key", &keys.right);
        let before = self.files();
        let exit = self.dir.sync(&[&format!("{number}.csv"), "--dry-run"]);
        ensure!(exit == 0, "exit {exit}");
        ensure!(self.api.answered().is_empty(), "a dry run has sent a request");
        ensure!(self.files() == before, "a dry run has changed a byte of the store");
        let observation = self.observe();
        self.check(&observation)
    }

    fn back_up(&mut self) {
        let (contract, cursor) = (self.contract.clone(), self.cursor.clone());
        self.backup = Some(Backup { files: self.files(), contract, cursor });
    }

    fn restore(&mut self) -> Checked {
        let Some(backup) = &self.backup else { return Ok(()) };
        for suffix in Part::ALL.map(Part::suffix).into_iter().chain(["-shm"]) {
            // Most are not there.
            let _ = std::fs::remove_file(self.dir.path(&format!("s.db{suffix}")));
        }
        for (part, bytes) in &backup.files {
            std::fs::write(self.dir.path(&format!("s.db{}", part.suffix())), bytes)
                .expect("a file");
        }
        let today = self.contract.today;
        self.contract = Contract { today, ..backup.contract.clone() };
        self.cursor.store_was_restored(&backup.cursor);
        let observation = self.observe();
        self.check(&observation)
    }

    fn forget(&mut self, who: Who) -> Checked {
        let is_there = self.dir.store().exists();
        self.process_begins();
        let exit = self.dir.forget(&[&who.name()]);
        let was_erased = self.contract.tombstones.contains_key(&who.name());
        let erased = self.contract.forget(who);
        let expected = u8::from(erased.is_none() && !was_erased);
        ensure!(exit == expected, "exit {exit}");
        if let Some(emails) = erased {
            self.figures.forgotten += 1;
            self.is_overwritten(&emails)?;
        }
        if !is_there {
            return Ok(());
        }
        let observation = self.observe();
        self.check(&observation)
    }

    /// No byte in the files says an email that was erased, unless another customer's row does.
    fn is_overwritten(&self, emails: &BTreeSet<usize>) -> Checked {
        let known = |text: &String| {
            self.contract.feed.iter().flatten().any(|told| told == text)
                || self
                    .contract
                    .customers
                    .values()
                    .any(|it| it.fields.values().flatten().any(|field| field == text))
        };
        for text in emails.iter().map(|number| email(*number)).filter(|text| !known(text)) {
            for spelled in [text.to_uppercase(), text] {
                let holds = |file: &[u8]| {
                    file.windows(spelled.len()).any(|part| part == spelled.as_bytes())
                };
                let held = self.files().into_iter().find(|(_, bytes)| holds(bytes));
                ensure!(held.is_none(), "{spelled} is still in {:?}", held.map(|(part, _)| part));
            }
        }
        Ok(())
    }

    fn undo_forget(&mut self, who: Who) -> Checked {
        self.process_begins();
        let exit = self.dir.forget(&["--undo", &who.name()]);
        let expected = u8::from(!self.contract.undo_forget(who));
        ensure!(exit == expected, "exit {exit}");
        let observation = self.observe();
        self.check(&observation)
    }

    fn process_begins(&mut self) {
        self.cursor.process_begins(self.dir.now().as_microsecond());
    }

    /// What is in the store; nothing, as long as it is not made.
    fn observe(&self) -> Option<Observation> {
        let path = self.dir.store();
        let store = path.exists().then(|| {
            Connection::open_with_flags_and_vfs(path, OpenFlags::SQLITE_OPEN_READ_ONLY, c"unix")
        });
        let store = store?.expect("a store");
        let is_made = "SELECT count(*) FROM sqlite_schema WHERE name = 'changes'";
        let is_made = store.query_row(is_made, [], |row| row.get::<_, i64>(0));
        if is_made != Ok(1) {
            return None;
        }
        let observed = Observed::of(&store);
        Some(Observation { store, observed })
    }

    fn sync(&mut self, sync: &Sync) -> Checked {
        let before = self.contract.clone();
        self.process_begins();
        let exit = self.run(sync);
        let is_killed = self.recording.was_killed();
        self.figures.runs += 1;
        self.figures.kills += u64::from(is_killed);
        self.figures.stops += u64::from(matches!(exit, 4 | 143));
        let observation = self.observe();
        let Some(Observation { observed, .. }) = &observation else {
            ensure!(is_killed || exit != 0 || matches!(sync.work, Work::Resume), "no store");
            return Ok(());
        };
        let outcome = Outcome { exit, is_killed };
        match self.active_run(sync, observed, outcome)? {
            Active::None => {}
            Active::Run(id) => self.follow(id, sync, observed, outcome, before)?,
        }
        if self.is_over {
            return observation.iter().try_for_each(|it| wrong(&it.store, &it.observed));
        }
        self.check(&observation)
    }

    fn run(&mut self, sync: &Sync) -> u8 {
        let race = match sync.work {
            Work::List(number) if sync.has_race => self.race(number),
            _ => None,
        };
        let concurrency = if race.is_some() { 2 } else { sync.concurrency }.to_string();
        let mut args: Vec<String> =
            ["--fail-above", "100%", "--fixed-concurrency", "--concurrency", &concurrency]
                .map(str::to_owned)
                .into();
        match &sync.work {
            Work::List(number) => args.push(format!("{number}.csv")),
            Work::RetryFailed => args.push("--retry-failed".to_owned()),
            Work::Resume => args.push("--resume".to_owned()),
            Work::ResumeRun(run) => args.push(format!("--resume={run}")),
        }
        if sync.skips_fresh {
            args.extend(["--max-age".to_owned(), "1h".to_owned()]);
        }
        let mut events = Events { race, ..Events::default() };
        match sync.end {
            End::Itself | End::Killed(_) => {}
            End::Limit(limit) => args.extend(["--limit".to_owned(), limit.to_string()]),
            End::Deadline(time) => {
                events.latency = Duration::from_millis(4);
                args.extend(["--deadline".to_owned(), format!("{time}ms")]);
            }
            End::Terminated(at) => {
                events.latency = Duration::from_millis(2);
                events.terminate_at = Some(at);
            }
        }
        let keys = self.api.expect(events);
        let key = if sync.has_wrong_key { keys.wrong } else { keys.right };
        self.dir.write("key", &key);
        if let End::Killed(operations) = sync.end {
            self.recording.kill_after(operations);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match sync.end {
            End::Terminated(_) => self.dir.sync_alone(&args),
            _ => self.dir.sync(&args),
        }
    }

    /// The first two emails of a list that resolve to the same person, in its order.
    fn race(&self, of_list: usize) -> Option<(usize, usize)> {
        let world = self.api.world();
        let rows = list(of_list);
        let emails = rows.iter().filter_map(|row| number(row));
        let emails: Vec<usize> = emails.collect();
        let same = |a: usize, b: usize| {
            matches!(world.resolves(a), Resolves::To(_)) && world.resolves(a) == world.resolves(b)
        };
        emails
            .iter()
            .enumerate()
            .find_map(|(at, a)| emails[at + 1..].iter().find(|b| same(*a, **b)).map(|b| (*a, *b)))
    }

    fn check(&mut self, observation: &Option<Observation>) -> Checked {
        let Some(Observation { store, observed }) = observation else { return Ok(()) };
        wrong(store, observed)?;
        compare(&self.contract, observed)?;
        for (id, run) in &mut self.contract.runs {
            run.requests = observed.runs[id].requests;
        }
        self.figures.changes += self.cursor.read(observed)?;
        Ok(())
    }
}

/// A store and what it says.
struct Observation {
    store: Connection,
    observed: Observed,
}
