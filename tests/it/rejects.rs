//! What has no answer is listed, and the list is a source again.

use telemetron_sync::sandbox::Reply;

use crate::support::api::Api;
use crate::support::dir::TestDir;

const LIST: &str = "email\n=cmd@x.io\nno at\n\"\"\"bad,1\"\"@x.io\"\ngood@x.io\n\n\"two\nlines\"\na@b@c\n\"say \"\"bad\"\"@x.io\"\n";

fn picky() -> Api {
    let api = Api::with_rule(|request| {
        let email = request.email?;
        let bad = email.contains("bad") || email.starts_with('=');
        bad.then(|| Reply::error(400, "=1+1, \"no\""))
    });
    api.has_all(["good@x.io"]);
    api
}

fn rejects(dir: &TestDir) -> Vec<String> {
    dir.rows(
        "SELECT input, code, reason, status, attempts FROM rejects
         WHERE run_id = (SELECT max(id) FROM runs) ORDER BY row",
    )
}

#[test]
fn rejects_are_written_as_csv_with_the_rows_of_the_source() {
    let (dir, api) = (TestDir::new(), picky());
    dir.write("list.csv", LIST);
    dir.sync(api.url()).args(["--rejects", "rejects.csv"]).run().exits(3);
    let lines = dir.read("rejects.csv");
    assert!(lines.starts_with("row,email,code,reason,status,attempts\n"), "{lines}");
    assert!(lines.contains("\n2,\t=cmd@x.io,rejected,\"\t=1+1, \"\"no\"\"\",400,1\n"), "{lines}");
    assert!(lines.contains("\n4,\"\"\"bad,1\"\"@x.io\",rejected,"), "{lines}");
    assert!(lines.contains("\n3,no at,"), "{lines}");
    assert_eq!(dir.rows("SELECT row FROM rejects"), ["2", "3", "4", "7", "9", "10"]);
    assert!(!lines.contains("good"), "{lines}");
}

#[test]
fn rejects_fed_back_are_the_same_rejects() {
    let (dir, api) = (TestDir::new(), picky());
    dir.write("list.csv", LIST);
    dir.sync(api.url()).args(["--rejects", "rejects.csv"]).run().exits(3);
    let first = rejects(&dir);
    dir.sync_of(api.url(), ["rejects.csv", "--rejects", "again.csv"]).run().exits(3);
    let trimmed = |rows: &[String]| -> Vec<String> {
        rows.iter().map(|row| row.trim_start_matches('\t').to_owned()).collect()
    };
    assert_eq!(trimmed(&rejects(&dir)), trimmed(&first));
    // And so on, without piling tabs up.
    let size = dir.read("again.csv").len();
    dir.sync_of(api.url(), ["again.csv", "--rejects", "third.csv"]).run().exits(3);
    assert_eq!(
        dir.read("third.csv").matches('\t').count(),
        dir.read("again.csv").matches('\t').count()
    );
    assert!(dir.read("third.csv").len() <= size + 10);
}

#[test]
fn rejects_are_those_of_the_newest_plan_of_each_source() {
    let (dir, api) = (TestDir::new(), picky());
    dir.emails(["bad1@x.io", "bad2@x.io"]);
    dir.write("other.csv", "email\nbad3@x.io\n");
    dir.sync(api.url()).run().exits(3);
    dir.sync_of(api.url(), ["other.csv"]).run().exits(3);
    dir.emails(["good@x.io", "bad2@x.io"]);
    dir.sync(api.url()).run().exits(3);
    dir.has_rows(
        "SELECT run_id, row, input FROM rejects ORDER BY run_id",
        ["2|2|bad3@x.io", "3|3|bad2@x.io"],
    );
}

#[test]
fn pending_emails_are_not_rejects() {
    let (dir, api) = (TestDir::new(), picky());
    dir.emails(["good@x.io", "bad1@x.io", "bad2@x.io"]);
    dir.sync(api.url()).args(["--limit", "1", "--rejects", "r.csv"]).run().exits(4);
    assert_eq!(dir.read("r.csv").lines().count(), 1);
    dir.sync_of(api.url(), ["--resume", "--rejects", "r.csv"]).run().exits(3);
    assert_eq!(dir.read("r.csv").lines().count(), 3);
}

#[test]
fn a_rejects_file_is_readable_only_by_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, api) = (TestDir::new(), picky());
    dir.emails(["bad1@x.io"]);
    dir.sync(api.url()).args(["--rejects", "r.csv"]).run().exits(3);
    assert_eq!(dir.path("r.csv").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
