//! The store as a stranger sees it: public names, declared types, and the questions of
//! docs/REPORTING.md with the SQL that stands there, asked of a store whose history is known.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, Statement};
use serde_json::{Value, json};
use telemetron_sync::sandbox::Reply;

use crate::docs::generated;
use crate::support::api::{Api, customer, emails, start_sandbox, with};
use crate::support::clock::wait_until;
use crate::support::dir::TestDir;

/// The Mondays on which the history's first runs took place. The fourth took place just now.
const WEEKS: [&str; 3] = ["2025-01-06T10:00:00", "2025-01-13T10:00:00", "2025-01-20T10:00:00"];

/// Each private column of times.
const TIMES: [(&str, &[&str]); 7] = [
    ("_runs", &["started_at", "finished_at", "updated_at"]),
    (
        "_customers",
        &[
            "first_seen_at",
            "changed_at",
            "synced_at",
            "missing_since",
            "devices_listed_at",
            "orders_listed_at",
        ],
    ),
    ("_device_intervals", &["assigned_after", "assigned_at", "unassigned_at"]),
    ("_order_intervals", &["seen_after", "first_seen_at", "removed_at"]),
    ("_emails", &["looked_up_at", "answered_at"]),
    ("_changes", &["at"]),
    ("_learned_limits", &["at"]),
];

/// A question of the document.
struct Question {
    number: usize,
    title: String,
    sql: String,
}

/// The text of a section of the document.
fn section(title: &str) -> &'static str {
    let document = include_str!("../../docs/REPORTING.md");
    let text = document.split(&format!("\n## {title}\n")).nth(1).expect("a section");
    text.split("\n## ").next().expect("its text")
}

fn questions() -> Vec<Question> {
    let question = |(index, text): (usize, &str)| {
        let (heading, text) = text.split_once('\n').expect("a text");
        let (number, title) = heading.split_once(". ").expect("a number");
        let sql = text.split("```sql\n").nth(1).expect("SQL").split("```").next().expect("an end");
        assert_eq!(number, (index + 1).to_string(), "{title}");
        Question { number: index + 1, title: title.to_owned(), sql: sql.to_owned() }
    };
    section("Questions").split("\n### ").skip(1).enumerate().map(question).collect()
}

/// Ann passes a device on to Bob, with whom she shares another, and has a third for a week; Cid is
/// missing for a week; Zoe comes later and is not on the last list; Dan is not known, and Err's address
/// is refused.
fn history() -> TestDir {
    let api = Api::with_rule(|request| {
        (request.email == Some("err@x.io")).then(|| Reply::error(400, "Invalid email"))
    });
    let dir = TestDir::new();
    let person = |id: &str, fields: Value| {
        let email = format!("{id}@x.io");
        api.has(&email, with(customer(&format!("c_{id}"), &email), fields));
    };
    let run = |emails: &[&str]| {
        dir.emails(emails.iter().map(|id| format!("{id}@x.io")));
        dir.sync(api.url()).run().exits(3);
    };

    let ann = json!({ "name": "Ann Lee", "phone": "+1 555 1", "devices": ["D1", "D2"], "orders": ["O1"],
        "metadata": { "plan": "pro", "seats": 3 }, "tier": "gold" });
    person("ann", ann.clone());
    let bob = json!({ "name": "Bob Ray", "devices": ["D2"], "orders": [], "metadata": { "plan": "free" } });
    person("bob", bob.clone());
    let cid = json!({ "name": "ann lee", "devices": ["D3"], "orders": ["O3"] });
    person("cid", cid.clone());
    run(&["ann", "bob", "cid", "dan", "err"]);

    let ann = with(ann, json!({ "devices": ["D2", "D8"], "orders": ["O1", "O2"] }));
    person("ann", ann.clone());
    let bob = with(bob, json!({ "devices": ["D2", "D1"] }));
    person("bob", bob.clone());
    person("zoe", json!({ "name": "Zoe", "devices": [], "orders": ["O9"] }));
    run(&["ann", "bob", "cid", "dan", "err", "zoe"]);

    person("ann", with(ann, json!({ "devices": ["D2"] })));
    api.remove_email("cid@x.io");
    run(&["ann", "bob", "cid", "dan", "err", "zoe"]);

    person("cid", cid);
    person("bob", with(bob, json!({ "phone": "+1-555-1" })));
    run(&["ann", "bob", "cid", "dan", "err"]);
    move_runs_into_the_past(&dir);
    dir
}

