//! Stores brought together in PostgreSQL, and brought back from there.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::support::api::{Api, customer, emails, with};
use crate::support::clock::while_within;
use crate::support::command::TestCommand;
use crate::support::content::assert_same_rows;
use crate::support::dir::TestDir;
use crate::support::postgres;
use crate::support::random::rng;
use crate::support::server::{PASSWORD, Server, Shared};

static SERVER: Shared = Shared::new();

/// The server that these tests share; each has a schema of its own.
fn server() -> Option<Arc<Server>> {
    SERVER.get(|| postgres::start("GRANT CREATE ON DATABASE crm TO reader"))
}

pub(crate) fn publish<'a>(dir: &'a TestDir, server: &Server, schema: &str) -> TestCommand<'a> {
    let url = postgres::url(server);
    dir.command(["publish", "--schema", schema]).env("TELEMETRON_PUBLISH", &url)
}

pub(crate) fn restore<'a>(
    dir: &'a TestDir,
    server: &Server,
    schema: &str,
    id: &str,
) -> TestCommand<'a> {
    let url = postgres::url(server);
    dir.command(["restore", "--schema", schema, "--organization", id])
        .env("TELEMETRON_PUBLISH", &url)
}

/// What a query finds in a schema, a row a line.
pub(crate) fn rows(server: &Server, schema: &str, sql: &str) -> Vec<String> {
    let sql = format!("SET search_path = {schema}; {sql}");
    let found = postgres::psql(server, "crm", &sql).expect("a query");
    found.lines().filter(|line| *line != "SET").map(str::to_owned).collect()
}

/// The public columns of the store, by table: name and type.
fn public_columns(dir: &TestDir) -> Vec<(String, Vec<(String, String)>)> {
    let mut tables: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for row in dir.rows(
        "SELECT table_name, column_name, type FROM data_dictionary
         WHERE table_name <> 'data_dictionary' ORDER BY table_name",
    ) {
        let mut cells = row.split('|').map(str::to_owned);
        let mut next = || cells.next().expect("three cells");
        let (table, column, kind) = (next(), next(), next());
        match tables.last_mut().filter(|(last, _)| *last == table) {
            Some((_, columns)) => columns.push((column, kind)),
            None => tables.push((table, vec![(column, kind)])),
        }
    }
    assert_eq!(tables.len(), 11, "{tables:?}");
    tables
}

/// Every row of every public table is published as the store has it.
#[track_caller]
pub(crate) fn assert_published(dir: &TestDir, server: &Server, schema: &str, id: &str) {
    for (table, columns) in public_columns(dir) {
        let in_store: Vec<String> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let in_postgres: Vec<String> = columns
            .iter()
            .map(|(name, kind)| match kind.as_str() {
                "TIMESTAMP" => format!(
                    "coalesce(to_char(\"{name}\" AT TIME ZONE 'UTC',
                         'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), 'NULL')"
                ),
                _ => format!("coalesce(\"{name}\"::text, 'NULL')"),
            })
            .collect();
        let mut ours = dir.rows(&format!("SELECT {} FROM {table}", in_store.join(", ")));
        let select = format!(
            "SELECT {} FROM {table} WHERE organization_id = '{id}'",
            in_postgres.join(", ")
        );
        let mut theirs = rows(server, schema, &select);
        ours.sort();
        theirs.sort();
        assert_same_rows(&theirs, &ours);
    }
}

/// Syncs against another revision of the sandbox's customers.
fn sync_revision(dir: &TestDir, revision: u32) {
    let revision = revision.to_string();
    let args = ["sync", "list.csv", "--sandbox", "--latency", "0ms", "--jitter", "0ms"];
    dir.command(args).args(["--revision", &revision, "-q"]).run();
}

