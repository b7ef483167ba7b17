//! What is known of the members at this moment: their pods, and what each of them says. Whoever decides takes a snapshot, and
//! is woken when there is something new.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::{sync::watch, time::Instant};

use super::decide::{Answer, Seen};
use crate::labels::{READS, ROLE};

/// How long a member may be silent, or have no address, until it is taken for dead.
const SILENCE: Duration = Duration::from_secs(2);
/// The same for one that has not been heard since this agent began: after a cold start some come later than others.
const FIRST_SILENCE: Duration = Duration::from_secs(15);
/// How many fresh tries to reach it must have failed as well.
const TRIES: u32 = 2;
/// How long a server may be away that its supervisor starts again.
const DOWN: Duration = Duration::from_secs(8);

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
    heard: BTreeMap<String, Heard>,
    /// Since when a pod has had no address.
    unplaced: BTreeMap<String, Instant>,
    /// Who has been heard since this agent began.
    met: BTreeSet<String>,
}

/// What was heard last of the member in one pod.
#[derive(Clone)]
struct Heard {
    uid: String,
    answer: Answer,
    /// Since when it has been silent; or, where it says that there is no server, since when that is so.
    since: Instant,
    /// How often in a row fresh tries to reach it have failed since it has been silent.
    tries: u32,
    /// What its own clock showed, and when that was heard.
    clock: (u64, Instant),
}

fn patience(met: bool) -> Duration {
    if met { SILENCE } else { FIRST_SILENCE }
}

impl Heard {
    fn silent(&self) -> bool {
        matches!(self.answer, Answer::Silent | Answer::Faint)
    }

    /// Whether it is taken for dead; it has been heard before, or not.
    fn gone(&self, met: bool, now: Instant) -> bool {
        self.silent() && self.tries >= TRIES && now - self.since >= patience(met)
    }

    /// Whether its server is given up.
    fn down(&self, now: Instant) -> bool {
        self.without_server() && now - self.since >= DOWN
    }

