//! What there is of labs on this machine, told by labels alone: listing them, and removing one however little is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    host::{
        docker::{Container, Docker},
        lock::{self, LabLock},
        nodes::{
            create::{image_of, network},
            freeze, roots, rules,
            there::{self, NotOurs},
        },
    },
    labels,
    spec::LabName,
};

/// A lab on this machine, as far as its node containers tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LabOnHost {
    /// Its name.
    pub name: String,
    /// Node containers that run.
    pub running: usize,
    /// Node containers that are frozen.
    pub paused: usize,
    /// Node containers in all.
    pub nodes: usize,
    /// The frontend's port on 127.0.0.1; unknown while the control plane is stopped.
    pub port: Option<u16>,
}

/// What a lab does, as far as its node containers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doing {
    /// Nodes run, though perhaps not all.
    Running,
    /// Nodes are frozen.
    Paused,
    /// No node runs.
    Stopped,
}

impl Doing {
    /// As it is told and as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Running => "running",
            Doing::Paused => "paused",
            Doing::Stopped => "stopped",
        }
    }
}

impl LabOnHost {
    /// What it does.
    pub fn doing(&self) -> Doing {
        match (self.paused, self.running) {
            (0, 0) => Doing::Stopped,
            (0, _) => Doing::Running,
            _ => Doing::Paused,
        }
    }

    /// Where its site answers on this machine; unknown while the control plane is stopped.
    pub fn url(&self) -> Option<String> {
        self.port.map(|port| format!("http://127.0.0.1:{port}"))
    }
}

/// What [`remove`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Removed {
    /// Node containers with their volumes.
    pub containers: Vec<String>,
    /// Docker networks.
    pub networks: Vec<String>,
    /// Images derived for this lab (not the images that labs share).
    pub images: Vec<String>,
    /// The lab's folder, when there was more in it than our own lock.
    pub folder: Option<PathBuf>,
    /// The clones of a golden root ([`roots`]), which the nodes had as /var.
    pub roots: bool,
    /// The packet filter rules of [`rules`], which go with the last lab.
    pub rules: bool,
}

impl Removed {
    /// Nothing was there.
    pub fn is_empty(&self) -> bool {
        let Removed { containers, networks, images, folder, roots, rules: _ } = self;
        !roots && containers.is_empty() && networks.is_empty() && images.is_empty() && folder.is_none()
    }
}

/// All labs on this machine, by name.
///
/// # Errors
/// The engine does not answer.
pub async fn labs(docker: &Docker) -> Result<Vec<LabOnHost>> {
    Ok(by_name(&docker.containers(&labels::ours()).await.context("cannot list the labs' containers")?))
}

fn by_name(containers: &[Container]) -> Vec<LabOnHost> {
    let mut labs = BTreeMap::new();
    for container in containers.iter().filter(|c| c.labels.contains_key(there::CLUSTER_LABEL)) {
        let Some(name) = container.labels.get(labels::LAB) else { continue };
        let empty = LabOnHost { name: name.clone(), running: 0, paused: 0, nodes: 0, port: None };
        let lab = labs.entry(name.clone()).or_insert(empty);
        lab.nodes += 1;
        lab.running += usize::from(container.running);
        lab.paused += usize::from(container.paused);
        lab.port = lab.port.or(there::frontend_port(container));
    }
    labs.into_values().collect()
}

