//! A run's report: in each form, in files, over several processes.

use serde_json::Value;
use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails};
use crate::support::dir::TestDir;

/// A list with a row of each kind, and an API to match.
fn mixed() -> (TestDir, Api) {
    let api = Api::with_rule(|request| match request.email? {
        "bad@x.io" => Some(Reply::error(400, "No")),
        "once@x.io" if request.attempt == 1 => Some(Reply::error(500, "Oops")),
        "broken@x.io" => Some(Reply::json(200, "{}")),
        _ => None,
    });
    api.has_all(["a@x.io", "once@x.io"]);
    let dir = TestDir::new();
    dir.emails(["a@x.io", "gone@x.io", "bad@x.io", "once@x.io", "broken@x.io", "a@x.io", "no"]);
    (dir, api)
}

#[test]
fn the_json_report_matches_the_contract() {
    let (dir, api) = mixed();
    dir.sync(api.url()).run().exits(3);
    let report = dir.report();
    assert_eq!(
        dir.counts(),
        "rows 7, invalid 1, duplicate 1, planned 5, found 2, not_found 1, rejected 1, failed 1"
    );
    assert_eq!(report["counts"].as_object().unwrap().len(), 10);
    assert_eq!(report["changes"].as_object().unwrap().len(), 9);
    assert_eq!(report["changes"]["created"], 2);
    let http = &report["http"];
    assert_eq!((&http["requests"], &http["retries"]), (&6.into(), &1.into()));
    let statuses = serde_json::json!({"200": 3, "400": 1, "404": 1, "500": 1});
    assert_eq!(http["statuses"], statuses);
    for percentile in ["p50", "p90", "p99", "max"] {
        assert!(http["latency_ms"][percentile].as_f64().unwrap() > 0.0, "{percentile}");
    }
    assert_eq!((&report["status"], &report["exit_code"]), (&"partial".into(), &3.into()));
    assert_eq!((&report["stop_reason"], &report["run_id"]), (&Value::Null, &1.into()));
    assert!(report["seconds"].as_f64().unwrap() > 0.0);
    assert!(report["finished_at"].as_str() > report["started_at"].as_str());
    assert_eq!(report["warnings"], serde_json::json!([]));
    let stored: Value =
        serde_json::from_str(&dir.rows("SELECT report FROM runs")[0]).expect("JSON");
    assert_eq!(stored, report);
}

#[test]
fn the_other_formats_contain_the_same_counts() {
    let (dir, api) = mixed();
    let ended = dir.sync(api.url()).run().exits(3);
    let text = dir.command(["report"]).run().exits(0).stdout;
    let retry = format!(
        "sync --retry-failed --store {} --api-url {}",
        dir.path("s.db").display(),
        api.url()
    );
    assert!(text.contains(&retry), "no {retry:?} in {text}");
    assert_eq!(text, ended.stdout);
    let counts = ["rows 7", "invalid 1", "duplicate 1", "fresh 0", "planned 5", "found 2"];
    let settled = ["not found 1", "rejected 1", "failed 1", "pending 0"];
    for form in ["text", "md"] {
        let report = dir.command(["report", "1", "--format", form]).run().exits(0).stdout;
        assert!(report.contains("Run 1") && report.contains("partial"), "{report}");
        assert!(report.contains("2 created"), "{report}");
        let words = |line: &str| {
            let words = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            words.collect::<Vec<_>>().join(" ")
        };
        let lines: Vec<String> = report.replace("&emsp;", "").lines().map(words).collect();
        for count in counts.iter().chain(&settled) {
            assert!(lines.iter().any(|line| line == count), "no line {count:?} in {report}");
        }
    }
    dir.command(["report", "2"]).run().exits(1).stderr_has("There is no run 2");
}

#[test]
fn the_columns_of_a_run_equal_its_report() {
    let (dir, api) = mixed();
    dir.sync(api.url()).run().exits(3);
    for column in [
        "rows",
        "invalid",
        "duplicate",
        "fresh",
        "planned",
        "found",
        "not_found",
        "rejected",
        "failed",
        "pending",
    ] {
        let same = format!("SELECT {column} = report ->> '$.counts.{column}' FROM runs");
        dir.has_rows(&same, ["1"]);
    }
    for (column, path) in [
        ("requests", "http.requests"),
        ("retries", "http.retries"),
        ("status", "status"),
        ("stop_reason", "stop_reason"),
        ("started_at", "started_at"),
        ("finished_at", "finished_at"),
        ("seconds", "seconds"),
        ("source", "source"),
    ] {
        dir.has_rows(&format!("SELECT {column} IS report ->> '$.{path}' FROM runs"), ["1"]);
    }
}

