//! The volumes of a new lab: folders on its own nodes, bound in advance to the claims that will be made. Provisioned one by
//! one they cost a helper pod each, and every member a wait for the whole way from scheduler to provisioner and back.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kube::{ResourceExt, api::ListParams, core::DynamicObject};
use serde_json::json;

use super::{database, discovery, workers::held};
use crate::{
    cluster::{Cluster, Refused, manifests::untyped},
    host::{docker::Docker, nodes},
    labels::{COMPONENT, Component, NAMESPACE},
    run::{StepCx, wait::Look},
    spec::{LabSpec, Topology, VolumeClass},
};

/// Where the folders are on a node.
const FOLDER: &str = "/var/lib/wplab/volumes";
/// How long kind may take from the API server to its StorageClass; it is the next thing that it makes.
const CLASS_LIMIT: Duration = Duration::from_mins(2);

/// A claim that a StatefulSet will make, and where its volume shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Volume {
    claim: String,
    component: Component,
    size: String,
    /// Which worker, counted from 0.
    worker: usize,
}

/// One volume for each member, each on a worker of its own. The export is not beside the database's first member, which takes
/// writes, and not on a worker that may leave the lab one day: there are never fewer than two.
fn volumes(spec: &LabSpec) -> Vec<Volume> {
    let workers = usize::from(spec.cluster.workers);
    let on = |nth: usize| nth % workers;
    let of = |claim: String, component, size: &str, worker| Volume { claim, component, size: size.to_owned(), worker };
    let export = of("export-nfs-0".to_owned(), Component::Storage, spec.storage.size.as_str(), on(1));
    let members = database::names(spec.database.members).into_iter().enumerate();
    // What is not of the class that has these folders, its own class provisions.
    let ours = spec.database.volume_class.name().is_none_or(|name| name == VolumeClass::OF_KIND);
    let members = members
        .filter(|_| ours)
        .map(|(nth, name)| of(format!("data-{name}"), Component::Database, spec.database.volume.as_str(), on(nth)));
    let etcd = if spec.database.topology == Topology::Galera { discovery::MEMBERS } else { 0 };
    let etcd = (0..etcd)
        .map(|nth| of(format!("data-{}-{nth}", discovery::ETCD), Component::Discovery, discovery::VOLUME, on(nth)));
    std::iter::once(export).chain(members).chain(etcd).collect()
}

/// Members that come move to workers that have none, where others have moved to their places. `taken` says which have one.
fn apart(wanted: &mut [Volume], taken: &[bool]) {
    let mut taken = taken.to_vec();
    let members = || |volume: &&mut Volume| volume.component == Component::Database;
    for volume in wanted.iter_mut().filter(members()) {
        let free = taken.iter().position(|taken| !taken);
        volume.worker = if taken[volume.worker] { free.unwrap_or(volume.worker) } else { volume.worker };
        taken[volume.worker] = true;
    }
}

/// What is applied for one: a volume that only its claim may have, on one node. It outlives its claim, so that nothing is
/// deleted by mistake; a claim that is made again gets another one from the class.
fn object(volume: &Volume, node: &str) -> Result<DynamicObject> {
    let Volume { claim, component, size, worker: _ } = volume;
    let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
    let object: PersistentVolume = serde_json::from_value(json!({
        "metadata": {"name": claim, "labels": {COMPONENT: component.as_str()}},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": VolumeClass::OF_KIND,
            "local": {"path": format!("{FOLDER}/{claim}")},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": NAMESPACE, "name": claim},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        }
    }))?;
    untyped(&object)
}

/// Makes sure that every claim of the lab that does not exist yet will find its volume.
///
/// # Errors
/// A node does not make its folders, or the API server refuses.
pub async fn ensure(cx: &StepCx, docker: &Docker, cluster: &Cluster, spec: &LabSpec) -> Result<()> {
    let claims = cluster.api::<PersistentVolumeClaim>().list(&ListParams::default()).await;
    let claims = claims.map_err(Refused).context("cannot list the claims")?;
    let there: BTreeSet<String> = claims.items.iter().map(ResourceExt::name_any).collect();
    // A worker's container may have another name than its Node.
    let names = |lab| nodes::worker_names(lab, spec.cluster.workers);
    let (containers, workers) = (names(&spec.name), names(&cluster.inside));
    let held = held(cluster, spec, &workers).await?;
    let mut wanted = volumes(spec);
    wanted.retain(|volume| !there.contains(&volume.claim) && held.iter().all(|held| held.volume != volume.claim));
    if wanted.is_empty() {
        return Ok(());
    }
    let has = |node: &String| held.iter().any(|held| held.node == *node && held.member().is_some());
    apart(&mut wanted, &workers.iter().map(has).collect::<Vec<_>>());
    try_join_all(wanted.iter().map(|volume| folder(docker, volume, &containers[volume.worker]))).await?;
    let exists = |class: Option<&StorageClass>| match class {
        Some(_) => Look::Ready(()),
        None => Look::NotYet("it does not exist yet".to_owned()),
    };
    // A claim that is made before there is a class has none, and no volume of a class fits it.
    cluster.until_ready(cx, &cluster.all::<StorageClass>(), VolumeClass::OF_KIND, CLASS_LIMIT, exists).await?;
    let objects = wanted.iter().map(|volume| object(volume, &workers[volume.worker])).collect::<Result<Vec<_>>>()?;
    cluster.apply(&objects).await?;
    Ok(())
}

