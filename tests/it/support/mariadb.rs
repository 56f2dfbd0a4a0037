//! A throwaway MariaDB server.

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

/// Starts one and runs `sql` in it; none where MariaDB is not installed. The user `reader` with
/// [`PASSWORD`] may do everything in the database `crm`, and write files.
pub(crate) fn start(sql: &str) -> Option<Server> {
    start_with(sql, |_| Vec::new())
}

/// The same with more arguments, which may name files in the server's folder.
pub(crate) fn start_with(
    sql: &str,
    more: impl FnOnce(&std::path::Path) -> Vec<String>,
) -> Option<Server> {
    let install = binary(&["mariadb-install-db"])?;
    let mariadbd = binary(&["mariadbd"])?;
    let (folder, ids) = folder_of("mysql");
    let data = format!("--datadir={}/data", folder.path().display());
    let done = command(&install, &folder, ids)
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .arg(&data)
        .status();
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    assert!(done.expect("mariadb-install-db").success(), "{}", log());
    let port = free_port();
    let more = more(folder.path());
    let process = command(&mariadbd, &folder, ids)
        .args(["--no-defaults", "--bind-address=127.0.0.1", "--innodb-flush-method=nosync"])
        .args(["--secure-file-priv=", "--innodb-log-file-size=32M"])
        .args([data, format!("--port={port}")])
        .arg(format!("--socket={}", socket(&folder)))
        .args(more)
        .spawn()
        .expect("mariadbd");
    let server = Server { folder, port, process };
    wait_until(&server.folder, || client(&server, "SELECT 1").is_ok());
    let reader = format!(
        "CREATE DATABASE crm CHARACTER SET utf8mb4; USE crm;
         CREATE USER reader@'%' IDENTIFIED BY '{PASSWORD}';
         GRANT ALL ON *.* TO reader@'%'; {sql}"
    );
    client(&server, &reader).expect("the test's data");
    Some(server)
}

/// The URL of the reader.
pub(crate) fn url(server: &Server) -> String {
    format!("mysql://reader:{PASSWORD_IN_URL}@127.0.0.1:{}/crm", server.port)
}

/// Runs `sql` as root; returns what it prints.
pub(crate) fn client(server: &Server, sql: &str) -> Result<String, String> {
    let output = Command::new("mariadb")
        .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"])
        .args(["--default-character-set=utf8mb4", "--execute", sql])
        .arg(format!("--socket={}", socket(&server.folder)))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn socket(folder: &tempfile::TempDir) -> String {
    format!("{}/socket", folder.path().display())
}
