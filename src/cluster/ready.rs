//! When an object counts as ready: pure functions from an object, or its absence, to ready or a sentence that says what is
//! missing. They are asked through [`super::Cluster::until_ready`], by the smoke checks and by `status`.

use anyhow::{Result, bail};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::Job,
        core::v1::{ContainerStatus, Node, PersistentVolumeClaim, Pod},
        discovery::v1::EndpointSlice,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::ResourceExt;

use crate::run::wait::Look;

fn not_yet<T>(reason: impl Into<String>) -> Look<T> {
    Look::NotYet(reason.into())
}

fn absent<T>() -> Look<T> {
    not_yet("it does not exist yet")
}

/// A node whose kubelet says that it takes pods.
pub fn node(node: Option<&Node>) -> Look<()> {
    let Some(node) = node else { return absent() };
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    match conditions.into_iter().flatten().find(|c| c.type_ == "Ready") {
        Some(ready) if ready.status == "True" => Look::Ready(()),
        Some(ready) => {
            not_yet(ready.message.clone().unwrap_or_else(|| "the kubelet says that it is not ready".to_owned()))
        }
        None => not_yet("its kubelet has not reported yet"),
    }
}

/// A pod whose containers are all ready.
pub fn pod(pod: Option<&Pod>) -> Look<()> {
    let Some(pod) = pod else { return absent() };
    if pod.metadata.deletion_timestamp.is_some() {
        return not_yet("it is being deleted");
    }
    if pod_condition(pod, "Ready").is_some_and(|(status, _)| status == "True") {
        return Look::Ready(());
    }
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    not_yet(complaint(pod).unwrap_or_else(|| match phase {
        "Running" => "it runs but is not ready".to_owned(),
        phase => format!("it is {phase}"),
    }))
}

/// A Deployment whose newest version runs everywhere and the old one nowhere.
pub fn deployment(deployment: Option<&Deployment>) -> Look<()> {
    let Some(deployment) = deployment else { return absent() };
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return not_yet("its controller has not looked at it yet") };
    if status.observed_generation < deployment.metadata.generation {
        return not_yet("its controller has not seen the latest change yet");
    }
    let updated = status.updated_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    let all = status.replicas.unwrap_or(0);
    match () {
        () if updated < wanted => not_yet(format!("{updated} of {wanted} replicas are of the latest version")),
        () if all > updated => not_yet(format!("{} old replicas are still there", all - updated)),
        () if available < wanted => not_yet(format!("{available} of {wanted} replicas are ready")),
        () => Look::Ready(()),
    }
}

/// A StatefulSet whose members are all ready and of its newest version.
pub fn stateful_set(set: Option<&StatefulSet>) -> Look<()> {
    let Some(set) = set else { return absent() };
    let wanted = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let Some(status) = &set.status else { return not_yet("its controller has not looked at it yet") };
    if status.observed_generation < set.metadata.generation {
        return not_yet("its controller has not seen the latest change yet");
    }
    let ready = status.ready_replicas.unwrap_or(0);
    if ready < wanted {
        return not_yet(format!("{ready} of {wanted} members are ready"));
    }
    if status.replicas > wanted {
        return not_yet(format!("{} members are still to go", status.replicas - wanted));
    }
    // Where nobody restarts pods but who deletes them, that somebody knows who has to be.
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref()).and_then(|of| of.type_.as_deref());
    let updated = if strategy == Some("OnDelete") || status.update_revision == status.current_revision {
        wanted
    } else {
        status.updated_replicas.unwrap_or(0)
    };
    if updated < wanted {
        not_yet(format!("{updated} of {wanted} members are of the latest version"))
    } else {
        Look::Ready(())
    }
}

/// A Job that has done its work.
///
/// # Errors
/// It has failed for good.
pub fn job(job: Option<&Job>) -> Result<Look<()>> {
    let Some(job) = job else { return Ok(absent()) };
    let status = job.status.clone().unwrap_or_default();
    let condition = |name| status.conditions.iter().flatten().find(|c| c.type_ == name && c.status == "True");
    if condition("Complete").is_some() {
        return Ok(Look::Ready(()));
    }
    if let Some(failed) = condition("Failed") {
        let why = failed.message.as_deref().or(failed.reason.as_deref()).unwrap_or("no reason given");
        bail!("job {} failed: {why}", job.name_any());
    }
    Ok(not_yet(match (status.active.unwrap_or(0), status.failed.unwrap_or(0)) {
        (0, 0) => "its pod has not started yet".to_owned(),
        (_, 0) => "it is running".to_owned(),
        (_, failed) => format!("it is being tried again after {failed} failures"),
    }))
}

/// Whether a Job has failed for good, so that only a new one can help.
pub fn job_has_failed(job: &Job) -> bool {
    self::job(Some(job)).is_err()
}

