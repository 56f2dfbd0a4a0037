//! A run: a plan, and all that was done for it.
//!
//! Pure: no clock, no I/O.

use crate::domain::counts::{ChangeCounts, Counts, HttpTally, Latency};
use crate::domain::customer::{KNOWN_FIELDS, PresentFields};
use crate::domain::exit::Exit;
use crate::domain::stop::StopReason;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A process works on it.
    Running,
    /// Every planned email has an answer.
    Complete,
    /// Finished, with emails that were rejected or failed.
    Partial,
    /// Stopped; what is pending can be resumed.
    Stopped,
    /// It could not do its job.
    Failed,
}

impl Status {
    /// The name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// The status of that name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Running, Self::Complete, Self::Partial, Self::Stopped, Self::Failed];
        all.into_iter().find(|status| status.name() == name)
    }
}

/// Everything known of a run; the store holds it, the report prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run's number in its store; 0 (in JSON null) if it failed before it had a plan.
    #[serde(serialize_with = "number_or_null", deserialize_with = "number_or_zero")]
    pub run_id: i64,
    pub status: Status,
    /// Why it stopped early.
    pub stop_reason: Option<String>,
    /// What the process ended with; `None` while it runs.
    pub exit_code: Option<u8>,
    /// Where the emails came from.
    pub source: String,
    /// When its plan was begun.
    pub started_at: String,
    /// When it ended, for the time being if it can be resumed.
    pub finished_at: Option<String>,
    /// How long its processes worked on it, in seconds.
    pub seconds: f64,
    /// What became of each row.
    pub counts: Counts,
    /// What changed.
    pub changes: ChangeCounts,
    /// The requests.
    pub http: HttpReport,
    /// The limits at the end, or now.
    #[serde(default)]
    pub limits: LimitsReport,
    #[serde(default)]
    pub outages: OutagesReport,
    /// Emails that were rejected or failed, by kind.
    #[serde(default)]
    pub failures: Vec<FailureCount>,
    /// Answers under another email than the one asked for.
    pub other_email: u64,
    #[serde(default)]
    pub fields: FieldsReport,
    /// What a person should look into.
    pub warnings: Vec<String>,
    /// How the source was read, where that was not obvious.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What is wrong with its publication (`--publish`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<PublicationFault>,
    /// How far the run is, while a process works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressReport>,
    /// Whether a later plan of the same source has taken over what is pending.
    #[serde(skip)]
    pub replaced: bool,
    /// ` --store PATH` as the next command has to repeat it; empty for the default.
    #[serde(skip)]
    pub store_option: String,
    /// ` --api-url URL` or ` --sandbox`, for a new run at the same API; empty for the vendor's.
    #[serde(skip)]
    pub api_option: String,
}

fn number_or_null<S: Serializer>(run_id: &i64, to: S) -> Result<S::Ok, S::Error> {
    Some(*run_id).filter(|run_id| *run_id != 0).serialize(to)
}

fn number_or_zero<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(0))
}

/// The emails of a run that were rejected or failed for one kind of reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCount {
    /// The stable name of the kind, as in `rejects`.
    pub code: String,
    pub count: u64,
    /// What went wrong with the last of them.
    pub last_reason: String,
}

/// What limits the lookups of a run; `None`: no limit, or not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LimitsReport {
    /// Lookups in flight.
    pub concurrency: Option<u64>,
    /// Requests per second.
    pub rate: Option<f64>,
}

/// The times in which the API was unreachable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutagesReport {
    pub count: u64,
    pub seconds: f64,
    pub last_cause: Option<String>,
}

/// A run names at most this many unknown fields.
const UNKNOWN_FIELDS: usize = 50;

/// How the customers that were answered differ from the documentation of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldsReport {
    /// Answers with a customer.
    pub answers: u64,
    /// Documented fields that none of them had.
    pub absent: Vec<String>,
    /// How many of them had each field that is not documented.
    pub unknown: BTreeMap<String, u64>,
}

impl FieldsReport {
    /// Counts one more answer.
    pub fn add(&mut self, present: &PresentFields) {
        if self.answers == 0 {
            self.absent = KNOWN_FIELDS.map(str::to_owned).to_vec();
        }
        self.answers += 1;
        if !self.absent.is_empty() {
            let is_present = |name: &str| {
                KNOWN_FIELDS.iter().zip(present.known()).any(|(known, is)| is && *known == name)
            };
            self.absent.retain(|name| !is_present(name));
        }
        for name in present.unknown() {
            if let Some(count) = self.unknown.get_mut(name) {
                *count += 1;
            } else if self.unknown.len() < UNKNOWN_FIELDS {
                self.unknown.insert(name.to_owned(), 1);
            }
        }
    }
}

