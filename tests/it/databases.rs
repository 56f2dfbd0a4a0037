//! Rows out of real servers, started for the test and thrown away.

use std::net::TcpListener;
use std::time::Duration;

use telemetron_sync::source::{
    self, InputRow, Location, SourceError, SourceErrorKind, SourceSettings,
};

use crate::support::clock::{timed, wait_until};
use crate::support::memory::peak_growth_kib;
use crate::support::server::{Server, free_port};
use crate::support::{alone, mariadb, pgbouncer, postgres};

fn table(url: &str, table: &str, column: Option<&str>) -> SourceSettings {
    let mut settings = SourceSettings::new(Location::parse(url).expect("a source"));
    settings.table = Some(table.to_owned());
    settings.column = column.map(str::to_owned);
    settings
}

fn query(url: &str, sql: &str) -> SourceSettings {
    let mut settings = SourceSettings::new(Location::parse(url).expect("a source"));
    settings.query = Some(sql.to_owned());
    settings
}

fn texts(settings: &SourceSettings) -> Vec<String> {
    let open = source::open(settings).expect("the source opens");
    let valid = |row| match row {
        // Not every value here is an email.
        Err(SourceError::NoValidEmail { .. } | SourceError::TooManyInvalid { .. }) => None,
        row => Some(Result::<InputRow, SourceError>::expect(row, "a row").text),
    };
    open.filter_map(valid).collect()
}

/// The error that opening or reading ends with. Whatever it is, no password is in it.
fn error(settings: &SourceSettings) -> SourceError {
    let error = match source::open(settings) {
        Err(error) => error,
        Ok(open) => open.filter_map(Result::err).next().expect("an error"),
    };
    let shown = format!("{error} {error:?} {settings:?} {}", settings.name());
    assert!(!shown.contains("geheim"), "{shown}");
    assert_eq!(error.kind(), SourceErrorKind::Unusable, "{error}");
    error
}

fn message(settings: &SourceSettings) -> String {
    error(settings).to_string()
}

