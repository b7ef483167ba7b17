//! What there is of one lab's nodes: their names, their containers, what was left of a creation, and whose they are.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    host::{
        docker::{Container, Docker},
        lock,
    },
    labels,
    run::{
        StepCx,
        advice::{Advise, Blame, Hint, Trouble},
    },
    spec::LabName,
};

/// The port of every node on which the frontend's Service listens; the control plane's is mapped to 127.0.0.1.
pub const NODE_PORT: u16 = 30080;
/// kind's own label on node containers; its value is the cluster's name.
pub const CLUSTER_LABEL: &str = "io.x-k8s.kind.cluster";

/// The `kind` executable.
#[derive(Clone, Debug, Serialize)]
pub struct Kind {
    /// Where it is.
    pub path: PathBuf,
    /// Its version, as `0.33.0`.
    pub version: String,
}

/// A cluster that is there.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// The lab's own kubeconfig file.
    pub kubeconfig: PathBuf,
    /// All node containers, control plane first.
    pub all: Vec<String>,
    /// The frontend's port on 127.0.0.1.
    pub port: u16,
}

/// The way to the API server of a cluster, which need not be finished.
#[derive(Clone, Debug)]
pub struct Access {
    /// A kubeconfig's text, for this machine.
    pub kubeconfig: String,
    /// The frontend's port on 127.0.0.1.
    pub port: u16,
}

/// A kind cluster of this name exists and carries no labels of ours: it is never touched.
#[derive(Clone, Debug)]
pub struct NotOurs {
    /// The name.
    pub lab: LabName,
    /// The containers without our labels.
    pub containers: Vec<String>,
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lab, containers) = (&self.lab, self.containers.join(", "));
        write!(f, "the kind cluster {lab} was not made by wplab and is left alone ({containers})")
    }
}

impl Advise for NotOurs {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::OtherName]
    }
}

impl NotOurs {
    /// All of these containers of the cluster `lab` are ours.
    pub(crate) fn check(lab: &LabName, containers: &[Container]) -> Result<(), Trouble> {
        let mine = labels::of_lab(lab);
        let foreign = |c: &&Container| !mine.iter().all(|(name, value)| c.labels.get(name) == Some(value));
        let containers: Vec<String> = containers.iter().filter(foreign).map(|c| c.name.clone()).collect();
        if containers.is_empty() { Ok(()) } else { Err(NotOurs { lab: lab.clone(), containers }.into()) }
    }
}

/// The names of a lab's nodes as kind gives them, control plane first.
pub fn node_names(lab: &LabName, workers: u8) -> Vec<String> {
    let worker = |i: u8| if i == 1 { format!("{lab}-worker") } else { format!("{lab}-worker{i}") };
    std::iter::once(format!("{lab}-control-plane")).chain((1..=workers).map(worker)).collect()
}

/// The names of a lab's workers, which run its pods.
pub fn worker_names(lab: &LabName, workers: u8) -> Vec<String> {
    node_names(lab, workers).split_off(1)
}

/// The name of a node inside a cluster that is called so there, by that of its container.
pub fn inside_name(container: &str, lab: &LabName, inside: &LabName) -> String {
    container.strip_prefix(lab.as_str()).map_or_else(|| container.to_owned(), |rest| format!("{inside}{rest}"))
}

/// Where a lab's kubeconfig is.
pub fn kubeconfig_path(lab: &LabName) -> PathBuf {
    lock::folder(lab).join("kubeconfig")
}

/// Writes a lab's kubeconfig, whole or not at all.
pub(crate) fn write_kubeconfig(path: &Path, kubeconfig: &str) -> Result<()> {
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.create(true).truncate(true).write(true), 0o600);
    let written = options.open(&temporary).and_then(|mut file| file.write_all(kubeconfig.as_bytes()));
    written.and_then(|()| std::fs::rename(&temporary, path)).with_context(|| format!("cannot write {}", path.display()))
}

/// A file that is there from before `kind` makes a lab's nodes until it has made them: what is found beside it was never
/// finished, and nobody has used it, whatever is in it already.
pub(crate) fn unfinished_mark(lab: &LabName) -> PathBuf {
    lock::folder(lab).join("being-made")
}

/// A cluster is begun; until [`finished`] it was never finished.
///
/// # Errors
/// The lab's folder cannot be written to.
pub(crate) fn begun(lab: &LabName) -> Result<()> {
    let mark = unfinished_mark(lab);
    std::fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))
}

/// A cluster that was begun is whole.
///
/// # Errors
/// The lab's folder cannot be written to.
pub fn finished(lab: &LabName) -> Result<()> {
    let mark = unfinished_mark(lab);
    std::fs::remove_file(&mark).with_context(|| format!("cannot remove {}", mark.display()))
}

/// The port of 127.0.0.1 that a control plane's container maps to the frontend; nothing while it is stopped.
pub fn frontend_port(container: &Container) -> Option<u16> {
    container.ports.iter().find(|(inside, _)| *inside == NODE_PORT).map(|(_, outside)| *outside)
}

/// All containers of the kind cluster with this name, ours or not.
pub(crate) async fn containers(docker: &Docker, lab: &LabName) -> Result<Vec<Container>> {
    let label = BTreeMap::from([(CLUSTER_LABEL.to_owned(), lab.to_string())]);
    docker.containers(&label).await.with_context(|| format!("cannot list the containers of the cluster {lab}"))
}

/// The node containers of a lab, and of nobody else; who holds its clones is none.
///
/// # Errors
/// The Docker engine does not answer.
pub async fn ours(docker: &Docker, lab: &LabName) -> Result<Vec<Container>> {
    let mut marks = labels::of_lab(lab);
    marks.insert(CLUSTER_LABEL.to_owned(), lab.to_string());
    docker.containers(&marks).await
}

/// The control plane of these nodes, and the others.
pub fn control_plane_first<'a>(
    nodes: impl IntoIterator<Item = &'a Container>,
) -> (Vec<&'a Container>, Vec<&'a Container>) {
    nodes.into_iter().partition(|node| node.name.ends_with("-control-plane"))
}

/// Removes what an interrupted creation left.
pub(crate) async fn remove_leftovers(cx: &StepCx, docker: &Docker, left: &[Container]) -> Result<()> {
    for container in left {
        cx.say(format!("removing {}, left by an interrupted creation", container.name));
        docker.remove_container(&container.name).await.with_context(|| format!("cannot remove {}", container.name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> LabName {
        LabName::new("zoo").expect("a name")
    }

    #[test]
    fn names_are_those_that_kind_gives() {
        assert_eq!(node_names(&lab(), 3), ["zoo-control-plane", "zoo-worker", "zoo-worker2", "zoo-worker3"]);
        assert_eq!(node_names(&lab(), 0), ["zoo-control-plane"]);
        let ark = LabName::new("ark").expect("a name");
        assert_eq!(inside_name("zoo-worker2", &lab(), &ark), "ark-worker2");
    }

    #[test]
    fn a_cluster_without_our_labels_is_not_ours() {
        let container = |labels| Container {
            name: "zoo-control-plane".into(),
            running: true,
            paused: false,
            image: String::new(),
            labels,
            ports: Vec::new(),
        };
        assert!(NotOurs::check(&lab(), &[container(labels::of_lab(&lab()))]).is_ok());
        let other = LabName::new("ark").expect("a name");
        for foreign in [BTreeMap::new(), labels::of_lab(&other)] {
            let error = NotOurs::check(&lab(), &[container(foreign)]).expect_err("not ours");
            assert_eq!(error.is_a::<NotOurs>().expect("typed").containers, ["zoo-control-plane"]);
        }
    }
}