/// Why what is published is not what the store has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationFault {
    pub kind: PublicationFaultKind,
    pub reason: String,
    /// The command that publishes, without a password.
    pub command: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicationFaultKind {
    /// The last publication failed; the next one makes up for it.
    Late,
    /// Another store publishes for the organization.
    Superseded,
}

/// How far a run is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgressReport {
    /// Emails settled per second, over the last seconds; `None` before there were some.
    pub per_second: Option<f64>,
    /// At that speed; `None` while nothing moves.
    pub seconds_left: Option<f64>,
    pub in_flight: u64,
    /// Why the rate is limited.
    pub rate_reason: Option<String>,
    pub pause: Option<PauseReport>,
}

/// No lookup starts for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PauseReport {
    /// The time at which it ends, or at which the API is tried again.
    pub until: String,
    pub reason: String,
}

/// The requests of a run, as reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpReport {
    /// Requests made.
    pub requests: u64,
    /// Of these, made again for an email that was looked up before in the same run.
    pub retries: u64,
    /// Of these, canary lookups, which tell a problem of the API from one of an email.
    #[serde(default)]
    pub checks: u64,
    /// How often each status was answered; `none` where there was no answer.
    pub statuses: BTreeMap<String, u64>,
    /// How long the answers took; `None` before the first.
    pub latency_ms: Option<Latency>,
}

impl From<&HttpTally> for HttpReport {
    fn from(tally: &HttpTally) -> Self {
        Self {
            requests: tally.requests,
            retries: tally.retries,
            checks: 0,
            statuses: tally.statuses(),
            latency_ms: tally.latency(),
        }
    }
}

impl RunReport {
    /// A run whose plan is made, before the first request.
    pub fn planned(run_id: i64, source: String, started_at: String, counts: Counts) -> Self {
        Self {
            run_id,
            status: Status::Running,
            stop_reason: None,
            exit_code: None,
            source,
            started_at,
            finished_at: None,
            seconds: 0.0,
            counts,
            changes: ChangeCounts::default(),
            http: HttpReport::default(),
            limits: LimitsReport::default(),
            outages: OutagesReport::default(),
            failures: Vec::new(),
            other_email: 0,
            fields: FieldsReport::default(),
            warnings: Vec::new(),
            notes: Vec::new(),
            publication: None,
            progress: None,
            replaced: false,
            store_option: String::new(),
            api_option: String::new(),
        }
    }

    /// A run that failed before it had a plan.
    pub fn without_plan(source: String, started_at: String) -> Self {
        Self::planned(0, source, started_at, Counts::default())
    }

    /// Notes that the run could not do its job.
    pub fn fail(&mut self, exit: Exit, reason: String, at: String) {
        self.status = if exit == Exit::Failed { Status::Failed } else { Status::Stopped };
        self.stop_reason = Some(reason);
        self.exit_code = Some(exit.code());
        self.finished_at = Some(at);
    }

    /// Notes the end: the status, the reason and the exit code follow from the counts and from
    /// what stopped it.
    pub fn end(&mut self, stop: Option<&StopReason>, at: String) {
        // A stop that came when the work was done stopped nothing, unless it is about the answers.
        let is_about_answers = |stop: &StopReason| {
            stop.exit() >= Exit::Terminated || matches!(stop, StopReason::FailureLimit { .. })
        };
        let stop = stop.filter(|stop| self.counts.pending > 0 || is_about_answers(stop));
        let exit = match stop {
            Some(stop) => stop.exit(),
            // No reason to stop, and yet not done: no success, whatever the cause is.
            None if self.counts.pending > 0 => Exit::Failed,
            None if self.counts.unanswered() > 0 => Exit::Partial,
            None => Exit::Complete,
        };
        self.status = match exit {
            Exit::Complete => Status::Complete,
            Exit::Partial => Status::Partial,
            _ => Status::Stopped,
        };
        let unfinished = || (exit == Exit::Failed).then(|| "ended with emails pending".to_owned());
        self.stop_reason = stop.map(StopReason::to_string).or_else(unfinished);
        self.exit_code = Some(exit.code());
        self.finished_at = Some(at);
    }

