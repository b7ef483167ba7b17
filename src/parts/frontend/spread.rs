//! Where replicas are. Nobody moves one that runs: a worker that was away while they were made has none when it is back, and
//! the site would end with the other one.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::ResourceExt;

use crate::{
    cluster::{Cluster, ready},
    labels::NAMESPACE,
    parts::workers,
    run::{StepCx, wait::Look},
};

/// How long all moves may take; a replica that comes needs a second or two.
const LIMIT: Duration = Duration::from_mins(3);
const EVERY: Duration = Duration::from_millis(500);

/// Moves replicas from workers that have two more than another one, one after the other and no faster than the site's
/// disruption budget allows. Returns how many moved.
///
/// # Errors
/// The API server refuses, or one that came is not ready in time: with the last reason.
pub(super) async fn even(cx: &StepCx, cluster: &Cluster) -> Result<usize> {
    let moved = AtomicUsize::new(0);
    cx.until("the replicas to be on all workers", LIMIT, EVERY, || async {
        let (pods, wanted) = replicas(cluster).await?;
        let crowded = match crowded(&pods, wanted, &workers::open(cluster).await?) {
            Ok(None) => return Ok(Look::Ready(())),
            Ok(Some(pod)) => pod,
            Err(why) => return Ok(Look::NotYet(why)),
        };
        Ok(Look::NotYet(match cluster.evict(NAMESPACE, &crowded).await? {
            Some(why) => format!("{crowded}: {why}"),
            None => {
                moved.fetch_add(1, Ordering::Relaxed);
                format!("{crowded} moves")
            }
        }))
    })
    .await?;
    Ok(moved.into_inner())
}

/// The replicas that are not ending, and how many there should be.
async fn replicas(cluster: &Cluster) -> Result<(Vec<Pod>, usize)> {
    let deployment = cluster.get::<Deployment>("wordpress").await?.context("there is no Deployment wordpress")?;
    let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let mut pods = cluster.pods("app.kubernetes.io/name=wordpress").await?;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok((pods, usize::try_from(wanted).unwrap_or_default()))
}

/// The replica that should move: the first one of the worker that has most, if another worker that takes pods has two fewer.
/// Nobody moves while one of them is not ready yet: that is the error.
fn crowded(pods: &[Pod], wanted: usize, workers: &[String]) -> Result<Option<String>, String> {
    if pods.len() != wanted {
        return Err(format!("{} of {wanted} replicas are there", pods.len()));
    }
    let mut on: BTreeMap<&str, Vec<String>> = workers.iter().map(|worker| (worker.as_str(), Vec::new())).collect();
    for pod in pods {
        if let Look::NotYet(why) = ready::pod(Some(pod)) {
            return Err(format!("{}: {why}", pod.name_any()));
        }
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        on.entry(node).or_default().push(pod.name_any());
    }
    let fewest = workers.iter().filter_map(|worker| on.get(worker.as_str())).map(Vec::len).min();
    let most = on.values().max_by_key(|pods| pods.len());
    let (Some(fewest), Some(most)) = (fewest, most) else { return Ok(None) };
    Ok(most.first().filter(|_| most.len() > fewest + 1).cloned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, ready: bool) -> Pod {
        let ready = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
        let status = json!({"phase": "Running", "conditions": ready});
        let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": []}, "status": status});
        serde_json::from_value(pod).expect("a pod")
    }

    /// What is done with ready replicas on these nodes, when these workers take pods.
    fn moves(nodes: &[&str], workers: &[&str]) -> Option<String> {
        let pods: Vec<Pod> = nodes.iter().enumerate().map(|(n, node)| pod(&format!("r{n}"), node, true)).collect();
        let workers: Vec<String> = workers.iter().map(|&worker| worker.to_owned()).collect();
        crowded(&pods, pods.len(), &workers).expect("all are ready")
    }

    #[test]
    fn a_replica_moves_to_a_worker_that_has_two_fewer() {
        assert_eq!(moves(&["b", "b"], &["a", "b"]).as_deref(), Some("r0"));
        assert_eq!(moves(&["b", "c", "b", "c", "c"], &["a", "b", "c"]).as_deref(), Some("r1"));
    }

    #[test]
    fn none_moves_where_it_would_change_nothing_or_nobody_takes_it() {
        assert_eq!(moves(&["a", "b"], &["a", "b"]), None);
        assert_eq!(moves(&["b"], &["a", "b"]), None);
        assert_eq!(moves(&["a", "b", "b"], &["a", "b"]), None);
        // The other worker is closed.
        assert_eq!(moves(&["b", "b"], &["b"]), None);
        assert_eq!(moves(&["b", "b"], &[]), None);
        // A worker that was closed still has some: these stay where they are unless there is room.
        assert_eq!(moves(&["a", "a", "b"], &["b"]), None);
    }

    #[test]
    fn nobody_moves_while_somebody_comes() {
        let workers = ["a".to_owned(), "b".to_owned()];
        let coming = [pod("one", "b", true), pod("two", "b", false)];
        assert_eq!(crowded(&coming, 2, &workers), Err("two: it runs but is not ready".to_owned()));
        assert_eq!(crowded(&coming[..1], 2, &workers), Err("1 of 2 replicas are there".to_owned()));
    }
}
