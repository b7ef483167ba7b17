//! Workers as Kubernetes knows them: how one is welcomed, emptied and forgotten; what it has that cannot move is the neighbour
//! `held`'s to know. Their containers are `host::nodes`' to make and to remove.

mod held;

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

pub use held::{Held, Owner, former, give_up, held, in_the_way, release, released, remove};

use crate::{
    cluster::{Cluster, Refused, gone, passing, ready},
    run::{StepCx, wait::Look},
};

/// On a Node that takes no pods because it is about to leave.
const LEAVING: &str = "wplab.dev/leaving";
/// How long a new worker's kubelet may take to say that it takes pods: its pod network has to come up.
const READY: Duration = Duration::from_mins(3);
/// How long the pods of workers that leave may take; a replica of the site goes when another one serves.
const EMPTY: Duration = Duration::from_mins(5);
const EVERY: Duration = Duration::from_millis(500);

/// All Nodes.
async fn all(cluster: &Cluster) -> Result<Vec<Node>> {
    let nodes = cluster.all::<Node>().list(&ListParams::default()).await.map_err(Refused);
    Ok(nodes.context("cannot list the nodes")?.items)
}

/// All Nodes by their names.
///
/// # Errors
/// The API server does not answer.
pub async fn names(cluster: &Cluster) -> Result<Vec<String>> {
    Ok(all(cluster).await?.iter().map(ResourceExt::name_any).collect())
}

/// The Nodes whose kubelets say that they take pods. Of a pod on any other one nobody will say that it has ended.
///
/// # Errors
/// The API server does not answer.
pub async fn that_answer(cluster: &Cluster) -> Result<Vec<String>> {
    let nodes = all(cluster).await?;
    let answer = nodes.iter().filter(|node| ready::node(Some(node)) == Look::Ready(()));
    Ok(answer.map(ResourceExt::name_any).collect())
}

/// The Nodes that take new pods: their kubelets say so, and neither is somebody emptying them nor are they the control plane's.
///
/// # Errors
/// The API server does not answer.
pub async fn open(cluster: &Cluster) -> Result<Vec<String>> {
    let nodes = all(cluster).await?;
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let open = |node: &&Node| {
        ready::node(Some(node)) == Look::Ready(())
            && taints(node).iter().all(|taint| taint.effect == "PreferNoSchedule")
    };
    Ok(nodes.iter().filter(open).map(ResourceExt::name_any).collect())
}

/// Waits until workers take pods, also those that were about to leave.
///
/// # Errors
/// One does not in time: with the last reason.
pub async fn welcome(cx: &StepCx, cluster: &Cluster, nodes: &[String]) -> Result<()> {
    let api: Api<Node> = cluster.all();
    for node in nodes {
        cluster.until_ready(cx, &api, node, READY, ready::node).await?;
    }
    stay(cluster).await
}

/// Whoever was about to leave, and is there, takes pods again. Who closed a node for another reason may have his own.
///
/// # Errors
/// The API server refuses.
pub async fn stay(cluster: &Cluster) -> Result<()> {
    for node in all(cluster).await? {
        if node.annotations().contains_key(LEAVING) {
            mark(cluster, &node.name_any(), LEAVING, false).await?;
        }
    }
    Ok(())
}

/// Workers take no pods any more, because they are about to leave.
///
/// # Errors
/// The API server refuses.
pub async fn close(cluster: &Cluster, nodes: &[String]) -> Result<()> {
    for node in nodes {
        mark(cluster, node, LEAVING, true).await?;
    }
    Ok(())
}

/// Empties workers that are closed: the pods that they have are evicted, no faster than their disruption budgets allow. What a worker
/// that does not answer runs cannot be asked to end.
///
/// # Errors
/// A pod cannot be evicted in time: with the last reason. The workers take pods again then.
pub async fn empty(cx: &StepCx, cluster: &Cluster, nodes: &[String]) -> Result<()> {
    let mut answer = Vec::new();
    for name in nodes {
        let node = cluster.all::<Node>().get_opt(name).await.map_err(Refused);
        let node = node.with_context(|| format!("cannot read Node {name}"))?;
        match ready::node(node.as_ref()) {
            Look::Ready(()) => answer.push(name.as_str()),
            Look::NotYet(why) if node.is_some() => cx.say(format!("{name} leaves as it is: {why}")),
            Look::NotYet(_) => {}
        }
    }
    let emptied = cx.until("the pods to move", EMPTY, EVERY, || evicted(cluster, &answer)).await;
    if emptied.is_err() {
        for name in nodes {
            mark(cluster, name, LEAVING, false).await?;
        }
    }
    emptied
}

/// Kubernetes knows a worker no more.
///
/// # Errors
/// The API server refuses.
pub async fn forget(cluster: &Cluster, node: &str) -> Result<()> {
    let nodes: Api<Node> = cluster.all();
    gone(nodes.delete(node, &DeleteParams::default()).await).with_context(|| format!("cannot remove Node {node}"))
}

/// Lets a node take no pods, or takes that back; `why` is the annotation that says so meanwhile. One that is gone takes none.
///
/// # Errors
/// The API server refuses.
pub async fn mark(cluster: &Cluster, node: &str, why: &str, closed: bool) -> Result<()> {
    let yes = if closed { json!("true") } else { json!(null) };
    let closed = if closed { json!(true) } else { json!(null) };
    let patch = json!({"metadata": {"annotations": {why: yes}}, "spec": {"unschedulable": closed}});
    let nodes: Api<Node> = cluster.all();
    gone(nodes.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await)
        .with_context(|| format!("cannot change Node {node}"))
}

