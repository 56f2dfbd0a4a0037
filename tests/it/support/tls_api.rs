//! An API behind TLS that speaks HTTP/2 or HTTP/1.1, as the client prefers.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_timer::Delay;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use telemetron_sync::time;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::api::customer;
use super::certificates::Certificate;

/// A request that came in.
#[derive(Clone, Debug)]
pub(crate) struct TlsRequest {
    pub(crate) version: Version,
    pub(crate) at: Instant,
}

/// A running server, which finds a customer for every email. Its thread ends with the process.
pub(crate) struct TlsApi {
    address: SocketAddr,
    seen: Arc<Seen>,
}

type Seen = Mutex<Vec<TlsRequest>>;

impl TlsApi {
    /// Answers after `latency`, and shows this certificate.
    pub(crate) fn start(certificate: &Certificate, latency: Duration) -> Self {
        let acceptor = acceptor(certificate);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let serving = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                loop {
                    if let Ok((stream, _)) = listener.accept().await {
                        let seen = Arc::clone(&serving);
                        tokio::spawn(serve(stream, acceptor.clone(), seen, latency));
                    }
                }
            })
        });
        Self { address, seen }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn requests(&self) -> Vec<TlsRequest> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&certificate.certificate).expect("a certificate");
    let chain = chain.collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions of TLS").with_no_client_auth();
    let mut config = config.with_single_cert(chain, key).expect("a certificate and its key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, seen: Arc<Seen>, latency: Duration) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(stream);
    let service = service_fn(|request| respond(request, Arc::clone(&seen), latency));
    // A client that is gone ends the connection with an error.
    let _ = match is_http2 {
        true => http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await,
        false => http1::Builder::new().serve_connection(stream, service).await,
    };
}

async fn respond(
    request: Request<Incoming>,
    seen: Arc<Seen>,
    latency: Duration,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let version = request.version();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let email = body["email"].as_str().unwrap_or_default().to_owned();
    let customer = customer(&format!("cust_{email}"), &email).to_string();
    let request = TlsRequest { version, at: time::instant() };
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    Delay::new(latency).await;
    Ok(Response::new(Full::new(Bytes::from(customer))))
}
