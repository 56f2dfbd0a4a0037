//! What can happen to PostgreSQL, or on the way there, while a store is published: nothing is half written, the
//! program ends in bounded time with one sentence, and the next publication is right.

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::sync::Arc;

use serde_json::json;

use crate::publishing::{assert_published, end_session_of, publish, restore, rows, synced};
use crate::support::api::{customer, with};
use crate::support::clock::wait_until;
use crate::support::command::{Finished, TestCommand};
use crate::support::dir::TestDir;
use crate::support::mount::Disk;
use crate::support::pgbouncer;
use crate::support::postgres;
use crate::support::refusing_postgres;
use crate::support::relay::{Front, Relay};
use crate::support::server::{PASSWORD, PASSWORD_IN_URL, Server, Shared};

static SERVER: Shared = Shared::new();

/// The server that these tests share; each has a schema of its own.
fn server() -> Option<Arc<Server>> {
    SERVER.get(|| postgres::start("GRANT CREATE ON DATABASE crm TO reader"))
}

fn psql(server: &Server, sql: &str) {
    postgres::psql(server, "crm", sql).expect("a statement");
}

fn publish_to<'a>(dir: &'a TestDir, url: &str, schema: &str) -> TestCommand<'a> {
    dir.command(["publish", "--schema", schema]).env("TELEMETRON_PUBLISH", url)
}

