//! Emails come out of a file or standard input, and every row is accounted for.

use crate::support::api::Api;
use crate::support::dir::TestDir;

#[test]
fn a_file_is_synced_and_the_report_is_printed() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(["a@x.io", "c@x.io"]);
    dir.write(
        "list.csv",
        "id,Email,name\n1,A@x.io ,Ann\n2,b@x.io,Bob\n3,,\n4,c@x.io,C\n5,a@X.io,A\n",
    );
    let ended = dir.sync(api.url()).run().exits(0);
    ended
        .stdout_has("Run 1: complete")
        .stdout_has("duplicate    1")
        .stdout_has("Changes: 2 created");
    assert_eq!(dir.counts(), "rows 5, invalid 1, duplicate 1, planned 3, found 2, not_found 1");
    assert_eq!(api.requested_emails(), ["a@x.io", "b@x.io", "c@x.io"]);
    dir.has_rows(
        "SELECT id, email FROM customers ORDER BY id",
        ["cust_a@x.io|a@x.io", "cust_c@x.io|c@x.io"],
    );
    dir.has_rows(
        "SELECT email, outcome, status, attempts, customer_id FROM lookups ORDER BY email",
        [
            "a@x.io|found|200|1|cust_a@x.io",
            "b@x.io|not_found|404|1|NULL",
            "c@x.io|found|200|1|cust_c@x.io",
        ],
    );
    dir.has_rows("SELECT row, input, code FROM rejects", ["4||blank"]);
}

#[test]
fn standard_input_is_a_source() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(["a@x.io"]);
    dir.sync_of(api.url(), ["-"]).stdin("email\na@x.io\n").run().exits(0);
    assert_eq!(dir.counts(), "rows 1, planned 1, found 1");
}

#[test]
fn a_column_is_named_or_numbered() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.write("list.csv", "email,invoice_to\na@x.io,b@x.io\n");
    dir.sync(api.url()).run().exits(0);
    dir.sync(api.url()).args(["--column", "INVOICE_TO"]).run().exits(0);
    dir.sync(api.url()).args(["--column", "2"]).run().exits(0);
    dir.sync(api.url()).args(["--column", "1"]).run().exits(0);
    assert_eq!(api.requested_emails(), ["a@x.io", "b@x.io", "b@x.io", "a@x.io"]);
}

#[test]
fn a_file_without_a_header_is_read_from_its_first_row() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.write("list.csv", "Ann;a@x.io\nBob;b@x.io\n");
    dir.sync(api.url()).run().exits(0);
    assert_eq!(api.requested_emails(), ["a@x.io", "b@x.io"]);
    dir.write("list.csv", "a@x.io;Ann\n");
    dir.sync(api.url()).args(["--no-header", "--delimiter", ";"]).run().exits(0);
    assert_eq!(api.requested_emails(), ["a@x.io"]);
}

#[test]
fn options_come_from_the_environment_too_and_the_command_line_wins() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.write("list.csv", "email,other\na@x.io,b@x.io\n");
    dir.sync(api.url()).env("TELEMETRON_COLUMN", "other").run().exits(0);
    let both = dir.sync(api.url()).env("TELEMETRON_COLUMN", "other");
    both.args(["--column", "email"]).run().exits(0);
    assert_eq!(api.requested_emails(), ["b@x.io", "a@x.io"]);
}

#[test]
fn a_variable_that_cannot_be_understood_is_named_and_a_switch_is_true_or_false() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.emails(["a@x.io"]);
    for (name, value) in [
        ("TELEMETRON_ACCEPT_MISSING", "never"),
        ("TELEMETRON_DRY_RUN", "disabled"),
        ("TELEMETRON_QUIET", "2"),
        ("TELEMETRON_RATE", "fast"),
    ] {
        let named = format!("invalid value '{value}' for '{name}'");
        dir.sync(api.url()).env(name, value).run().exits(2).stderr_has(&named);
        let typed = dir.sync(api.url()).env(name, "1").args(["--rate", "fast"]).run();
        typed.exits(2).stderr_has("invalid value 'fast' for '--rate <N/s>'");
    }
    for (value, prints) in [("Yes", ""), ("1", ""), ("0", "Run "), ("off", "Run "), ("", "Run ")] {
        let ended = dir.sync(api.url()).env("TELEMETRON_QUIET", value).run().exits(0);
        assert!(ended.stdout.starts_with(prints) && ended.stdout.is_empty() == prints.is_empty());
    }
}

#[test]
fn an_empty_file_or_one_without_an_email_is_refused_and_changes_nothing() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(["a@x.io"]);
    dir.emails(["a@x.io"]);
    dir.sync(api.url()).run().exits(0);
    let before = (dir.customer_data(), dir.rows("SELECT * FROM runs"));
    dir.write("list.csv", "");
    dir.sync(api.url()).run().exits(1).stderr_has("`list.csv` is empty");
    dir.write("list.csv", "email\nAnn\nBob\n");
    dir.sync(api.url()).run().exits(1).stderr_has("holds no valid email in 2 rows (first: row 2");
    assert_eq!((dir.customer_data(), dir.rows("SELECT * FROM runs")), before);
    assert_eq!(api.request_count(), 1);
}

#[test]
fn a_file_with_only_a_header_is_an_empty_run_with_a_warning() {
    let (dir, api) = (TestDir::new(), Api::new());
    dir.write("list.csv", "email\n");
    let ended = dir.sync(api.url()).run().exits(0);
    ended.stderr_has("The source has no rows.").stdout_has("Warning: The source has no rows.");
    assert_eq!(dir.counts(), "");
    assert_eq!(dir.report()["warnings"][0], "The source has no rows.");
}

#[test]
fn a_source_that_shrank_to_under_half_is_warned_about() {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(["a@x.io", "d@x.io"]);
    dir.emails(["a@x.io", "b@x.io", "c@x.io", "d@x.io", "e@x.io"]);
    dir.sync(api.url()).run().exits(0).never_shows("less than half");
    dir.emails(["a@x.io", "b@x.io"]);
    dir.sync(api.url())
        .run()
        .exits(0)
        .stderr_has("less than half of the 5")
        .stdout_has("less than half");
    assert!(dir.report()["warnings"][0].as_str().unwrap().contains("2 rows"));
    dir.emails(["a@x.io"]);
    dir.sync(api.url()).run().exits(0).never_shows("less than half");
    dir.has_rows("SELECT count(*) FROM customers WHERE missing_since IS NULL", ["2"]);
}
