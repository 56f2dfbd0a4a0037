//! The counts of a run: of its rows, of the changes, of the requests.
//!
//! Pure: no clock, no I/O.

use crate::domain::outcome::{Attempt, ChangeKind, OutcomeKind};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What became of each row read. Every row is counted in exactly one place:
/// `rows = invalid + duplicate + fresh + planned`, and
/// `planned = found + not_found + rejected + failed + pending`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub rows: u64,
    /// Rows that are no email address.
    pub invalid: u64,
    /// Rows whose email is in an earlier row.
    pub duplicate: u64,
    /// Emails that were answered recently enough (`--max-age`).
    pub fresh: u64,
    /// Emails to look up.
    pub planned: u64,
    /// Of these, resolved to a customer.
    pub found: u64,
    /// Of these, resolved to no customer.
    pub not_found: u64,
    /// Of these, not accepted as an email by the API.
    pub rejected: u64,
    /// Of these, without an answer.
    pub failed: u64,
    /// Of these, not looked up yet.
    pub pending: u64,
}

impl Counts {
    /// One pending email is settled.
    pub fn settle(&mut self, kind: OutcomeKind) {
        self.pending -= 1;
        *self.of(kind) += 1;
    }

    /// `emails` that were settled as `kind` are pending again.
    pub fn reset_to_pending(&mut self, kind: OutcomeKind, emails: u64) {
        *self.of(kind) -= emails;
        self.pending += emails;
    }

    /// Emails whose lookup is over.
    pub fn settled(&self) -> u64 {
        self.planned - self.pending
    }

    /// Emails without an answer: rejected or failed.
    pub fn unanswered(&self) -> u64 {
        self.rejected + self.failed
    }

    fn of(&mut self, kind: OutcomeKind) -> &mut u64 {
        match kind {
            OutcomeKind::Found => &mut self.found,
            OutcomeKind::NotFound => &mut self.not_found,
            OutcomeKind::Rejected => &mut self.rejected,
            OutcomeKind::Failed => &mut self.failed,
        }
    }
}

/// How many changes of each kind a run has brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeCounts(BTreeMap<String, u64>);

impl Default for ChangeCounts {
    fn default() -> Self {
        Self(ChangeKind::ALL.map(|kind| (kind.name().to_owned(), 0)).into())
    }
}

impl ChangeCounts {
    /// Counts `changes` more of this kind.
    pub fn add(&mut self, kind: ChangeKind, changes: u64) {
        if let Some(count) = self.0.get_mut(kind.name()) {
            *count += changes;
        }
    }

    /// Changes of this kind are gone from the feed.
    pub fn remove(&mut self, kind: ChangeKind, changes: u64) {
        if let Some(count) = self.0.get_mut(kind.name()) {
            *count = count.saturating_sub(changes);
        }
    }

    /// How many of this kind.
    pub fn get(&self, kind: ChangeKind) -> u64 {
        self.0.get(kind.name()).copied().unwrap_or(0)
    }
}

/// Latencies are kept in microseconds up to this; a request cannot last longer by default.
const GREATEST_LATENCY_US: u64 = 600_000_000;

/// The name, among the statuses, of there being none.
const NO_ANSWER: &str = "none";

/// The requests of a run.
#[derive(Clone, Debug)]
pub struct HttpTally {
    /// Requests sent, whether or not they came back.
    pub requests: u64,
    /// Of these, sent again for an email that was looked up before in the same run.
    pub retries: u64,
    /// How often each status was answered; `None` where there was no answer.
    statuses: BTreeMap<Option<u16>, u64>,
    /// How long the answers took, in microseconds.
    latencies: Histogram<u64>,
}

impl Default for HttpTally {
    fn default() -> Self {
        Self { requests: 0, retries: 0, statuses: BTreeMap::new(), latencies: empty_histogram() }
    }
}

/// Two significant digits hold each percentile to 1 %, in some kilobytes.
fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, GREATEST_LATENCY_US, 2).expect("the bounds are in order")
}

