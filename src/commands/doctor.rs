//! `doctor`: checks everything that a run needs, with at most one request.

mod api;
mod publication;
mod settings;
mod source;
mod store;

use crate::app::cli::{DoctorArgs, DoctorFormat};
use crate::app::error::Error;
use crate::app::settings::read_store_path;
use crate::commands::print;
use crate::domain::exit::Exit;
use serde::Serialize;
use std::fmt::Write as _;

/// Checks, and prints one line for each check.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: DoctorArgs) -> Result<Exit, Error> {
    let store = read_store_path(&args.store);
    let mut checks = api::check(args.api_url.as_deref(), args.api_key_file.as_deref())?;
    let settings = settings::check(args.source.as_deref());
    let (source, bytes) = source::check(args.source.as_deref(), args.source_options, &store);
    checks.extend(store::check(&store, bytes));
    checks.extend(source);
    checks.extend(settings);
    checks.push(publication::check(args.publish.as_ref(), args.schema.as_deref(), &store)?);
    let is_well = checks.iter().all(|check| check.status != Status::Failed);
    print(&match args.format {
        DoctorFormat::Text => text(&checks),
        DoctorFormat::Json => json(&checks, is_well),
    })?;
    Ok(if is_well { Exit::Complete } else { Exit::Failed })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// A run works, but a person should look at it.
    Warning,
    /// A run would not work, or would be unsafe.
    Failed,
    /// It depends on a check that failed, or on what was not given.
    Skipped,
}

/// One thing that was checked.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    /// What was found, and, if it is not well, what to do.
    text: String,
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, text: text.into() }
    }

    fn warning(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, status: Status::Warning, text: text.into() }
    }

    fn failed(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, status: Status::Failed, text: text.into() }
    }

    fn skipped(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, status: Status::Skipped, text: text.into() }
    }
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for Check { name, status, text: found } in checks {
        let status = match status {
            Status::Ok => "ok",
            Status::Warning => "WARNING",
            Status::Failed => "FAILED",
            Status::Skipped => "skipped",
        };
        let _ = writeln!(text, "{status:<8} {name:<12} {found}");
    }
    text
}

fn json(checks: &[Check], is_well: bool) -> String {
    let json = serde_json::json!({"ok": is_well, "checks": checks});
    format!("{json:#}\n")
}