fn move_runs_into_the_past(dir: &TestDir) {
    let starts = dir.rows("SELECT started_at FROM runs ORDER BY id");
    let mut sql = "BEGIN;".to_owned();
    for (week, run) in WEEKS.iter().zip(starts.windows(2)) {
        for (table, columns) in TIMES {
            for column in columns {
                let moved =
                    format!("julianday('{week}') + julianday({column}) - julianday('{}')", run[0]);
                sql += &format!(
                    "UPDATE {table} SET {column} = strftime('%Y-%m-%dT%H:%M:%fZ', {moved})
                     WHERE {column} >= '{}' AND {column} < '{}';",
                    run[0], run[1]
                );
            }
        }
    }
    dir.alter(&format!("{sql} COMMIT;"));
}

/// The values that the questions are asked with.
fn parameter(name: &str) -> Cell {
    match name {
        ":last_seen" => Cell::Integer(0),
        _ => Cell::Text(
            match name {
                ":device" => "D1",
                ":customer" => "c_cid",
                ":value" => "pro",
                ":time" => "2025-01-30T00:00:00.000Z",
                ":from" => "2025-01-13T00:00:00.000Z",
                ":to" => "2025-01-27T00:00:00.000Z",
                ":hours" => "12",
                other => panic!("no value for {other}"),
            }
            .to_owned(),
        ),
    }
}

fn bind(select: &mut Statement<'_>) {
    for index in 1..=select.parameter_count() {
        let name = select.parameter_name(index).expect("a name").to_owned();
        select.raw_bind_parameter(index, parameter(&name)).expect("a parameter");
    }
}

/// The rows of an answer, their cells joined by `|`, of times only the day, which is `today` if it is
/// none of [`WEEKS`].
fn ask(store: &Connection, sql: &str) -> Vec<String> {
    let mut select = store.prepare(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    bind(&mut select);
    let width = select.column_count();
    let mut rows = select.raw_query();
    let mut answer = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let cells = (0..width).map(|at| shown(row.get(at).expect("a cell")));
        answer.push(cells.collect::<Vec<_>>().join("|"));
    }
    answer
}

fn shown(cell: Cell) -> String {
    let is_time =
        |text: &str| text.len() == 24 && text.as_bytes()[10] == b'T' && text.ends_with('Z');
    match cell {
        Cell::Null => "-".to_owned(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) if is_time(&text) && !text.starts_with("2025-01") => "today".to_owned(),
        Cell::Text(text) if is_time(&text) => text[..10].to_owned(),
        Cell::Text(text) => text,
        Cell::Blob(_) => panic!("a BLOB"),
    }
}

/// What the questions find. `None`: the answer depends on the clock, and is checked below.
fn answers(number: usize) -> Option<&'static [&'static str]> {
    Some(match number {
        1 => &[
            "c_bob|Bob Ray|bob@x.io|2",
            "c_ann|Ann Lee|ann@x.io|1",
            "c_cid|ann lee|cid@x.io|1",
            "c_zoe|Zoe|zoe@x.io|0",
        ],
        2 => &["c_bob|Bob Ray|bob@x.io|2", "c_ann|Ann Lee|ann@x.io|1"],
        4 => {
            &["2025-01-06|2025-01-13|c_ann|Ann Lee|ann@x.io", "2025-01-13|-|c_bob|Bob Ray|bob@x.io"]
        }
        5 => &["D2|2|ann@x.io, bob@x.io"],
        6 => &["D1|c_ann|c_bob|2025-01-13|2025-01-13"],
        8 => {
            &["2025-01-13|created|c_zoe|Zoe|zoe@x.io", "2025-01-20|missing|c_cid|ann lee|cid@x.io"]
        }
        10 => &["c_zoe|Zoe|zoe@x.io|2025-01-20"],
        24 => &["zoe@x.io|c_zoe|2025-01-20|2025-01-20"],
        12 => &["name|ann lee|2|c_ann, c_cid", "phone|+15551|2|c_ann, c_bob"],
        15 => &["org_1|4|4|4|today"],
        19 => &["plan|2|text|free", "seats|1|integer|3"],
        20 => &["c_ann|Ann Lee|ann@x.io|pro"],
        21 => &["1|7|7|7"],
        22 => &[
            "2025-01-06|first seen with 1 devices and 1 orders",
            "2025-01-20|is not found any more",
            "2025-01-20|no longer has the device D3",
            "2025-01-20|no longer lists the order O3",
            "today|is found again",
            "today|got the device D3",
            "today|placed the order O3",
        ],
        _ => return None,
    })
}

