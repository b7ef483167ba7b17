//! Freezing a lab's nodes where they stand, and thawing them: nothing in them runs meanwhile, and memory keeps what it has.
//!
//! Clocks go on while processes stand still. The controller manager would find every node's lease run out at its first look
//! and take the pods out of their Services; one that begins after the gap counts from then. So it is ended right before the
//! freeze, and the thawed kubelet starts another.

use anyhow::{Context, Result};
use futures_util::future::try_join_all;

use crate::host::{
    docker::{Container, Docker},
    nodes::there::control_plane_first,
};

/// Ends the controller manager; the kernel keeps fifteen letters of a process's name.
const FORGET: [&str; 4] = ["pkill", "-KILL", "-x", "kube-controller"];

/// Freezes all of these nodes that run, the control plane first: while it stands still, nobody can be found missing.
///
/// # Errors
/// The engine does not answer or cannot freeze one; what is frozen by then stays so.
pub async fn freeze(docker: &Docker, nodes: &[Container]) -> Result<usize> {
    let run: Vec<&Container> = nodes.iter().filter(|node| node.running).collect();
    let (first, rest) = control_plane_first(run.iter().copied());
    for node in first {
        // Without one (it is just being started again) there is nothing to end.
        docker.exec(&node.name, &FORGET).await.context("cannot end the controller manager before the freeze")?;
        docker.pause(&node.name).await?;
    }
    try_join_all(rest.iter().map(|node| docker.pause(&node.name))).await?;
    Ok(run.len())
}

/// Thaws all of these nodes that are frozen, at once: whoever is thawed later looks dead to the others.
///
/// # Errors
/// The engine does not answer or cannot thaw one.
pub async fn thaw(docker: &Docker, nodes: &[Container]) -> Result<usize> {
    let frozen: Vec<&Container> = nodes.iter().filter(|node| node.paused).collect();
    try_join_all(frozen.iter().map(|node| docker.unpause(&node.name))).await?;
    Ok(frozen.len())
}
