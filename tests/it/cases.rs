//! Inputs from the real world, each a file in `tests/cases` with the right result beside it, as
//! `NAME.toml`. To add a case is to add two files.

use std::path::Path;

use serde::Deserialize;

use crate::support::api::Api;
use crate::support::dir::TestDir;

/// The right result of one input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Arguments beside the file.
    #[serde(default)]
    args: Vec<String>,
    exit: i32,
    /// Every email that is looked up, and no other.
    #[serde(default)]
    looked_up: Vec<String>,
    /// Every reject: its row and its code.
    #[serde(default)]
    rejects: Vec<String>,
    /// What standard error holds, among the rest.
    #[serde(default)]
    shown: Vec<String>,
    /// What neither output holds.
    #[serde(default)]
    never_shown: Vec<String>,
}

/// The longest line that the program may print for an input.
const LONGEST_LINE: usize = 2000;

fn check(name: &str, input: &Path, case: &Case) {
    let (dir, api) = (TestDir::new(), Api::new());
    std::fs::copy(input, dir.path(name)).expect("the input");
    let args = ["--accept-missing", "--report", "report.json"];
    let run = dir.sync_of(api.url(), [name]).args(args).args(case.args.iter().map(String::as_str));
    let finished = run.run();
    let shown = format!("{name}\n{}\n{}", finished.stdout, finished.stderr);
    assert_eq!(finished.code, Some(case.exit), "{shown}");
    for text in &case.shown {
        assert!(finished.stderr.contains(text), "no {text:?} on stderr: {shown}");
    }
    for text in &case.never_shown {
        assert!(!shown[name.len()..].contains(text), "{text:?} in: {shown}");
    }
    assert!(shown.lines().all(|line| line.len() < LONGEST_LINE), "{shown}");
    let mut requested = api.requested_emails();
    requested.sort();
    let mut expected = case.looked_up.clone();
    expected.sort();
    assert_eq!(requested, expected, "{shown}");
    if case.exit == 0 {
        assert_eq!(dir.rows("SELECT row || ' ' || code FROM rejects ORDER BY row"), case.rejects);
        notes_are_in_the_report(&dir, &finished.stderr, &shown);
    } else {
        assert_eq!(api.request_count(), 0, "{shown}");
    }
}

/// What is remarkable about the input is in the report as well.
fn notes_are_in_the_report(dir: &TestDir, stderr: &str, shown: &str) {
    let report: serde_json::Value =
        serde_json::from_str(&dir.read("report.json")).expect("a report");
    let notes = report["notes"].to_string();
    for kind in ["read as unquoted", "above the header skipped", "cleaned emails"] {
        assert_eq!(notes.contains(kind), stderr.contains(kind), "{notes} {shown}");
    }
}

#[test]
fn every_case_is_read_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let (mut checked, mut wrong) = (0, Vec::new());
    let mut entries: Vec<_> = std::fs::read_dir(&folder)
        .expect("the cases")
        .map(|entry| entry.expect("a file").path())
        .collect();
    entries.sort();
    for path in entries.iter().filter(|path| path.extension().is_some_and(|end| end == "toml")) {
        let text = std::fs::read_to_string(path).expect("a case");
        let case: Case = toml::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let input = path.with_extension("");
        let name = input.file_name().expect("a name").to_string_lossy().into_owned();
        if std::panic::catch_unwind(|| check(&name, &input, &case)).is_err() {
            wrong.push(name);
        }
        checked += 1;
    }
    assert!(wrong.is_empty(), "read wrong: {}", wrong.join(", "));
    assert_eq!(
        checked * 2,
        entries.len(),
        "an input without a result, or a result without an input"
    );
    assert!(checked > 40);
}
