//! Which members have yet to be restarted, and which of them are beyond waiting: pure, from a pod and what its supervisor says. One that
//! waits for its turn is left alone; one that cannot live with what it was made of is not.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::{ResourceExt, api::DeleteParams};

use super::{
    members::{Member, pods},
    names::MEMBERS,
    objects::TEMPLATE,
};
use crate::{
    cluster::{Cluster, Refused, passing, ready},
    inside::member::status::State,
};

/// How long a member may be unready, and its pod or its server have a reason to complain, before nobody waits for it.
const BROKEN: Duration = Duration::from_secs(20);
/// The same when its supervisor fails at what it tries, which may still pass.
const FAILING: Duration = Duration::from_mins(1);
/// How often in a row a server may end by itself: the third time it has been tried again after pauses.
const FALLS: u32 = 3;

/// What the template of a StatefulSet hashes to.
pub(super) fn template_of(set: &StatefulSet) -> Option<String> {
    set.spec.as_ref()?.template.metadata.as_ref()?.annotations.as_ref()?.get(TEMPLATE).cloned()
}

/// Whether a pod was made from another template than today's. One of a version that did not say so was.
pub(super) fn is_stale(pod: &Pod, set: &StatefulSet) -> bool {
    match (pod.annotations().get(TEMPLATE), template_of(set)) {
        (None, None) => !of_today(pod, set),
        (made_of, today) => made_of != today.as_ref(),
    }
}

fn of_today(pod: &Pod, set: &StatefulSet) -> bool {
    let newest = set.status.as_ref().and_then(|status| status.update_revision.as_ref());
    pod.labels().get("controller-revision-hash") == newest
}

/// Why there is no use in waiting for a member, if there is none.
pub(super) fn broken(member: &Member, pod: &Pod, now: Timestamp) -> Option<String> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let since = |name: &str| conditions.iter().find(|c| c.type_ == name && c.status != "True");
    let unready = since("Ready").or_else(|| since("PodScheduled"))?.last_transition_time.as_ref()?;
    let unready = now.duration_since(unready.0).unsigned_abs();
    if pod.metadata.deletion_timestamp.is_some() || unready < BROKEN {
        return None;
    }
    let status = member.status.as_ref();
    if let Some(why) = ready::complaint(pod) {
        return Some(why);
    }
    if let Some(status) = status.filter(|status| status.falls >= FALLS || status.state == State::Stuck) {
        return status.unready();
    }
    status.filter(|status| !status.trouble.is_empty() && unready >= FAILING).map(|status| status.trouble.clone())
}

/// Restarts members that cannot live with what they were made of, where that is not what they would be made of today.
///
/// # Errors
/// The API server refuses; that it does not answer for a moment is none.
pub(super) async fn replace(cluster: &Cluster, members: &[Member]) -> Result<()> {
    if members.iter().all(|member| member.unready().is_none()) {
        return Ok(());
    }
    let (Ok(Some(set)), Ok(pods)) = (cluster.get::<StatefulSet>(MEMBERS).await, pods(cluster).await) else {
        return Ok(());
    };
    for pod in pods.iter().filter(|pod| is_stale(pod, &set)) {
        let name = pod.name_any();
        let member = members.iter().find(|member| member.name == name);
        if member.and_then(|member| broken(member, pod, Timestamp::now())).is_none() {
            continue;
        }
        match cluster.api::<Pod>().delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(error) if passing(&error) => {}
            Err(error) => return Err(Refused(error)).with_context(|| format!("cannot restart {name}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inside::member::status::MemberStatus;

    fn made_of(hash: Option<&str>) -> Value {
        hash.map_or_else(|| json!({}), |hash| json!({ TEMPLATE: hash }))
    }

    fn set(hash: Option<&str>) -> StatefulSet {
        let template = json!({"metadata": {"annotations": made_of(hash)}});
        serde_json::from_value(json!({
            "spec": {"selector": {}, "serviceName": "x", "template": template},
            "status": {"replicas": 1, "updateRevision": "db-2"},
        }))
        .expect("a StatefulSet")
    }

    fn pod(hash: Option<&str>, status: Value) -> Pod {
        let metadata =
            json!({"name": "db-1", "annotations": made_of(hash), "labels": {"controller-revision-hash": "db-1"}});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).expect("a pod")
    }

    #[test]
    fn a_pod_is_stale_when_its_template_is_not_todays() {
        let of = |hash| pod(hash, json!({}));
        assert!(!is_stale(&of(Some("a")), &set(Some("a"))) && is_stale(&of(Some("b")), &set(Some("a"))));
        assert!(is_stale(&of(None), &set(Some("a"))), "an earlier version made it");
        assert!(is_stale(&of(None), &set(None)), "of an earlier version, and not its newest");
    }

    #[test]
    fn only_who_has_a_reason_that_does_not_pass_is_not_waited_for() {
        let now: Timestamp = "2026-01-01T00:02:00Z".parse().expect("a time");
        let unready =
            |since: &str| json!({"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": since}]});
        let (long, short) = ("2026-01-01T00:00:30Z", "2026-01-01T00:01:55Z");
        let member = |status: MemberStatus| Member {
            name: "db-1".into(),
            node: None,
            role: None,
            reads: false,
            pod_waits: None,
            status: Some(status),
        };
        let falls = |falls| MemberStatus { falls, note: "mysqld ended".into(), ..MemberStatus::default() };
        let why = |status: MemberStatus, since: &str| broken(&member(status), &pod(None, unready(since)), now);
        assert_eq!(why(falls(3), long).as_deref(), Some("starting: mysqld ended"));
        assert_eq!(why(falls(3), short), None, "it may still come");
        assert_eq!(why(falls(2), long), None);
        assert_eq!(why(MemberStatus { state: State::Cloning, ..MemberStatus::default() }, long), None, "it waits");
        let failing = || MemberStatus { trouble: "mysqld failed".into(), ..MemberStatus::default() };
        assert_eq!(why(failing(), long).as_deref(), Some("mysqld failed"));
        assert_eq!(why(failing(), "2026-01-01T00:01:30Z"), None, "it may pass");
        let homeless = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "no node", "lastTransitionTime": long}]});
        let told = broken(&member(MemberStatus::default()), &pod(None, homeless), now);
        assert_eq!(told.as_deref(), Some("it fits on no node: no node"));
        let well = json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": long}]});
        assert_eq!(broken(&member(falls(9)), &pod(None, well), now), None);
    }
}
