//! Standard error: a run does its job whatever becomes of it, and prints the right lines in each form.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails, start_sandbox};
use crate::support::clock::wait_until;
use crate::support::dir::TestDir;

const COMPLETE: [&str; 1] = ["complete|1500"];
const ENDED: &str = "SELECT status, planned - pending FROM runs";

#[test]
fn a_run_ends_well_with_a_standard_error_that_is_full_or_closed() {
    let sandbox = start_sandbox(Duration::ZERO);
    for standard_error in ["exec 2>/dev/full", "exec 2>&-"] {
        for verbosity in ["-q", "-v", "-vv", "--log-format=json"] {
            let dir = TestDir::new();
            dir.emails(emails(1500));
            dir.sync(sandbox.url()).args([verbosity]).after(standard_error).run().exits(0);
            dir.has_rows(ENDED, COMPLETE);
        }
    }
}

#[test]
fn a_run_ends_well_with_a_standard_error_that_nobody_reads() {
    let sandbox = start_sandbox(Duration::ZERO);
    for (keeps_reader, blocks) in [(true, true), (true, false), (false, true)] {
        let dir = TestDir::new();
        dir.emails(emails(1500));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let reader = keeps_reader.then_some(reader);
        if !blocks {
            rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).expect("a flag");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_telemetron-sync"));
        command.args(["sync", "list.csv", "-vv", "--store", "s.db", "--api-url", &sandbox.url()]);
        command.env("TELEMETRON_API_KEY", "sandbox").current_dir(dir.folder());
        let mut process =
            command.stderr(writer).stdout(Stdio::null()).spawn().expect("the program");
        let mut ended = None;
        wait_until("the program ends", || {
            ended = process.try_wait().expect("a process");
            ended.is_some()
        });
        assert_eq!(ended.and_then(|ended| ended.code()), Some(0));
        dir.has_rows(ENDED, COMPLETE);
        drop(reader);
    }
}

fn objects(stderr: &str) -> Vec<Value> {
    stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn every_line_is_one_json_object_if_asked_for() {
    let api = Api::with_rule(|request| {
        request.email?.starts_with("bad").then(|| Reply::error(400, "No\n\"way\""))
    });
    let dir = TestDir::new();
    dir.emails(["a@x.io", "bad@x.io"]);
    let json = ["--log-format", "json", "-vv"];
    let ended = dir.sync(api.url()).env("TELEMETRON_TYPO", "1").args(json).run().exits(3);
    let lines = objects(&ended.stderr);
    assert!(lines.len() >= 4, "{}", ended.stderr);
    for line in &lines {
        for field in ["timestamp", "level", "event", "run_id", "message"] {
            assert!(!line[field].is_null(), "no {field} in {line}");
        }
    }
    assert!(lines.iter().any(|line| line["event"] == "planned" && line["planned"] == 2));
    assert!(lines.iter().any(|line| line["level"] == "warn"));
    let last = lines.last().expect("a line");
    assert_eq!((&last["event"], &last["level"]), (&"run_ended".into(), &"warn".into()));
    assert_eq!((&last["exit_code"], &last["status"]), (&3.into(), &"partial".into()));
    assert_eq!(last["counts"]["rejected"], 1);
    // Errors, too, whether a run has begun, is about to, or never could.
    for (args, code) in [
        (["no.csv", "-q"], 1),
        (["list.csv", "--colour"], 2),
        (["list.csv", "--report=r.pdf"], 2),
        (["list.csv", "--resume=9"], 2),
    ] {
        let ended = dir.sync_of(api.url(), args).args(["--log-format", "json"]).run().exits(code);
        let lines = objects(&ended.stderr);
        assert_eq!((lines.len(), &lines[0]["level"]), (1, &"error".into()), "{}", ended.stderr);
        assert_eq!((&lines[0]["event"], &lines[0]["exit_code"]), (&"error".into(), &code.into()));
    }
    let ended = dir.command(["report", "99"]).env("TELEMETRON_LOG_FORMAT", "json").run().exits(1);
    assert_eq!(objects(&ended.stderr)[0]["level"], "error");
}

#[test]
fn a_refused_key_is_an_error_in_the_log() {
    let api = Api::with_rule(|_| Some(Reply::error(401, "Unauthorized")));
    let dir = TestDir::new();
    dir.emails(emails(30));
    for verbosity in ["-q", "-v", "--progress=plain"] {
        let json = [verbosity, "--log-format", "json"];
        let lines = objects(&dir.sync(api.url()).args(json).run().exits(5).stderr);
        let errors: Vec<&Value> = lines.iter().filter(|line| line["level"] == "error").collect();
        assert_eq!(errors.len(), 1, "{lines:?}");
        assert_eq!(
            (&errors[0]["event"], &errors[0]["exit_code"]),
            (&"run_ended".into(), &5.into())
        );
        assert!(errors[0]["run_id"].is_i64() && errors[0]["stop_reason"].is_string());
    }
    let ended = dir.sync(api.url()).args(["-q"]).run().exits(5);
    assert_eq!(ended.stderr.matches(" error: Run ").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.lines().count() <= 12, "{}", ended.stderr);
    let ended = dir.sync(api.url()).run().exits(5);
    assert_eq!(ended.stderr.matches(" error: Run ").count(), 1, "{}", ended.stderr);
}

#[test]
fn plain_lines_begin_with_a_time_where_there_is_no_terminal() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    let ended = dir.sync(api.url()).env("TELEMETRON_TYPO", "1").run().exits(0);
    for line in ended.stderr.lines() {
        let time = line.split(' ').next().unwrap_or_default();
        time.parse::<jiff::Timestamp>().expect(line);
    }
    ended.stderr_has(" warning: The environment variable TELEMETRON_TYPO is not an option");
}

