//! `doctor` finds what would keep a run from its job, and sends one request at most.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use telemetron_sync::sandbox::{Reply, Sandbox};

use crate::publishing::{publish, restore, synced};
use crate::support::api::{Api, start_sandbox};
use crate::support::dir::TestDir;
use crate::support::postgres;
use crate::support::server::{PASSWORD, PASSWORD_IN_URL};

/// `doctor` about `list.csv` against the API at `url`: the status of each check, and the texts.
fn checks(dir: &TestDir, url: &str, exit: i32) -> (String, String) {
    let args = ["doctor", "list.csv", "--format", "json"];
    let json = dir.command(args).api(url).run().exits(exit).never_shows("sandbox-secret").stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["ok"], exit == 0);
    let checks = json["checks"].as_array().expect("a list");
    let field = |check: &Value, name: &str| check[name].as_str().expect(name).to_owned();
    let failed = checks.iter().filter(|check| check["status"] == "failed");
    let failed: Vec<String> = failed.map(|check| field(check, "name")).collect();
    let texts: Vec<String> = checks.iter().map(|check| field(check, "text")).collect();
    (failed.join(" "), texts.join("\n"))
}

#[test]
fn a_sound_setup_passes_with_one_request() {
    let api = start_sandbox(Duration::ZERO);
    let dir = TestDir::new();
    dir.emails(["a@x.io", "b@x.io", "no"]);
    let (failed, texts) = checks(&dir, &api.url(), 0);
    assert_eq!(failed, "");
    for text in ["accepts the key", "2 of the first 3 rows are emails", "agrees with", "creates it"]
    {
        assert!(texts.contains(text), "no {text} in {texts}");
    }
    assert_eq!(api.requests(), 1);
    assert!(!dir.path("s.db").exists());
    let text = dir.command(["doctor"]).api(&api.url()).run().exits(0).stdout;
    assert!(
        text.lines().all(|line| line.starts_with("ok ") || line.starts_with("skipped ")),
        "{text}"
    );
}

#[test]
fn what_the_environment_sets_is_checked_as_a_run_would_take_it() {
    let api = start_sandbox(Duration::ZERO);
    let dir = TestDir::new();
    dir.emails(["a@x.io"]);
    let doctor = |set: &[(&str, &str)]| {
        let doctor = dir.command(["doctor", "list.csv"]).api(&api.url());
        set.iter().fold(doctor, |doctor, (name, value)| doctor.env(name, value)).run()
    };
    for (name, value, why) in [
        ("TELEMETRON_RATE", "20", "invalid value '20' for 'TELEMETRON_RATE': give requests per"),
        ("TELEMETRON_REPORT", "/no/folder/r.html", "/no/folder/r.html cannot be written"),
        ("TELEMETRON_REPORT", "r.doc", "--report: "),
        ("TELEMETRON_REJECTS", "list.csv", "--rejects and SOURCE are the same file"),
        ("TELEMETRON_PING", "notaurl", "--ping: "),
    ] {
        let ended = doctor(&[(name, value)]).exits(1);
        let line = ended.stdout.lines().find(|line| line.starts_with("FAILED")).expect("a failure");
        assert!(line.contains("settings") && line.contains(why), "{line}");
    }
    let typo = doctor(&[("TELEMETRON_RATTE", "1"), ("TELEMETRON_RATE", "20/s")]).exits(0).stdout;
    let lines: Vec<_> = typo.lines().filter(|line| line.contains(" settings ")).collect();
    assert!(lines[0].starts_with("ok ") && lines[0].contains("TELEMETRON_RATE"), "{typo}");
    assert!(lines[1].starts_with("WARNING") && lines[1].contains("Did you mean"), "{typo}");
    assert_eq!(dir.files(), ["list.csv"]);
}

