//! Puts right whatever a drill has broken: at its end, when it is interrupted, or when the tool itself was killed. It looks at
//! what was written down and at the lab itself, and needs neither a state nor a cluster that answers.

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    broken::{Broken, Hands},
    intent::Intent,
};
use crate::{
    actions::standing::{self, Paused, Stopped},
    cluster::Cluster,
    host::{
        docker::{Container, Docker},
        lock::LabLock,
        machine::engine,
        nodes,
    },
    run::{Run, StepCx, Stepped, advice::Trouble, event::StepId},
    spec::LabName,
};

/// What was put right.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HealReport {
    /// The lab.
    pub lab: LabName,
    /// What was broken, as sentences; empty when nothing was.
    pub undone: Vec<String>,
}

/// Whoever is thawed, or started, may show what else is broken on it.
const TURNS: u32 = 3;

/// Puts right what a drill has left behind.
///
/// # Errors
/// [`standing::NoSuchLab`]; [`Paused`] or [`Stopped`] where that was no drill's doing; something cannot be put right.
pub async fn heal(run: &Run, lab: &LabName) -> Result<HealReport> {
    run.step(StepId::Heal, async |cx| {
        let docker = engine_of(&cx, lab).await?;
        standing::find(&docker, lab).await?;
        let _lock = LabLock::take(&cx, lab).await?;
        let undone = left_behind(&cx, &docker, lab).await?;
        let detail = match undone.as_slice() {
            [] => "nothing was broken".to_owned(),
            all => all.join(", "),
        };
        Ok(Stepped::changed(!undone.is_empty(), HealReport { lab: lab.clone(), undone }, detail))
    })
    .await
}

/// The engine, which a drill may have ended and not started again.
async fn engine_of(cx: &StepCx, lab: &LabName) -> Result<Docker> {
    match Docker::connect().await {
        Err(_) if Intent::of(lab).read().contains(&Broken::EngineAway) => {
            engine::start(cx, engine::by_systemd()).await?;
            Docker::connect().await
        }
        connected => connected,
    }
}

/// Whether somebody wrote down that something is broken in a lab, and nobody that it is put right.
#[must_use]
pub fn unfinished(lab: &LabName) -> bool {
    !Intent::of(lab).read().is_empty()
}

/// Puts right what a drill has left behind in a lab whose nodes run; nothing where no drill has. For whoever has its lock.
///
/// # Errors
/// Something cannot be put right.
pub(in crate::actions) async fn finish(cx: &StepCx, docker: &Docker, cluster: &Cluster) -> Result<()> {
    let lab = &cluster.lab;
    if unfinished(lab) {
        for undone in put_right(&Hands { cx, docker, cluster, lab }).await? {
            cx.say(format!("left by a drill and put right: {undone}"));
        }
    }
    Ok(())
}

/// Puts right what a drill has left behind in a lab that is locked; says what was broken.
///
/// # Errors
/// As [`heal`].
pub(super) async fn left_behind(cx: &StepCx, docker: &Docker, lab: &LabName) -> Result<Vec<String>> {
    rests(lab, &nodes::ours(docker, lab).await?, &Intent::of(lab).read())?;
    let cluster = standing::connect(lab).await?;
    put_right(&Hands { cx, docker, cluster: &cluster, lab }).await
}

/// A lab that was put to rest as a whole is not broken.
fn rests(lab: &LabName, nodes: &[Container], meant: &[Broken]) -> Result<()> {
    let by_us = |node: &Container| {
        meant.iter().any(|broken| {
            matches!(broken, Broken::NodeFrozen { node: name } | Broken::NodeStopped { node: name } if *name == node.name)
        })
    };
    if nodes.iter().any(by_us) {
        return Ok(());
    }
    if nodes.iter().all(|node| node.paused) {
        return Err(Trouble::from(Paused { lab: lab.clone() }).into());
    }
    if nodes.iter().all(|node| !node.running && !node.paused) {
        return Err(Trouble::from(Stopped { lab: lab.clone() }).into());
    }
    Ok(())
}

/// Puts right what is meant to be broken and what is, and forgets what was meant; says what was broken.
pub(super) async fn put_right(hands: &Hands<'_>) -> Result<Vec<String>> {
    let intent = Intent::of(hands.lab);
    let (mut undone, mut meant) = (Vec::new(), intent.read());
    for turn in 0.. {
        let there = nodes::ours(hands.docker, hands.lab).await?;
        // A node that has left the lab since has nothing that could be put right.
        meant.retain(|broken| broken.node().is_none_or(|node| there.iter().any(|one| one.name == node)));
        let found = hands.find(&there).await.context("cannot look what is broken")?;
        if found.is_empty() && meant.is_empty() {
            break;
        }
        if let Some(stays) = found.first().filter(|_| turn == TURNS) {
            anyhow::bail!("it was put right {TURNS} times, and still {stays}");
        }
        undone.extend(found.iter().map(ToString::to_string));
        let mut all = found;
        all.extend(meant.drain(..).filter(|broken| !undone.contains(&broken.to_string())));
        // A node that stands still cannot be told to change anything, so nodes come first.
        for broken in in_order(all) {
            hands.undo(&broken).await.with_context(|| format!("cannot put right that {broken}"))?;
        }
    }
    intent.forget()?;
    undone.sort();
    undone.dedup();
    Ok(undone)
}

/// What others need comes first: nodes, then the network, then the API server.
fn in_order(mut all: Vec<Broken>) -> Vec<Broken> {
    all.sort_by_key(|broken| match broken {
        Broken::NodeStopped { node } if node.ends_with("-control-plane") => 0,
        Broken::NodeFrozen { .. } | Broken::NodeStopped { .. } => 1,
        Broken::Network { .. } => 2,
        Broken::ApiServerAway { .. } => 3,
        Broken::ServerFrozen { .. } | Broken::VolumeFull { .. } => 4,
        Broken::TakenDown { .. } | Broken::Scaled { .. } => 5,
        Broken::VolumeSmall { .. } => 6,
        Broken::NodeClosed { .. } | Broken::EngineAway => 7,
    });
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn node(name: &str, running: bool, paused: bool) -> Container {
        let name = name.to_owned();
        Container { name, running, paused, image: String::new(), labels: BTreeMap::new(), ports: Vec::new() }
    }

    #[test]
    fn a_lab_that_was_put_to_rest_is_left_alone_and_one_that_a_drill_stopped_is_not() {
        let lab = LabName::new("zoo").expect("a name");
        let frozen = [node("zoo-worker", false, true), node("zoo-worker2", false, true)];
        assert_eq!(rests(&lab, &frozen, &[]).expect_err("paused").to_string(), "lab zoo is paused");
        let stopped = [node("zoo-worker", false, false)];
        assert!(rests(&lab, &stopped, &[]).is_err());
        assert!(rests(&lab, &stopped, &[Broken::NodeStopped { node: "zoo-worker".into() }]).is_ok());
        assert!(rests(&lab, &[node("zoo-worker", true, false), frozen[1].clone()], &[]).is_ok(), "one of two");
    }

    #[test]
    fn nobody_is_told_before_those_that_are_needed_for_it() {
        let node = || "zoo-worker".to_owned();
        let all = vec![
            Broken::TakenDown { deployment: "coredns".into() },
            Broken::ApiServerAway { node: "zoo-control-plane".into() },
            Broken::Network { node: node(), loss: 100, delay: 0 },
            Broken::NodeFrozen { node: node() },
        ];
        let mut wanted = all.clone();
        wanted.reverse();
        assert_eq!(in_order(all), wanted);
    }
}
