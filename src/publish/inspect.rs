//! Whether a store could be published, found out without publishing it.

use crate::publish::Target;
use crate::publish::error::PublishError;
use crate::publish::merge::MERGES;
use crate::publish::publication::{StoreState, Takeover, extent, last_published};
use crate::publish::schema::{self, Found};
use crate::publish::session::{Session, statement};
use crate::store::writer::organization;
use rusqlite::Connection;

/// A database that a store can be published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub server_version: String,
    pub standing: Standing,
}

/// What is published there of the store's organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no schema of ours yet, or nothing in it.
    NoSchema,
    /// There is no store yet, or it knows no organization.
    NoOrganization,
    NotPublished {
        organization: String,
    },
    /// This store published it last.
    Ours {
        organization: String,
        published_at: String,
    },
}

/// Tries what a publication needs, and takes it back.
///
/// # Errors
/// Why the store could not be published.
pub async fn inspect(
    target: &Target,
    store: Option<&Connection>,
) -> Result<Inspection, PublishError> {
    let mut session = Session::begin(target).await?;
    let version = session.fetch_one(statement("SHOW server_version")).await?;
    let server_version: String = session.get(&version, 0)?;
    let found = schema::find(&mut session).await?;
    schema::is_current(&found, target)?;
    try_to_write(&mut session, &found).await?;
    let standing = match found {
        Found::NoSchema | Found::Nothing => Standing::NoSchema,
        Found::Version { .. } => standing(&mut session, store).await?,
    };
    session.run("ROLLBACK").await?;
    Ok(Inspection { server_version, standing })
}

/// The rights are checked although no row is written.
async fn try_to_write(session: &mut Session<'_>, found: &Found) -> Result<(), PublishError> {
    session.run("CREATE TEMP TABLE telemetron_doctor (n integer) ON COMMIT DROP").await?;
    match found {
        Found::NoSchema => schema::create(session).await,
        Found::Nothing => session.run("CREATE TABLE _schema_version (version integer)").await,
        Found::Version { .. } => {
            let merged = MERGES.iter().map(|merge| merge.table);
            for table in merged.chain(["changes", "_feed", "_publications"]) {
                let try_all = format!(
                    "INSERT INTO {table} SELECT * FROM {table} WHERE false;
                     DELETE FROM {table} WHERE false;
                     SELECT FROM {table} WHERE false FOR UPDATE"
                );
                session.run(&try_all).await?;
            }
            Ok(())
        }
    }
}

async fn standing(
    session: &mut Session<'_>,
    store: Option<&Connection>,
) -> Result<Standing, PublishError> {
    let Some(store) = store else { return Ok(Standing::NoOrganization) };
    let Some(organization) = organization(store)? else { return Ok(Standing::NoOrganization) };
    let Some(last) = last_published(session, &organization, "").await? else {
        return Ok(Standing::NotPublished { organization });
    };
    extent(store, session.target(), &StoreState::of(store)?, &last, Takeover::Refused)?;
    Ok(Standing::Ours { organization, published_at: last.published_at })
}
