//! Emails come out of a file or standard input, and every row is accounted for.

use crate::support::api::Api;
use crate::support::desk::Desk;

#[test]
fn a_file_is_synced_and_the_report_is_printed() {
    let (desk, api) = (Desk::new(), Api::new());
    api.has_all(["a@x.io", "c@x.io"]);
    desk.write(
        "list.csv",
        "id,Email,name\n1,A@x.io ,Ann\n2,b@x.io,Bob\n3,,\n4,c@x.io,C\n5,a@X.io,A\n",
    );
    let ended = desk.sync(api.url()).run().exits(0);
    ended.prints("Run 1: complete").prints("duplicate    1").prints("Changes: 2 created");
    assert_eq!(desk.counts(), "rows 5, invalid 1, duplicate 1, planned 3, found 2, not_found 1");
    assert_eq!(api.asked(), ["a@x.io", "b@x.io", "c@x.io"]);
    desk.stored(
        "SELECT id, email FROM customers ORDER BY id",
        ["cust_a@x.io|a@x.io", "cust_c@x.io|c@x.io"],
    );
    desk.stored(
        "SELECT email, outcome, status, attempts, customer_id FROM lookups ORDER BY email",
        [
            "a@x.io|found|200|1|cust_a@x.io",
            "b@x.io|not_found|404|1|NULL",
            "c@x.io|found|200|1|cust_c@x.io",
        ],
    );
    desk.stored("SELECT row, input, code FROM rejects", ["4||blank"]);
}

#[test]
fn standard_input_is_a_source() {
    let (desk, api) = (Desk::new(), Api::new());
    api.has_all(["a@x.io"]);
    desk.sync_of(api.url(), ["-"]).stdin("email\na@x.io\n").run().exits(0);
    assert_eq!(desk.counts(), "rows 1, planned 1, found 1");
}

#[test]
fn a_column_is_named_or_numbered() {
    let (desk, api) = (Desk::new(), Api::new());
    desk.write("list.csv", "email,invoice_to\na@x.io,b@x.io\n");
    desk.sync(api.url()).run().exits(0);
    desk.sync(api.url()).args(["--column", "INVOICE_TO"]).run().exits(0);
    desk.sync(api.url()).args(["--column", "2"]).run().exits(0);
    desk.sync(api.url()).args(["--column", "1"]).run().exits(0);
    assert_eq!(api.asked(), ["a@x.io", "b@x.io", "b@x.io", "a@x.io"]);
}

#[test]
fn a_file_without_a_header_is_read_from_its_first_row() {
    let (desk, api) = (Desk::new(), Api::new());
    desk.write("list.csv", "Ann;a@x.io\nBob;b@x.io\n");
    desk.sync(api.url()).run().exits(0);
    assert_eq!(api.asked(), ["a@x.io", "b@x.io"]);
    desk.write("list.csv", "a@x.io;Ann\n");
    desk.sync(api.url()).args(["--no-header", "--delimiter", ";"]).run().exits(0);
    assert_eq!(api.asked(), ["a@x.io"]);
}

#[test]
fn options_come_from_the_environment_too_and_the_command_line_wins() {
    let (desk, api) = (Desk::new(), Api::new());
    desk.write("list.csv", "email,other\na@x.io,b@x.io\n");
    desk.sync(api.url()).env("TELEMETRON_COLUMN", "other").run().exits(0);
    let both = desk.sync(api.url()).env("TELEMETRON_COLUMN", "other");
    both.args(["--column", "email"]).run().exits(0);
    assert_eq!(api.asked(), ["b@x.io", "a@x.io"]);
}

#[test]
fn an_empty_file_or_one_without_an_email_is_refused_and_changes_nothing() {
    let (desk, api) = (Desk::new(), Api::new());
    api.has_all(["a@x.io"]);
    desk.emails(["a@x.io"]);
    desk.sync(api.url()).run().exits(0);
    let before = (desk.knowledge(), desk.rows("SELECT * FROM runs"));
    desk.write("list.csv", "");
    desk.sync(api.url()).run().exits(1).says("`list.csv` is empty");
    desk.write("list.csv", "email\nAnn\nBob\n");
    desk.sync(api.url()).run().exits(1).says("None of the 2 rows holds an email (row 2");
    assert_eq!((desk.knowledge(), desk.rows("SELECT * FROM runs")), before);
    assert_eq!(api.total(), 1);
}

#[test]
fn a_header_alone_is_a_run_of_nothing_with_a_warning() {
    let (desk, api) = (Desk::new(), Api::new());
    desk.write("list.csv", "email\n");
    let ended = desk.sync(api.url()).run().exits(0);
    ended.says("The source has no rows.").prints("Warning: The source has no rows.");
    assert_eq!(desk.counts(), "");
    assert_eq!(desk.report()["warnings"][0], "The source has no rows.");
}

#[test]
fn a_source_that_shrank_to_under_half_is_told() {
    let (desk, api) = (Desk::new(), Api::new());
    api.has_all(["a@x.io", "d@x.io"]);
    desk.emails(["a@x.io", "b@x.io", "c@x.io", "d@x.io", "e@x.io"]);
    desk.sync(api.url()).run().exits(0).never_says("less than half");
    desk.emails(["a@x.io", "b@x.io"]);
    desk.sync(api.url()).run().exits(0).says("less than half of the 5").prints("less than half");
    assert!(desk.report()["warnings"][0].as_str().unwrap().contains("2 rows"));
    desk.emails(["a@x.io"]);
    desk.sync(api.url()).run().exits(0).never_says("less than half");
    desk.stored("SELECT count(*) FROM customers WHERE missing_since IS NULL", ["2"]);
}
