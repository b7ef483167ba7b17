//! A StatefulSet whose pods cannot become ready is never rolled on by its controller, not even to a template that would
//! cure them (<https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback>): such pods have to
//! be deleted by hand, and here is the hand.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::{ResourceExt, api::DeleteParams};

use super::{Cluster, Refused, passing, ready};
use crate::run::{StepCx, wait::Look};

/// How long a pod of an old revision may be unready before it counts as stuck; a rolling update passes sooner.
const STUCK: Duration = Duration::from_secs(20);

impl Cluster {
    /// Waits until every member of a StatefulSet is ready and of the newest revision, and replaces those that are stuck.
    ///
    /// # Errors
    /// [`crate::run::wait::TimedOut`] with the last reason; the API server refuses.
    pub async fn until_members_ready(&self, cx: &StepCx, name: &str, limit: Duration) -> Result<()> {
        let api = self.api::<StatefulSet>();
        self.until_changed(cx, &format!("StatefulSet {name}"), limit, (&api, name), || async {
            let look = self.look_at(&api, name, |set| Ok(ready::stateful_set(set))).await?;
            if matches!(look, Look::NotYet(_)) {
                self.replace_stuck(name).await?;
            }
            Ok(look)
        })
        .await
    }

    /// Deletes the pods of a StatefulSet that are of an old revision and have been unready for a while; their controller
    /// makes them anew from today's template.
    ///
    /// # Errors
    /// The API server refuses; that it does not answer for a moment is none.
    pub async fn replace_stuck(&self, name: &str) -> Result<()> {
        let Ok(Some(set)) = self.api::<StatefulSet>().get_opt(name).await else { return Ok(()) };
        let Some(newest) = set.status.as_ref().and_then(|status| status.update_revision.as_deref()) else {
            return Ok(());
        };
        let Ok(pods) = self.api::<Pod>().list(&kube::api::ListParams::default()).await else { return Ok(()) };
        let mine = |pod: &&Pod| pod.owner_references().iter().any(|o| o.kind == "StatefulSet" && o.name == name);
        for pod in pods.items.iter().filter(mine).filter(|pod| is_stuck(pod, newest, Timestamp::now())) {
            let name = pod.name_any();
            let gone = self.api::<Pod>().delete(&name, &DeleteParams::default()).await;
            match gone {
                Ok(_) => {}
                Err(error) if passing(&error) => {}
                Err(error) => {
                    return Err(Refused(error)).with_context(|| format!("cannot delete the stuck pod {name}"));
                }
            }
        }
        Ok(())
    }
}

fn is_stuck(pod: &Pod, newest: &str, now: Timestamp) -> bool {
    let old = pod.labels().get("controller-revision-hash").is_some_and(|revision| revision != newest);
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let since = conditions
        .iter()
        .find(|c| c.type_ == "Ready" && c.status != "True")
        .and_then(|c| c.last_transition_time.as_ref());
    let long = since.is_some_and(|since| now.duration_since(since.0).unsigned_abs() >= STUCK);
    old && long && pod.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(revision: &str, ready: &str, since: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "nfs-0", "labels": {"controller-revision-hash": revision}},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]},
        }))
        .expect("a pod")
    }

    #[test]
    fn only_an_old_pod_that_has_been_unready_for_a_while_is_stuck() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let (long, short) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:55Z");
        assert!(is_stuck(&pod("nfs-1", "False", long), "nfs-2", now));
        assert!(!is_stuck(&pod("nfs-2", "False", long), "nfs-2", now), "it is of the newest revision");
        assert!(!is_stuck(&pod("nfs-1", "False", short), "nfs-2", now), "it may still be rolling");
        assert!(!is_stuck(&pod("nfs-1", "True", long), "nfs-2", now), "it is ready");
        let mut leaving = pod("nfs-1", "False", long);
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        assert!(!is_stuck(&leaving, "nfs-2", now), "it is going already");
    }
}
