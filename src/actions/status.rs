//! Describes a lab as it is now, however little of it answers, and says how to reach it.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Node, PersistentVolumeClaim, Pod},
};
use kube::{ResourceExt, api::ListParams};
use serde::Serialize;

use crate::{
    actions::{
        backup::runs::{self, Runs},
        standing,
    },
    cluster::{Cluster, Refused, ready},
    host::{
        docker::{Container, Docker},
        nodes::{self, labs::Doing},
    },
    inside::kinds::{DATABASE, Database, DatabasePhase},
    labels::{COMPONENT, Component},
    parts::{
        database::{
            self, MEMBERS, Member,
            agent::{self, Record, Roles},
            health::{self, Wrong},
            members,
        },
        discovery::{self, EtcdMember},
        monitoring::{self, Alert},
        storage::{CLAIM, SERVER},
    },
    run::wait::Look,
    spec::LabName,
};

/// How long the cluster may take to answer one question; a broken one must not make the others wait.
const PATIENCE: Duration = Duration::from_secs(15);

/// A lab as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatusReport {
    /// Which lab.
    pub name: LabName,
    /// What it does: `running`, `paused` or `stopped`; of a lab that does not run nothing but its nodes is known.
    pub state: Doing,
    /// Where the site answers; empty while that is unknown.
    pub url: String,
    /// The nodes, control plane first.
    pub nodes: Vec<NodeStatus>,
    /// The database members.
    pub members: Vec<MemberSummary>,
    /// What the agent has written down about their roles, if it has.
    pub roles: Option<Roles>,
    /// What is wrong with the database; nothing is told of what could not be looked at.
    pub wrong: Vec<Wrong>,
    /// etcd's members; none in a topology that needs none.
    pub etcd: Vec<EtcdMember>,
    /// WordPress.
    pub replicas: ReplicaStatus,
    /// The autoscaler, if it is there.
    pub hpa: Option<HpaStatus>,
    /// The shared volume, if it is there.
    pub volume: Option<VolumeStatus>,
    /// How far the operator is with what is declared of the database; `None` where members have that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<NotSettled>,
    /// Backups and their schedule, where somebody asked for any.
    pub backups: Option<Runs>,
    /// What Prometheus says, in a lab that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
    /// What could not be looked at.
    pub unknown: Vec<Unknown>,
}

/// What is declared of a database, and not what its members have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NotSettled {
    /// How far it is: `changing`, `refused`, `taken back`, `failed`, or `pending`.
    pub phase: String,
    /// What is being done, or why it cannot be.
    pub message: String,
}

impl NotSettled {
    /// Whether nobody has to do anything about it.
    fn may_still_come(&self) -> bool {
        ["changing", "pending"].contains(&self.phase.as_str())
    }
}

/// What Prometheus says of a lab. A lab can be well while it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Monitoring {
    /// The alerts that fire.
    pub alerts: Vec<Alert>,
    /// Why it could not be asked; `None` when it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
}

/// Something of a lab that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unknown {
    /// What: the name of a field of [`StatusReport`].
    pub what: &'static str,
    /// Why.
    pub why: String,
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
    /// How many members it sees in its Galera cluster; `None` in the other topology, and while it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_size: Option<u32>,
    /// The last change that it has committed in its Galera cluster; `None` as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seqno: Option<i64>,
    /// What it is doing, in a few words.
    pub state: String,
    /// Whether it serves its role.
    pub healthy: bool,
    /// The members from whose data a person may start the Galera cluster instead of waiting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start_from: Vec<String>,
    /// Folders on its volume with what it alone had before its data was copied again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<String>,
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
    /// Why its file server does not serve; `None` when it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unserved: Option<String>,
}

impl StatusReport {
    /// The members from whose data a person may start the Galera cluster, if one waits for that.
    pub fn start_from(&self) -> BTreeSet<&str> {
        self.members.iter().flat_map(|member| &member.start_from).map(String::as_str).collect()
    }

    /// Whether everything that the lab consists of is there and serves.
    pub fn healthy(&self) -> bool {
        self.unknown.is_empty()
            && self.wrong.is_empty()
            && self.nodes.iter().all(|node| node.ready)
            && self.etcd.iter().all(|member| member.healthy)
            && self.replicas.wanted > 0
            && self.replicas.ready >= self.replicas.wanted
            && self.hpa.is_some_and(|hpa| hpa.cpu.is_some())
            && self.declared.as_ref().is_none_or(NotSettled::may_still_come)
            && self.backups.as_ref().is_none_or(|backups| backups.wrong.is_empty())
            && self.volume.as_ref().is_some_and(|volume| volume.phase == "Bound" && volume.unserved.is_none())
    }
}

