//! One publication, in one transaction.

use crate::publish::copy::Lines;
use crate::publish::error::PublishError;
use crate::publish::merge::{MERGES, Step, feed};
use crate::publish::session::{CopyIn, Session, statement};
use crate::publish::stages::{Extent, STAGES, Stage, note_written, same_id};
use crate::publish::{Target, schema};
use crate::store::publish_log::{self, Since};
use crate::store::writer::organization;
use rusqlite::{Connection, Row, Rows};
use std::collections::BTreeSet;
use std::path::Path;

/// COPY is sent in pieces of about this size.
const PIECE: usize = 256 * 1024;

/// A stage with more rows is analyzed, because its merge is planned by its size.
const ANALYZED_ROWS: u64 = 1_000;

/// Whether a store may take the place of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    Refused,
    /// `--replace`
    Allowed,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub organization: String,
    /// Rows written or deleted, by table, where there were any.
    pub rows: Vec<PublishedRows>,
    /// Values whose U+0000 became U+FFFD.
    pub with_nul: u64,
}

/// Rows of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedRows {
    pub one: &'static str,
    pub several: &'static str,
    pub count: u64,
}

/// Publishes the store behind `reader`, which is at `path`.
///
/// # Errors
/// Any [`PublishError`]; nothing was published then.
pub async fn publish(
    reader: &Connection,
    path: &Path,
    target: &Target,
    takeover: Takeover,
) -> Result<Published, PublishError> {
    let organization = organization(reader)?;
    let organization = organization.ok_or_else(|| PublishError::NoOrganization(path.to_owned()))?;
    let mut session = Session::begin(target).await?;
    schema::ensure(&mut session, reader).await?;
    let last = lock(&mut session, &organization).await?;
    publish_log::ensure_started(reader, path)?;
    // After the lock, so that it is not older than what another process has published meanwhile. Ends when
    // it is dropped, and its temporary tables with it.
    let snapshot = reader.unchecked_transaction()?;
    let store = StoreState::of(&snapshot)?;
    let extent = extent(&snapshot, target, &store, &last, takeover)?;
    let mut publication = Publication {
        session,
        organization: &organization,
        extent,
        created: BTreeSet::new(),
        with_rows: BTreeSet::new(),
        with_nul: 0,
    };
    publication.stage(&snapshot, last.last_change).await?;
    // From here on, the store's log can be shortened again.
    drop(snapshot);
    let rows = publication.merge().await?;
    publication.finish(&store, &last).await?;
    let with_nul = publication.with_nul;
    Ok(Published { organization, rows, with_nul })
}

/// What the store says of itself.
pub(super) struct StoreState {
    id: String,
    salt: Vec<u8>,
    position: i64,
    last_change: i64,
}

impl StoreState {
    pub(super) fn of(store: &Connection) -> Result<Self, PublishError> {
        let select = "SELECT id, salt, (SELECT coalesce(max(id), 0) FROM _changes) FROM _store";
        let position = publish_log::position(store)?;
        Ok(store.query_row(select, [], |row| {
            Ok(Self { id: row.get(0)?, salt: row.get(1)?, position, last_change: row.get(2)? })
        })?)
    }
}

/// What was published last.
#[derive(Default)]
pub(super) struct Last {
    /// Empty: nothing was.
    store: String,
    position: i64,
    last_change: i64,
    pub(super) published_at: String,
}

/// Locks the organization against other publications, until the transaction ends.
async fn lock(session: &mut Session<'_>, organization: &str) -> Result<Last, PublishError> {
    let insert = "INSERT INTO _publications
         VALUES ($1, '', 0, now(), 0, 0, '', '') ON CONFLICT DO NOTHING";
    session.execute(statement(insert).bind(organization)).await?;
    let last = last_published(session, organization, "FOR UPDATE").await?;
    Ok(last.unwrap_or_default())
}

pub(super) async fn last_published(
    session: &mut Session<'_>,
    organization: &str,
    lock: &str,
) -> Result<Option<Last>, PublishError> {
    let select = format!(
        "SELECT store, position, last_change,
             to_char(published_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\" at \"HH24:MI:SS\" UTC\"')
         FROM _publications WHERE organization_id = $1 {lock}"
    );
    let row = session.fetch_optional(statement(select).bind(organization)).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Last {
        store: session.get(&row, 0)?,
        position: session.get(&row, 1)?,
        last_change: session.get(&row, 2)?,
        published_at: session.get(&row, 3)?,
    }))
}

/// How much has to be read; refused if it would take back what is published.
pub(super) fn extent(
    snapshot: &Connection,
    target: &Target,
    store: &StoreState,
    last: &Last,
    takeover: Takeover,
) -> Result<Extent, PublishError> {
    let is_ours = last.store == store.id;
    let since = if is_ours { publish_log::since(snapshot, last.position)? } else { Since::Foreign };
    match since {
        Since::Listed => Ok(Extent::WrittenSince(last.position)),
        Since::Trimmed => Ok(Extent::All),
        Since::Foreign if last.store.is_empty() || takeover == Takeover::Allowed => Ok(Extent::All),
        Since::Foreign if is_ours => Err(PublishError::OldCopy {
            server: target.url.to_string(),
            schema: target.schema.name().to_owned(),
            published_at: last.published_at.clone(),
        }),
        Since::Foreign => Err(PublishError::Superseded {
            server: target.url.to_string(),
            schema: target.schema.name().to_owned(),
            organization: organization(snapshot)?.unwrap_or_default(),
            published_at: last.published_at.clone(),
        }),
    }
}

