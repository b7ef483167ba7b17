//! How much CPU pods use, as each link of the chain to the autoscaler knows it: the kubelet of their node, and the metrics API.
//! What they have asked for is in the pods themselves. Reading is pure; asking is a method of [`Cluster`].

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hyper::Request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::ListParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};

use super::{Cluster, Refused};
use crate::labels::NAMESPACE;

/// What the metrics API last measured of a pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// When.
    pub at: Timestamp,
    /// CPU in use, in cores.
    pub cores: f64,
}

/// What a kubelet has counted of a pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// CPU used since the pod began, in seconds.
    pub seconds: f64,
}

impl Counted {
    /// CPU in use since an earlier count, in cores; `None` when it is the same count, or of another pod of that name.
    #[expect(clippy::cast_precision_loss, reason = "two counts are less than 2^52 ms apart")]
    pub fn since(self, before: Counted) -> Option<f64> {
        let passed = (self.at - before.at) as f64 / 1000.0;
        (passed > 0.0 && self.seconds >= before.seconds).then(|| (self.seconds - before.seconds) / passed)
    }
}

impl Cluster {
    /// What the metrics API last measured of each of the pods in the lab's namespace that a label selector picks.
    ///
    /// # Errors
    /// Nobody answers that API, or not as it should.
    pub async fn measured(&self, selector: &str) -> Result<BTreeMap<String, Measured>> {
        let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
        let kind = ApiResource::from_gvk_with_plural(&kind, "pods");
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), NAMESPACE, &kind);
        let found = api.list(&ListParams::default().labels(selector)).await.map_err(Refused);
        let found = found.context("cannot read what was measured")?;
        Ok(found.items.iter().filter_map(|pod| Some((pod.name_any(), measured(pod)?))).collect())
    }

    /// What a node's kubelet has counted of each of its pods in the lab's namespace.
    ///
    /// # Errors
    /// The API server does not answer or refuses, or the kubelet does not answer it.
    pub async fn counted(&self, node: &str) -> Result<BTreeMap<String, Counted>> {
        let path = format!("/api/v1/nodes/{node}/proxy/metrics/resource");
        let request = Request::get(path).body(Vec::new()).context("the name of a node is no part of a path")?;
        let answer = self.client.request_text(request).await.map_err(Refused);
        Ok(counted(&answer.with_context(|| format!("cannot ask the kubelet of {node}"))?))
    }
}

fn measured(pod: &DynamicObject) -> Option<Measured> {
    let at = pod.data.get("timestamp")?.as_str()?.parse().ok()?;
    let containers = pod.data.get("containers")?.as_array()?;
    let cores = containers.iter().filter_map(|container| cores(container.pointer("/usage/cpu")?.as_str()?)).sum();
    Some(Measured { at, cores })
}

/// The lines `pod_cpu_usage_seconds_total{namespace="…",pod="…"} SECONDS MILLISECONDS` of the lab's namespace.
fn counted(text: &str) -> BTreeMap<String, Counted> {
    let one = |line: &str| {
        let (labels, values) = line.strip_prefix("pod_cpu_usage_seconds_total{")?.split_once('}')?;
        let label = |name: &str| {
            let mut all = labels.split(',').filter_map(|label| label.split_once('='));
            all.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"').to_owned())
        };
        let mut values = values.split_whitespace();
        let (seconds, at) = (values.next()?.parse().ok()?, values.next()?.parse().ok()?);
        (label("namespace")? == NAMESPACE).then_some((label("pod")?, Counted { at, seconds }))
    };
    text.lines().filter_map(one).collect()
}

/// What all containers of a pod together have asked for, in cores.
pub fn requested(pod: &Pod) -> f64 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let asked = containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref()?.get("cpu"));
    asked.filter_map(|quantity| cores(&quantity.0)).sum()
}

/// A quantity of CPU.
fn cores(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kubelets_counts_are_read_from_its_text() {
        let text = "# TYPE pod_cpu_usage_seconds_total counter\n\
             pod_cpu_usage_seconds_total{namespace=\"kube-system\",pod=\"etcd\"} 9 1796014087476\n\
             pod_cpu_usage_seconds_total{namespace=\"wplab\",pod=\"wordpress-a\"} 1.25 1796014087476\n\
             pod_memory_working_set_bytes{namespace=\"wplab\",pod=\"wordpress-a\"} 7.0e+07 1796014087476\n\
             pod_cpu_usage_seconds_total{namespace=\"wplab\",pod=\"half\n";
        let counts = counted(text);
        assert_eq!(counts.len(), 1);
        assert_eq!(counts["wordpress-a"], Counted { at: 1_796_014_087_476, seconds: 1.25 });
    }

    #[test]
    fn use_is_what_was_added_between_two_counts() {
        let at = |at, seconds| Counted { at, seconds };
        assert_eq!(at(12_000, 3.0).since(at(10_000, 2.0)), Some(0.5));
        assert_eq!(at(10_000, 2.0).since(at(10_000, 2.0)), None, "the same count");
        assert_eq!(at(12_000, 0.1).since(at(10_000, 2.0)), None, "it has begun anew");
    }

    #[test]
    fn what_was_measured_is_the_sum_of_the_containers() {
        let pod: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "metadata": {"name": "a"},
            "timestamp": "2026-01-31T12:00:00Z", "window": "10s",
            "containers": [{"name": "content", "usage": {"cpu": "899889n"}}, {"name": "wordpress", "usage": {"cpu": "120m"}}]
        }))
        .expect("an object");
        let found = measured(&pod).expect("a value");
        assert!((found.cores - 0.120_899_889).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn what_was_asked_for_is_the_sum_of_the_containers_and_of_every_unit() {
        let container = |cpu: &str| json!({"name": "x", "resources": {"requests": {"cpu": cpu}}});
        let pod: Pod = serde_json::from_value(
            json!({"spec": {"containers": [container("100m"), container("1"), {"name": "asks nothing"}]}}),
        )
        .expect("a pod");
        assert!((requested(&pod) - 1.1).abs() < 1e-12);
        assert_eq!((cores("250u"), cores("0"), cores("1Ki")), (Some(0.000_25), Some(0.0), None));
    }
}
