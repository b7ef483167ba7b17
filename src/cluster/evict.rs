//! A pod that is asked to go, no sooner than its disruption budget allows.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;

use super::{Cluster, Refused, gone, passing};

impl Cluster {
    /// Asks a pod to end; one that is gone has. `Some` says why it may not yet: its budget holds it back, or the API server does not
    /// answer for a moment.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn evict(&self, namespace: &str, pod: &str) -> Result<Option<String>> {
        match self.api_in::<Pod>(namespace).evict(pod, &EvictParams::default()).await {
            // Of a pod that its budget holds back the API server says this, too.
            Err(error) if passing(&error) => Ok(Some(Refused(error).to_string())),
            asked => gone(asked).with_context(|| format!("cannot evict {pod}")).map(|()| None),
        }
    }
}
