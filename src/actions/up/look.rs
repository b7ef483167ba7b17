//! One look at a cluster through its API, for the room that keeps or makes its nodes and does not know Kubernetes.

use std::path::PathBuf;

use anyhow::Result;
use k8s_openapi::api::{core::v1::Node, storage::v1::StorageClass};
use kube::{ResourceExt, api::ListParams};

use crate::{
    cluster::{Cluster, Refused},
    host::nodes::{self, ClusterLook},
    spec::{LabSpec, VolumeClass},
};

/// Whether all nodes of the lab file are there, and what kind installs last.
pub(super) async fn look(spec: &LabSpec, kubeconfig: PathBuf) -> ClusterLook {
    seen(spec, kubeconfig).await.unwrap_or_else(|error| ClusterLook::Silent(format!("{error:#}")))
}

async fn seen(spec: &LabSpec, kubeconfig: PathBuf) -> Result<ClusterLook> {
    let cluster = Cluster::connect(&kubeconfig, &spec.name).await?;
    let nodes = cluster.all::<Node>().list(&ListParams::default()).await.map_err(Refused)?;
    let classes = cluster.all::<StorageClass>().list(&ListParams::default()).await.map_err(Refused)?;
    let wanted = nodes::node_names(&cluster.inside, spec.cluster.workers);
    let mut lacking = wanted.clone();
    lacking.retain(|name| !nodes.items.iter().any(|n| n.name_any() == *name));
    if !classes.items.iter().any(|c| c.name_any() == VolumeClass::OF_KIND) {
        lacking.push(format!("StorageClass {}", VolumeClass::OF_KIND));
    }
    if lacking.is_empty() {
        return Ok(ClusterLook::Whole);
    }
    let used = cluster.has_namespace().await?;
    Ok(judge(&wanted, &lacking, used))
}

/// What it means that a cluster lacks some of what is wanted; `used` says that a lab is in it.
fn judge(wanted: &[String], lacking: &[String], used: bool) -> ClusterLook {
    let missing = format!("{} missing", lacking.join(", "));
    let has = wanted.len() - lacking.len().min(wanted.len());
    match u8::try_from(has.saturating_sub(1)) {
        _ if !used => ClusterLook::Unfinished(missing),
        // They were never added, or have left.
        Ok(workers) if workers > 0 && wanted[has..] == *lacking => ClusterLook::Fewer(workers),
        _ => ClusterLook::InUse(missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::LabName;

    #[test]
    fn a_lab_that_lacks_its_last_workers_has_fewer_and_one_that_lacks_others_is_damaged() {
        let wanted = nodes::node_names(&LabName::new("zoo").expect("a name"), 4);
        let judge = |lacking: &[&str], used| {
            judge(&wanted, &lacking.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), used)
        };
        assert_eq!(judge(&["zoo-worker4"], true), ClusterLook::Fewer(3));
        assert_eq!(judge(&["zoo-worker3", "zoo-worker4"], true), ClusterLook::Fewer(2));
        assert_eq!(judge(&["zoo-worker3"], true), ClusterLook::InUse("zoo-worker3 missing".to_owned()));
        assert!(matches!(judge(&["zoo-worker4", "StorageClass standard"], true), ClusterLook::InUse(_)));
        assert!(matches!(judge(&["zoo-worker4"], false), ClusterLook::Unfinished(_)));
    }
}