/// A publication in its transaction.
struct Publication<'a> {
    session: Session<'a>,
    organization: &'a str,
    extent: Extent,
    /// The stages that are there.
    created: BTreeSet<&'static str>,
    /// Those that have rows.
    with_rows: BTreeSet<&'static str>,
    with_nul: u64,
}

impl Publication<'_> {
    /// Copies what is to be published into the stages.
    async fn stage(&mut self, store: &Connection, last_change: i64) -> Result<(), PublishError> {
        if let Extent::WrittenSince(position) = self.extent {
            note_written(store, position)?;
        }
        if let Some(id) = same_id(store, self.extent)? {
            return Err(PublishError::SameIds(id));
        }
        for stage in STAGES {
            let Some(select) = stage.select(self.extent) else { continue };
            let mut select = store.prepare(&select)?;
            let last_change = [last_change];
            let parameters = &last_change[..select.parameter_count()];
            let mut rows = select.query(rusqlite::params_from_iter(parameters))?;
            self.copy(stage, &mut rows).await?;
        }
        Ok(())
    }

    async fn copy(&mut self, stage: &Stage, rows: &mut Rows<'_>) -> Result<(), PublishError> {
        let Some(first) = rows.next()? else {
            return match self.extent {
                Extent::All => self.create(stage).await,
                Extent::WrittenSince(_) => Ok(()),
            };
        };
        let mut lines = Lines::default();
        line(&mut lines, stage, first)?;
        self.create(stage).await?;
        self.with_rows.insert(stage.name);
        let mut copy = self.session.copy_into(stage.name).await?;
        while let Some(row) = rows.next()? {
            line(&mut lines, stage, row)?;
            if lines.bytes.len() >= PIECE {
                send(&mut copy, &mut lines).await?;
            }
        }
        send(&mut copy, &mut lines).await?;
        let copied = copy.finish().await?;
        self.with_nul += lines.with_nul;
        if copied > ANALYZED_ROWS {
            self.session.run(&format!("ANALYZE {}", stage.name)).await?;
        }
        Ok(())
    }

    async fn create(&mut self, stage: &Stage) -> Result<(), PublishError> {
        if !self.created.insert(stage.name) {
            return Ok(());
        }
        let create = format!("CREATE TEMP TABLE {} ({}) ON COMMIT DROP", stage.name, stage.columns);
        self.session.run(&create).await
    }

    /// Merges the stages into the published tables, the feed last.
    async fn merge(&mut self) -> Result<Vec<PublishedRows>, PublishError> {
        let mut written = Vec::new();
        for merge in MERGES {
            let count = self.run(merge.steps(self.extent)).await?;
            let (one, several) = (merge.rows.one, merge.rows.several);
            written.push(PublishedRows { one, several, count });
        }
        let count = self.run(feed(self.extent)).await?;
        written.push(PublishedRows { one: "change", several: "changes", count });
        written.retain(|rows| rows.count > 0);
        Ok(written)
    }

    /// Returns how many rows the steps wrote or deleted.
    async fn run(&mut self, steps: Vec<Step>) -> Result<u64, PublishError> {
        let mut written = 0;
        for Step { sql, needs, names } in steps {
            if needs.is_some_and(|stage| !self.with_rows.contains(stage)) {
                continue;
            }
            for stage in STAGES.iter().filter(|stage| Some(stage.name) == names) {
                self.create(stage).await?;
            }
            let is_select = sql.starts_with("SELECT");
            let has_organization = sql.contains("$1");
            let step = statement(sql);
            let step = if has_organization { step.bind(self.organization) } else { step };
            let done = self.session.execute(step).await?;
            written += if is_select { 0 } else { done.rows_affected() };
        }
        Ok(written)
    }

    /// Notes what is published now, and commits.
    async fn finish(&mut self, store: &StoreState, last: &Last) -> Result<(), PublishError> {
        let note = "UPDATE _publications SET store = $2, epoch = epoch + $3,
                 published_at = clock_timestamp(), position = $4, last_change = $5, salt = $6,
                 program_version = $7
             WHERE organization_id = $1";
        let note = statement(note).bind(self.organization).bind(&store.id);
        let note = note.bind(i64::from(last.store != store.id)).bind(store.position);
        let note = note.bind(store.last_change).bind(&store.salt).bind(env!("CARGO_PKG_VERSION"));
        self.session.execute(note).await?;
        self.session.commit().await
    }
}

async fn send(copy: &mut CopyIn<'_>, lines: &mut Lines) -> Result<(), PublishError> {
    if !lines.bytes.is_empty() {
        copy.send(&lines.bytes).await?;
        lines.bytes.clear();
    }
    Ok(())
}

fn line(lines: &mut Lines, stage: &Stage, row: &Row<'_>) -> rusqlite::Result<()> {
    for (at, cell) in stage.cells.iter().enumerate() {
        if at > 0 {
            lines.bytes.push(b'\t');
        }
        lines.add(*cell, row.get_ref(at)?);
    }
    lines.bytes.push(b'\n');
    Ok(())
}
