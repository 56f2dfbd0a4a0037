//! Whatever is wrong is said in a sentence, before anything is changed.

use rusqlite::Connection;
use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails};
use crate::support::clock::wait_until;
use crate::support::dir::TestDir;

fn serving() -> (TestDir, Api) {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(["a@x.io"]);
    dir.emails(["a@x.io"]);
    dir.sync(api.url()).run().exits(0);
    (dir, api)
}

/// Everything in the store that a run could change.
fn state(dir: &TestDir) -> Vec<String> {
    [dir.customer_data(), dir.rows("SELECT * FROM runs"), dir.rows("SELECT * FROM rejects")]
        .concat()
}

/// Asserts that `sync` with `args` ends with `code` and `message`, and changes nothing.
#[track_caller]
fn refused(args: &[&str], code: i32, message: &str) {
    let (dir, api) = serving();
    let before = state(&dir);
    dir.write("empty.csv", "");
    dir.write("two.csv", "id,mail address,\u{1b}[31m\n1,a@x.io,x\n");
    dir.write("numbers.csv", "a,b\n1,2\n");
    dir.write("long.csv", format!("email\na@x.io\n{}", "x".repeat(9 << 20)));
    dir.write("binary.csv", b"PK\x03\x04\x00\x00\x00\x00\xff\xfe");
    std::fs::create_dir(dir.path("folder")).unwrap();
    let ended = dir.sync_of(api.url(), args.iter().copied()).run().exits(code);
    let ended = ended.stderr_has(message).never_shows("\u{1b}").never_shows("panicked");
    assert_eq!(ended.stdout, "");
    assert_eq!(state(&dir), before);
    assert_eq!(api.request_count(), 1);
}

#[test]
fn a_source_that_cannot_be_read() {
    refused(&["no.csv"], 1, "no.csv` does not exist");
    refused(&["folder"], 1, "folder` is a directory");
    refused(&["empty.csv"], 1, "is empty");
    refused(&["binary.csv"], 1, "not CSV");
    refused(&["long.csv"], 1, "line 3: the row that starts here is longer than 8 MiB");
    refused(&["sqlite:no.db", "--table", "t"], 1, "no.db");
    refused(&["sqlite:s.db", "--table", "customers"], 1, "the store itself");
    refused(&["postgres://nobody@127.0.0.1:1/x", "--table", "t"], 1, "cannot be reached");
}

#[test]
fn a_column_that_is_not_there() {
    refused(&["two.csv", "--column", "phone"], 1, "It has: `id`, `mail address`, `\\u{1b}[31m`.");
    refused(&["two.csv", "--column", "4"], 1, "Give --column a number from 1 to 3.");
    refused(&["numbers.csv"], 1, "Name one with --column");
    refused(&["two.csv", "--column", "id"], 1, "holds no valid email in 1 row");
}

#[test]
fn a_command_line_that_is_wrong() {
    refused(&[], 2, "Name a SOURCE of emails");
    refused(&["list.csv", "--colour"], 2, "--colour");
    refused(&["list.csv", "--report", "x.pdf"], 2, "x.pdf names no format");
    refused(&["list.csv", "--rate", "10"], 2, "10/s");
    refused(&["list.csv", "--concurrency", "0"], 2, "0");
    refused(&["list.csv", "--max-age", "12"], 2, "unit");
    refused(&["list.csv", "--fail-above", "120%"], 2, "0% to 100%");
    refused(&["list.csv", "--encoding", "klingon"], 2, "klingon");
    refused(&["list.csv", "--table", "t"], 2, "--table");
    refused(&["ftp://x/y"], 2, "ftp");
}

#[test]
fn files_for_the_report_are_tried_before_the_first_request() {
    refused(&["list.csv", "--report", "no/r.json"], 1, "Check the path given with --report");
    refused(&["list.csv", "--rejects", "folder"], 1, "Check the path given with --rejects");
}

#[test]
fn an_api_that_would_see_the_key_in_the_open() {
    let dir = TestDir::new();
    dir.emails(["a@x.io"]);
    let sync = |url| dir.sync_of(url, ["list.csv"]).run();
    sync("http://example.com").exits(2).stderr_has("plain http would show the key");
    sync("http://127.0.0.1.example.com").exits(2).stderr_has("plain http would show the key");
    sync("ftp://example.com").exits(2).stderr_has("ftp is not https");
    sync("https://me:secret@example.com").exits(2).never_shows("secret");
    sync("example").exits(2).stderr_has("--api-url");
    assert!(!dir.path("s.db").exists());
}

