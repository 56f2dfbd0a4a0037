//! `publish`: brings what is new in a store into PostgreSQL.

use crate::app::cli::{LogFormat, PublishArgs};
use crate::app::error::Error;
use crate::app::logging;
use crate::app::publishing::target;
use crate::app::settings::{Verbosity, read_store_path};
use crate::commands::print;
use crate::display::{escaped, grouped};
use crate::domain::exit::Exit;
use crate::publish::{Published, PublishedRows, Takeover, Target, publish};
use crate::store::open_to_read;
use crate::time;
use std::time::{Duration, Instant};

/// Publishes, in a process that began at `began`.
///
/// # Errors
/// The store cannot be read, or PostgreSQL not be written. Nothing is published then.
pub fn run(args: &PublishArgs, began: Instant) -> Result<Exit, Error> {
    logging::start(Verbosity::Normal, LogFormat::Text);
    let target = target(&args.target.url.0, Some(&args.target.schema))?;
    let path = read_store_path(&args.store);
    let store = open_to_read(&path)?;
    let takeover = if args.replace { Takeover::Allowed } else { Takeover::Refused };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let published = runtime.block_on(publish(&store, &path, &target, takeover))?;
    warn_of_nul(&published);
    let seconds = time::instant().duration_since(began);
    print(&format!("{}\n", summary(&published, &target, seconds)))?;
    Ok(Exit::Complete)
}

pub(super) fn warn_of_nul(published: &Published) {
    match published.with_nul {
        0 => {}
        1 => tracing::warn!(
            event = "nul_replaced",
            "1 value holds U+0000, which PostgreSQL cannot; it was published as U+FFFD."
        ),
        values => tracing::warn!(
            event = "nul_replaced",
            "{} values hold U+0000, which PostgreSQL cannot; it was published as U+FFFD.",
            grouped(values)
        ),
    }
}

/// `Published org_1 to postgres://…, schema telemetron: 3 customers, 1 run; 0.1 s.`
pub(super) fn summary(published: &Published, target: &Target, took: Duration) -> String {
    let count = |rows: &PublishedRows| {
        let name = if rows.count == 1 { rows.one } else { rows.several };
        format!("{} {name}", grouped(rows.count))
    };
    let rows = match published.rows.as_slice() {
        [] => "nothing new".to_owned(),
        rows => rows.iter().map(count).collect::<Vec<_>>().join(", "),
    };
    let organization = escaped(&published.organization);
    format!("Published {organization} to {target}: {rows}; {:.1} s.", took.as_secs_f64())
}