/// Looks at a lab. What does not answer is in [`StatusReport::unknown`], with the reason.
///
/// # Errors
/// [`crate::actions::standing::NoSuchLab`], or the Docker engine does not answer.
pub async fn status(lab: &LabName) -> Result<StatusReport> {
    let docker = Docker::connect().await?;
    let found = standing::find(&docker, lab).await?;
    let mut containers = nodes::ours(&docker, lab).await.context("cannot list the lab's containers")?;
    let mut unknown = Unknowns::default();
    let url = found.url().context("the control plane's container does not run");
    let url = unknown.or("url", url);
    let state = found.doing();
    let cluster = match state {
        Doing::Running => standing::connect(lab).await,
        rests => Err(anyhow!("the lab is {}", rests.name())),
    };
    let Some(cluster) = unknown.take("cluster", cluster) else {
        return Ok(StatusReport { nodes: nodes(&containers, None), unknown: unknown.0, ..empty(lab, state, url) });
    };
    for container in &mut containers {
        container.name = nodes::inside_name(&container.name, lab, &cluster.inside);
    }
    let (seen, members, record, etcd, site, hpa, volume, declared, backups, monitoring) = tokio::join!(
        within(async { Ok(cluster.all::<Node>().list(&ListParams::default()).await.map_err(Refused)?.items) }),
        within(all_members(&cluster)),
        within(agent::look(&cluster)),
        within(discovery::members(&cluster)),
        within(async { cluster.get::<Deployment>("wordpress").await?.context("there is no Deployment wordpress") }),
        within(cluster.get::<HorizontalPodAutoscaler>("wordpress")),
        within(volume(&cluster)),
        within(declared(&cluster)),
        within(async { runs::look(&cluster, &cluster.lab_file().await?).await }),
        within(watched(&cluster)),
    );
    let seen = unknown.take("nodes", seen);
    let (members, record) = (unknown.take("members", members), unknown.take("roles", record));
    Ok(StatusReport {
        name: lab.clone(),
        state,
        url,
        nodes: nodes(&containers, seen.as_deref()),
        wrong: wrong(members.as_ref(), record.as_ref()),
        members: members.map(|(there, wanted)| summaries(&there, wanted)).unwrap_or_default(),
        roles: record.and_then(|record| record.last().cloned()),
        etcd: unknown.or("etcd", etcd),
        replicas: unknown.take("replicas", site).map_or(NO_REPLICAS, |site| replicas(&site)),
        hpa: unknown.take("hpa", hpa).flatten().map(|hpa| autoscaler(&hpa)),
        volume: unknown.take("volume", volume).flatten(),
        declared: unknown.take("declared", declared).flatten(),
        backups: unknown.take("backups", backups).flatten(),
        monitoring: unknown.take("monitoring", monitoring).flatten(),
        unknown: unknown.0,
    })
}

/// What is declared and not what members have.
async fn declared(cluster: &Cluster) -> Result<Option<NotSettled>> {
    // A lab of an earlier version declares nothing.
    let Some(database) = cluster.get::<Database>(DATABASE).await? else { return Ok(None) };
    let status = database.status.unwrap_or_default();
    let phase = match status.phase {
        _ if status.observed_generation < database.metadata.generation => "pending",
        DatabasePhase::Settled => return Ok(None),
        DatabasePhase::Pending => "pending",
        DatabasePhase::Changing => "changing",
        DatabasePhase::Refused => "refused",
        DatabasePhase::TakenBack => "taken back",
        DatabasePhase::Failed => "failed",
    };
    Ok(Some(NotSettled { phase: phase.to_owned(), message: status.message }))
}

/// Where a lab's site answers.
///
/// # Errors
/// [`crate::actions::standing::NoSuchLab`], or its control plane does not run.
pub async fn url(lab: &LabName) -> Result<String> {
    standing::url(&Docker::connect().await?, lab).await
}

