//! The checks of the key, of the way to the API, and of the API itself.

use super::Check;
use crate::api::client::{ApiSettings, DEFAULT_URL, base_url, is_loopback};
use crate::api::key::{ApiKey, KeySource};
use crate::api::probe::{Probe, probe};
use crate::app::environment::{self, Environment};
use crate::app::error::Error;
use crate::display::{escaped, human_duration};
use crate::time;
use jiff::Timestamp;
use reqwest::Url;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// For a connection, and for the whole request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a server wrote is cut after so many characters, escapes included.
const EXCERPT_CHARS: usize = 120;

/// Certificates and freshness tolerate a clock that is wrong by this much.
const CLOCK_TOLERANCE: f64 = 60.0;

const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

pub(super) fn check(url: Option<&str>, key_file: Option<&Path>) -> Result<Vec<Check>, Error> {
    let (key_check, key) = check_key(key_file);
    let mut checks = vec![key_check];
    let url = match base_url(url.unwrap_or(DEFAULT_URL)) {
        Ok(url) => url,
        Err(reason) => {
            checks.push(Check::failed("url", format!("--api-url: {reason}.")));
            return Ok(checks);
        }
    };
    checks.push(Check::ok("url", escaped(url.as_str())));
    let proxy = proxy().filter(|_| !is_loopback(&url));
    checks.push(match (environment::check_proxies(), &proxy) {
        (Err(reason), _) => Check::failed("proxy", reason),
        (Ok(()), Some(name)) => {
            Check::ok("proxy", format!("{name} names one (NO_PROXY may exempt the host)"))
        }
        (Ok(()), None) => Check::ok("proxy", "none"),
    });
    let resolved = check_name(&url, proxy.is_some());
    let is_resolved = resolved.status != super::Status::Failed;
    checks.push(resolved);
    match key {
        Some((source, key)) if is_resolved => checks.extend(check_api(url, source, &key)?),
        _ => checks.push(Check::skipped("api", "needs a key and the address of the API")),
    }
    Ok(checks)
}

fn check_key(file: Option<&Path>) -> (Check, Option<(KeySource, ApiKey)>) {
    let found = Environment::read().key_source(file);
    let read = found.and_then(|source| source.read().map(|key| (source, key)));
    match read {
        Err(error) => (Check::failed("key", error.to_string()), None),
        Ok((source, key)) => {
            let check = match source.warning() {
                Some(warning) => Check::failed("key", warning),
                None => Check::ok("key", format!("from {}", source.place())),
            };
            (check, Some((source, key)))
        }
    }
}

/// The variable that names a proxy for https.
fn proxy() -> Option<&'static str> {
    PROXIES.into_iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

fn check_name(url: &Url, has_proxy: bool) -> Check {
    let host = url.host_str().unwrap_or_default();
    if has_proxy {
        return Check::skipped("name", "the proxy looks the host up");
    }
    let port = url.port_or_known_default().unwrap_or(443);
    match resolve(host.trim_matches(['[', ']']), port) {
        Ok(addresses) => Check::ok("name", format!("{host} is {}", addresses.join(", "))),
        Err(error) => Check::failed(
            "name",
            format!(
                "{host} has no address ({error}). Check the name in --api-url and the DNS of this machine."
            ),
        ),
    }
}

/// The addresses of a host. The system's own resolver may take minutes; this waits for seconds.
fn resolve(host: &str, port: u16) -> io::Result<Vec<String>> {
    let host = host.to_owned();
    let (found, addresses) = mpsc::channel();
    thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        let resolved = (host, port).to_socket_addrs();
        let addresses = |it: std::vec::IntoIter<SocketAddr>| {
            it.map(|address| address.ip().to_string()).collect()
        };
        // Nobody waits any more if it took too long.
        let _ = found.send(resolved.map(addresses));
    })?;
    addresses.recv_timeout(TIMEOUT).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn check_api(url: Url, source: KeySource, key: &ApiKey) -> Result<Vec<Check>, Error> {
    let settings = ApiSettings { url, key: source, connect_timeout: TIMEOUT, timeout: TIMEOUT };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let probed = runtime.block_on(probe(&settings, key));
    Ok(match probed {
        Ok(probe) => vec![judge(&probe), check_clock(probe.date, time::now())],
        Err(cause) => {
            let cause = escaped(&cause);
            let advice = if cause.contains("certificate") {
                "Check the clock of this machine, and SSL_CERT_FILE if a proxy or a private \
                 authority signs the certificate"
            } else {
                "Check the network, HTTPS_PROXY and the firewall"
            };
            vec![Check::failed("api", format!("No response: {cause}. {advice}."))]
        }
    })
}

