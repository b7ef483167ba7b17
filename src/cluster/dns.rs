//! The cluster's own names, sooner. kubeadm has CoreDNS asked every ten seconds whether it is ready, the first time when it
//! cannot be yet; until then no pod finds another.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{Cluster, Refused};

impl Cluster {
    /// Lets one CoreDNS be asked every second until it is ready for the first time. For a cluster that was just made for us,
    /// and before any of its pods runs: both of kubeadm's would be on the control plane, where a second one is no help.
    ///
    /// # Errors
    /// There is no Deployment `coredns`, or the API server refuses.
    pub async fn hurry_dns(&self) -> Result<()> {
        let ready = json!({"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1, "failureThreshold": 900});
        let coredns = json!({"name": "coredns", "startupProbe": ready});
        let spec = json!({"replicas": 1, "template": {"spec": {"containers": [coredns]}}});
        let (deployments, patch) = (self.api_in::<Deployment>("kube-system"), Patch::Strategic(json!({"spec": spec})));
        let patched = deployments.patch("coredns", &PatchParams::default(), &patch).await;
        patched.map_err(Refused).context("cannot let CoreDNS be asked more often").map(|_| ())
    }
}
