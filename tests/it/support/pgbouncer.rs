//! A throwaway PgBouncer in front of a throwaway PostgreSQL server.

use std::net::TcpStream;

use super::server::{
    PASSWORD, PASSWORD_IN_URL, Server, binary, command, folder_of, free_port, wait_until,
};

/// Starts one with its default settings, one connection and this pooling mode; none where it is not
/// installed.
pub(crate) fn start(postgres: &Server, mode: &str) -> Option<Server> {
    let pgbouncer = binary(&["pgbouncer"])?;
    let (folder, ids) = folder_of("postgres");
    let port = free_port();
    let users = folder.path().join("users.txt");
    std::fs::write(&users, format!("\"reader\" \"{PASSWORD}\"\n")).expect("users");
    let settings = folder.path().join("pgbouncer.ini");
    let text = format!(
        "[databases]\ncrm = host=127.0.0.1 port={} dbname=crm\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n\
         auth_file = {}\npool_mode = {mode}\ndefault_pool_size = 1\n",
        postgres.port,
        users.display()
    );
    std::fs::write(&settings, text).expect("settings");
    let process = command(&pgbouncer, &folder, ids).arg(&settings).spawn().expect("pgbouncer");
    let server = Server { folder, port, process };
    wait_until(&server.folder, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(server)
}

/// The URL of the reader.
pub(crate) fn url(server: &Server) -> String {
    format!("postgres://reader:{PASSWORD_IN_URL}@127.0.0.1:{}/crm", server.port)
}
