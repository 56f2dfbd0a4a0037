//! Runs that publish their store while they are worked on (`sync --publish`).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use telemetron_sync::sandbox::Reply;

use crate::publishing::{assert_published, publish, restore, rows};
use crate::support::api::{Api, emails};
use crate::support::clock::{timed, wait_until};
use crate::support::command::TestCommand;
use crate::support::dir::TestDir;
use crate::support::postgres;
use crate::support::server::{PASSWORD, PASSWORD_IN_URL, Server, Shared};

static SERVER: Shared = Shared::new();

/// The server that these tests share; each has a schema of its own.
fn server() -> Option<Arc<Server>> {
    SERVER.get(|| postgres::start("GRANT CREATE ON DATABASE crm TO reader"))
}

/// An API with this many customers, and a folder with a list of them.
fn world(count: usize) -> (TestDir, Api) {
    let (dir, api) = (TestDir::new(), Api::new());
    api.has_all(emails(count));
    dir.emails(emails(count));
    (dir, api)
}

/// `sync` of the list that publishes every second.
fn sync<'a>(dir: &'a TestDir, api: &Api, server: &Server, schema: &str) -> TestCommand<'a> {
    let sync = dir.sync(api.url()).args(["--publish-every", "1s", "--schema", schema]);
    sync.args(["--organization", "org_1"]).env("TELEMETRON_PUBLISH", &postgres::url(server))
}

/// How many emails are published with an answer; 0 before there is anything.
fn published(server: &Server, schema: &str) -> usize {
    let exists = format!("SELECT 1 FROM pg_views WHERE schemaname = '{schema}' LIMIT 1");
    if rows(server, "public", &exists).is_empty() {
        return 0;
    }
    let count = "SELECT count(*) FROM lookups WHERE outcome IS NOT NULL";
    rows(server, schema, count)[0].parse().expect("a number")
}

#[test]
fn what_a_lost_machine_published_is_continued_elsewhere() {
    let Some(server) = server() else { return };
    let (lost, api) = world(60);
    let running = sync(&lost, &api, &server, "lost").args(["--rate", "15/s"]).start();
    wait_until("the run is published", || published(&server, "lost") >= 10);
    assert!(running.kill(), "the run is over too soon");

    let other = TestDir::new();
    other.emails(emails(60));
    restore(&other, &server, "lost", "org_1").run().exits(0);
    let (known, _) = (published(&server, "lost"), api.requests());
    let resumed = sync(&other, &api, &server, "lost").args(["--resume", "--max-age", "1h"]);
    resumed.run().exits(0).stderr_has("Published org_1 to postgres://reader@");
    assert_eq!(api.requests().len(), 60 - known);
    assert_published(&other, &server, "lost", "org_1");
    assert_eq!(rows(&server, "lost", "SELECT count(*), max(seq) FROM changes"), ["60|60"]);

    // The machine comes back, and its scheduler starts the same command once more.
    let back = sync(&lost, &api, &server, "lost").args(["--resume", "--rate", "5/s"]).run();
    back.exits(1).never_shows(PASSWORD).stdout_has("another store took organization org_1 over");
    assert!(api.requests().len() <= 10, "it stops at its first publication");
    assert_published(&other, &server, "lost", "org_1");
}

#[test]
fn a_run_whose_store_is_superseded_stops_with_exit_1() {
    let Some(server) = server() else { return };
    let (dir, api) = world(400);
    let sync = sync(&dir, &api, &server, "fenced");
    let running = sync.args(["--rate", "20/s", "--report", "r.json"]).start();
    wait_until("the run is published", || published(&server, "fenced") > 0);
    let other = TestDir::new();
    restore(&other, &server, "fenced", "org_1").run().exits(0);
    let ended = running.wait().exits(1).never_shows(PASSWORD);
    ended.stdout_has("another store took organization org_1 over").stdout_has("--replace");
    assert!(api.request_count() < 200, "{}", api.request_count());
    let report: serde_json::Value = serde_json::from_str(&dir.read("r.json")).expect("JSON");
    assert_eq!((&report["exit_code"], &report["status"]), (&json!(1), &json!("stopped")));
    assert_eq!(report["publication"]["kind"], "superseded");
    let report = dir.command(["report"]).run().exits(0);
    report.stdout_has("Stop using this store").never_shows("--resume");
    assert_published(&other, &server, "fenced", "org_1");
}

