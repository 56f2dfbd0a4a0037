//! What a client sees of the server, over real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::*;

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

fn asks(sandbox: &Sandbox, email: &str) -> RequestBuilder {
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
    let (status, body) = seen(asks(&sandbox, "known.doe@x.io")).await;
    assert_eq!(status, 200);
    assert!(body.contains("\"email\":\"known.doe@x.io\""), "{body}");
    let missing = seen(asks(&sandbox, "missing@x.io")).await;
    assert_eq!(missing, (404, r#"{"error":"Customer not found"}"#.into()));
    assert_eq!(seen(asks(&sandbox, " ")).await.0, 400);
    assert_eq!(seen(asks(&sandbox, "a@b").body(&b"\xff\xfe{"[..])).await.0, 400);
    let keyless = client().post(sandbox.url() + QUERY).body("{\"email\":\"a@b\"}");
    assert_eq!(seen(keyless).await.0, 401);
    assert_eq!(seen(client().get(sandbox.url() + QUERY)).await.0, 405);
    assert_eq!(seen(client().post(sandbox.url())).await.0, 404);
    assert_eq!(sandbox.requests(), 7);
}

#[tokio::test]
async fn says_that_it_sends_json() {
    let sandbox = start(quick()).unwrap();
    let response = asks(&sandbox, "known@x.io").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let sandbox = start(quick()).unwrap();
    let body = format!("{{\"email\":\"{}@x.io\"}}", "a".repeat(64 * 1024));
    assert_eq!(seen(asks(&sandbox, "").body(body.clone())).await.0, 413);
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(body)]);
    assert_eq!(seen(asks(&sandbox, "").body(reqwest::Body::wrap_stream(chunks))).await.0, 413);
    assert_eq!(seen(asks(&sandbox, "known@x.io")).await.0, 200);
}

#[tokio::test]
async fn a_running_sandbox_changes_its_revision() {
    let sandbox = start(quick()).unwrap();
    let email = "known.doe@x.io";
    let first = seen(asks(&sandbox, email)).await;
    sandbox.set_revision(400);
    assert_ne!(seen(asks(&sandbox, email)).await, first);
    sandbox.set_revision(0);
    assert_eq!(seen(asks(&sandbox, email)).await, first);
}

#[tokio::test]
async fn beyond_the_rate_it_asks_to_wait() {
    let sandbox = start(SandboxSettings { rate_limit: Some(0.01), ..quick() }).unwrap();
    assert_eq!(seen(asks(&sandbox, "known@x.io")).await.0, 200);
    let response = asks(&sandbox, "known@x.io").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn several_threads_answer_as_one_does() {
    let (one, two) = (start(quick()).unwrap(), start(SandboxSettings { threads: 2, ..quick() }));
    let email = "known.doe@x.io";
    assert_eq!(seen(asks(&one, email)).await, seen(asks(&two.unwrap(), email)).await);
}

#[tokio::test]
async fn counts_the_attempts_of_each_email() {
    let sandbox = start_with(any_port(), |asked: &Asked<'_>| {
        Reply::json(200, format!("{:?} {}", asked.email, asked.attempt))
    })
    .unwrap();
    for (email, answer) in [
        ("a@b", "Some(\"a@b\") 1"),
        ("A@b", "Some(\"A@b\") 2"),
        ("c@d", "Some(\"c@d\") 1"),
        ("a@b", "Some(\"a@b\") 3"),
    ] {
        assert_eq!(seen(asks(&sandbox, email)).await.1, answer);
    }
}

#[tokio::test]
async fn a_delay_holds_up_one_answer_and_no_other() {
    let sandbox = start_with(any_port(), |asked: &Asked<'_>| {
        let delay = if asked.number == 1 { 40 } else { 0 };
        Reply::json(200, "{}").after(Duration::from_millis(delay))
    })
    .unwrap();
    let started = std::time::Instant::now();
    let slow = tokio::spawn(seen(asks(&sandbox, "a@b")));
    while sandbox.requests() == 0 {
        tokio::task::yield_now().await;
    }
    seen(asks(&sandbox, "c@d")).await;
    assert!(!slow.is_finished());
    slow.await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(40));
}

