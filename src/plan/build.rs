//! Rows become a plan, in one transaction and in constant memory: the store does the sorting and
//! finds the duplicates.

use crate::domain::counts::Counts;
use crate::domain::email::{Email, InvalidEmail};
use crate::domain::stop::StopReason;
use crate::plan::tombstones::Tombstones;
use crate::source::InputRow;
use crate::stop_switch::StopSwitch;
use crate::time;
use jiff::{SignedDuration, Timestamp};
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OptionalExtension as _, Statement};
use std::time::Duration;

/// What a plan has to know besides the rows.
#[derive(Clone, Debug)]
pub struct PlanSettings {
    /// The run that the plan is for; it stands in `runs` already.
    pub run_id: i64,
    /// The source's name: its earlier plans are replaced.
    pub source: String,
    /// Emails answered within this time are left out.
    pub max_age: Option<Duration>,
    /// The time of planning.
    pub now: Timestamp,
}

/// What a plan holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanSummary {
    /// What became of each row.
    pub counts: Counts,
    /// Rows that hold no email, by reason, and the first of each: the row and what it holds.
    pub invalid: Vec<InvalidRows>,
    /// Rows left out because `forget` erased their emails; they count as fresh.
    pub erased: u64,
}

/// The rows that are invalid for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRows {
    /// Why.
    pub reason: InvalidEmail,
    /// How many.
    pub rows: u64,
    /// The first of them.
    pub first: u64,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum PlanError<E> {
    /// The source broke off.
    Source(E),
    /// The run was asked to stop.
    Stopped(StopReason),
    /// What SQLite says.
    Store(rusqlite::Error),
}

impl<E> From<rusqlite::Error> for PlanError<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

/// Reads all rows into the plan of `settings.run_id`. The caller owns the transaction: if this
/// fails, rolling it back leaves what was there before.
///
/// # Errors
/// See [`PlanError`].
pub fn build<E>(
    store: &Connection,
    rows: impl Iterator<Item = Result<InputRow, E>>,
    settings: &PlanSettings,
    stop: &StopSwitch,
) -> Result<PlanSummary, PlanError<E>> {
    store.execute_batch(include_str!("sql/known.sql"))?;
    drop_older_plans(store, settings)?;
    let mut writer = PlanWriter::new(store, settings)?;
    for row in rows {
        if let Some(reason) = stop.reason() {
            return Err(PlanError::Stopped(reason));
        }
        writer.take(row.map_err(PlanError::Source)?)?;
    }
    let mut summary = std::mem::take(&mut writer.summary);
    let planned = writer.never_asked + plan_asked_before(store, settings.run_id)?;
    summary.counts.planned = planned;
    summary.counts.pending = planned;
    store.execute_batch("DROP TABLE temp.known")?;
    Ok(summary)
}

/// A new plan of a source replaces the one before, and its rejects.
fn drop_older_plans(store: &Connection, settings: &PlanSettings) -> rusqlite::Result<()> {
    for table in ["_plan_items", "_rejects"] {
        let delete = format!(
            "DELETE FROM {table}
             WHERE run_id IN (SELECT id FROM _runs WHERE source = ?1 AND id <> ?2)"
        );
        store.execute(&delete, (&settings.source, settings.run_id))?;
    }
    Ok(())
}

/// The statements and counts while the rows come in.
struct PlanWriter<'a> {
    run_id: i64,
    fresh_since: Option<String>,
    now: String,
    /// Emails with a greater key were met in this plan for the first time.
    last_known_key: i64,
    /// How the last email was found, which most likely is how the next one is.
    last: Found,
    /// How many emails were never asked.
    never_asked: u64,
    add_email: Statement<'a>,
    find_email: Statement<'a>,
    add_known: Statement<'a>,
    add_item: Statement<'a>,
    add_reject: Statement<'a>,
    store: &'a Connection,
    tombstones: Tombstones,
    summary: PlanSummary,
}

/// Whether an email stood in the store before its row came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    New,
    Known,
}

/// Puts an email into a plan.
const ADD_ITEM: &str = "INSERT INTO _plan_items (run_id, position, email_key, row, input)
     VALUES (?1, ?2, ?3, ?4, ?5)";

