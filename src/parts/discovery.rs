//! etcd, through which the members of a Galera cluster find each other: three members, their certificate, their health.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    core::DynamicObject,
};
use serde::Serialize;
use serde_json::json;

use super::images::{ImageSet, Role};
use crate::{
    cluster::{
        Cluster, Refused,
        forward::Forward,
        manifests::{edit, part},
        pods::{pod_of, set_image},
        ready,
    },
    labels::{COMPONENT, Component, NAMESPACE},
    run::{
        StepCx,
        advice::{Advise, Blame, Hint},
        wait::Look,
    },
    spec::{LabName, LabSpec, Topology},
    wire::etcd::{Etcd, Identity},
};

/// The StatefulSet; its pods are `etcd-0`, `etcd-1`, `etcd-2`.
pub const ETCD: &str = "etcd";
/// The Secret with the certificate that etcd shows its clients, its key and the authority's certificate (`tls.crt`, `tls.key`,
/// `ca.crt`); etcd's own gateway is a client too, with the same one.
pub const SERVER: &str = "etcd-server";
/// The Secret with the certificate that lets a client in.
pub const CLIENT: &str = "etcd-client";
/// The Secret with what etcd's members show each other, by an authority that they trust for nothing else.
pub const PEER: &str = "etcd-peer";
/// How many members there are; three is the least that survives the loss of one.
pub const MEMBERS: usize = 3;
/// The size of a member's volume, as the manifest asks for it.
pub const VOLUME: &str = "256Mi";

/// The port for clients, with TLS and a client's certificate.
const CLIENT_PORT: u16 = 2379;

/// What this part puts into the cluster: nothing where the topology needs no discovery.
///
/// # Errors
/// `images` lacks one; a manifest and this code do not fit (which the tests rule out).
pub fn objects(spec: &LabSpec, images: &ImageSet) -> Result<Vec<DynamicObject>> {
    if spec.database.topology != Topology::Galera {
        return Ok(Vec::new());
    }
    let mut objects = part("discovery")?;
    edit(&mut objects, ETCD, |set: &mut StatefulSet| {
        let set = set.spec.as_mut().context("it has no spec")?;
        set_image(pod_of(&mut set.template)?, "etcd", images.reference(Role::Etcd)?)
    })?;
    Ok(objects)
}

/// Every name under which an etcd member is reached.
pub(super) fn names() -> Vec<String> {
    let suffixes = ["", ".NS", ".NS.svc", ".NS.svc.cluster.local"].map(|suffix| suffix.replace("NS", NAMESPACE));
    let member = |number: usize| suffixes.iter().map(move |suffix| format!("{}{suffix}", host(number)));
    let mut names: Vec<String> = (0..MEMBERS).flat_map(member).collect();
    names.push("localhost".to_owned());
    names
}

fn host(number: usize) -> String {
    format!("{ETCD}-{number}.{ETCD}")
}

/// One member as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EtcdMember {
    /// Its pod's name.
    pub name: String,
    /// The node that it runs on; empty while there is none.
    pub node: String,
    /// Whether it leads.
    pub leader: bool,
    /// What keeps it from serving, or its version.
    pub state: String,
    /// Whether it serves.
    pub healthy: bool,
}

/// Every member, also those whose pod does not exist; nobody where the topology has no etcd. Each is asked itself, as its
/// clients do.
///
/// # Errors
/// The API server does not answer. A member that does not is no error.
pub async fn members(cluster: &Cluster) -> Result<Vec<EtcdMember>> {
    if cluster.get::<StatefulSet>(ETCD).await?.is_none() {
        return Ok(Vec::new());
    }
    let pods = cluster.pods(&format!("{COMPONENT}={}", Component::Discovery.as_str())).await?;
    let identity = identity(cluster).await?;
    Ok(join_all((0..MEMBERS).map(|number| member(cluster, &identity, &pods, number))).await)
}

async fn member(cluster: &Cluster, identity: &Identity, pods: &[Pod], number: usize) -> EtcdMember {
    let name = format!("{ETCD}-{number}");
    let pod = pods.iter().find(|pod| pod.name_any() == name);
    let node = pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone()).unwrap_or_default();
    let member =
        |leader, state: String, healthy| EtcdMember { name: name.clone(), node: node.clone(), leader, state, healthy };
    let Some(pod) = pod else { return member(false, "its pod does not exist".to_owned(), false) };
    let status = async {
        let way = Way::to(cluster, identity, number).await?;
        way.etcd.status().await
    };
    match (ready::pod(Some(pod)), status.await) {
        (Look::Ready(()), Ok(status)) => {
            member(status.leader == Some(status.member), format!("v{}", status.version), true)
        }
        (Look::NotYet(reason), _) => member(false, reason, false),
        (_, Err(error)) => member(false, format!("{error:#}"), false),
    }
}