/// An empty email is answered with 400 and an `error`, or the path or the key is wrong.
fn judge(probe: &Probe) -> Check {
    let Probe { status, error, body, .. } = probe;
    let excerpt: String =
        escaped(error.as_deref().unwrap_or(body)).chars().take(EXCERPT_CHARS).collect();
    match (status, error) {
        (400, Some(_)) => Check::ok("api", "answers, and accepts the key"),
        (401 | 403, _) => Check::failed(
            "api",
            format!(
                "HTTP {status}: the key is refused ({excerpt}). Put the right key into the key file."
            ),
        ),
        (404, _) => Check::failed(
            "api",
            format!("HTTP 404: nothing is at this path ({excerpt}). Check the path in --api-url."),
        ),
        (400, None) => Check::failed(
            "api",
            format!(
                "HTTP 400, but not in the API's form ({excerpt}): this may not be the API. Check \
                 --api-url."
            ),
        ),
        (429, _) => Check::warning("api", "HTTP 429: too many requests now; try again later"),
        (500.., _) => Check::failed(
            "api",
            format!("HTTP {status}: the API has a problem ({excerpt}). Try again later."),
        ),
        _ => Check::failed(
            "api",
            format!(
                "HTTP {status} instead of 400 for an empty email ({excerpt}): this may not be the \
                 API. Check --api-url."
            ),
        ),
    }
}

fn check_clock(server: Option<Timestamp>, ours: Timestamp) -> Check {
    let Some(server) = server else {
        return Check::skipped("clock", "the response has no date");
    };
    let off = ours.duration_since(server).as_secs_f64();
    let direction = if off > 0.0 { "ahead of" } else { "behind" };
    if off.abs() <= CLOCK_TOLERANCE {
        Check::ok("clock", "agrees with the API's")
    } else {
        let off = human_duration(off.abs());
        Check::failed("clock", format!("is {off} {direction} the API's. Set it, or let NTP do so."))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn answer(status: u16, error: Option<&str>) -> Check {
        let error = error.map(str::to_owned);
        judge(&Probe { status, error, body: "<html>".into(), date: None })
    }

    #[test]
    fn only_the_documented_answer_is_well() {
        assert_eq!(answer(400, Some("Email is required")).status, Status::Ok);
        for (status, advice) in [
            (401, "key is refused"),
            (403, "key is refused"),
            (404, "Check the path"),
            (200, "may not be the API"),
            (302, "may not be the API"),
            (400, "may not be the API"),
            (503, "Try again later"),
        ] {
            let check = answer(status, None);
            assert_eq!(check.status, Status::Failed, "{status}");
            assert!(check.text.contains(advice), "{}", check.text);
        }
        assert_eq!(answer(429, None).status, Status::Warning);
    }

    #[test]
    fn a_clock_that_is_off_is_named_with_its_direction() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let server = Some(at("2026-01-01T12:00:00Z"));
        assert_eq!(check_clock(server, at("2026-01-01T12:00:30Z")).status, Status::Ok);
        let ahead = check_clock(server, at("2026-01-01T13:00:00Z"));
        assert!(
            ahead.status == Status::Failed && ahead.text.contains("1 h 0 min ahead of"),
            "{ahead:?}"
        );
        assert!(check_clock(server, at("2025-12-31T12:00:00Z")).text.contains("behind"));
        assert_eq!(check_clock(None, at("2026-01-01T13:00:00Z")).status, Status::Skipped);
    }
}