const POSTGRES_PEOPLE: &str = "
    CREATE TABLE logins (id int, login text); INSERT INTO logins VALUES (1, 'l@x.io'), (2, NULL);
    CREATE TABLE people (id int, \"E-Mail\" text, number numeric, born date, raw bytea, mood text);
    INSERT INTO people VALUES
        (1, 'a@x.io', 1.50, '2001-02-03', 'b@x.io', ''), (2, NULL, NULL, NULL, NULL, NULL),
        (3, 'jörg🦀@x.io', 7, '2001-02-03', '\\xff', E'c\\nd');
    GRANT SELECT ON people TO PUBLIC;
    CREATE SCHEMA sales;
    CREATE TABLE sales.\"odd.\"\"name\"\"; DROP TABLE people; --\" (email varchar(50));
    INSERT INTO sales.\"odd.\"\"name\"\"; DROP TABLE people; --\" VALUES ('odd@x.io');";

#[test]
fn postgres_tables_and_queries_are_read() {
    let Some(server) = postgres::shared(POSTGRES_PEOPLE) else { return };
    let url = postgres::url(&server);
    assert_eq!(texts(&table(&url, "people", None)), ["a@x.io", "", "jörg🦀@x.io"]);
    assert_eq!(texts(&table(&url, "public.people", Some("raw"))), ["b@x.io", "", "ÿ"]);
    assert_eq!(texts(&table(&url, "people", Some("NUMBER"))), ["1.50", "", "7"]);
    assert_eq!(texts(&table(&url, "people", Some("1"))), ["1", "2", "3"]);
    assert_eq!(texts(&table(&url, "logins", None)), ["l@x.io", ""]);
    assert_eq!(texts(&table(&url, "people", Some("born")))[0], "2001-02-03");
    let rows = query(&url, "SELECT mood, id FROM people ORDER BY 2 DESC; ");
    assert_eq!(texts(&rows), ["c\nd", "", ""]);
    assert_eq!(texts(&query(&url, "SELECT 1 WHERE false")), [""; 0]);
    assert_eq!(texts(&query(&url, "VALUES (ARRAY[1, 2])")), ["{1,2}"]);
    let open = source::open(&table(&url, "people", None)).expect("the source opens");
    assert_eq!(open.description(), "PostgreSQL, table `people`, column `E-Mail`");
    let rows: Vec<u64> = open.map(|row| row.expect("a row").row).collect();
    assert_eq!(rows, [1, 2, 3]);
    assert_eq!(
        table(&url, "people", None).name(),
        format!("postgres://reader@127.0.0.1:{}/crm table people", server.port)
    );
}

#[test]
fn postgres_is_only_read_and_not_open_to_injection() {
    let Some(server) = postgres::shared(POSTGRES_PEOPLE) else { return };
    let url = postgres::url(&server);
    postgres::psql(
        &server,
        "crm",
        "CREATE SEQUENCE numbers; GRANT ALL ON SEQUENCE numbers TO reader;
         CREATE FUNCTION sneak() RETURNS text LANGUAGE sql AS $$ DELETE FROM people RETURNING 'x' $$",
    )
    .expect("a function");
    let odd = "sales.\"odd.\"\"name\"\"; DROP TABLE people; --\"";
    assert_eq!(texts(&table(&url, odd, None)), ["odd@x.io"]);
    for name in ["people\"; DROP TABLE people; --", "people; DROP TABLE people", "people WHERE 1=1"]
    {
        assert!(message(&table(&url, name, None)).contains("has no table"), "{name}");
    }
    assert!(message(&table(&url, "people", Some("id\" FROM people; --"))).contains("no column"));
    for (sql, refusal) in [
        ("DELETE FROM people RETURNING id", "QueryWrites"),
        ("WITH gone AS (DELETE FROM people RETURNING id) SELECT id FROM gone", "QueryWrites"),
        ("SELECT sneak()", "QueryWrites"),
        ("SELECT nextval('numbers')", "QueryWrites"),
        ("SELECT set_config('transaction_read_only', 'off', false), sneak()", "QueryRefused"),
        ("CREATE TABLE t AS SELECT 1", "QueryRefused"),
        ("COMMIT", "QueryRefused"),
        ("SELECT 1; DELETE FROM people", "QueryRefused"),
        ("COMMIT; DELETE FROM people", "QueryRefused"),
        ("SELECT 1; SELECT 2", "QueryRefused"),
    ] {
        let refused = error(&query(&url, sql));
        assert!(format!("{refused:?}").starts_with(refusal), "{sql}: {refused:?}");
    }
    assert_eq!(postgres::psql(&server, "crm", "SELECT count(*) FROM people").unwrap(), "3");
}

#[test]
fn postgres_is_read_behind_each_kind_of_pool() {
    let Some(server) = postgres::shared(POSTGRES_PEOPLE) else { return };
    postgres::psql(
        &server,
        "crm",
        "CREATE SEQUENCE ids; GRANT ALL ON SEQUENCE ids TO reader; CREATE TYPE mood AS ENUM ('well'); ALTER TABLE people ADD kind mood DEFAULT 'well'",
    )
    .expect("a type of its own");
    for mode in ["session", "transaction", "statement"] {
        let Some(pool) = pgbouncer::start(&server, mode) else { return };
        let url = pgbouncer::url(&pool);
        // The pool hands the same connection to the second and third.
        for _ in 0..3 {
            let read = texts(&table(&url, "people", None));
            assert_eq!(read, ["a@x.io", "", "jörg🦀@x.io"], "{mode}");
        }
        let rows = query(&url, "SELECT kind, \"E-Mail\" FROM people WHERE id = 1;");
        let rows = SourceSettings { column: Some("e-mail".to_owned()), ..rows };
        for _ in 0..2 {
            assert_eq!(texts(&rows), ["a@x.io"], "{mode}");
        }
        assert!(matches!(
            error(&query(&url, "SELECT 1; COMMIT")),
            SourceError::QueryRefused { .. } | SourceError::Database { .. }
        ));
        assert!(message(&table(&url, "peple", None)).contains("Did you mean: `people`?"), "{mode}");
    }
}

#[test]
fn postgres_is_reached_by_every_form_of_its_address() {
    let Some(server) = postgres::shared(POSTGRES_PEOPLE) else { return };
    let port = server.port;
    let login = postgres::url(&server);
    let login = &login["postgres://".len()..login.rfind('@').expect("an address")];
    let socket = server.folder.path().display().to_string();
    let encoded = socket.replace('/', "%2F");
    let dead = free_port();
    for address in [
        format!("postgres://{login}@[::1]:{port}/crm"),
        format!("postgres://{login}@{encoded}:{port}/crm"),
        format!("postgres://{login}@/crm?host={socket}&port={port}"),
        format!("postgres://{login}@127.0.0.1:{dead},127.0.0.1:{port}/crm"),
        format!("postgres://{login}@/crm?host=127.0.0.1,127.0.0.1&port={dead},{port}"),
    ] {
        let settings = table(&address, "people", None);
        assert_eq!(texts(&settings).len(), 3, "{address}");
        assert_eq!(source::open(&settings).expect("it opens").warnings(), [""; 0]);
    }
    let with_parameters = format!(
        "postgres://{login}@127.0.0.1:{port}/crm?connect_timeout=10&keepalives_idle=30&sslmode=disable"
    );
    let open = source::open(&table(&with_parameters, "people", None)).expect("it opens");
    let warnings = open.warnings();
    assert!(
        warnings[0].ends_with("are ignored: connect_timeout, keepalives_idle."),
        "{warnings:?}"
    );
    assert_eq!(open.count(), 3);
}

#[test]
fn postgres_errors_get_advice_that_fits() {
    let Some(server) = postgres::start(POSTGRES_PEOPLE) else { return };
    let url = postgres::url(&server);
    postgres::psql(
        &server,
        "crm",
        "CREATE TABLE secret (email text); REVOKE ALL ON secret FROM reader;
         ALTER ROLE reader SET statement_timeout = '300ms';
         CREATE VIEW slow AS SELECT \"E-Mail\" AS email, pg_sleep(0.01)::text AS waited FROM people, generate_series(1, 100);
         GRANT SELECT ON slow TO reader",
    )
    .expect("a schema");
    let slow = message(&table(&url, "slow", None));
    assert!(slow.contains("statement_timeout") && slow.contains("Raise it"), "{slow}");
    let denied = message(&table(&url, "secret", None));
    assert!(denied.contains("permission denied") && denied.contains("GRANT SELECT"), "{denied}");
    let divided = message(&query(&url, "SELECT 1 / (id - 1) FROM people"));
    assert!(
        divided.contains("division by zero") && divided.contains("Change the query"),
        "{divided}"
    );
    assert!(!divided.contains("when the server is back"), "{divided}");
}

#[test]
fn postgres_says_what_is_wrong() {
    let Some(server) = postgres::shared(POSTGRES_PEOPLE) else { return };
    let url = postgres::url(&server);
    let near = message(&table(&url, "peple", None));
    assert!(near.contains("has no table `peple`. Did you mean: `people`?"), "{near}");
    assert!(message(&table(&url, "nowhere.people", None)).contains("`people`"));
    let columns = message(&table(&url, "people", Some("mial")));
    assert!(columns.contains("no column `mial`. It has: `id`, `E-Mail`, `number`"), "{columns}");
    assert!(message(&query(&url, "SELEC 1")).contains("syntax error"));
    assert!(message(&query(&url, "SELECT 1 / 0")).contains("division by zero"));
    let unknown = url.replace("/crm", "/elsewhere");
    assert!(message(&table(&unknown, "people", None)).contains("\"elsewhere\" does not exist"));
    let wrong = url.replace("geheim", "geheimer");
    assert!(matches!(error(&table(&wrong, "people", None)), SourceError::LoginRefused { .. }));
    let nobody = url.replace(&format!(":{}", server.port), &format!(":{}", free_port()));
    assert!(matches!(error(&table(&nobody, "people", None)), SourceError::Unreachable { .. }));
}

#[test]
fn a_postgres_crash_is_not_the_end_of_the_rows() {
    let Some(server) = postgres::start("") else { return };
    let url = postgres::url(&server);
    let sql = "SELECT 'a' || n || repeat('x', 90) || '@x.io' FROM generate_series(1, 1000000) n";
    reports_a_crash(server, &query(&url, sql));
}

#[test]
fn postgres_rows_are_streamed() {
    let sql = "SELECT 'a' || n || repeat('x', 230) || '@x.io' FROM generate_series(1, 210000) n";
    if let Some(url) = alone::argument() {
        return streams(&query(&url, sql));
    }
    let Some(server) = postgres::shared(POSTGRES_PEOPLE) else { return };
    alone::run("databases::postgres_rows_are_streamed", &postgres::url(&server));
}

#[test]
fn postgres_ends_a_query_whose_rows_are_dropped() {
    let Some(server) = postgres::shared(POSTGRES_PEOPLE) else { return };
    postgres::psql(&server, "postgres", "CREATE DATABASE dropped").expect("a database");
    let url = postgres::url(&server).replace("/crm", "/dropped");
    let active = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'dropped'";
    for sql in ["SELECT generate_series(1, 100000000)", "SELECT pg_sleep(600)"] {
        let open = source::open(&query(&url, sql)).expect("the source opens");
        assert_ne!(postgres::psql(&server, "crm", active).expect("a count"), "0");
        drop(open);
        wait_until("the query ends", || {
            postgres::psql(&server, "crm", active).expect("a count") == "0"
        });
    }
}

const MARIADB_PEOPLE: &str = "
    CREATE TABLE logins (id int, login text); INSERT INTO logins VALUES (1, 'l@x.io'), (2, NULL);
    CREATE TABLE people (id int, `E-Mail` text, number decimal(5,2), born date, raw blob);
    INSERT INTO people VALUES
        (1, 'a@x.io', 1.50, '2001-02-03', 'b@x.io'), (2, NULL, NULL, NULL, NULL),
        (3, 'jörg🦀@x.io', 7, '2001-02-03', x'ff');
    CREATE DATABASE sales;
    CREATE TABLE sales.`odd.``name``; DROP TABLE people; --` (email varchar(50) CHARACTER SET latin1);
    INSERT INTO sales.`odd.``name``; DROP TABLE people; --` VALUES ('ödd@x.io');";

#[test]
fn mariadb_tables_and_queries_are_read() {
    let Some(server) = mariadb::shared(MARIADB_PEOPLE) else { return };
    let url = mariadb::url(&server);
    assert_eq!(texts(&table(&url, "people", None)), ["a@x.io", "", "jörg🦀@x.io"]);
    assert_eq!(texts(&table(&url, "crm.people", Some("raw"))), ["b@x.io", "", "ÿ"]);
    assert_eq!(texts(&table(&url, "logins", None)), ["l@x.io", ""]);
    assert_eq!(texts(&table(&url, "people", Some("NUMBER"))), ["1.50", "", "7.00"]);
    assert_eq!(texts(&table(&url, "people", Some("born")))[0], "2001-02-03");
    let rows = query(&url, "SELECT id, born FROM people ORDER BY id DESC;");
    assert_eq!(texts(&rows), ["3", "2", "1"]);
    assert_eq!(texts(&query(&url, "SELECT 1 FROM people WHERE false")), [""; 0]);
    let open = source::open(&table(&url, "people", None)).expect("the source opens");
    assert_eq!(open.description(), "MySQL/MariaDB, table `people`, column `E-Mail`");
    assert_eq!(
        table(&url, "people", None).name(),
        format!("mysql://reader@127.0.0.1:{}/crm table people", server.port)
    );
}

#[test]
fn mariadb_is_only_read_and_not_open_to_injection() {
    let Some(server) = mariadb::shared(MARIADB_PEOPLE) else { return };
    let url = mariadb::url(&server);
    let odd = "sales.`odd.``name``; DROP TABLE people; --`";
    assert_eq!(texts(&table(&url, odd, None)), ["ödd@x.io"]);
    for name in ["people`; DROP TABLE people; -- ", "people; DROP TABLE people", "people WHERE 1=1"]
    {
        assert!(message(&table(&url, name, None)).contains("has no table"), "{name}");
    }
    assert!(message(&table(&url, "people", Some("id` FROM people; -- "))).contains("no column"));
    let file = server.folder.path().join("out.txt");
    let into_file = format!("SELECT id FROM people INTO OUTFILE '{}'", file.display());
    for (sql, refusal) in [
        ("DELETE FROM people RETURNING id", "QueryWrites"),
        ("INSERT INTO people (id) VALUES (9) RETURNING id", "QueryWrites"),
        ("DROP TABLE people", "QueryWithoutColumn"),
        ("CREATE TABLE t AS SELECT 1", "QueryWrites"),
        ("TRUNCATE people", "QueryWithoutColumn"),
        ("COMMIT", "QueryWithoutColumn"),
        ("SET @x = 1", "QueryWithoutColumn"),
        (into_file.as_str(), "QueryWithoutColumn"),
        ("SELECT 1; DELETE FROM people", "QueryRefused"),
        ("COMMIT; DELETE FROM people", "QueryRefused"),
        ("SELECT 1; SELECT 2", "QueryRefused"),
    ] {
        let refused = error(&query(&url, sql));
        assert!(format!("{refused:?}").starts_with(refusal), "{sql}: {refused:?}");
    }
    assert!(!file.exists());
    assert_eq!(mariadb::client(&server, "SELECT count(*) FROM crm.people").unwrap(), "3");
}

#[test]
fn mariadb_says_what_is_wrong() {
    let Some(server) = mariadb::shared(MARIADB_PEOPLE) else { return };
    let url = mariadb::url(&server);
    let near = message(&table(&url, "peple", None));
    assert!(near.contains("has no table `peple`. Did you mean: `people`?"), "{near}");
    assert!(message(&table(&url, "nowhere.people", None)).contains("`people`"));
    let columns = message(&table(&url, "people", Some("mial")));
    assert!(columns.contains("no column `mial`. It has: `id`, `E-Mail`, `number`"), "{columns}");
    assert!(message(&query(&url, "SELEC 1")).contains("syntax"));
    assert!(message(&query(&url, "SELECT nothing FROM people")).contains("nothing"));
    let unknown = url.replace("/crm", "/elsewhere");
    assert!(message(&table(&unknown, "people", None)).contains("elsewhere"));
    let wrong = url.replace("geheim", "geheimer");
    assert!(matches!(error(&table(&wrong, "people", None)), SourceError::LoginRefused { .. }));
    let nobody = url.replace(&format!(":{}", server.port), &format!(":{}", free_port()));
    assert!(matches!(error(&table(&nobody, "people", None)), SourceError::Unreachable { .. }));
}

#[test]
fn a_mariadb_crash_is_not_the_end_of_the_rows() {
    let Some(server) = mariadb::start("") else { return };
    let url = mariadb::url(&server);
    let sql = "SELECT CONCAT('a', seq, REPEAT('x', 90), '@x.io') FROM seq_1_to_1000000";
    reports_a_crash(server, &query(&url, sql));
}

#[test]
fn mariadb_rows_are_streamed() {
    let sql = "SELECT CONCAT('a', seq, REPEAT('x', 230), '@x.io') FROM seq_1_to_210000";
    if let Some(url) = alone::argument() {
        return streams(&query(&url, sql));
    }
    let Some(server) = mariadb::shared(MARIADB_PEOPLE) else { return };
    alone::run("databases::mariadb_rows_are_streamed", &mariadb::url(&server));
}

#[test]
fn a_server_that_does_not_answer_is_given_up_in_time() {
    // It lets connect, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let url = format!("postgres://u:geheim@127.0.0.1:{port}/d");
    let (waited, unreachable) = timed(|| error(&table(&url, "t", None)));
    assert!(matches!(unreachable, SourceError::Unreachable { .. }), "{unreachable}");
    assert!(Duration::from_secs(9) < waited && waited < Duration::from_secs(15), "{waited:?}");
}

/// Rows come until the server crashes; then an error comes, and never the end.
fn reports_a_crash(mut server: Server, settings: &SourceSettings) {
    let mut open = source::open(settings).expect("the source opens");
    for _ in 0..1000 {
        open.next().expect("a row").expect("a row");
    }
    server.crash();
    let mut read = 1000;
    let error = loop {
        match open.next().expect("not the end") {
            Ok(_) => read += 1,
            Err(error) => break error,
        }
    };
    assert!(read < 1_000_000);
    assert!(error.to_string().contains(&format!("broke off after row {read}")), "{error}");
    assert!(open.next().is_none());
}

/// Of 50 MB of rows a few are in memory at any time.
fn streams(settings: &SourceSettings) {
    let growth = peak_growth_kib(|| {
        let open = source::open(settings).expect("the source opens");
        let bytes: usize = open.map(|row| row.expect("a row").text.len()).sum();
        assert!(bytes > 50_000_000);
    });
    assert!(growth < 16 << 10, "{growth} KiB");
}