/// A lab's own kubeconfig file.
///
/// # Errors
/// [`crate::actions::standing::NoSuchLab`], or the lab has none yet.
pub async fn kubeconfig(lab: &LabName) -> Result<PathBuf> {
    standing::open(lab).await?;
    Ok(nodes::kubeconfig_path(lab))
}

const NO_REPLICAS: ReplicaStatus = ReplicaStatus { ready: 0, wanted: 0 };

fn empty(lab: &LabName, state: Doing, url: String) -> StatusReport {
    StatusReport {
        name: lab.clone(),
        state,
        url,
        nodes: Vec::new(),
        members: Vec::new(),
        roles: None,
        wrong: Vec::new(),
        etcd: Vec::new(),
        replicas: NO_REPLICAS,
        hpa: None,
        volume: None,
        declared: None,
        backups: None,
        monitoring: None,
        unknown: Vec::new(),
    }
}

/// Collects what could not be looked at.
#[derive(Default)]
struct Unknowns(Vec<Unknown>);

impl Unknowns {
    fn take<T>(&mut self, what: &'static str, seen: Result<T>) -> Option<T> {
        seen.map_err(|error| self.0.push(Unknown { what, why: format!("{error:#}") })).ok()
    }

    fn or<T: Default>(&mut self, what: &'static str, seen: Result<T>) -> T {
        self.take(what, seen).unwrap_or_default()
    }
}

async fn within<T>(look: impl Future<Output = Result<T>>) -> Result<T> {
    let answer = tokio::time::timeout(PATIENCE, look).await;
    answer.with_context(|| format!("the API server did not answer within {} s", PATIENCE.as_secs()))?
}

/// A node is its container and, as far as the API server answers, what Kubernetes says about it.
fn nodes(containers: &[Container], seen: Option<&[Node]>) -> Vec<NodeStatus> {
    let mut nodes: Vec<NodeStatus> = containers.iter().map(|container| node(container, seen)).collect();
    // The control plane's name ends so; workers come after it, in the order of their numbers.
    nodes.sort_by_key(|node| (!node.name.ends_with("-control-plane"), node.name.len(), node.name.clone()));
    nodes
}

fn node(container: &Container, seen: Option<&[Node]>) -> NodeStatus {
    let status = |ready, detail: &str| NodeStatus { name: container.name.clone(), ready, detail: detail.to_owned() };
    if container.paused {
        return status(false, "its container is frozen");
    }
    if !container.running {
        return status(false, "its container is stopped");
    }
    let Some(seen) = seen else { return status(false, "its container runs; Kubernetes cannot be asked") };
    let Some(node) = seen.iter().find(|node| node.name_any() == container.name) else {
        return status(false, "has not joined");
    };
    let version =
        node.status.as_ref().and_then(|s| s.node_info.as_ref()).map_or("", |info| info.kubelet_version.as_str());
    match ready::node(Some(node)) {
        Look::Ready(()) => status(true, version),
        Look::NotYet(reason) => status(false, &reason),
    }
}

/// The members whose pods exist, and how many there should be.
async fn all_members(cluster: &Cluster) -> Result<(Vec<Member>, u8)> {
    let set = cluster.get::<StatefulSet>(MEMBERS).await?.context("there is no StatefulSet db")?;
    let wanted = set.spec.and_then(|spec| spec.replicas).and_then(|count| u8::try_from(count).ok()).unwrap_or(1);
    Ok((members(cluster).await?, wanted))
}

fn wrong(members: Option<&(Vec<Member>, u8)>, record: Option<&Record>) -> Vec<Wrong> {
    let (Some((members, wanted)), Some(record)) = (members, record) else { return Vec::new() };
    health::health(members, usize::from(*wanted), record).err().unwrap_or_default()
}

fn member(member: &Member) -> MemberSummary {
    let trouble = health::trouble(member);
    // A source whose writes nobody has to have is told apart: with it goes what only it has.
    let alone = member.facts().is_some_and(|facts| facts.acks == Some(0));
    let state = member.status.as_ref().map_or("unknown", |status| status.state.name());
    let doing = || if alone { format!("{state}, unprotected") } else { state.to_owned() };
    MemberSummary {
        name: member.name.clone(),
        node: member.node.clone().unwrap_or_default(),
        role: member.role.clone().unwrap_or_default(),
        // Whole seconds, and few: nothing is lost.
        lag: member.lag().and_then(|lag| u32::try_from(lag).ok()).map(f64::from),
        cluster_size: member.galera().map(|facts| facts.size),
        seqno: member.galera().map(|facts| facts.seqno),
        start_from: member.start_from().to_vec(),
        aside: member.status.as_ref().map(|status| status.aside.clone()).unwrap_or_default(),
        healthy: trouble.is_none(),
        state: trouble.unwrap_or_else(doing),
    }
}

