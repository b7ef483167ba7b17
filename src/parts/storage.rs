//! The shared file system: an NFS server on a persistent volume, and the claim that every WordPress replica mounts.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolume, PersistentVolumeClaim, VolumeResourceRequirements},
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    api::{Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::json;

use super::images::{ImageSet, Role};
use crate::{
    cluster::{
        Cluster, Refused,
        manifests::{edit, name_of, part},
        pods::{pod_of, set_image},
        ready,
    },
    run::{StepCx, Stepped, gate::Gate},
    spec::LabSpec,
};

/// Stands for the address of Service `nfs` where no cluster is there to give it (`wplab render`).
pub const SERVER_PLACEHOLDER: &str = "cluster-ip-of-service-nfs";

/// The StatefulSet and the Service of the file server.
pub const SERVER: &str = "nfs";
/// The volume, and the ReadWriteMany claim that every replica mounts.
pub const CLAIM: &str = "wp-content";

/// How long the server may take to export, from an image that is on its node; a volume is made first.
const SERVER_LIMIT: Duration = Duration::from_secs(180);

/// How long the claim may take to find its volume.
const CLAIM_LIMIT: Duration = Duration::from_secs(60);

/// Everything that this part puts into the cluster. `server` is the address of Service `nfs`.
///
/// # Errors
/// `images` lacks one; a manifest and this code do not fit (which the tests rule out).
pub fn objects(spec: &LabSpec, images: &ImageSet, server: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = part("storage")?;
    let size = Quantity(spec.storage.size.as_str().to_owned());
    let requests = || {
        Some(VolumeResourceRequirements { requests: Some([("storage".to_owned(), size.clone())].into()), limits: None })
    };
    edit(&mut objects, SERVER, |set: &mut StatefulSet| {
        let set = set.spec.as_mut().context("it has no spec")?;
        let pod = pod_of(&mut set.template)?;
        set_image(pod, "ready", images.reference(Role::Tool)?)?;
        set_image(pod, "ganesha", images.reference(Role::Nfs)?)?;
        for claim in set.volume_claim_templates.iter_mut().flatten() {
            claim.spec.get_or_insert_default().resources = requests();
        }
        Ok(())
    })?;
    edit(&mut objects, CLAIM, |volume: &mut PersistentVolume| {
        let volume = volume.spec.as_mut().context("it has no spec")?;
        volume.capacity = Some([("storage".to_owned(), size.clone())].into());
        volume.nfs.as_mut().context("it is no NFS volume")?.server = server.to_owned();
        Ok(())
    })?;
    edit(&mut objects, CLAIM, |claim: &mut PersistentVolumeClaim| {
        claim.spec.as_mut().context("it has no spec")?.resources = requests();
        Ok(())
    })?;
    Ok(objects)
}

/// Makes sure that the NFS server, its export and the claim are there. Nobody is let near the claim before
/// the export answers: a mount that fails is tried again by the kubelet only after a growing pause. `content` opens when
/// replicas may mount it.
///
/// # Errors
/// The API server refuses an object, or the export or the claim is not there in time.
pub async fn ensure(
    cx: StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    content: &Gate<()>,
) -> Result<Stepped<()>> {
    cx.say("the NFS server");
    let is_volume = |object: &DynamicObject| name_of(object) == format!("PersistentVolume/{CLAIM}");
    let (mut claim, server): (Vec<_>, Vec<_>) = objects(spec, images, SERVER_PLACEHOLDER)?
        .into_iter()
        .partition(|o| is_volume(o) || name_of(o).ends_with(&format!("/{CLAIM}")));
    let mut changed = cluster.apply(&server).await?;
    let address = cluster.address_of(SERVER).await?;

    cluster.until_members_ready(&cx, SERVER, SERVER_LIMIT).await?;

    cx.say("the shared volume");
    edit(&mut claim, CLAIM, |volume: &mut PersistentVolume| {
        let nfs = volume.spec.as_mut().and_then(|spec| spec.nfs.as_mut());
        nfs.context("it is no NFS volume")?.server = address.clone();
        Ok(())
    })?;
    // A claim that comes before its volume is looked at again only after a quarter of a minute.
    let (volume, claim): (Vec<_>, Vec<_>) = claim.into_iter().partition(is_volume);
    changed += cluster.apply(&volume).await?;
    changed += cluster.apply(&claim).await?;
    content.open(());
    release(cluster).await?;
    let claims = cluster.api::<PersistentVolumeClaim>();
    cluster.until_ready(&cx, &claims, CLAIM, CLAIM_LIMIT, ready::claim).await?;

    let detail = format!("{} exported at {address}, claim {CLAIM}", spec.storage.size.as_str());
    Ok(Stepped::changed(changed > 0, (), detail))
}

/// A volume whose claim was deleted remembers that claim and takes no other; the files in it are still the lab's.
async fn release(cluster: &Cluster) -> Result<()> {
    let volumes = cluster.all::<PersistentVolume>();
    let volume = volumes.get(CLAIM).await.map_err(Refused).with_context(|| format!("cannot read volume {CLAIM}"))?;
    if volume.status.and_then(|s| s.phase).as_deref() == Some("Released") {
        let forget = Patch::Merge(json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}}));
        let freed = volumes.patch(CLAIM, &PatchParams::default(), &forget).await;
        freed.map_err(Refused).with_context(|| format!("cannot free volume {CLAIM} for its new claim"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::manifests::typed, parts::testing};

    #[test]
    fn sizes_images_and_address_are_filled_in() {
        let mut spec = testing::spec();
        spec.storage.size = crate::spec::Quantity::new("7Gi").expect("a quantity");
        let objects = objects(&spec, &testing::images(), "10.96.0.7").expect("objects");
        let find = |name: &str| objects.iter().find(|o| name_of(o) == name).expect("is there");
        let volume: PersistentVolume = typed(find("PersistentVolume/wp-content")).expect("typed");
        let volume = volume.spec.expect("a spec");
        assert_eq!(volume.nfs.expect("NFS").server, "10.96.0.7");
        assert_eq!(volume.capacity.expect("a size")["storage"].0, "7Gi");
        let set = &find("StatefulSet/nfs").data["spec"];
        assert_eq!(set["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"], "7Gi");
        assert_eq!(set["template"]["spec"]["containers"][0]["image"], "docker.io/wplab/nfs:000000000003");
        assert_eq!(find("PersistentVolumeClaim/wp-content").data["spec"]["resources"]["requests"]["storage"], "7Gi");
    }
}
