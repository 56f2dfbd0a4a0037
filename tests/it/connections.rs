//! Connections that die, fall silent or lead to the wrong server cost no email its answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Version;
use telemetron_sync::sandbox::{Delivery, Reply};

use crate::support::api::{Api, customer, emails};
use crate::support::certificates::Root;
use crate::support::clock::wait_until;
use crate::support::dir::TestDir;
use crate::support::relay::{Front, Relay};
use crate::support::tls_api::{TlsApi, TlsRequest};

const ATTEMPTS: &str = "SELECT DISTINCT outcome, attempts FROM lookups";

/// The longest time without a request, in the order in which they came.
fn longest_gap(requests: &[TlsRequest]) -> Duration {
    let gaps = requests.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at));
    gaps.max().unwrap_or_default()
}

#[test]
fn a_silent_http2_connection_is_replaced_within_ten_seconds_and_counts_no_attempt() {
    let dir = TestDir::new();
    let Some(root) = Root::new(dir.folder(), "root") else {
        return;
    };
    let api = TlsApi::start(&root.sign("server"), Duration::from_millis(20));
    let relay = Relay::start(Front::Direct, api.address());
    dir.emails(emails(300));
    let url = format!("https://localhost:{}", relay.address().port());
    let sync = dir.sync(url).env("SSL_CERT_FILE", &root.path()).args(["--concurrency", "8"]);
    let run = sync.args(["--rate", "100/s"]).start();
    wait_until("lookups arrive", || api.requests().len() > 100);
    let before = relay.connections();
    relay.fall_silent();
    run.wait().exits(0);
    let requests = api.requests();
    assert!(requests.iter().all(|one| one.version == Version::HTTP_2), "{requests:?}");
    let gap = longest_gap(&requests);
    let allowed = Duration::from_secs(4)..Duration::from_secs(10);
    assert!(allowed.contains(&gap), "nothing arrived for {gap:?}");
    assert!(relay.connections() > before, "{before} connections before and after");
    dir.has_rows(ATTEMPTS, ["found|1"]);
    assert_eq!(dir.counts(), "rows 300, planned 300, found 300");
    assert_eq!(dir.report()["outages"]["count"], 0);
}

#[test]
fn after_an_outage_the_run_uses_new_connections() {
    let dir = TestDir::new();
    // A load balancer that keeps the connections it has with a server that lost its database.
    let broken = Api::with_rule(|request| (request.number > 20).then(|| Reply::error(503, "Down")));
    let healthy = Api::new();
    for api in [&broken, &healthy] {
        api.has_all(emails(200));
    }
    let relay = Relay::start(Front::Direct, broken.address());
    dir.emails(emails(200));
    let sync = dir.sync(format!("http://{}", relay.address()));
    // One at a time, so that no answer comes after the first failure of the outage.
    let run = sync.args(["--concurrency", "1", "--outage-wait", "30s"]).start();
    wait_until("the outage is noticed", || run.stderr().contains("waiting until it answers"));
    relay.lead_to(healthy.address());
    let ended = run.wait().exits(0);
    ended.stderr_has("HTTP 503: unavailable (Down)").stderr_has("the API answers again");
    dir.has_rows(ATTEMPTS, ["found|1"]);
    assert_eq!(dir.report()["outages"]["count"], 1);
    assert!(healthy.request_count() >= 180, "{}", healthy.request_count());
}

/// Serves each connection's first request, then closes it when the second one has arrived, as a
/// server does whose idle time has just passed. Returns its URL and the count of such requests.
fn closing_early() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dropped);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let dropped = Arc::clone(&counted);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                if let Some(email) = read_email(&mut reader) {
                    reply(&stream, &customer(&format!("cust_{email}"), &email).to_string());
                    if read_email(&mut reader).is_some() {
                        dropped.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    (url, dropped)
}

fn read_email(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
    Some(body["email"].as_str()?.to_owned())
}

fn reply(mut stream: &TcpStream, body: &str) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all((head + body).as_bytes());
}

#[test]
fn a_connection_that_dies_before_the_response_is_replaced_and_counts_no_attempt() {
    let (url, dropped) = closing_early();
    let dir = TestDir::new();
    dir.emails(emails(60));
    // Without a second attempt, each email that counted one would fail. One lookup at a time: its
    // second connection is a new one.
    dir.sync(url).args(["--concurrency", "1", "--max-attempts", "1"]).run().exits(0);
    dir.has_rows(ATTEMPTS, ["found|1"]);
    let dropped = dropped.load(Ordering::SeqCst);
    assert!(dropped >= 50, "{dropped} requests met a connection that was being closed");
}

#[test]
fn a_connection_is_replaced_once_for_each_email() {
    let api = Api::with_rule(|request| {
        let is_bad = request.email == Some("bad@x.io");
        is_bad.then(|| Reply::error(500, "").deliver(Delivery::Reset))
    });
    api.has_all(["good@x.io"]);
    let dir = TestDir::new();
    dir.emails(["bad@x.io", "good@x.io"]);
    let sync = dir.sync(api.url()).args(["--max-attempts", "3"]).run().exits(3);
    sync.stdout_has("1 email failed: connection lost");
    let bad = api.requested_emails().into_iter().filter(|email| email == "bad@x.io").count();
    assert_eq!(bad, 4);
    let failed = "SELECT outcome, attempts, error FROM lookups WHERE email = 'bad@x.io'";
    let rows = dir.rows(failed);
    assert!(rows[0].starts_with("failed|3|the connection to 127.0.0.1:"), "{rows:?}");
}