#[test]
fn listens_on_loopback_alone() {
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let listen: SocketAddr = address.parse().unwrap();
        let error = start(SandboxSettings { listen, ..quick() }).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!("the sandbox listens on loopback alone, which {address} is not")
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
    assert!(std::net::TcpStream::connect(listen).is_err());
    start(SandboxSettings { listen, ..quick() }).unwrap();
}

/// A sandbox whose first answer for each email has the fault.
fn with(fault: Fault) -> Sandbox {
    let shares = vec![FaultShare { fault, share: 1.0 }];
    let faults = FaultPlan { shares, until_attempt: 1, ..Default::default() };
    start(SandboxSettings { faults, ..quick() }).unwrap()
}

/// What the client gets for it; the next attempt is answered as usual.
async fn first_answer(sandbox: &Sandbox) -> reqwest::Result<Response> {
    let first = asks(sandbox, "known@x.io").send().await;
    assert_eq!(seen(asks(sandbox, "known@x.io")).await.0, 200);
    first
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn faults_that_are_a_status() {
    for (fault, status, retry_after, is_json) in [
        (Fault::ServerError, 500, None, true),
        (Fault::BadGateway, 502, None, false),
        (Fault::Unavailable, 503, None, false),
        (Fault::UnavailableRetryAfter, 503, Some("1"), false),
        (Fault::TooMany, 429, Some("1"), true),
        (Fault::LostRoute, 404, None, false),
    ] {
        let sandbox = with(fault);
        let response = first_answer(&sandbox).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "retry-after"), retry_after, "{fault}");
        assert_eq!(
            header(&response, "content-type") == Some("application/json"),
            is_json,
            "{fault}"
        );
        let body = response.text().await.unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), is_json, "{fault}");
    }
}

#[tokio::test]
async fn faults_that_are_a_redirect() {
    for (fault, status) in [(Fault::Found, 302), (Fault::TemporaryRedirect, 307)] {
        let sandbox = with(fault);
        let response = first_answer(&sandbox).await.unwrap();
        assert_eq!(response.status(), status);
        assert!(header(&response, "location").unwrap().starts_with("https://elsewhere.invalid/"));
    }
}

#[tokio::test]
async fn faults_that_are_a_body() {
    async fn body(fault: Fault) -> String {
        let sandbox = with(fault);
        let response = first_answer(&sandbox).await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }
    let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
    assert!(body(Fault::Html).await.starts_with("<html>"));
    assert_eq!(body(Fault::Null).await, "null");
    let cut = body(Fault::CutJson).await;
    assert!(cut.starts_with("{\"id\":\"cust_") && !is_json(&cut), "{cut}");
    let wrong = body(Fault::WrongTypes).await;
    assert!(wrong.starts_with("{\"id\":12345") && is_json(&wrong), "{wrong}");
    let huge = body(Fault::Huge).await;
    assert!(huge.len() > 8 << 20 && is_json(&huge));
    let deep = body(Fault::Deep).await;
    assert!(deep.contains(&"[".repeat(100_000)) && deep.contains(&"]".repeat(100_000)));
}

#[tokio::test]
async fn a_gzip_bomb_is_small_on_the_wire() {
    let sandbox = with(Fault::GzipBomb);
    let response = first_answer(&sandbox).await.unwrap();
    // The client takes away the header when it inflates.
    assert_eq!(header(&response, "content-encoding"), None);
    assert!(response.bytes().await.unwrap().len() > 8 << 20);
    let sandbox = with(Fault::GzipBomb);
    let plain = Client::builder().no_proxy().no_gzip().build().unwrap();
    let request = asks(&sandbox, "known@x.io").build().unwrap();
    let response = plain.execute(request).await.unwrap();
    assert_eq!(header(&response, "content-encoding"), Some("gzip"));
    assert!(response.bytes().await.unwrap().len() < 128 << 10);
}

/// Whether the connection was reset, rather than closed in order.
fn was_reset(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[tokio::test]
async fn a_reset_comes_before_the_answer() {
    let sandbox = with(Fault::Reset);
    let error = first_answer(&sandbox).await.unwrap_err();
    assert!(error.is_request() && was_reset(&error), "{error:?}");
}

#[tokio::test]
async fn a_reset_midway_comes_after_the_first_half_of_the_body() {
    let sandbox = with(Fault::ResetMidway);
    let mut response = first_answer(&sandbox).await.unwrap();
    assert_eq!(response.status(), 200);
    let whole = response.content_length().unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap().len() as u64, whole / 2);
    let error = response.chunk().await.unwrap_err();
    assert!(was_reset(&error), "{error:?}");
}

