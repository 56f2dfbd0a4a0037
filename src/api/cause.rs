//! Why no response came: what is at fault, with the last cause in the chain.

use crate::api::classify::shortened;
use crate::domain::outcome::{Failure, FailureCode};
use rustls::CertificateError;
use std::error::Error;
use std::io;

/// How hyper words a ping that got no reply.
const SILENT: &str = "keep-alive timed out";

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
    let chain = Chain::of(error.source());
    let is_timeout = error.is_timeout() && !chain.is_dead_connection();
    let code = if error.is_connect() {
        FailureCode::Connect
    } else if is_timeout {
        FailureCode::Timeout
    } else if chain.breaks_http || (error.is_decode() && !chain.is_of_http) {
        FailureCode::InvalidResponse
    } else {
        FailureCode::ConnectionLost
    };
    let what = match code {
        FailureCode::InvalidResponse if chain.breaks_http => {
            format!("the response of {host} is not valid HTTP")
        }
        FailureCode::InvalidResponse => format!("the response of {host} cannot be decompressed"),
        code => what(code, chain.culprit(), is_timeout, host),
    };
    let reason = match chain.last {
        Some(cause) if !is_timeout => format!("{what}: {cause}"),
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

/// The causes of an error, from the outermost to the innermost.
#[derive(Default)]
struct Chain {
    texts: Vec<String>,
    tls: Option<rustls::Error>,
    has_os_error: bool,
    /// Whether it comes from the HTTP connection, and not from what is made of its bytes.
    is_of_http: bool,
    /// Whether bytes came that are not HTTP.
    breaks_http: bool,
    last: Option<String>,
}

impl Chain {
    fn of(mut next: Option<&(dyn Error + 'static)>) -> Self {
        let mut chain = Self::default();
        while let Some(cause) = next {
            let held = held(cause);
            if let Some(tls) = held.downcast_ref::<rustls::Error>() {
                chain.tls = Some(tls.clone());
            }
            let io = cause.downcast_ref::<io::Error>();
            chain.has_os_error |= io.is_some_and(|io| io.raw_os_error().is_some());
            let http = held.downcast_ref::<hyper::Error>();
            chain.is_of_http |= http.is_some();
            chain.breaks_http |= http.is_some_and(hyper::Error::is_parse)
                || (chain.is_of_http && io.is_some_and(is_invalid));
            chain.texts.push(cause.to_string());
            next = held.source();
        }
        chain.last = match &chain.tls {
            Some(rustls::Error::InvalidCertificate(fault)) => Some(certificate_fault(fault)),
            None if chain.has(SILENT) => Some("no reply to HTTP/2 pings".to_owned()),
            Some(_) | None => chain.texts.last().cloned(),
        };
        chain
    }

    fn has(&self, text: &str) -> bool {
        self.texts.iter().any(|one| one.contains(text))
    }

    /// Whether what timed out was the connection, not the request: an HTTP/2 ping, or the system's
    /// own patience.
    fn is_dead_connection(&self) -> bool {
        self.has_os_error || self.has(SILENT)
    }

    fn culprit(&self) -> Culprit {
        let has = |text: &str| self.has(text);
        if has("tunnel error") {
            return Culprit::Proxy;
        }
        match &self.tls {
            Some(rustls::Error::InvalidCertificate(_)) => Culprit::Certificate,
            Some(_) => Culprit::Tls,
            None if has("dns error") => Culprit::NameResolution,
            None if has("connect error") => Culprit::Connection,
            None => Culprit::Api,
        }
    }
}

fn is_invalid(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}

/// An I/O error hides the error that it holds: its own source is the one after that.
fn held<'a>(mut cause: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(inner) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        cause = inner;
    }
    cause
}

/// What is wrong with a certificate, and what to do.
fn certificate_fault(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired, or this machine's clock is wrong".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, or this machine's clock is wrong".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it was issued for another host name".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "its issuer is unknown; if it is a private one, let SSL_CERT_FILE name its certificate"
                .to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is the certificate of a certificate authority, not of a server".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::OtherError;
    use std::fmt;
    use std::sync::Arc;

    #[derive(Debug)]
    struct Outer(&'static str, Option<Box<dyn Error + Send + Sync>>);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    fn culprit(cause: impl Error + Send + Sync + 'static) -> (Culprit, String) {
        let error = Outer("client error (Connect)", Some(Box::new(cause)));
        let chain = Chain::of(Some(&error));
        (chain.culprit(), chain.last.unwrap())
    }

    #[test]
    fn causes_are_distinguished() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "Connection refused");
        let tcp = Outer("tcp connect error", Some(Box::new(refused)));
        assert_eq!(culprit(tcp), (Culprit::Connection, "Connection refused".to_owned()));
        let unknown = io::Error::other("Name or service not known");
        let dns = Outer("dns error", Some(Box::new(unknown)));
        assert_eq!(culprit(dns).0, Culprit::NameResolution);
        let tunnel = Outer("tunnel error: unsuccessful", None);
        assert_eq!(culprit(tunnel).0, Culprit::Proxy);
        assert_eq!(culprit(io::Error::other(rustls::Error::DecryptError)).0, Culprit::Tls);
        assert_eq!(culprit(Outer("connection closed", None)).0, Culprit::Api);
    }

    #[test]
    fn a_connection_that_times_out_is_dead_and_a_request_that_does_is_not() {
        let chain = |cause| Chain::of(Some(&Outer("error sending request", Some(cause))));
        let ping = chain(Box::new(Outer(SILENT, Some("operation timed out".into()))));
        assert!(ping.is_dead_connection());
        assert_eq!(ping.last.as_deref(), Some("no reply to HTTP/2 pings"));
        assert!(
            chain(Box::new(io::Error::from_raw_os_error(libc::ETIMEDOUT))).is_dead_connection()
        );
        assert!(!chain("operation timed out".into()).is_dead_connection());
    }

    #[test]
    fn a_certificate_is_at_fault_however_deep_the_error_lies() {
        let other = CertificateError::Other(OtherError(Arc::new(Outer("CaUsedAsEndEntity", None))));
        for (fault, part) in [
            (CertificateError::Expired, "expired"),
            (CertificateError::NotValidYet, "clock"),
            (CertificateError::NotValidForName, "another host name"),
            (CertificateError::UnknownIssuer, "SSL_CERT_FILE"),
            (other, "certificate authority"),
            (CertificateError::Revoked, "Revoked"),
        ] {
            let tls = rustls::Error::InvalidCertificate(fault);
            let (culprit, last) = culprit(io::Error::other(io::Error::other(tls)));
            assert_eq!(culprit, Culprit::Certificate);
            assert!(last.contains(part), "{last}");
        }
    }
}
