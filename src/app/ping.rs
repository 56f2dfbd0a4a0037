//! Pings a monitor: a run began, went well, or failed (the conventions of healthchecks.io).
//!
//! A thread of its own sends the pings, so that a slow monitor delays the run by ten seconds at most,
//! and whatever happens to them changes nothing about the run.

use crate::api::client::is_loopback;
use crate::domain::exit::Exit;
use reqwest::{Client, Response, Url};
use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// The end of a run waits this long for its pings.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// One attempt takes this long at most, so that there is time for a second one.
const ATTEMPT: Duration = Duration::from_secs(4);

/// Between two attempts.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// The body of a ping is the beginning of the report.
const BODY_LINES: usize = 12;

/// Where to ping. It is a secret, because whoever knows it can ping, too.
#[derive(Clone)]
pub struct PingUrl(Url);

impl PingUrl {
    /// Reads a URL: https, or http to this machine.
    ///
    /// # Errors
    /// What is wrong, in a sentence that does not repeat the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| {
            format!("this is not a URL ({error}); it looks like https://hc-ping.com/UUID")
        })?;
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_loopback(&url) => Ok(Self(url)),
            _ => Err("the URL is not https (http is for 127.0.0.1, [::1] and localhost)".into()),
        }
    }

    fn of(&self, signal: &Signal) -> Url {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&match signal {
            Signal::Start => format!("{base}/start"),
            Signal::Success(_) => base,
            Signal::Failure(_) => format!("{base}/fail"),
        });
        url
    }
}

/// The server alone: the path and the query hold the secret.
impl fmt::Display for PingUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for PingUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is sent to a monitor, with the body of the request.
#[derive(Debug, PartialEq, Eq)]
enum Signal {
    Start,
    Success(String),
    Failure(String),
}

impl Signal {
    /// The signal for the end of a run; `None` if another run holds the store: that one pings.
    fn end(exit: Exit, report: &str) -> Option<Self> {
        let body = report.lines().take(BODY_LINES).collect::<Vec<_>>().join("\n");
        match exit {
            Exit::Complete | Exit::Partial | Exit::LimitReached => Some(Self::Success(body)),
            Exit::StoreLocked => None,
            _ => Some(Self::Failure(body)),
        }
    }

    fn body(&self) -> String {
        match self {
            Self::Start => String::new(),
            Self::Success(body) | Self::Failure(body) => body.clone(),
        }
    }
}

/// Sends pings in the background.
#[derive(Debug)]
pub struct Pinger {
    signals: Sender<Signal>,
    done: Receiver<()>,
}

impl Pinger {
    /// Starts the thread that pings `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn new(url: PingUrl) -> std::io::Result<Self> {
        let (signals, inbox) = mpsc::channel();
        let (finished, done) = mpsc::channel();
        std::thread::Builder::new().name("pinger".to_owned()).spawn(move || {
            if let Err(reason) = send_all(&url, &inbox) {
                warn(&url, &reason);
            }
            // The run has stopped waiting.
            let _ = finished.send(());
        })?;
        Ok(Self { signals, done })
    }

    /// A run began.
    pub fn start(&self) {
        // The thread has warned if it is gone.
        let _ = self.signals.send(Signal::Start);
    }

    /// A run ended with `exit`; `report` says how. Waits until the monitor knows, for ten seconds at
    /// most.
    pub fn end(self, exit: Exit, report: &str) {
        if let Some(signal) = Signal::end(exit, report) {
            // The thread has warned if it is gone.
            let _ = self.signals.send(signal);
        }
        drop(self.signals);
        if self.done.recv_timeout(END_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(
                event = "ping_failed",
                "The monitor did not answer the ping within 10 s."
            );
        }
    }
}

fn send_all(url: &PingUrl, signals: &Receiver<Signal>) -> Result<(), String> {
    // Err means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let mut client = Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ATTEMPT);
    if is_loopback(&url.0) {
        client = client.no_proxy();
    }
    let client = client.build().map_err(cause)?;
    let mut last_reason = None;
    for signal in signals {
        let reason = runtime.block_on(send(&client, url, &signal)).err();
        // Once, if the ping at the end fails like the one at the start.
        if let Some(reason) = reason.as_deref().filter(|_| reason != last_reason) {
            warn(url, reason);
        }
        last_reason = reason;
    }
    Ok(())
}

/// Sends one ping, twice if the first attempt fails.
async fn send(client: &Client, url: &PingUrl, signal: &Signal) -> Result<(), String> {
    let post = || client.post(url.of(signal)).body(signal.body()).send();
    if judge(post().await).is_ok() {
        return Ok(());
    }
    tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    judge(post().await)
}

fn judge(response: reqwest::Result<Response>) -> Result<(), String> {
    match response {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("HTTP {}", response.status().as_u16())),
        Err(error) => Err(cause(error)),
    }
}

/// What went wrong, without the URL.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn warn(url: &PingUrl, reason: &str) {
    tracing::warn!(
        event = "ping_failed",
        "The monitor at {url} could not be pinged ({reason}). Check the URL of --ping."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_has_its_url() {
        let url = PingUrl::parse("https://hc-ping.com/secret-uuid/?create=1").unwrap();
        let of = |signal| url.of(&signal).to_string();
        assert_eq!(of(Signal::Start), "https://hc-ping.com/secret-uuid/start?create=1");
        assert_eq!(of(Signal::Success("".into())), "https://hc-ping.com/secret-uuid?create=1");
        assert_eq!(of(Signal::Failure("".into())), "https://hc-ping.com/secret-uuid/fail?create=1");
    }

    #[test]
    fn the_url_is_a_secret() {
        let url =
            PingUrl::parse("https://user:secret@hc-ping.com:8443/secret/slug?x=secret").unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "https://hc-ping.com:8443/… https://hc-ping.com:8443/…"
        );
        for bad in ["secret", "http://example.com/secret", "ftp://secret", "http://10.0.0.1/secret"]
        {
            let reason = PingUrl::parse(bad).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
        PingUrl::parse("http://localhost:8000/secret").unwrap();
    }

    #[test]
    fn each_exit_has_its_signal() {
        let report = (0..20).map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
        let head = "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11".to_owned();
        for exit in Exit::ALL {
            let expected = match exit.code() {
                0 | 3 | 4 => Some(Signal::Success(head.clone())),
                75 => None,
                _ => Some(Signal::Failure(head.clone())),
            };
            assert_eq!(Signal::end(exit, &report), expected, "{exit:?}");
        }
    }
}
