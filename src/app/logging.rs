//! Log lines on standard error, past a progress bar if there is one.

use crate::app::cli::LogFormat;
use crate::app::settings::Verbosity;
use indicatif::ProgressBar;
use std::io::{self, Write};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Begins to log: nothing at all when quiet, single emails from `Verbosity::Emails` on.
pub fn begin(voice: Verbosity, format: LogFormat, bar: &ProgressBar) {
    let level = match voice {
        Verbosity::Quiet => return,
        Verbosity::Normal => Level::INFO,
        Verbosity::Emails => Level::DEBUG,
        Verbosity::Attempts => Level::TRACE,
    };
    // Only this program's lines: libraries would tell of headers and bodies.
    let filter = tracing_subscriber::EnvFilter::new(format!("off,telemetron_sync={level}"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(PastBar(bar.clone()))
        .with_target(false);
    // An error means that another subscriber is set already, as in a test.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(false).without_time().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

#[derive(Clone)]
struct PastBar(ProgressBar);

impl<'a> MakeWriter<'a> for PastBar {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for PastBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
