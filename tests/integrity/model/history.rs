//! Histories: what happens at the API and to the program, one step after the other.

use fastrand::Rng;

use super::world::{EMAILS, Mutation};

/// What a run looks up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The list of this number. Lists overlap.
    List(usize),
    /// The emails whose last lookup failed or was rejected.
    RetryFailed,
    /// The newest unfinished run.
    Resume,
    /// The run of this number, if there is one.
    ResumeRun(i64),
}

/// What ends a process before its run is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Itself,
    /// `--limit`.
    Limit(usize),
    /// `--deadline`, in milliseconds.
    Deadline(u64),
    /// SIGTERM at this request.
    Terminated(u64),
    /// SIGKILL at this operation on a file.
    Killed(u64),
}

/// A run, or the next part of one.
#[derive(Clone, Debug)]
pub(crate) struct Sync {
    pub(crate) work: Work,
    pub(crate) end: End,
    pub(crate) concurrency: u8,
    /// `--max-age 1h`: nothing here takes as long, so what was ever answered is fresh.
    pub(crate) skips_fresh: bool,
    /// The key is another organization's.
    pub(crate) has_wrong_key: bool,
    /// A customer changes between two of its answers, and the older comes later.
    pub(crate) has_race: bool,
}

/// Whom `forget` names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Email(usize),
    Person(usize),
}

impl Who {
    /// One of a few, so that many are forgotten who are known, and brought back.
    fn any(rng: &mut Rng) -> Self {
        if rng.bool() { Self::Email(rng.usize(..7)) } else { Self::Person(rng.usize(..4)) }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Mutate(Mutation),
    Sync(Sync),
    DryRun(usize),
    Forget(Who),
    UndoForget(Who),
    /// The clock on the wall is set forward by so many days, or back.
    Clock(i64),
    /// The store is copied.
    Backup,
    /// The copy takes the place of the store.
    Restore,
}

/// Most runs change their files about as often.
const KILLED_WITHIN: u64 = 120;

/// How many lists there are.
const LISTS: usize = 3;

/// The rows of a list: of emails, most in one spelling, and of something else.
pub(crate) fn list(number: usize) -> Vec<String> {
    let mut rng = Rng::with_seed(number as u64 + 100);
    let mut emails: Vec<usize> = (0..EMAILS).collect();
    rng.shuffle(&mut emails);
    emails.truncate([EMAILS, 9, 6][number]);
    let mut rows: Vec<String> = emails.into_iter().map(super::world::email).collect();
    let again = rows[1].to_uppercase();
    rows.insert(3, again);
    rows.insert(2, "no email".to_owned());
    rows
}

impl Sync {
    fn any(rng: &mut Rng) -> Self {
        let work = match rng.u8(..12) {
            0..5 => Work::List(rng.usize(..LISTS)),
            5 => Work::RetryFailed,
            6 => Work::ResumeRun(rng.i64(1..5)),
            _ => Work::Resume,
        };
        let end = match rng.u8(..14) {
            0..5 => End::Itself,
            5..7 => End::Limit(rng.usize(1..8)),
            7 => End::Deadline(rng.u64(1..60)),
            8 => End::Terminated(rng.u64(1..8)),
            _ => End::Killed(rng.u64(..KILLED_WITHIN)),
        };
        let is_list = matches!(work, Work::List(_));
        Self {
            end,
            concurrency: [1, 2, 4][rng.usize(..3)],
            skips_fresh: is_list && rng.u8(..6) == 0,
            has_wrong_key: rng.u8(..12) == 0,
            has_race: is_list && rng.u8(..8) == 0,
            work,
        }
    }
}

impl Step {
    fn any(rng: &mut Rng) -> Self {
        match rng.u8(..38) {
            0 => Self::Backup,
            1 => Self::Restore,
            2 => Self::DryRun(rng.usize(..LISTS)),
            32..34 => Self::Forget(Who::any(rng)),
            34 => Self::UndoForget(Who::any(rng)),
            35..38 => Self::Clock(rng.i64(-3..=3)),
            3..14 => Self::Sync(Sync::any(rng)),
            _ => Self::Mutate(Mutation::any(rng)),
        }
    }
}

/// A history of this number of runs or so, after which nobody disturbs the last one.
pub(crate) fn history(rng: &mut Rng) -> Vec<Step> {
    let mut steps: Vec<Step> = (0..rng.usize(6..36)).map(|_| Step::any(rng)).collect();
    let undisturbed = |work| Sync {
        work,
        end: End::Itself,
        concurrency: 4,
        skips_fresh: false,
        has_wrong_key: false,
        has_race: false,
    };
    steps.push(Step::Sync(undisturbed(Work::Resume)));
    steps.push(Step::Sync(undisturbed(Work::List(0))));
    steps
}

/// The shortest history that still fails, found by leaving steps out.
pub(crate) fn shrunk(
    mut steps: Vec<Step>,
    mut failure: String,
    mut fails: impl FnMut(&[Step]) -> Option<String>,
) -> (Vec<Step>, String) {
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at + size <= steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..at + size);
            match fails(&fewer) {
                Some(other) => (steps, failure) = (fewer, other),
                None => at += size,
            }
        }
        size /= 2;
    }
    (steps, failure)
}
