//! Whatever command is run and however it ends, the key stands nowhere but where it was put.

use std::fs;
use std::time::Duration;

use telemetron_sync::sandbox::{
    self, Delivery, Fault, FaultPlan, FaultShare, KeyChanges, Outage, Reply, Sandbox,
    SandboxSettings, When,
};

use crate::key_hygiene::{MARKED, leaks};
use crate::support::api::{Api, emails};
use crate::support::clock::wait_until;
use crate::support::command::{Finished, TestCommand};
use crate::support::dir::TestDir;
use crate::support::server::free_port;

const LOUD: [&str; 6] = ["-vv", "--max-attempts", "2", "--timeout", "300ms", "--fail-above=100%"];

/// A sandbox that takes the marked key and answers without delay.
fn start_sandbox(settings: SandboxSettings) -> Sandbox {
    let key = MARKED.to_owned();
    let (latency, jitter) = (Duration::ZERO, Duration::ZERO);
    sandbox::start(SandboxSettings { key, latency, jitter, ..settings }).expect("a sandbox")
}

/// Asserts that a command that has ended left the key nowhere.
#[track_caller]
fn clean(dir: &TestDir, sync: TestCommand<'_>) -> Finished {
    let ended = sync.env("TELEMETRON_API_KEY", MARKED).run().never_shows(MARKED);
    assert_eq!(leaks(dir.folder()), [""; 0]);
    ended
}

