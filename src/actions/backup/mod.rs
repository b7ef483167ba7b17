//! Backups of a lab: asked for here and made in the lab ([`create`]), listed, shown and removed in [`shelves`], with or without a
//! lab that stands.

pub mod shelves;

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use kube::{ResourceExt, api::PostParams};
use serde::Serialize;

use crate::{
    actions::{prove, standing},
    cluster::{Cluster, Refused},
    host::{lock::LabLock, machine::doctor},
    inside::backup::objects::{Backup, BackupSpec, BackupStatus, Phase},
    labels::{COMPONENT, Component},
    parts::backup,
    run::{
        Run, StepCx, Stepped,
        advice::{Advise, Blame, Hint, Trouble},
        event::StepId,
        wait::Look,
    },
    spec::LabName,
    wire::backup::manifest::{BackupId, Manifest},
};

/// How long a backup may take. Who has more than that asks with `--timeout`, and the backup goes on in the lab in any case.
const LIMIT: Duration = Duration::from_hours(6);
const EVERY: Duration = Duration::from_millis(500);

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
            let (reached, _) = backup::ensure(&cx, &host, &cluster, &spec, &images).await?;
            (cluster, reached)
        };
        let id = made(&cx, &cluster).await?;
        let manifest = reached.shelf.manifest(&id).await?;
        let summary = shelves::Summary::of(&manifest);
        let detail = format!("{id}: {}", told(&manifest));
        let destination = reached.shelf.destination().to_string();
        Ok(Stepped::done(Created { summary, destination }, detail))
    })
    .await
}

fn told(manifest: &Manifest) -> String {
    let rows: u64 = manifest.database.tables.values().map(|table| table.rows).sum();
    format!("{rows} rows of {} tables, {} files", manifest.database.tables.len(), manifest.wordpress.files)
}

/// Asks for a backup and waits until it is there.
async fn made(cx: &StepCx, cluster: &Cluster) -> Result<BackupId> {
    let api = cluster.api::<Backup>();
    let mut wanted = Backup::new("", BackupSpec::default());
    (wanted.metadata.name, wanted.metadata.generate_name) = (None, Some("backup-".to_owned()));
    let mut labels = cluster.labels();
    labels.insert(COMPONENT.to_owned(), Component::Backup.as_str().to_owned());
    wanted.metadata.labels = Some(labels);
    let object =
        api.create(&PostParams::default(), &wanted).await.map_err(Refused).context("cannot ask for a backup")?;
    let name = object.name_any();
    let status = cx.until("the backup", LIMIT, EVERY, || async {
        let object = match api.get_opt(&name).await {
            Ok(object) => object.with_context(|| format!("Backup {name} was removed"))?,
            Err(error) => return Ok(Look::NotYet(Refused(error).to_string())),
        };
        let status = object.status.unwrap_or_default();
        Ok(match status.common.phase.is_over() {
            true => Look::Ready(status),
            false if status.common.message.is_empty() => Look::NotYet("nobody has begun".to_owned()),
            false => Look::NotYet(status.common.message),
        })
    });
    let BackupStatus { common, id, .. } = status.await?;
    match (common.phase, id) {
        (Phase::Complete, Some(id)) => BackupId::new(&id).map_err(anyhow::Error::msg),
        _ => {
            Err(Trouble::from(CameToNothing { lab: cluster.lab.clone(), what: "the backup", why: common.message })
                .into())
        }
    }
}
