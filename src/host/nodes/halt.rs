//! Stopping a lab's nodes so that nothing has to be recovered, and starting them again under their old addresses.
//!
//! An engine that stops a node waits ten seconds for its init, which waits for containers that nobody has told to end, and
//! then kills everything, databases included. Here each server is asked to end while those that it needs still run; what is
//! killed after that has nothing to lose.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;

use crate::{
    host::{
        docker::{Container, Docker},
        nodes::{create::network, there::control_plane_first},
    },
    labels::NAMESPACE,
    run::StepCx,
    spec::LabName,
};

/// Where kind's entrypoint writes down the address that a node had when it started.
pub(super) const ADDRESS: &str = "/kind/old-ipv4";
/// How long a server may take to end by itself; a member's own limit is shorter.
const PATIENCE: Duration = Duration::from_secs(50);
/// Where a unit's additions are, and the name of ours.
pub(super) const ADDITIONS: &str = "/etc/systemd/system";
const WAITS: &str = "kubelet.service.d/90-wplab-start.conf";

/// Who is asked to end, in this order, by their containers in the lab's namespace: visitors first, so that nobody writes any
/// more; the agent gives its lease back while there is somebody to give it to; members while their registry still answers.
/// etcd is not asked, which takes it seven seconds as long as anybody watches it: what it has acknowledged is on the disk.
/// Neither is the file server: its clients are gone, and what it has acknowledged is the kernel's.
const ORDER: [(&str, &str); 2] = [("the site", "^(wordpress|agent)$"), ("the database", "^mysql$")];

/// Stops all of these nodes that run.
///
/// # Errors
/// The engine does not answer or cannot stop one. A server that does not end by itself is told as a warning.
pub async fn halt(cx: &StepCx, docker: &Docker, lab: &LabName, nodes: &[Container]) -> Result<usize> {
    let run: Vec<&Container> = nodes.iter().filter(|node| node.running || node.paused).collect();
    // Nobody starts again what ends now.
    in_all(cx, docker, &run, "systemctl stop kubelet").await?;
    for (what, containers) in ORDER {
        cx.say(format!("stopping {what}"));
        in_all(cx, docker, &run, &ending(containers)).await?;
    }
    cx.say("stopping the nodes");
    try_join_all(run.iter().map(|node| docker.kill(&node.name))).await?;
    fix_addresses(cx, docker, lab, &run).await?;
    Ok(run.len())
}

/// The shell's words for asking these containers to end and waiting until they have. Only containerd's own client is in
/// every node image.
fn ending(containers: &str) -> String {
    let filter = format!(
        "labels.\"io.kubernetes.pod.namespace\"=={NAMESPACE},labels.\"io.kubernetes.container.name\"~={containers}"
    );
    let turns = 10 * PATIENCE.as_secs();
    format!(
        r#"ids=" $(ctr -n k8s.io containers ls -q '{filter}' | tr '\n' ' ')"
pids=$(ctr -n k8s.io tasks ls | while read id pid state; do
    case "$ids" in *" $id "*) [ "$state" = RUNNING ] && echo "$pid" ;; esac
done)
[ -z "$pids" ] || kill -TERM $pids
n=0
for pid in $pids; do
    while [ -d "/proc/$pid" ]; do
        [ $n -lt {turns} ] || {{ echo "process $pid goes on" >&2; exit 1; }}
        sleep 0.1; n=$((n + 1))
    done
done"#
    )
}

/// Runs words of the shell in all nodes side by side.
async fn in_all(cx: &StepCx, docker: &Docker, nodes: &[&Container], words: &str) -> Result<()> {
    let ran = try_join_all(nodes.iter().map(async |node| {
        let ended = docker.exec(&node.name, &["sh", "-c", words]).await?;
        anyhow::Ok((&node.name, ended))
    }));
    for (node, ended) in ran.await? {
        if ended.code != 0 {
            cx.warn(format!("not everything on {node} ended by itself: {}", ended.stderr.trim()));
        }
    }
    Ok(())
}

/// Starts stopped nodes, the control plane first: the others look for it when they boot. One that does not start is told of
/// and left to whoever looks next.
pub(crate) async fn start(cx: &StepCx, docker: &Docker, lab: &LabName, stopped: &[&Container]) {
    if let Err(error) = fix_addresses(cx, docker, lab, stopped).await {
        cx.say(format!("nodes may get other addresses: {error:#}"));
    }
    let (first, rest) = control_plane_first(stopped.iter().copied());
    let begin = async |node: &Container| {
        cx.say(format!("starting {}, which was stopped", node.name));
        // A node that died while it was being made may never start again; whether that matters is decided by the rest.
        if let Err(error) = docker.start(&node.name).await {
            cx.say(format!("{} does not start: {error:#}", node.name));
        }
    };
    for node in first {
        begin(node).await;
    }
    futures_util::future::join_all(rest.into_iter().map(async |node| {
        if let Err(error) = docker.write_file(&node.name, ADDITIONS, WAITS, &waits_for_the_api(lab)).await {
            cx.say(format!("{} starts without waiting for the control plane: {error:#}", node.name));
        }
        begin(node).await;
    }))
    .await;
}

/// A kubelet that finds no API server comes back later and later; one that is started when there is one finds its pods at
/// once. After the limit it starts all the same.
fn waits_for_the_api(lab: &LabName) -> String {
    format!(
        "[Service]\nTimeoutStartSec=180\nExecStartPre=-/bin/sh -c 'n=0; until curl -ksf -m 2 -o /dev/null \
         https://{lab}-control-plane:6443/readyz || [ $n -ge 400 ]; do n=$((n+1)); sleep 0.2; done'\n"
    )
    .replace('$', "$$")
}

/// Gives each of these stopped nodes for ever the address that it had: certificates, peers and half of the in-cluster
/// clients know the control plane by its own.
async fn fix_addresses(cx: &StepCx, docker: &Docker, lab: &LabName, stopped: &[&Container]) -> Result<()> {
    let network = network(lab);
    let mut lacking = Vec::new();
    for node in stopped {
        if docker.fixed_address(&node.name, &network).await?.is_some() {
            continue;
        }
        // A node that never came so far has no address to keep.
        let had = docker.read_file(&node.name, ADDRESS).await.context("cannot read which address it had")?;
        lacking.extend(had.map(|address| (&node.name, address.trim().to_owned())).filter(|(_, a)| !a.is_empty()));
    }
    for (node, address) in lacking {
        if let Err(error) = docker.fix_address(node, &network, &address).await {
            // Made by a version that did not name the network's subnet.
            cx.say(format!("{node} may get another address: {error:#}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_units_addition_says_is_the_shells_after_systemd_has_read_it() {
        let lab = LabName::new("zoo").expect("a name");
        let text = waits_for_the_api(&lab);
        assert!(text.contains("https://zoo-control-plane:6443/readyz"), "{text}");
        assert!(text.contains("$$n") && !text.replace("$$", "").contains('$'), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