#[test]
fn every_public_row_is_published_and_comes_back() {
    let Some(server) = server() else { return };
    let (dir, schema) = (TestDir::new(), "every_row");
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/customers.csv");
    dir.write("list.csv", std::fs::read(samples).expect("the samples"));
    for revision in 0..3 {
        sync_revision(&dir, revision);
        publish(&dir, &server, schema).run().exits(0).stdout_has("Published org_sandbox to");
        assert_published(&dir, &server, schema, "org_sandbox");
    }
    // Two syncs of half the list at once, and a person who is erased.
    let list = dir.read("list.csv");
    let half: Vec<&str> = list.lines().take(160).collect();
    dir.write("list.csv", half.join("\n"));
    sync_revision(&dir, 3);
    let person = dir.rows("SELECT email FROM lookups WHERE customer_id IS NOT NULL LIMIT 1");
    dir.command(["forget", &person[0]]).run().exits(0);
    sync_revision(&dir, 4);
    publish(&dir, &server, schema).run().exits(0);
    assert_published(&dir, &server, schema, "org_sandbox");
    let gone = format!("SELECT count(*) FROM lookups WHERE email = '{}'", person[0]);
    assert_eq!(rows(&server, schema, &gone), ["0"]);
    publish(&dir, &server, schema).run().exits(0).stdout_has(": nothing new;");

    let restored = TestDir::new();
    restore(&restored, &server, schema, "org_sandbox").run().exits(0).stdout_has("Restored");
    assert_published(&restored, &server, schema, "org_sandbox");
    restored.write("list.csv", dir.read("list.csv"));
    // The person stays erased, and nothing that is known is a change again.
    sync_revision(&restored, 4);
    assert_eq!(restored.changes(), "");
    assert_eq!(restored.report()["counts"]["fresh"], 1);
    publish(&restored, &server, schema).run().exits(0);
    assert_published(&restored, &server, schema, "org_sandbox");
    let refused = publish(&dir, &server, schema).run().exits(1);
    refused.stderr_has("was taken over by another store").never_shows(PASSWORD);
    assert_published(&restored, &server, schema, "org_sandbox");
    publish(&dir, &server, schema).args(["--replace"]).run().exits(0);
    assert_published(&dir, &server, schema, "org_sandbox");
    let epoch = rows(&server, schema, "SELECT epoch FROM publications");
    assert_eq!(epoch, ["3"]);
}

/// A store with this many customers of `organization`.
pub(crate) fn synced(organization: &str, count: usize) -> (TestDir, Api) {
    let (dir, api) = (TestDir::new(), Api::new());
    for email in emails(count) {
        let of_theirs = json!({"organizationId": organization});
        api.has(&email, with(customer(&format!("{organization}_{email}"), &email), of_theirs));
    }
    dir.emails(emails(count));
    dir.sync(api.url()).run().exits(0);
    (dir, api)
}

#[test]
fn a_killed_publication_has_not_happened_and_the_next_one_does_it() {
    let Some(server) = server() else { return };
    let (dir, _api) = synced("org_killed", 4_000);
    let (schema, mut rng) = ("killed", rng(16));
    let mut killed = 0;
    for _ in 0..12 {
        let mut running = publish(&dir, &server, schema).start();
        let instant = Duration::from_millis(rng.u64(10..600));
        while_within(instant, || running.is_running());
        killed += u32::from(running.kill());
        let exists = "SELECT count(*) FROM pg_tables
             WHERE schemaname = 'killed' AND tablename = '_customers'";
        if rows(&server, "public", exists) == ["1"] {
            let published = "SELECT count(*) FROM customers UNION SELECT count(*) FROM changes
                 UNION SELECT count(*) FROM lookups";
            let published = rows(&server, schema, published);
            assert!(published == ["0"] || published == ["4000"], "{published:?}");
        }
    }
    assert!(killed >= 3, "only {killed} of 12 were killed in time");
    publish(&dir, &server, schema).run().exits(0);
    assert_published(&dir, &server, schema, "org_killed");
    // And one that publishes changes.
    dir.alter("UPDATE _customers SET name = 'M', changed_at = '2027-01-01T00:00:00.000Z'");
    for _ in 0..4 {
        let mut running = publish(&dir, &server, schema).start();
        let instant = Duration::from_millis(rng.u64(10..400));
        while_within(instant, || running.is_running());
        running.kill();
        let names = rows(&server, schema, "SELECT count(DISTINCT name) FROM customers");
        assert_eq!(names, ["1"]);
    }
    publish(&dir, &server, schema).run().exits(0);
    assert_published(&dir, &server, schema, "org_killed");
}

#[test]
fn a_reader_of_the_feed_misses_nothing_while_two_stores_publish() {
    let Some(server) = server() else { return };
    let schema = "feed";
    let ids = ["org_a", "org_b"];
    let stores = ids.map(|id| synced(id, 40));
    for ((dir, _), id) in stores.iter().zip(ids) {
        publish(dir, &server, schema).run().exits(0);
        assert_published(dir, &server, schema, id);
    }
    let (mut last, mut seen) = (0, 0);
    let mut read = || {
        let new = format!("SELECT seq FROM changes WHERE seq > {last} ORDER BY seq");
        for seq in rows(&server, schema, &new) {
            last = seq.parse().expect("a number");
            seen += 1;
        }
    };
    for round in 1..=6 {
        for ((dir, api), id) in stores.iter().zip(ids) {
            for email in emails(40) {
                let name = json!({"organizationId": id, "name": format!("N{round}")});
                api.has(&email, with(customer(&format!("{id}_{email}"), &email), name));
            }
            dir.sync(api.url()).run().exits(0);
        }
        let mut running = stores.each_ref().map(|(dir, _)| publish(dir, &server, schema).start());
        while_within(Duration::from_secs(30), || {
            read();
            running.iter_mut().any(|one| one.is_running())
        });
        for one in running {
            one.wait().exits(0);
        }
    }
    read();
    assert_eq!(seen, 2 * 40 * 7);
    let gaps = "SELECT count(*), min(seq), max(seq) FROM changes";
    assert_eq!(rows(&server, schema, gaps), ["560|1|560"]);
    for ((dir, _), id) in stores.iter().zip(ids) {
        assert_published(dir, &server, schema, id);
    }
}