/// An autoscaler that has read the CPU use of its pods; the value is in percent of the request.
pub fn cpu_value(hpa: Option<&HorizontalPodAutoscaler>) -> Look<i32> {
    let Some(hpa) = hpa else { return absent() };
    let Some(status) = &hpa.status else { return not_yet("its controller has not looked at it yet") };
    let cpu = status.current_metrics.iter().flatten().filter_map(|m| m.resource.as_ref()).find(|r| r.name == "cpu");
    if let Some(value) = cpu.and_then(|r| r.current.average_utilization) {
        return Look::Ready(value);
    }
    let trouble = status.conditions.iter().flatten().find(|c| c.status == "False" && c.type_ == "ScalingActive");
    not_yet(match trouble.and_then(|c| c.message.as_deref()) {
        Some(message) => format!("no CPU value yet: {message}"),
        None => "no CPU value yet".to_owned(),
    })
}

/// An aggregated API that answers.
pub fn api_service(service: Option<&APIService>) -> Look<()> {
    let Some(service) = service else { return absent() };
    let conditions = service.status.as_ref().and_then(|s| s.conditions.as_ref());
    match conditions.into_iter().flatten().find(|c| c.type_ == "Available") {
        Some(available) if available.status == "True" => Look::Ready(()),
        Some(available) => not_yet(available.message.clone().unwrap_or_else(|| "it is not available".to_owned())),
        None => not_yet("the API server has not tried it yet"),
    }
}

/// How many ready addresses a Service has in its endpoint slices; ready with at least one.
pub fn endpoints(slices: &[EndpointSlice]) -> Look<usize> {
    let all = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    // An endpoint without the condition counts as ready: that is how the API defines it.
    let ready = all.filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)).count();
    if ready == 0 { not_yet("its Service has no ready endpoint") } else { Look::Ready(ready) }
}

/// A claim that has its volume.
pub fn claim(claim: Option<&PersistentVolumeClaim>) -> Look<()> {
    let Some(claim) = claim else { return absent() };
    match claim.status.as_ref().and_then(|s| s.phase.as_deref()) {
        Some("Bound") => Look::Ready(()),
        phase => not_yet(format!("it is {}", phase.unwrap_or("Pending"))),
    }
}

/// What the first of these pods that has something to complain about complains about.
pub fn trouble(pods: &[Pod]) -> Option<String> {
    pods.iter().find_map(|pod| complaint(pod).map(|text| format!("pod {}: {text}", pod.name_any())))
}

/// Why a pod does not get on: it fits on no node, its image does not come, a container keeps ending.
pub fn complaint(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if let Some(("False", Some(message))) = pod_condition(pod, "PodScheduled") {
        return Some(format!("it fits on no node: {message}"));
    }
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    containers.filter_map(container_complaint).next()
}

fn container_complaint(container: &ContainerStatus) -> Option<String> {
    let name = &container.name;
    let waiting = container.state.as_ref().and_then(|s| s.waiting.as_ref());
    let reason = waiting.and_then(|w| w.reason.as_deref()).unwrap_or_default();
    let message = waiting.and_then(|w| w.message.as_deref()).unwrap_or_default();
    let last = container.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    let now = container.state.as_ref().and_then(|s| s.terminated.as_ref()).filter(|t| t.exit_code != 0);
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
            Some(format!("the image {} of container {name} cannot be had: {message}", container.image))
        }
        "CrashLoopBackOff" => {
            let ended =
                last.map_or_else(String::new, |t| format!(", last with {}", ending(t.exit_code, t.reason.as_deref())));
            Some(format!("container {name} keeps ending ({} times{ended})", container.restart_count))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Some(format!("container {name} cannot start: {message}"))
        }
        _ => now.map(|t| format!("container {name} ended with {}", ending(t.exit_code, t.reason.as_deref()))),
    }
}

fn ending(code: i32, reason: Option<&str>) -> String {
    match reason {
        Some("OOMKilled") => "code 137: out of memory".to_owned(),
        _ => format!("code {code}"),
    }
}

