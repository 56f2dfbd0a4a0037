//! Stopped at random instants, again and again, a store ends as one of runs never stopped.
//!
//! `KILLS` says how often in all, `SEED` at which instants. An instant may fall into the start of
//! the process, its planning, its lookups, a commit or its end.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use telemetron_sync::sandbox::{self, Sandbox, SandboxSettings};

use crate::support::api::{self, Api, emails};
use crate::support::clock::{wait_until, while_within};
use crate::support::content::{Content, assert_same_rows};
use crate::support::dir::TestDir;
use crate::support::random::{count, rng};

/// Runs of each store at least: the first finds all customers new, later ones find them changed.
const ROUNDS: u64 = 2;

/// Stores that are worked on at the same time: each mostly waits for its processes.
const LANES: u64 = 5;

/// Emails of a source, half of which are the addresses to which the others may move.
const EMAILS: usize = 3000;

/// How far the customers change from one run to the next: about one in three has changed.
const REVISIONS: u32 = 9;

const CONCURRENCY: &str = "8";

/// The instants are drawn from this time after the start; from more where nothing was reached.
const SPAN: Duration = Duration::from_millis(400);

const RUNS: &str = "SELECT count(*) FROM runs";
/// Those of the newest run.
const SETTLED_NOW: &str = "SELECT planned - pending FROM runs ORDER BY id DESC LIMIT 1";

/// What the report says of a run whose process was killed.
const DIED: &str = "the process was killed or crashed";

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

    /// Begins the run, or continues it, and stops it at some instant while there are stops
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

    /// A process that was asked to stop ends its run: it marks whom no email resolves to by then, and
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
        let rows = |held: Content| -> Vec<String> {
            let histories = held.history.into_iter();
            histories
                .filter(|(customer, _)| !detours.contains(customer))
                .flat_map(|it| it.1)
                .collect()
        };
        assert_same_rows(&rows(ours), &rows(whole));
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
fn killed_at_any_instant_a_store_ends_like_one_never_killed() {
    stopped(Stop::Kill, count("KILLS", 200));
}

#[test]
fn terminated_at_any_instant_a_store_ends_like_one_never_stopped() {
    stopped(Stop::Term, count("KILLS", 200) / 4);
}

/// The moments of a run's progress at which it is killed.
fn kill_and_resume(dir: &TestDir, url: &str, moments: &[i64]) -> usize {
    let mut kills = 0;
    for (nth, moment) in moments.iter().enumerate() {
        let sync = if nth == 0 { dir.sync(url) } else { dir.sync_of(url, ["--resume"]) };
        let mut run = sync.start();
        let begun = dir.number(RUNS);
        wait_until("the moment to kill", || {
            let planned = nth > 0 || dir.number(RUNS) > begun;
            !run.is_running() || (planned && dir.number(SETTLED_NOW) >= *moment)
        });
        kills += usize::from(run.kill());
    }
    kills
}

/// Killed right after commits at full speed, with more in flight than at random instants.
#[test]
fn killed_after_commits_a_run_ends_like_one_never_killed() {
    const EMAILS: usize = 2000;
    let write_source = |dir: &TestDir| {
        let odd = ["no email", "p0003@x.io", "", "two@@x.io"].map(str::to_owned);
        dir.emails(emails(EMAILS).into_iter().chain(odd));
    };
    let sandbox = api::start_sandbox(Duration::from_millis(15));
    let (undisturbed, dir) = (TestDir::new(), TestDir::new());
    write_source(&undisturbed);
    write_source(&dir);
    let mut chance = fastrand::Rng::with_seed(7);
    for revision in [0, 9] {
        sandbox.set_revision(revision);
        undisturbed.sync(sandbox.url()).run().exits(0);
        let mut moments: Vec<i64> = (0..5).map(|_| chance.i64(0..EMAILS as i64 - 300)).collect();
        moments.sort_unstable();
        let kills = kill_and_resume(&dir, &sandbox.url(), &moments);
        assert!(kills >= 3, "killed {kills} times only");
        dir.command(["runs"]).run().exits(0).stdout_has("stopped");
        dir.command(["report"]).run().exits(0).stdout_has(DIED);
        dir.sync_of(sandbox.url(), ["--resume"]).run().exits(0);
    }
    assert_same_rows(&dir.content(), &undisturbed.content());
    dir.has_rows("PRAGMA integrity_check", ["ok"]);
}

