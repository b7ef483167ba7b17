//! Describes a lab as it is now, and says how to reach it. (Bodies: the lead.)

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::spec::LabName;

/// A lab as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatusReport {
    /// Which lab.
    pub name: LabName,
    /// Where the site answers.
    pub url: String,
    /// The nodes, control plane first.
    pub nodes: Vec<NodeStatus>,
    /// The database members.
    pub members: Vec<MemberSummary>,
    /// WordPress.
    pub replicas: ReplicaStatus,
    /// The autoscaler, if it is there.
    pub hpa: Option<HpaStatus>,
    /// The shared volume, if it is there.
    pub volume: Option<VolumeStatus>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Whether Kubernetes calls it ready.
    pub ready: bool,
    /// What is wrong, or its kubelet's version.
    pub detail: String,
}

/// A database member.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MemberSummary {
    /// Its pod's name.
    pub name: String,
    /// The node that it runs on; empty while there is none.
    pub node: String,
    /// `writer`, `reader`, or empty while it has no role.
    pub role: String,
    /// Seconds behind the writer; `None` for the writer, and while it is unknown.
    pub lag: Option<f64>,
    /// What it is doing, in a few words.
    pub state: String,
    /// Whether it serves its role.
    pub healthy: bool,
}

/// WordPress replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReplicaStatus {
    /// Ready ones.
    pub ready: u32,
    /// Wanted ones.
    pub wanted: u32,
}

/// The HorizontalPodAutoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HpaStatus {
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Measured CPU use in percent of the request; `None` while no metric has come.
    pub cpu: Option<u32>,
    /// Wanted CPU use in percent of the request.
    pub target: u32,
}

/// The ReadWriteMany volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VolumeStatus {
    /// The claim's name.
    pub claim: String,
    /// Its size as a quantity.
    pub size: String,
    /// `Bound`, or what it is instead.
    pub phase: String,
    /// Nodes that it is mounted on.
    pub nodes: Vec<String>,
}

impl StatusReport {
    /// Whether everything that the lab consists of is there and serves.
    pub fn healthy(&self) -> bool {
        let writers = self.members.iter().filter(|member| member.role == "writer").count();
        self.nodes.iter().all(|node| node.ready)
            && self.members.iter().all(|member| member.healthy)
            && writers == 1
            && self.replicas.wanted > 0
            && self.replicas.ready >= self.replicas.wanted
            && self.hpa.is_some_and(|hpa| hpa.cpu.is_some())
            && self.volume.as_ref().is_some_and(|volume| volume.phase == "Bound")
    }
}

/// Looks at a lab.
///
/// # Errors
/// [`crate::list::NoSuchLab`], or the cluster does not answer.
pub async fn status(_lab: &LabName) -> Result<StatusReport> {
    bail!("not built yet")
}

/// Where a lab's site answers.
///
/// # Errors
/// [`crate::list::NoSuchLab`], or its control plane does not run.
pub async fn url(_lab: &LabName) -> Result<String> {
    bail!("not built yet")
}

/// A lab's own kubeconfig file.
///
/// # Errors
/// [`crate::list::NoSuchLab`].
pub async fn kubeconfig(_lab: &LabName) -> Result<PathBuf> {
    bail!("not built yet")
}
