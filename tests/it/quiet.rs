//! What a run prints, and what it leaves out.

use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails};
use crate::support::dir::TestDir;

#[test]
fn a_quiet_run_that_goes_well_prints_nothing() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(["a@x.io"]);
    dir.write("list.csv", "email\na@x.io\nb@x.io\nno email\na@x.io\n");
    dir.sync(api.url()).args(["-q"]).run().exits(0).prints_nothing();
    // How the source was read is no problem.
    dir.write("cleaned.csv", "Contacts\n\nemail\n a@x.io\n\"b@x.io\n");
    dir.sync_of(api.url(), ["cleaned.csv", "-q"]).run().exits(0).prints_nothing();
    dir.sync_of(api.url(), ["cleaned.csv"]).run().exits(0).stdout_has("\nNote: ");
    dir.sync(api.url()).args(["-q", "--dry-run"]).run().exits(0).prints_nothing();
    dir.sync_of(api.url(), ["--resume", "-q"]).run().exits(0).prints_nothing();
    dir.sync(api.url()).args(["-q", "--limit", "1"]).run().exits(4).prints_nothing();
    dir.write("list.csv", "email\n");
    let ended = dir.sync(api.url()).env("TELEMETRON_QUIET", "1").run().exits(0);
    ended.stderr_has("Warning: The source has no rows.");
}

#[test]
fn a_quiet_run_says_why_its_monitor_hears_nothing() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    let ping = ["-q", "--accept-missing", "--ping", "http://127.0.0.1:1/secret-uuid"];
    let ended = dir.sync(api.url()).args(ping).run().exits(0);
    assert_eq!(ended.stderr.matches("could not be pinged").count(), 1, "{}", ended.stderr);
}

#[test]
fn a_quiet_run_with_problems_prints_a_few_lines() {
    let api = Api::with_rule(|request| {
        request.email?.starts_with("bad").then(|| Reply::error(400, "No"))
    });
    let dir = TestDir::new();
    let bad = (1..=30).map(|n| format!("bad{n}@x.io"));
    dir.emails(emails(40).into_iter().chain(bad));
    let ended = dir.sync(api.url()).args(["-q", "--accept-missing"]).run().exits(3);
    assert_eq!(ended.stdout, "");
    let lines = ended.stderr.lines().count();
    assert!((1..=12).contains(&lines), "{}", ended.stderr);
    ended.stderr_has("30 rejected").never_shows("bad1@x.io");
    let ended = dir.sync(api.url()).args(["-q", "--limit", "1"]).run().exits(4);
    assert!(ended.stderr.lines().count() <= 12, "{}", ended.stderr);
    dir.write("list.csv", "");
    let ended = dir.sync(api.url()).args(["-q"]).run().exits(1);
    assert!(ended.stderr.lines().count() <= 12, "{}", ended.stderr);
}

#[test]
fn single_emails_are_named_only_with_verbose() {
    let api = Api::with_rule(|request| {
        request.email?.starts_with("bad").then(|| Reply::error(400, "No"))
    });
    let dir = TestDir::new();
    dir.emails(["bad@x.io", "a@x.io"]);
    dir.sync(api.url())
        .run()
        .exits(3)
        .never_shows("bad@x.io")
        .stdout_has("1 email rejected (last: No)");
    dir.sync(api.url()).args(["-v"]).run().exits(3).stderr_has("bad@x.io rejected: No");
    let ended = dir.sync(api.url()).args(["-vv"]).run().exits(3);
    ended.stderr_has("a@x.io HTTP 404 in ").stderr_has("bad@x.io HTTP 400 in ");
}

#[test]
fn text_from_outside_cannot_control_a_terminal() {
    let api = Api::with_rule(|_| Some(Reply::error(400, "\u{1b}[31mred\r\n")));
    let dir = TestDir::new();
    dir.write("list\u{1b}[1m.csv", "email\n\"a\u{1b}b\"\na@x.io\n");
    for voice in ["--progress=plain", "-v", "-vv", "-q"] {
        let ended = dir.sync_of(api.url(), ["list\u{1b}[1m.csv", voice]).run().exits(3);
        ended.never_shows("\u{1b}").never_shows("\r");
    }
    for format in ["text", "md"] {
        dir.command(["report", "--format", format]).run().exits(0).never_shows("\u{1b}");
    }
    dir.command(["runs"]).run().exits(0).never_shows("\u{1b}");
}