#[test]
fn each_fault_fails_its_check() {
    let dir = TestDir::new();
    dir.emails(["a@x.io"]);
    for (reply, advice) in [
        (Reply::error(401, "Invalid API key"), "the key is refused"),
        (Reply::error(404, "Not Found"), "Check the path"),
        (Reply::json(200, "{}"), "may not be the API"),
        (Reply::error(503, "down"), "Try again later"),
    ] {
        let api = Api::with_rule(move |_| Some(reply.clone()));
        let (failed, texts) = checks(&dir, &api.url(), 1);
        assert_eq!(failed, "api");
        assert!(texts.contains(advice), "{texts}");
    }
    let api = start_sandbox(Duration::ZERO);
    let (failed, texts) = checks(&dir, "http://127.0.0.1:1", 1);
    assert!(failed == "api" && texts.contains("Connection refused"), "{failed} {texts}");
    let (failed, _) = checks(&dir, "http://api.example.com", 1);
    assert_eq!(failed, "url");
    dir.write("list.csv", "");
    assert_eq!(checks(&dir, &api.url(), 1).0, "source");
    dir.emails(["Ann", "Bob", "Eve"]);
    assert_eq!(checks(&dir, &api.url(), 1).0, "source");
    dir.emails(["a@x.io"]);
    dir.write("s.db", "x".repeat(5000));
    assert_eq!(checks(&dir, &api.url(), 1).0, "store");
}

#[test]
fn a_key_that_others_can_read_fails_and_no_key_sends_nothing() {
    let api = start_sandbox(Duration::ZERO);
    let dir = TestDir::new();
    dir.write("key", "sandbox");
    let with_file =
        || dir.command(["doctor", "--api-key-file", "key"]).without_key().api(&api.url());
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir.path("key"), permissions).expect("a mode");
    };
    mode(0o644);
    with_file().run().exits(1).stdout_has("chmod 600");
    mode(0o600);
    with_file().run().exits(0);
    let requests = api.requests();
    dir.command(["doctor"]).without_key().api(&api.url()).run().exits(1).stdout_has("no API key");
    assert_eq!(api.requests(), requests);
}

/// A server that does with each connection what `serve` does, and counts them.
fn hostile(serve: impl Fn(TcpStream, &str) + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let connections = Arc::new(AtomicUsize::new(0));
    let (count, serve) = (Arc::clone(&connections), Arc::new(serve));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::Relaxed);
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap_or(0);
                serve(stream, &String::from_utf8_lossy(&request[..read]));
            });
        }
    });
    (url, connections)
}

const SECRET: &str = "a-secret-key-of-many-characters";

#[track_caller]
fn fails_with(server: (String, Arc<AtomicUsize>), expected: &str) {
    let (url, connections) = server;
    let dir = TestDir::new();
    let doctor = dir.command(["doctor"]).api(&url).env("TELEMETRON_API_KEY", SECRET);
    let ended = doctor.run().exits(1).never_shows(SECRET).never_shows(&SECRET[..12]);
    let api = ended.stdout.lines().find(|line| line.starts_with("FAILED   api"));
    let api = api.unwrap_or_else(|| panic!("no failure in {}", ended.stdout));
    assert!(api.contains(expected) && api.len() < 500, "no {expected:?} in {api}");
    assert!(connections.load(Ordering::Relaxed) <= 1, "{connections:?} connections");
}

