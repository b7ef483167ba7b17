//! Puts a lab to rest with all that it has: frozen where it stands (`pause`), or its nodes stopped (`stop`).

use anyhow::Result;
use serde::Serialize;

use crate::{
    actions::standing::{self, Stopped},
    host::{
        docker::Docker,
        lock::LabLock,
        nodes::{
            self, freeze, halt,
            labs::{Doing, LabOnHost},
        },
    },
    run::{Run, Stepped, advice::Trouble, event::StepId},
    spec::LabName,
};

/// What `pause` or `stop` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AsleepReport {
    /// Which lab.
    pub name: LabName,
    /// What it does now.
    pub state: Doing,
    /// Node containers in all.
    pub nodes: usize,
    /// Whether anything had to be done.
    pub changed: bool,
}

/// Freezes every node of a lab; nothing in it runs or answers until `resume`, and everything stays in memory.
///
/// # Errors
/// [`standing::NoSuchLab`]; [`Stopped`]: there is nothing to freeze; or the Docker engine does not answer or cannot.
pub async fn pause(run: &Run, lab: &LabName) -> Result<AsleepReport> {
    run.step(StepId::Pause, async |cx| {
        let docker = Docker::connect().await?;
        // Whoever asks for a lab that is not there makes no folder for it.
        standing::find(&docker, lab).await?;
        let _lock = LabLock::take(&cx, lab).await?;
        let there = nodes::containers(&docker, lab).await?;
        if standing::find(&docker, lab).await?.doing() == Doing::Stopped {
            return Err(Trouble::from(Stopped { lab: lab.clone() }).into());
        }
        let frozen = freeze::freeze(&docker, &there).await?;
        let found = standing::find(&docker, lab).await?;
        Ok(asleep(lab, &found, frozen, "frozen"))
    })
    .await
}

/// Stops every node of a lab, its servers first; what they had is on disk.
///
/// # Errors
/// [`standing::NoSuchLab`]; or the Docker engine does not answer or cannot.
pub async fn stop(run: &Run, lab: &LabName) -> Result<AsleepReport> {
    run.step(StepId::Stop, async |cx| {
        let docker = Docker::connect().await?;
        standing::find(&docker, lab).await?;
        let _lock = LabLock::take(&cx, lab).await?;
        // What is frozen cannot end by itself.
        freeze::thaw(&docker, &nodes::containers(&docker, lab).await?).await?;
        let there = nodes::containers(&docker, lab).await?;
        let stopped = halt::halt(&cx, &docker, lab, &there).await?;
        let found = standing::find(&docker, lab).await?;
        Ok(asleep(lab, &found, stopped, "stopped"))
    })
    .await
}

fn asleep(lab: &LabName, found: &LabOnHost, did: usize, what: &str) -> Stepped<AsleepReport> {
    let report = AsleepReport { name: lab.clone(), state: found.doing(), nodes: found.nodes, changed: did > 0 };
    Stepped::changed(did > 0, report, format!("{did} of {} nodes {what}", found.nodes))
}
