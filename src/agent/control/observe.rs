//! What there is to see, kept up to date by watches: the members' pods through the API server, and each member's status
//! over a connection to its supervisor. Whoever decides takes a snapshot, and is woken when there is something new.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::watch, task::AbortHandle};

use super::{
    decide::{Answer, Seen},
    follow, story,
};
use crate::labels::{COMPONENT, Component, READS, ROLE};

/// A member's pod, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PodView {
    /// Its name.
    pub(super) name: String,
    /// Which of the pods that had this name it is.
    pub(super) uid: String,
    /// The version of the object that this is.
    pub(super) version: String,
    /// Its role label.
    pub(super) role: Option<String>,
    /// Whether its label lets it be read from.
    pub(super) reads: bool,
    /// Its address, once it has one.
    pub(super) address: Option<String>,
}

impl PodView {
    pub(super) fn of(pod: &Pod) -> PodView {
        PodView {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            version: pod.resource_version().unwrap_or_default(),
            role: pod.labels().get(ROLE).cloned(),
            reads: pod.labels().get(READS).is_some_and(|value| value == "true"),
            address: pod.status.as_ref().and_then(|status| status.pod_ip.clone()).filter(|ip| !ip.is_empty()),
        }
    }

    /// Versions of one API server's objects are numbers that grow; anything else counts as newer.
    fn older_than(&self, other: &PodView) -> bool {
        let number = |version: &str| version.parse::<u64>().ok();
        number(&self.version).zip(number(&other.version)).is_some_and(|(own, theirs)| own < theirs)
    }
}

/// Everything that is known. Clones share it.
#[derive(Clone)]
pub(super) struct Sky(Arc<Shared>);

struct Shared {
    known: Mutex<Known>,
    news: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    /// Whether the pods have been listed at all.
    listed: bool,
    pods: BTreeMap<String, PodView>,
    answers: BTreeMap<String, (String, Answer)>,
}

impl Sky {
    pub(super) fn new() -> Sky {
        Sky(Arc::new(Shared { known: Mutex::default(), news: watch::Sender::new(0) }))
    }

    /// Wakes whoever waits for news.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.0.news.subscribe()
    }

    /// The pods, and what their members say, by ordinal; `None` before the pods were listed.
    pub(super) fn snapshot(&self) -> Option<Vec<(PodView, Seen)>> {
        let known = self.known();
        let seen = |pod: &PodView| {
            let answer = known.answers.get(&pod.name).filter(|(uid, _)| *uid == pod.uid);
            let answer = match (answer, &pod.address) {
                (Some((_, answer)), _) => answer.clone(),
                (None, Some(_)) => Answer::Unknown,
                (None, None) => Answer::Silent,
            };
            Seen { name: pod.name.clone(), role: pod.role.clone(), reads: pod.reads, answer }
        };
        // db-0 … db-8: the order of the names is that of the ordinals.
        known.listed.then(|| known.pods.values().map(|pod| (pod.clone(), seen(pod))).collect())
    }

    /// A pod as the API server has just answered; an older view never replaces a newer one.
    pub(super) fn pod(&self, pod: PodView) {
        self.change(|known| {
            if !known.pods.get(&pod.name).is_some_and(|newer| pod.older_than(newer)) {
                known.pods.insert(pod.name.clone(), pod);
            }
        });
    }

    /// A pod that does not exist any more.
    pub(super) fn gone(&self, name: &str, uid: &str) {
        self.change(|known| {
            if known.pods.get(name).is_some_and(|pod| pod.uid == uid) {
                known.pods.remove(name);
                known.answers.remove(name);
            }
        });
    }

    /// All pods, freshly listed.
    pub(super) fn all(&self, pods: Vec<PodView>) {
        self.change(|known| {
            known.listed = true;
            let mut listed: BTreeMap<String, PodView> = BTreeMap::new();
            for pod in pods {
                let newer = known.pods.remove(&pod.name).filter(|newer| pod.older_than(newer));
                listed.insert(pod.name.clone(), newer.unwrap_or(pod));
            }
            known.pods = listed;
            known.answers.retain(|name, (uid, _)| known.pods.get(name).is_some_and(|pod| pod.uid == *uid));
        });
    }

    /// What the member in this pod says.
    pub(super) fn answer(&self, name: &str, uid: &str, answer: Answer) {
        self.change(|known| {
            known.answers.insert(name.to_owned(), (uid.to_owned(), answer));
        });
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known());
        self.0.news.send_modify(|count| *count += 1);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The label selector of the members' pods.
