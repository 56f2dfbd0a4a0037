//! The key shows up nowhere but in the header that it is for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use telemetron_sync::sandbox::{Delivery, Reply};

use crate::support::api::{Api, emails};
use crate::support::dir::TestDir;

pub(crate) const MARKED: &str = "MARKED-key-4711";

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
pub(crate) fn leaks(folder: &Path) -> Vec<String> {
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
fn the_key_shows_in_no_output_and_no_file() {
    let dir = TestDir::new();
    dir.emails(emails(27));
    for format in ["text", "json"] {
        let api = troubled();
        let sync = dir.sync(api.url()).env("TELEMETRON_API_KEY", MARKED);
        let sync = sync.args(["-vv", "--max-attempts", "2", "--timeout", "300ms"]);
        let sync = sync.args(["--report", "r.json", "--report", "r.md", "--rejects", "x.csv"]);
        let run = sync.args(["--fail-above", "100%", "--log-format", format]).start();
        let ended = run.wait().exits(3).never_shows(MARKED).stderr_has("p0001@x.io");
        assert!(ended.stderr.len() > 1000, "something was told");
        assert_eq!(api.requests()[0].key, MARKED);
        assert_eq!(leaks(dir.folder()), [""; 0]);
    }
    let refused = Api::with_rule(|_| Some(Reply::error(401, "Bad key")));
    let sync = dir.sync(refused.url()).env("TELEMETRON_API_KEY", MARKED);
    sync.args(["-vv"]).run().exits(5).never_shows(MARKED);
    let nobody = format!("http://127.0.0.1:{}", crate::support::server::free_port());
    let sync = dir.sync(nobody).env("TELEMETRON_API_KEY", MARKED).args(["-vv"]);
    sync.args(["--max-attempts", "1"]).run().never_shows(MARKED);
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
fn an_api_that_echoes_the_key_leaks_it_into_nothing() {
    let dir = TestDir::new();
    let api =
        Api::with_rule(|request| Some(Reply::error(400, &format!("bad key {}", request.key?))));
    dir.emails(["a@x.io"]);
    let sync = dir.sync(api.url()).env("TELEMETRON_API_KEY", MARKED).args(["-vv"]);
    sync.args(["--rejects", "x.csv"]).run().exits(3).never_shows(MARKED);
    assert_eq!(leaks(dir.folder()), [""; 0]);
}

#[test]
fn a_key_file_is_read_with_its_line_end_and_warned_of_if_others_can_read_it() {
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
