//! Saves what a person would look at when a lab misbehaves: the cluster's own story, and each node's journals.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use futures_util::future::join_all;

use crate::{
    cluster::{self, Cluster},
    host::{docker::Docker, folders, nodes},
    parts::database::{self, Member},
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

/// How long one command on a node, or the members together, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Saves diagnostics of a lab into `folder`, or into a new one below the lab's own; `None` when there is no lab.
///
/// What cannot be asked any more is left out and noted in `missing.txt`.
///
/// # Errors
/// The folder cannot be written.
pub async fn save(docker: &Docker, lab: &LabName, folder: Option<PathBuf>) -> Result<Option<Saved>> {
    let nodes = nodes::ours(docker, lab).await.unwrap_or_default();
    if nodes.is_empty() {
        return Ok(None);
    }
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let folder = folder.unwrap_or_else(|| folders::data_home().join(lab.as_str()).join("diagnostics").join(stamp));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    let mut missing = Vec::new();

    let asked = [
        ("kubelet.log", "journalctl --no-pager -u kubelet"),
        ("containerd.log", "journalctl --no-pager -u containerd"),
        ("versions.txt", "cat /kind/version; containerd --version; uname -a; df -h /var; free -m"),
        ("images.txt", "ctr -n k8s.io images ls"),
    ];
    let journals = join_all(nodes.iter().flat_map(|node| asked.iter().map(move |ask| (node, ask))).map(
        |(node, (file, command))| async move {
            let shell = ["sh", "-c", command];
            let answer = answered(docker.exec(&node.name, &shell)).await;
            (format!("{}-{file}", node.name), answer.map(|exec| exec.stdout + &exec.stderr))
        },
    ))
    .await;
    for (file, answer) in journals {
        match answer {
            Ok(text) => write(&file, &text)?,
            Err(error) => missing.push(format!("{file}: {error:#}")),
        }
    }
    for node in nodes.iter().filter(|n| !n.running) {
        missing.push(format!("node {} is not running", node.name));
    }

    let mut cause = nodes.iter().find(|n| !n.running).map(|n| format!("the node container {} is not running", n.name));
    match Cluster::connect(&nodes::kubeconfig_path(lab), lab).await {
        Ok(cluster) => {
            match answered(database::members(&cluster)).await {
                Ok(members) => {
                    let json = serde_json::to_string_pretty(&members).context("the members do not become JSON")?;
                    write("members.json", &json)?;
                    // What waits for a person explains what else is broken.
                    cause = cause.or_else(|| members.iter().find_map(Member::undecided));
                }
                Err(error) => missing.push(format!("members.json: {error:#}")),
            }
            let story = cluster::diagnose::save(&cluster, &folder).await?;
            missing.extend(story.missing);
            cause = cause.or(story.cause);
        }
        Err(error) => missing.push(format!("the cluster: {error:#}")),
    }
    write("cause.txt", cause.as_deref().unwrap_or("No likely cause was found."))?;
    if !missing.is_empty() {
        write("missing.txt", &missing.join("\n"))?;
    }
    Ok(Some(Saved { folder, cause }))
}

async fn answered<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    answer.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
}