    fn without_server(&self) -> bool {
        matches!(&self.answer, Answer::Says(status) if status.server.is_none() && status.has_data)
    }
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
        let now = Instant::now();
        let seen = |pod: &PodView| {
            let heard = known.heard.get(&pod.name).filter(|heard| heard.uid == pod.uid);
            let answer = match (heard, &pod.address) {
                (Some(heard), _) => heard.answer.clone(),
                (None, Some(_)) => Answer::Unknown,
                (None, None) => Answer::Silent,
            };
            let met = known.met.contains(&pod.name);
            let unplaced = known.unplaced.get(&pod.name).is_some_and(|since| now - *since >= patience(met));
            Seen {
                name: pod.name.clone(),
                role: pod.role.clone(),
                reads: pod.reads,
                answer,
                gone: unplaced || heard.is_some_and(|heard| heard.gone(met, now)),
                down: heard.is_some_and(|heard| heard.down(now)),
            }
        };
        // db-0 … db-8: the order of the names is that of the ordinals.
        known.listed.then(|| known.pods.values().map(|pod| (pod.clone(), seen(pod))).collect())
    }

    /// A pod as the API server has just answered; an older view never replaces a newer one.
    pub(super) fn pod(&self, pod: PodView) {
        self.change(|known| {
            if !known.pods.get(&pod.name).is_some_and(|newer| pod.older_than(newer)) {
                known.pods.insert(pod.name.clone(), pod);
                known.note_addresses();
            }
        });
    }

    /// A pod that does not exist any more.
    pub(super) fn gone(&self, name: &str, uid: &str) {
        self.change(|known| {
            if known.pods.get(name).is_some_and(|pod| pod.uid == uid) {
                known.pods.remove(name);
                known.heard.remove(name);
                known.note_addresses();
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
            known.heard.retain(|name, heard| known.pods.get(name).is_some_and(|pod| pod.uid == heard.uid));
            known.note_addresses();
        });
    }

    /// Forgets what the members said: nothing is decided before each of them was asked again.
    pub(super) fn forget(&self) {
        self.change(|known| {
            known.heard.clear();
            known.met.clear();
            known.unplaced.clear();
            known.note_addresses();
        });
    }

    /// What the member in this pod says.
    pub(super) fn answer(&self, name: &str, uid: &str, answer: Answer) {
        let now = Instant::now();
        let (answer, clock) = match answer {
            Answer::Says(mut status) => {
                let clock = (std::mem::take(&mut status.clock_ms), now);
                (Answer::Says(status), clock)
            }
            other => (other, (0, now)),
        };
        // A member says the same every second, as a sign of life, which is no news.
        if let Some(heard) = self.known().heard.get_mut(name).filter(|heard| heard.uid == uid && heard.answer == answer)
        {
            heard.clock = clock;
            return;
        }
        self.change(|known| {
            let mut heard = Heard { uid: uid.to_owned(), answer, since: now, tries: 0, clock };
            if matches!(heard.answer, Answer::Says(_)) {
                known.met.insert(name.to_owned());
            }
            if let Some(before) = known.heard.get(name).filter(|before| before.uid == uid)
                && (before.silent(), before.without_server()) == (heard.silent(), heard.without_server())
            {
                (heard.since, heard.tries) = (before.since, before.tries);
            }
            known.heard.insert(name.to_owned(), heard);
        });
    }

    /// Whether a silent member could be reached by a fresh try, on its supervisor's port or its server's.
    pub(super) fn tried(&self, name: &str, uid: &str, reached: bool) {
        if let Some(heard) = self.known().heard.get_mut(name).filter(|heard| heard.uid == uid && heard.silent()) {
            heard.tries = if reached { 0 } else { heard.tries + 1 };
        }
    }

    /// Whether the member in this pod is silent.
    pub(super) fn is_silent(&self, name: &str, uid: &str) -> bool {
        self.known().heard.get(name).is_some_and(|heard| heard.uid == uid && heard.silent())
    }

    /// What the clock of the member's supervisor shows about now, in milliseconds, and which life of it that is; `None` while the
    /// one in this pod does not answer.
    pub(super) fn life_of(&self, name: &str, uid: &str) -> Option<(u64, String)> {
        let known = self.known();
        let heard = known.heard.get(name).filter(|heard| heard.uid == uid)?;
        let Answer::Says(status) = &heard.answer else { return None };
        let (shown, at) = heard.clock;
        Some((shown + u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX), status.instance.clone()))
    }

    /// Wakes whoever waits for news, though nobody has said anything new.
    pub(super) fn wake(&self) {
        self.0.news.send_modify(|count| *count += 1);
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known());
        self.wake();
    }

    /// The pods alone.
    pub(super) fn pods(&self) -> BTreeMap<String, PodView> {
        self.known().pods.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Remembers since when pods have had no address.
    fn note_addresses(&mut self) {
        let without: BTreeSet<&String> =
            self.pods.iter().filter(|(_, pod)| pod.address.is_none()).map(|(name, _)| name).collect();
        self.unplaced.retain(|name, _| without.contains(name));
        for name in without {
            self.unplaced.entry(name.clone()).or_insert_with(Instant::now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::member::status::MemberStatus;

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

    fn says(server: bool, clock_ms: u64) -> Answer {
        let server = server.then(crate::inside::member::status::ServerFacts::default);
        let status = MemberStatus { has_data: true, server, clock_ms, ..MemberStatus::default() };
        Answer::Says(Box::new(status))
    }

    fn heard(observed: &Observations) -> Heard {
        observed.known().heard.get("db-0").cloned().expect("heard")
    }

    #[test]
    fn a_member_is_taken_for_dead_when_it_is_silent_for_long_and_fresh_tries_fail_too() {
        let observed = Observations::new();
        observed.all(vec![pod("a", "1", None)]);
        observed.answer("db-0", "a", says(true, 5));
        observed.answer("db-0", "a", Answer::Silent);
        assert!(observed.known().met.contains("db-0"));
        let later = Instant::now() + SILENCE;
        assert!(!heard(&observed).gone(true, later), "nobody has tried again");
        (0..TRIES).for_each(|_| observed.tried("db-0", "a", false));
        assert!(!heard(&observed).gone(true, Instant::now()), "not for long yet");
        assert!(heard(&observed).gone(true, later));
        assert!(!heard(&observed).gone(false, later), "one that was never heard may be about to come");
        assert!(heard(&observed).gone(false, Instant::now() + FIRST_SILENCE));
        observed.tried("db-0", "a", true);
        assert!(!heard(&observed).gone(true, later), "it was reached");
    }

    #[test]
    fn a_pod_without_an_address_is_remembered_until_it_has_one() {
        let observed = Observations::new();
        observed.all(vec![PodView { address: None, ..pod("a", "1", None) }]);
        assert!(observed.known().unplaced.contains_key("db-0"));
        observed.pod(pod("a", "2", None));
        assert!(observed.known().unplaced.is_empty());
        observed.pod(PodView { address: None, ..pod("b", "3", None) });
        assert!(observed.known().unplaced.contains_key("db-0"));
        observed.gone("db-0", "b");
        assert!(observed.known().unplaced.is_empty());
    }

    #[test]
    fn a_server_that_does_not_come_back_is_given_up_and_what_else_changes_does_not_matter() {
        let observed = Observations::new();
        observed.all(vec![pod("a", "1", None)]);
        observed.answer("db-0", "a", says(true, 5));
        observed.answer("db-0", "a", says(false, 6));
        let since = heard(&observed).since;
        let Answer::Says(mut status) = says(false, 7) else { unreachable!("it says something") };
        status.note = "started again".into();
        observed.answer("db-0", "a", Answer::Says(status));
        assert_eq!(heard(&observed).since, since);
        assert!(!heard(&observed).down(since + DOWN / 2) && heard(&observed).down(since + DOWN));
        observed.answer("db-0", "a", says(true, 8));
        assert!(!heard(&observed).down(since + DOWN * 9));
    }

    #[test]
    fn a_members_clock_is_known_without_being_news() {
        let observed = Observations::new();
        observed.all(vec![pod("a", "1", None)]);
        assert_eq!(observed.life_of("db-0", "a"), None);
        observed.answer("db-0", "a", says(true, 1_000));
        let mut news = observed.news();
        news.mark_unchanged();
        observed.answer("db-0", "a", says(true, 2_000));
        assert!(!news.has_changed().expect("open"));
        assert!(observed.life_of("db-0", "a").is_some_and(|(clock, _)| (2_000..60_000).contains(&clock)));
        assert_eq!(observed.life_of("db-0", "b"), None, "another pod's");
        observed.answer("db-0", "a", Answer::Silent);
        assert_eq!(observed.life_of("db-0", "a"), None);
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
