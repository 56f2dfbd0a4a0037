//! An HTTP server on loopback in front of a [`Handler`].
//!
//! It owns its thread and its runtime, so that a program or a test without one can use it. Of the
//! API it knows only where the email is in a body.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures_timer::Delay;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{mpsc::UnboundedSender, oneshot};
use tokio::task::JoinSet;

use super::body::{Cut, ReplyBody};
use super::port::Port;
use super::reply::{Delivery, Handler, Reply, Request};
use super::wire::Wire;
use super::{hash, rules};

/// The largest request body that is read, in bytes. A lookup's has under 300.
const MAX_REQUEST_BODY: usize = 64 * 1024;

/// The wait after a connection could not be accepted, usually because file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What a client may still send when its connection is being closed, …
const MOST_LINGER_BYTES: u64 = 16 * 1024 * 1024;

/// … and for how long.
const LINGER: Duration = Duration::from_secs(2);

/// A running server. It stops when dropped.
pub(super) struct Server {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(listen: SocketAddr, handler: impl Handler) -> io::Result<Self> {
        if !listen.ip().is_loopback() {
            let text =
                format!("{listen} is not a loopback address; give one such as 127.0.0.1:8080");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new().name("sandbox".into()).spawn(move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                let port = match Port::open(listen) {
                    Ok(port) => port,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                drop(ready.send(Ok(port.address)));
                tokio::select! {
                    _ = stopped => {}
                    () = serve(port, Arc::new(handler), counter) => {}
                }
            });
        })?;
        let address = started.recv().unwrap_or_else(|gone| Err(io::Error::other(gone)))?;
        Ok(Self { address, requests, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Serves until the process ends.
    pub(super) fn wait(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.join();
    }
}

/// Accepts connections until an outage cuts them all, and again after it.
async fn serve(mut port: Port, handler: Arc<dyn Handler>, requests: Arc<AtomicU64>) {
    let (outage, mut outages) = tokio::sync::mpsc::unbounded_channel();
    let attempts = handler.counts_attempts().then(Mutex::default);
    let state = Arc::new(ServerState {
        handler,
        attempts,
        requests,
        outage,
        started: crate::time::instant(),
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = port.listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(Arc::clone(&state).attend(stream))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
            Some(length) = outages.recv() => {
                port = match run_outage(port, &mut connections, length).await {
                    Ok(port) => port,
                    Err(error) => return tracing::error!(event = "sandbox", "The sandbox has lost its port: {error}."),
                };
                // Requests that came in at the same time asked for the same outage.
                while outages.try_recv().is_ok() {}
            }
        }
    }
}

/// Closes the port for a time. It closes first, so that no client whose connection is cut gets in
/// again.
async fn run_outage(
    port: Port,
    connections: &mut JoinSet<()>,
    length: Duration,
) -> io::Result<Port> {
    let closed = port.close().await?;
    connections.shutdown().await;
    tokio::time::sleep(length).await;
    closed.open()
}

/// What all connections share.
struct ServerState {
    handler: Arc<dyn Handler>,
    /// How many requests came in for each email, by its hash.
    attempts: Option<Mutex<HashMap<u64, u32>>>,
    requests: Arc<AtomicU64>,
    outage: UnboundedSender<Duration>,
    started: Instant,
}

impl ServerState {
    /// Serves one connection to its end.
    async fn attend(self: Arc<Self>, stream: TcpStream) {
        // Without it the second small write of a connection could wait for the first one's
        // acknowledgement. If it fails, the stream is only slower.
        let _ = stream.set_nodelay(true);
        let reset = Arc::new(AtomicBool::new(false));
        let stream = Wire { stream, reset: Arc::clone(&reset) };
        let service = service_fn(move |request| {
            let (state, reset) = (Arc::clone(&self), Arc::clone(&reset));
            Box::pin(async move { state.handle(request, &reset).await })
        });
        let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // It is an error if the client leaves, or if the reply cuts the connection.
        let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
        linger(connection.into_parts().io.into_inner()).await;
    }

    async fn handle(
        &self,
        request: HttpRequest<Incoming>,
        reset: &AtomicBool,
    ) -> Result<Response<ReplyBody>, Cut> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let (head, body) = request.into_parts();
        let reply = match read(body).await? {
            None => {
                Reply::error(413, "Request body too large").header(CONNECTION.as_str(), "close")
            }
            Some(body) => {
                let email = rules::email_of(&body);
                let request = Request {
                    number,
                    at: self.started.elapsed(),
                    method: head.method.as_str(),
                    path: head.uri.path(),
                    key: head.headers.get("x-api-key").and_then(|key| key.to_str().ok()),
                    body: &body,
                    email: email.as_deref(),
                    attempt: self.count(email.as_deref()),
                };
                self.handler.respond(&request)
            }
        };
        if !reply.delay.is_zero() {
            // The runtime's own timer counts in whole milliseconds, and is one or two late.
            Delay::new(reply.delay).await;
        }
        self.deliver(reply, reset).await
    }

    fn count(&self, email: Option<&str>) -> u32 {
        let (Some(attempts), Some(email)) = (&self.attempts, email) else {
            return 1;
        };
        let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(hash::text(0, email)).or_default();
        *attempt = attempt.saturating_add(1);
        *attempt
    }

    async fn deliver(&self, reply: Reply, reset: &AtomicBool) -> Result<Response<ReplyBody>, Cut> {
        let length = reply.body.len();
        match reply.delivery {
            Delivery::Whole => Ok(respond(reply, ReplyBody::whole)),
            Delivery::Slowly { pieces, pause } => {
                Ok(respond(reply, |bytes| ReplyBody::slow(bytes, pieces, pause)))
            }
            Delivery::Truncated => Ok(promise(length * 2 + 1, respond(reply, ReplyBody::broken))),
            Delivery::ResetMidway => {
                reset.store(true, Ordering::Relaxed);
                let half = |bytes: Bytes| ReplyBody::broken(bytes.slice(..length / 2));
                Ok(promise(length.max(1), respond(reply, half)))
            }
            Delivery::Never => std::future::pending().await,
            Delivery::Reset => {
                reset.store(true, Ordering::Relaxed);
                Err(Cut)
            }
            Delivery::Outage(duration) => {
                reset.store(true, Ordering::Relaxed);
                // The other end is gone only when the server stops, which cuts everything too.
                let _ = self.outage.send(duration);
                std::future::pending().await
            }
        }
    }
}

/// Ends a connection, but only after what the client is still sending: a socket that is closed with
/// bytes unread is reset, and the client may lose the answer that says why.
async fn linger(mut wire: Wire) {
    if wire.reset.load(Ordering::Relaxed) || wire.shutdown().await.is_err() {
        return;
    }
    let mut rest = wire.take(MOST_LINGER_BYTES);
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

/// The body of a request, or None if it is too large.
async fn read(body: Incoming) -> Result<Option<Bytes>, Cut> {
    if body.size_hint().lower() > MAX_REQUEST_BODY as u64 {
        return Ok(None);
    }
    match Limited::new(body, MAX_REQUEST_BODY).collect().await {
        Ok(whole) => Ok(Some(whole.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(_) => Err(Cut),
    }
}

fn respond(reply: Reply, body: impl FnOnce(Bytes) -> ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body(reply.body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.extend(reply.headers);
    response
}

/// Says that the body has `length` bytes.
fn promise(length: usize, mut response: Response<ReplyBody>) -> Response<ReplyBody> {
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}
