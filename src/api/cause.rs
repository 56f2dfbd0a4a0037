//! Why no response came: what is at fault, with the last cause in the chain.

use crate::api::classify::shortened;
use crate::domain::outcome::{Failure, FailureCode};
use std::error::Error;
use std::io;

/// What is at fault when no response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Culprit {
    Proxy,
    NameResolution,
    Certificate,
    Tls,
    Connection,
    Api,
}

/// The failure of a request to `host` for which no response came, or only a part of one.
pub(super) fn failure(error: &reqwest::Error, host: &str) -> Failure {
    let chain = Chain::of(error);
    let code = if error.is_connect() {
        FailureCode::Connect
    } else if error.is_timeout() {
        FailureCode::Timeout
    } else {
        FailureCode::ConnectionLost
    };
    let what = what(code, chain.culprit(), error.is_timeout(), host);
    let reason = match chain.last {
        Some(cause) if !error.is_timeout() => format!("{what}: {cause}"),
        _ => what,
    };
    Failure::new(code, shortened(reason))
}

fn what(code: FailureCode, culprit: Culprit, is_timeout: bool, host: &str) -> String {
    match (code, culprit) {
        (FailureCode::Timeout, _) => format!("{host} did not respond in time"),
        (FailureCode::Connect, _) if is_timeout => format!("no connection to {host} in time"),
        (FailureCode::Connect, Culprit::Proxy) => {
            format!("the proxy (HTTPS_PROXY) gives no connection to {host}")
        }
        (FailureCode::Connect, Culprit::NameResolution) => {
            format!("the host name {host} cannot be resolved")
        }
        (FailureCode::Connect, Culprit::Certificate) => {
            format!("the certificate of {host} is not accepted")
        }
        (FailureCode::Connect, Culprit::Tls) => format!("no TLS connection to {host}"),
        (FailureCode::Connect, _) => format!("no connection to {host}"),
        _ => format!("the connection to {host} was lost"),
    }
}

/// The causes of an error.
struct Chain {
    texts: Vec<String>,
    is_certificate: bool,
    is_tls: bool,
    last: Option<String>,
}

impl Chain {
    fn of(error: &reqwest::Error) -> Self {
        let mut chain =
            Self { texts: Vec::new(), is_certificate: false, is_tls: false, last: None };
        let mut next = error.source();
        while let Some(cause) = next {
            chain.look_at(cause);
            chain.texts.push(cause.to_string());
            next = cause.source();
        }
        chain.last = chain.texts.last().cloned();
        chain
    }

    /// An I/O error hides the error that it holds: its source is the next one.
    fn look_at(&mut self, cause: &(dyn Error + 'static)) {
        let held = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let held = held.map(|held| held as &(dyn Error + 'static)).unwrap_or(cause);
        if let Some(tls) = held.downcast_ref::<rustls::Error>() {
            self.is_tls = true;
            self.is_certificate |= matches!(tls, rustls::Error::InvalidCertificate(_));
        }
    }

    fn culprit(&self) -> Culprit {
        let has = |text: &str| self.texts.iter().any(|one| one.contains(text));
        if has("tunnel error") {
            Culprit::Proxy
        } else if has("dns error") {
            Culprit::NameResolution
        } else if self.is_certificate {
            Culprit::Certificate
        } else if self.is_tls {
            Culprit::Tls
        } else if has("connect error") {
            Culprit::Connection
        } else {
            Culprit::Api
        }
    }
}