/// Makes a volume's folder. Whoever mounts it gives it its group.
async fn folder(docker: &Docker, volume: &Volume, node: &str) -> Result<()> {
    let folder = format!("{FOLDER}/{}", volume.claim);
    let made = docker.exec(node, &["mkdir", "-p", "-m", "0777", &folder]).await;
    let made = made.with_context(|| format!("cannot make {folder} on {node}"))?;
    ensure!(made.code == 0, "cannot make {folder} on {node}: {}", made.stderr.trim());
    Ok(())
}

/// Removes the folder of a volume that nobody has any more, if it was made here.
///
/// # Errors
/// The node does not answer, or its disk refuses.
pub async fn remove_folder(docker: &Docker, node: &str, volume: &str) -> Result<()> {
    let folder = format!("{FOLDER}/{volume}");
    let removed = docker.exec(node, &["rm", "-rf", &folder]).await;
    let removed = removed.with_context(|| format!("cannot remove {folder} on {node}"))?;
    ensure!(removed.code == 0, "cannot remove {folder} on {node}: {}", removed.stderr.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::testing;

    #[test]
    fn members_have_a_worker_each_and_the_first_one_does_not_share_with_the_export() {
        let mut spec = testing::spec();
        (spec.cluster.workers, spec.database.members, spec.database.topology) = (3, 3, Topology::Galera);
        let volumes = volumes(&spec);
        let node = |claim: &str| volumes.iter().find(|v| v.claim == claim).map(|v| v.worker).expect("a volume");
        assert_eq!(volumes.len(), 7);
        assert_eq!([node("data-db-0"), node("data-db-1"), node("data-db-2")], [0, 1, 2]);
        assert_eq!((node("export-nfs-0"), node("data-etcd-2")), (1, 2));
        spec.database.topology = Topology::Replication;
        assert_eq!(super::volumes(&spec).len(), 4);
        let of = |class: &str| {
            let mut spec = spec.clone();
            spec.database.volume_class = VolumeClass::new(class).expect("a class");
            super::volumes(&spec).len()
        };
        assert_eq!((of(VolumeClass::OF_KIND), of("fast")), (4, 1), "another class provisions its own");
    }

    #[test]
    fn a_member_that_comes_goes_where_none_is() {
        let mut spec = testing::spec();
        (spec.cluster.workers, spec.database.members) = (4, 4);
        let places = |taken: &[bool], keep: std::ops::Range<usize>| {
            let mut wanted: Vec<Volume> = volumes(&spec).into_iter().skip(1 + keep.start).take(keep.len()).collect();
            apart(&mut wanted, taken);
            wanted.into_iter().map(|volume| volume.worker).collect::<Vec<_>>()
        };
        assert_eq!(places(&[false; 4], 0..4), [0, 1, 2, 3]);
        assert_eq!(places(&[true, true, false, false], 2..4), [2, 3]);
        // One of the first two was made anew on the third worker.
        assert_eq!(places(&[true, false, true, false], 2..4), [1, 3]);
        assert_eq!(places(&[true; 4], 2..3), [2], "no place is any better");
    }

    #[test]
    fn a_volume_is_its_claims_and_stays() {
        let volume = volumes(&testing::spec()).swap_remove(1);
        let object = object(&volume, "wplab-worker").expect("an object");
        let spec = &object.data["spec"];
        assert_eq!(object.name_any(), "data-db-0");
        assert_eq!((&spec["claimRef"]["name"], &spec["claimRef"]["namespace"]), (&json!("data-db-0"), &json!("wplab")));
        assert_eq!(
            (&spec["persistentVolumeReclaimPolicy"], &spec["storageClassName"]),
            (&json!("Retain"), &json!(VolumeClass::OF_KIND))
        );
        assert_eq!(spec["local"]["path"], json!("/var/lib/wplab/volumes/data-db-0"));
    }
}