#[test]
fn no_server_can_deceive_delay_or_flood_the_check() {
    let answer = |head: &'static str| {
        move |mut stream: TcpStream, _: &str| _ = stream.write_all(head.as_bytes())
    };
    let (elsewhere, asked) = hostile(|_, _| ());
    let redirect = move |mut stream: TcpStream, _: &str| {
        _ = write!(stream, "HTTP/1.1 307 X\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    };
    fails_with(hostile(redirect), "HTTP 307 instead of 400");
    assert_eq!(asked.load(Ordering::Relaxed), 0, "a redirect was followed");
    let echo = |mut stream: TcpStream, request: &str| {
        let escaped = request.replace('-', "\\u002d").replace(['\r', '\n', '"'], " ");
        let plain = request.replace(['\r', '\n', '"'], " ");
        let body = format!("{{\"error\": \"{plain} {escaped}\"}}");
        _ = write!(stream, "HTTP/1.1 403 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    };
    fails_with(hostile(echo), "the key is refused");
    let endless = |mut stream: TcpStream, _: &str| {
        let mut sent = stream.write_all(b"HTTP/1.1 400 X\r\n\r\n");
        while sent.is_ok() {
            sent = stream.write_all(&[b'\x1b'; 8192]);
        }
    };
    fails_with(hostile(endless), "may not be the API");
    fails_with(hostile(answer("HTTP/1.1 400 X\r\ncontent-length: 99\r\n\r\n{}")), "may not be");
    fails_with(hostile(answer("SSH-2.0-OpenSSH_9.2\r\n")), "No response: ");
    fails_with(hostile(answer("")), "No response: the connection to 127.0.0.1");
    // Two that take their time, side by side.
    let silent = |stream: TcpStream, _: &str| {
        std::thread::park_timeout(Duration::from_secs(60));
        drop(stream);
    };
    let trickle = |mut stream: TcpStream, _: &str| {
        let mut sent = stream.write_all(b"HTTP/1.1 401 X\r\n\r\n");
        while sent.is_ok() {
            std::thread::park_timeout(Duration::from_millis(200));
            sent = stream.write_all(b" ");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| fails_with(hostile(silent), "did not respond in time"));
        scope.spawn(|| fails_with(hostile(trickle), "the key is refused"));
    });
    let (url, connections) = hostile(|_, _| ());
    let https = url.replace("http:", "https:");
    fails_with((https, connections), "tls handshake");
}

/// What `doctor` says of the database that the store is published to.
#[track_caller]
fn publication(dir: &TestDir, api: &Sandbox, url: &str, exit: i32, says: &str) {
    let command = dir.command(["doctor"]).api(&api.url()).env("TELEMETRON_PUBLISH", url);
    let ended = command.run().exits(exit).never_shows(PASSWORD).never_shows(PASSWORD_IN_URL);
    let line = ended.stdout.lines().find(|line| line.contains(" publication ")).expect("a check");
    let status = if exit == 0 { "ok " } else { "FAILED " };
    assert!(line.starts_with(status) && line.contains(says), "no {says:?} in {line}");
}

#[test]
fn the_database_of_publish_is_checked_and_nothing_is_written_to_it() {
    let Some(server) = postgres::start("GRANT CREATE ON DATABASE crm TO reader") else { return };
    let psql = |sql: &str| postgres::psql(&server, "crm", sql).expect("a statement");
    let api = start_sandbox(Duration::ZERO);
    let (dir, _customers) = synced("org_doctor", 3);
    let url = postgres::url(&server);
    publication(&dir, &api, &url, 0, "can be written (PostgreSQL");
    publication(&dir, &api, &url, 0, "the first publication creates its tables");
    assert_eq!(psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'telemetron'"), "0");
    publish(&dir, &server, "telemetron").run().exits(0);
    let state = || psql("SELECT * FROM telemetron._publications");
    let before = state();
    publication(&dir, &api, &url, 0, "this store published organization org_doctor last, 20");
    let (new, _) = synced("org_new", 1);
    publication(&new, &api, &url, 0, "organization org_new is not published yet");
    publication(&TestDir::new(), &api, &url, 0, "this store has no organization yet");
    assert_eq!(state(), before);

    let other = TestDir::new();
    restore(&other, &server, "telemetron", "org_doctor").run().exits(0);
    publication(&dir, &api, &url, 1, "was taken over by another store");
    publication(&other, &api, &url, 0, "this store published organization org_doctor last, 20");
    publication(&dir, &api, &url.replace(PASSWORD_IN_URL, "falsch"), 1, "refused the login");
    publication(&dir, &api, &url.replace("/crm", "/nothing"), 1, "nothing");
    publication(&dir, &api, "mysql://u@h/d", 1, "postgres://");
    psql(
        "REVOKE ALL ON telemetron.changes FROM reader; ALTER TABLE telemetron.changes OWNER TO postgres",
    );
    publication(&other, &api, &url, 1, "Grant this user the right to use and write the schema");
    psql("UPDATE telemetron._schema_version SET version = 99, program_version = '9.9.9'");
    publication(&other, &api, &url, 1, "made by telemetron-sync 9.9.9, which is newer");
    psql("DROP SCHEMA telemetron CASCADE; REVOKE CREATE ON DATABASE crm FROM reader");
    publication(&other, &api, &url, 1, "this user may not create it");
    let none = other.command(["doctor"]).api(&api.url()).run().exits(0);
    none.stdout_has("skipped  publication  no --publish was given");
}
