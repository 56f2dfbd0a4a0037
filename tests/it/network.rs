//! The network that an organization has: a proxy, names that bypass it, and certificates of its own.

use std::time::Duration;

use telemetron_sync::sandbox::Reply;

use crate::support::api::{Api, emails};
use crate::support::certificates::Root;
use crate::support::command::TestCommand;
use crate::support::dir::TestDir;
use crate::support::relay::{Front, Relay};
use crate::support::tls_api::TlsApi;

const HOST: &str = "api.telemetron.test";

/// An API that only the proxy reaches by its name.
struct Network {
    dir: TestDir,
    root: Root,
    api: TlsApi,
    proxy: Relay,
}

impl Network {
    /// None where openssl is not installed.
    fn new() -> Option<Self> {
        let dir = TestDir::new();
        let root = Root::new(dir.folder(), "root")?;
        let api = TlsApi::start(&root.sign_for("server", HOST, 2), Duration::ZERO);
        let proxy = Relay::start(Front::Proxy, api.address());
        dir.emails(emails(20));
        Some(Self { dir, root, api, proxy })
    }

    fn sync(&self) -> TestCommand<'_> {
        let sync = self.dir.sync(format!("https://{HOST}")).args(["--outage-wait", "1s"]);
        sync.env("SSL_CERT_FILE", &self.root.path())
    }

    fn proxy_url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }
}

#[test]
fn each_variable_that_names_a_proxy_is_used() {
    let Some(network) = Network::new() else {
        return;
    };
    for (runs, name) in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].iter().enumerate()
    {
        network.sync().env(name, &network.proxy_url()).run().exits(0);
        assert_eq!(network.api.requests().len(), 20 * (runs + 1), "{name}");
    }
    // Without a scheme, as other tools allow.
    network.sync().env("HTTPS_PROXY", &network.proxy.address().to_string()).run().exits(0);
    let asked = network.proxy.asked();
    let connect = format!("CONNECT {HOST}:443 HTTP/1.1");
    assert!(asked.len() >= 5 && asked.iter().all(|line| *line == connect), "{asked:?}");
}

#[test]
fn a_host_in_no_proxy_bypasses_the_proxy() {
    let Some(network) = Network::new() else {
        return;
    };
    for (name, value) in [("NO_PROXY", HOST), ("no_proxy", ".telemetron.test"), ("NO_PROXY", "*")] {
        let sync = network.sync().env("HTTPS_PROXY", &network.proxy_url()).env(name, value);
        sync.run().exits(6).stderr_has("the host name api.telemetron.test cannot be resolved");
    }
    assert_eq!(network.proxy.asked(), [""; 0]);
    let elsewhere = network.sync().env("HTTPS_PROXY", &network.proxy_url());
    elsewhere.env("NO_PROXY", "example.com").run().exits(0);
    assert!(!network.proxy.asked().is_empty());
}

#[test]
fn a_certificate_file_that_cannot_be_used_is_named() {
    let Some(network) = Network::new() else {
        return;
    };
    network.dir.write("empty.pem", "");
    for file in ["missing.pem", "empty.pem"] {
        let sync = network.sync().env("HTTPS_PROXY", &network.proxy_url());
        let ended = sync.env("SSL_CERT_FILE", &network.dir.path(file).display().to_string()).run();
        assert_ne!(ended.code, Some(0));
        let shown = format!("{}{}", ended.stdout, ended.stderr);
        assert!(shown.contains("SSL_CERT_FILE"), "{shown}");
    }
}

#[test]
fn a_variable_for_plain_http_plays_no_part() {
    let (dir, api) = (TestDir::new(), Api::with_rule(|_| Some(Reply::error(404, "Not found"))));
    dir.emails(["a@x.io"]);
    let sync = dir.sync(api.url()).env("HTTP_PROXY", "http://127.0.0.1:1");
    sync.env("HTTPS_PROXY", "http://127.0.0.1:1").run().exits(0);
}
