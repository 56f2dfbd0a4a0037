//! What happens in a night or a day: hours in which something is wrong with the API, the key or the
//! clock, and how the job of each hour has to end.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// What is wrong with the API.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Errors,
    NoConnection,
    Silence,
    MissingRoute,
    /// 429 beyond so many requests per second.
    Rate {
        per_second: f64,
        retry_after: Option<u64>,
    },
    /// 429 beyond so many requests in each such time, until it is over.
    Quota {
        requests: u64,
        each: Duration,
    },
    /// 403 for some emails.
    Firewall,
    /// 500 for more than half of the emails.
    Broken,
    /// The old key is refused from now on, and the file holds the new one so much later.
    KeyRotation {
        file_late: Duration,
    },
    /// The file holds the key of another organization, which has customers for few of the emails.
    StrangersKey,
    /// Connections break, and none can be made for as long as it lasts.
    Deploy,
}

/// A trouble and its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incident {
    pub(super) from: Duration,
    pub(super) until: Duration,
    pub(super) trouble: Trouble,
}

/// What a run may end with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) exit: u8,
    /// Requests beyond one for each email that was looked up, at most.
    pub(super) extra_requests: usize,
    /// Attempts that count beyond one for each email with an outcome, at most: a 429, a failure in an
    /// outage and a canary are none.
    pub(super) extra_attempts: i64,
}

/// One hour's job: what is wrong then, and how it ends.
#[derive(Clone, Debug)]
pub(super) struct Hour {
    pub(super) incidents: Vec<Incident>,
    pub(super) expected: Expected,
}

#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) emails: usize,
    pub(super) hours: Vec<Hour>,
    /// How much slower the API is at noon than at midnight.
    pub(super) slowdown_at_noon: f64,
    /// When the wall clock jumps, and by how much.
    pub(super) jumps: Vec<(Duration, SignedDuration)>,
    /// When the process is suspended, and for how long.
    pub(super) suspended: Option<(Duration, Duration)>,
}

impl Course {
    pub(super) fn incidents(&self) -> Vec<Incident> {
        self.hours.iter().flat_map(|hour| hour.incidents.iter().copied()).collect()
    }

    /// What the machine's clock shows.
    pub(super) fn wall(&self, at: Duration) -> Timestamp {
        let jumped = self.jumps.iter().filter(|(when, _)| *when <= at);
        let jumped: SignedDuration = jumped.map(|(_, by)| *by).sum();
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + at + jumped
    }
}

/// Requests that an outage may cost: ten failures in a row, those in flight, and for ten minutes up to
/// three canaries after 1, 2, 4, 8, 16 seconds and then every 30 seconds.
const OUTAGE: usize = 10 + 4 + 3 * 25;

/// Attempts that count as an outage begins: nine failures in a row that a late response ends, or two
/// timeouts of each lookup in flight before a canary is answered; and those in flight.
const NO_STREAK: i64 = 9 + 4;

fn expected(exit: u8, extra_requests: usize) -> Expected {
    Expected { exit, extra_requests, extra_attempts: 0 }
}

fn healthy() -> Hour {
    Hour { incidents: Vec::new(), expected: expected(0, 0) }
}

/// Times are those within the hour, which `at` sets.
fn hour_of(trouble: Trouble, from: Duration, lasts: Duration, expected: Expected) -> Hour {
    Hour { incidents: vec![Incident { from, until: from + lasts, trouble }], expected }
}

/// An outage that ends while a run waits for it, or only after it gave up.
fn outage(rng: &mut Rng, trouble: Trouble, from: Duration) -> Hour {
    let (minutes, exit) = if rng.bool() { (rng.u32(1..9), 0) } else { (rng.u32(11..50), 6) };
    let expected = Expected { extra_attempts: NO_STREAK, ..expected(exit, OUTAGE) };
    hour_of(trouble, from, MINUTE * minutes, expected)
}

/// One of eight incidents. It begins before the run's first request, or amid its requests.
fn incident(kind: u8, emails: usize, rng: &mut Rng) -> Hour {
    let from = Duration::from_millis(rng.u64(..emails as u64 * 8)) * rng.u32(..2);
    match kind {
        0 => outage(rng, Trouble::Errors, from),
        1 => outage(rng, Trouble::NoConnection, from),
        2 => outage(rng, Trouble::Silence, from),
        3 => outage(rng, Trouble::MissingRoute, from),
        4 => {
            let retry_after = [None, Some(1)][rng.usize(..2)];
            let per_second: f64 = rng.u8(5..40).into();
            // A limit of 20/s or more refuses under 2% after the first ten seconds.
            let refused = if per_second < 20.0 { emails / 2 } else { 50 + emails / 50 };
            let trouble = Trouble::Rate { per_second, retry_after };
            hour_of(trouble, from, HOUR / 2, expected(0, refused))
        }
        // A twenty-fifth of the emails; each may cost a canary.
        5 => hour_of(Trouble::Firewall, Duration::ZERO, HOUR / 2, expected(3, 5 + emails / 20)),
        6 => {
            let trouble = Trouble::KeyRotation { file_late: Duration::ZERO };
            hour_of(trouble, from, HOUR / 2, expected(0, 10))
        }
        _ => {
            let trouble = Trouble::KeyRotation { file_late: HOUR / 2 };
            hour_of(trouble, from, HOUR / 2, expected(5, 10))
        }
    }
}

