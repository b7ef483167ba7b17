//! Keeps what is known up to date by watches: the members' pods through the API server, and each member's status over a
//! connection to its supervisor.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::task::AbortHandle;

use super::{
    doubt, follow,
    known::{Observations, PodView},
    log,
};
use crate::labels::{COMPONENT, Component};

/// The label selector of the members' pods.
pub(super) fn selector() -> String {
    format!("{COMPONENT}={}", Component::Database.as_str())
}

/// Hears of every version of one ConfigMap; never ends.
pub(super) async fn map(api: Api<ConfigMap>, name: &str, mut changed: impl FnMut(&ConfigMap)) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = Box::pin(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(map) | Event::InitApply(map)) => changed(&map),
            Ok(_) => {}
            Err(error) => {
                log::warn("a record cannot be watched", &[("record", name.into()), ("why", error.to_string().into())]);
            }
        }
    }
}

/// Watches pods and members; never ends.
pub(super) async fn watch(api: Api<Pod>, observed: Observations) {
    let config = watcher::Config::default().labels(&selector());
    let mut events = Box::pin(watcher(api, config).default_backoff());
    let mut listing = Vec::new();
    let mut followers = Followers::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(pod)) => listing.push(PodView::of(&pod)),
            Ok(Event::InitDone) => observed.all(std::mem::take(&mut listing)),
            Ok(Event::Apply(pod)) => observed.pod(PodView::of(&pod)),
            Ok(Event::Delete(pod)) => observed.gone(&pod.name_any(), &pod.uid().unwrap_or_default()),
            Err(error) => {
                log::warn("the pods cannot be watched", &[("why", error.to_string().into())]);
            }
        }
        followers.keep_up(&observed);
    }
}

/// One connection per member, and whoever tries again beside it; what is left behind is ended.
#[derive(Default)]
struct Followers(BTreeMap<String, (String, String, [AbortHandle; 2])>);

impl Followers {
    fn keep_up(&mut self, observed: &Observations) {
        let pods: BTreeMap<String, PodView> = observed.pods();
        self.0.retain(|name, (uid, address, tasks)| {
            let same = |pod: &PodView| pod.uid == *uid && pod.address.as_ref() == Some(address);
            let stays = pods.get(name).is_some_and(same);
            if !stays {
                tasks.iter().for_each(AbortHandle::abort);
            }
            stays
        });
        for (name, pod) in pods {
            let Some(address) = pod.address.filter(|_| !self.0.contains_key(&name)) else { continue };
            let of = || (observed.clone(), name.clone(), pod.uid.clone(), address.clone());
            let (one, two) = (of(), of());
            let follows = tokio::spawn(follow::follow(one.0, one.1, one.2, one.3)).abort_handle();
            let doubts = tokio::spawn(doubt::doubt(two.0, two.1, two.2, two.3)).abort_handle();
            self.0.insert(name, (pod.uid, address, [follows, doubts]));
        }
    }
}
