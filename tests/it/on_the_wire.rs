//! The request itself, and where it never goes.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use telemetron_sync::sandbox::Reply;

use crate::support::api::Api;
use crate::support::dir::TestDir;

/// Listens on a socket and answers every request with `reply`; keeps what was sent.
fn listen(reply: &'static str) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let sent = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&sent);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let request = read_request(stream, reply);
            kept.lock().unwrap().push_str(&request);
        }
    });
    (url, sent)
}

fn read_request(mut stream: TcpStream, reply: &str) -> String {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"}") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
    let _ = stream.write_all(reply.as_bytes());
    String::from_utf8_lossy(&request).into_owned()
}

#[test]
fn a_request_is_what_the_api_documents() {
    let (url, sent) = listen(
        "HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{\"error\":\"x\"}",
    );
    let dir = TestDir::new();
    dir.emails(["Jörg+tag@X.io"]);
    dir.sync(url).run().exits(0);
    let sent = sent.lock().unwrap();
    let lines: Vec<&str> = sent.lines().collect();
    assert_eq!(lines[0], "POST /base/customer/queryCustomer HTTP/1.1");
    let version = env!("CARGO_PKG_VERSION");
    for header in
        ["x-api-key: sandbox", "content-type: application/json", "accept: application/json"]
    {
        assert!(lines.contains(&header), "no {header} in {sent}");
    }
    assert!(lines.contains(&&*format!("user-agent: telemetron-sync/{version}")), "{sent}");
    assert!(sent.contains(r#"{"email":"jörg+tag@x.io"}"#), "{sent}");
}

#[test]
fn a_redirect_is_never_followed_and_the_key_never_leaves() {
    let (elsewhere, sent) = listen("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"id\":\"c1\"}");
    for status in [301, 302, 303, 307, 308] {
        let to = elsewhere.clone();
        let api = Api::with_rule(move |_| Some(Reply::json(status, "{}").header("location", &to)));
        let dir = TestDir::new();
        dir.emails(["a@x.io"]);
        dir.sync(api.url()).run().exits(3).stdout_has("1 email failed: redirect");
        assert_eq!(api.request_count(), 1);
        dir.has_rows("SELECT code, status FROM rejects", [&*format!("redirect|{status}")]);
    }
    assert_eq!(*sent.lock().unwrap(), "");
}

#[test]
fn a_proxy_is_not_used_for_loopback() {
    let (proxy, sent) = listen("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    dir.sync(api.url()).env("http_proxy", &proxy).env("ALL_PROXY", &proxy).run().exits(0);
    assert_eq!(*sent.lock().unwrap(), "");
}
