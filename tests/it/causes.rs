//! An API that cannot be reached ends the run in time, with the cause in every place that a person
//! or a program looks at, and with what is at fault: the proxy, the name, the connection, the
//! certificate or the API.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use serde_json::Value;
use telemetron_sync::sandbox::{Delivery, Reply};

use crate::support::api::{Api, emails};
use crate::support::certificates::{Certificate, Root};
use crate::support::clock::timed;
use crate::support::dir::TestDir;
use crate::support::relay::{Front, Relay};
use crate::support::server::free_port;
use crate::support::tls_api::TlsApi;

const WAIT: Duration = Duration::from_secs(2);

/// What a run may need beyond `--outage-wait`.
const GRACE: Duration = Duration::from_secs(5);

/// Asserts that a run against `url` ends in time and gives `parts` as the cause everywhere.
#[track_caller]
fn ends_with(url: &str, environment: &[(&str, &str)], parts: &[&str]) {
    let dir = TestDir::new();
    dir.emails(emails(30));
    let mut sync = dir.sync(url).args(["--outage-wait", "2s", "--report", "r.json"]);
    for (name, value) in environment {
        sync = sync.env(name, value);
    }
    let (took, ended) = timed(|| sync.run());
    let ended = ended.exits(6);
    assert!((WAIT..WAIT + GRACE).contains(&took), "{took:?} for {url}");
    let report: Value = serde_json::from_str(&dir.read("r.json")).expect("a report");
    let stop_reason = dir.rows("SELECT stop_reason FROM runs").join("\n");
    for part in parts {
        for (place, text) in [
            ("standard output", &ended.stdout),
            ("the log", &ended.stderr),
            ("the store", &stop_reason),
            ("the report's stop_reason", &report["stop_reason"].to_string()),
            ("the report's last_cause", &report["outages"]["last_cause"].to_string()),
        ] {
            assert!(text.contains(part), "no {part:?} in {place}: {text}");
        }
    }
    assert_eq!(report["outages"]["count"], 1, "{url}");
    assert_eq!(dir.counts(), "rows 30, planned 30, pending 30");
}

#[test]
fn a_closed_port() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let cause = ["no connection to 127.0.0.1", "Connection refused (os error 111)"];
    ends_with(&url, &[], &cause);
}

#[test]
fn an_unknown_host() {
    let cause = ["the host name api.telemetron.invalid cannot be resolved: "];
    ends_with("https://api.telemetron.invalid", &[], &cause);
}

/// A root of the test's own, and a server with what `sign` makes of it.
fn tls(dir: &TestDir, sign: impl Fn(&Root) -> Certificate) -> Option<(Root, String)> {
    let root = Root::new(dir.folder(), "root")?;
    let api = TlsApi::start(&sign(&root), Duration::ZERO);
    Some((root, format!("https://localhost:{}", api.address().port())))
}

#[test]
fn a_certificate_that_nobody_trusts() {
    let dir = TestDir::new();
    if let Some((_, url)) = tls(&dir, |root| root.sign("server")) {
        let cause = ["the certificate of localhost", "its issuer is unknown", "SSL_CERT_FILE"];
        ends_with(&url, &[], &cause);
    }
}

#[test]
fn a_certificate_that_has_expired() {
    let dir = TestDir::new();
    if let Some((root, url)) = tls(&dir, |root| root.sign_for("server", "localhost", -1)) {
        let cause = ["the certificate of localhost", "it has expired, or this machine's clock"];
        ends_with(&url, &[("SSL_CERT_FILE", &root.path())], &cause);
    }
}

#[test]
fn a_certificate_of_another_host() {
    let dir = TestDir::new();
    if let Some((root, url)) = tls(&dir, |root| root.sign_for("server", "other.test", 2)) {
        let cause = ["the certificate of localhost", "it was issued for another host name"];
        ends_with(&url, &[("SSL_CERT_FILE", &root.path())], &cause);
    }
}

#[test]
fn a_server_that_speaks_no_tls() {
    let api = Api::new();
    ends_with(&api.url().replace("http:", "https:"), &[], &["no TLS connection to 127.0.0.1"]);
}

#[test]
fn a_proxy_that_refuses() {
    let nowhere = "127.0.0.1:1".parse().expect("an address");
    for (response, status) in [
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "403"),
        ("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "407"),
    ] {
        let proxy = Relay::start(Front::Refusal(response), nowhere);
        let url = format!("http://{}", proxy.address());
        let cause = ["the proxy (HTTPS_PROXY)", "no connection to api.telemetron.invalid"];
        ends_with("https://api.telemetron.invalid", &[("HTTPS_PROXY", &url)], &cause);
        assert!(!proxy.asked().is_empty(), "{status}");
    }
}

#[test]
fn a_proxy_that_is_gone() {
    let proxy = format!("http://127.0.0.1:{}", free_port());
    let cause = ["the proxy (HTTPS_PROXY)", "Connection refused (os error 111)"];
    ends_with("https://api.telemetron.invalid", &[("HTTPS_PROXY", &proxy)], &cause);
}

#[test]
fn a_wrong_path() {
    let api = Api::with_rule(|_| Some(Reply::html(404, "Not Found")));
    let cause = ["HTTP 404: not the API's own 404 (text/html", "<title>Not Found</title>"];
    ends_with(&api.url(), &[], &cause);
}

/// The URL of a server that answers each connection with these bytes.
fn answers(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            // Closing while something is unread would reset the connection and lose the answer.
            let mut request = [0; 4096];
            while !matches!(client.read(&mut request), Ok(read) if request[..read].ends_with(b"}"))
            {
            }
            let _ = client.write_all(&bytes).and_then(|()| client.shutdown(Shutdown::Write));
            let _ = client.read_to_end(&mut Vec::new());
        }
    });
    format!("http://{address}")
}

#[test]
fn a_server_that_does_not_speak_http() {
    let no_http = "the response of 127.0.0.1";
    for (bytes, why) in [
        ("SSH-2.0-OpenSSH_9.6\r\n".to_owned(), "invalid HTTP version parsed"),
        (format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(2_000_000)), "head is too large"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n?\r\n".to_owned(), "chunk size"),
    ] {
        let url = answers(bytes.into_bytes());
        ends_with(&url, &[], &[no_http, " is not valid HTTP: ", why]);
    }
}

#[test]
fn a_response_that_cannot_be_decompressed() {
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 9\r\n\r\n";
    let url = answers(format!("{head}{{\"a\": 1 }}").into_bytes());
    ends_with(&url, &[], &["the response of 127.0.0.1", " cannot be decompressed: "]);
}

#[test]
fn an_api_that_accepts_connections_and_never_responds() {
    let api = Api::with_rule(|_| Some(Reply::error(500, "").deliver(Delivery::Never)));
    ends_with(&api.url(), &[], &["no response of any kind"]);
}

#[test]
fn a_host_that_accepts_nothing() {
    // A listener whose queue is full: the kernel ignores further connections.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut queued = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
    {
        queued.push(stream);
        assert!(queued.len() < 10_000, "the queue is never full");
    }
    ends_with(&format!("http://{address}"), &[], &["no response of any kind"]);
}