#[test]
fn the_questions_find_what_happened() {
    let dir = history();
    let store = dir.store();
    let questions = questions();
    assert!(questions.len() >= 20, "{}", questions.len());
    let asked = |number: usize| ask(&store, &questions[number - 1].sql);
    for Question { number, title, .. } in &questions {
        let rows = asked(*number);
        assert!(!rows.is_empty(), "{number}. {title}");
        if let Some(expected) = answers(*number) {
            assert_eq!(rows, expected, "{number}. {title}");
        }
    }

    let today = dir.rows("SELECT date(max(started_at)) FROM runs").remove(0);
    let month = &today[..7];
    let week = dir.rows("SELECT date(max(started_at), 'weekday 0', '-6 days') FROM runs").remove(0);
    let developed = [
        "2025-01-06|4|3|1.33",
        "2025-01-13|5|4|1.25",
        "2025-01-20|3|3|1",
        &format!("{today}|4|4|1"),
    ];
    assert_eq!(asked(3), developed);
    assert_eq!(asked(7), ["2025-01|4|1", &format!("{month}|1|1")]);
    let churn = [
        "2025-01-06|3|0|0|0",
        "2025-01-13|0|1|0|0",
        "2025-01-20|0|0|1|0",
        &format!("{week}|0|0|0|1"),
    ];
    assert_eq!(asked(9), churn);
    let unanswered = asked(11);
    assert!(
        unanswered.len() == 1 && unanswered[0].starts_with("err@x.io|rejected|"),
        "{unanswered:?}"
    );
    let failures = asked(13);
    assert_eq!(failures.len(), 4);
    assert!(failures[0].starts_with("4|today|rejected|1|"), "{failures:?}");
    assert_eq!(asked(14), ["2025-01|rejected|3|3", &format!("{month}|rejected|1|1")]);
    let changes = dir.number("SELECT count(*) FROM changes");
    assert_eq!(asked(16).len() as i64, changes);
    let yesterday = asked(17);
    assert!(yesterday.len() == 1 && yesterday[0].ends_with("|good, but 1 failed"), "{yesterday:?}");
    let growth = asked(18);
    assert!(growth.len() == 2 && growth[0].contains("|4|0|"), "{growth:?}");
    let complete = asked(23);
    assert!(complete.len() == 1 && complete[0].ends_with("|0|today|5|0|1|today"), "{complete:?}");
}

#[test]
fn a_killed_run_is_told_from_one_that_works() {
    let dir = TestDir::new();
    let silent = Api::with_rule(|_| Some(Reply::error(404, "").after(Duration::from_secs(60))));
    dir.emails(["a@x.io"]);
    let run = dir.sync(silent.url()).start();
    wait_until("the run plans", || dir.number("SELECT count(*) FROM runs") == 1);
    let verdict = || ask(&dir.store(), &questions()[16].sql).join("\n");
    assert!(verdict().ends_with("|still running"), "{}", verdict());
    assert!(run.kill());
    dir.alter(
        "UPDATE _runs SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', updated_at, '-61 seconds')",
    );
    assert!(verdict().ends_with("|killed, and not resumed yet"), "{}", verdict());
}