/// How long answers took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them at most this.
    pub p50: f64,
    /// 90 % of them.
    pub p90: f64,
    /// 99 % of them.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl HttpTally {
    /// Counts what came back for a request.
    pub fn settle(&mut self, attempt: &Attempt) {
        *self.statuses.entry(attempt.status).or_default() += 1;
        if attempt.status.is_some() {
            self.record_latency(attempt.latency);
        }
    }

    /// Counts the requests that never came back as not answered.
    pub fn abandon_rest(&mut self) {
        let settled: u64 = self.statuses.values().sum();
        let abandoned = self.requests.saturating_sub(settled);
        if abandoned > 0 {
            *self.statuses.entry(None).or_default() += abandoned;
        }
    }

    /// Records how long a response took.
    pub fn record_latency(&mut self, latency: Duration) {
        self.latencies.saturating_record(microseconds(latency));
    }

    /// Responses of any kind.
    pub fn responses(&self) -> u64 {
        self.latencies.len()
    }

    /// The responses that took at most so many milliseconds.
    pub fn responses_within_ms(&self, ms: f64) -> u64 {
        let limit = Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(Duration::MAX);
        self.latencies.count_between(0, microseconds(limit))
    }

    /// The percentiles; `None` before the first answer.
    pub fn latency(&self) -> Option<Latency> {
        let milliseconds = |us: u64| us as f64 / 1000.0;
        let at = |quantile| milliseconds(self.latencies.value_at_quantile(quantile));
        (!self.latencies.is_empty()).then(|| Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: milliseconds(self.latencies.max()),
        })
    }

    /// How often each status was answered, as the report has it: `none` where there was no answer.
    pub fn statuses(&self) -> BTreeMap<String, u64> {
        let name = |status: Option<u16>| status.map_or(NO_ANSWER.into(), |code| code.to_string());
        self.statuses.iter().map(|(status, times)| (name(*status), *times)).collect()
    }

    /// The latencies as bytes, for [`Self::resumed`].
    pub fn latencies(&self) -> Vec<u8> {
        use hdrhistogram::serialization::{Serializer as _, V2Serializer};
        let mut bytes = Vec::new();
        // Writing to a Vec does not fail; without the bytes a resumed run starts a new histogram.
        let _ = V2Serializer::new().serialize(&self.latencies, &mut bytes);
        bytes
    }

    /// The tally of the earlier processes of a run, to be continued.
    pub fn resumed(
        requests: u64,
        retries: u64,
        statuses: &BTreeMap<String, u64>,
        latencies: &[u8],
    ) -> Self {
        let statuses = statuses.iter().map(|(name, times)| (name.parse().ok(), *times)).collect();
        let mut tally = Self { requests, retries, statuses, ..Self::default() };
        let stored: Result<Histogram<u64>, _> =
            hdrhistogram::serialization::Deserializer::new().deserialize(&mut &latencies[..]);
        if let Ok(stored) = stored {
            // Fails only for values beyond the bounds, which saturate when recorded.
            let _ = tally.latencies.add(&stored);
        }
        tally
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::Answer;
    use proptest::prelude::*;

    const KINDS: [OutcomeKind; 4] =
        [OutcomeKind::Found, OutcomeKind::NotFound, OutcomeKind::Rejected, OutcomeKind::Failed];

    fn attempt(status: Option<u16>, milliseconds: u64) -> Attempt {
        let latency = Duration::from_millis(milliseconds);
        Attempt { answer: Answer::NotFound, status, retry_after: None, latency }
    }

    #[test]
    fn latencies_survive_the_store() {
        let mut tally = HttpTally::default();
        for milliseconds in 1..=100 {
            tally.settle(&attempt(Some(200), milliseconds));
        }
        tally.settle(&attempt(None, 30_000));
        let again = HttpTally::resumed(101, 0, &tally.statuses(), &tally.latencies());
        assert_eq!(again.latency(), tally.latency());
        let latency = again.latency().unwrap();
        assert!((49.0..=51.0).contains(&latency.p50), "{latency:?}");
        assert!((99.0..=101.0).contains(&latency.max), "no answer is no latency: {latency:?}");
        assert_eq!(again.statuses(), tally.statuses());
        assert_eq!(tally.statuses()["none"], 1);
        assert_eq!(HttpTally::default().latency(), None);
        assert_eq!(HttpTally::resumed(1, 0, &BTreeMap::new(), b"rubbish").latency(), None);
    }

    #[test]
    fn a_request_that_never_came_back_was_not_answered() {
        let mut tally = HttpTally { requests: 3, ..HttpTally::default() };
        tally.settle(&attempt(Some(200), 1));
        tally.abandon_rest();
        tally.abandon_rest();
        assert_eq!(tally.statuses(), [("200".to_owned(), 1), ("none".to_owned(), 2)].into());
        assert_eq!(tally.responses(), 1);
    }

    #[test]
    fn changes_are_counted_by_kind() {
        let mut changes = ChangeCounts::default();
        changes.add(ChangeKind::Created, 3);
        changes.add(ChangeKind::Created, 4);
        changes.add(ChangeKind::Missing, 1);
        changes.remove(ChangeKind::Created, 2);
        let kinds = [ChangeKind::Created, ChangeKind::Missing, ChangeKind::Erased];
        assert_eq!(kinds.map(|kind| changes.get(kind)), [5, 1, 0]);
    }

    #[test]
    fn responses_are_counted_by_how_long_they_took() {
        let mut tally = HttpTally::default();
        for milliseconds in [1, 2, 500, 2000] {
            tally.record_latency(Duration::from_millis(milliseconds));
        }
        assert_eq!(tally.responses(), 4);
        assert_eq!(
            [0.5, 10.0, 1000.0, 5000.0].map(|ms| tally.responses_within_ms(ms)),
            [0, 2, 3, 4]
        );
        let again = HttpTally::resumed(9, 5, &BTreeMap::new(), &tally.latencies());
        assert_eq!((again.requests, again.retries, again.responses()), (9, 5, 4));
        let report = crate::domain::run::HttpReport::from(&again);
        assert_eq!((report.requests, report.retries, report.latency_ms), (9, 5, again.latency()));
    }

    proptest! {
        #[test]
        fn every_row_is_counted_in_exactly_one_place(
            steps in proptest::collection::vec((0..4_usize, any::<bool>()), 0..200),
        ) {
            let mut counts = Counts { rows: 215, invalid: 5, duplicate: 6, fresh: 4, planned: 200, pending: 200, ..Counts::default() };
            let mut settled = [0_u64; 4];
            for (kind, back) in steps {
                if back && settled[kind] > 0 {
                    counts.reset_to_pending(KINDS[kind], 1);
                    settled[kind] -= 1;
                } else {
                    counts.settle(KINDS[kind]);
                    settled[kind] += 1;
                }
                prop_assert_eq!(counts.rows, counts.invalid + counts.duplicate + counts.fresh + counts.planned);
                prop_assert_eq!(
                    counts.planned,
                    counts.found + counts.not_found + counts.rejected + counts.failed + counts.pending
                );
                prop_assert_eq!(counts.settled(), settled.iter().sum::<u64>());
            }
        }
    }
}
