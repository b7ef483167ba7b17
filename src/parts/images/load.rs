//! Onto the nodes: wait until a node's containerd answers, look at what it has, stream what is missing into all nodes at
//! once, look again. A node that dies meanwhile is started once more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, anyhow};
use futures_util::{StreamExt, future::try_join_all, stream};

use super::{
    Image, ImageSet, Role,
    stream::Throttle,
    transport::{self, DiskFull, Engine, Lab, Target},
};
use crate::{
    host::{
        Host,
        docker::{Docker, Exec},
        nodes,
    },
    labels,
    run::{StepCx, Stepped, advice, event::Amount, gate::Gate, wait::Look},
    spec::{LabName, LabSpec},
};

/// How long a node's container and its containerd may take to appear.
const APPEARS: Duration = Duration::from_secs(600);
/// How often a node that is not there yet is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// How often the whole is begun again when a node failed.
const ROUNDS: usize = 3;

/// Opens when the images of a wave are on every node that needs them: a pod that is made earlier would wait for a registry.
#[derive(Debug)]
pub struct Waves {
    /// What storage, discovery, database and agent run.
    pub data: Gate<()>,
    /// What the site and its autoscaler run.
    pub site: Gate<()>,
    /// What only watches.
    pub watch: Gate<()>,
}

impl Waves {
    /// Nothing is there yet.
    pub fn closed() -> Waves {
        Waves { data: Gate::closed(), site: Gate::closed(), watch: Gate::closed() }
    }
}

/// Makes sure that every image of the set is on every worker of the lab: nothing of the lab runs on its control plane. The
/// node image itself is what nodes are made of. Begins as soon as the workers' containerd answers, while `kind` still works
/// on the cluster, with what pods need first.
///
/// # Errors
/// [`DiskFull`]; a node does not appear, or its import fails three times.
pub async fn load(cx: StepCx, host: &Host, spec: &LabSpec, images: &ImageSet, waves: &Waves) -> Result<Stepped<()>> {
    let (images, nodes) = (of_nodes(images), nodes::worker_names(&spec.name, spec.cluster.workers));
    let detail = format!("{} images on {} nodes", images.len(), nodes.len());
    let lab = Lab { docker: &host.docker, labels: labels::of_lab(&spec.name) };
    let (watch, rest): (Vec<_>, Vec<_>) =
        images.into_iter().partition(|(role, _)| matches!(role, Role::Prometheus | Role::MysqldExporter));
    let (site, data): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|(role, _)| matches!(role, Role::Wordpress | Role::MetricsServer));
    let mut changed = false;
    for (wave, gate) in [(data, &waves.data), (site, &waves.site), (watch, &waves.watch)] {
        if !wave.is_empty() {
            changed |= into(&cx, &lab, &nodes, &wave).await?;
        }
        gate.open(());
    }
    Ok(Stepped::changed(changed, (), detail))
}

/// Makes sure that every image is on workers that come to a lab that stands; says whether one lacked any.
///
/// # Errors
/// As [`load`].
pub async fn onto(cx: &StepCx, docker: &Docker, lab: &LabName, nodes: &[String], images: &ImageSet) -> Result<bool> {
    into(cx, &Lab { docker, labels: labels::of_lab(lab) }, nodes, &of_nodes(images)).await
}

/// What each of a lab's workers lacks.
///
/// # Errors
/// A node does not run, or its containerd does not answer.
pub async fn on_workers(docker: &Docker, spec: &LabSpec, images: &ImageSet) -> Result<Vec<(String, Vec<Role>)>> {
    // Who asks has the nodes' names from `kind`: their labels were looked at there.
    let lab = Lab { docker, labels: BTreeMap::new() };
    let (wanted, nodes) = (of_nodes(images), nodes::worker_names(&spec.name, spec.cluster.workers));
    let looked = nodes.iter().map(|node| async {
        let target = Target { node: node.clone(), snapshotter: snapshotter(&lab, node).await? };
        let ready = ready(&lab, &target).await?;
        let missing = wanted.iter().filter(|(_, image)| !ready.contains(&image.reference));
        anyhow::Ok((node.clone(), missing.map(|(role, _)| *role).collect()))
    });
    try_join_all(looked).await
}

pub(super) fn of_nodes(images: &ImageSet) -> Vec<(Role, Image)> {
    images.0.iter().filter(|(role, _)| **role != Role::Node).map(|(role, image)| (*role, image.clone())).collect()
}