#[test]
fn a_device_moves_to_the_customer_who_got_it_next_and_kept_it() {
    let (api, dir) = (Api::with_rule(|_| None), TestDir::new());
    let run = |lists: [(&str, &[&str]); 3]| {
        for (id, devices) in lists {
            let email = format!("{id}@x.io");
            let customer = customer(&format!("c_{id}"), &email);
            api.has(&email, with(customer, json!({ "devices": devices })));
        }
        dir.emails(["ann@x.io", "bob@x.io", "cid@x.io"]);
        dir.sync(api.url()).run().exits(0);
    };
    // D1 goes to Ann, and from her to nobody. D2 goes round. D3 is with nobody for a while, and Ann gets
    // it back before Bob does. Ann and Bob share D4 from the start. D5 is seen with both for a while. Cid
    // shares Ann's D6 for a while, and it is Bob who got it next after either.
    run([("ann", &["D2", "D3", "D4", "D5", "D6"]), ("bob", &["D1", "D4"]), ("cid", &[])]);
    run([("ann", &["D1", "D4", "D5", "D6"]), ("bob", &["D2", "D4", "D5"]), ("cid", &["D6"])]);
    run([("ann", &["D3", "D4", "D6"]), ("bob", &["D5"]), ("cid", &["D2"])]);
    run([("ann", &["D4"]), ("bob", &["D3", "D5", "D6"]), ("cid", &["D2"])]);
    let from = dir.rows("SELECT min(started_at) FROM runs").remove(0);
    let sql = questions().remove(5).sql.replace(":from", &format!("'{from}'"));
    let mut moves = Vec::new();
    for row in ask(&dir.store(), &sql.replace(":to", "'2999-01-01'")) {
        let cells: Vec<&str> = row.split('|').collect();
        moves.push(cells[..3].join(" "));
    }
    moves.sort();
    let happened = [
        "D1 c_bob c_ann",
        "D2 c_ann c_bob",
        "D2 c_bob c_cid",
        "D3 c_ann c_bob",
        "D5 c_ann c_bob",
        "D6 c_ann c_bob",
        "D6 c_cid c_bob",
    ];
    assert_eq!(moves, happened);
}

#[test]
fn metadata_and_unknown_fields_are_found_and_indexed() {
    let dir = history();
    let blocks: Vec<&str> = section("Metadata and unknown fields")
        .split("```sql\n")
        .skip(1)
        .map(|block| block.split("```").next().expect("an end"))
        .collect();
    let [unknown_fields, paths, index] = blocks[..] else { panic!("{blocks:?}") };
    assert_eq!(ask(&dir.store(), unknown_fields), ["tier|1|text|gold"]);
    assert_eq!(ask(&dir.store(), paths), ["$.plan|2", "$.seats|1"]);

    dir.alter(index);
    let by_value =
        "SELECT id FROM current_customers WHERE json_extract(metadata, '$.plan') = 'pro'";
    assert_eq!(ask(&dir.store(), by_value), ["c_ann"]);
    let plan = ask(&dir.store(), &format!("EXPLAIN QUERY PLAN {by_value}")).join("\n");
    assert!(plan.contains("USING INDEX my_plan"), "{plan}");
}

/// The questions that read all of a large table: they ask about all of it, or about what every lookup
/// rewrites or only some stores have, which has no index.
const READ_EVERYTHING: [usize; 14] = [1, 2, 3, 5, 7, 9, 10, 11, 12, 15, 18, 19, 20, 24];

/// Statistics as a store of 200,660 customers with nine weeks of history has them.
const STATISTICS: &str = include_str!("statistics.sql");

#[test]
fn no_question_reads_a_whole_table_where_an_index_serves() {
    let dir = history();
    dir.alter("DELETE FROM sqlite_stat1");
    dir.alter(STATISTICS);
    let store = dir.store();
    for Question { number, title, sql } in questions() {
        let mut plan = store.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
        bind(&mut plan);
        let mut rows = plan.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().expect("a step") {
            steps.push(row.get::<_, String>(3).expect("a text"));
        }
        // `SCAN c`: a table by its alias in the views. Runs and their failures are few.
        let large = ["c", "d", "o", "e", "h"];
        let scans = steps.iter().any(|step| {
            let mut words = step.split(' ');
            words.next() == Some("SCAN") && words.next().is_some_and(|name| large.contains(&name))
        });
        assert_eq!(
            scans,
            READ_EVERYTHING.contains(&number),
            "{number}. {title}\n{}",
            steps.join("\n")
        );
    }
}