#[test]
fn report_files_are_written_in_the_format_of_their_extension() {
    let (dir, api) = mixed();
    let sync = dir.sync(api.url()).args(["--report", "r.json", "--report", "r.md"]);
    sync.args(["--report", "r.txt"]).run().exits(3);
    let json: Value = serde_json::from_str(&dir.read("r.json")).expect("JSON");
    assert_eq!(json, dir.report());
    for (file, form) in [("r.md", "md"), ("r.txt", "text")] {
        let printed = dir.command(["report", "--format", form]).run().exits(0);
        assert_eq!(dir.read(file), printed.stdout);
    }
    // In the environment it is a list; an argument is one path.
    let sync = dir.sync(api.url()).env("TELEMETRON_REPORT", "r.json, e.json,,e.prom");
    sync.run().exits(3);
    for file in ["e.json", "e.prom", "r.json"] {
        assert!(dir.path(file).exists(), "{file}");
        std::fs::remove_file(dir.path(file)).expect(file);
    }
    dir.sync(api.url()).args(["--report", "a,b.json"]).run().exits(3);
    std::fs::rename(dir.path("a,b.json"), dir.path("r.json")).expect("one file");
    let of_store = |name: &String| name.starts_with("s.db");
    let left: Vec<String> = dir.files().into_iter().filter(|name| !of_store(name)).collect();
    assert_eq!(left, ["list.csv", "r.json", "r.md", "r.txt"]);
}

/// The value of a metric of `list.csv` in `r.prom`.
fn metric(dir: &TestDir, name: &str) -> Option<String> {
    let text = dir.read("r.prom");
    let line = text.lines().find(|line| line.starts_with(&format!("telemetron_sync_{name}{{")))?;
    let source = format!("{{source=\"{}\"}} ", dir.path("list.csv").display());
    let (_, value) = line.split_once(&source).expect("the label names the source");
    Some(value.to_owned())
}

#[test]
fn the_last_success_survives_runs_that_fail_before_they_have_a_plan() {
    let (dir, api) = mixed();
    let last_success = || metric(&dir, "last_success_timestamp_seconds");
    dir.sync(api.url()).args(["--report", "r.prom"]).run().exits(3);
    let success = last_success().expect("a success");
    let fails = |how: &str| {
        assert_eq!(last_success().as_ref(), Some(&success), "{how}");
        assert_eq!(metric(&dir, "exit_code").as_deref(), Some("1"), "{how}");
        assert!(metric(&dir, "last_run_timestamp_seconds") > Some(success.clone()), "{how}");
    };
    dir.sync(api.url()).args(["--report", "r.prom"]).without_key().run().exits(1);
    fails("no key");
    let list = dir.read("list.csv");
    dir.write("list.csv", "");
    dir.sync(api.url()).args(["--report", "r.prom"]).run().exits(1);
    fails("an empty source");
    dir.write("list.csv", list);
    let store = std::fs::read(dir.path("s.db")).expect("a store");
    dir.write("s.db", "damaged".repeat(1000));
    dir.sync(api.url()).args(["--report", "r.prom"]).run().exits(1);
    fails("a damaged store");
    // It is remembered from file to file.
    dir.sync(api.url()).args(["--report", "r.prom"]).run().exits(1);
    fails("a damaged store again");
    dir.write("s.db", store);
    // A resume that cannot begin is about the source of its run.
    dir.sync(api.url()).args(["--report", "r.prom", "--limit", "1"]).run().exits(4);
    let success_of_limit = last_success();
    dir.sync_of(api.url(), ["--resume"]).without_key().run().exits(1);
    assert_eq!(last_success(), success_of_limit);
    assert_eq!(metric(&dir, "exit_code").as_deref(), Some("1"));
}

#[test]
fn a_full_disk_under_an_output_is_told_from_a_wrong_path() {
    let (dir, api) = mixed();
    // Whatever is written to it does not fit.
    for file in ["r.json", "rejects.csv"] {
        std::os::unix::fs::symlink("/dev/full", dir.path(file)).expect("a link");
    }
    for (option, file) in [("--report", "r.json"), ("--rejects", "rejects.csv")] {
        let ended = dir.sync(api.url()).args([option, file]).run().exits(1);
        ended
            .stderr_has("No space left on device (os error 28). Make room there, or give")
            .stderr_has(option);
    }
}

#[test]
fn a_report_that_cannot_be_written_is_named_once_and_keeps_no_other_from_being_written() {
    let (dir, api) = mixed();
    let reports = ["--report", "no/such.html", "--report", "r.prom"];
    let ended = dir.sync(api.url()).args(reports).run().exits(1);
    assert_eq!(ended.stderr.matches("cannot be written").count(), 1, "{}", ended.stderr);
    ended.never_shows(".telemetron-");
    assert_eq!(metric(&dir, "exit_code").as_deref(), Some("1"));
}

#[test]
fn a_run_in_which_all_emails_fail_for_good_is_no_success() {
    let api = Api::with_rule(|_| Some(Reply::json(200, "{}")));
    let dir = TestDir::new();
    dir.emails(emails(20));
    let ended = dir.sync(api.url()).run().exits(6);
    let ended =
        ended.stdout_has("20 of 20 emails failed or were rejected, more than --fail-above allows");
    ended.stdout_has("To find the cause, run: telemetron-sync doctor");
    assert_eq!(dir.counts().split(", ").last(), Some("failed 20"));
}

