//! A server that answers by a test's rule and records its requests.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use telemetron_sync::sandbox::{self, Reply, Request, Sandbox, SandboxSettings};

/// A request that came in.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) email: String,
    pub(crate) key: String,
    pub(crate) at: Duration,
}

#[derive(Default)]
struct World {
    /// The JSON of the customer that each email resolves to.
    customers: BTreeMap<String, String>,
    requests: Vec<ReceivedRequest>,
}

/// The server. It serves its customers by email, after what the test's own rule says.
pub(crate) struct Api {
    server: Sandbox,
    world: Arc<Mutex<World>>,
}

impl Api {
    /// Without customers so far.
    pub(crate) fn new() -> Self {
        Self::with_rule(|_| None)
    }

    /// Answers what `rule` says; where that is nothing, as any API would.
    pub(crate) fn with_rule(
        rule: impl Fn(&Request<'_>) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let seen = Arc::clone(&world);
        let answer = move |request: &Request<'_>| {
            let mut world = lock(&seen);
            let email = request.email.unwrap_or_default().to_owned();
            let key = request.key.unwrap_or_default().to_owned();
            world.requests.push(ReceivedRequest { email: email.clone(), key, at: request.at });
            rule(request).unwrap_or_else(|| match world.customers.get(&email) {
                Some(customer) => Reply::json(200, customer.clone()),
                None => Reply::error(404, "Customer not found"),
            })
        };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { server: sandbox::start_with(listen, answer).expect("a server"), world }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// `email` resolves to this customer from now on.
    pub(crate) fn has(&self, email: &str, customer: impl ToString) -> &Self {
        lock(&self.world).customers.insert(email.to_owned(), customer.to_string());
        self
    }

    /// `email` resolves to no customer from now on.
    pub(crate) fn remove_email(&self, email: &str) -> &Self {
        lock(&self.world).customers.remove(email);
        self
    }

    /// Has a customer of its own for each of these emails.
    pub(crate) fn has_all<E: AsRef<str>>(&self, emails: impl IntoIterator<Item = E>) -> &Self {
        for email in emails {
            let email = email.as_ref();
            self.has(email, customer(&format!("cust_{email}"), email));
        }
        self
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut lock(&self.world).requests)
    }

    /// The emails of the requests since then.
    pub(crate) fn requested_emails(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.email).collect()
    }

    /// How many requests came in, ever.
    pub(crate) fn request_count(&self) -> u64 {
        self.server.requests()
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A customer with a device and an order.
pub(crate) fn customer(id: &str, email: &str) -> Value {
    json!({
        "id": id, "organizationId": "org_1", "name": "N", "email": email,
        "devices": [format!("dev_{id}")], "orders": [format!("ord_{id}")],
        "metadata": {}, "createdAt": "2025-10-01T12:00:00Z",
    })
}

/// `customer` with other values for some fields.
pub(crate) fn with(mut customer: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    customer.as_object_mut().expect("a customer").extend(fields);
    customer
}

/// The program's sandbox, with this latency and no jitter.
pub(crate) fn start_sandbox(latency: Duration) -> Sandbox {
    let settings = SandboxSettings { latency, jitter: Duration::ZERO, ..Default::default() };
    sandbox::start(settings).expect("a sandbox")
}

/// So many emails.
pub(crate) fn emails(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("p{n:04}@x.io")).collect()
}