/// One sentence or a few on one line, and exit code 1.
#[track_caller]
fn refused(ended: Finished, says: &str) {
    let ended = ended.exits(1).stderr_has(says).never_shows(PASSWORD).never_shows(PASSWORD_IN_URL);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

/// Every customer of the store has another name from now on.
fn rename_all(dir: &TestDir) {
    dir.alter("UPDATE _customers SET name = 'M', changed_at = '2027-01-01T00:00:00.000Z'");
}

/// Enough customers for a COPY of this many bytes.
const CUSTOMERS: usize = 1_500;
const BYTES_INTO_COPY: usize = 60_000;

/// A relay to the server that falls silent in the middle of the first COPY of a publication.
fn relay_to(server: &Server) -> (Relay, String) {
    let relay = Relay::start(Front::Direct, SocketAddr::from((Ipv4Addr::LOCALHOST, server.port)));
    relay.fall_silent_after(BYTES_INTO_COPY);
    let [direct, relayed] = [server.port, relay.address().port()].map(|port| format!(":{port}/"));
    let url = postgres::url(server).replace(&direct, &relayed);
    (relay, url)
}

/// Lets the server end the COPY that came through the relay. Whether there is one.
fn end_copy(server: &Server, relay: &Relay) -> bool {
    let ports: Vec<String> = relay.ports().iter().map(u16::to_string).collect();
    let through_it = format!("client_port IN ({})", ports.join(", "));
    end_session_of(server, "COPY stage_customers", &through_it)
}

/// Accepts connections and never says a word.
fn silent_server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[test]
fn a_publication_that_is_killed_in_a_copy_has_not_happened() {
    let Some(server) = server() else { return };
    let (dir, _api) = synced("org_copy_killed", CUSTOMERS);
    for (signal, schema) in [("TERM", "copy_term"), ("KILL", "copy_kill")] {
        publish(&dir, &server, schema).run().exits(0);
        rename_all(&dir);
        let (relay, url) = relay_to(&server);
        let running = publish_to(&dir, &url, schema).start();
        wait_until("it copies", || relay.is_silent());
        running.signal(signal);
        assert_eq!(running.wait().code, None, "the signal ends it");
        // As the server does by itself once it knows that the client is gone.
        wait_until("the session ends", || end_copy(&server, &relay));
        assert_eq!(rows(&server, schema, "SELECT DISTINCT name FROM customers"), ["N"]);
        publish(&dir, &server, schema).run().exits(0);
        assert_published(&dir, &server, schema, "org_copy_killed");
        dir.alter("UPDATE _customers SET name = 'N', changed_at = '2027-01-02T00:00:00.000Z'");
    }
}

#[test]
fn a_connection_that_swallows_everything_ends_a_publication() {
    let Some(server) = server() else { return };
    let (dir, _api) = synced("org_swallowed", CUSTOMERS);
    publish(&dir, &server, "swallowed").run().exits(0);
    rename_all(&dir);
    let (relay, url) = relay_to(&server);
    let ended = publish_to(&dir, &url, "swallowed").run();
    refused(ended, "the connection broke off (nothing passes through it any more). Try again");
    end_copy(&server, &relay);
    assert_eq!(rows(&server, "swallowed", "SELECT DISTINCT name FROM customers"), ["N"]);
    publish(&dir, &server, "swallowed").run().exits(0);
    assert_published(&dir, &server, "swallowed", "org_swallowed");
}

#[test]
fn a_server_that_vanishes_ends_a_publication() {
    let Some(server) = server() else { return };
    let (dir, _api) = synced("org_vanished", CUSTOMERS);
    let (relay, url) = relay_to(&server);
    let (_sink, nowhere) = silent_server();
    let running = publish_to(&dir, &url, "vanished").start();
    wait_until("it copies", || relay.is_silent());
    relay.lead_to(nowhere);
    refused(
        running.wait(),
        "the connection broke off (the server no longer answers). Try again when the server is back.",
    );
    end_copy(&server, &relay);
    publish(&dir, &server, "vanished").run().exits(0);
    assert_published(&dir, &server, "vanished", "org_vanished");
}

#[test]
fn a_run_ends_although_its_server_has_vanished() {
    let Some(server) = server() else { return };
    let (dir, api) = synced("org_lost", CUSTOMERS);
    publish(&dir, &server, "lost_server").run().exits(0);
    let (relay, url) = relay_to(&server);
    let (_sink, nowhere) = silent_server();
    // Everything is written again, so that the publication at the start copies it.
    rename_all(&dir);
    let sync = dir.sync(api.url()).args(["--schema", "lost_server", "--publish-every", "1s"]);
    let running = sync.env("TELEMETRON_PUBLISH", &url).start();
    wait_until("it copies", || relay.is_silent());
    relay.lead_to(nowhere);
    let ended = running.wait().exits(3).never_shows(PASSWORD);
    ended.stdout_has("The last publication failed: ").stdout_has("no answer within 10 seconds");
    assert_eq!(
        dir.rows("SELECT status, pending FROM runs ORDER BY id DESC LIMIT 1"),
        ["complete|0"]
    );
    end_copy(&server, &relay);
    publish(&dir, &server, "lost_server").run().exits(0);
    assert_published(&dir, &server, "lost_server", "org_lost");
}

#[test]
fn a_disk_of_the_server_that_is_full_is_named_and_nothing_is_half_written() {
    let disk_dir = TestDir::new();
    let Some(disk) = Disk::new(&disk_dir, 3_000) else { return };
    let Some(server) = postgres::start("GRANT CREATE ON DATABASE crm TO reader") else { return };
    let owner = std::fs::metadata(server.folder.path()).expect("a folder");
    let place = disk_dir.path("disk");
    std::fs::set_permissions(disk_dir.folder(), Permissions::from_mode(0o755)).expect("a mode");
    chown(&place, Some(owner.uid()), Some(owner.gid())).expect("an owner");
    psql(&server, &format!("CREATE TABLESPACE small LOCATION '{}'", place.display()));
    psql(&server, "GRANT CREATE ON TABLESPACE small TO reader");
    psql(&server, "ALTER ROLE reader SET default_tablespace = small");
    psql(&server, "ALTER ROLE reader SET temp_tablespaces = small");
    let (dir, _api) = synced("org_full", 3_000);
    refused(publish(&dir, &server, "full").run(), "The server's disk is full: make room, then");
    let published = "SELECT count(*) FROM pg_tables WHERE schemaname = 'full'
         AND tablename = '_publications'";
    if rows(&server, "public", published) == ["1"] {
        assert_eq!(rows(&server, "\"full\"", "SELECT count(*) FROM _publications"), ["0"]);
    }
    disk.remount("size=300m");
    publish(&dir, &server, "full").run().exits(0);
    assert_published(&dir, &server, "\"full\"", "org_full");
}

/// Where a test may mount no disk, the server says the same by itself.
#[test]
fn a_disk_that_fills_up_in_the_merge_leaves_what_was_published() {
    let Some(server) = server() else { return };
    let (dir, _api) = synced("org_fills", 20);
    publish(&dir, &server, "fills").run().exits(0);
    rename_all(&dir);
    psql(
        &server,
        "SET search_path = fills;
         CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE 'could not extend file \"base/1/2\": No space left on device'
                 USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER no_room BEFORE UPDATE ON _publications EXECUTE FUNCTION no_room();",
    );
    refused(publish(&dir, &server, "fills").run(), "The server's disk is full: make room, then");
    assert_eq!(rows(&server, "fills", "SELECT DISTINCT name FROM customers"), ["N"]);
    psql(&server, "DROP TRIGGER no_room ON fills._publications");
    publish(&dir, &server, "fills").run().exits(0);
    assert_published(&dir, &server, "fills", "org_fills");
}

#[test]
fn a_store_is_published_and_restored_through_a_unix_socket() {
    let Some(server) = server() else { return };
    let (dir, _api) = synced("org_socket", 3);
    let url = format!(
        "postgres://reader@/crm?host={}&port={}",
        server.folder.path().display(),
        server.port
    );
    publish_to(&dir, &url, "socket").run().exits(0).stdout_has("3 customers");
    assert_published(&dir, &server, "socket", "org_socket");
    let other = TestDir::new();
    let restore = other.command(["restore", "--schema", "socket", "--organization", "org_socket"]);
    restore.env("TELEMETRON_PUBLISH", &url).run().exits(0);
    assert_published(&other, &server, "socket", "org_socket");
}

#[test]
fn a_server_that_lets_nobody_in_is_quoted_with_what_to_do() {
    let (dir, _api) = synced("org_refused", 1);
    for (code, message, advice) in [
        ("57P03", "the database system is starting up", "Run again in a moment"),
        ("57P03", "the database system is shutting down", "Run again in a moment"),
        ("53300", "sorry, too many clients already", "short of connections"),
        ("08P01", "no more connections allowed (max_client_conn)", "short of connections"),
        ("08P01", "no such database: crm", "Check the name of the database"),
    ] {
        let url = format!(
            "postgres://u:{PASSWORD_IN_URL}@127.0.0.1:{}/crm",
            refusing_postgres::start(code, message)
        );
        let says = format!("gives no connection: {message}. ");
        let ended = publish_to(&dir, &url, "refused").run().stderr_has(advice);
        refused(ended, &says);
    }
}

#[test]
fn a_store_is_published_through_pgbouncer_where_transactions_have_a_session() {
    let Some(server) = server() else { return };
    let (dir, _api) = synced("org_pooled", 30);
    for mode in ["transaction", "session"] {
        let Some(pool) = pgbouncer::start(&server, mode) else { return };
        publish_to(&dir, &pgbouncer::url(&pool), "pooled").run().exits(0);
        assert_published(&dir, &server, "pooled", "org_pooled");
        rename_all(&dir);
    }
    let Some(pool) = pgbouncer::start(&server, "statement") else { return };
    let url = pgbouncer::url(&pool);
    let says = "Use a PgBouncer pool in transaction or session mode";
    refused(publish_to(&dir, &url, "pooled").run(), says);
    let wrong = url.replace(PASSWORD_IN_URL, "falsch");
    refused(publish_to(&dir, &wrong, "pooled").run(), "refused the login");
    refused(publish_to(&dir, &url.replace("/crm", "/nothing"), "pooled").run(), "nothing");
}

#[test]
fn a_pool_whose_server_is_down_is_named() {
    let Some(mut own) = postgres::start("") else { return };
    let (dir, _api) = synced("org_down", 1);
    let Some(pool) = pgbouncer::start(&own, "transaction") else { return };
    own.crash();
    let ended = publish_to(&dir, &pgbouncer::url(&pool), "down").run().exits(1);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    ended.never_shows(PASSWORD);
}

#[test]
fn ids_that_would_be_one_in_postgresql_are_refused() {
    let Some(server) = server() else { return };
    let (dir, api) = synced("org_nul", 1);
    let strange =
        |id: &str, email: &str| with(customer(id, email), json!({"organizationId": "org_nul"}));
    api.has("a@x.io", strange("c\0", "a@x.io"));
    dir.emails(["a@x.io"]);
    dir.sync(api.url()).run().exits(0);
    publish(&dir, &server, "nul_ids").run().exits(0).stderr_has("U+0000");
    assert_eq!(rows(&server, "nul_ids", "SELECT count(*) FROM customers"), ["2"]);
    // The one that is published already is not overwritten.
    api.has("b@x.io", strange("c\u{fffd}", "b@x.io"));
    dir.emails(["b@x.io"]);
    dir.sync(api.url()).run().exits(0);
    refused(publish(&dir, &server, "nul_ids").run(), "ids differ only in U+0000");
    assert_eq!(rows(&server, "nul_ids", "SELECT count(*) FROM customers"), ["2"]);
}

#[test]
fn an_organization_that_is_not_published_and_a_newer_schema_are_refused_by_restore() {
    let Some(server) = server() else { return };
    psql(
        &server,
        "CREATE SCHEMA newer; CREATE TABLE newer._schema_version (version integer, program_version text);
         INSERT INTO newer._schema_version VALUES (99, '9.9.9');
         GRANT USAGE ON SCHEMA newer TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA newer TO reader",
    );
    let empty = TestDir::new();
    refused(restore(&empty, &server, "newer", "org_1").run(), "made by telemetron-sync 9.9.9");
    refused(
        restore(&empty, &server, "nowhere", "org_1").run(),
        "organization org_1 is not published",
    );
    assert_eq!(empty.files(), [""; 0], "nothing is left behind");
}
