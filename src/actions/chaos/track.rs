//! Looks on while a round takes: what each member was and when, how many replicas there were, whether the API server answered.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::ResourceExt;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    clock::Clock,
    report::{Mark, Step, Stretch, Timeline},
};
use crate::{
    cluster::{Cluster, ready},
    labels::{COMPONENT, Component, READER, ROLE, WRITER},
    run::wait::Look,
};

/// How often the API server is asked whether it is there, and how long it may take.
const EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(2);

/// Who looks on. Clones share what was seen.
#[derive(Clone)]
pub(super) struct Track {
    clock: Clock,
    seen: Arc<Mutex<Timeline>>,
    writer: watch::Sender<Option<String>>,
}

impl Track {
    pub(super) fn new(clock: Clock, writer: Option<String>) -> Track {
        Track { clock, seen: Arc::default(), writer: watch::channel(writer).0 }
    }

    /// The member that has the writer's role, now and at every change.
    pub(super) fn writer(&self) -> watch::Receiver<Option<String>> {
        self.writer.subscribe()
    }

    /// Something happened.
    pub(super) fn mark(&self, what: impl Into<String>) {
        let at = self.clock.now();
        self.lock().marks.push(Mark { at, what: what.into() });
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> Timeline {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Timeline> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks on until it is dropped.
    pub(super) async fn look_on(&self, cluster: &Cluster) -> Infallible {
        let database = format!("{COMPONENT}={}", Component::Database.as_str());
        tokio::select! {
            never = cluster.follow("app.kubernetes.io/name=wordpress", |pods| self.replicas(pods)) => never,
            never = cluster.follow(&database, |pods| self.members(pods)) => never,
            never = cluster.follow("", |all| self.autoscaler(all)) => never,
            never = self.api(cluster) => never,
        }
    }

    async fn api(&self, cluster: &Cluster) -> Infallible {
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = self.clock.now();
        loop {
            beat.tick().await;
            let answers = cluster.answers(PATIENCE).await;
            let now = self.clock.now();
            if !answers {
                let mut seen = self.lock();
                match seen.api_silent.last_mut().filter(|(_, to)| *to >= last) {
                    Some((_, to)) => *to = now,
                    None => seen.api_silent.push((last, now)),
                }
            }
            last = now;
        }
    }

    fn members(&self, pods: &BTreeMap<String, Pod>) {
        let at = self.clock.now();
        let is: BTreeMap<&String, &'static str> = pods.iter().map(|(name, pod)| (name, role(pod))).collect();
        let mut seen = self.lock();
        for (name, is) in &is {
            stretch(seen.members.entry((*name).clone()).or_default(), at, is);
        }
        for (name, stretches) in &mut seen.members {
            if !is.contains_key(name) {
                stretch(stretches, at, AWAY);
            }
        }
        let labelled = pods.iter().find(|(_, pod)| pod.labels().get(ROLE).is_some_and(|role| role == WRITER));
        let now = labelled.map(|(name, _)| name.clone());
        let moved = *self.writer.borrow() != now;
        if moved {
            let what = now.as_ref().map_or("nobody is the writer".to_owned(), |name| format!("{name} is the writer"));
            seen.marks.push(Mark { at, what });
            self.writer.send_replace(now);
        }
    }

    fn replicas(&self, pods: &BTreeMap<String, Pod>) {
        let ready = pods.values().filter(|pod| ready::pod(Some(pod)) == Look::Ready(())).count();
        step(&mut self.lock().ready, self.clock.now(), ready);
    }

    fn autoscaler(&self, all: &BTreeMap<String, HorizontalPodAutoscaler>) {
        let wanted = all.values().filter_map(|hpa| hpa.status.as_ref()).map(|status| status.desired_replicas).max();
        let wanted = wanted.and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
        step(&mut self.lock().wanted, self.clock.now(), wanted);
    }
}

const AWAY: &str = "away";

/// What a member is to those who look for one: its role, if it is ready.
fn role(pod: &Pod) -> &'static str {
    let serves = pod.metadata.deletion_timestamp.is_none() && ready::pod(Some(pod)) == Look::Ready(());
    match pod.labels().get(ROLE).map(String::as_str) {
        Some(WRITER) if serves => WRITER,
        Some(READER) if serves => READER,
        _ => AWAY,
    }
}

fn stretch(stretches: &mut Vec<Stretch>, at: f64, is: &'static str) {
    if stretches.last().is_none_or(|last| last.is != is) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a round is shorter than 2^64 ms")]
        stretches.push(Stretch { at: (at * 1000.0) as u64, is });
    }
}

fn step(steps: &mut Vec<Step>, at: f64, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    if steps.last().is_none_or(|last| last.count != count) {
        steps.push(Step { at, count });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, role: &str, ready: bool) -> (String, Pod) {
        let ready = if ready { "True" } else { "False" };
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "mysql", "ready": ready == "True", "image": "", "imageID": "", "restartCount": 0}]});
        let value = json!({"metadata": {"name": name, "labels": {ROLE: role}}, "status": status});
        (name.to_owned(), serde_json::from_value(value).expect("a pod"))
    }

    #[test]
    fn what_members_are_is_kept_from_change_to_change() {
        let track = Track::new(Clock::start(), Some("db-0".into()));
        track.members(&BTreeMap::from([pod("db-0", WRITER, true), pod("db-1", READER, true)]));
        track.members(&BTreeMap::from([pod("db-0", WRITER, false), pod("db-1", READER, true)]));
        track.members(&BTreeMap::from([pod("db-1", WRITER, true)]));
        let seen = track.seen();
        let is = |name: &str| seen.members[name].iter().map(|stretch| stretch.is).collect::<Vec<_>>();
        assert_eq!((is("db-0"), is("db-1")), (vec![WRITER, AWAY], vec![READER, WRITER]));
        let marks: Vec<&str> = seen.marks.iter().map(|mark| mark.what.as_str()).collect();
        assert_eq!((marks, track.writer().borrow().as_deref()), (vec!["db-1 is the writer"], Some("db-1")));
    }
}