#[test]
fn a_publication_that_fails_during_the_run_is_a_warning() {
    let Some(server) = server() else { return };
    let (dir, api) = world(60);
    let psql = |sql: &str| postgres::psql(&server, "crm", sql).expect("a statement");
    psql(&format!("CREATE ROLE shaky LOGIN PASSWORD '{PASSWORD}'"));
    psql("GRANT CREATE ON DATABASE crm TO shaky");
    let url = postgres::url(&server).replace("reader", "shaky");
    let sync = sync(&dir, &api, &server, "shaky").env("TELEMETRON_PUBLISH", &url);
    let running = sync.args(["--rate", "10/s"]).start();
    wait_until("the run is published", || published(&server, "shaky") > 0);
    psql("ALTER ROLE shaky NOLOGIN");
    wait_until("a publication fails", || running.stderr().contains("Nothing was published"));
    psql("ALTER ROLE shaky LOGIN");
    wait_until("one succeeds", || running.stderr().contains("Publishing works again"));
    let ended = running.wait().exits(0).never_shows(PASSWORD).stderr_has("refused the login");
    assert_eq!(ended.stderr.matches("Nothing was published").count(), 1, "{}", ended.stderr);
    assert_published(&dir, &server, "shaky", "org_1");
}

#[test]
fn a_run_whose_last_publication_failed_exits_3_and_names_the_command() {
    let Some(mut own) = postgres::start("GRANT CREATE ON DATABASE crm TO reader") else { return };
    let (dir, api) = world(40);
    let sync = sync(&dir, &api, &own, "gone").args(["--rate", "20/s", "--report", "r.json"]);
    let running = sync.start();
    wait_until("the run is published", || published(&own, "gone") > 0);
    own.crash();
    let ended = running.wait().exits(3).never_shows(PASSWORD).never_shows(PASSWORD_IN_URL);
    let command = format!("telemetron-sync publish postgres://reader@127.0.0.1:{}/crm", own.port);
    ended.stdout_has("The last publication failed: ").stdout_has(&command);
    assert_eq!(dir.rows("SELECT status, pending FROM runs"), ["complete|0"]);
    for kept in dir.store_bytes().into_iter().chain([dir.read("r.json").into_bytes()]) {
        let text = String::from_utf8_lossy(&kept);
        assert!(!text.contains(PASSWORD) && !text.contains(PASSWORD_IN_URL));
    }
    dir.command(["report"]).run().exits(0).stdout_has(&command).stdout_has("--schema gone");
    let report: serde_json::Value = serde_json::from_str(&dir.read("r.json")).expect("JSON");
    assert_eq!((&report["exit_code"], &report["publication"]["kind"]), (&json!(3), &json!("late")));
}

#[test]
fn a_resume_publishes_where_the_run_did_and_asks_for_the_password() {
    let Some(server) = server() else { return };
    let (dir, api) = world(9);
    let limit = |limit| ["--limit", limit];
    sync(&dir, &api, &server, "resumed").args(limit("3")).run().exits(4);
    assert_eq!(published(&server, "resumed"), 3);
    let resume = || dir.command(["sync", "--resume"]);
    let kept = String::from_utf8_lossy(&dir.store_bytes().concat()).into_owned();
    assert!(kept.contains("postgres://reader@127.0.0.1") && !kept.contains(PASSWORD_IN_URL));
    let refused = resume().args(limit("3")).run().exits(4);
    refused.stdout_has("refused the login").stdout_has("PGPASSWORD");
    assert_eq!(published(&server, "resumed"), 3);
    resume().env("PGPASSWORD", PASSWORD).run().exits(0).never_shows(PASSWORD);
    assert_eq!(published(&server, "resumed"), 9);
    assert_published(&dir, &server, "resumed", "org_1");
}

