//! How a session on MySQL or MariaDB is opened, as the URL says.

use std::path::PathBuf;

use mysql_async::{ClientIdentity, Opts, OptsBuilder, SslOpts};
use url::Url;

use super::error::{SourceError, broken_url};
use crate::source::database::fault::{About, ServerError};

/// No packet of the protocol is longer.
const MAX_PACKET_BYTES: usize = 1 << 30;

/// The driver asks for it only to choose when a pool gives up a connection.
const UNUSED_WAIT_TIMEOUT: usize = 28_800;

/// The address, the login and what TLS must prove.
#[derive(Clone)]
pub(super) struct MysqlOptions {
    builder: OptsBuilder,
    pub(super) address: Address,
    pub(super) user: String,
    pub(super) database: String,
    tls: TlsMode,
    root: Option<PathBuf>,
    /// The certificate and key that this program shows.
    identity: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Host { name: String, port: u16 },
    Socket(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsMode {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

impl TlsMode {
    fn parse(text: &str) -> Result<Self, SourceError> {
        match text.to_ascii_lowercase().replace('-', "_").as_str() {
            "disabled" | "disable" => Ok(Self::Disabled),
            "preferred" | "prefer" => Ok(Self::Preferred),
            "required" | "require" => Ok(Self::Required),
            "verify_ca" => Ok(Self::VerifyCa),
            "verify_identity" | "verify_full" => Ok(Self::VerifyIdentity),
            _ => Err(broken_url(
                &"ssl-mode is disabled, preferred, required, verify_ca or verify_identity",
            )),
        }
    }
}

/// What follows the `?` of the URL.
struct Parameters {
    socket: Option<String>,
    tls: TlsMode,
    root: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl Parameters {
    fn of_url(url: &Url) -> Result<Self, SourceError> {
        let (mut socket, mut tls, mut root) = (None, TlsMode::Preferred, None);
        let (mut certificate, mut key) = (None, None);
        for (name, value) in url.query_pairs() {
            let value = value.into_owned();
            match name.as_ref() {
                "socket" => socket = Some(value),
                "sslmode" | "ssl-mode" => tls = TlsMode::parse(&value)?,
                "sslca" | "ssl-ca" => root = Some(PathBuf::from(value)),
                "sslcert" | "ssl-cert" => certificate = Some(PathBuf::from(value)),
                "sslkey" | "ssl-key" => key = Some(PathBuf::from(value)),
                _ => {}
            }
        }
        if root.is_some() && matches!(tls, TlsMode::Preferred | TlsMode::Required) {
            // If a root is named, check it.
            tls = TlsMode::VerifyCa;
        }
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(broken_url(&"ssl-cert and ssl-key belong together"));
            }
        };
        Ok(Self { socket, tls, root, identity })
    }
}

impl MysqlOptions {
    /// The URL holds nothing but known parameters.
    pub(super) fn of_url(url: &Url) -> Result<Self, SourceError> {
        let decoded = |text: &str| {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
            decoded.map(|text| text.into_owned()).map_err(|error| broken_url(&error))
        };
        let user = match url.username() {
            "" => "root".to_owned(),
            user => decoded(user)?,
        };
        let password = match url.password() {
            Some(password) => Some(decoded(password)?),
            None => std::env::var("MYSQL_PWD").ok(),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
        let name = bare_ipv6(host).unwrap_or_else(|| host.to_owned());
        let Parameters { socket, tls, root, identity } = Parameters::of_url(url)?;
        let address = match socket {
            Some(path) => Address::Socket(path),
            None => Address::Host { name, port: url.port().unwrap_or(3306) },
        };
        let database = decoded(url.path().trim_start_matches('/'))?;
        let builder = OptsBuilder::default()
            .user(Some(&user))
            .pass(password)
            .db_name((!database.is_empty()).then_some(&database))
            .prefer_socket(false)
            .max_allowed_packet(Some(MAX_PACKET_BYTES))
            .wait_timeout(Some(UNUSED_WAIT_TIMEOUT))
            .stmt_cache_size(0);
        let builder = match &address {
            Address::Host { name, port } => builder.ip_or_hostname(name).tcp_port(*port),
            Address::Socket(path) => builder.socket(Some(path)),
        };
        Ok(Self { builder, address, user, database, tls, root, identity })
    }

    /// With TLS, if the mode is any but `disabled`; a socket of this machine needs none.
    pub(super) fn encrypted(&self) -> Result<Opts, ServerError> {
        let verifies = match (self.tls, &self.address) {
            (TlsMode::Disabled, _) | (_, Address::Socket(_)) => return Ok(self.unencrypted()),
            (TlsMode::Preferred | TlsMode::Required, _) => false,
            (TlsMode::VerifyCa | TlsMode::VerifyIdentity, _) => true,
        };
        let roots = if verifies { self.roots()? } else { Vec::new() };
        let identity = self
            .identity
            .clone()
            .map(|(certificate, key)| ClientIdentity::new(certificate.into(), key.into()));
        let tls = SslOpts::default()
            .with_root_certs(roots.into_iter().map(Into::into).collect())
            .with_disable_built_in_roots(verifies)
            .with_danger_accept_invalid_certs(!verifies)
            .with_danger_skip_domain_validation(self.tls != TlsMode::VerifyIdentity)
            .with_client_identity(identity);
        Ok(self.builder.clone().ssl_opts(tls).into())
    }

    pub(super) fn unencrypted(&self) -> Opts {
        self.builder.clone().ssl_opts(None).into()
    }

    pub(super) fn may_be_unencrypted(&self) -> bool {
        self.tls == TlsMode::Preferred
    }

    /// The root alone is checked.
    pub(super) fn may_have_another_name(&self) -> bool {
        self.tls == TlsMode::VerifyCa
    }

    /// The named root, and those of the system, as the driver for PostgreSQL has it.
    fn roots(&self) -> Result<Vec<Vec<u8>>, ServerError> {
        let system = rustls_native_certs::load_native_certs().certs;
        // One root that the driver cannot parse would make it refuse all of them.
        let mut parsed = rustls::RootCertStore::empty();
        let mut roots: Vec<_> = system
            .into_iter()
            .filter(|it| parsed.add(it.clone()).is_ok())
            .map(|it| it.to_vec())
            .collect();
        if let Some(path) = &self.root {
            let named = std::fs::read(path).map_err(|error| {
                ServerError::new(About::Tls, &format!("ssl-ca {}: {error}", path.display()))
            })?;
            roots.push(named);
        }
        Ok(roots)
    }
}

/// `[::1]` without its brackets, as it is looked up.
pub(super) fn bare_ipv6(host: &str) -> Option<String> {
    host.strip_prefix('[')?.strip_suffix(']').map(str::to_owned)
}
