//! What is kept when a step failed: a folder with events, descriptions, logs and versions, and the likely cause in one
//! sentence. Secrets are never part of it. The machine's side (journals of the nodes) is added by the caller.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::{CronJob, Job},
        core::v1::{ConfigMap, Event, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service},
        discovery::v1::EndpointSlice,
        storage::v1::StorageClass,
    },
    jiff::Timestamp,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};

use super::{Cluster, Refused, manifests::to_yaml, ready};
use crate::run::wait::Look;

/// The group of our own kinds of objects.
const OURS: &str = "wplab.dev";

/// The longest that one request may take: a cluster that is being diagnosed is often a cluster that hangs.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// The most that is kept of one container's log, in bytes.
const LOG_LIMIT: i64 = 4 << 20;

/// The longest that the whole collection may take.
const ALL_LIMIT: Duration = Duration::from_secs(60);

/// What the cluster's story comes to.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The likely cause in one sentence, if one was seen.
    pub cause: Option<String>,
    /// What could not be had, and why.
    pub missing: Vec<String>,
}

/// Saves all that helps to understand a failure into `folder`, which is made if necessary, within a minute. What cannot be
/// had is named in the story; it fails nothing.
///
/// # Errors
/// The folder cannot be written.
pub async fn save(cluster: &Cluster, folder: &Path) -> Result<Story> {
    let shown = folder.display();
    tokio::fs::create_dir_all(folder.join("logs")).await.with_context(|| format!("cannot make {shown}"))?;
    let mut saving = Saving { cluster, folder, story: Story::default() };
    match tokio::time::timeout(ALL_LIMIT, saving.everything()).await {
        Ok(whole) => whole?,
        Err(_) => {
            saving.story.missing.push(format!("whatever was not collected within {} s", ALL_LIMIT.as_secs()));
        }
    }
    Ok(saving.story)
}

struct Saving<'a> {
    cluster: &'a Cluster,
    folder: &'a Path,
    story: Story,
}

