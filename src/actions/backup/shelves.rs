//! What lies in a store: listed, shown and removed from this machine. The lab need not stand any more.

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    actions::standing,
    host::docker::Docker,
    parts::store,
    run::{Run, StepCx, Stepped, advice::Trouble, event::StepId},
    spec::{LabName, backup::Place, destination::Destination},
    wire::backup::{
        Unusable,
        credentials::Credentials,
        manifest::{BackupId, Manifest},
        shelf::Shelf,
        verified::Verified,
    },
};

/// A backup in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// Its name.
    pub id: BackupId,
    /// The lab that it is of.
    pub lab: LabName,
    /// When it was begun.
    pub begun: Timestamp,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Whether a schedule made it.
    pub scheduled: bool,
    /// Whether it takes a key to read it.
    pub encrypted: bool,
    /// The database's server and its version.
    pub server: String,
    /// What the dump contains: a GTID set, or `UUID:SEQNO`.
    pub position: String,
    /// Whether it contains nothing else.
    pub exact: bool,
    /// Rows of all tables.
    pub rows: u64,
    /// Files of `wp-content`.
    pub files: u64,
    /// Bytes in the store.
    pub stored: u64,
    /// What came of proving it; `None`: nobody has.
    pub verified: Option<Verified>,
}

impl Summary {
    pub(super) fn of(manifest: &Manifest, verified: Option<Verified>) -> Summary {
        let database = &manifest.database;
        Summary {
            id: manifest.id.clone(),
            lab: manifest.lab.name.clone(),
            begun: manifest.begun,
            seconds: manifest.seconds.get("all").copied().unwrap_or_default(),
            scheduled: manifest.scheduled,
            encrypted: !manifest.recipients.is_empty(),
            server: format!("{} {}", database.server, database.version),
            position: database.position.clone(),
            exact: database.exact,
            rows: database.rows(),
            files: manifest.wordpress.files,
            stored: manifest.stored(),
            verified,
        }
    }
}

/// What there is of a lab.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// Where it was looked for, as this machine reaches it; `None` where there is no store yet.
    pub destination: Option<String>,
    /// Backups, the oldest first.
    pub backups: Vec<Summary>,
    /// What was begun and is not finished, or was half removed.
    pub unfinished: Vec<BackupId>,
}

/// Lists the backups of a lab, or of every lab that has some there.
///
/// # Errors
/// The store cannot be used ([`crate::wire::backup::Unusable`]).
pub async fn list(run: &Run, lab: Option<&LabName>, at: Option<&Destination>) -> Result<Listed> {
    let asked = lab.cloned().unwrap_or_default();
    let Some(shelf) = open(&StepCx::new(run, StepId::Backup), &asked, at).await? else {
        return Ok(Listed { destination: None, backups: Vec::new(), unfinished: Vec::new() });
    };
    let mut listed =
        Listed { destination: Some(shelf.destination().to_string()), backups: Vec::new(), unfinished: Vec::new() };
    let labs = match lab {
        Some(lab) => vec![lab.clone()],
        None => shelf.labs().await?,
    };
    for lab in labs {
        let shelf = &shelf.of(&lab);
        let found = shelf.list().await?;
        let backups = stream::iter(&found.backups)
            .map(|one| async move { anyhow::Ok(Summary::of(one, shelf.verdict(&one.id).await?)) })
            .buffered(8);
        listed.backups.extend(backups.try_collect::<Vec<_>>().await?);
        listed.unfinished.extend(found.unfinished);
    }
    Ok(listed)
}

/// What a backup says of itself, and what came of proving it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shown {
    /// What it says of itself.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// What came of proving it; `None`: nobody has.
    pub verified: Option<Verified>,
}

/// What a backup says of itself.
///
/// # Errors
/// The store cannot be used, or there is no such backup ([`crate::wire::backup::Unusable`]).
pub async fn show(run: &Run, lab: &LabName, at: Option<&Destination>, id: &BackupId) -> Result<Shown> {
    let shelf =
        open(&StepCx::new(run, StepId::Backup), lab, at).await?.ok_or_else(|| none(lab, std::slice::from_ref(id)))?;
    let manifest = shelf.manifest(id).await?;
    shelf.complete(&manifest).await?;
    Ok(Shown { verified: shelf.verdict(id).await?, manifest })
}

/// What was removed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Deleted {
    /// The backups.
    pub ids: Vec<BackupId>,
    /// Bytes that are free now.
    pub freed: u64,
}

/// Removes backups, finished or not. Nothing is removed if there is none of one of the names.
///
/// # Errors
/// As [`show`].
pub async fn delete(run: &Run, lab: &LabName, at: Option<&Destination>, ids: &[BackupId]) -> Result<Deleted> {
    run.step(StepId::Remove, async |cx| {
        let shelf = open(&cx, lab, at).await?.ok_or_else(|| none(lab, ids))?;
        let found = shelf.list().await?;
        for id in ids {
            if !found.unfinished.contains(id) {
                shelf.manifest(id).await?;
            }
        }
        let mut freed = 0;
        for id in ids {
            freed += shelf.remove(id).await?;
        }
        let detail = format!("{} backups of lab {lab}", ids.len());
        Ok(Stepped::done(Deleted { ids: ids.to_vec(), freed }, detail))
    })
    .await
}

/// Where no store was ever made, there is no backup either.
fn none(lab: &LabName, ids: &[BackupId]) -> Trouble {
    let id = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Unusable::Missing { lab: lab.to_string(), id, others: Vec::new() }.into()
}

/// Opens a lab's place where it was asked for; without that, where the lab says, if it answers; and else in this machine's own store.
/// `None` where that was never made.
///
/// # Errors
/// Credentials are missing, or the store does not come up.
pub(super) async fn open(cx: &StepCx, lab: &LabName, at: Option<&Destination>) -> Result<Option<Shelf>> {
    let docker = Docker::connect().await?;
    let place = match at {
        Some(destination) => Place::At(destination.clone()),
        None => recorded(&docker, lab).await,
    };
    let Place::At(destination) = place else {
        let own = |found: &store::Found| found.place == store::Place::Embedded;
        let Some(found) = store::find(&docker).await?.into_iter().find(own) else { return Ok(None) };
        if let Some(shelf) = found.shelf(lab)? {
            return Ok(Some(shelf));
        }
        store::start(cx, &docker, &found.place).await?;
        let found = store::find(&docker).await?.into_iter().find(own);
        return found.context("the store of backups is gone")?.shelf(lab);
    };
    Shelf::open(&destination, &Credentials::from_environment()?, lab).map(Some)
}

/// Where a lab that answers sends its backups.
async fn recorded(docker: &Docker, lab: &LabName) -> Place {
    let asked = async {
        standing::awake(docker, lab).await?;
        standing::connect(lab).await?.lab_file().await
    };
    asked.await.map(|spec| spec.backup.destination).unwrap_or_default()
}