#[test]
fn a_run_leaves_statistics_of_every_large_table_and_of_no_small_one() {
    let (sandbox, dir) = (start_sandbox(Duration::ZERO), TestDir::new());
    dir.emails(emails(500));
    dir.sync(sandbox.url()).run().exits(0);
    let known: BTreeSet<String> =
        dir.rows("SELECT DISTINCT tbl FROM sqlite_stat1").into_iter().collect();
    for table in ["_changes", "_customers", "_device_intervals", "_emails", "_order_intervals"] {
        assert!(known.contains(table), "{table}: {known:?}");
    }
    assert!(!known.contains("_runs"), "{known:?}");
}

#[test]
fn the_docs_explain_every_column_as_the_store_does() {
    let dir = history();
    let mut text = String::new();
    let names = "SELECT table_name FROM data_dictionary GROUP BY table_name ORDER BY min(rowid)";
    for name in dir.rows(names) {
        write!(text, "\n### {name}\n\n| column | type | meaning |\n| --- | --- | --- |\n").unwrap();
        for row in dir.rows(&format!(
            "SELECT '| `' || column_name || '` | ' || type || ' | ' || meaning || ' |'
             FROM data_dictionary WHERE table_name = '{name}' ORDER BY rowid"
        )) {
            writeln!(text, "{row}").unwrap();
        }
    }
    text.push('\n');
    generated("docs/REPORTING.md", "data dictionary", &text);
}

/// A text as YAML in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[test]
fn the_docs_sample_for_datasette_explains_what_the_store_does() {
    let dir = history();
    let mut text = "    tables:\n".to_owned();
    let names = "SELECT table_name FROM data_dictionary GROUP BY table_name ORDER BY min(rowid)";
    for name in dir.rows(names) {
        write!(text, "      {name}:\n        columns:\n").unwrap();
        let columns = format!(
            "SELECT column_name, meaning FROM data_dictionary
             WHERE table_name = '{name}' ORDER BY rowid"
        );
        for row in dir.rows(&columns) {
            let (column, meaning) = row.split_once('|').expect("two cells");
            writeln!(text, "          {column}: {}", quoted(meaning)).unwrap();
        }
    }
    let private = "SELECT name FROM sqlite_schema
        WHERE type = 'table' AND (name LIKE '\\_%' ESCAPE '\\' OR name = 'sqlite_sequence')
        ORDER BY name";
    for name in dir.rows(private) {
        write!(text, "      {name}:\n        hidden: true\n").unwrap();
    }
    text.push_str("    queries:\n");
    for Question { title, sql, .. } in questions() {
        let words =
            title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let name = words.collect::<Vec<_>>().join("-").to_lowercase();
        write!(text, "      {name}:\n        title: {}\n        sql: |-\n", quoted(&title))
            .unwrap();
        for line in sql.trim_end().trim_end_matches(';').lines() {
            writeln!(text, "          {line}").unwrap();
        }
    }
    text.push_str("# ");
    generated("samples/datasette.yml", "Datasette", &text);
}

#[test]
fn select_star_from_a_public_name_returns_texts_and_numbers() {
    let dir = history();
    let store = dir.store();
    let names = dir.rows("SELECT DISTINCT table_name FROM data_dictionary ORDER BY 1");
    assert_eq!(names.len(), 12);
    for name in names {
        // `ask` takes no BLOB.
        let rows = ask(&store, &format!("SELECT * FROM {name}"));
        assert!(!rows.is_empty(), "{name}");
        let columns = dir.rows(&format!("SELECT name FROM pragma_table_info('{name}')"));
        let explained = format!(
            "SELECT column_name FROM data_dictionary WHERE table_name = '{name}' ORDER BY rowid"
        );
        assert_eq!(columns, dir.rows(&explained), "{name}, in this order");
    }
}