#[test]
fn without_a_key_there_is_no_run() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    let sync = || dir.sync(api.url()).without_key();
    sync().run().exits(1).stderr_has("There is no API key. Set TELEMETRON_API_KEY");
    sync().env("TELEMETRON_API_KEY", " ").run().exits(1).stderr_has("TELEMETRON_API_KEY is empty");
    sync().args(["--api-key-file", "none"]).run().exits(1).stderr_has("none cannot be read");
    dir.write("key", "\n");
    sync().args(["--api-key-file", "key"]).run().exits(1).stderr_has("key is empty");
    assert!(!dir.path("s.db").exists());
    assert_eq!(api.request_count(), 0);
}

#[test]
fn a_file_that_is_not_a_store_is_refused() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    dir.write("text.db", "x".repeat(5000));
    Connection::open(dir.path("other.db")).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    for (store, message) in [
        ("text.db", "is not a SQLite database"),
        ("other.db", "is a SQLite database of another program"),
    ] {
        let before = std::fs::read(dir.path(store)).unwrap();
        dir.sync(api.url()).args(["--store", store]).run().exits(1).stderr_has(message);
        for command in ["report", "runs"] {
            dir.command([command, "--store", store]).run().exits(1).stderr_has(message);
        }
        assert_eq!(std::fs::read(dir.path(store)).unwrap(), before, "{store}");
    }
    assert_eq!(dir.files(), ["list.csv", "other.db", "text.db"]);
    dir.sync(api.url()).args(["--store", "."]).run().exits(1).stderr_has("directory");
    dir.sync(api.url()).args(["--store", "no/s.db"]).run().exits(1).stderr_has("no/s.db");
    assert_eq!(api.request_count(), 0);
}

#[test]
fn a_source_that_vanishes_midway_leaves_no_plan() {
    let (dir, api) = serving();
    let before = state(&dir);
    let mut rows = "email\n".to_owned();
    for n in 0..5000 {
        rows.push_str(&format!("p{n}@x.io\n"));
    }
    rows.push_str(&"x".repeat(9 << 20));
    dir.write("list.csv", rows);
    dir.sync(api.url()).run().exits(1).stderr_has("line 5002");
    assert_eq!(state(&dir), before);
    assert_eq!(api.request_count(), 1);
}

#[test]
fn a_store_that_another_program_writes_is_a_clear_error() {
    let (dir, api) = serving();
    let other = Connection::open(dir.path("s.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    dir.sync(api.url()).run().exits(1).stderr_has("Another program has locked the store");
    other.execute_batch("ROLLBACK").unwrap();
    dir.sync(api.url()).run().exits(0);
}

#[test]
fn a_store_that_is_locked_midway_keeps_what_was_committed() {
    let slow = std::time::Duration::from_millis(50);
    let api = Api::with_rule(move |_| Some(Reply::error(404, "No").after(slow)));
    let dir = TestDir::new();
    dir.emails(emails(400));
    let run = dir.sync(api.url()).args(["--concurrency", "4"]).start();
    wait_until("something is committed", || dir.number("SELECT not_found FROM runs") > 0);
    let other = Connection::open(dir.path("s.db")).unwrap();
    other.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    run.wait().exits(1).stderr_has("Another program has locked the store");
    other.execute_batch("ROLLBACK").unwrap();
    let committed = dir.number("SELECT count(*) FROM lookups WHERE outcome = 'not_found'");
    assert!(committed > 0);
    assert_eq!(dir.number("SELECT not_found FROM runs"), committed);
    dir.command(["runs"]).run().exits(0).never_shows("running");
    dir.sync_of(Api::new().url(), ["--resume", "--accept-missing"]).run().exits(0);
    assert_eq!(dir.counts(), "rows 400, planned 400, not_found 400");
}

#[test]
fn nothing_to_resume_is_no_error() {
    let (dir, api) = (TestDir::new(), Api::new());
    let resume = || dir.sync_of(api.url(), ["--resume"]);
    resume().run().exits(0).stdout_has("Nothing to resume");
    resume().args(["-q"]).run().exits(0).prints_nothing();
}

#[test]
fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
    let dir = TestDir::new();
    dir.emails(["a@x.io"]);
    for proxy in ["socks5://me:secret@proxy", "http://me:secret@:x"] {
        let ended = dir.sync("https://example.com").env("https_proxy", proxy).run().exits(1);
        ended.stderr_has("https_proxy ").stderr_has("http://host:port").never_shows("secret");
    }
    assert!(!dir.path("s.db").exists());
}
