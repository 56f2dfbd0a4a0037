//! What a client sees of the server, over real sockets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};

use super::*;

mod faults;

const QUERY: &str = "/customer/queryCustomer";

fn client() -> Client {
    // Another test of this process may have installed it first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn quick() -> SandboxSettings {
    SandboxSettings { latency: Duration::ZERO, jitter: Duration::ZERO, ..Default::default() }
}

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn ask(sandbox: &Sandbox, email: &str) -> RequestBuilder {
    client()
        .post(sandbox.url() + QUERY)
        .header("x-api-key", SANDBOX_KEY)
        .body(serde_json::json!({ "email": email }).to_string())
}

async fn seen(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn answers_by_the_rules() {
    let sandbox = start(quick()).unwrap();
    let (status, body) = seen(ask(&sandbox, "known.doe@x.io")).await;
    assert_eq!(status, 200);
    assert!(body.contains("\"email\":\"known.doe@x.io\""), "{body}");
    let missing = seen(ask(&sandbox, "missing@x.io")).await;
    assert_eq!(missing, (404, r#"{"error":"Customer not found"}"#.into()));
    assert_eq!(seen(ask(&sandbox, " ")).await.0, 400);
    assert_eq!(seen(ask(&sandbox, "a@b").body(&b"\xff\xfe{"[..])).await.0, 400);
    let keyless = client().post(sandbox.url() + QUERY).body("{\"email\":\"a@b\"}");
    assert_eq!(seen(keyless).await.0, 401);
    assert_eq!(seen(client().get(sandbox.url() + QUERY)).await.0, 405);
    assert_eq!(seen(client().post(sandbox.url())).await.0, 404);
    assert_eq!(sandbox.requests(), 7);
}

#[tokio::test]
async fn says_that_it_sends_json() {
    let sandbox = start(quick()).unwrap();
    let response = ask(&sandbox, "known@x.io").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let sandbox = start(quick()).unwrap();
    let body = format!("{{\"email\":\"{}@x.io\"}}", "a".repeat(64 * 1024));
    assert_eq!(seen(ask(&sandbox, "").body(body.clone())).await.0, 413);
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(body)]);
    assert_eq!(seen(ask(&sandbox, "").body(reqwest::Body::wrap_stream(chunks))).await.0, 413);
    assert_eq!(seen(ask(&sandbox, "known@x.io")).await.0, 200);
}

#[tokio::test]
async fn a_running_sandbox_changes_its_revision() {
    let sandbox = start(quick()).unwrap();
    let email = "known.doe@x.io";
    let first = seen(ask(&sandbox, email)).await;
    sandbox.set_revision(400);
    assert_ne!(seen(ask(&sandbox, email)).await, first);
    sandbox.set_revision(0);
    assert_eq!(seen(ask(&sandbox, email)).await, first);
}

#[tokio::test]
async fn beyond_the_rate_it_asks_to_wait() {
    let sandbox = start(SandboxSettings { rate_limit: Some(0.01), ..quick() }).unwrap();
    assert_eq!(seen(ask(&sandbox, "known@x.io")).await.0, 200);
    let response = ask(&sandbox, "known@x.io").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn a_rate_limit_without_retry_after_is_possible() {
    let retry_after = RetryAfter::None;
    let sandbox = start(SandboxSettings { rate_limit: Some(0.01), retry_after, ..quick() });
    let sandbox = sandbox.unwrap();
    assert_eq!(seen(ask(&sandbox, "known@x.io")).await.0, 200);
    let response = ask(&sandbox, "known@x.io").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers().get("retry-after"), None);
}

#[tokio::test]
async fn each_organization_has_its_own_key_customers_and_rate() {
    let settings = SandboxSettings { organizations: 3, rate_limit: Some(0.01), ..quick() };
    let organizations = settings.organizations();
    let sandbox = start(settings).unwrap();
    let with_key = |key: &str| {
        let email = serde_json::json!({ "email": "known.doe@x.io" }).to_string();
        seen(client().post(sandbox.url() + QUERY).header("x-api-key", key).body(email))
    };
    let mut ids = Vec::new();
    for organization in &organizations {
        let (status, body) = with_key(&organization.key).await;
        assert_eq!(status, 200);
        let customer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(customer["organizationId"], organization.id.as_str());
        ids.push(customer["id"].to_string());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_eq!(organizations[2].id, "org_sandbox_3");
    assert_eq!(with_key("sandbox-3").await.0, 429);
    assert_eq!(with_key("sandbox").await.0, 401);
}

#[tokio::test]
async fn counts_the_attempts_of_each_email() {
    let sandbox = start_with(any_port(), |request: &Request<'_>| {
        Reply::json(200, format!("{:?} {}", request.email, request.attempt))
    })
    .unwrap();
    for (email, answer) in [
        ("a@b", "Some(\"a@b\") 1"),
        ("A@b", "Some(\"A@b\") 2"),
        ("c@d", "Some(\"c@d\") 1"),
        ("a@b", "Some(\"a@b\") 3"),
    ] {
        assert_eq!(seen(ask(&sandbox, email)).await.1, answer);
    }
}

#[tokio::test]
async fn an_answer_waits_for_its_latency() {
    let latency = Duration::from_millis(20);
    let sandbox = start(SandboxSettings { latency, ..quick() }).unwrap();
    let request = ask(&sandbox, "known@x.io");
    let started = tokio::time::Instant::now();
    assert_eq!(seen(request).await.0, 200);
    assert!(started.elapsed() >= latency);
}

#[tokio::test]
async fn a_delay_holds_up_one_answer_and_no_other() {
    let sandbox = start_with(any_port(), |request: &Request<'_>| {
        let delay = if request.number == 1 { 20 } else { 0 };
        Reply::json(200, "{}").after(Duration::from_secs(delay))
    })
    .unwrap();
    let slow = tokio::spawn(ask(&sandbox, "a@b").send());
    wait_for_a_request(&sandbox).await;
    let patience = Duration::from_secs(10);
    assert_eq!(seen(ask(&sandbox, "c@d").timeout(patience)).await.0, 200);
    assert!(!slow.is_finished());
}