impl Saving<'_> {
    async fn everything(&mut self) -> Result<()> {
        let pods: Vec<Pod> = self.list().await;
        let events: Vec<Event> = self.list().await;
        let nodes: Vec<Node> = self.list().await;
        let claims: Vec<PersistentVolumeClaim> = self.list().await;
        self.story.cause = likely_cause(&nodes, &pods, &claims, &events);
        self.write("events.txt", &listed(&events)).await?;
        self.versions().await?;
        self.descriptions().await?;
        for pod in &pods {
            self.logs(pod).await?;
        }
        Ok(())
    }

    async fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.folder.join(name);
        tokio::fs::write(&file, text).await.with_context(|| format!("cannot write {}", file.display()))
    }

    async fn list<K: super::Object>(&mut self) -> Vec<K> {
        let api = self.cluster.all::<K>();
        match within(api.list(&ListParams::default())).await {
            Ok(list) => list.items,
            Err(error) => {
                self.story.missing.push(format!("{}: {error:#}", K::plural(&())));
                Vec::new()
            }
        }
    }

    async fn versions(&mut self) -> Result<()> {
        let server = match within(self.cluster.client.apiserver_version()).await {
            Ok(info) => format!("Kubernetes {} ({})", info.git_version, info.platform),
            Err(error) => format!("Kubernetes: {error:#}"),
        };
        self.write("versions.txt", &format!("wplab {}\n{server}\n", env!("CARGO_PKG_VERSION"))).await
    }

    /// One YAML file per kind. Secrets are not among the kinds.
    async fn descriptions(&mut self) -> Result<()> {
        let kinds = [
            ApiResource::erase::<Node>(&()),
            ApiResource::erase::<Pod>(&()),
            ApiResource::erase::<Service>(&()),
            ApiResource::erase::<EndpointSlice>(&()),
            ApiResource::erase::<ConfigMap>(&()),
            ApiResource::erase::<StorageClass>(&()),
            ApiResource::erase::<PersistentVolume>(&()),
            ApiResource::erase::<PersistentVolumeClaim>(&()),
            ApiResource::erase::<StatefulSet>(&()),
            ApiResource::erase::<Deployment>(&()),
            ApiResource::erase::<ReplicaSet>(&()),
            ApiResource::erase::<Job>(&()),
            ApiResource::erase::<CronJob>(&()),
            ApiResource::erase::<HorizontalPodAutoscaler>(&()),
            ApiResource::erase::<APIService>(&()),
            ours("Database"),
            ours("Backup"),
            ours("Restore"),
            ours("BackupSchedule"),
        ];
        for kind in kinds {
            let api = Api::<DynamicObject>::all_with(self.cluster.client.clone(), &kind);
            match within(api.list(&ListParams::default())).await {
                Ok(list) => {
                    let mut objects = list.items;
                    objects.iter_mut().for_each(|object| object.metadata.managed_fields = None);
                    self.write(&format!("{}.yaml", kind.plural), &to_yaml(&objects)?).await?;
                }
                // Of our own kinds a lab has those that it needs.
                Err(_) if kind.group == OURS => {}
                Err(error) => self.story.missing.push(format!("{}: {error:#}", kind.plural)),
            }
        }
        Ok(())
    }

    /// The log of every container of a pod, and of its previous life if it had one.
    async fn logs(&mut self, pod: &Pod) -> Result<()> {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let api = self.cluster.api_in::<Pod>(&namespace);
        let Some(status) = &pod.status else { return Ok(()) };
        let containers =
            status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
        for container in containers {
            for previous in [false, true] {
                let never =
                    container.state.as_ref().is_none_or(|s| s.waiting.is_some()) && container.restart_count == 0;
                if never || previous && container.restart_count == 0 {
                    continue;
                }
                let params = LogParams {
                    container: Some(container.name.clone()),
                    previous,
                    limit_bytes: Some(LOG_LIMIT),
                    tail_lines: Some(20_000),
                    timestamps: true,
                    ..LogParams::default()
                };
                let file =
                    format!("{namespace}.{name}.{}{}.log", container.name, if previous { ".previous" } else { "" });
                match within(api.logs(&name, &params)).await {
                    Ok(text) => self.write(&format!("logs/{file}"), &text).await?,
                    Err(error) => self.story.missing.push(format!("logs/{file}: {error:#}")),
                }
            }
        }
        Ok(())
    }
}

async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T> {
    tokio::time::timeout(REQUEST_LIMIT, request).await.context("no answer in time")?.map_err(|e| Refused(e).into())
}

/// The one thing that most likely went wrong, as a sentence, from the root of the tree to its leaves: a node, then a pod
/// that cannot be, then a volume, then the newest warning about a pod that is not ready.
pub fn likely_cause(
    nodes: &[Node],
    pods: &[Pod],
    claims: &[PersistentVolumeClaim],
    events: &[Event],
) -> Option<String> {
    let node = nodes.iter().find_map(|node| match ready::node(Some(node)) {
        Look::NotYet(reason) => Some(format!("Node {} is not ready: {reason}.", node.name_any())),
        Look::Ready(()) => None,
    });
    let pod = || ready::trouble(pods).map(|text| format!("{}.", capital(text.trim_end_matches('.'))));
    let claim = || {
        claims.iter().find_map(|claim| match ready::claim(Some(claim)) {
            Look::NotYet(reason) => Some(format!("Volume claim {} has no volume: {reason}.", claim.name_any())),
            Look::Ready(()) => None,
        })
    };
    let warning = || {
        let unready = |name: &str| {
            pods.iter().any(|p| p.name_any() == name && !succeeded(p) && ready::pod(Some(p)) != Look::Ready(()))
        };
        let about = |event: &&Event| {
            event.type_.as_deref() == Some("Warning") && event.involved_object.name.as_deref().is_some_and(unready)
        };
        let event = events.iter().filter(about).max_by_key(|event| time_of(event))?;
        let name = event.involved_object.name.as_deref().unwrap_or_default();
        Some(format!("Pod {name}: {}.", event.message.as_deref().unwrap_or_default().trim_end_matches(['.', '\n'])))
    };
    node.or_else(pod).or_else(warning).or_else(claim)
}

