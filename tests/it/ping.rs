//! `--ping`: a monitor is notified of each run, and can neither delay it nor change how it ends.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails, start_sandbox};
use crate::support::clock::timed;
use crate::support::dir::TestDir;

/// A monitor that answers each request with `status`, and remembers its path and body.
struct Monitor {
    url: String,
    pings: Arc<Mutex<Vec<(String, String)>>>,
}

impl Monitor {
    fn new(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/secret-uuid", listener.local_addr().expect("an address"));
        let pings = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&pings);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let request = request(&mut stream);
                received.lock().expect("no panic").push(request);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
            }
        });
        Self { url, pings }
    }

    /// The paths pinged since this was asked last.
    fn paths(&self) -> Vec<String> {
        self.take().into_iter().map(|(path, _)| path).collect()
    }

    fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.pings.lock().expect("no panic"))
    }
}

/// The path and the body of a request.
fn request(stream: &mut std::net::TcpStream) -> (String, String) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
            if body.len() >= length {
                return (head.split(' ').nth(1).expect("a path").to_owned(), body.to_owned());
            }
        }
        let read = stream.read(&mut buffer).expect("a request");
        assert!(read > 0, "the request broke off: {text}");
        bytes.extend_from_slice(&buffer[..read]);
    }
}

#[test]
fn a_monitor_is_notified_of_the_start_and_of_the_end() {
    let monitor = Monitor::new("200 OK");
    let api = Api::with_rule(|request| match request.email? {
        "bad@x.io" => Some(Reply::error(400, "No")),
        _ => None,
    });
    let dir = TestDir::new();
    dir.emails(["a@x.io", "bad@x.io"]);
    let sync = || dir.sync(api.url()).args(["--ping", &monitor.url]);
    sync().run().exits(3).never_shows("secret-uuid");
    let pings = monitor.take();
    let paths: Vec<&str> = pings.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/secret-uuid/start", "/secret-uuid"]);
    assert_eq!(pings[0].1, "");
    assert!(pings[1].1.starts_with("Run 1: partial"), "{}", pings[1].1);
    assert!(pings[1].1.lines().count() <= 12);
    sync().args(["--limit", "1"]).run().exits(4);
    assert_eq!(monitor.paths(), ["/secret-uuid/start", "/secret-uuid"]);
    sync().args(["--dry-run"]).run().exits(0);
    assert_eq!(monitor.paths(), [""; 0]);
    dir.command(["sync", "gone.csv"]).env("TELEMETRON_PING", &monitor.url).run().exits(1);
    let pings = monitor.take();
    assert_eq!(pings[0].0, "/secret-uuid/fail");
    assert!(pings[0].1.contains("gone.csv"), "{}", pings[0].1);
}

#[test]
fn a_run_that_finds_the_store_locked_pings_nothing() {
    let monitor = Monitor::new("200 OK");
    let api = start_sandbox(Duration::from_millis(300));
    let dir = TestDir::new();
    dir.emails(emails(50));
    let first = dir.sync(api.url()).args(["--concurrency", "1"]).start();
    crate::support::clock::wait_until("a run works", || api.requests() > 0);
    dir.sync(api.url()).args(["--ping", &monitor.url]).run().exits(75);
    assert_eq!(monitor.paths(), [""; 0]);
    first.kill();
}

#[test]
fn a_monitor_in_trouble_changes_nothing_but_a_warning() {
    let dir = TestDir::new();
    let api = start_sandbox(Duration::ZERO);
    dir.emails(["a@x.io"]);
    let monitor = Monitor::new("404 Not Found");
    let sync = |url: &str| dir.sync(api.url()).args(["--ping", url]).run();
    sync(&monitor.url).exits(0).never_shows("secret-uuid").stderr_has("HTTP 404");
    let elsewhere = Monitor::new("302 Found\r\nlocation: /secret-uuid/elsewhere");
    sync(&elsewhere.url).exits(0).never_shows("secret-uuid").stderr_has("HTTP 302");
    assert!(!elsewhere.paths().contains(&"/secret-uuid/elsewhere".to_owned()));
    sync("http://127.0.0.1:1/secret-uuid").exits(0).stderr_has("Connection refused");
    // A monitor that accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/secret-uuid", silent.local_addr().expect("an address"));
    let (time, finished) = timed(|| sync(&url));
    finished.exits(0).never_shows("secret-uuid").stderr_has("did not answer the ping within 10 s");
    assert!(time < Duration::from_secs(15), "{time:?}");
    for bad in ["http://example.com/secret-uuid", "secret-uuid", "ftp://secret-uuid"] {
        sync(bad).exits(2).never_shows("secret-uuid").stderr_has("--ping");
    }
}
