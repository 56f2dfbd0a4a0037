//! Content that means harm, or means nothing, is kept to the letter and shown harmless.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};
use telemetron_sync::sandbox::{Reply, Request};

use crate::support::api::{Api, customer, with};
use crate::support::command::{Finished, TestCommand};
use crate::support::dir::TestDir;
use crate::support::memory::peak_kib;

/// What is tried in every place that takes text.
const HOSTILE: [&str; 12] = [
    "\u{1b}[2J\u{1b}[31mred\u{7}",
    "\u{9b}31m\u{85}\u{7f}",
    "a\u{0}b",
    "\r\nFAKE error: all is well\n",
    "\u{202e}gnp.exe\u{2066}\u{200f}\u{2028}",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "'; DROP TABLE customers; --",
    "\"quoted\" \\ back\\slash `tick`",
    "=cmd|' /C calc'!A0",
    "# *bold* [link](javascript:alert(1)) | cell",
    "{}%s%n$(reboot)`reboot`",
    "\u{feff}\u{200b}\u{1f4a9}e\u{301}\t",
];

/// Whether a terminal would do something else with it than show it.
fn acts(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n') || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

#[track_caller]
fn harmless(name: &str, text: &str) {
    let acting = text.lines().find(|line| line.contains(acts));
    assert_eq!(acting, None, "{name} holds what a terminal acts on");
    assert!(!text.lines().any(|line| line.starts_with("FAKE")), "{name} holds a line of its own");
}

/// Nothing acts, on the terminal or in a report; a page and a text for wikis hold no markup.
#[track_caller]
fn shows_no_harm(dir: &TestDir, ended: Finished) -> Finished {
    harmless("standard output", &ended.stdout);
    harmless("standard error", &ended.stderr);
    for report in ["r.txt", "r.md", "r.html", "r.prom", "r.json"] {
        let text = dir.read(report);
        harmless(report, &text);
        let is_rendered = report.ends_with("md") || report.ends_with("html");
        assert!(
            !is_rendered || !["<script", "<img"].iter().any(|tag| text.contains(tag)),
            "{report}"
        );
    }
    serde_json::from_str::<Value>(&dir.read("r.json")).expect("a report in JSON");
    for command in [&["runs"][..], &["report"], &["report", "--format", "html"]] {
        let ended = dir.command(command.iter().copied()).run().exits(0);
        harmless(command[0], &ended.stdout);
    }
    ended
}

fn loud(sync: TestCommand<'_>) -> TestCommand<'_> {
    let reports = ["r.txt", "r.md", "r.html", "r.prom", "r.json"];
    let reports = reports.into_iter().flat_map(|name| ["--report", name]);
    sync.args(["-vv", "--rejects", "x.csv", "--max-attempts", "1", "--fail-above", "100%"])
        .args(reports)
}

/// An email that resolves to the `n`th hostile thing.
fn email(n: usize) -> String {
    format!("h{n:02}@x.io")
}

fn number(request: &Request<'_>) -> Option<usize> {
    request.email?.get(1..3)?.parse().ok()
}

#[test]
fn a_customer_of_hostile_texts_is_stored_exactly() {
    let (dir, api) = (TestDir::new(), Api::new());
    let all = |n: usize, text: &str| {
        json!({
            "id": format!("{n}{text}"), "name": text, "phone": text, "address": text,
            "email": text, "organizationId": HOSTILE[0], "devices": [format!("{text}!"), text],
            "orders": [text], "createdAt": text, "metadata": {text: text}, format!("x{text}"): text,
        })
    };
    for (n, text) in HOSTILE.iter().enumerate() {
        api.has(&email(n), with(customer("", ""), all(n, text)));
    }
    dir.emails((0..HOSTILE.len()).map(email));
    shows_no_harm(&dir, loud(dir.sync(api.url())).run().exits(0));
    let store = dir.store();
    for (n, text) in HOSTILE.iter().enumerate() {
        let id = format!("{n}{text}");
        let texts = "SELECT name = ?2 AND phone = ?2 AND address = ?2 AND email = ?2
                 AND created_at = ?2 AND metadata = ?3 AND extra = ?4
                 AND (SELECT group_concat(device_id, '') FROM device_assignments
                      WHERE customer_id = ?1) IN (?2 || '!' || ?2, ?2 || ?2 || '!')
                 AND (SELECT order_id FROM orders WHERE customer_id = ?1) = ?2
             FROM customers WHERE id = ?1";
        let (metadata, extra) = (json!({*text: text}), json!({format!("x{text}"): text}));
        let values = (&id, text, metadata.to_string(), extra.to_string());
        let exact: bool = store.query_row(texts, values, |row| row.get(0)).expect("the customer");
        assert!(exact, "{text:?} is stored as something else");
    }
    // Changed to other such texts, they are printed as harmless.
    for (n, text) in HOSTILE.iter().rev().enumerate() {
        let changed = with(all(n, text), json!({"id": format!("{n}{}", HOSTILE[n])}));
        api.has(&email(n), changed);
    }
    shows_no_harm(&dir, loud(dir.sync(api.url())).run().exits(0));
}

#[test]
fn hostile_error_texts_are_shown_harmless() {
    let (dir, api) = (
        TestDir::new(),
        Api::with_rule(|request| Some(Reply::error(400, HOSTILE[number(request)?]))),
    );
    dir.emails((0..HOSTILE.len()).map(email));
    shows_no_harm(&dir, loud(dir.sync(api.url())).run().exits(3));
    check_csv(&dir.path("x.csv"), HOSTILE.len());
    let html = Api::with_rule(|request| Some(Reply::html(404, HOSTILE[number(request)?])));
    shows_no_harm(&dir, loud(dir.sync(html.url())).args(["--outage-wait", "1s"]).run().exits(6));
    let broken = Api::with_rule(|request| {
        let text = HOSTILE[number(request)?];
        Some(Reply::json(200, json!({"id": 7, text: text, "devices": text}).to_string()))
    });
    shows_no_harm(&dir, loud(dir.sync(broken.url())).run().exits(3));
    let theirs = Api::new();
    for (n, text) in HOSTILE.iter().enumerate() {
        theirs.has(&email(n), with(customer("c", ""), json!({"organizationId": text})));
    }
    let ours = loud(dir.sync(theirs.url())).args(["--organization", "\u{1b}[31mours"]);
    shows_no_harm(&dir, ours.run().exits(5));
}

/// Well formed: every record has all cells, none of which a spreadsheet would run.
#[track_caller]
fn check_csv(path: &Path, rejects: usize) {
    let mut reader = csv::Reader::from_path(path).expect("a CSV");
    let records: Vec<_> = reader.records().map(|record| record.expect("a record")).collect();
    assert_eq!(records.len(), rejects);
    let runs = |cell: &str| cell.starts_with(['=', '+', '-', '@', '\r']);
    assert!(!records.iter().flatten().any(runs), "{records:?}");
}

#[test]
fn hostile_rows_and_file_names_are_shown_harmless() {
    let (dir, api) = (TestDir::new(), Api::new());
    let mut list = b"\"e\x1b[31mmail\"\n".to_vec();
    for text in HOSTILE {
        list.extend(
            format!("\"{}\"\n\"{}@x.io\"\n", text.replace('"', "\"\""), text.replace('"', "\"\""))
                .bytes(),
        );
    }
    list.extend(b"good@x.io\n");
    let name = "\u{1b}[31m<script>\u{202e}'|`# *.csv";
    dir.write(name, &list);
    let column = ["--column", "1", "--max-invalid", "100%", "--log-format", "json"];
    let ended = loud(dir.sync_of(api.url(), [name])).args(column).run();
    assert!(matches!(ended.code, Some(0 | 3)), "{ended:?}");
    shows_no_harm(&dir, ended);
    let rejects = dir.number("SELECT count(*) FROM rejects");
    assert!(rejects > 10, "{rejects}");
    check_csv(&dir.path("x.csv"), usize::try_from(rejects).unwrap());
    let missing = dir.sync_of(api.url(), ["no\u{1b}[31m\u{202e}\n.csv"]).run().exits(1);
    harmless("standard error", &missing.stderr);
    let column = dir.sync_of(api.url(), [name, "--column", "\u{1b}[31m\u{202e}\n"]).run().exits(1);
    harmless("standard error", &column.stderr);
    for (option, value) in [("--report", "no/\u{1b}[31m.json"), ("--rejects", "no/\u{1b}[31m")] {
        let ended = dir.sync_of(api.url(), [name, option, value]).run().exits(1);
        harmless(option, &ended.stderr);
    }
    let ended = dir.sync_of(api.url(), [name, "--store", "no/\u{1b}[31m.db"]).run().exits(1);
    harmless("--store", &ended.stderr);
    let ended = dir.sync(api.url()).args(["--api-key-file", "\u{1b}[31m"]).run().exits(1);
    harmless("--api-key-file", &ended.stderr);
}

#[test]
fn bytes_that_are_not_text_are_refused_or_kept_readable() {
    let dir = TestDir::new();
    let api = Api::with_rule(|request| match number(request)? {
        0 => Some(Reply::json(200, &b"{\"id\":\"c\xff\",\"name\":\"\xc0\xaf\"}"[..])),
        1 => Some(Reply::json(400, &b"{\"error\":\"\xff\xfe\x1b[31m\"}"[..])),
        2 => Some(Reply::json(200, r#"{"id":"\ud800"}"#)),
        3 => Some(Reply::json(200, &[0u8; 100][..])),
        _ => None,
    });
    dir.emails((0..4).map(email));
    shows_no_harm(&dir, loud(dir.sync(api.url())).run().exits(3));
    dir.has_rows("SELECT count(*) FROM customers", ["0"]);
    let mut list = b"email\n".to_vec();
    list.extend(
        b"h05@x.io\nb\xff\xfe\xc0@x.io\n\xf0\x9f@x.io\na\x00b@x.io\n\x80\x81\xed\xa0\x80@x.io\n",
    );
    dir.write("list.csv", &list);
    let ended = loud(dir.sync(Api::new().url())).run();
    assert!(matches!(ended.code, Some(0 | 1 | 3)), "{ended:?}");
    harmless("standard error", &ended.stderr);
    harmless("standard output", &ended.stdout);
    dir.assert_sums();
}

#[test]
fn errors_of_four_mebibytes_take_neither_memory_nor_room_in_the_store() {
    let text = "x".repeat(4 << 20);
    let page = format!("<html>{text}");
    let api = Api::with_rule(move |request| {
        Some(match number(request)? % 4 {
            0 => Reply::error(400, &text),
            1 => Reply::new(500, "text/html", page.clone()),
            2 => Reply::error(418, &text),
            _ => Reply::json(200, format!("{{\"id\":7,\"name\":\"{text}\"}}")),
        })
    });
    let dir = TestDir::new();
    dir.emails((0..80).map(email));
    let mut run = loud(dir.sync(api.url())).start();
    let mut peak = 0;
    while run.is_running() {
        peak = peak.max(peak_kib(run.process.id()).unwrap_or(0));
    }
    let ended = run.wait();
    assert!(matches!(ended.code, Some(3 | 6)), "{ended:?}");
    // 80 bodies take 320 MiB.
    assert!((1 << 10..128 << 10).contains(&peak), "{peak} KiB");
    let [store, log] = dir.store_bytes().map(|bytes| bytes.len());
    assert!(store + log < 4 << 20, "{store} and {log} bytes");
    assert!(dir.number("SELECT max(length(reason)) FROM rejects") <= 300);
    assert!(ended.stderr.len() + ended.stdout.len() < 200_000, "{} bytes", ended.stderr.len());
}

#[test]
fn ten_thousand_devices_and_a_name_of_a_mebibyte() {
    let (dir, api) = (TestDir::new(), Api::new());
    let devices: Vec<String> = (0..10_000).map(|n| format!("dev_{n}")).collect();
    let name = "<\u{1b}'\"&".repeat((1 << 20) / 5 + 1);
    let big = with(customer("big", "big@x.io"), json!({"devices": devices, "name": name}));
    api.has("big@x.io", &big);
    dir.emails(["big@x.io"]);
    shows_no_harm(&dir, loud(dir.sync(api.url())).run().exits(0));
    dir.has_rows("SELECT count(*) FROM current_devices", ["10000"]);
    let store = Connection::open(dir.path("s.db")).unwrap();
    let stored: String =
        store.query_row("SELECT name FROM customers", [], |row| row.get(0)).unwrap();
    assert!(stored == name);
    let half = with(big, json!({"devices": devices[..5000].to_vec(), "name": "N"}));
    api.has("big@x.io", half);
    let ended = shows_no_harm(&dir, loud(dir.sync(api.url())).run().exits(0));
    assert!(ended.stdout.len() < 10_000, "a report is short");
    dir.has_rows(
        "SELECT kind, count(*) FROM changes GROUP BY kind",
        ["created|1", "device_unassigned|5000", "updated|1"],
    );
    dir.write("list.csv", format!("email\n{}@x.io\nbig@x.io\n", "a".repeat(1 << 20)));
    let ended = loud(dir.sync(api.url())).run();
    assert!(matches!(ended.code, Some(0 | 1)), "{:?}", ended.code);
    assert!(ended.stderr.len() < 10_000, "{} bytes on standard error", ended.stderr.len());
    assert!(fs::metadata(dir.path("r.md")).unwrap().len() < 10_000);
}
