//! A server that speaks PostgreSQL's protocol just far enough to refuse every connection.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// What a client sends to ask for TLS.
const SSL_REQUEST: u32 = 80_877_103;

/// Starts one that refuses with this SQLSTATE and message. Returns its port; its thread ends with the process.
pub(crate) fn start(code: &'static str, message: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            refuse(client, code, message);
        }
    });
    port
}

/// The client may be gone at any time.
fn refuse(mut client: TcpStream, code: &str, message: &str) -> Option<()> {
    if startup(&mut client)? == SSL_REQUEST {
        client.write_all(b"N").ok()?;
        startup(&mut client)?;
    }
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
    let length = u32::try_from(fields.len() + 4).expect("a short message");
    let error = [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat();
    client.write_all(&error).ok()
}

/// Reads a first message; returns what it asks for.
fn startup(client: &mut TcpStream) -> Option<u32> {
    let mut head = [0; 8];
    client.read_exact(&mut head).ok()?;
    let [length, kind] =
        [0, 4].map(|at| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes")));
    let mut rest = vec![0; usize::try_from(length).ok()?.saturating_sub(8)];
    client.read_exact(&mut rest).ok()?;
    Some(kind)
}