/// Removes everything of the locked lab from this machine: containers, network, derived images, folder; and, with the
/// last lab, the packet filter rules. Needs neither `kind` nor a cluster that answers; what is gone already is no error.
///
/// # Errors
/// [`NotOurs`] when there is nothing of ours but a cluster of that name; or the engine refuses something.
pub async fn remove(docker: &Docker, lock: &LabLock) -> Result<Removed> {
    let lab = lock.lab();
    let mine = labels::of_lab(lab);
    let mut removed = Removed::default();
    let there = docker.containers(&mine).await.context("cannot list the lab's containers")?;
    // An engine waits long, node by node, for what is frozen to die.
    freeze::thaw(docker, &there).await?;
    removed.roots = there.iter().any(roots::is_holder);
    for container in there.into_iter().filter(|container| !roots::is_holder(container)) {
        docker.remove_container(&container.name).await.with_context(|| format!("cannot remove {}", container.name))?;
        removed.containers.push(container.name);
    }
    if removed.roots {
        roots::remove(docker, lab).await.context("cannot remove the clones of golden roots")?;
    }
    // The stores of backups are no lab's, and no network goes while somebody is in it.
    for store in docker.containers(&labels::of_stores()).await.context("cannot list the stores of backups")? {
        docker.leave(&store.name, &network(lab)).await?;
    }
    removed.networks = docker.remove_networks(&mine).await.context("cannot remove the lab's network")?;
    removed.images = remove_images(docker, lab).await?;
    removed.folder = lock::remove_folder(&lock::folder(lab), lock::Only::Whatever)?;
    if removed.is_empty() {
        NotOurs::check(lab, &there::containers(docker, lab).await?)?;
    }
    if labs(docker).await?.is_empty() {
        // Not being root, or without iptables, there are no rules of ours either.
        removed.rules = rules::remove().await.unwrap_or(false);
    }
    Ok(removed)
}

/// Removes a lab's nodes and their clones, and what says that it is there; from now on, and until [`there::finished`], what there is
/// of it was never finished. Its lock is the caller's.
///
/// # Errors
/// The engine cannot remove one, or the lab's folder cannot be written to.
pub async fn begin_anew(docker: &Docker, lab: &LabName) -> Result<()> {
    there::begun(lab)?;
    let _ = std::fs::remove_file(there::kubeconfig_path(lab));
    let there = there::ours(docker, lab).await?;
    // An engine waits long for what is frozen to die.
    freeze::thaw(docker, &there).await?;
    for node in there {
        docker.remove_container(&node.name).await.with_context(|| format!("cannot remove {}", node.name))?;
    }
    roots::remove(docker, lab).await.context("cannot remove the clones of golden roots")
}

/// Removes the images that were derived for this lab, and the names under which it has those of a snapshot.
async fn remove_images(docker: &Docker, lab: &LabName) -> Result<Vec<String>> {
    let mut names = BTreeSet::new();
    for (id, tags) in docker.images_labelled(&labels::of_lab(lab)).await.context("cannot list the lab's images")? {
        names.extend(if tags.is_empty() { vec![id] } else { tags });
    }
    for (_, tags) in docker.images_labelled(&labels::ours()).await.context("cannot list our images")? {
        names.extend(tags.into_iter().filter(|name| name.starts_with(&image_of(lab, ""))));
    }
    let mut removed = Vec::new();
    for name in names {
        if docker.remove_image(&name).await.with_context(|| format!("cannot remove the image {name}"))? {
            removed.push(name);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, lab: &str, running: bool, ports: &[(u16, u16)]) -> Container {
        let mut marks = labels::of_lab(&LabName::new(lab).expect("a name"));
        marks.insert(there::CLUSTER_LABEL.to_owned(), lab.to_owned());
        let name = name.to_owned();
        Container { name, running, paused: false, image: String::new(), labels: marks, ports: ports.to_vec() }
    }

    #[test]
    fn labs_are_told_apart_by_their_labels() {
        let mut passer_by = container("x", "zoo", true, &[]);
        passer_by.labels.remove(there::CLUSTER_LABEL);
        let there = [
            container("b-worker", "b", false, &[]),
            container("a-control-plane", "a", true, &[(6443, 40001), (there::NODE_PORT, 8080)]),
            container("a-worker", "a", false, &[]),
            passer_by,
        ];
        let a = LabOnHost { name: "a".into(), running: 1, paused: 0, nodes: 2, port: Some(8080) };
        let b = LabOnHost { name: "b".into(), running: 0, paused: 0, nodes: 1, port: None };
        assert_eq!((a.doing(), b.doing()), (Doing::Running, Doing::Stopped));
        // A lab of which one node is frozen does not work, whatever the others do.
        assert_eq!(LabOnHost { paused: 1, ..a.clone() }.doing(), Doing::Paused);
        assert_eq!(by_name(&there), [a, b]);
    }
}
