//! Where the server listens, and does not during an outage.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel queues until they are accepted: more than any client opens at once.
const BACKLOG: u32 = 1024;

/// How often binding is tried while a connection holds the port: half a minute.
const MOST_TRIES: u32 = 3000;

/// The wait between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// An address that stays reserved, open or closed.
pub(super) struct Port {
    pub(super) address: SocketAddr,
    pub(super) listener: TcpListener,
}

impl Port {
    /// Binds `listen` and opens it.
    pub(super) fn open(listen: SocketAddr) -> io::Result<Self> {
        let open = || {
            let listener = bind(listen)?.listen(BACKLOG)?;
            Ok(Self { address: listener.local_addr()?, listener })
        };
        open().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}"))
        })
    }

    /// Refuses connections from now on. If another connection takes the port at
    /// this moment, it waits for it.
    pub(super) async fn close(self) -> io::Result<ClosedPort> {
        drop(self.listener);
        let mut tries = 0;
        loop {
            match bind(self.address) {
                Ok(socket) => return Ok(ClosedPort { address: self.address, socket }),
                Err(error) if tries == MOST_TRIES => return Err(error),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }
}

/// A port that is closed for a time. A socket that is bound but does not listen keeps others from
/// taking it.
pub(super) struct ClosedPort {
    address: SocketAddr,
    socket: TcpSocket,
}

impl ClosedPort {
    /// Accepts connections again.
    pub(super) fn open(self) -> io::Result<Port> {
        Ok(Port { address: self.address, listener: self.socket.listen(BACKLOG)? })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