#[test]
fn an_old_copy_of_the_store_takes_nothing_back() {
    let Some(server) = server() else { return };
    let (dir, api) = synced("org_copy", 5);
    let schema = "copies";
    publish(&dir, &server, schema).run().exits(0);
    let copy = TestDir::new();
    let place = copy.path("s.db");
    dir.store().execute("VACUUM INTO ?1", [place.to_str()]).expect("a copy");
    copy.emails(emails(5));
    dir.sync(api.url()).run().exits(0);
    publish(&dir, &server, schema).run().exits(0);
    // The copy goes its own way, further than the store did.
    for _ in 0..3 {
        copy.sync(api.url()).run().exits(0);
    }
    let refused = publish(&copy, &server, schema).run().exits(1);
    refused.stderr_has("this file is an old copy").stderr_has("--replace");
    assert_published(&dir, &server, schema, "org_copy");
    publish(&copy, &server, schema).args(["--replace"]).run().exits(0);
    assert_published(&copy, &server, schema, "org_copy");
    publish(&dir, &server, schema).run().exits(1);
    // Every change was reported once: the copy did not report them again.
    assert_eq!(rows(&server, schema, "SELECT count(*), max(seq) FROM changes"), ["5|5"]);
}

#[test]
fn an_unchanged_sync_rewrites_no_wide_row() {
    let Some(server) = server() else { return };
    let (dir, api) = synced("org_same", 50);
    let schema = "same";
    publish(&dir, &server, schema).run().exits(0);
    let wide = "SELECT xmin FROM _customers UNION ALL SELECT xmin FROM _lookups
         UNION ALL SELECT xmin FROM device_assignments UNION ALL SELECT xmin FROM changes";
    let before = rows(&server, schema, wide);
    assert_eq!(before.len(), 200);
    dir.sync(api.url()).run().exits(0);
    let published = publish(&dir, &server, schema).run().exits(0);
    published.stdout_has(": 50 customers' freshness, 50 lookups' freshness, 1 run;");
    assert_eq!(rows(&server, schema, wide), before);
    assert_published(&dir, &server, schema, "org_same");
}

#[test]
fn a_store_whose_log_was_trimmed_is_compared_as_a_whole() {
    let Some(server) = server() else { return };
    let (dir, api) = synced("org_late", 20);
    let schema = "late";
    publish(&dir, &server, schema).run().exits(0);
    let changed = json!({"organizationId": "org_late", "name": "Late", "devices": []});
    api.has("p0001@x.io", with(customer("org_late_p0001@x.io", "p0001@x.io"), changed));
    dir.sync(api.url()).run().exits(0);
    dir.alter("DELETE FROM _publish_log WHERE n < (SELECT max(n) FROM _publish_log)");
    publish(&dir, &server, schema).run().exits(0);
    assert_published(&dir, &server, schema, "org_late");
    assert_eq!(rows(&server, schema, "SELECT count(*), max(seq) FROM changes"), ["22|22"]);
}

#[test]
fn nul_is_published_as_a_replacement_character_and_counted() {
    let Some(server) = server() else { return };
    let (dir, api) = (TestDir::new(), Api::new());
    let strange = json!({"name": "a\0b", "address": "c\\\t\n\r", "metadata": {"x": "\0"}});
    api.has("p@x.io", with(customer("c", "p@x.io"), strange));
    dir.emails(["p@x.io"]);
    dir.sync(api.url()).run().exits(0);
    let published = publish(&dir, &server, "nul").run().exits(0);
    published.stderr_has("1 value holds U+0000");
    let select =
        "SELECT name, address = E'c\\\\\\t\\n\\r', metadata, metadata_json IS NULL FROM customers";
    let found = rows(&server, "nul", select);
    assert_eq!(found, ["a\u{fffd}b|t|{\"x\":\"\\u0000\"}|t"]);
}

