//! What there is of a kind, again at every change; and whether the API server answers at all. For whoever looks on, and does
//! not wait for anything.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Resource, ResourceExt,
    runtime::watcher::{Config, Event, watcher},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Cluster, Object};

/// How soon a watch that broke begins again.
const AGAIN: Duration = Duration::from_millis(500);

impl Cluster {
    /// Tells everything of a kind in the lab's namespace that a label selector picks, by name, at the beginning and at every
    /// change. While the API server does not answer, nothing is told.
    pub async fn follow<K: Object + Resource<Scope = NamespaceResourceScope>>(
        &self,
        selector: &str,
        mut tell: impl FnMut(&BTreeMap<String, K>),
    ) -> Infallible {
        let mut beat = interval(AGAIN);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut there: BTreeMap<String, K> = BTreeMap::new();
        loop {
            beat.tick().await;
            let mut changes = Box::pin(watcher(self.api::<K>(), Config::default().labels(selector)));
            let mut coming = BTreeMap::new();
            // A watch would try again by itself, but later and later.
            while let Some(Ok(change)) = changes.next().await {
                match change {
                    Event::Init => coming.clear(),
                    Event::InitApply(object) => drop(coming.insert(object.name_any(), object)),
                    Event::InitDone => {
                        there = std::mem::take(&mut coming);
                        tell(&there);
                    }
                    Event::Apply(object) => {
                        there.insert(object.name_any(), object);
                        tell(&there);
                    }
                    Event::Delete(object) => {
                        there.remove(&object.name_any());
                        tell(&there);
                    }
                }
            }
        }
    }

    /// Whether the API server answers within a time.
    pub async fn answers(&self, within: Duration) -> bool {
        matches!(timeout(within, self.client.apiserver_version()).await, Ok(Ok(_)))
    }
}