/// What is committed late is looked up again: here at most what comes in within a second.
#[test]
fn little_is_looked_up_again_after_a_kill() {
    const PER_SECOND: u64 = 100;
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(emails(900));
    dir.emails(emails(900));
    let rate = format!("{PER_SECOND}/s");
    for (nth, delay) in [1150, 1250, 1400].into_iter().enumerate() {
        let before = (api.request_count(), dir.number(SETTLED_NOW));
        let sync =
            if nth == 0 { dir.sync(api.url()) } else { dir.sync_of(api.url(), ["--resume"]) };
        let mut run = sync.args(["--rate", &rate]).start();
        wait_until("something is committed", || dir.number(SETTLED_NOW) > before.1);
        while_within(Duration::from_millis(delay), || run.is_running());
        assert!(run.kill(), "it was killed midway");
        let settled = dir.number(SETTLED_NOW) - before.1;
        let again = api.request_count() - before.0 - settled.unsigned_abs();
        assert!(again <= PER_SECOND, "{again} requests were made for nothing");
    }
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 900, planned 900, found 900");
}

#[test]
fn a_killed_planner_leaves_the_previous_state() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(emails(4));
    dir.sync(api.url()).args(["--limit", "2"]).run().exits(4);
    let before = (dir.customer_data(), dir.rows("SELECT * FROM runs"));
    let mut run = dir.sync_of(api.url(), ["-"]).stdin_open().start();
    let mut stdin = run.process.stdin.take().expect("standard input");
    let rows: String = emails(20_000).iter().map(|email| format!("{email}\n")).collect();
    stdin.write_all(b"email\n").and_then(|()| stdin.write_all(rows.as_bytes())).unwrap();
    stdin.flush().unwrap();
    assert!(run.kill(), "it waits for more rows");
    assert_eq!((dir.customer_data(), dir.rows("SELECT * FROM runs")), before);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 4, planned 4, not_found 4");
    assert_eq!(api.request_count(), 4);
}

#[test]
fn a_planner_killed_while_it_waits_for_a_pipe_leaves_no_lock() {
    let (dir, api) = (TestDir::new(), Api::new());
    let made = std::process::Command::new("mkfifo").arg(dir.path("pipe.csv")).status();
    assert!(made.expect("mkfifo").success());
    let run = dir.sync_of(api.url(), ["pipe.csv"]).start();
    let mut pipe = std::fs::File::options().write(true).open(dir.path("pipe.csv")).unwrap();
    pipe.write_all(b"email\na@x.io\n").unwrap();
    dir.emails(["a@x.io"]);
    wait_until("the planner holds the store", || dir.number("SELECT count(*) FROM _store") == 1);
    dir.sync(api.url()).run().exits(75);
    assert!(run.kill());
    dir.sync(api.url()).run().exits(0);
    assert_eq!(dir.counts(), "rows 1, planned 1, not_found 1");
}

#[test]
fn a_second_run_is_refused_until_the_first_has_ended() {
    let sandbox = api::start_sandbox(Duration::from_millis(20));
    let dir = TestDir::new();
    dir.emails(emails(2000));
    let first = dir.sync(sandbox.url()).args(["--rate", "10/s"]).start();
    wait_until("the first run writes", || dir.number(SETTLED_NOW) > 0);
    dir.sync(sandbox.url()).run().exits(75).stderr_has(": run 1, process ");
    dir.sync_of(sandbox.url(), ["--resume"]).run().exits(75);
    dir.sync(sandbox.url()).args(["--dry-run"]).run().exits(75);
    dir.command(["runs"]).run().exits(0).stdout_has("running");
    dir.command(["report"]).run().exits(0).stdout_has("Run 1: running").stdout_has("Progress: ");
    assert!(first.kill());
    dir.command(["runs"]).run().exits(0).stdout_has("stopped");
    dir.sync_of(sandbox.url(), ["--resume", "--limit", "5"]).run().exits(4);
}

/// The last instant at which a process can die is between its last answers and its end.
#[test]
fn a_run_killed_before_its_end_is_ended_by_resume() {
    let (dir, api) = (TestDir::new(), Api::new());
    let all = emails(10);
    api.has_all(&all);
    dir.emails(&all);
    dir.sync(api.url()).run().exits(0);
    api.remove_email("p0003@x.io");
    let at_the_end = "CREATE TRIGGER no_end BEFORE DELETE ON _plan_items
         BEGIN SELECT RAISE(ABORT, 'cut off'); END";
    dir.alter(at_the_end);
    dir.sync(api.url()).run().exits(1).stderr_has("cut off");
    dir.alter("DROP TRIGGER no_end");
    dir.has_rows("SELECT pending FROM runs WHERE id = 2", ["0"]);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    dir.has_rows("SELECT customer_id FROM changes WHERE kind = 'missing'", ["cust_p0003@x.io"]);
    dir.has_rows("SELECT status FROM runs", ["complete", "complete"]);
    dir.has_rows("SELECT count(*) FROM _plan_items", ["0"]);
    dir.sync_of(api.url(), ["--resume"]).run().exits(0).stdout_has("Nothing to resume");
    assert_eq!(api.request_count(), 20);
}