#[tokio::test]
async fn a_truncated_body_is_shorter_than_it_says() {
    let sandbox = with(Fault::Truncated);
    let mut response = first_answer(&sandbox).await.unwrap();
    let promised = response.content_length().unwrap();
    assert!((response.chunk().await.unwrap().unwrap().len() as u64) < promised);
    let error = response.chunk().await.unwrap_err();
    assert!(!was_reset(&error), "{error:?}");
}

#[tokio::test]
async fn a_hanging_answer_outlasts_the_client() {
    let sandbox = with(Fault::Hang);
    let patience = Duration::from_millis(30);
    let error = asks(&sandbox, "known@x.io").timeout(patience).send().await.unwrap_err();
    assert!(error.is_timeout() && sandbox.requests() == 1, "{error:?}");
    assert_eq!(seen(asks(&sandbox, "known@x.io")).await.0, 200);
}

#[tokio::test]
async fn a_slow_body_starts_at_once_and_outlasts_an_impatient_client() {
    let sandbox = with(Fault::Slow);
    let patience = Duration::from_millis(50);
    let mut response = asks(&sandbox, "known@x.io").timeout(patience).send().await.unwrap();
    let whole = response.content_length().unwrap();
    let first = response.chunk().await.unwrap().unwrap().len() as u64;
    assert_eq!(first, whole.div_ceil(20));
    assert!(response.chunk().await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn a_slow_body_is_whole_in_the_end() {
    let body = "0123456789abcdefghijk";
    let sandbox = start_with(any_port(), move |_: &Asked<'_>| {
        let pause = Duration::from_millis(2);
        Reply::json(200, body).deliver(Delivery::Slowly { pieces: 4, pause })
    })
    .unwrap();
    let started = std::time::Instant::now();
    assert_eq!(seen(asks(&sandbox, "a@b")).await, (200, body.into()));
    assert!(started.elapsed() >= Duration::from_millis(6));
}

#[tokio::test]
async fn a_key_is_refused_from_the_request_on_that_the_plan_names() {
    let faults = FaultPlan { key_refused_from: Some(3), ..Default::default() };
    let sandbox = start(SandboxSettings { faults, ..quick() }).unwrap();
    for status in [200, 200, 401, 401] {
        assert_eq!(seen(asks(&sandbox, "known@x.io")).await.0, status);
    }
}

#[tokio::test]
async fn an_outage_cuts_all_connections_and_ends() {
    let length = Duration::from_millis(40);
    let outage = Some(Outage { from_request: 2, length });
    let faults = FaultPlan { outage, ..Default::default() };
    let sandbox = start(SandboxSettings { faults, ..quick() }).unwrap();
    let (client, question) = (client(), asks(&sandbox, "known@x.io").build().unwrap());
    let request = || async {
        let response = client.execute(question.try_clone().unwrap()).await?;
        Ok::<_, reqwest::Error>(response.status())
    };
    assert_eq!(request().await.unwrap(), 200);
    let started = std::time::Instant::now();
    assert!(request().await.is_err());
    let mut refused = 0;
    while request().await.is_err_and(|error| error.is_connect()) {
        refused += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(refused > 3 && started.elapsed() >= length, "{refused} in {:?}", started.elapsed());
    assert_eq!(request().await.unwrap(), 200);
}

#[tokio::test]
async fn a_rate_of_failures_spoils_answers_and_a_later_attempt_succeeds() {
    let sandbox = start(SandboxSettings { fail_rate: 1.0, ..quick() }).unwrap();
    for attempt in 1..=FAULTS_UNTIL_ATTEMPT {
        let answer = asks(&sandbox, "known@x.io").send().await;
        assert!(answer.is_err() || answer.unwrap().status().is_server_error(), "{attempt}");
    }
    assert_eq!(seen(asks(&sandbox, "known@x.io")).await.0, 200);
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
    ] {
        assert_eq!(start(wrong).err().unwrap().kind(), io::ErrorKind::InvalidInput);
    }
    let all = faults(vec![share(0.1), share(0.2), share(0.7)]);
    assert!(start(SandboxSettings { faults: all, ..quick() }).is_ok());
}
