//! A throwaway PostgreSQL server.

use std::process::{Command, Stdio};
use std::sync::Arc;

use super::server::{
    PASSWORD, PASSWORD_IN_URL, Server, Shared, binary, command, folder_of, free_port, wait_until,
};

static SHARED: Shared = Shared::new();

/// The server that all tests share, started with `sql` in it: they only read from it.
pub(crate) fn shared(sql: &str) -> Option<Arc<Server>> {
    SHARED.get(|| start(sql))
}

/// Starts one and runs `sql` in it; none where PostgreSQL is not
/// installed. The user `reader` with [`PASSWORD`] may read everything in the database `crm`.
pub(crate) fn start(sql: &str) -> Option<Server> {
    let (initdb, postgres) = (binary(&["initdb"])?, binary(&["postgres"])?);
    let (folder, ids) = folder_of("postgres");
    let data = folder.path().join("data");
    let done = command(&initdb, &folder, ids)
        .args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256"])
        .args(["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
        .arg(&data)
        .status();
    assert!(done.expect("initdb").success());
    let port = free_port();
    let process = command(&postgres, &folder, ids)
        .arg("-D")
        .arg(&data)
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1,::1", "-c", "fsync=off"])
        .arg("-k")
        .arg(folder.path())
        .spawn()
        .expect("postgres");
    let server = Server { folder, port, process };
    wait_until(&server.folder, || psql(&server, "postgres", "SELECT 1").is_ok());
    psql(&server, "postgres", "CREATE DATABASE crm").expect("a database");
    let reader = format!(
        "CREATE USER reader PASSWORD '{PASSWORD}';
         ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO reader;
         ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO reader; {sql}"
    );
    psql(&server, "crm", &reader).expect("the test's data");
    Some(server)
}

/// The URL of the reader.
pub(crate) fn url(server: &Server) -> String {
    format!("postgres://reader:{PASSWORD_IN_URL}@127.0.0.1:{}/crm", server.port)
}

/// Runs `sql` as the owner of everything; returns what it prints.
pub(crate) fn psql(server: &Server, database: &str, sql: &str) -> Result<String, String> {
    let output = Command::new("psql")
        .arg("-h")
        .arg(server.folder.path())
        .args(["-p", &server.port.to_string(), "-U", "postgres", "-d", database])
        .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