impl<'a> PlanWriter<'a> {
    fn new(store: &'a Connection, settings: &PlanSettings) -> rusqlite::Result<Self> {
        let age = |age| SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        let since = |age| settings.now.saturating_sub(age).unwrap_or(Timestamp::MIN);
        let last_key = "SELECT coalesce(max(key), 0) FROM _emails";
        Ok(Self {
            run_id: settings.run_id,
            fresh_since: settings.max_age.map(|max| time::text(since(age(max)))),
            now: time::text(settings.now),
            last_known_key: store.query_row(last_key, [], |row| row.get(0))?,
            last: Found::New,
            never_asked: 0,
            add_email: store.prepare("INSERT OR IGNORE INTO _emails (email) VALUES (?1)")?,
            find_email: store
                .prepare("SELECT key, looked_up_at, answered_at FROM _emails WHERE email = ?1")?,
            add_known: store.prepare(
                "INSERT OR IGNORE INTO temp.known (email_key, row, input, asked_at, fresh)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            add_item: store.prepare(ADD_ITEM)?,
            add_reject: store.prepare(
                "INSERT INTO _rejects (run_id, row, input, code, reason, attempts)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0)",
            )?,
            tombstones: Tombstones::load(store)?,
            store,
            summary: PlanSummary::default(),
        })
    }

    fn take(&mut self, row: InputRow) -> rusqlite::Result<()> {
        self.summary.counts.rows += 1;
        match &row.email {
            Ok(email) => self.plan(email, &row),
            Err(reason) => self.reject(*reason, &row),
        }
    }

    fn reject(&mut self, reason: InvalidEmail, row: &InputRow) -> rusqlite::Result<()> {
        self.summary.counts.invalid += 1;
        let seen = self.summary.invalid.iter_mut().find(|invalid| invalid.reason == reason);
        match seen {
            Some(invalid) => invalid.rows += 1,
            None => {
                self.summary.invalid.push(InvalidRows { reason, rows: 1, first: row.row });
            }
        }
        let text = reason.to_string();
        self.add_reject.execute((self.run_id, stored(row.row)?, &row.text, reason.code(), text))?;
        Ok(())
    }

    fn plan(&mut self, email: &Email, row: &InputRow) -> rusqlite::Result<()> {
        if self.tombstones.hold(email) {
            self.summary.counts.fresh += 1;
            self.summary.erased += 1;
            return Ok(());
        }
        let input = (row.text != email.as_str()).then_some(row.text.as_str());
        let Some(known) = self.meet(email)? else {
            let key = self.store.last_insert_rowid();
            return self.plan_never_asked(key, row.row, input);
        };
        let fresh = self.is_fresh(known.answered_at.as_deref());
        if known.key > self.last_known_key || !self.add_known(&known, row.row, input, fresh)? {
            self.summary.counts.duplicate += 1;
        } else if fresh {
            self.summary.counts.fresh += 1;
        } else if known.asked_at.is_none() {
            self.plan_never_asked(known.key, row.row, input)?;
        }
        Ok(())
    }

    /// Whether the email stands in no earlier row.
    fn add_known(
        &mut self,
        known: &Known,
        row: u64,
        input: Option<&str>,
        fresh: bool,
    ) -> rusqlite::Result<bool> {
        let added =
            self.add_known.execute((known.key, stored(row)?, input, &known.asked_at, fresh))?;
        Ok(added == 1)
    }

    /// What is known of the email; `None` if nothing was, and now it is in the store. Both ways to
    /// find out walk the same index, so the one that is likely to be enough is tried first.
    fn meet(&mut self, email: &Email) -> rusqlite::Result<Option<Known>> {
        if self.last == Found::New && self.add_email.execute([email.as_str()])? == 1 {
            return Ok(None);
        }
        let known = self.find_email.query_row([email.as_str()], |row| {
            Ok(Known { key: row.get(0)?, asked_at: row.get(1)?, answered_at: row.get(2)? })
        });
        let known = known.optional()?;
        self.last = if known.is_some() { Found::Known } else { Found::New };
        if known.is_none() {
            self.add_email.execute([email.as_str()])?;
        }
        Ok(known)
    }

    /// The emails never asked take the even positions, as they stand in the source.
    fn plan_never_asked(
        &mut self,
        key: i64,
        row: u64,
        input: Option<&str>,
    ) -> rusqlite::Result<()> {
        let position = stored(self.never_asked)? * 2;
        self.add_item.execute((self.run_id, position, key, stored(row)?, input))?;
        self.never_asked += 1;
        Ok(())
    }

    /// A time later than now is the mark of a clock that was wrong, and never fresh.
    fn is_fresh(&self, answered_at: Option<&str>) -> bool {
        let (Some(since), Some(at)) = (self.fresh_since.as_deref(), answered_at) else {
            return false;
        };
        since <= at && at <= self.now.as_str()
    }
}

/// What is known of an email from earlier runs.
struct Known {
    key: i64,
    asked_at: Option<String>,
    answered_at: Option<String>,
}

/// The emails asked before take the odd positions, longest ago first: so the two queues are served
/// in turn while both last. Returns how many they are.
fn plan_asked_before(store: &Connection, run_id: i64) -> rusqlite::Result<u64> {
    let mut select = store.prepare(
        "SELECT email_key, row, input FROM temp.known
         WHERE asked_at IS NOT NULL AND NOT fresh ORDER BY asked_at, row",
    )?;
    let mut insert = store.prepare(ADD_ITEM)?;
    let mut rows = select.query([])?;
    let mut planned = 0_u64;
    while let Some(row) = rows.next()? {
        let (key, line): (i64, i64) = (row.get(0)?, row.get(1)?);
        let input = ToSqlOutput::Borrowed(row.get_ref(2)?);
        insert.execute((run_id, stored(planned)? * 2 + 1, key, line, input))?;
        planned += 1;
    }
    Ok(planned)
}

/// A count as SQLite stores it; one that does not fit is an error, never another number.
fn stored(count: u64) -> rusqlite::Result<i64> {
    i64::try_from(count).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// The emails whose last lookup failed or was rejected, as rows.
///
/// # Errors
/// What SQLite says.
pub fn unanswered_emails(
    store: &Connection,
) -> rusqlite::Result<impl Iterator<Item = rusqlite::Result<InputRow>>> {
    let mut after = 0_i64;
    let mut row_number = 0;
    let next = "SELECT key, email FROM _emails
         WHERE key > ?1 AND outcome IN ('failed', 'rejected') ORDER BY key LIMIT 1";
    let mut select = store.prepare(next)?;
    // One row a query: the rows are added to a plan in the store that they come from.
    Ok(std::iter::from_fn(move || {
        let found = select.query_row([after], |row| Ok((row.get(0)?, row.get(1)?))).optional();
        found.transpose().map(|found| {
            let (key, text): (i64, String) = found?;
            after = key;
            row_number += 1;
            Ok(InputRow::new(row_number, text))
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, runs};
    use std::convert::Infallible;

    const NOW: &str = "2026-06-01T12:00:00.000Z";

    fn plan(
        store: &Connection,
        texts: &[&str],
        max_age: Option<Duration>,
    ) -> Result<(i64, PlanSummary), PlanError<Infallible>> {
        let run_id = runs::begin(store, "list.csv", NOW).unwrap();
        let settings =
            PlanSettings { run_id, source: "list.csv".into(), max_age, now: NOW.parse().unwrap() };
        let rows = texts.iter().zip(2..);
        let rows = rows.map(|(text, row)| Ok(InputRow::new(row, (*text).to_owned())));
        Ok((run_id, build(store, rows, &settings, &StopSwitch::default())?))
    }

    fn order(store: &Connection, run_id: i64) -> Vec<String> {
        let select = "SELECT email FROM _plan_items AS p JOIN _emails AS e ON e.key = p.email_key
             WHERE p.run_id = ?1 ORDER BY p.position";
        let mut select = store.prepare(select).unwrap();
        let emails = select.query_map([run_id], |row| row.get(0)).unwrap();
        emails.collect::<Result<_, _>>().unwrap()
    }

    fn asked(store: &Connection, email: &str, at: &str, answered: Option<&str>) {
        let insert = "INSERT INTO _emails (email, outcome, looked_up_at, answered_at)
             VALUES (?1, 'found', ?2, ?3)";
        store.execute(insert, (email, at, answered)).unwrap();
    }

    #[test]
    fn every_row_is_accounted_for() {
        let store = Store::temporary().unwrap().connection;
        let texts = ["b@x.io", " B@X.IO ", "", "nobody", "a@x.io", "a@x.io", "\u{feff}A@x.io"];
        let (run_id, summary) = plan(&store, &texts, None).unwrap();
        let counts = Counts {
            rows: 7,
            invalid: 2,
            duplicate: 3,
            planned: 2,
            pending: 2,
            ..Counts::default()
        };
        assert_eq!(summary.counts, counts);
        assert_eq!(order(&store, run_id), ["b@x.io", "a@x.io"]);
        assert_eq!(
            summary.invalid,
            [
                InvalidRows { reason: InvalidEmail::Blank, rows: 1, first: 4 },
                InvalidRows { reason: InvalidEmail::NoAt, rows: 1, first: 5 },
            ]
        );
        let reject = "SELECT row || input || code FROM _rejects WHERE run_id = ?1 AND row = 5";
        let reject: String = store.query_row(reject, [run_id], |row| row.get(0)).unwrap();
        assert_eq!(reject, "5nobodyno_at");
    }

    #[test]
    fn the_queues_are_served_in_turn_while_both_last() {
        let store = Store::temporary().unwrap().connection;
        for (email, at) in [("o1@x.io", "2026-03"), ("o2@x.io", "2026-01"), ("o3@x.io", "2026-02")]
        {
            asked(&store, email, at, Some(at));
        }
        let texts = ["n1@x.io", "o1@x.io", "o2@x.io", "n2@x.io", "o3@x.io"];
        let (run_id, _) = plan(&store, &texts, None).unwrap();
        assert_eq!(order(&store, run_id), ["n1@x.io", "o2@x.io", "n2@x.io", "o3@x.io", "o1@x.io"]);
    }

    #[test]
    fn fresh_is_what_was_answered_lately_but_not_in_the_future() {
        let store = Store::temporary().unwrap().connection;
        asked(&store, "lately@x.io", NOW, Some("2026-06-01T11:30:00.000Z"));
        asked(&store, "failed-since@x.io", NOW, Some("2026-06-01T10:30:00.000Z"));
        asked(&store, "never@x.io", NOW, None);
        asked(&store, "future@x.io", NOW, Some("2026-06-01T12:30:00.000Z"));
        let texts =
            ["lately@x.io", "LATELY@x.io", "failed-since@x.io", "never@x.io", "future@x.io"];
        let hour = Some(Duration::from_secs(3600));
        let (run_id, summary) = plan(&store, &texts, hour).unwrap();
        let counts = summary.counts;
        assert_eq!((counts.fresh, counts.duplicate, counts.planned), (1, 1, 3));
        assert!(!order(&store, run_id).contains(&"lately@x.io".to_owned()));
    }

    #[test]
    fn a_new_plan_replaces_that_of_the_same_source() {
        let store = Store::temporary().unwrap().connection;
        let (first, _) = plan(&store, &["a@x.io", "nobody"], None).unwrap();
        let (second, summary) = plan(&store, &["a@x.io"], None).unwrap();
        assert_eq!(order(&store, first), [""; 0]);
        assert_eq!(order(&store, second), ["a@x.io"]);
        assert_eq!(summary.counts.planned, 1);
        let rejects = "SELECT count(*) FROM _rejects";
        assert_eq!(store.query_row(rejects, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    }

    #[test]
    fn a_stop_ends_the_planning() {
        let store = Store::temporary().unwrap().connection;
        let stop = StopSwitch::default();
        stop.stop(StopReason::Interrupted);
        let now = NOW.parse().unwrap();
        let settings = PlanSettings { run_id: 1, source: "s".into(), max_age: None, now };
        let rows =
            std::iter::repeat_with(|| Ok::<_, Infallible>(InputRow::new(1, "a@x.io".into())));
        let error = build(&store, rows, &settings, &stop).unwrap_err();
        assert!(matches!(error, PlanError::Stopped(StopReason::Interrupted)));
    }
}
