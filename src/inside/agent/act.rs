//! What the leading agent does to objects, and why there are never two members with the role of the writer.
//!
//! A leader may be stopped at any moment (a frozen node, a full disk) and go on later, when another one leads. The API
//! server knows nothing of terms, so each change is tied to what it was made from:
//!
//! 1. Who begins to lead waits until nobody else can rely on the lease ([`super::lease`]), and then writes a value that was
//!    never used before into an annotation of every member's pod ([`Actor::fence`]): every pod has a new resource version.
//! 2. Every change of a label carries the resource version that it was decided from, and the leader looks at its clock
//!    between deciding and sending. If the lease was still sure then, what was decided from is older than any later
//!    leader's annotation. So a change that arrives late finds another version and is refused; one that arrives in time is
//!    seen by the later leader, which decides only from the versions that its own annotation has made.
//! 3. A pod that is made after the annotation was written is one that no earlier leader could have decided about.
//! 4. Within a term the role is first taken, and given only after the API server has acknowledged that ([`super::plan`]).
//!    A pod that does not exist any more has no role. A change whose outcome is not known ends the fence: it is put up anew
//!    before anything else, which settles whether that change has arrived, and refuses it if it has not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    ask,
    known::{Observations, PodView},
    lease::Leadership,
    observe::selector,
    plan::Step,
};
use crate::{
    cluster::Refused,
    labels::{READS, ROLE},
};

/// Annotation of a member's pod: the term of the agent that gives its roles, and a value that makes it unique.
const TERM: &str = "wplab.dev/term";
/// Under which name the API server remembers our changes.
const MANAGER: &str = "wplab-agent";
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It was made.
    Made,
    /// The pod is not what it was, or is gone; what was decided has to be decided again.
    Overtaken,
}

/// The way to the objects.
pub(super) struct Actor {
    pub(super) pods: Api<Pod>,
    pub(super) maps: Api<ConfigMap>,
    pub(super) observed: Observations,
}

impl Actor {
    /// Makes sure that no earlier decision, by whomever, can still change a member's labels.
    ///
    /// # Errors
    /// The API server does not answer or refuses, or the lease is not sure any more. Then there is no fence.
    pub(super) async fn fence(&self, leadership: &Leadership) -> Result<()> {
        let listed = ask(PATIENCE, self.pods.list(&ListParams::default().labels(&selector()))).await?;
        for pod in listed.map_err(Refused).context("cannot list the members' pods")? {
            let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
            let unique = format!("{}.{:08x}", leadership.term, rand::random::<u32>());
            let patch = json!({ "metadata": { "annotations": { TERM: unique } } });
            still(leadership)?;
            match ask(PATIENCE, self.pods.patch(&name, &params(), &Patch::Merge(&patch))).await? {
                Ok(pod) => self.observed.pod(PodView::of(&pod)),
                Err(kube::Error::Api(status)) if status.code == 404 => self.observed.gone(&name, &uid),
                Err(error) => return Err(Refused(error)).with_context(|| format!("cannot mark pod {name}")),
            }
        }
        Ok(())
    }

    /// Changes one member's labels.
    ///
    /// # Errors
    /// It is not known whether they were changed: the fence has to be put up again. Or the lease is not sure any more.
    pub(super) async fn label(&self, leadership: &Leadership, pod: &PodView, step: &Step) -> Result<Done> {
        let patch = label_patch(pod, step);
        still(leadership)?;
        let name = &pod.name;
        match ask(PATIENCE, self.pods.patch(name, &params(), &Patch::Merge(&patch))).await? {
            Ok(pod) => {
                self.observed.pod(PodView::of(&pod));
                Ok(Done::Made)
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.observed.gone(name, &pod.uid);
                Ok(Done::Overtaken)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                // The kubelet writes to the pod as well; the newest version is fetched rather than waited for.
                if let Some(pod) = ask(PATIENCE, self.pods.get_opt(name)).await?.map_err(Refused)? {
                    self.observed.pod(PodView::of(&pod));
                }
                Ok(Done::Overtaken)
            }
            Err(error) => Err(Refused(error)).with_context(|| format!("cannot change the labels of pod {name}")),
        }
    }

    /// Changes a ConfigMap that `up` has made.
    ///
    /// # Errors
    /// The API server does not answer or refuses, or the lease is not sure any more.
    pub(super) async fn write(&self, leadership: &Leadership, name: &str, patch: &Value) -> Result<ConfigMap> {
        still(leadership)?;
        let written = ask(PATIENCE, self.maps.patch(name, &params(), &Patch::Merge(patch))).await?;
        written.map_err(Refused).with_context(|| format!("cannot write ConfigMap {name}"))
    }

    /// Reads a ConfigMap that `up` has made.
    ///
    /// # Errors
    /// The API server does not answer or refuses, or there is none.
    pub(super) async fn read(&self, name: &str) -> Result<ConfigMap> {
        ask(PATIENCE, self.maps.get(name))
            .await?
            .map_err(Refused)
            .with_context(|| format!("cannot read ConfigMap {name}"))
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// The labels, tied to the very version of the very pod that was decided about.
fn label_patch(pod: &PodView, step: &Step) -> Value {
    let reads = step.reads.then_some("true");
    json!({ "metadata": {
        "uid": pod.uid,
        "resourceVersion": pod.version,
        "labels": { ROLE: step.role, READS: reads },
    } })
}

/// The look at the clock, right before something is sent.
fn still(leadership: &Leadership) -> Result<()> {
    ensure!(leadership.surely_valid(), "the lease may have ended; nothing more is changed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_tied_to_the_version_that_was_decided_about_and_absent_ones_are_removed() {
        let pod = PodView { name: "db-0".into(), uid: "u".into(), version: "7".into(), ..PodView::default() };
        let step = Step { member: "db-0".into(), role: Some("reader".into()), reads: false, gives: false };
        let patch = label_patch(&pod, &step);
        assert_eq!(
            patch,
            json!({ "metadata": { "uid": "u", "resourceVersion": "7",
                "labels": { "wplab.dev/role": "reader", "wplab.dev/reads": null } } })
        );
    }
}
