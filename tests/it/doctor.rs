//! `doctor` finds what would keep a run from its job, and sends one request at most.

use std::time::Duration;

use serde_json::Value;
use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, start_sandbox};
use crate::support::dir::TestDir;

/// `doctor` about `list.csv` against the API at `url`: the status of each check, and the texts.
fn checks(dir: &TestDir, url: &str, exit: i32) -> (String, String) {
    let args = ["doctor", "list.csv", "--format", "json"];
    let json = dir.command(args).api(url).run().exits(exit).never_shows("sandbox-secret").stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["ok"], exit == 0);
    let checks = json["checks"].as_array().expect("a list");
    let field = |check: &Value, name: &str| check[name].as_str().expect(name).to_owned();
    let failed = checks.iter().filter(|check| check["status"] == "failed");
    let failed: Vec<String> = failed.map(|check| field(check, "name")).collect();
    let texts: Vec<String> = checks.iter().map(|check| field(check, "text")).collect();
    (failed.join(" "), texts.join("\n"))
}

#[test]
fn a_sound_setup_passes_with_one_request() {
    let api = start_sandbox(Duration::ZERO);
    let dir = TestDir::new();
    dir.emails(["a@x.io", "b@x.io", "no"]);
    let (failed, texts) = checks(&dir, &api.url(), 0);
    assert_eq!(failed, "");
    for text in ["accepts the key", "2 of the first 3 rows are emails", "agrees with", "creates it"]
    {
        assert!(texts.contains(text), "no {text} in {texts}");
    }
    assert_eq!(api.requests(), 1);
    assert!(!dir.path("s.db").exists());
    let text = dir.command(["doctor"]).api(&api.url()).run().exits(0).stdout;
    assert!(
        text.lines().all(|line| line.starts_with("ok ") || line.starts_with("skipped ")),
        "{text}"
    );
}

#[test]
fn each_fault_fails_its_check() {
    let dir = TestDir::new();
    dir.emails(["a@x.io"]);
    for (reply, advice) in [
        (Reply::error(401, "Invalid API key"), "the key is refused"),
        (Reply::error(404, "Not Found"), "Check the path"),
        (Reply::json(200, "{}"), "may not be the API"),
        (Reply::error(503, "down"), "Try again later"),
    ] {
        let api = Api::with_rule(move |_| Some(reply.clone()));
        let (failed, texts) = checks(&dir, &api.url(), 1);
        assert_eq!(failed, "api");
        assert!(texts.contains(advice), "{texts}");
    }
    let api = start_sandbox(Duration::ZERO);
    let (failed, texts) = checks(&dir, "http://127.0.0.1:1", 1);
    assert!(failed == "api" && texts.contains("Connection refused"), "{failed} {texts}");
    let (failed, _) = checks(&dir, "http://api.example.com", 1);
    assert_eq!(failed, "url");
    dir.write("list.csv", "");
    assert_eq!(checks(&dir, &api.url(), 1).0, "source");
    dir.emails(["Ann", "Bob", "Eve"]);
    assert_eq!(checks(&dir, &api.url(), 1).0, "source");
    dir.emails(["a@x.io"]);
    dir.write("s.db", "x".repeat(5000));
    assert_eq!(checks(&dir, &api.url(), 1).0, "store");
}

#[test]
fn a_key_that_others_can_read_fails_and_no_key_sends_nothing() {
    let api = start_sandbox(Duration::ZERO);
    let dir = TestDir::new();
    dir.write("key", "sandbox");
    let with_file =
        || dir.command(["doctor", "--api-key-file", "key"]).without_key().api(&api.url());
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir.path("key"), permissions).expect("a mode");
    };
    mode(0o644);
    with_file().run().exits(1).stdout_has("chmod 600");
    mode(0o600);
    with_file().run().exits(0);
    let requests = api.requests();
    dir.command(["doctor"]).without_key().api(&api.url()).run().exits(1).stdout_has("no API key");
    assert_eq!(api.requests(), requests);
}