/// Three deploys of two seconds while the job runs.
fn deploys(emails: usize, rng: &mut Rng) -> Hour {
    let incidents = (0..3).map(|_| {
        let from = Duration::from_millis(rng.u64(..emails as u64 * 12));
        let until = from + Duration::from_secs(2);
        Incident { from, until, trouble: Trouble::Deploy }
    });
    let expected = Expected { extra_attempts: 3 * NO_STREAK, ..expected(0, OUTAGE) };
    Hour { incidents: incidents.collect(), expected }
}

/// Hours of a quota on requests: the first of them has its incident, which lasts for all.
fn quota(each: Duration, requests: usize, ends: &[Expected]) -> Vec<Hour> {
    let trouble = Trouble::Quota { requests: requests as u64, each };
    let mut hours: Vec<Hour> =
        ends.iter().map(|end| Hour { expected: *end, ..healthy() }).collect();
    let until = HOUR * ends.len() as u32;
    hours[0].incidents.push(Incident { from: Duration::ZERO, until, trouble });
    hours
}

/// A healthy hour, what was chosen for the hours in between, and a healthy hour.
fn between_healthy_hours(mut blocks: Vec<Vec<Hour>>, rng: &mut Rng) -> Vec<Hour> {
    rng.shuffle(&mut blocks);
    let mut hours: Vec<Hour> = std::iter::once(healthy())
        .chain(blocks.into_iter().flatten())
        .chain(std::iter::once(healthy()))
        .collect();
    for (begin, hour) in (0..).map(|number| HOUR * number).zip(&mut hours) {
        for incident in &mut hour.incidents {
            incident.from += begin;
            incident.until += begin;
        }
    }
    hours
}

/// Eight hours, six of them with an incident.
pub(super) fn night(emails: usize, rng: &mut Rng) -> Course {
    let mut kinds: Vec<u8> = (0..8).collect();
    rng.shuffle(&mut kinds);
    let blocks = kinds[..6].iter().map(|kind| vec![incident(*kind, emails, rng)]).collect();
    let hours = between_healthy_hours(blocks, rng);
    Course { emails, hours, slowdown_at_noon: 0.0, jumps: Vec::new(), suspended: None }
}

/// Twenty-four hours: two outages, a missing route, an API that fails for most emails, a firewall for
/// three hours, three changes of the key, quotas per second, minute, hour and day, deploys, a clock that jumps, and a process that is
/// suspended for a quarter of an hour.
pub(super) fn day(emails: usize, rng: &mut Rng) -> Course {
    let first_outage = rng.u8(..3);
    let second_outage = (first_outage + rng.u8(1..3)) % 3;
    let mut blocks: Vec<Vec<Hour>> = [first_outage, second_outage, 3, 4, 6, 7]
        .map(|kind| vec![incident(kind, emails, rng)])
        .into();
    blocks.push((0..3).map(|_| incident(5, emails, rng)).collect());
    let whole = |trouble, expected| vec![hour_of(trouble, Duration::ZERO, HOUR, expected)];
    blocks.push(whole(Trouble::StrangersKey, expected(5, 10)));
    // Each broken email has five attempts, until the failure limit ends the run.
    blocks.push(whole(Trouble::Broken, expected(6, OUTAGE + emails * 4)));
    // A fifth in a minute; more than half in an hour; one and a half times all in three hours.
    blocks.push(quota(MINUTE, emails / 5, &[expected(0, 60), expected(0, 60)]));
    blocks.push(quota(HOUR, emails * 3 / 5, &[expected(6, 10), expected(6, 10)]));
    blocks.push(quota(
        HOUR * 3,
        emails * 3 / 2,
        &[expected(0, 0), expected(6, 10), expected(6, 10)],
    ));
    blocks.extend((0..4).map(|_| vec![deploys(emails, rng)]));
    let hours = between_healthy_hours(blocks, rng);
    assert_eq!(hours.len(), 24);
    let jumps = jumps(emails, rng);
    // A suspended process does not see that it waited too long.
    let awake: Vec<u32> = (0..24).filter(|hour| hours[*hour as usize].expected.exit != 6).collect();
    let hour = awake[rng.usize(..awake.len())];
    let suspended = Some((HOUR * hour + Duration::from_secs(1), MINUTE * 15));
    Course { emails, hours, slowdown_at_noon: 4.0, jumps, suspended }
}

/// A clock that is set forward, set back by as much and more, and corrected, at any time of a run.
fn jumps(emails: usize, rng: &mut Rng) -> Vec<(Duration, SignedDuration)> {
    let mut at = |hours: std::ops::Range<u32>| {
        HOUR * rng.u32(hours) + Duration::from_millis(rng.u64(..emails as u64 * 12))
    };
    let jumps = [(at(2..8), 47), (at(9..15), -131), (at(16..21), 84)];
    jumps.map(|(at, minutes)| (at, SignedDuration::from_mins(minutes))).into()
}
