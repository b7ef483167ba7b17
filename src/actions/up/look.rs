//! One look at a cluster through its API, for the room that keeps or makes its nodes and does not know Kubernetes.

use std::path::PathBuf;

use anyhow::Result;
use k8s_openapi::api::{core::v1::Node, storage::v1::StorageClass};
use kube::{ResourceExt, api::ListParams};

use crate::{
    cluster::{Cluster, Refused},
    host::nodes::{self, ClusterLook},
    parts::volumes::CLASS,
    spec::LabSpec,
};

/// Whether all nodes of the lab file are there, and what kind installs last.
pub(super) async fn look(spec: &LabSpec, kubeconfig: PathBuf) -> ClusterLook {
    seen(spec, kubeconfig).await.unwrap_or_else(|error| ClusterLook::Silent(format!("{error:#}")))
}

async fn seen(spec: &LabSpec, kubeconfig: PathBuf) -> Result<ClusterLook> {
    let cluster = Cluster::connect(&kubeconfig, &spec.name).await?;
    let nodes = cluster.all::<Node>().list(&ListParams::default()).await.map_err(Refused)?;
    let classes = cluster.all::<StorageClass>().list(&ListParams::default()).await.map_err(Refused)?;
    let mut lacking = nodes::node_names(&cluster.inside, spec.cluster.workers);
    lacking.retain(|name| !nodes.items.iter().any(|n| n.name_any() == *name));
    if !classes.items.iter().any(|c| c.name_any() == CLASS) {
        lacking.push(format!("StorageClass {CLASS}"));
    }
    if lacking.is_empty() {
        return Ok(ClusterLook::Whole);
    }
    let lacking = format!("{} missing", lacking.join(", "));
    let used = cluster.has_namespace().await?;
    Ok(if used { ClusterLook::InUse(lacking) } else { ClusterLook::Unfinished(lacking) })
}
