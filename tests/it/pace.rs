//! How many requests are on their way, and how fast they follow each other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails};
use crate::support::dir::TestDir;

/// The most requests that came in within any stretch of this length.
fn most_within(api: &Api, stretch: Duration) -> usize {
    let at: Vec<_> = api.requests().iter().map(|request| request.at).collect();
    let within =
        |from: Duration| at.iter().filter(|at| (from..from + stretch).contains(*at)).count();
    at.iter().map(|from| within(*from)).max().unwrap_or(0)
}

#[test]
fn no_more_than_the_limit_are_in_flight() {
    let latency = Duration::from_millis(40);
    let api = Api::with_rule(move |_| Some(Reply::error(404, "Customer not found").after(latency)));
    let dir = TestDir::new();
    dir.emails(emails(60));
    dir.sync(api.url()).args(["--concurrency", "5", "--accept-missing"]).run().exits(0);
    // All that came in within one latency were in flight together.
    let most = most_within(&api, latency);
    assert!((4..=5).contains(&most), "{most} in flight");
}

#[test]
fn requests_are_spread_evenly_under_a_rate() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(emails(21));
    dir.sync(api.url()).args(["--rate", "20/s", "--accept-missing"]).run().exits(0);
    let requests = api.requests();
    let took = requests[20].at - requests[0].at;
    assert!(took > Duration::from_millis(950), "21 requests at 20/s took {took:?}");
    assert!(took < Duration::from_millis(2500), "21 requests at 20/s took {took:?}");
    let early = requests.iter().filter(|one| one.at < requests[0].at + took / 2).count();
    assert!((8..=13).contains(&early), "{early} of 21 in the first half");
}

#[test]
fn retries_count_for_the_rate_too() {
    let api = Api::with_rule(|request| (request.attempt == 1).then(|| Reply::error(500, "Oops")));
    let dir = TestDir::new();
    dir.emails(emails(8));
    dir.sync(api.url()).args(["--rate", "10/s"]).run().exits(0);
    let requests = api.requests();
    let took = requests[15].at - requests[0].at;
    assert!(took > Duration::from_millis(1450), "16 requests at 10/s took {took:?}");
}

#[test]
fn an_email_that_waits_for_its_retry_holds_no_slot() {
    let api = Api::with_rule(|request| {
        let waits = request.email == Some("p0001@x.io") && request.attempt == 1;
        waits.then(|| Reply::error(500, "Oops").header("retry-after", "1"))
    });
    let dir = TestDir::new();
    dir.emails(emails(5));
    dir.sync(api.url()).args(["--concurrency", "1"]).run().exits(0);
    let asked = api.requested_emails();
    assert_eq!(asked[..5], emails(5)[..]);
    assert_eq!(asked[5], "p0001@x.io");
}

#[test]
fn retry_after_pauses_all_emails() {
    let paused = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&paused);
    let api = Api::with_rule(move |_| {
        let mut paused = seen.lock().unwrap();
        let first = !std::mem::replace(&mut *paused, true);
        first.then(|| Reply::error(429, "Slow down").header("retry-after", "1"))
    });
    let dir = TestDir::new();
    dir.emails(emails(4));
    let ended = dir.sync(api.url()).args(["--concurrency", "1", "--max-attempts", "1"]).run();
    ended.exits(0);
    let requests = api.requests();
    assert_eq!(requests.len(), 5);
    let pause = requests[1].at - requests[0].at;
    assert!(pause >= Duration::from_millis(990), "{pause:?}");
    assert!(pause < Duration::from_secs(5), "{pause:?}");
    assert_eq!(dir.counts(), "rows 4, planned 4, not_found 4");
}

#[test]
fn a_pause_longer_than_allowed_stops_the_run() {
    let api = Api::with_rule(|request| {
        (request.number > 2).then(|| Reply::error(503, "Later").header("retry-after", "120"))
    });
    let dir = TestDir::new();
    dir.emails(emails(9));
    let patient = ["--max-retry-after", "60s", "--concurrency", "1"];
    dir.sync(api.url()).args(patient).run().exits(6).stdout_has("a pause of 2m");
    assert_eq!(api.request_count(), 3);
    assert_eq!(dir.counts(), "rows 9, planned 9, not_found 2, pending 7");
    let good = Api::new();
    dir.sync_of(good.url(), ["--resume"]).run().exits(0);
    assert_eq!(good.request_count(), 7);
}