    /// Notes that the last publication of a run that has ended failed. The store is right, so a late
    /// copy spoils only a complete success.
    pub fn end_unpublished(&mut self, fault: PublicationFault) {
        match fault.kind {
            PublicationFaultKind::Late if self.exit_code == Some(Exit::Complete.code()) => {
                self.exit_code = Some(Exit::Partial.code());
            }
            PublicationFaultKind::Late => {}
            PublicationFaultKind::Superseded => {
                self.status = Status::Stopped;
                self.stop_reason = Some(fault.reason.clone());
                self.exit_code = Some(Exit::Failed.code());
            }
        }
        self.publication = Some(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::customer::CustomerBody;

    fn ended(stop: Option<StopReason>, failed: u64, pending: u64) -> (Status, u8) {
        let found = 10 - failed - pending;
        let counts = Counts { rows: 10, planned: 10, found, failed, pending, ..Counts::default() };
        let mut run = RunReport::planned(1, "s".into(), "t".into(), counts);
        run.end(stop.as_ref(), "u".into());
        (run.status, run.exit_code.unwrap())
    }

    #[test]
    fn fields_that_differ_from_the_documentation_are_counted() {
        let mut fields = FieldsReport::default();
        for json in
            [r#"{"id":"a","phone":null,"updatedAt":1}"#, r#"{"id":"b","devices":[],"updatedAt":2}"#]
        {
            fields.add(CustomerBody::new(json.as_bytes()).unwrap().present());
        }
        assert_eq!(fields.answers, 2);
        let absent =
            ["organizationId", "name", "email", "address", "orders", "metadata", "createdAt"];
        assert_eq!(fields.absent, absent);
        assert_eq!(fields.unknown, BTreeMap::from([("updatedAt".to_owned(), 2)]));
    }

    #[test]
    fn a_late_copy_spoils_a_complete_success_and_a_superseded_store_every_end() {
        let ended = |stop: Option<StopReason>, kind| {
            let counts = Counts { planned: 1, found: 1, ..Counts::default() };
            let mut run = RunReport::planned(1, "s".into(), "t".into(), counts);
            run.end(stop.as_ref(), "u".into());
            let (reason, command) = ("r".to_owned(), "c".to_owned());
            run.end_unpublished(PublicationFault { kind, reason, command });
            (run.status, run.exit_code.unwrap(), run.stop_reason)
        };
        let late = |stop| ended(stop, PublicationFaultKind::Late);
        assert_eq!(late(None), (Status::Complete, 3, None));
        assert_eq!(late(Some(StopReason::Interrupted)).1, 130);
        let superseded = |stop| ended(stop, PublicationFaultKind::Superseded);
        let stopped = (Status::Stopped, 1, Some("r".to_owned()));
        assert_eq!(superseded(None), stopped);
        assert_eq!(superseded(Some(StopReason::KeyRefused)), stopped);
    }

    #[test]
    fn the_end_follows_from_the_counts_and_the_stop() {
        assert_eq!(ended(None, 0, 0), (Status::Complete, 0));
        assert_eq!(ended(None, 1, 0), (Status::Partial, 3));
        assert_eq!(ended(Some(StopReason::Limit(5)), 1, 4), (Status::Stopped, 4));
        assert_eq!(ended(Some(StopReason::Limit(10)), 0, 0), (Status::Complete, 0));
        assert_eq!(ended(Some(StopReason::Interrupted), 0, 0), (Status::Stopped, 130));
        assert_eq!(ended(Some(StopReason::KeyRefused), 0, 1), (Status::Stopped, 5));
        let limit = StopReason::FailureLimit { unanswered: 9, settled: 10 };
        assert_eq!(ended(Some(limit), 9, 0), (Status::Stopped, 6), "all failed for good");
        assert_eq!(ended(None, 0, 1), (Status::Stopped, 1), "never a success with emails pending");
    }

    #[test]
    fn the_names_in_the_store_stand_for_one_status_each() {
        let all = ["running", "complete", "partial", "stopped", "failed"];
        assert_eq!(all.map(|name| Status::named(name).map(Status::name)), all.map(Some));
        assert_eq!(Status::named("done"), None);
    }

    #[test]
    fn a_run_that_could_not_do_its_job_says_why() {
        for (exit, status) in [(Exit::Failed, Status::Failed), (Exit::WrongKey, Status::Stopped)] {
            let mut run = RunReport::planned(1, "s".into(), "t".into(), Counts::default());
            run.fail(exit, "the disk is full".into(), "u".into());
            assert_eq!(run.status, status);
            assert_eq!(run.stop_reason.as_deref(), Some("the disk is full"));
            assert_eq!((run.exit_code, run.finished_at.as_deref()), (Some(exit.code()), Some("u")));
        }
    }

    #[test]
    fn a_run_without_a_plan_has_no_number_in_json() {
        for (number, shown) in [(0, "null"), (7, "7")] {
            let run = RunReport::planned(number, "s".into(), "t".into(), Counts::default());
            let json = serde_json::to_string(&run).unwrap();
            assert!(json.contains(&format!(r#""run_id":{shown},"#)), "{json}");
            assert_eq!(serde_json::from_str::<RunReport>(&json).unwrap(), run);
        }
    }

    #[test]
    fn so_many_unknown_fields_are_named_and_no_more() {
        let mut report = FieldsReport::default();
        for answer in 0..10 {
            let fields = (0..10).map(|n| format!(r#","f{answer}_{n}":1"#)).collect::<String>();
            let body = CustomerBody::new(format!(r#"{{"id":"a"{fields}}}"#).as_bytes()).unwrap();
            report.add(body.present());
        }
        assert_eq!(report.unknown.len(), UNKNOWN_FIELDS);
    }
}