#[test]
fn a_status_line_is_printed_on_request_even_if_quiet() {
    let sandbox = start_sandbox(Duration::from_millis(5));
    let dir = TestDir::new();
    dir.emails(emails(2000));
    let run = dir.sync(sandbox.url()).args(["-q", "--rate", "200/s"]).start();
    wait_until("the run writes", || dir.number("SELECT planned - pending FROM runs") > 50);
    run.signal("USR1");
    wait_until("a line is there", || run.stderr().ends_with('\n'));
    let line = run.stderr();
    assert_eq!(line.lines().count(), 1, "{line}");
    for part in [" of 2,000 emails (", "/s", " in flight", "at most 200.0 requests/s (--rate)"] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    // Another process sees the same.
    let shows = |part: &str| dir.command(["report"]).run().exits(0).stdout.contains(part);
    wait_until("another process sees the time left", || shows(" left, "));
    assert!(shows("Progress: ") && shows(" in flight"));
    let json = dir.command(["report", "--format", "json"]).run().exits(0).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["status"], &json["limits"]["rate"]), (&"running".into(), &200.0.into()));
    assert!(json["progress"]["per_second"].as_f64().unwrap() > 0.0, "{json}");
    run.signal("INT");
    run.wait().exits(130);
    assert_eq!(dir.report().get("progress"), None);
}

#[test]
fn a_terminal_shows_a_bar_that_fits_into_it() {
    let sandbox = start_sandbox(Duration::from_millis(5));
    let dir = TestDir::new();
    dir.emails(emails(2000));
    let sync = format!(
        "stty -F /dev/tty cols 90; exec {} sync list.csv --store s.db --api-url {} --rate 400/s",
        env!("CARGO_BIN_EXE_telemetron-sync"),
        sandbox.url()
    );
    // `script` gives the program a terminal.
    let output = Command::new("script")
        .args(["-qec", &sync, "/dev/null"])
        .env("TELEMETRON_API_KEY", "sandbox")
        .current_dir(dir.folder())
        .stdin(Stdio::null())
        .output()
        .expect("script");
    let shown = String::from_utf8(output.stdout).expect("text");
    let drawn: Vec<&str> =
        shown.split("\u{1b}[2K").filter_map(|drawn| drawn.split(['\r', '\n']).next()).collect();
    let bars: Vec<&&str> =
        drawn.iter().filter(|drawn| drawn.contains(" of 2,000 emails (")).collect();
    assert!(bars.len() > 5, "{shown:?}");
    let widest = bars.iter().map(|bar| bar.chars().count()).max();
    assert!(widest <= Some(90), "{widest:?} {bars:?}");
    for part in ["/s, ", " left, ", " in flight", "at most 400.0"] {
        assert!(bars.iter().any(|bar| bar.contains(part)), "no {part:?} in {bars:?}");
    }
    // The bar is gone at the end, and lines have no time.
    assert!(shown.contains("\u{1b}[2KRun 1: complete"), "{shown:?}");
}

#[test]
fn a_pause_is_shown_with_its_end_and_its_reason() {
    let api = Api::with_rule(|request| {
        let busy = || Reply::error(429, "Slow down").header("retry-after", "60");
        (request.number > 20).then(busy)
    });
    let dir = TestDir::new();
    dir.emails(emails(100));
    let run = dir.sync(api.url()).args(["--concurrency", "1", "--accept-missing"]).start();
    wait_until("the run writes", || dir.number("SELECT planned - pending FROM runs") > 0);
    let is_paused = || {
        run.signal("USR1");
        run.stderr().contains("paused until ")
    };
    wait_until("the pause is shown", is_paused);
    assert!(run.stderr().contains("Retry-After"), "{}", run.stderr());
    let seen = || dir.command(["report"]).run().stdout.contains("paused until ");
    wait_until("another process sees it", seen);
    run.signal("TERM");
    run.wait().exits(143);
}

#[test]
fn too_few_file_descriptors_lower_the_concurrency_with_a_warning() {
    let sandbox = start_sandbox(Duration::ZERO);
    let dir = TestDir::new();
    dir.emails(emails(100));
    let ended = dir.sync(sandbox.url()).after("ulimit -n 36").run().exits(0);
    ended.stderr_has("The limit on open files (ulimit -n) allows ");
    assert_eq!(dir.report()["http"]["retries"], 0);
    let warnings = dir.report()["warnings"].to_string();
    assert!(warnings.contains("ulimit -n"), "{warnings}");
}
