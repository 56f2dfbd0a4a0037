//! The key appears nowhere but in the header that it is for, whatever is run and however it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use telemetron_sync::sandbox::{
    self, Delivery, Fault, FaultPlan, FaultShare, KeyChanges, Outage, Reply, Sandbox,
    SandboxSettings, When,
};

use crate::support::api::{Api, emails};
use crate::support::clock::wait_until;
use crate::support::command::{Finished, TestCommand};
use crate::support::dir::TestDir;
use crate::support::server::free_port;

const MARKED: &str = "MARKED-key-4711";

/// Answers everything that can go wrong.
fn troubled() -> Api {
    Api::with_rule(|request| {
        let n: u32 = request.email?.get(1..5)?.parse().ok()?;
        match n % 9 {
            0 => Some(Reply::error(400, "No")),
            1 => Some(Reply::error(500, "Oops")),
            2 => Some(Reply::json(302, "{}").header("location", "http://127.0.0.1:9/")),
            3 => Some(Reply::error(500, "").deliver(Delivery::Reset)),
            4 => Some(Reply::json(200, "{}")),
            5 => Some(Reply::html(404, "lost")),
            6 => Some(Reply::error(500, "").deliver(Delivery::Never)),
            _ => None,
        }
    })
}

/// The files under `folder` that hold the key.
fn leaks(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(leaks(&entry.path()));
        } else if fs::read(entry.path())
            .unwrap()
            .windows(MARKED.len())
            .any(|at| at == MARKED.as_bytes())
        {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[test]
fn the_key_appears_in_no_output_and_no_file() {
    let dir = TestDir::new();
    dir.emails(emails(27));
    for format in ["text", "json"] {
        let api = troubled();
        let sync = dir.sync(api.url()).env("TELEMETRON_API_KEY", MARKED);
        let sync = sync.args(["-vv", "--max-attempts", "2", "--timeout", "300ms"]);
        let sync = sync.args(["--report", "r.json", "--report", "r.md", "--rejects", "x.csv"]);
        let run = sync.args(["--fail-above", "100%", "--log-format", format]).start();
        let ended = run.wait().exits(3).never_shows(MARKED).stderr_has("p0001@x.io");
        assert!(ended.stderr.len() > 1000, "something was printed");
        assert_eq!(api.requests()[0].key, MARKED);
        assert_eq!(leaks(dir.folder()), [""; 0]);
    }
    let refused = Api::with_rule(|_| Some(Reply::error(401, "Bad key")));
    let sync = dir.sync(refused.url()).env("TELEMETRON_API_KEY", MARKED);
    sync.args(["-vv"]).run().exits(5).never_shows(MARKED);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let sync = dir.sync(nobody).env("TELEMETRON_API_KEY", MARKED).args(["-vv"]);
    sync.args(["--outage-wait", "1s"]).run().exits(6).never_shows(MARKED);
    assert_eq!(leaks(dir.folder()), [""; 0]);
}

#[test]
fn a_key_that_cannot_be_used_is_not_repeated() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    let broken = format!("{MARKED} two words");
    let sync = || dir.sync(api.url());
    sync().env("TELEMETRON_API_KEY", &broken).run().exits(1).never_shows(MARKED);
    dir.write("key", &broken);
    sync().args(["--api-key-file", "key"]).run().exits(1).never_shows(MARKED);
    let url = format!("https://{MARKED}@127.0.0.1/");
    dir.sync_of(url, ["list.csv"]).run().exits(2).never_shows(MARKED);
}

#[test]
fn an_api_that_echoes_the_key_does_not_leak_it() {
    let dir = TestDir::new();
    let api =
        Api::with_rule(|request| Some(Reply::error(400, &format!("bad key {}", request.key?))));
    dir.emails(["a@x.io"]);
    let sync = dir.sync(api.url()).env("TELEMETRON_API_KEY", MARKED).args(["-vv"]);
    sync.args(["--rejects", "x.csv"]).run().exits(3).never_shows(MARKED);
    assert_eq!(leaks(dir.folder()), [""; 0]);
}

#[test]
fn a_key_file_may_end_with_a_newline_and_is_warned_about_if_others_can_read_it() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    dir.write("key", "from-file\r\n");
    let sync = || dir.sync(api.url()).args(["--api-key-file", "key"]);
    for (mode, warns) in [(0o600, false), (0o400, false), (0o644, true), (0o640, true)] {
        fs::set_permissions(dir.path("key"), PermissionsExt::from_mode(mode)).unwrap();
        let ended = sync().run().exits(0).never_shows("from-file");
        assert_eq!(ended.stderr.contains("can be read by others"), warns, "{mode:o}");
    }
    assert!(api.requests().iter().all(|request| request.key == "from-file"));
}

#[test]
fn a_systemd_credential_is_a_key_too() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    dir.write("telemetron-api-key", "credential\n");
    let folder = dir.folder().to_str().unwrap();
    dir.sync(api.url()).without_key().env("CREDENTIALS_DIRECTORY", folder).run().exits(0);
    assert_eq!(api.requests()[0].key, "credential");
}

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
fn no_command_shows_the_key() {
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
fn no_failure_shows_the_key() {
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
    assert!(ended.stderr.lines().count() > 60, "something was printed");
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
fn an_api_that_echoes_the_key_everywhere_does_not_leak_it() {
    let dir = TestDir::new();
    dir.emails(emails(40));
    let api = Api::with_rule(|request| {
        let (n, key) = (request.email?.get(1..5)?.parse::<usize>().ok()?, request.key?);
        Some(match n % 12 {
            10 => Reply::json(200, format!("\"{key}\"")),
            11 => Reply::error(500, &format!("{}{key}", "x".repeat(250 + n % 60))),
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
fn a_running_process_does_not_show_the_key() {
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
fn the_sandbox_does_not_print_the_key_it_was_sent() {
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
