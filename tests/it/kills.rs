//! Stopped at random instants, again and again, a store ends as one of runs never stopped.
//!
//! `KILLS` says how often in all, `SEED` at which instants. An instant may fall into the start of
//! the process, its planning, its lookups, a commit or its end.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use telemetron_sync::sandbox::{self, Sandbox, SandboxSettings};

use crate::support::api::emails;
use crate::support::clock::while_within;
use crate::support::content::{Content, assert_same_rows};
use crate::support::dir::TestDir;
use crate::support::random::{count, rng};

/// Runs of each store at least: the first finds all customers new, later ones find them changed.
const ROUNDS: u64 = 2;

/// Stores that are worked on at the same time.
const LANES: u64 = 3;

/// Emails of a source, half of which are the addresses to which the others may move.
const EMAILS: usize = 3000;

/// How far the customers change from one run to the next: about one in three has changed.
const REVISIONS: u32 = 9;

const CONCURRENCY: &str = "8";

/// The instants are drawn from this time after the start; from more where nothing was reached.
const SPAN: Duration = Duration::from_millis(400);

const RUNS: &str = "SELECT count(*) FROM runs";
const SETTLED: &str = "SELECT coalesce(sum(planned - pending), 0) FROM runs";

/// Runs whose report counts other changes than the store holds.
const MISCOUNTED: &str = "SELECT runs.id, kind.key, kind.value FROM runs,
         json_each(report, '$.changes') AS kind
     WHERE kind.value <> (SELECT count(*) FROM changes
         WHERE run_id = runs.id AND kind = kind.key)";

/// The store that nobody disturbs, after each of its runs.
struct Undisturbed {
    dir: TestDir,
    sandbox: Sandbox,
    after: Vec<Content>,
}

impl Undisturbed {
    fn new() -> Self {
        let dir = TestDir::new();
        write_source(&dir);
        Self { dir, sandbox: start_sandbox(), after: Vec::new() }
    }

    fn after(&mut self, round: usize) -> Content {
        while self.after.len() <= round {
            self.sandbox.set_revision(self.after.len() as u32 * REVISIONS);
            self.dir.sync(self.sandbox.url()).run().exits(0);
            self.after.push(Content::of(&self.dir));
        }
        self.after[round].clone()
    }
}

fn start_sandbox() -> Sandbox {
    let (latency, jitter) = (Duration::ZERO, Duration::from_millis(3));
    let settings = SandboxSettings { latency, jitter, ..Default::default() };
    sandbox::start(settings).expect("a sandbox")
}

fn write_source(dir: &TestDir) {
    let old = emails(EMAILS / 2);
    let new: Vec<String> = old.iter().map(|email| email.replace('@', ".new@")).collect();
    dir.emails(old.into_iter().chain(["no email".to_owned(), "P0003@x.io".to_owned()]).chain(new));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Kill,
    Term,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    stops: u64,
    while_planning: u64,
    rounds: u64,
    asked_again: u64,
    most_asked_again: u64,
    detours: usize,
}

/// One store, stopped as often as wanted.
struct Lane<'a> {
    dir: TestDir,
    sandbox: Sandbox,
    chance: fastrand::Rng,
    stop: Stop,
    wanted: u64,
    span: Duration,
    figures: Figures,
    undisturbed: &'a Mutex<Undisturbed>,
}

