//! The autoscaler: metrics-server, the API that it answers, and the HorizontalPodAutoscaler that reads it.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec},
        discovery::v1::EndpointSlice,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::json;

use super::images::{ImageSet, Role};
use crate::{
    cluster::{
        Cluster, Refused,
        manifests::{edit, part},
        pods::{pod_of, set_image},
        ready,
    },
    run::{StepCx, Stepped, gate::Gate},
    spec::LabSpec,
};

/// Where metrics-server lives, as everywhere.
const SYSTEM: &str = "kube-system";

/// The API that metrics-server answers.
const API: &str = "v1beta1.metrics.k8s.io";

/// The kind of the object that decides on the replicas.
const SCALER: &str = "HorizontalPodAutoscaler";

/// How long metrics-server may take to have scraped once and to be reachable.
const SERVER_LIMIT: Duration = Duration::from_secs(120);

/// Everything that this part puts into the cluster.
///
/// # Errors
/// `images` lacks one; a manifest and this code do not fit (which the tests rule out).
pub fn objects(spec: &LabSpec, images: &ImageSet) -> Result<Vec<DynamicObject>> {
    let mut objects = part("autoscale")?;
    edit(&mut objects, "metrics-server", |deployment: &mut Deployment| {
        let pod = pod_of(&mut deployment.spec.as_mut().context("it has no spec")?.template)?;
        set_image(pod, "metrics-server", images.reference(Role::MetricsServer)?)
    })?;
    edit(&mut objects, "wordpress", |hpa: &mut HorizontalPodAutoscaler| {
        let hpa = &mut hpa.spec;
        hpa.min_replicas = Some(spec.autoscale.min.into());
        hpa.max_replicas = spec.autoscale.max.into();
        let cpu = |metric: &mut MetricSpec| {
            metric.resource.as_mut().map(|r| r.target.average_utilization = Some(spec.autoscale.cpu.into()))
        };
        hpa.metrics.iter_mut().flatten().find_map(cpu).context("it has no CPU metric")?;
        let down =
            hpa.behavior.as_mut().and_then(|b| b.scale_down.as_mut()).context("it has no scale-down behaviour")?;
        down.stabilization_window_seconds = Some(i32::try_from(spec.autoscale.scale_down_window)?);
        Ok(())
    })?;
    Ok(objects)
}

/// Makes sure that the cluster has metrics and that the site has an autoscaler. metrics-server is made when replicas may mount
/// the `content`, the autoscaler when the site `serves`: before, it would take the work of starting for the work of users.
/// `scales` opens when it is there; for its first CPU value nobody but the proof has to wait. A metrics API that somebody else
/// installed is used as it is.
///
/// # Errors
/// The API server refuses an object, or metrics-server does not answer in time.
pub async fn ensure(
    cx: StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    content: &Gate<()>,
    serves: &Gate<()>,
    scales: &Gate<()>,
) -> Result<Stepped<()>> {
    let (hpa, rest): (Vec<_>, Vec<_>) = objects(spec, images)?.into_iter().partition(|o| kind_is(o, SCALER));
    let (api, server): (Vec<_>, Vec<_>) = rest.into_iter().partition(|o| kind_is(o, "APIService"));

    let follow = async {
        serves.wait().await;
        let changed = cluster.apply(&hpa).await?;
        scales.open(());
        Ok(changed)
    };
    // metrics-server measures when it starts and every ten seconds from then on, and a container has a value once it is ten
    // seconds old: started with the replicas, it has theirs with its second look.
    let measured = async {
        content.wait().await;
        measure(&cx, cluster, &server, &api).await
    };
    let (changed, measured) = tokio::try_join!(follow, measured)?;
    let detail = format!("{} to {} replicas at {} %", spec.autoscale.min, spec.autoscale.max, spec.autoscale.cpu);
    Ok(Stepped::changed(changed + measured > 0, (), detail))
}

/// Gives the autoscaler of a lab that stands the bounds of its lab file; says whether it had others.
///
/// # Errors
/// The API server refuses.
pub async fn bound(cluster: &Cluster, spec: &LabSpec, images: &ImageSet) -> Result<bool> {
    let mut scaler = objects(spec, images)?;
    scaler.retain(|object| kind_is(object, SCALER));
    Ok(cluster.apply(&scaler).await? > 0)
}

fn kind_is(object: &DynamicObject, kind: &str) -> bool {
    object.types.as_ref().is_some_and(|types| types.kind == kind)
}

/// Metrics of this cluster, ours or its own; returns how many objects changed.
async fn measure(cx: &StepCx, cluster: &Cluster, server: &[DynamicObject], api: &[DynamicObject]) -> Result<usize> {
    let mut changed = 0;
    let apis = cluster.all::<APIService>();
    let existing = apis.get_opt(API).await.map_err(Refused).with_context(|| format!("cannot read APIService {API}"))?;
    let foreign =
        existing.is_some_and(|api| cluster.labels().iter().any(|(key, value)| api.labels().get(key) != Some(value)));
    if foreign {
        cx.say("the cluster's own metrics are used");
    } else {
        cx.say("metrics-server");
        changed += cluster.apply(server).await?;
        until_endpoints(cx, cluster).await?;
        changed += cluster.apply(api).await?;
        cluster
            .until_ready(cx, &cluster.api_in::<Deployment>(SYSTEM), "metrics-server", SERVER_LIMIT, ready::deployment)
            .await?;
    }
    cluster.until_ready(cx, &apis, API, SERVER_LIMIT, ready::api_service).await?;

    Ok(changed)
}

/// Takes away the CPU value that was read before the lab stood still, so that the next one that is seen is a new one.
///
/// # Errors
/// The API server refuses.
pub async fn forget(cluster: &Cluster) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": { "currentMetrics": null } }));
    match cluster.api::<HorizontalPodAutoscaler>().patch_status("wordpress", &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        forgotten => forgotten.map_err(Refused).context("cannot clear what the autoscaler read last").map(drop),
    }
}

/// Asked before its Service has an endpoint, the API server may keep a connection to whoever answered instead.
async fn until_endpoints(cx: &StepCx, cluster: &Cluster) -> Result<()> {
    let slices = cluster.api_in::<EndpointSlice>(SYSTEM);
    let of_service = ListParams::default().labels("kubernetes.io/service-name=metrics-server");
    cx.until("Service metrics-server", SERVER_LIMIT, Duration::from_millis(500), || async {
        let list =
            slices.list(&of_service).await.map_err(Refused).context("cannot list the endpoints of metrics-server")?;
        Ok(ready::endpoints(&list.items))
    })
    .await
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::manifests::{name_of, typed},
        parts::testing,
    };

    #[test]
    fn bounds_target_and_window_are_filled_in() {
        let mut spec = testing::spec();
        spec.autoscale = crate::spec::AutoscaleSpec { min: 4, max: 9, cpu: 37, scale_down_window: 11 };
        let objects = objects(&spec, &testing::images()).expect("objects");
        let hpa = objects.iter().find(|o| name_of(o) == "HorizontalPodAutoscaler/wordpress").expect("is there");
        let hpa = typed::<HorizontalPodAutoscaler>(hpa).expect("typed").spec;
        assert_eq!((hpa.min_replicas, hpa.max_replicas), (Some(4), 9));
        let target = hpa.metrics.expect("metrics")[0].resource.clone().expect("a resource").target;
        assert_eq!(target.average_utilization, Some(37));
        let down = hpa.behavior.expect("behaviour").scale_down.expect("down");
        assert_eq!(down.stabilization_window_seconds, Some(11));
    }
}
