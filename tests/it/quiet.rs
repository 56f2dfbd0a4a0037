//! What a run tells, and what it keeps to itself.

use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails};
use crate::support::desk::Desk;

#[test]
fn a_quiet_run_that_goes_well_says_not_a_byte() {
    let (desk, api) = (Desk::new(), Api::new());
    api.has_all(["a@x.io"]);
    desk.write("list.csv", "email\na@x.io\nb@x.io\nno email\na@x.io\n");
    desk.sync(api.url()).args(["-q"]).run().exits(0).says_nothing();
    desk.sync(api.url()).args(["-q", "--dry-run"]).run().exits(0).says_nothing();
    desk.sync_of(api.url(), ["--resume", "-q"]).run().exits(0).says_nothing();
    desk.write("list.csv", "email\n");
    desk.sync(api.url()).env("TELEMETRON_QUIET", "1").run().exits(0).says_nothing();
}

#[test]
fn a_quiet_run_with_trouble_says_it_in_a_few_lines() {
    let api = Api::ruled(|asked| asked.email?.starts_with("bad").then(|| Reply::error(400, "No")));
    let desk = Desk::new();
    let bad = (1..=30).map(|n| format!("bad{n}@x.io"));
    desk.emails(emails(40).into_iter().chain(bad));
    let ended = desk.sync(api.url()).args(["-q"]).run().exits(3);
    assert_eq!(ended.stdout, "");
    let lines = ended.stderr.lines().count();
    assert!((1..=12).contains(&lines), "{}", ended.stderr);
    ended.says("30 rejected").never_says("bad1@x.io");
    let ended = desk.sync(api.url()).args(["-q", "--limit", "1"]).run().exits(4);
    assert!(ended.stderr.lines().count() <= 12, "{}", ended.stderr);
    desk.write("list.csv", "");
    let ended = desk.sync(api.url()).args(["-q"]).run().exits(1);
    assert!(ended.stderr.lines().count() <= 12, "{}", ended.stderr);
}

#[test]
fn single_emails_are_named_only_when_asked_for() {
    let api = Api::ruled(|asked| asked.email?.starts_with("bad").then(|| Reply::error(400, "No")));
    let desk = Desk::new();
    desk.emails(["bad@x.io", "a@x.io"]);
    desk.sync(api.url()).run().exits(3).never_says("bad@x.io").says("1 row rejected");
    desk.sync(api.url()).args(["-v"]).run().exits(3).says("bad@x.io rejected: No");
    let ended = desk.sync(api.url()).args(["-vv"]).run().exits(3);
    ended.says("a@x.io HTTP 404 in ").says("bad@x.io HTTP 400 in ");
}

#[test]
fn text_from_outside_cannot_steer_a_terminal() {
    let api = Api::ruled(|_| Some(Reply::error(400, "\u{1b}[31mred\r\n")));
    let desk = Desk::new();
    desk.write("list\u{1b}[1m.csv", "email\n\"a\u{1b}b\"\na@x.io\n");
    for voice in ["--progress=plain", "-v", "-vv", "-q"] {
        let ended = desk.sync_of(api.url(), ["list\u{1b}[1m.csv", voice]).run().exits(3);
        ended.never_says("\u{1b}").never_says("\r");
    }
    for format in ["text", "md"] {
        desk.command(["report", "--format", format]).run().exits(0).never_says("\u{1b}");
    }
    desk.command(["runs"]).run().exits(0).never_says("\u{1b}");
}
