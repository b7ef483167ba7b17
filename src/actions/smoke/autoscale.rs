//! Checks of the autoscaler.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};

use crate::{
    actions::smoke::check::{Check, Hopeless},
    cluster::{Cluster, ready, usage::Measured},
    labels::{COMPONENT, Component},
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

fn frontends() -> String {
    format!("{COMPONENT}={}", Component::Frontend.as_str())
}

/// Whether a running pod was measured after its containers began.
fn fresh(pods: &[Pod], measured: &BTreeMap<String, Measured>) -> Result<()> {
    let began = |pod: &Pod| {
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        statuses.iter().map(|s| Some(s.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0)).max().flatten()
    };
    let since = |pod: &Pod| Some(measured.get(pod.metadata.name.as_ref()?)?.at > began(pod)?).filter(|fresh| *fresh);
    ensure!(pods.iter().find_map(since).is_some(), "no CPU value of this start yet: nobody has measured a replica");
    Ok(())
}

async fn look(cluster: &Cluster) -> Result<String> {
    let hpa = cluster.get::<HorizontalPodAutoscaler>("wordpress").await?;
    if hpa.is_none() {
        return Err(Hopeless("there is no HorizontalPodAutoscaler wordpress".to_owned()).into());
    }
    // Of a lab that was stopped the last value is still written there: somebody must have measured since its pods began.
    let (pods, seen) = (cluster.pods(&frontends()).await?, cluster.measured(&frontends()).await?);
    fresh(&pods, &seen)?;
    match ready::cpu_value(hpa.as_ref()) {
        Look::Ready(percent) => Ok(format!("{percent} % of the request")),
        Look::NotYet(reason) => bail!("{reason}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_from_before_this_start_does_not_count() {
        let pod = |name: &str, began: &str| -> Pod {
            serde_json::from_value(json!({ "metadata": { "name": name }, "status": { "containerStatuses": [{
                "name": "wordpress", "image": "", "imageID": "", "ready": true, "restartCount": 1,
                "state": { "running": { "startedAt": began } } }] } }))
            .expect("a pod")
        };
        let pods = [pod("a", "2026-01-01T10:00:00Z"), pod("b", "2026-01-01T10:00:05Z")];
        let measured = |name: &str, at: &str| {
            BTreeMap::from([(name.to_owned(), Measured { at: at.parse().expect("a time"), cores: 0.0 })])
        };
        assert!(fresh(&pods, &BTreeMap::new()).is_err(), "nobody has measured");
        assert!(fresh(&pods, &measured("a", "2026-01-01T09:59:59Z")).is_err(), "of the start before");
        assert!(fresh(&pods, &measured("gone", "2026-01-01T10:01:00Z")).is_err(), "of another pod");
        assert!(fresh(&pods, &measured("b", "2026-01-01T10:00:20Z")).is_ok());
    }
}
