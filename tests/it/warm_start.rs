//! A run begins at what the API sustained in the last one, seen by the API.

use std::sync::Mutex;
use std::time::Duration;

use telemetron_sync::sandbox::{Reply, Request};

use crate::support::api::{Api, emails};
use crate::support::dir::TestDir;

/// An API that finds everybody after `latency`, and counts the requests that come before the first
/// response can be back.
fn slow(latency: Duration) -> Api {
    Api::with_rule(move |request| {
        let email = request.email?;
        let body = crate::support::api::customer(&format!("cust_{email}"), email).to_string();
        Some(Reply::json(200, body).after(latency))
    })
}

fn first_burst(api: &Api, latency: Duration) -> usize {
    let requests = api.requests();
    let first = requests[0].at;
    requests.iter().filter(|request| request.at < first + latency).count()
}

#[test]
fn the_second_run_begins_with_half_as_many_lookups_in_flight_as_the_first_reached() {
    let latency = Duration::from_millis(200);
    let (dir, api) = (TestDir::new(), slow(latency));
    dir.emails(emails(600));
    let sync = || dir.sync(api.url()).args(["--concurrency", "32"]);
    sync().run().exits(0);
    assert_eq!(first_burst(&api, latency), 4);
    let reached = dir.report()["limits"]["concurrency"].as_u64().expect("a limit");
    assert_eq!(reached, 32);
    sync().run().exits(0);
    assert_eq!(first_burst(&api, latency), 16);
    // Another API has not been met before.
    let other = slow(latency);
    dir.sync(other.url()).args(["--limit", "100"]).run().exits(4);
    assert_eq!(first_burst(&other, latency), 4);
}

/// Lets `limit` requests through in any second, by a bucket that holds a tenth of them.
fn limited(limit: f64) -> Api {
    struct Bucket {
        at: Duration,
        tokens: f64,
    }
    let bucket = Mutex::new(Bucket { at: Duration::ZERO, tokens: limit / 10.0 });
    Api::with_rule(move |request: &Request<'_>| {
        let mut bucket = bucket.lock().expect("a bucket");
        let filled = (request.at - bucket.at).as_secs_f64() * limit;
        bucket.tokens = (bucket.tokens + filled).min(limit / 10.0);
        bucket.at = request.at;
        if bucket.tokens < 1.0 {
            return Some(Reply::error(429, "Too many requests").header("retry-after", "1"));
        }
        bucket.tokens -= 1.0;
        None
    })
}

#[test]
fn the_second_run_begins_at_the_rate_that_the_first_learned() {
    let (dir, api) = (TestDir::new(), limited(50.0));
    api.has_all(emails(300));
    dir.emails(emails(300));
    let throttled = |dir: &TestDir| {
        dir.report()["http"]["statuses"].get("429").and_then(|count| count.as_u64()).unwrap_or(0)
    };
    dir.sync(api.url()).run().exits(0).stderr_has("the API limits the rate (HTTP 429)");
    let learned = dir.report()["limits"]["rate"].as_f64().expect("a rate");
    assert!((30.0..60.0).contains(&learned), "learned {learned}/s");
    assert!(throttled(&dir) > 0);
    api.requests();
    dir.sync(api.url()).run().exits(0);
    let requests = api.requests();
    let begun = requests[0].at;
    let in_first_second =
        requests.iter().filter(|one| one.at < begun + Duration::from_secs(1)).count();
    let allowed = (learned * 0.8) as usize..=(learned * 1.15) as usize + 1;
    assert!(allowed.contains(&in_first_second), "{in_first_second} at a rate of {learned}/s");
    assert!(throttled(&dir) <= 6, "{} were refused", throttled(&dir));
    assert_eq!(dir.counts(), "rows 300, planned 300, found 300");
}
