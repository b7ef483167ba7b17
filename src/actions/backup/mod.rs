//! Backups of a lab: asked for here and made in the lab ([`create`]), restored in [`restore`], proven in [`verify`]; listed, shown and removed in [`shelves`],
//! with or without a lab that stands.

mod asked;
pub mod from;
pub mod restore;
pub mod runs;
pub mod schedule;
pub mod shelves;
pub mod verify;

use std::fmt;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use serde::Serialize;

use crate::{
    actions::{prove, standing},
    cluster::Cluster,
    host::{Host, lock::LabLock, machine::doctor},
    inside::backup::objects::{Backup, BackupSpec},
    parts::{backup, images::ImageSet},
    run::{
        Run, Stepped,
        advice::{Advise, Blame, Hint},
        event::StepId,
    },
    spec::{LabName, LabSpec},
    wire::backup::manifest::{BackupId, Manifest},
};

/// What was asked for in a lab came to nothing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameToNothing {
    /// The lab.
    pub lab: LabName,
    /// What, as in "the backup".
    pub what: &'static str,
    /// Why, as whoever tried it says.
    pub why: String,
}

impl fmt::Display for CameToNothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} came to nothing: {}", self.what, self.why)
    }
}

impl Advise for CameToNothing {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Status { lab: self.lab.clone() }, Hint::Logs { lab: self.lab.clone(), of: Some("backup") }]
    }
}

/// A backup that was made.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Created {
    /// What it says of itself.
    #[serde(flatten)]
    pub summary: shelves::Summary,
    /// Where it is, as this machine reaches it.
    pub destination: String,
}

/// Makes a backup of a lab that runs: makes sure of the store and of the runner, asks for one, and waits for it.
///
/// # Errors
/// [`standing::NoSuchLab`], [`standing::Paused`], [`standing::Stopped`]; the store cannot be used
/// ([`crate::wire::backup::Unusable`]); or [`CameToNothing`].
pub async fn create(run: &Run, lab: &LabName) -> Result<Created> {
    run.step(StepId::Backup, async |cx| {
        let host = doctor::engine(None).await?;
        standing::find(&host.docker, lab).await?;
        let (cluster, reached) = {
            let _lock = LabLock::take(&cx, lab).await?;
            let cluster = standing::open(lab).await?;
            let (spec, images) = (cluster.lab_file().await?, prove::images_of(&cluster).await?);
            cx.say("the store and the runner");
            let (reached, _) = backup::ensure(&cx, &host, &cluster, &spec, &images, None).await?;
            (cluster, reached)
        };
        let done = asked::ask(&cx, &cluster, Backup::new("", BackupSpec::default())).await?;
        let id = done.status.and_then(|status| status.id).context("nobody says what it is called")?;
        let id = BackupId::new(&id).map_err(anyhow::Error::msg)?;
        let manifest = reached.shelf.manifest(&id).await?;
        let summary = shelves::Summary::of(&manifest, None);
        let detail = format!("{id}: {}", told(&manifest));
        let destination = reached.shelf.destination().to_string();
        Ok(Stepped::done(Created { summary, destination }, detail))
    })
    .await
}

fn told(manifest: &Manifest) -> String {
    let rows = manifest.database.rows();
    format!("{rows} rows of {} tables, {} files", manifest.database.tables.len(), manifest.wordpress.files)
}

/// Has the runner follow the lab, where the lab file asks for one or there is one already. With `declares` the schedule becomes the lab
/// file's: with `Some(true)` also where somebody else has declared something else.
///
/// # Errors
/// As [`backup::ensure`].
pub(in crate::actions) async fn follow(
    run: &Run,
    host: &Host,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    declares: Option<bool>,
) -> Result<()> {
    if !backup::is_wanted(spec) && cluster.get::<Deployment>(backup::RUNNER).await?.is_none() {
        return Ok(());
    }
    run.step(StepId::Backup, async |cx| {
        let (reached, mut changed) = backup::ensure(&cx, host, cluster, spec, images, None).await?;
        if let Some(take_over) = declares {
            changed |= backup::declare(cluster, spec, take_over).await?;
        }
        Ok(Stepped::changed(changed, (), format!("backups go to {}", reached.shelf.destination())))
    })
    .await
}