async fn wait_for_a_request(sandbox: &Sandbox) {
    while sandbox.requests() == 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn listens_on_loopback_only() {
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let listen: SocketAddr = address.parse().unwrap();
        let error = start(SandboxSettings { listen, ..quick() }).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!("{address} is not a loopback address; give one such as 127.0.0.1:8080")
        );
    }
}

#[test]
fn a_port_in_use_is_named() {
    let first = start(quick()).unwrap();
    let listen = first.address();
    let error = start(SandboxSettings { listen, ..quick() }).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("cannot listen on {listen}: ")), "{error}");
}

#[test]
fn dropping_it_frees_the_port() {
    let first = start(quick()).unwrap();
    let listen = first.address();
    drop(first);
    assert!(TcpStream::connect(listen).is_err());
    start(SandboxSettings { listen, ..quick() }).unwrap();
}

#[test]
fn settings_out_of_their_range_are_refused() {
    let share = |share| FaultShare { fault: Fault::Reset, share };
    let faults = |shares| FaultPlan { shares, ..Default::default() };
    for wrong in [
        SandboxSettings { rate_limit: Some(0.0), ..quick() },
        SandboxSettings { rate_limit: Some(f64::NAN), ..quick() },
        SandboxSettings { fail_rate: -0.1, ..quick() },
        SandboxSettings { faults: faults(vec![share(f64::NAN)]), ..quick() },
        SandboxSettings { faults: faults(vec![share(0.6), share(0.6)]), ..quick() },
        SandboxSettings { faults: faults(vec![share(0.6)]), fail_rate: 0.6, ..quick() },
        SandboxSettings {
            faults: FaultPlan { permanent: vec![share(0.6), share(0.6)], ..Default::default() },
            ..quick()
        },
        SandboxSettings { organizations: 0, ..quick() },
    ] {
        assert_eq!(start(wrong).err().unwrap().kind(), io::ErrorKind::InvalidInput);
    }
    let all = faults(vec![share(0.1), share(0.2), share(0.7)]);
    assert!(start(SandboxSettings { faults: all, ..quick() }).is_ok());
}

/// The first line of what comes back for bytes that no HTTP client would send.
fn raw(sandbox: &Sandbox, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(sandbox.address()).unwrap();
    // The server may have refused what came first and closed.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().into()
}

#[tokio::test]
async fn no_request_ends_the_server() {
    let sandbox = start(quick()).unwrap();
    let long = "a".repeat(600_000);
    let route = "POST /api/ext-v1/customer/queryCustomer HTTP/1.1\r\nhost: x\r\n";
    for (bytes, answer) in [
        ("\u{0}\u{1}\r\n\r\n".into(), "HTTP/1.1 400 Bad Request"),
        (format!("{route}x: {long}\r\n\r\n"), "HTTP/1.1 431 Request Header Fields Too Large"),
        (format!("{route}x-api-key: \u{e4}\r\n\r\n"), "HTTP/1.1 401 Unauthorized"),
        (format!("{route}content-length: 104857600\r\n\r\n"), "HTTP/1.1 413 Payload Too Large"),
        (format!("{route}content-length: 9\r\n\r\n{{"), ""),
        ("POST ".into(), ""),
        (String::new(), ""),
    ] {
        assert_eq!(raw(&sandbox, bytes.as_bytes()), answer, "{:.80}", bytes);
    }
    assert_eq!(seen(ask(&sandbox, "known@x.io")).await.0, 200);
}