fn pod_condition<'a>(pod: &'a Pod, name: &str) -> Option<(&'a str, Option<&'a str>)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|c| c.type_ == name)?;
    Some((found.status.as_str(), found.message.as_deref()))
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn from<K: DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).expect("fits its type")
    }

    fn reason<T: std::fmt::Debug>(look: Look<T>) -> String {
        match look {
            Look::NotYet(reason) => reason,
            ready @ Look::Ready(_) => panic!("unexpectedly {ready:?}"),
        }
    }

    #[test]
    fn what_does_not_exist_is_not_ready() {
        assert_eq!(reason(node(None)), "it does not exist yet");
        assert_eq!(reason(deployment(None)), "it does not exist yet");
        assert_eq!(reason(job(None).expect("not fatal")), "it does not exist yet");
    }

    #[test]
    fn a_node_is_ready_when_its_kubelet_says_so() {
        let of = |status: &str| {
            from::<Node>(
                json!({"status": {"conditions": [{"type": "Ready", "status": status, "message": "cni is not there"}]}}),
            )
        };
        assert_eq!(node(Some(&of("True"))), Look::Ready(()));
        assert_eq!(reason(node(Some(&of("False")))), "cni is not there");
    }

    #[test]
    fn a_deployment_is_rolled_out_when_only_the_newest_version_is_there_and_ready() {
        let of = |observed: i64, replicas: i32, updated: i32, available: i32| {
            deployment(Some(&from(json!({
                "metadata": {"generation": 2}, "spec": {"replicas": 3, "selector": {}, "template": {}},
                "status": {"observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available}
            }))))
        };
        assert_eq!(of(2, 3, 3, 3), Look::Ready(()));
        assert_eq!(reason(of(1, 3, 3, 3)), "its controller has not seen the latest change yet");
        assert_eq!(reason(of(2, 3, 1, 3)), "1 of 3 replicas are of the latest version");
        assert_eq!(reason(of(2, 4, 3, 3)), "1 old replicas are still there");
        assert_eq!(reason(of(2, 3, 3, 2)), "2 of 3 replicas are ready");
    }

    #[test]
    fn a_stateful_set_is_ready_with_all_members_of_the_newest_version() {
        let of = |ready: i32, revision: &str, updated: i32| {
            stateful_set(Some(&from(json!({
                "metadata": {"generation": 1}, "spec": {"replicas": 3, "selector": {}, "template": {}, "serviceName": "x"},
                "status": {"observedGeneration": 1, "replicas": 3, "readyReplicas": ready, "currentRevision": "a",
                           "updateRevision": revision, "updatedReplicas": updated}
            }))))
        };
        assert_eq!(of(3, "a", 0), Look::Ready(()));
        assert_eq!(reason(of(2, "a", 0)), "2 of 3 members are ready");
        assert_eq!(reason(of(3, "b", 1)), "1 of 3 members are of the latest version");
    }

    #[test]
    fn a_failed_job_is_beyond_hope_and_says_why() {
        let of = |condition: &str| {
            from::<Job>(
                json!({"metadata": {"name": "install"}, "status": {"conditions": [{"type": condition, "status": "True", "message": "BackoffLimitExceeded"}]}}),
            )
        };
        assert_eq!(job(Some(&of("Complete"))).expect("fine"), Look::Ready(()));
        assert_eq!(
            job(Some(&of("Failed"))).expect_err("fatal").to_string(),
            "job install failed: BackoffLimitExceeded"
        );
        let again = from::<Job>(json!({"status": {"active": 1, "failed": 2}}));
        assert_eq!(reason(job(Some(&again)).expect("not fatal")), "it is being tried again after 2 failures");
    }

    #[test]
    fn an_autoscaler_is_ready_with_a_cpu_value_and_otherwise_says_what_its_controller_says() {
        let with = json!({"status": {"desiredReplicas": 3, "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}}]}});
        assert_eq!(cpu_value(Some(&from(with))), Look::Ready(12));
        let without = json!({"status": {"desiredReplicas": 0, "conditions": [{"type": "ScalingActive", "status": "False", "message": "no metrics"}]}});
        assert_eq!(reason(cpu_value(Some(&from(without)))), "no CPU value yet: no metrics");
    }

    #[test]
    fn endpoints_count_when_ready_or_silent() {
        let slice = |ready: Value| {
            from::<EndpointSlice>(
                json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]}),
            )
        };
        assert_eq!(endpoints(&[slice(json!(true)), slice(json!(null))]), Look::Ready(2));
        assert_eq!(reason(endpoints(&[slice(json!(false))])), "its Service has no ready endpoint");
    }

    #[test]
    fn a_pods_complaint_names_the_image_the_container_or_the_missing_node() {
        let pod_with = |state: Value, last: Value| {
            from::<Pod>(json!({"metadata": {"name": "db-0"}, "status": {"phase": "Pending", "containerStatuses": [
                {"name": "mysql", "image": "wplab/database:1", "imageID": "", "ready": false, "restartCount": 4, "state": state, "lastState": last}]}}))
        };
        let pull = pod_with(json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}), json!({}));
        assert_eq!(
            trouble(&[pull]).expect("a complaint"),
            "pod db-0: the image wplab/database:1 of container mysql cannot be had: not found"
        );
        let crash = pod_with(
            json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
        );
        assert_eq!(
            complaint(&crash).expect("a complaint"),
            "container mysql keeps ending (4 times, last with code 137: out of memory)"
        );
        let homeless: Pod = from(
            json!({"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/4 nodes"}]}}),
        );
        assert_eq!(reason(pod(Some(&homeless))), "it fits on no node: 0/4 nodes");
    }

    #[test]
    fn a_claim_is_ready_when_bound() {
        assert_eq!(claim(Some(&from(json!({"status": {"phase": "Bound"}})))), Look::Ready(()));
        assert_eq!(reason(claim(Some(&from(json!({}))))), "it is Pending");
    }

    #[test]
    fn an_aggregated_api_is_ready_when_available() {
        let of = |status: &str| {
            from::<APIService>(
                json!({"status": {"conditions": [{"type": "Available", "status": status, "message": "no endpoints"}]}}),
            )
        };
        assert_eq!(api_service(Some(&of("True"))), Look::Ready(()));
        assert_eq!(reason(api_service(Some(&of("False")))), "no endpoints");
    }
}
