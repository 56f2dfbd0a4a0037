//! A request and its reply, as values.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};

/// One request, as it came in.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Which request of this server it is, counted from 1.
    pub number: u64,
    /// When it came in, counted from the start of the server.
    pub at: Duration,
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The `x-api-key` header.
    pub key: Option<&'a str>,
    pub body: &'a [u8],
    /// The email in the body. None if there is no text under that name, or if the body is not a
    /// JSON object.
    pub email: Option<&'a str>,
    /// How many requests for this email have come in, this one included. Always 1 for a handler
    /// that does not count them ([`Handler::counts_attempts`]).
    pub attempt: u32,
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Runs on the server's thread, so it must not wait: a delay is a part of the reply.
    fn respond(&self, request: &Request<'_>) -> Reply;

    /// Whether [`Request::attempt`] is counted, which costs memory for every email.
    fn counts_attempts(&self) -> bool {
        true
    }
}

impl<F> Handler for F
where
    F: Fn(&Request<'_>) -> Reply + Send + Sync + 'static,
{
    fn respond(&self, request: &Request<'_>) -> Reply {
        self(request)
    }
}

/// How a reply goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In full, at once.
    Whole,
    /// Never; the connection stays open until the client gives up.
    Never,
    /// Not at all: the connection is reset.
    Reset,
    /// The first half of the body, then the connection is reset.
    ResetMidway,
    /// The whole body under a content-length that promises more, then the connection is closed.
    Truncated,
    /// The body in this many pieces, with a pause before each but the first.
    Slowly {
        pieces: u32,
        /// The time between two of them.
        pause: Duration,
    },
    /// Not at all: this connection and all others are cut, and the port is closed for this long.
    Outage(Duration),
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    pub(super) delay: Duration,
    pub(super) delivery: Delivery,
}

impl Reply {
    /// A body of any kind. A status that HTTP does not have becomes 500.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body: body.into(),
            delay: Duration::ZERO,
            delivery: Delivery::Whole,
        }
    }

    /// A JSON body, which is not checked.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", body)
    }

    /// `{"error": text}`, as the API words its errors.
    pub fn error(status: u16, text: &str) -> Self {
        Self::json(status, serde_json::json!({ "error": text }).to_string())
    }

    /// A page such as a proxy in front of the API sends.
    pub fn html(status: u16, title: &str) -> Self {
        let page = format!(
            "<html>\n<head><title>{title}</title></head>\n<body><h1>{title}</h1></body>\n</html>\n"
        );
        Self::new(status, "text/html; charset=utf-8", page)
    }

    /// Adds a header. What HTTP does not allow as a header is left out.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            self.headers.push((name, value));
        }
        self
    }

    /// Waits this long before the answer begins.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Chooses how it goes over the wire.
    #[must_use]
    pub fn deliver(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }
}
