//! What a client sees of each fault, over real sockets.

use reqwest::Response;

use super::*;

/// A sandbox whose first answer for each email has the fault.
fn with(fault: Fault) -> Sandbox {
    let shares = vec![FaultShare { fault, share: 1.0 }];
    let faults = FaultPlan { shares, until_attempt: 1, ..Default::default() };
    start(SandboxSettings { faults, ..quick() }).unwrap()
}

/// What the client gets for it; the next attempt is answered as usual.
async fn first_answer(sandbox: &Sandbox) -> reqwest::Result<Response> {
    let first = ask(sandbox, "known@x.io").send().await;
    assert_eq!(seen(ask(sandbox, "known@x.io")).await.0, 200);
    first
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn faults_that_are_a_status() {
    for (fault, status, retry_after, is_json) in [
        ("400", 400, None, true),
        ("401", 401, None, true),
        ("403", 403, None, false),
        ("404", 404, None, false),
        ("missing-route", 404, None, true),
        ("429", 429, None, true),
        ("429-retry-after", 429, Some("1"), true),
        ("500", 500, None, true),
        ("503", 503, None, false),
        ("503-retry-after", 503, Some("1"), false),
        ("520", 520, None, false),
    ] {
        let sandbox = with(fault.parse().unwrap());
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
    for status in [302, 307] {
        let sandbox = with(Fault::Status(status));
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
    assert!(body(Fault::NotJson).await.starts_with("<html>"));
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
    let request = ask(&sandbox, "known@x.io").build().unwrap();
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
async fn a_hanging_answer_does_not_come() {
    let sandbox = with(Fault::Timeout);
    let hanging = tokio::spawn(ask(&sandbox, "known@x.io").send());
    wait_for_a_request(&sandbox).await;
    let patience = Duration::from_millis(20);
    assert!(tokio::time::timeout(patience, hanging).await.is_err());
    assert_eq!(seen(ask(&sandbox, "known@x.io")).await.0, 200);
}

#[tokio::test]
async fn a_slow_body_starts_at_once_and_takes_its_time() {
    let sandbox = with(Fault::Slow);
    let mut response = ask(&sandbox, "known@x.io").send().await.unwrap();
    let whole = response.content_length().unwrap();
    let first = response.chunk().await.unwrap().unwrap().len() as u64;
    assert_eq!(first, whole.div_ceil(20));
    let patience = Duration::from_millis(20);
    assert!(tokio::time::timeout(patience, response.chunk()).await.is_err());
}

#[tokio::test]
async fn a_slow_body_is_whole_in_the_end() {
    let body = "0123456789abcdefghijk";
    let sandbox = start_with(any_port(), move |_: &Request<'_>| {
        let pause = Duration::from_millis(2);
        Reply::json(200, body).deliver(Delivery::Slowly { pieces: 4, pause })
    })
    .unwrap();
    let started = tokio::time::Instant::now();
    assert_eq!(seen(ask(&sandbox, "a@b")).await, (200, body.into()));
    assert!(started.elapsed() >= Duration::from_millis(6));
}

#[tokio::test]
async fn a_permanent_fault_never_ends() {
    let permanent = vec!["403=100%".parse().unwrap()];
    let faults = FaultPlan { permanent, ..Default::default() };
    let sandbox = start(SandboxSettings { faults, ..quick() }).unwrap();
    for _ in 0..=FAULTS_UNTIL_ATTEMPT {
        assert_eq!(seen(ask(&sandbox, "known@x.io")).await.0, 403);
    }
}

#[tokio::test]
async fn a_key_is_refused_from_the_request_on_that_the_settings_name() {
    let key_changes = KeyChanges { revoked: Some(When::Request(3)), rotated: None };
    let sandbox = start(SandboxSettings { key_changes, ..quick() }).unwrap();
    for status in [200, 200, 401, 401] {
        assert_eq!(seen(ask(&sandbox, "known@x.io")).await.0, status);
    }
}

#[tokio::test]
async fn an_outage_can_begin_at_a_time() {
    let begin = When::Elapsed(Duration::from_millis(30));
    let outages = vec![Outage { begin, length: Duration::from_millis(40) }];
    let sandbox = start(SandboxSettings { outages, ..quick() }).unwrap();
    let started = tokio::time::Instant::now();
    let mut answered = Vec::new();
    while answered.len() < 2 || *answered.last().unwrap() < Duration::from_millis(100) {
        if ask(&sandbox, "known@x.io").send().await.is_ok() {
            answered.push(started.elapsed());
        }
    }
    let gap = answered.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    assert!(gap >= Duration::from_millis(35), "{gap:?}");
}

#[tokio::test]
async fn an_outage_cuts_all_connections_and_ends() {
    let length = Duration::from_millis(40);
    let outages = vec![Outage { begin: When::Request(2), length }];
    let sandbox = start(SandboxSettings { outages, ..quick() }).unwrap();
    let (client, question) = (client(), ask(&sandbox, "known@x.io").build().unwrap());
    let request = || async {
        let response = client.execute(question.try_clone().unwrap()).await?;
        Ok::<_, reqwest::Error>(response.status())
    };
    assert_eq!(request().await.unwrap(), 200);
    let started = tokio::time::Instant::now();
    assert!(request().await.is_err());
    let mut refused = 0;
    while request().await.is_err_and(|error| error.is_connect()) {
        refused += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(refused > 0 && started.elapsed() >= length, "{refused} in {:?}", started.elapsed());
    assert_eq!(request().await.unwrap(), 200);
}

#[tokio::test]
async fn a_rate_of_failures_spoils_answers_and_a_later_attempt_succeeds() {
    let sandbox = start(SandboxSettings { fail_rate: 1.0, ..quick() }).unwrap();
    for attempt in 1..=FAULTS_UNTIL_ATTEMPT {
        let answer = ask(&sandbox, "known@x.io").send().await;
        assert!(answer.is_err() || answer.unwrap().status().is_server_error(), "{attempt}");
    }
    assert_eq!(seen(ask(&sandbox, "known@x.io")).await.0, 200);
}
