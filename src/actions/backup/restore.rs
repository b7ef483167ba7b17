//! A backup takes the place of what a lab has, or a new lab begins with it. What can be wrong with the backup is looked for from here,
//! before the lab hears of it.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde::Serialize;

use super::{
    asked,
    from::{From, Which},
};
use crate::{
    actions::{
        prove,
        smoke::SmokeReport,
        standing::{self, Impossible},
    },
    cluster::{Cluster, gone},
    host::{Host, lock::LabLock, machine::doctor},
    inside::backup::objects::{Into, Restore, RestoreSpec, RestoreStatus},
    labels::Component,
    parts::{
        backup::{self, Reached},
        frontend,
        images::{ImageSet, Role},
    },
    run::{
        Run, StepCx, Stepped,
        advice::{Hint, Trouble},
        event::StepId,
    },
    spec::{LabName, LabSpec, backup::Place},
    wire::{
        backup::{
            archive::Until,
            manifest::{BackupId, Manifest},
            seal::Keys,
            shelf::{self, Shelf},
        },
        gtid::GtidSet,
    },
};

/// The Secret with the key of an encrypted backup, while it is restored.
const KEY: &str = "backup-key";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The backup.
    pub from: From,
    /// The file with the key that opens it, if it is encrypted.
    pub identity: Option<PathBuf>,
    /// Up to where what was archived after it is wanted, too.
    pub to: Option<Until>,
}

/// What was restored.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restored {
    /// The backup.
    pub id: BackupId,
    /// The lab that it is of.
    pub of: LabName,
    /// Rows that were compared with what the backup says.
    pub rows: u64,
    /// Files that were.
    pub files: u64,
    /// How long loading and unpacking took, in seconds.
    pub seconds: f64,
    /// Up to where what was archived after the backup was restored, too.
    pub to: Option<String>,
    /// Attachments whose file was in no backup and is there no more; at most twenty are named.
    pub missing: Vec<String>,
}

/// A lab that was given a backup.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RestoreReport {
    /// The lab.
    pub name: LabName,
    /// What it was given.
    pub restored: Restored,
    /// Every check, afterwards.
    pub smoke: SmokeReport,
}

/// Puts a backup in the place of what a lab has, and proves the lab.
///
/// # Errors
/// [`standing::NoSuchLab`], [`standing::Paused`], [`standing::Stopped`]; the backup cannot be used
/// ([`crate::wire::backup::Unusable`]); or
/// [`super::CameToNothing`]: everything is as it was before. A failed check is no error: it is in the report.
pub async fn restore(run: &Run, lab: &LabName, wanted: &Wanted) -> Result<RestoreReport> {
    let host = doctor::engine(None).await?;
    standing::find(&host.docker, lab).await?;
    let _lock = LabLock::take(&StepCx::new(run, StepId::Restore), lab).await?;
    standing::awake(&host.docker, lab).await?;
    let (cluster, spec, site) = prove::open(&host.docker, lab).await?;
    let images = prove::images_of(&cluster).await?;
    let restored = run.step(StepId::Restore, async |cx| {
        let found = find(&cx, &host, &spec, wanted).await?;
        found.shelf().complete(&found.manifest).await?;
        into_lab(cx, &host, &cluster, &spec, &images, &found).await
    });
    let restored = restored.await?;
    let smoke = run.step(StepId::Smoke, |cx| prove::checked(cx, &host.docker, &cluster, &spec, &site)).await?;
    Ok(RestoreReport { name: lab.clone(), restored, smoke })
}

/// Has a new lab begin with a backup, before its site is installed. One that is used already keeps what it has.
///
/// # Errors
/// As [`restore`]; or the lab's WordPress is too old for the backup.
pub(in crate::actions) async fn first(
    cx: StepCx,
    host: &Host,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    wanted: &Wanted,
) -> Result<Stepped<()>> {
    if frontend::is_installed(cluster).await? {
        let text = format!("lab {} is used already, and keeps what it has: {} is not restored", spec.name, wanted.from);
        cx.run().advise(text, [Hint::Restore { lab: spec.name.clone(), from: wanted.from.to_string() }]);
        return Ok(Stepped::already((), "the lab is used already"));
    }
    let found = find(&cx, host, spec, wanted).await?;
    found.shelf().complete(&found.manifest).await?;
    let needs = found.manifest.wordpress.db_version;
    let image = images.reference(Role::Wordpress)?;
    let has = frontend::tables_of(&host.docker, image).await?;
    if has < needs {
        let why = format!(
            "backup {} is of a WordPress whose tables have version {needs}, and that of image {image} has {has}: a WordPress may be newer than its backup, not older",
            found.manifest.id
        );
        return Err(Trouble::from(Impossible { lab: spec.name.clone(), why, hints: Vec::new() }).into());
    }
    Ok(into_lab(cx, host, cluster, spec, images, &found).await?.map(|_| ()))
}

/// Has a backup restored in a lab whose database and shared folder are there.
async fn into_lab(
    cx: StepCx,
    host: &Host,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    found: &Found,
) -> Result<Stepped<Restored>> {
    let RestoreStatus { rows, files, seconds, missing, .. } =
        into(&cx, host, cluster, spec, images, found, Into::Lab).await?;
    let Manifest { id, lab: LabSpec { name: of, .. }, .. } = &found.manifest;
    let (rows, files) = (rows.unwrap_or_default(), files.unwrap_or_default());
    let detail = format!("{id} of lab {of}: {rows} rows and {files} files, each compared with what it was");
    let seconds = seconds.unwrap_or_default();
    let (id, of, to) = (id.clone(), of.clone(), found.to.as_ref().map(ToString::to_string));
    Ok(Stepped::done(Restored { id, of, rows, files, seconds, to, missing }, detail))
}

