//! What has no answer is listed, and the list is a source again.

use telemetron_sync::sandbox::Reply;

use crate::support::api::Api;
use crate::support::desk::Desk;

const LIST: &str = "email\n=cmd@x.io\nno at\n\"bad,1@x.io\"\ngood@x.io\n\n\"two\nlines\"\na@b@c\n\"say \"\"bad\"\"@x.io\"\n";

fn picky() -> Api {
    let api = Api::ruled(|asked| {
        let email = asked.email?;
        let bad = email.contains("bad") || email.starts_with('=');
        bad.then(|| Reply::error(400, "=1+1, \"no\""))
    });
    api.has_all(["good@x.io"]);
    api
}

fn rejects(desk: &Desk) -> Vec<String> {
    desk.rows(
        "SELECT input, code, reason, status, attempts FROM rejects
         WHERE run_id = (SELECT max(id) FROM runs) ORDER BY row",
    )
}

#[test]
fn rejects_are_written_as_csv_with_the_rows_of_the_source() {
    let (desk, api) = (Desk::new(), picky());
    desk.write("list.csv", LIST);
    desk.sync(api.url()).args(["--rejects", "rejects.csv"]).run().exits(3);
    let lines = desk.read("rejects.csv");
    assert!(lines.starts_with("row,email,code,reason,status,attempts\n"), "{lines}");
    assert!(lines.contains("\n2,\t=cmd@x.io,rejected,\"\t=1+1, \"\"no\"\"\",400,1\n"), "{lines}");
    assert!(lines.contains("\n4,\"bad,1@x.io\",rejected,"), "{lines}");
    assert!(lines.contains("\n3,no at,"), "{lines}");
    assert_eq!(desk.rows("SELECT row FROM rejects"), ["2", "3", "4", "7", "9", "10"]);
    assert!(!lines.contains("good"), "{lines}");
}

#[test]
fn rejects_fed_back_are_the_same_rejects() {
    let (desk, api) = (Desk::new(), picky());
    desk.write("list.csv", LIST);
    desk.sync(api.url()).args(["--rejects", "rejects.csv"]).run().exits(3);
    let first = rejects(&desk);
    desk.sync_of(api.url(), ["rejects.csv", "--rejects", "again.csv"]).run().exits(3);
    let trimmed = |rows: &[String]| -> Vec<String> {
        rows.iter().map(|row| row.trim_start_matches('\t').to_owned()).collect()
    };
    assert_eq!(trimmed(&rejects(&desk)), trimmed(&first));
    // And so on, without piling tabs up.
    let size = desk.read("again.csv").len();
    desk.sync_of(api.url(), ["again.csv", "--rejects", "third.csv"]).run().exits(3);
    assert_eq!(
        desk.read("third.csv").matches('\t').count(),
        desk.read("again.csv").matches('\t').count()
    );
    assert!(desk.read("third.csv").len() <= size + 10);
}

#[test]
fn rejects_are_those_of_the_newest_plan_of_each_source() {
    let (desk, api) = (Desk::new(), picky());
    desk.emails(["bad1@x.io", "bad2@x.io"]);
    desk.write("other.csv", "email\nbad3@x.io\n");
    desk.sync(api.url()).run().exits(3);
    desk.sync_of(api.url(), ["other.csv"]).run().exits(3);
    desk.emails(["good@x.io", "bad2@x.io"]);
    desk.sync(api.url()).run().exits(3);
    desk.stored(
        "SELECT run_id, row, input FROM rejects ORDER BY run_id",
        ["2|2|bad3@x.io", "3|3|bad2@x.io"],
    );
}

#[test]
fn what_is_pending_is_no_reject() {
    let (desk, api) = (Desk::new(), picky());
    desk.emails(["good@x.io", "bad1@x.io", "bad2@x.io"]);
    desk.sync(api.url()).args(["--limit", "1", "--rejects", "r.csv"]).run().exits(4);
    assert_eq!(desk.read("r.csv").lines().count(), 1);
    desk.sync_of(api.url(), ["--resume", "--rejects", "r.csv"]).run().exits(3);
    assert_eq!(desk.read("r.csv").lines().count(), 3);
}

#[test]
fn a_file_of_rejects_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (desk, api) = (Desk::new(), picky());
    desk.emails(["bad1@x.io"]);
    desk.sync(api.url()).args(["--rejects", "r.csv"]).run().exits(3);
    assert_eq!(desk.path("r.csv").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