pub(super) fn selector() -> String {
    format!("{COMPONENT}={}", Component::Database.as_str())
}

/// Watches pods and members; never ends.
pub(super) async fn watch(api: Api<Pod>, sky: Sky) {
    let config = watcher::Config::default().labels(&selector());
    let mut events = Box::pin(watcher(api, config).default_backoff());
    let mut listing = Vec::new();
    let mut followers = Followers::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(pod)) => listing.push(PodView::of(&pod)),
            Ok(Event::InitDone) => sky.all(std::mem::take(&mut listing)),
            Ok(Event::Apply(pod)) => sky.pod(PodView::of(&pod)),
            Ok(Event::Delete(pod)) => sky.gone(&pod.name_any(), &pod.uid().unwrap_or_default()),
            Err(error) => {
                story::warn("the pods cannot be watched", &[("why", error.to_string().into())]);
            }
        }
        followers.keep_up(&sky);
    }
}

/// One connection per member; what is left behind is ended.
#[derive(Default)]
struct Followers(BTreeMap<String, (String, String, AbortHandle)>);

impl Followers {
    fn keep_up(&mut self, sky: &Sky) {
        let pods: BTreeMap<String, PodView> = sky.known().pods.clone();
        self.0.retain(|name, (uid, address, task)| {
            let same = |pod: &PodView| pod.uid == *uid && pod.address.as_ref() == Some(address);
            let stays = pods.get(name).is_some_and(same);
            if !stays {
                task.abort();
            }
            stays
        });
        for (name, pod) in pods {
            let Some(address) = pod.address.filter(|_| !self.0.contains_key(&name)) else { continue };
            let task = tokio::spawn(follow::follow(sky.clone(), name.clone(), pod.uid.clone(), address.clone()));
            self.0.insert(name, (pod.uid, address, task.abort_handle()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, version: &str, role: Option<&str>) -> PodView {
        PodView {
            name: "db-0".into(),
            uid: uid.into(),
            version: version.into(),
            role: role.map(str::to_owned),
            address: Some("10.0.0.1".into()),
            ..PodView::default()
        }
    }

    fn role(sky: &Sky) -> Option<String> {
        sky.snapshot().expect("listed").first().and_then(|(pod, _)| pod.role.clone())
    }

    #[test]
    fn an_older_view_never_replaces_a_newer_one() {
        let sky = Sky::new();
        assert!(sky.snapshot().is_none(), "not listed yet");
        sky.all(vec![pod("a", "9", None)]);
        sky.pod(pod("a", "10", Some("writer")));
        sky.pod(pod("a", "9", None));
        assert_eq!(role(&sky).as_deref(), Some("writer"), "9 is older than 10");
        sky.all(vec![pod("a", "9", None)]);
        assert_eq!(role(&sky).as_deref(), Some("writer"));
        sky.pod(pod("b", "11", None));
        assert_eq!(role(&sky), None);
        sky.gone("db-0", "a");
        assert_eq!(sky.snapshot().expect("listed").len(), 1, "another pod of that name is there already");
        sky.gone("db-0", "b");
        assert!(sky.snapshot().expect("listed").is_empty());
    }

    #[test]
    fn what_the_pod_before_said_does_not_count() {
        let sky = Sky::new();
        sky.all(vec![pod("a", "1", None)]);
        let answer = |sky: &Sky| sky.snapshot().expect("listed").remove(0).1.answer;
        assert_eq!(answer(&sky), Answer::Unknown);
        sky.answer("db-0", "a", Answer::Silent);
        assert_eq!(answer(&sky), Answer::Silent);
        sky.pod(pod("b", "2", None));
        sky.answer("db-0", "a", Answer::Silent);
        assert_eq!(answer(&sky), Answer::Unknown, "it is another pod");
        sky.pod(PodView { address: None, ..pod("c", "3", None) });
        assert_eq!(answer(&sky), Answer::Silent, "without an address nobody can be asked");
    }
}