/// Asks the lab's runner to restore a backup into the lab or into a server beside it, and waits for that.
///
/// # Errors
/// The store or the runner cannot be used; or [`super::CameToNothing`].
pub(super) async fn into(
    cx: &StepCx,
    host: &Host,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    found: &Found,
    into: Into,
) -> Result<RestoreStatus> {
    cx.say("the store and the runner");
    let source = found.elsewhere.then_some(&found.reached);
    backup::ensure(cx, host, cluster, spec, images, source).await?;
    if let Some(text) = &found.key {
        let values = BTreeMap::from([("key".to_owned(), text.clone())]);
        cluster.replace_secret(KEY, Component::Backup, values).await?;
    }
    let Manifest { id, lab: LabSpec { name: of, .. }, .. } = &found.manifest;
    let object = Restore::new(
        "",
        RestoreSpec {
            backup: id.to_string(),
            lab: Some(of.to_string()),
            destination: source.map(|source| source.inside.to_string()),
            into,
            until: found.to.as_ref().map(ToString::to_string),
            key_secret: found.key.as_ref().map(|_| KEY.to_owned()),
        },
    );
    let done = asked::ask(cx, cluster, object).await;
    if found.key.is_some() {
        // Who reads it removes it; this is for when nobody has.
        gone(cluster.api::<Secret>().delete(KEY, &DeleteParams::default()).await)
            .context("cannot remove the key again")?;
    }
    Ok(done?.status.unwrap_or_default())
}

/// A backup that is there and can be opened.
pub(super) struct Found {
    pub(super) manifest: Manifest,
    reached: Reached,
    /// It is not where the lab's own backups are.
    elsewhere: bool,
    /// What opens it.
    pub(super) key: Option<String>,
    /// Up to where what was archived after it is wanted, too.
    to: Option<Until>,
}

impl Found {
    /// Where it lies.
    pub(super) fn shelf(&self) -> Shelf {
        self.reached.shelf.of(&self.manifest.lab.name)
    }
}

/// Looks whether the backup is there, and can be opened.
///
/// # Errors
/// The store cannot be used, there is no such backup or no key that opens it ([`crate::wire::backup::Unusable`]); or the lab has no backup yet, or the file
/// has no key ([`Impossible`]).
pub(super) async fn find(cx: &StepCx, host: &Host, spec: &LabSpec, wanted: &Wanted) -> Result<Found> {
    let Wanted { from, identity, to } = wanted;
    let place = from.destination.clone().map_or_else(|| spec.backup.destination.clone(), Place::At);
    let elsewhere = place != spec.backup.destination;
    let reached = backup::reach_at(cx, host, &spec.name, &place).await?;
    let lab = from.lab.as_ref().unwrap_or(&spec.name);
    let shelf = reached.shelf.of(lab);
    let id = match &from.which {
        Which::Id(id) => id.clone(),
        Which::Latest => match shelf.list().await?.backups.iter().rfind(|backup| is_before(backup, to.as_ref())) {
            Some(newest) => newest.id.clone(),
            None => {
                let others = shelf.labs().await?.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let others = if others.is_empty() { String::new() } else { format!("; there are some of {others}") };
                let before = match to {
                    Some(Until::Time(moment)) => format!(" of before {moment}"),
                    _ => String::new(),
                };
                let why = format!("there is no backup of lab {lab}{before} in {}{others}", shelf.destination());
                return Err(Trouble::from(Impossible { lab: spec.name.clone(), why, hints: Vec::new() }).into());
            }
        },
    };
    let manifest = shelf.manifest(&id).await?;
    let text = identity.as_ref().filter(|_| !manifest.recipients.is_empty()).map(|path| {
        let (keys, text) =
            Keys::read(path).and_then(|keys| Ok((keys, std::fs::read_to_string(path)?))).map_err(|error| {
                let why = format!("{error:#}");
                Trouble::from(Impossible { lab: spec.name.clone(), why, hints: Vec::new() })
            })?;
        anyhow::Ok((keys, text))
    });
    let (keys, key) = text.transpose()?.map(|(keys, text)| (keys, Some(text))).unwrap_or_default();
    shelf::opens(&manifest, &keys)?;
    if let Some(to) = to {
        let (pieces, reached) = tokio::try_join!(shelf.pieces(&id), shelf.reached(&id))?;
        to.covered(&manifest, &pieces, reached.as_ref()).map_err(|error| {
            let why = format!("{error:#}");
            Trouble::from(Impossible { lab: spec.name.clone(), why, hints: Vec::new() })
        })?;
    }
    Ok(Found { manifest, reached, elsewhere, key, to: to.clone() })
}

/// Whether something that is wanted up to here can begin with a backup.
fn is_before(backup: &Manifest, to: Option<&Until>) -> bool {
    match to {
        Some(Until::Time(moment)) => backup.database.exact && backup.begun < *moment,
        Some(Until::Gtids(wanted)) => {
            backup.database.exact
                && GtidSet::parse(&backup.database.position).is_ok_and(|position| wanted.contains(&position))
        }
        None => true,
    }
}
