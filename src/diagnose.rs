//! Saves what a person would look at when a lab misbehaves: the cluster's own story, and each node's journals.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use futures_util::future::join_all;

use crate::{
    cluster::{self, Cluster},
    host::{docker::Docker, kind, process},
    labels,
    spec::LabName,
};

/// Diagnostics that were saved.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Saved {
    /// The folder.
    pub folder: PathBuf,
    /// The likely cause in one sentence, if one was seen.
    pub cause: Option<String>,
}

/// How long the cluster may take to tell its story; a broken one may not answer at all.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(60);
/// How long one command on a node may take.
const NODE_PATIENCE: Duration = Duration::from_secs(20);

/// Saves diagnostics of a lab into `folder`, or into a new one below the lab's own; `None` when there is no lab.
///
/// What cannot be asked any more is left out and noted in `missing.txt`.
///
/// # Errors
/// The folder cannot be written.
pub async fn save(docker: &Docker, lab: &LabName, folder: Option<PathBuf>) -> Result<Option<Saved>> {
    let nodes = docker.containers(&labels::of_lab(lab)).await.unwrap_or_default();
    if nodes.is_empty() {
        return Ok(None);
    }
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let folder = folder.unwrap_or_else(|| process::data_home().join(lab.as_str()).join("diagnostics").join(stamp));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut missing = Vec::new();

    let asked = [
        ("kubelet.log", "journalctl --no-pager -u kubelet"),
        ("containerd.log", "journalctl --no-pager -u containerd"),
        ("versions.txt", "cat /kind/version; containerd --version; uname -a; df -h /var; free -m"),
        ("images.txt", "ctr -n k8s.io images ls"),
    ];
    let stories = join_all(nodes.iter().flat_map(|node| asked.iter().map(move |ask| (node, ask))).map(
        |(node, (file, command))| async move {
            let shell = ["sh", "-c", command];
            let told = match tokio::time::timeout(NODE_PATIENCE, docker.exec(&node.name, &shell)).await {
                Ok(Ok(exec)) => Ok(exec.stdout + &exec.stderr),
                Ok(Err(error)) => Err(format!("{error:#}")),
                Err(_) => Err(format!("no answer within {} s", NODE_PATIENCE.as_secs())),
            };
            (format!("{}-{file}", node.name), told)
        },
    ))
    .await;
    for (file, told) in stories {
        match told {
            Ok(text) => std::fs::write(folder.join(&file), text).with_context(|| format!("cannot write {file}"))?,
            Err(reason) => missing.push(format!("{file}: {reason}")),
        }
    }
    for node in nodes.iter().filter(|n| !n.running) {
        missing.push(format!("node {} is not running", node.name));
    }

    let mut cause = nodes.iter().find(|n| !n.running).map(|n| format!("the node container {} is not running", n.name));
    let story = async {
        let cluster = Cluster::connect(&kind::kubeconfig_path(lab), lab).await?;
        cluster::diagnose::save(&cluster, &folder).await
    };
    match tokio::time::timeout(CLUSTER_PATIENCE, story).await {
        Ok(Ok(seen)) => cause = cause.or(seen),
        Ok(Err(error)) => missing.push(format!("the cluster: {error:#}")),
        Err(_) => missing.push(format!("the cluster: no answer within {} s", CLUSTER_PATIENCE.as_secs())),
    }
    if !missing.is_empty() {
        std::fs::write(folder.join("missing.txt"), missing.join("\n") + "\n").context("cannot write missing.txt")?;
    }
    Ok(Some(Saved { folder, cause }))
}
