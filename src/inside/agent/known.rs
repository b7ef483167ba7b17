//! What is known of the members at this moment: their pods, and what each of them says. Whoever decides takes a snapshot, and
//! is woken when there is something new.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::sync::watch;

use super::decide::{Answer, Seen};
use crate::labels::{READS, ROLE};

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
pub(super) struct Observations(Arc<Shared>);

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

impl Observations {
    pub(super) fn new() -> Observations {
        Observations(Arc::new(Shared { known: Mutex::default(), news: watch::Sender::new(0) }))
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

    /// Forgets what the members said: nothing is decided before each of them was asked again.
    pub(super) fn forget(&self) {
        self.change(|known| known.answers.clear());
    }

    /// What the member in this pod says.
    pub(super) fn answer(&self, name: &str, uid: &str, answer: Answer) {
        // A member says the same every second, as a sign of life, which is no news.
        let said = |(before, said): &(String, Answer)| before == uid && *said == answer;
        if self.known().answers.get(name).is_some_and(said) {
            return;
        }
        self.change(|known| {
            known.answers.insert(name.to_owned(), (uid.to_owned(), answer));
        });
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known());
        self.0.news.send_modify(|count| *count += 1);
    }

    /// The pods alone.
    pub(super) fn pods(&self) -> BTreeMap<String, PodView> {
        self.known().pods.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn role(observed: &Observations) -> Option<String> {
        observed.snapshot().expect("listed").first().and_then(|(pod, _)| pod.role.clone())
    }

    #[test]
    fn an_older_view_never_replaces_a_newer_one() {
        let observed = Observations::new();
        assert!(observed.snapshot().is_none(), "not listed yet");
        observed.all(vec![pod("a", "9", None)]);
        observed.pod(pod("a", "10", Some("writer")));
        observed.pod(pod("a", "9", None));
        assert_eq!(role(&observed).as_deref(), Some("writer"), "9 is older than 10");
        observed.all(vec![pod("a", "9", None)]);
        assert_eq!(role(&observed).as_deref(), Some("writer"));
        observed.pod(pod("b", "11", None));
        assert_eq!(role(&observed), None);
        observed.gone("db-0", "a");
        assert_eq!(observed.snapshot().expect("listed").len(), 1, "another pod of that name is there already");
        observed.gone("db-0", "b");
        assert!(observed.snapshot().expect("listed").is_empty());
    }

    #[test]
    fn who_says_the_same_again_wakes_nobody() {
        let observed = Observations::new();
        observed.all(vec![pod("a", "1", None)]);
        let mut news = observed.news();
        observed.answer("db-0", "a", Answer::Silent);
        assert!(news.has_changed().expect("open"));
        news.mark_unchanged();
        observed.answer("db-0", "a", Answer::Silent);
        assert!(!news.has_changed().expect("open"));
        observed.answer("db-0", "b", Answer::Silent);
        assert!(news.has_changed().expect("open"), "another pod's word");
    }

    #[test]
    fn after_a_gap_everybody_is_asked_again() {
        let observed = Observations::new();
        observed.all(vec![pod("a", "1", Some("writer"))]);
        observed.answer("db-0", "a", Answer::Silent);
        observed.forget();
        let (pod, seen) = observed.snapshot().expect("listed").remove(0);
        assert_eq!((pod.role.as_deref(), seen.answer), (Some("writer"), Answer::Unknown));
    }

    #[test]
    fn what_the_pod_before_said_does_not_count() {
        let observed = Observations::new();
        observed.all(vec![pod("a", "1", None)]);
        let answer = |observed: &Observations| observed.snapshot().expect("listed").remove(0).1.answer;
        assert_eq!(answer(&observed), Answer::Unknown);
        observed.answer("db-0", "a", Answer::Silent);
        assert_eq!(answer(&observed), Answer::Silent);
        observed.pod(pod("b", "2", None));
        observed.answer("db-0", "a", Answer::Silent);
        assert_eq!(answer(&observed), Answer::Unknown, "it is another pod");
        observed.pod(PodView { address: None, ..pod("c", "3", None) });
        assert_eq!(answer(&observed), Answer::Silent, "without an address nobody can be asked");
    }
}
