//! Checks of the autoscaler.

use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use crate::{
    actions::smoke::check::{Check, Hopeless},
    cluster::{Cluster, ready},
    run::{advice::Hint, wait::Look},
};

/// Two rounds of the autoscaler's controller and of metrics-server, and then some: the first value of a new lab takes
/// about 50 s.
const LIMIT: Duration = Duration::from_secs(150);

/// The HorizontalPodAutoscaler has a real CPU value.
pub(super) fn checks(cluster: &Cluster) -> Vec<Check<'_>> {
    let hint = [Hint::Logs { lab: cluster.lab.clone(), of: Some("autoscale") }];
    vec![Check::new("cpu", "autoscale", "the autoscaler reports a CPU value", LIMIT, hint, || look(cluster))]
}

async fn look(cluster: &Cluster) -> Result<String> {
    let hpa = cluster.get::<HorizontalPodAutoscaler>("wordpress").await?;
    if hpa.is_none() {
        return Err(Hopeless("there is no HorizontalPodAutoscaler wordpress".to_owned()).into());
    }
    match ready::cpu_value(hpa.as_ref()) {
        Look::Ready(percent) => Ok(format!("{percent} % of the request")),
        Look::NotYet(reason) => bail!("{reason}"),
    }
}