/// A way from this machine to one member; it ends when this is dropped.
pub struct Way {
    /// The member as its only endpoint.
    pub etcd: Etcd,
    _forward: Forward,
}

impl Way {
    /// To the member of this number.
    ///
    /// # Errors
    /// There is no such pod. Whether etcd answers shows with the first request.
    pub async fn to(cluster: &Cluster, identity: &Identity, number: usize) -> Result<Way> {
        let forward = cluster.forward(&format!("{ETCD}-{number}"), CLIENT_PORT).await?;
        // The certificate holds for the member's name, which only the cluster can look up.
        let name = host(number);
        let endpoint = format!("https://{name}:{CLIENT_PORT}");
        let etcd = Etcd::new(&[endpoint], Some(identity), &[(name, forward.addr)])?;
        Ok(Way { etcd, _forward: forward })
    }
}

/// The certificate that lets a client in.
///
/// # Errors
/// There is no such Secret, or it lacks a value.
pub async fn identity(cluster: &Cluster) -> Result<Identity> {
    let [ca, certificate, key] = cluster.secret_values(CLIENT, ["ca.crt", "tls.crt", "tls.key"]).await?;
    Ok(Identity { ca, certificate, key })
}

/// What keeps etcd as a whole from being complete.
///
/// # Errors
/// The API server does not answer.
pub(super) async fn look(cluster: &Cluster) -> Result<Look<()>> {
    let set: Option<StatefulSet> = cluster.get(ETCD).await?;
    Ok(ready::stateful_set(set.as_ref()))
}

/// How long a first start may take: three volumes are made, and a leader is elected.
pub(super) const LIMIT: Duration = Duration::from_secs(180);

/// No member of etcd answers, or not enough of them: without it no member of a Galera cluster is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSilent {
    /// The lab.
    pub lab: LabName,
}

impl fmt::Display for EtcdSilent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("etcd does not answer, and without it no database member is told to start")
    }
}

impl Advise for EtcdSilent {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Status { lab: self.lab.clone() }, Hint::RepairEtcd { lab: self.lab.clone() }]
    }
}

/// How long members may take to end, and their volumes to go.
const ENDING: Duration = Duration::from_secs(120);
/// How often it is looked whether they have.
const EVERY: Duration = Duration::from_millis(500);

/// Ends every member, and removes what each has: etcd begins anew with [`begin`]. Never some of them only: members without data
/// would outvote one that has some.
///
/// # Errors
/// Somebody does not end, because its node does not answer; the API server does not answer or refuses.
pub async fn clear(cx: &StepCx, cluster: &Cluster) -> Result<()> {
    scale(cluster, 0).await?;
    let of_etcd = format!("{COMPONENT}={}", Component::Discovery.as_str());
    cx.until("etcd's members to end", ENDING, EVERY, || async {
        let left: Vec<String> = cluster.pods(&of_etcd).await?.iter().map(ResourceExt::name_any).collect();
        Ok(if left.is_empty() { Look::Ready(()) } else { Look::NotYet(format!("{} still there", left.join(", "))) })
    })
    .await?;
    let claims = cluster.api::<PersistentVolumeClaim>();
    for number in 0..MEMBERS {
        match claims.delete(&claim(number), &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                return Err(Refused(error)).with_context(|| format!("cannot remove the volume {}", claim(number)));
            }
        }
    }
    cx.until("etcd's volumes to be gone", ENDING, EVERY, || async {
        for number in 0..MEMBERS {
            if cluster.get::<PersistentVolumeClaim>(&claim(number)).await?.is_some() {
                return Ok(Look::NotYet(format!("{} is still there", claim(number))));
            }
        }
        Ok(Look::Ready(()))
    })
    .await
}

/// Starts every member, and waits until they serve.
///
/// # Errors
/// They do not in time; the API server does not answer or refuses.
pub async fn begin(cx: &StepCx, cluster: &Cluster) -> Result<()> {
    scale(cluster, MEMBERS).await?;
    cx.until("etcd", LIMIT, EVERY, || look(cluster)).await
}

fn claim(number: usize) -> String {
    format!("data-{ETCD}-{number}")
}

async fn scale(cluster: &Cluster, members: usize) -> Result<()> {
    let scale = Patch::Merge(json!({"spec": {"replicas": members}}));
    let scaled = cluster.api::<StatefulSet>().patch_scale(ETCD, &PatchParams::default(), &scale).await;
    scaled.map(drop).map_err(Refused).context("cannot change the number of etcd's members")
}