#[test]
fn what_goes_wrong_is_said_in_a_sentence_without_the_password() {
    let Some(server) = server() else { return };
    let (dir, _api) = synced("org_bad", 3);
    let refused = |url: &str, args: &[&str], says: &str| {
        let command = dir.command(["publish"]).args(args.iter().copied());
        let ended = command.env("TELEMETRON_PUBLISH", url).run().exits(1).stderr_has(says);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        ended.never_shows("geheim");
    };
    let url = postgres::url(&server);
    refused(&url.replace("geheim", "geheimnis"), &[], "refused the login");
    refused(&url.replace("/crm", "/nothing"), &[], "database");
    refused("postgres://u:geheim@127.0.0.1:1/d", &[], "cannot be reached");
    let postgres = |sql: &str| postgres::psql(&server, "crm", sql).expect("a statement");
    postgres(
        "CREATE USER stranger PASSWORD 'geheim'; CREATE SCHEMA closed; CREATE SCHEMA newer;
         CREATE TABLE newer._schema_version (version integer, program_version text);
         INSERT INTO newer._schema_version VALUES (99, '9.9.9');
         GRANT USAGE ON SCHEMA newer TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA newer TO reader",
    );
    let stranger = format!("postgres://stranger:geheim@127.0.0.1:{}/crm", server.port);
    refused(&stranger, &["--schema", "theirs"], "this user may not create it");
    refused(
        &stranger,
        &["--schema", "closed"],
        "Grant this user the right to use and write the schema",
    );
    refused(&url, &["--schema", "newer"], "made by telemetron-sync 9.9.9, which is newer");
    dir.command(["publish", &url, "--schema", "pg_x"]).run().exits(2).never_shows("geheim");
    dir.command(["publish", "mysql://u:geheim@h/d"]).run().exits(2).never_shows("geheim");
    // No organization yet: the run was stopped before its end.
    let unknown = TestDir::new();
    unknown.emails(emails(3));
    unknown.sync(_api.url()).args(["--limit", "1"]).run().exits(4);
    publish(&unknown, &server, "bad")
        .run()
        .exits(1)
        .stderr_has("does not know yet which organization");
    assert_eq!(
        rows(&server, "public", "SELECT 1 FROM pg_namespace WHERE nspname = 'bad'"),
        [""; 0]
    );

    publish(&dir, &server, "bad").run().exits(0);
    restore(&dir, &server, "bad", "org_bad").run().exits(1).stderr_has("exists already");
    let empty = TestDir::new();
    let missing = restore(&empty, &server, "bad", "org_x").run().exits(1);
    missing.stderr_has("organization org_x is not published").stderr_has("Published: org_bad");
    restore(&empty, &server, "nowhere", "org_bad").run().exits(1).stderr_has("Nothing is");
    assert_eq!(empty.files(), [""; 0], "nothing is left behind");
}

/// Lets the server end the session of this statement, of those for which `condition` holds: other tests
/// have theirs. Whether there is one.
pub(crate) fn end_session_of(server: &Server, statement: &str, condition: &str) -> bool {
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE usename = 'reader' AND query LIKE '{statement}%' AND {condition}"
    );
    postgres::psql(server, "crm", &end).is_ok_and(|ended| ended.contains('t'))
}

/// The sessions that use, or wait for, a table of the schema `gone`.
const IN_GONE: &str =
    "pid IN (SELECT pid FROM pg_locks WHERE relation = 'gone._customers_synced'::regclass)";

#[test]
fn a_server_that_ends_the_session_midway_leaves_nothing_half_written() {
    let Some(server) = server() else { return };
    let (dir, _api) = synced("org_gone", 3_000);
    publish(&dir, &server, "gone").run().exits(0);
    dir.alter("UPDATE _customers SET name = 'M', changed_at = '2027-01-01T00:00:00.000Z'");
    // A lock on the feed holds the publication at its end.
    let hold = "BEGIN; SET search_path = gone; LOCK TABLE _customers_synced; SELECT pg_sleep(5)";
    let holder = std::thread::scope(|scope| {
        let held = scope.spawn(|| postgres::psql(&server, "crm", hold));
        let mut running = publish(&dir, &server, "gone").start();
        while_within(Duration::from_secs(5), || {
            running.is_running()
                && !end_session_of(&server, "INSERT INTO _customers_synced", IN_GONE)
        });
        let ended = running.wait().exits(1).never_shows("geheim");
        assert!(ended.stderr.contains("Nothing was changed."), "{}", ended.stderr);
        held.join()
    });
    drop(holder);
    assert_eq!(rows(&server, "gone", "SELECT DISTINCT name FROM customers"), ["N"]);
    publish(&dir, &server, "gone").run().exits(0);
    assert_published(&dir, &server, "gone", "org_gone");
}
