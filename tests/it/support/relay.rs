//! A relay on TCP between the program and a server, which plays what goes wrong in between.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a client has to say before it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Nothing: it is connected at once.
    Direct,
    /// `CONNECT host:port`, as to an HTTP proxy.
    Proxy,
    /// The same, and it is refused with this response.
    Refusal(&'static str),
}

/// A running relay. Its threads end with the process.
pub(crate) struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    front: Front,
    upstream: Mutex<SocketAddr>,
    connections: AtomicUsize,
    /// The connections up to this number forward nothing any more, and stay open.
    silent: AtomicUsize,
    /// After so many further bytes from clients, all connections fall silent that there are then.
    bytes_until_silence: AtomicUsize,
    /// The first line of each request to connect.
    asked: Mutex<Vec<String>>,
    /// By which the server knows each connection.
    ports: Mutex<Vec<u16>>,
}

impl Relay {
    pub(crate) fn start(front: Front, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            front,
            upstream: Mutex::new(upstream),
            connections: AtomicUsize::new(0),
            silent: AtomicUsize::new(0),
            bytes_until_silence: AtomicUsize::new(usize::MAX),
            asked: Mutex::default(),
            ports: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let number = accepting.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let state = Arc::clone(&accepting);
                std::thread::spawn(move || state.serve(client, number));
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections came in, ever.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The connections there are stay open, and nothing passes through them any more.
    pub(crate) fn fall_silent(&self) {
        self.state.silent.store(self.connections(), Ordering::SeqCst);
    }

    /// The same after so many further bytes from clients.
    pub(crate) fn fall_silent_after(&self, bytes: usize) {
        self.state.bytes_until_silence.store(bytes, Ordering::SeqCst);
    }

    /// Whether the connections that there were are silent.
    pub(crate) fn is_silent(&self) -> bool {
        self.state.silent.load(Ordering::SeqCst) > 0
    }

    /// Leads new connections to another server; those there are stay with theirs.
    pub(crate) fn lead_to(&self, upstream: SocketAddr) {
        *lock(&self.state.upstream) = upstream;
    }

    /// The ports by which the server knows the connections that came through.
    pub(crate) fn ports(&self) -> Vec<u16> {
        lock(&self.state.ports).clone()
    }

    /// The first line of each request to connect.
    pub(crate) fn asked(&self) -> Vec<String> {
        lock(&self.state.asked).clone()
    }
}

impl State {
    fn serve(self: Arc<Self>, client: TcpStream, number: usize) {
        if self.front != Front::Direct && self.greet(&client).is_none() {
            return;
        }
        let Ok(server) = TcpStream::connect(*lock(&self.upstream)) else {
            return;
        };
        if let Ok(address) = server.local_addr() {
            lock(&self.ports).push(address.port());
        }
        let (from_client, to_server) = (clone(&client), clone(&server));
        let up = Arc::clone(&self);
        std::thread::spawn(move || up.forward(from_client, to_server, number, Self::count));
        self.forward(server, client, number, |_, _| {});
    }

    /// Bytes that came from a client.
    fn count(&self, bytes: usize) {
        let left = self.bytes_until_silence.load(Ordering::SeqCst);
        if left == usize::MAX {
            return;
        }
        self.bytes_until_silence.store(left.saturating_sub(bytes), Ordering::SeqCst);
        if left <= bytes {
            self.bytes_until_silence.store(usize::MAX, Ordering::SeqCst);
            self.silent.store(self.connections.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    /// Reads the request to connect and answers it; `None` if it was refused.
    fn greet(&self, mut client: &TcpStream) -> Option<()> {
        let mut head = BufReader::with_capacity(1, client);
        let mut first = String::new();
        head.read_line(&mut first).ok()?;
        let mut line = first.clone();
        while !line.trim().is_empty() {
            line.clear();
            head.read_line(&mut line).ok()?;
        }
        lock(&self.asked).push(first.trim().to_owned());
        let (response, connected) = match self.front {
            Front::Refusal(response) => (response, None),
            Front::Direct | Front::Proxy => ("HTTP/1.1 200 Connected\r\n\r\n", Some(())),
        };
        client.write_all(response.as_bytes()).ok()?;
        connected
    }

    fn forward(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        number: usize,
        count: impl Fn(&Self, usize),
    ) {
        let is_silent = || number <= self.silent.load(Ordering::SeqCst);
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            count(self, read);
            if !is_silent() && to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        if !is_silent() {
            let _ = to.shutdown(Shutdown::Write);
        }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("the same stream")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
