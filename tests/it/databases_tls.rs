//! Encrypted connections to real servers, and who they prove to be.

use std::path::Path;

use telemetron_sync::source::{self, InputRow, Location, SourceError, SourceSettings};

use crate::support::certificates::{Certificate, Root, install};
use crate::support::server::PASSWORD_IN_URL;
use crate::support::{mariadb, postgres};

/// The first cell of a query, or why there is none.
fn first(url: &str, sql: &str) -> Result<String, String> {
    let location = Location::parse(url).map_err(|error| error.to_string())?;
    let mut settings = SourceSettings::new(location);
    settings.query = Some(sql.to_owned());
    let mut open = source::open(&settings).map_err(|error| error.to_string())?;
    let first: Option<Result<InputRow, SourceError>> = open.next();
    first.expect("a row").map(|row| row.text).map_err(|error| error.to_string())
}

/// What holds for either kind of server, whose URLs `url` makes of a host and parameters.
struct Expected<'a> {
    /// Its result is not blank on an encrypted connection.
    is_encrypted: &'a str,
    verify_full: &'a str,
    verify_ca: &'a str,
    require: &'a str,
    root: &'a str,
}

fn check(url: &dyn Fn(&str, &str) -> String, expected: &Expected<'_>, mine: &Root, strange: &Root) {
    let Expected { is_encrypted, verify_full, verify_ca, require, root } = *expected;
    let (mine, strange) = (mine.path(), strange.path());
    let ask = |host, parameters: String| first(&url(host, &parameters), is_encrypted);
    for (host, parameters) in [
        ("localhost", format!("{verify_full}&{root}={mine}")),
        ("127.0.0.1", format!("{verify_ca}&{root}={mine}")),
        ("127.0.0.1", format!("{require}&{root}={mine}")),
        ("127.0.0.1", require.to_owned()),
        ("127.0.0.1", String::new()),
    ] {
        let encrypted = ask(host, parameters.clone());
        assert!(encrypted.as_ref().is_ok_and(|it| !it.is_empty()), "{parameters}: {encrypted:?}");
    }
    for (host, parameters, help) in [
        ("127.0.0.1", format!("{verify_full}&{root}={mine}"), "is for another name"),
        (
            "localhost",
            format!("{verify_full}&{root}={strange}"),
            "names the certificate that signed",
        ),
        ("localhost", verify_full.to_owned(), "names the certificate that signed"),
        ("localhost", format!("{require}&{root}={strange}"), "names the certificate that signed"),
        ("localhost", format!("{verify_full}&{root}=/nowhere.crt"), "/nowhere.crt"),
    ] {
        let refused = ask(host, parameters.clone()).expect_err(&parameters);
        assert!(refused.contains(help), "{parameters}: {refused}");
        assert!(!refused.contains("geheim"), "{refused}");
    }
}

fn roots(folder: &Path) -> Option<(Root, Root)> {
    Some((Root::new(folder, "mine")?, Root::new(folder, "strange")?))
}

#[test]
fn postgres_proves_who_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((mine, strange)) = roots(folder.path()) else { return };
    let Some(server) = postgres::start("") else { return };
    let data = server.folder.path().join("data");
    let use_certificate = |certificate: &Certificate, setting: &str| {
        install(certificate, &data, &data);
        postgres::psql(&server, "postgres", setting).expect("a setting");
        postgres::psql(&server, "postgres", "SELECT pg_reload_conf()").expect("a reload");
    };
    use_certificate(&mine.sign("server"), "ALTER SYSTEM SET ssl = on");
    let url = |host: &str, parameters: &str| {
        format!("postgres://reader:{PASSWORD_IN_URL}@{host}:{}/crm?{parameters}", server.port)
    };
    let is_encrypted = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    wait_for_tls(&|| first(&url("127.0.0.1", "sslmode=require"), is_encrypted).is_ok());
    let expected = Expected {
        is_encrypted,
        verify_full: "sslmode=verify-full",
        verify_ca: "sslmode=verify-ca",
        require: "sslmode=require",
        root: "sslrootcert",
    };
    check(&url, &expected, &mine, &strange);
    assert_eq!(first(&url("127.0.0.1", "sslmode=disable"), is_encrypted).as_deref(), Ok(""));
    use_certificate(mine.itself(), "ALTER SYSTEM SET ssl = on");
    let itself = url("localhost", &format!("sslmode=verify-full&sslrootcert={}", mine.path()));
    let is_refused =
        || first(&itself, is_encrypted).is_err_and(|it| it.contains("is a root itself"));
    wait_for_tls(&is_refused);
}

#[test]
fn mariadb_proves_who_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((mine, strange)) = roots(folder.path()) else { return };
    let signed = mine.sign("server");
    let tls = |folder: &Path| {
        install(&signed, folder, folder);
        ["cert=server.crt", "key=server.key"]
            .map(|file| file.replace('=', &format!("={}/", folder.display())))
            .map(|argument| format!("--ssl-{argument}"))
            .to_vec()
    };
    let Some(server) = mariadb::start_with("", tls) else { return };
    let url = |host: &str, parameters: &str| {
        format!("mysql://reader:{PASSWORD_IN_URL}@{host}:{}/crm?{parameters}", server.port)
    };
    let is_encrypted = "SELECT variable_value FROM information_schema.session_status \
                        WHERE variable_name = 'Ssl_cipher'";
    let expected = Expected {
        is_encrypted,
        verify_full: "ssl-mode=verify_identity",
        verify_ca: "ssl-mode=verify_ca",
        require: "ssl-mode=required",
        root: "ssl-ca",
    };
    check(&url, &expected, &mine, &strange);
    assert_eq!(first(&url("127.0.0.1", "ssl-mode=disabled"), is_encrypted).as_deref(), Ok(""));
    install(mine.itself(), server.folder.path(), server.folder.path());
    mariadb::client(&server, "FLUSH SSL").expect("a reload");
    let itself = url("localhost", &format!("ssl-mode=verify_identity&ssl-ca={}", mine.path()));
    let refused = first(&itself, is_encrypted).expect_err("a root");
    assert!(refused.contains("is a root itself"), "{refused}");
}

#[test]
fn mariadb_checks_a_password_by_ed25519_and_is_read_without_tls() {
    let user = "INSTALL SONAME 'auth_ed25519'; \
                CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('geheim'); \
                GRANT ALL ON *.* TO ed@'%'; ";
    let Some(server) = mariadb::start(user) else { return };
    let url = |password: &str| format!("mysql://ed:{password}@127.0.0.1:{}/crm", server.port);
    assert_eq!(first(&url("geheim"), "SELECT 'a@x.io'").as_deref(), Ok("a@x.io"));
    let refused = first(&url("falsch"), "SELECT 1").expect_err("a wrong password");
    assert!(refused.contains("refused the login"), "{refused}");
    let required = format!("{}?ssl-mode=required", url("geheim"));
    let refused = first(&required, "SELECT 1").expect_err("no TLS");
    assert!(refused.contains("does not offer TLS"), "{refused}");
}

/// A server needs a moment to read its settings again.
fn wait_for_tls(works: &dyn Fn() -> bool) {
    crate::support::clock::wait_until("the server has read its certificate", works);
}
