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
    wire::backup::{
        Unusable,
        manifest::{BackupId, Manifest},
        seal::Keys,
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
/// [`standing::NoSuchLab`], [`standing::Paused`], [`standing::Stopped`]; the backup cannot be used ([`Unusable`]); or
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
        into(cx, &host, &cluster, &spec, &images, &found).await
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
    Ok(into(cx, host, cluster, spec, images, &found).await?.map(|_| ()))
}

/// Has a backup restored in a lab whose database and shared folder are there.
async fn into(
    cx: StepCx,
    host: &Host,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    found: &Found,
) -> Result<Stepped<Restored>> {
    cx.say("the store and the runner");
    let source = found.elsewhere.then_some(&found.reached);
    backup::ensure(&cx, host, cluster, spec, images, source).await?;
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
            into: Into::Lab,
            key_secret: found.key.as_ref().map(|_| KEY.to_owned()),
        },
    );
    let done = asked::ask(&cx, cluster, object).await;
    if found.key.is_some() {
        gone(cluster.api::<Secret>().delete(KEY, &DeleteParams::default()).await)
            .context("cannot remove the key again")?;
    }
    let RestoreStatus { rows, files, seconds, .. } = done?.status.unwrap_or_default();
    let (rows, files) = (rows.unwrap_or_default(), files.unwrap_or_default());
    let detail = format!("{id} of lab {of}: {rows} rows and {files} files, each compared with what it was");
    let seconds = seconds.unwrap_or_default();
    Ok(Stepped::done(Restored { id: id.clone(), of: of.clone(), rows, files, seconds }, detail))
}

/// A backup that is there and can be opened.
struct Found {
    manifest: Manifest,
    reached: Reached,
    /// It is not where the lab's own backups are.
    elsewhere: bool,
    /// What opens it.
    key: Option<String>,
}

/// Looks whether the backup is there, whole, and can be opened.
async fn find(cx: &StepCx, host: &Host, spec: &LabSpec, wanted: &Wanted) -> Result<Found> {
    let Wanted { from, identity } = wanted;
    let place = from.destination.clone().map_or_else(|| spec.backup.destination.clone(), Place::At);
    let elsewhere = place != spec.backup.destination;
    let reached = backup::reach_at(cx, host, &spec.name, &place).await?;
    let lab = from.lab.as_ref().unwrap_or(&spec.name);
    let shelf = reached.shelf.of(lab);
    let id = match &from.which {
        Which::Id(id) => id.clone(),
        Which::Latest => match shelf.list().await?.backups.last() {
            Some(newest) => newest.id.clone(),
            None => {
                let others = shelf.labs().await?.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let others = if others.is_empty() { String::new() } else { format!("; there are some of {others}") };
                let why = format!("there is no backup of lab {lab} in {}{others}", shelf.destination());
                return Err(Trouble::from(Impossible { lab: spec.name.clone(), why, hints: Vec::new() }).into());
            }
        },
    };
    let manifest = shelf.manifest(&id).await?;
    shelf.complete(&manifest).await?;
    let key = match (manifest.recipients.is_empty(), identity) {
        (true, _) => None,
        (false, None) => return Err(Trouble::from(Unusable::Locked { id: id.to_string(), tried: false }).into()),
        (false, Some(path)) => {
            Keys::read(path)?;
            Some(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?)
        }
    };
    Ok(Found { manifest, reached, elsewhere, key })
}