/// A member whose pod does not exist is as worth showing as one that is broken.
fn summaries(there: &[Member], wanted: u8) -> Vec<MemberSummary> {
    let mut there: Vec<MemberSummary> = there.iter().map(member).collect();
    for name in database::names(wanted) {
        if there.iter().all(|member| member.name != name) {
            let state = "its pod does not exist".to_owned();
            there.push(MemberSummary {
                name,
                node: String::new(),
                role: String::new(),
                lag: None,
                cluster_size: None,
                seqno: None,
                state,
                healthy: false,
                start_from: Vec::new(),
                aside: Vec::new(),
            });
        }
    }
    there.sort_by(|a, b| a.name.cmp(&b.name));
    there
}

fn replicas(site: &Deployment) -> ReplicaStatus {
    let count = |number: Option<i32>| number.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    let ready = count(site.status.as_ref().and_then(|status| status.ready_replicas));
    ReplicaStatus { ready, wanted: count(site.spec.as_ref().map(|spec| spec.replicas.unwrap_or(1))) }
}

fn autoscaler(hpa: &HorizontalPodAutoscaler) -> HpaStatus {
    let count = |number: i32| u32::try_from(number).unwrap_or_default();
    let spec = &hpa.spec;
    let metrics = spec.metrics.iter().flatten();
    let target = metrics.filter_map(|metric| metric.resource.as_ref()?.target.average_utilization).map(count).next();
    let cpu = match ready::cpu_value(Some(hpa)) {
        Look::Ready(percent) => Some(count(percent)),
        Look::NotYet(_) => None,
    };
    HpaStatus {
        min: spec.min_replicas.map_or(1, count),
        max: count(spec.max_replicas),
        cpu,
        target: target.unwrap_or_default(),
    }
}

/// What Prometheus says, if the lab has one. That it does not answer is no reason to call the lab broken.
async fn watched(cluster: &Cluster) -> Result<Option<Monitoring>> {
    if cluster.get::<Deployment>(monitoring::SERVER).await?.is_none() {
        return Ok(None);
    }
    Ok(Some(match monitoring::firing(cluster).await {
        Ok(alerts) => Monitoring { alerts, silent: None },
        Err(error) => Monitoring { alerts: Vec::new(), silent: Some(format!("{error:#}")) },
    }))
}

async fn volume(cluster: &Cluster) -> Result<Option<VolumeStatus>> {
    let Some(claim) = cluster.get::<PersistentVolumeClaim>(CLAIM).await? else { return Ok(None) };
    let pods = cluster.pods(&format!("{COMPONENT}={}", Component::Frontend.as_str())).await?;
    let unserved = match ready::stateful_set(cluster.get::<StatefulSet>(SERVER).await?.as_ref()) {
        Look::Ready(()) => None,
        Look::NotYet(why) => Some(why),
    };
    Ok(Some(VolumeStatus { unserved, ..volume_of(&claim, &pods) }))
}

fn volume_of(claim: &PersistentVolumeClaim, pods: &[Pod]) -> VolumeStatus {
    let status = claim.status.clone().unwrap_or_default();
    let asked = || claim.spec.as_ref()?.resources.as_ref()?.requests.clone();
    let size = status.capacity.or_else(asked).and_then(|sizes| sizes.get("storage").map(|size| size.0.clone()));
    let mut nodes: Vec<String> =
        pods.iter().filter(|pod| mounts(pod)).filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    nodes.sort();
    nodes.dedup();
    VolumeStatus {
        claim: claim.name_any(),
        size: size.unwrap_or_default(),
        phase: status.phase.unwrap_or_else(|| "Pending".to_owned()),
        nodes,
        unserved: None,
    }
}

/// Whether a pod runs with the claim among its volumes: then its node has it mounted.
fn mounts(pod: &Pod) -> bool {
    let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    running
        && volumes.any(|volume| volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.claim_name == CLAIM))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
