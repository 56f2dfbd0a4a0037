//! Customers that change from revision to revision, and the API that serves them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use telemetron_sync::sandbox::{self, Reply, Request, Sandbox};

/// Emails of the list, every fifth of which resolves to nobody.
pub(crate) const EMAILS: u32 = 30;

/// Lookups in flight, and how long each takes: several commits a run.
pub(crate) const CONCURRENCY: &str = "6";
pub(crate) const LATENCY: Duration = Duration::from_millis(80);

/// How often the customers change.
pub(crate) const REVISIONS: u32 = 4;

pub(crate) fn email(n: u32) -> String {
    format!("p{n:02}@x.io")
}

/// Which customer an email resolves to at a revision, if to any: one in ten moves on.
pub(crate) fn customer(email: &str, revision: u32) -> Option<String> {
    let n: u32 = email.get(1..3)?.parse().ok()?;
    if n % 5 == 4 {
        return None;
    }
    let id = if n % 10 == 3 { n + 100 * (revision % 2) } else { n };
    let version = (revision + n) / 2;
    let devices: Vec<_> = (version..version + n % 4).map(|at| format!("dev_{id}_{at}")).collect();
    let orders: Vec<_> = (0..=version).map(|at| format!("ord_{id}_{at}")).collect();
    let body = json!({
        "id": format!("cust_{id}"), "organizationId": "org_1", "name": format!("N {version}"),
        "email": email, "phone": (version.is_multiple_of(2)).then_some("+1"), "devices": devices,
        "orders": orders, "metadata": {"v": version}, "createdAt": "2025-10-01T12:00:00Z",
    });
    Some(body.to_string())
}

/// An API whose customers change from revision to revision.
pub(crate) struct Api {
    server: Sandbox,
    revision: Arc<AtomicU32>,
}

impl Api {
    pub(crate) fn new(latency: Duration) -> Self {
        let revision = Arc::new(AtomicU32::new(0));
        let at = Arc::clone(&revision);
        let answer = move |request: &Request<'_>| {
            let body = customer(request.email.unwrap_or_default(), at.load(Ordering::Relaxed));
            let reply = match body {
                Some(body) => Reply::json(200, body),
                None => Reply::error(404, "Customer not found"),
            };
            reply.after(latency)
        };
        let server = sandbox::start_with(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), answer);
        Self { server: server.expect("a server"), revision }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn at(&self, revision: u32) {
        self.revision.store(revision, Ordering::Relaxed);
    }
}
