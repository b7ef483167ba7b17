//! When a lab's backups are made, which are kept, and when the newest is proven: told, and set.

use anyhow::{Context, Result};

use super::runs::{self, Runs};
use crate::{
    actions::{scale, standing},
    host::machine::doctor,
    parts::backup,
    run::{Run, Stepped, event::StepId},
    spec::{
        LabName, LabSpec,
        backup::{Keep, Schedule},
    },
};

/// What is to be different; nothing of it leaves everything as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// When backups are made.
    pub schedule: Option<Schedule>,
    /// Which are kept.
    pub keep: Option<Keep>,
    /// When the newest is proven.
    pub verify: Option<Schedule>,
}

/// Sets what is to be different, and tells how it is then; `None` in a lab that never had a backup.
///
/// # Errors
/// [`standing::NoSuchLab`], [`standing::Paused`], [`standing::Stopped`]; the store cannot be used; or the runner does not come up.
pub async fn schedule(run: &Run, lab: &LabName, settings: &Settings) -> Result<Option<Runs>> {
    if *settings == Settings::default() {
        let cluster = standing::open(lab).await?;
        let spec = cluster.lab_file().await?;
        return runs::look(&cluster, &spec).await;
    }
    run.step(StepId::Backup, async |cx| {
        let host = doctor::engine(None).await?;
        // What somebody has changed since by hand stays, unless it is what is to be different.
        let stands = {
            let cluster = standing::open(lab).await?;
            runs::asked(&cluster, &cluster.lab_file().await?).await?.0
        };
        let set = |spec: &mut LabSpec| {
            let backup = &mut spec.backup;
            backup.schedule = settings.schedule.clone().unwrap_or(stands.schedule);
            backup.keep = settings.keep.unwrap_or(stands.keep);
            backup.verify = settings.verify.clone().unwrap_or(stands.verify);
        };
        let change = scale::change(&cx, lab, set).await?;
        let (cluster, wanted) = (&change.cluster, &change.wanted);
        backup::ensure(&cx, &host, cluster, wanted, &change.images, None).await?;
        // Whoever says it here means it.
        backup::declare(cluster, wanted, true).await?;
        change.record().await?;
        let runs = runs::look(cluster, wanted).await?.context("the runner of backups is gone")?;
        let backup = &wanted.backup;
        let detail = format!("backups: {}; kept: {}; proven: {}", backup.schedule, backup.keep, backup.verify);
        Ok(Stepped::changed(change.had != *wanted, Some(runs), detail))
    })
    .await
}
