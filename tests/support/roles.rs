//! A witness of every label that a database pod ever had, and an imp that takes agents and their Lease away at random
//! moments: at no time may two pods have the role of the writer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, WatchEvent, WatchParams},
};
use rand::RngExt;

const MEMBERS: &str = "app.kubernetes.io/component=database";
const ROLE: &str = "wplab.dev/role";

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Who had the role of the writer, in the order of time; the same one twice in a row counts once.
    pub(crate) writers: Vec<String>,
    /// Moments with more than one writer.
    pub(crate) doubles: Vec<String>,
}

/// Watches until it is dropped.
pub(crate) struct Witness {
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Witness {
    pub(crate) fn watch(client: Client) -> Witness {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(watch(client, seen.clone()));
        Witness { seen, task }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One watch delivers the changes of all pods in the order in which the API server made them, so that no moment is missed
/// while it lasts. Where it breaks (an API server that is killed), a new list goes on.
async fn watch(client: Client, seen: Arc<Mutex<Seen>>) {
    let api: Api<Pod> = Api::namespaced(client, "wplab");
    loop {
        let Ok(list) = api.list(&ListParams::default().labels(MEMBERS)).await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let version = list.metadata.resource_version.clone().unwrap_or_default();
        let mut roles: BTreeMap<String, Option<String>> =
            list.items.iter().map(|pod| (pod.name_any(), pod.labels().get(ROLE).cloned())).collect();
        note(&seen, &roles);
        let Ok(stream) = api.watch(&WatchParams::default().labels(MEMBERS), &version).await else { continue };
        let mut stream = stream.boxed();
        while let Ok(Some(event)) = stream.try_next().await {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    roles.insert(pod.name_any(), pod.labels().get(ROLE).cloned());
                }
                WatchEvent::Deleted(pod) => {
                    roles.remove(&pod.name_any());
                }
                WatchEvent::Error(_) => break,
                WatchEvent::Bookmark(_) => {}
            }
            note(&seen, &roles);
        }
    }
}

fn note(seen: &Mutex<Seen>, roles: &BTreeMap<String, Option<String>>) {
    let writers: Vec<&String> =
        roles.iter().filter(|(_, role)| role.as_deref() == Some("writer")).map(|(name, _)| name).collect();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match writers.as_slice() {
        [] => {}
        [one] if seen.writers.last() != Some(one) => seen.writers.push((*one).clone()),
        [_] => {}
        many => seen.doubles.push(format!("{many:?}")),
    }
}

/// Harms the agents until it is dropped.
pub(crate) struct Imp(tokio::task::JoinHandle<()>);

impl Imp {
    pub(crate) fn loose(client: Client) -> Imp {
        Imp(tokio::spawn(async move {
            let pods: Api<Pod> = Api::namespaced(client.clone(), "wplab");
            let leases: Api<Lease> = Api::namespaced(client, "wplab");
            loop {
                let (pause, deed) = {
                    let mut dice = rand::rng();
                    (dice.random_range(8_000..20_000), dice.random_range(0..3))
                };
                tokio::time::sleep(Duration::from_millis(pause)).await;
                // Whatever does not answer at such a moment is harmed already.
                match deed {
                    0 => drop(leases.delete("wplab-agent", &DeleteParams::default()).await),
                    many => {
                        let found = pods.list(&ListParams::default().labels("app.kubernetes.io/component=agent")).await;
                        for pod in found.into_iter().flat_map(|list| list.items).take(many) {
                            let _ = pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
                        }
                    }
                }
            }
        }))
    }
}

impl Drop for Imp {
    fn drop(&mut self) {
        self.0.abort();
    }
}