#[test]
fn a_report_covers_all_parts_of_a_resumed_run() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(emails(7));
    dir.emails(emails(10));
    let sync = dir.sync(api.url()).args(["--concurrency", "1", "--limit", "4"]);
    sync.args(["--report", "r.json"]).run().exits(4);
    let first: Value = serde_json::from_str(&dir.read("r.json")).expect("JSON");
    assert_eq!((&first["status"], &first["exit_code"]), (&"stopped".into(), &4.into()));
    for _ in 0..2 {
        let more = ["--resume", "--limit", "2", "--concurrency", "1", "--report", "r.json"];
        dir.sync_of(api.url(), more).run().exits(4);
    }
    dir.sync_of(api.url(), ["--resume"]).run().exits(0);
    let last = dir.report();
    assert_eq!(dir.counts(), "rows 10, planned 10, found 7, not_found 3");
    assert_eq!(dir.changes(), "created 7");
    assert_eq!(last["http"]["requests"], 10);
    assert_eq!(last["http"]["statuses"], serde_json::json!({"200": 7, "404": 3}));
    assert_eq!((&last["run_id"], &last["started_at"]), (&1.into(), &first["started_at"]));
    assert!(last["seconds"].as_f64() > first["seconds"].as_f64());
    assert_eq!((&last["status"], &last["exit_code"]), (&"complete".into(), &0.into()));
}

#[test]
fn runs_are_listed_the_newest_first() {
    let (dir, api) = mixed();
    dir.sync(api.url()).args(["--limit", "1"]).run().exits(4);
    dir.sync(api.url()).run().exits(3);
    let list = dir.command(["runs"]).run().exits(0).stdout;
    let runs: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(runs.len(), 5, "{list}");
    assert_eq!(runs[1][..8], ["2", runs[1][1], runs[1][2], "partial", "5", "2", "2", "0"]);
    assert_eq!((runs[3][0], runs[3][3], runs[3][7]), ("1", "stopped", "4"));
    assert!(runs[2][0].ends_with("list.csv"), "{list}");
    let newest = dir.command(["runs", "--limit", "1", "--format", "json"]).run().exits(0).stdout;
    let newest: Value = serde_json::from_str(&newest).expect("JSON");
    assert_eq!(newest.as_array().map(Vec::len), Some(1));
    assert_eq!(newest[0], dir.report());
}

#[test]
fn without_a_store_reports_are_an_error() {
    let dir = TestDir::new();
    for command in ["report", "runs"] {
        dir.command([command]).run().exits(1).stderr_has("There is no store at");
    }
    assert!(!dir.path("s.db").exists());
}

#[test]
fn a_closed_standard_output_does_not_change_the_exit_code() {
    let (dir, api) = mixed();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let program = env!("CARGO_BIN_EXE_telemetron-sync");
    let mut command = std::process::Command::new(program);
    command.args(["sync", "list.csv", "--store", "s.db", "--api-url", &api.url()]);
    command.current_dir(dir.folder()).env("TELEMETRON_API_KEY", "k").stdout(writer);
    assert_eq!(command.status().unwrap().code(), Some(3));
    assert_eq!(dir.report()["status"], "partial");
}

/// What is written last would take the other's place.
#[test]
fn no_file_of_a_run_may_be_two_things() {
    let (dir, api) = mixed();
    dir.write("key", "k");
    dir.sync(api.url()).run().exits(3);
    let sqlite = ["sqlite:s.db", "--table", "customers", "--store", "t.db"];
    std::os::unix::fs::symlink("s.db", dir.path("link.json")).unwrap();
    std::fs::hard_link(dir.path("list.csv"), dir.path("hard.txt")).unwrap();
    let contents = || dir.files().into_iter().map(|name| std::fs::read(dir.path(&name)).unwrap());
    let contents = || contents().collect::<Vec<_>>();
    let before = contents();
    for (args, what) in [
        (&["--report", "link.json"][..], "--report and --store"),
        (&["--rejects", "s.db-wal"], "--rejects and a file that belongs to --store"),
        (&["--rejects", "./list.csv"], "--rejects and SOURCE"),
        (&["--report", "hard.txt"], "--report and SOURCE"),
        (&["--api-key-file", "key", "--rejects", "key"], "--rejects and --api-key-file"),
        (&["--report", "a.txt", "--rejects", "./a.txt"], "--rejects and --report"),
        (&["--report", "a.txt", "--report", "a.txt"], "--report and --report"),
        (&["--dry-run", "--rejects", "list.csv"], "--rejects and SOURCE"),
    ] {
        dir.sync(api.url()).args(args.iter().copied()).run().exits(2).stderr_has(what);
    }
    let of_store = dir.sync_of(api.url(), sqlite).args(["--rejects", "s.db"]).run();
    of_store.exits(2).stderr_has("--rejects and SOURCE are the same file");
    assert!(contents() == before, "a file was changed");
    dir.sync(api.url()).args(["--limit", "0"]).run().exits(4);
    let list = dir.read("list.csv");
    let resumed = dir.sync_of(api.url(), ["--resume", "--report", "hard.txt"]).run();
    resumed.exits(2).stderr_has("--report and SOURCE");
    assert_eq!(dir.read("list.csv"), list);
}