fn succeeded(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Succeeded")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn time_of(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|s| s.last_observed_time.as_ref()).map(|t| t.0);
    let last = event.last_timestamp.as_ref().map(|t| t.0);
    series.or(last).or(event.event_time.as_ref().map(|t| t.0)).or(event
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|t| t.0))
}

/// The events as lines, oldest first.
fn listed(events: &[Event]) -> String {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| time_of(event));
    let line = |event: &&Event| {
        let about = &event.involved_object;
        format!(
            "{} {:7} {:22} {}/{}/{}: {}{}\n",
            time_of(event).map_or_else(|| "-".to_owned(), |t| t.strftime("%H:%M:%S").to_string()),
            event.type_.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            about.namespace.as_deref().unwrap_or("-"),
            about.kind.as_deref().unwrap_or_default(),
            about.name.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default().replace('\n', " "),
            event.count.filter(|&c| c > 1).map_or_else(String::new, |c| format!(" ({c} times)")),
        )
    };
    events.iter().map(line).collect()
}

/// A kind of our own.
fn ours(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(OURS, "v1alpha1", kind))
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn from<K: DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).expect("fits its type")
    }

    fn pending(name: &str) -> Pod {
        from(json!({"metadata": {"name": name}, "status": {"phase": "Pending"}}))
    }

    fn warning(about: &str, at: &str, message: &str) -> Event {
        from(
            json!({"metadata": {}, "involvedObject": {"kind": "Pod", "name": about}, "type": "Warning", "reason": "FailedMount",
                    "lastTimestamp": at, "message": message}),
        )
    }

    #[test]
    fn a_dead_node_is_a_better_cause_than_the_pods_on_it() {
        let node: Node = from(
            json!({"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "False", "message": "kubelet stopped"}]}}),
        );
        let cause = likely_cause(&[node], &[pending("db-0")], &[], &[]);
        assert_eq!(cause.as_deref(), Some("Node n1 is not ready: kubelet stopped."));
    }

    #[test]
    fn a_container_that_keeps_ending_is_named() {
        let pod: Pod = from(
            json!({"metadata": {"name": "db-0"}, "status": {"containerStatuses": [{"name": "mysql", "image": "i", "imageID": "",
            "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}]}}),
        );
        let cause = likely_cause(&[], &[pod], &[], &[]).expect("a cause");
        assert_eq!(cause, "Pod db-0: container mysql keeps ending (3 times, last with code 1).");
    }

    #[test]
    fn the_newest_warning_about_a_pod_that_is_not_ready_counts() {
        let events = [
            warning("wordpress-1", "2026-01-01T00:00:09Z", "mount failed: no route."),
            warning("wordpress-1", "2026-01-01T00:00:01Z", "older"),
            warning("gone", "2026-01-01T00:00:30Z", "about a pod that is no more"),
        ];
        let claim: PersistentVolumeClaim = from(json!({"metadata": {"name": "data"}}));
        let cause = likely_cause(&[], &[pending("wordpress-1")], std::slice::from_ref(&claim), &events);
        assert_eq!(cause.as_deref(), Some("Pod wordpress-1: mount failed: no route."));
        assert_eq!(
            likely_cause(&[], &[], &[claim], &[]).as_deref(),
            Some("Volume claim data has no volume: it is Pending.")
        );
        assert_eq!(likely_cause(&[], &[], &[], &events), None);
    }

    #[test]
    fn events_are_told_in_the_order_of_time() {
        let text =
            listed(&[warning("b", "2026-01-01T00:00:09Z", "two\nlines"), warning("a", "2026-01-01T00:00:01Z", "one")]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("-/Pod/a: one") && lines[1].ends_with("-/Pod/b: two lines"), "{text}");
    }
}