impl Lane<'_> {
    fn work(mut self) -> Figures {
        write_source(&self.dir);
        while self.figures.stops < self.wanted || self.figures.rounds < ROUNDS {
            let round = self.figures.rounds;
            self.sandbox.set_revision(round as u32 * REVISIONS);
            while !self.one_process(round as i64 + 1) {}
            self.figures.rounds += 1;
            self.compare(round as usize);
        }
        self.figures
    }

    /// Begins the run, or goes on with it, and stops it at some instant while there are stops
    /// left. Whether the run is done.
    fn one_process(&mut self, run: i64) -> bool {
        let dir = &self.dir;
        let stands = dir.number(RUNS) == run;
        let (settled, asked) = (dir.number(SETTLED), self.sandbox.requests());
        let url = self.sandbox.url();
        let sync = if stands { dir.sync_of(url, ["--resume"]) } else { dir.sync(url) };
        let mut process = sync.args(["--concurrency", CONCURRENCY]).start();
        // Some are kept for later runs, which have more to lose.
        let so_far = (self.figures.rounds + 1) * self.wanted.div_ceil(ROUNDS);
        if self.figures.stops >= so_far.min(self.wanted) {
            process.wait().exits(0);
            return true;
        }
        let instant = self.span.mul_f64(self.chance.f64());
        while_within(instant, || process.is_running());
        let (done, clean) = match self.stop {
            Stop::Kill => (!process.kill(), false),
            Stop::Term => {
                if process.is_running() {
                    process.signal("TERM");
                }
                match process.wait().code {
                    Some(0) => (true, true),
                    Some(143) => (false, true),
                    // It came before anybody listened.
                    None => (false, false),
                    other => panic!("ended with {other:?}"),
                }
            }
        };
        let reached = (dir.number(SETTLED) - settled).unsigned_abs();
        let again = self.sandbox.requests() - asked - reached;
        assert!(!clean || again == 0, "{again} answers are lost by a clean stop");
        self.span = if reached > 0 || !stands { SPAN } else { self.span * 2 };
        if !done {
            let figures = &mut self.figures;
            figures.stops += 1;
            figures.while_planning += u64::from(dir.number(RUNS) < run);
            figures.asked_again += again;
            figures.most_asked_again = figures.most_asked_again.max(again);
        }
        done
    }

    /// A process that was asked to stop ends its run: it marks whom no email leads to by then, and
    /// the next process may find some of them under their new address. Their `missing` and
    /// `returned`, and their intervals, are as the contract wants them; so of these customers the
    /// history is left out. All others are compared in full.
    fn compare(&mut self, round: usize) {
        let ours = Content::of(&self.dir);
        let mut undisturbed = self.undisturbed.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = undisturbed.after(round);
        drop(undisturbed);
        assert_same_rows(&ours.known, &whole.known);
        assert_same_rows(&ours.state, &whole.state);
        let detours: BTreeSet<String> = match self.stop {
            Stop::Kill => BTreeSet::new(),
            Stop::Term => self.detours(),
        };
        assert!(detours.len() * 10 < whole.history.len(), "{} detours", detours.len());
        let told = |held: Content| -> Vec<String> {
            let histories = held.history.into_iter();
            histories
                .filter(|(customer, _)| !detours.contains(customer))
                .flat_map(|it| it.1)
                .collect()
        };
        assert_same_rows(&told(ours), &told(whole));
        self.dir.has_rows(MISCOUNTED, []);
        self.dir.has_rows("PRAGMA integrity_check", ["ok"]);
        self.dir.has_rows("SELECT count(*) FROM pragma_foreign_key_check", ["0"]);
        self.figures.detours = detours.len();
    }

    fn detours(&self) -> BTreeSet<String> {
        let there_and_back = "SELECT customer_id FROM changes WHERE kind IN ('missing', 'returned')
             GROUP BY customer_id, run_id HAVING count(DISTINCT kind) = 2";
        self.dir.rows(there_and_back).into_iter().collect()
    }
}

/// Works on all lanes at once.
fn stopped(stop: Stop, stops: u64) {
    let undisturbed = Mutex::new(Undisturbed::new());
    let lane = &|number: u64| Lane {
        dir: TestDir::new(),
        sandbox: start_sandbox(),
        chance: rng(number),
        stop,
        wanted: stops.div_ceil(LANES),
        span: SPAN,
        figures: Figures::default(),
        undisturbed: &undisturbed,
    };
    let figures: Vec<Figures> = std::thread::scope(|scope| {
        let work = |number| scope.spawn(move || lane(number).work());
        let running: Vec<_> = (0..LANES).map(work).collect();
        running.into_iter().map(|it| it.join().expect("a lane that holds")).collect()
    });
    let sum = |of: fn(&Figures) -> u64| figures.iter().map(of).sum::<u64>();
    let total = sum(|it| it.stops);
    println!(
        "figure: {} by SIG{} ({} while planning), in {} runs of {EMAILS} emails; asked again \
         per stop: {} on average, {} at most; {} customers with a detour",
        total,
        if stop == Stop::Kill { "KILL" } else { "TERM" },
        sum(|it| it.while_planning),
        sum(|it| it.rounds),
        sum(|it| it.asked_again) / total.max(1),
        figures.iter().map(|it| it.most_asked_again).max().unwrap_or_default(),
        sum(|it| it.detours as u64),
    );
}

#[test]
fn killed_at_any_instant_it_ends_as_if_it_had_not_been() {
    stopped(Stop::Kill, count("KILLS", 200));
}

#[test]
fn terminated_at_any_instant_it_ends_as_if_it_had_not_been() {
    stopped(Stop::Term, count("KILLS", 200) / 4);
}