#[test]
fn no_mode_of_any_command_shows_it() {
    let (dir, sandbox) = (TestDir::new(), start_sandbox(SandboxSettings::default()));
    let url = sandbox.url();
    dir.emails(emails(40).into_iter().chain(["no email".to_owned()]));
    let files = ["--rejects", "x.csv", "--report", "r.json", "--report", "r.html"];
    let sync = |args: &[&'static str]| dir.sync_of(&url, args.iter().copied()).args(LOUD);
    clean(&dir, sync(&["list.csv", "--dry-run"])).exits(0);
    clean(&dir, sync(&["list.csv", "--limit", "10"])).exits(4);
    clean(&dir, sync(&["--resume"]).args(files)).exits(0);
    clean(&dir, sync(&["list.csv", "--log-format", "json"]).args(files)).exits(0);
    clean(&dir, sync(&["list.csv", "--progress", "bar", "--max-age", "1h"])).exits(0);
    clean(&dir, sync(&["--retry-failed"])).exits(0);
    clean(&dir, sync(&["--retry-failed", "--dry-run"])).exits(0);
    clean(&dir, dir.sync_of(&url, ["list.csv", "-q", "--accept-missing"])).exits(0);
    clean(&dir, dir.command(["sync", "list.csv", "--sandbox", "--limit", "3"])).exits(4);
    for format in ["text", "json", "md", "html", "prom"] {
        clean(&dir, dir.command(["report", "--format", format])).exits(0);
    }
    clean(&dir, dir.command(["runs"])).exits(0);
    clean(&dir, dir.command(["report", "99"])).exits(1);
    clean(&dir, dir.command(["--help"])).exits(0);
    clean(&dir, dir.command(["sync", "--help"])).exits(0);
    clean(&dir, sync(&["list.csv", "--no-such-option"])).exits(2);
    clean(&dir, sync(&["no.csv"])).exits(1);
    clean(&dir, sync(&["list.csv", "--store", "no/s.db"])).exits(1);
    clean(&dir, sync(&["list.csv", "--organization", "org_other"])).exits(1);
    assert!(sandbox.requests() >= 80, "{}", sandbox.requests());
}

#[test]
fn no_failure_shows_it() {
    let dir = TestDir::new();
    dir.emails(emails(60));
    let statuses = [400, 403, 429, 500, 503, 302, 307, 404].map(Fault::Status);
    let all: Vec<Fault> = Fault::NAMED.into_iter().chain(statuses).collect();
    let share = 0.5 / all.len() as f64;
    let shares = all.into_iter().map(|fault| FaultShare { fault, share }).collect();
    let faults = FaultPlan { shares, ..Default::default() };
    let sandbox = start_sandbox(SandboxSettings { faults, ..Default::default() });
    let ended = clean(&dir, dir.sync(sandbox.url()).args(LOUD));
    assert!(matches!(ended.code, Some(0 | 3 | 6)), "{ended:?}");
    assert!(ended.stderr.lines().count() > 60, "something was told");
    let key_changes = KeyChanges { revoked: Some(When::Request(20)), rotated: None };
    let revoked = start_sandbox(SandboxSettings { key_changes, ..Default::default() });
    clean(&dir, dir.sync(revoked.url()).args(LOUD)).exits(5);
    let outage = Outage { begin: When::Request(10), length: Duration::from_millis(100) };
    let cut = start_sandbox(SandboxSettings { outages: vec![outage], ..Default::default() });
    clean(&dir, dir.sync(cut.url()).args(LOUD));
    let nobody = format!("http://127.0.0.1:{}", free_port());
    clean(&dir, dir.sync(nobody).args(LOUD).args(["--outage-wait", "1s"]));
    clean(&dir, dir.sync(sandbox.url()).args(LOUD).args(["--deadline", "1ms"]));
}

#[test]
fn an_api_that_repeats_it_in_every_place_leaks_it_into_nothing() {
    let dir = TestDir::new();
    dir.emails(emails(40));
    let api = Api::with_rule(|request| {
        let (n, key) = (request.email?.get(1..5)?.parse::<usize>().ok()?, request.key?);
        Some(match n % 10 {
            0 => Reply::error(400, key),
            1 => Reply::error(400, &format!("x{key}{key}x")),
            2 => Reply::html(500, key),
            3 => Reply::html(404, key),
            4 => Reply::json(302, "{}").header("location", &format!("http://127.0.0.1:9/{key}")),
            5 => Reply::json(200, format!("{{\"id\":\"{key}")),
            6 => Reply::json(200, format!("{{\"{key}\":1}}")),
            7 => Reply::json(200, format!("{{\"id\":1,\"devices\":\"{key}\"}}")),
            8 => Reply::error(503, key).header("retry-after", key),
            _ => Reply::error(418, key).header(key, key),
        })
    });
    let args = ["--rejects", "x.csv", "--report", "r.json", "--report", "r.md"];
    clean(&dir, dir.sync(api.url()).args(LOUD).args(args)).exits(3);
    // None of the places that a redirect names was asked.
    assert_eq!(api.requests().iter().filter(|request| request.key != MARKED).count(), 0);
}

#[test]
fn a_running_process_shows_it_to_nobody() {
    let dir = TestDir::new();
    dir.emails(emails(5));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    fs::write(&file, MARKED).expect("a key");
    for from_file in [true, false] {
        let api = Api::with_rule(|_| Some(Reply::error(500, "").deliver(Delivery::Never)));
        let sync = dir.sync(api.url()).args(["-vv"]);
        let run = match from_file {
            true => sync.without_key().args(["--api-key-file", file.to_str().unwrap()]).start(),
            false => sync.env("TELEMETRON_API_KEY", MARKED).start(),
        };
        wait_until("requests hang", || api.request_count() > 0);
        let proc = |name: &str| {
            let bytes = fs::read(format!("/proc/{}/{name}", run.process.id())).expect(name);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        assert!(proc("cmdline").contains("-vv"));
        assert!(!proc("cmdline").contains(MARKED));
        assert_eq!(proc("environ").contains(MARKED), !from_file);
        assert!(!run.stderr().contains(MARKED));
        assert!(run.kill());
        assert_eq!(leaks(dir.folder()), [""; 0]);
        assert!(api.requests().iter().all(|request| request.key == MARKED));
    }
}

#[test]
fn the_sandbox_does_not_tell_what_key_it_was_sent() {
    let (dir, port) = (TestDir::new(), free_port());
    dir.emails(emails(3));
    let listen = format!("127.0.0.1:{port}");
    let sandbox = dir.command(["sandbox", "--listen", &listen]).start();
    wait_until("it listens", || std::net::TcpStream::connect(&listen).is_ok());
    let url = format!("http://{listen}/api/ext-v1");
    clean(&dir, dir.sync(url).args(LOUD)).exits(5);
    sandbox.signal("TERM");
    sandbox.wait().never_shows(MARKED);
}