/// Asks every pod on these nodes to go that has not been asked yet.
async fn evicted(cluster: &Cluster, nodes: &[&str]) -> Result<Look<()>> {
    let mut waits = Vec::new();
    for node in nodes {
        let on = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let pods = match cluster.all::<Pod>().list(&on).await {
            Err(error) if passing(&error) => return Ok(Look::NotYet(Refused(error).to_string())),
            pods => pods.map_err(Refused).with_context(|| format!("cannot list the pods on {node}"))?.items,
        };
        for pod in pods.iter().filter(|pod| moves(pod)) {
            let name = pod.name_any();
            if pod.metadata.deletion_timestamp.is_some() {
                waits.push(format!("{name} is ending"));
                continue;
            }
            waits.push(match cluster.evict(&pod.namespace().unwrap_or_default(), &name).await? {
                Some(why) => format!("{name}: {why}"),
                None => format!("{name} is ending"),
            });
        }
    }
    Ok(if waits.is_empty() { Look::Ready(()) } else { Look::NotYet(waits.join("; ")) })
}

/// Whether a pod goes elsewhere when its node leaves: not one that every node has, and not one that has ended.
fn moves(pod: &Pod) -> bool {
    let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let everywhere = pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet" || owner.kind == "Node");
    !everywhere && !matches!(ended, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{Arc, Mutex, PoisonError},
    };

    use kube::{Client, client::Body};

    use super::*;
    use crate::{
        run::{Run, event::StepId},
        spec::LabName,
    };

    /// Answers for one node with a pod of every node and one of the site's, of which an eviction gets these codes, one after
    /// the other, and what was asked.
    fn api(codes: &'static [u16]) -> (Cluster, Arc<Mutex<Vec<String>>>) {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = asked.clone();
        let service = tower::service_fn(move |request: hyper::Request<Body>| {
            let heard = heard.clone();
            async move {
                let (parts, body) = request.into_parts();
                let sent = body.collect_bytes().await.expect("a body");
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                let evictions = heard.iter().filter(|line| line.contains("eviction")).count();
                heard.push(format!("{} {} {}", parts.method, parts.uri.path(), String::from_utf8_lossy(&sent)));
                let pod = |name: &str, owner: &str| {
                    let owner = json!([{"apiVersion": "v1", "kind": owner, "name": "x", "uid": "1"}]);
                    json!({"metadata": {"name": name, "namespace": "wplab", "ownerReferences": owner}})
                };
                let path = parts.uri.path();
                let (code, answer) = if path.ends_with("/eviction") {
                    let code = codes[evictions.min(codes.len() - 1)];
                    let status = if code == 201 { "Success" } else { "Failure" };
                    (code, json!({"kind": "Status", "status": status, "message": "its budget says no", "code": code}))
                } else if path.ends_with("/pods") {
                    let site = (codes[evictions.saturating_sub(1)] != 201).then(|| pod("site", "ReplicaSet"));
                    let items: Vec<_> = std::iter::once(pod("net", "DaemonSet")).chain(site).collect();
                    (200, json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}))
                } else {
                    let ready = json!([{"type": "Ready", "status": "True"}]);
                    (200, json!({"metadata": {"name": "zoo-worker3"}, "status": {"conditions": ready}}))
                };
                let response = hyper::Response::builder().status(code);
                Ok::<_, Infallible>(response.body(Body::from(answer.to_string().into_bytes())).expect("an answer"))
            }
        });
        (Cluster::new(Client::new(service, "default"), LabName::new("zoo").expect("a name")), asked)
    }

    async fn emptied(codes: &'static [u16]) -> (Result<()>, Vec<String>) {
        let (cluster, asked) = api(codes);
        let cx = StepCx::new(&Run::silent(), StepId::Cluster);
        let nodes = ["zoo-worker3".to_owned()];
        close(&cluster, &nodes).await.expect("closed");
        let done = empty(&cx, &cluster, &nodes).await;
        let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (done, asked)
    }

    #[tokio::test]
    async fn a_pod_that_its_budget_holds_back_is_asked_again_and_one_of_every_node_is_not_asked() {
        let (done, asked) = emptied(&[429, 201]).await;
        done.expect("empty");
        let evictions: Vec<_> = asked.iter().filter(|line| line.contains("/eviction")).collect();
        assert!(evictions.len() == 2 && evictions.iter().all(|line| line.contains("/pods/site/")), "{asked:?}");
        let closed: Vec<_> = asked.iter().filter(|line| line.starts_with("PATCH")).collect();
        assert!(closed.len() == 1 && closed[0].contains(r#""unschedulable":true"#), "{closed:?}");
    }

    #[tokio::test]
    async fn a_worker_that_cannot_be_emptied_takes_pods_again() {
        let (done, asked) = emptied(&[403]).await;
        assert!(format!("{:#}", done.expect_err("refused")).contains("cannot evict site"));
        assert!(asked.last().is_some_and(|line| line.contains(r#""unschedulable":null"#)), "{asked:?}");
    }

    #[test]
    fn what_every_node_has_and_what_has_ended_is_not_moved() {
        let pod = |owner: &str, phase: &str| -> Pod {
            let owner = json!({"apiVersion": "v1", "kind": owner, "name": "x", "uid": "1"});
            serde_json::from_value(json!({"metadata": {"ownerReferences": [owner]}, "status": {"phase": phase}}))
                .expect("a pod")
        };
        assert!(moves(&pod("ReplicaSet", "Running")) && moves(&pod("StatefulSet", "Pending")));
        assert!(!moves(&pod("DaemonSet", "Running")) && !moves(&pod("Node", "Running")));
        assert!(!moves(&pod("Job", "Succeeded")));
    }
}