#[test]
fn a_server_that_hangs_delays_neither_the_run_nor_a_stop() {
    let Some(server) = server() else { return };
    let (dir, api) = world(30);
    sync(&dir, &api, &server, "hangs").run().exits(0);
    let hold = "BEGIN; SET search_path = hangs; LOCK TABLE _publications; SELECT pg_sleep(30)";
    std::thread::scope(|scope| {
        scope.spawn(|| postgres::psql(&server, "crm", hold));
        let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'
             AND relation = 'hangs._publications'::regclass";
        wait_until("the table is locked", || rows(&server, "public", held) == ["1"]);
        let running = sync(&dir, &api, &server, "hangs").start();
        let ended = "SELECT count(*) FROM runs WHERE status = 'complete'";
        wait_until("the run has ended but for its publication", || dir.number(ended) == 2);
        running.signal("TERM");
        let (took, ended) = timed(|| running.wait());
        ended.exits(3).stdout_has("It was not done 10 s after the stop.");
        assert!(took > Duration::from_secs(8) && took < Duration::from_secs(14), "{took:?}");
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()";
        postgres::psql(&server, "crm", end).expect("an end");
    });
    publish(&dir, &server, "hangs").run().exits(0);
    assert_published(&dir, &server, "hangs", "org_1");
}

#[test]
fn a_new_store_is_published_once_its_organization_is_known() {
    let Some(server) = server() else { return };
    let (dir, api) = world(5);
    let url = postgres::url(&server);
    let sync = || dir.sync(api.url()).args(["--schema", "new", "--publish", &url]);
    sync().run().exits(0).stderr_has("name it with --organization").never_shows(PASSWORD);
    assert_published(&dir, &server, "new", "org_1");
    // What is nobody's cannot be published: no email is found.
    let (nobody, empty) = (TestDir::new(), Api::with_rule(|_| Some(Reply::error(404, "No"))));
    nobody.emails(emails(2));
    let sync = nobody.sync(empty.url()).args(["--schema", "new", "--publish", &url]).run();
    sync.exits(3).stdout_has("does not know yet which organization it belongs to");
}

#[test]
fn a_dry_run_publishes_nothing() {
    let (dir, api) = world(3);
    let dry = dir.sync(api.url()).args(["--dry-run", "--publish", "postgres://u@127.0.0.1:1/d"]);
    let ended = dry.run().exits(0);
    assert!(!ended.stderr.contains("ublish"), "{}", ended.stderr);
    let refused = |url: &str| dir.sync(api.url()).args(["--publish", url]).run().exits(2);
    refused("mysql://u:geheim@h/d").never_shows("geheim");
    refused("postgres://u:ge#heim@h/d").never_shows("heim");
}

#[test]
fn a_store_keeps_a_log_from_its_first_publication_on_even_if_a_run_is_working_on_it() {
    let Some(server) = server() else { return };
    let (dir, api) = world(60);
    let sync = || dir.sync(api.url()).args(["--organization", "org_1"]);
    let running = sync().args(["--rate", "15/s"]).start();
    wait_until("the run writes", || dir.number("SELECT coalesce(max(found), 0) FROM runs") >= 10);
    let logged = "SELECT count(*) FROM _publish_log";
    dir.has_rows(logged, ["1"]);
    publish(&dir, &server, "midway").run().exits(0);
    running.wait().exits(0);
    assert!(dir.number(logged) > 30);
    publish(&dir, &server, "midway").run().exits(0);
    assert_published(&dir, &server, "midway", "org_1");
}
