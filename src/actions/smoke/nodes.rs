//! Checks of the nodes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::{ResourceExt, api::ListParams};

use crate::{
    actions::smoke::check::Check,
    cluster::{Cluster, Refused, ready},
    run::{advice::Hint, wait::Look},
    spec::LabSpec,
};

/// Every node that the lab file asks for is there and ready.
pub(super) fn checks<'a>(cluster: &'a Cluster, spec: &LabSpec) -> Vec<Check<'a>> {
    let wanted = 1 + usize::from(spec.cluster.workers);
    let lab = || cluster.lab.clone();
    let hint = [Hint::Status { lab: lab() }, Hint::Up { lab: lab() }];
    let sentence = format!("all {wanted} nodes are ready");
    vec![Check::new("nodes", "nodes", sentence, Duration::from_secs(60), hint, move || look(cluster, wanted))]
}

async fn look(cluster: &Cluster, wanted: usize) -> Result<String> {
    let nodes = cluster
        .all::<Node>()
        .list(&ListParams::default())
        .await
        .map_err(Refused)
        .context("cannot list the nodes")?
        .items;
    judge(&nodes, wanted)
}

fn judge(nodes: &[Node], wanted: usize) -> Result<String> {
    let unready = nodes.iter().filter_map(|node| match ready::node(Some(node)) {
        Look::Ready(()) => None,
        Look::NotYet(reason) => Some(format!("{}: {reason}", node.name_any())),
    });
    let unready: Vec<String> = unready.collect();
    ensure!(unready.is_empty(), "{}", unready.join("; "));
    ensure!(nodes.len() >= wanted, "{} of {wanted} nodes have joined", nodes.len());
    let version = nodes.iter().find_map(|n| Some(n.status.as_ref()?.node_info.as_ref()?.kubelet_version.clone()));
    Ok(version.map_or_else(String::new, |version| format!("Kubernetes {version}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, ready: &str) -> Node {
        let status = json!({ "conditions": [{ "type": "Ready", "status": ready, "message": "no network" }], "nodeInfo": {
            "kubeletVersion": "v1.36.3", "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
            "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "" } });
        serde_json::from_value(json!({ "metadata": { "name": name }, "status": status })).expect("a node")
    }

    #[test]
    fn all_must_be_there_and_ready() {
        let (one, two, bad) = (node("a", "True"), node("b", "True"), node("c", "False"));
        assert_eq!(judge(&[one.clone(), two.clone()], 2).expect("ready"), "Kubernetes v1.36.3");
        assert_eq!(judge(std::slice::from_ref(&one), 2).expect_err("too few").to_string(), "1 of 2 nodes have joined");
        assert_eq!(judge(&[one, bad], 2).expect_err("not ready").to_string(), "c: no network");
    }
}
