//! Larger volumes for members. Where the class of a claim lets it be expanded, the claim is; where it does not (kind's cannot), a member is
//! made anew with another volume when it is restarted. A StatefulSet never changes what it makes claims from, so it is made anew
//! around its pods.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::PersistentVolumeClaim, storage::v1::StorageClass};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::names::{MEMBERS, names};
use crate::{
    cluster::{Cluster, Refused, gone},
    run::{StepCx, wait::Look},
    spec::{LabSpec, Quantity},
};

/// How long a StatefulSet may take to go without its pods.
const ORPHANED: Duration = Duration::from_mins(1);

/// The size that a StatefulSet's claims begin with.
pub(super) fn size_of(set: &StatefulSet) -> Option<Quantity> {
    let claim = set.spec.as_ref()?.volume_claim_templates.as_ref()?.first()?.spec.as_ref()?;
    Quantity::new(&claim.resources.as_ref()?.requests.as_ref()?.get("storage")?.0).ok()
}

/// Members whose claims are smaller than is wanted.
pub(super) fn small(claims: &[PersistentVolumeClaim], spec: &LabSpec) -> Vec<String> {
    let asks = |claim: &PersistentVolumeClaim| {
        let asked = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?;
        Quantity::new(&asked.0).ok()
    };
    let wanted = spec.database.volume.value();
    let mut members = names(spec.database.members);
    members.retain(|member| {
        let claim = claims.iter().find(|claim| claim.name_any() == claim_of(member));
        claim.and_then(asks).is_some_and(|asked| asked.value() < wanted)
    });
    members
}

fn claim_of(member: &str) -> String {
    format!("data-{member}")
}

/// The claims of the lab.
///
/// # Errors
/// The API server does not answer.
pub(super) async fn claims(cluster: &Cluster) -> Result<Vec<PersistentVolumeClaim>> {
    let claims = cluster.api::<PersistentVolumeClaim>().list(&ListParams::default()).await;
    Ok(claims.map_err(Refused).context("cannot list the claims")?.items)
}

/// Expands the claims that are too small and can be; the members whose claims cannot.
///
/// # Errors
/// The API server refuses.
pub(super) async fn expand(cluster: &Cluster, spec: &LabSpec) -> Result<Vec<String>> {
    let claims = claims(cluster).await?;
    let mut left = Vec::new();
    for member in small(&claims, spec) {
        let claim = claims.iter().find(|claim| claim.name_any() == claim_of(&member));
        let class = claim.and_then(|claim| claim.spec.as_ref()?.storage_class_name.clone()).unwrap_or_default();
        let classes: Api<StorageClass> = cluster.all();
        let class = classes.get_opt(&class).await.map_err(Refused).context("cannot read a StorageClass")?;
        if class.and_then(|class| class.allow_volume_expansion) != Some(true) {
            left.push(member);
            continue;
        }
        let size = spec.database.volume.as_str();
        let patch = Patch::Merge(json!({ "spec": { "resources": { "requests": { "storage": size } } } }));
        let api = cluster.api::<PersistentVolumeClaim>();
        let patched = api.patch(&claim_of(&member), &PatchParams::default(), &patch).await;
        patched.map_err(Refused).with_context(|| format!("cannot expand the claim of {member}"))?;
    }
    Ok(left)
}

/// Removes the members' StatefulSet and nothing else, so that another one takes over its pods.
///
/// # Errors
/// The API server refuses, or it does not go in time.
pub(super) async fn orphan(cx: &StepCx, cluster: &Cluster) -> Result<()> {
    let api = cluster.api::<StatefulSet>();
    gone(api.delete(MEMBERS, &DeleteParams::orphan()).await).context("cannot make the members' StatefulSet anew")?;
    let left = |set: Option<&StatefulSet>| match set {
        None => Look::Ready(()),
        Some(_) => Look::NotYet("it is still there".to_owned()),
    };
    cluster.until_ready(cx, &api, MEMBERS, ORPHANED, left).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::testing;

    #[test]
    fn a_claim_is_small_by_its_size_and_not_by_how_it_is_written() {
        let claim = |nth: u8, size: &str| -> PersistentVolumeClaim {
            let spec = json!({"resources": {"requests": {"storage": size}}});
            serde_json::from_value(json!({"metadata": {"name": format!("data-db-{nth}")}, "spec": spec}))
                .expect("a claim")
        };
        let spec = testing::spec();
        let claims = [claim(0, "2048Mi"), claim(1, "1Gi"), claim(2, "3Gi"), claim(7, "1Gi")];
        assert_eq!(small(&claims, &spec), ["db-1"]);
        let set =
            json!({"spec": {"selector": {}, "serviceName": "x", "template": {}, "volumeClaimTemplates": [claims[1]]}});
        let set: StatefulSet = serde_json::from_value(set).expect("a StatefulSet");
        assert_eq!(size_of(&set).map(|size| size.as_str().to_owned()).as_deref(), Some("1Gi"));
    }
}
