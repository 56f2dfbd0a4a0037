//! The check of the database that the store is published to.

use super::Check;
use crate::app::cli::Secret;
use crate::app::error::Error;
use crate::app::publishing::target;
use crate::display::escaped;
use crate::publish::{Inspection, PublishError, Standing, Target, inspect};
use crate::store::open_to_read;
use std::path::Path;

const NAME: &str = "publication";

/// The check of the place that was given, for the store at `path`.
pub(super) fn check(
    url: Option<&Secret>,
    schema: Option<&str>,
    path: &Path,
) -> Result<Check, Error> {
    let Some(url) = url else {
        return Ok(Check::skipped(NAME, "no --publish was given"));
    };
    let target = match target(&url.0, schema) {
        Ok(target) => target,
        Err(error) => return Ok(Check::failed(NAME, error.to_string())),
    };
    // What is wrong with the store is a check of its own.
    let store = open_to_read(path).ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(of_inspection(&target, runtime.block_on(inspect(&target, store.as_ref()))))
}

fn of_inspection(target: &Target, inspected: Result<Inspection, PublishError>) -> Check {
    let Inspection { server_version, standing } = match inspected {
        Ok(inspection) => inspection,
        Err(error) => return Check::failed(NAME, error.to_string()),
    };
    let standing = match standing {
        Standing::NoSchema => "the first publication creates its tables".to_owned(),
        Standing::NoOrganization => "this store has no organization yet".to_owned(),
        Standing::NotPublished { organization } => {
            format!("organization {} is not published yet", escaped(&organization))
        }
        Standing::Ours { organization, published_at } => {
            let organization = escaped(&organization);
            format!("this store published organization {organization} last, {published_at}")
        }
    };
    let version = escaped(&server_version);
    Check::ok(NAME, format!("{target} can be written (PostgreSQL {version}); {standing}"))
}