/// Brings these images onto these nodes; returns whether one lacked any.
pub(super) async fn into<E: Engine>(
    cx: &StepCx,
    engine: &E,
    nodes: &[String],
    wanted: &[(Role, Image)],
) -> Result<bool> {
    let restarted = Mutex::new(BTreeSet::new());
    let mut failed = Vec::new();
    let mut changed = BTreeSet::new();
    for round in 0..=ROUNDS {
        let looked = nodes.iter().map(|node| async {
            let target = answering(cx, engine, node, &restarted).await?;
            let ready = ready(engine, &target).await?;
            let missing = wanted.iter().map(|(_, image)| image).filter(|image| !ready.contains(&image.reference));
            anyhow::Ok((target, missing.map(|image| (image.reference.clone(), image.size)).collect::<Vec<_>>()))
        });
        // Nodes that lack the same share one stream.
        let mut lacking: BTreeMap<Vec<(String, u64)>, Vec<Target>> = BTreeMap::new();
        for (target, missing) in try_join_all(looked).await? {
            if !missing.is_empty() {
                lacking.entry(missing).or_default().push(target);
            }
        }
        if lacking.is_empty() {
            return Ok(!changed.is_empty());
        }
        if round == ROUNDS {
            break;
        }
        failed.clear();
        for (missing, targets) in &lacking {
            changed.extend(targets.iter().map(|t| t.node.clone()));
            for (node, result) in stream_to(cx, engine, missing, targets).await {
                match result {
                    Ok(()) => cx.task_done(&node, format!("{} images", missing.len())),
                    Err(error) if advice::find::<DiskFull>(&error).is_some() => return Err(error),
                    Err(error) => {
                        cx.task(&node, format!("{error:#}; trying again"), None);
                        failed.push(error);
                    }
                }
            }
        }
    }
    Err(failed.pop().unwrap_or_else(|| anyhow!("containerd says that images are there, and then that they are not")))
}

async fn stream_to<E: Engine>(
    cx: &StepCx,
    engine: &E,
    missing: &[(String, u64)],
    targets: &[Target],
) -> Vec<(String, Result<()>)> {
    let references: Vec<String> = missing.iter().map(|(reference, _)| reference.clone()).collect();
    let total: u64 = missing.iter().map(|(_, size)| size).sum();
    let throttles: Mutex<BTreeMap<String, Throttle>> = Mutex::default();
    let on_bytes = |node: &str, done: u64, whole: bool| {
        if whole {
            return cx.task(node, "unpacking", Some(Amount::Bytes { done: total, total: Some(total) }));
        }
        let mut throttles = throttles.lock().unwrap_or_else(PoisonError::into_inner);
        if throttles.entry(node.to_owned()).or_default().due() {
            // Layers that images share are sent once: the archive is never larger than their sum, save for its headers.
            cx.task(node, "loading", Some(Amount::Bytes { done: done.min(total), total: Some(total) }));
        }
    };
    transport::stream(engine, &references, targets, on_bytes).await
}

/// Waits until a node's containerd answers. A container of the lab that has stopped is started, once.
async fn answering<E: Engine>(
    cx: &StepCx,
    engine: &E,
    node: &str,
    restarted: &Mutex<BTreeSet<String>>,
) -> Result<Target> {
    let look = || async {
        match engine.running(node).await? {
            None => return Ok(Look::NotYet("its container is not there yet".to_owned())),
            Some(true) => {}
            Some(false) => {
                if restarted.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned()) {
                    engine.start(node).await?;
                    return Ok(Look::NotYet("its container had stopped and was started again".to_owned()));
                }
                return Ok(Look::NotYet("its container has stopped".to_owned()));
            }
        }
        // It may stop between two looks, so that no error of the engine ends the wait.
        Ok(match run(engine, node, &["ctr", "version"]).await {
            Ok(ended) if ended.code == 0 => Look::Ready(()),
            Ok(_) | Err(_) => Look::NotYet("its containerd does not answer yet".to_owned()),
        })
    };
    cx.until(&format!("node {node}"), APPEARS, EVERY, look).await?;
    Ok(Target { node: node.to_owned(), snapshotter: snapshotter(engine, node).await? })
}

/// The images that are on a node, whole and unpacked. Their names say which: a name changes with the image's id.
async fn ready<E: Engine>(engine: &E, target: &Target) -> Result<BTreeSet<String>> {
    let snapshotter = format!("--snapshotter={}", target.snapshotter);
    let command = ["ctr", "--namespace=k8s.io", "images", "check", "--quiet", &snapshotter, "name~=^docker.io/wplab/"];
    let ended = run(engine, &target.node, &command).await?;
    if ended.code != 0 {
        return Err(anyhow!("node {} does not tell which images it has: {}", target.node, ended.stderr.trim()));
    }
    Ok(ended.stdout.lines().map(|line| line.trim().to_owned()).collect())
}

async fn snapshotter<E: Engine>(engine: &E, node: &str) -> Result<String> {
    let dumped = run(engine, node, &["containerd", "config", "dump"]).await?;
    Ok(configured(&dumped.stdout).unwrap_or_else(|| "overlayfs".to_owned()))
}

async fn run<E: Engine>(engine: &E, node: &str, command: &[&str]) -> Result<Exec> {
    engine.exec(node, command, stream::empty().boxed()).await
}

/// The snapshotter that the kubelet's images use, out of containerd's configuration (of its versions 1 and 2).
fn configured(config: &str) -> Option<String> {
    let sections = ["plugins.'io.containerd.cri.v1.images'", "plugins.\"io.containerd.grpc.v1.cri\".containerd"];
    let mut section = "";
    config.lines().map(str::trim).find_map(|line| {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        }
        let (key, value) = line.split_once('=')?;
        let value = value.trim().trim_matches(['\'', '"']);
        (sections.contains(&section) && key.trim() == "snapshotter" && !value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
