//! `wplab smoke`: finds a lab that runs already and proves it.

use anyhow::Result;

use crate::{
    actions::{
        smoke::{self, SmokeReport},
        standing,
    },
    cluster::{Cluster, NotComplete},
    host::docker::Docker,
    labels,
    parts::{
        frontend::Site,
        images::{self, ImageSet},
    },
    run::{Run, StepCx, Stepped, advice::Trouble, event::StepId},
    spec::{LabName, LabSpec},
};

/// Runs every smoke check against a lab.
///
/// # Errors
/// [`crate::actions::standing::NoSuchLab`], or the cluster does not answer. A failed check is no error: it is in the report.
pub async fn prove(run: &Run, lab: &LabName) -> Result<SmokeReport> {
    run.step(StepId::Smoke, async |cx| {
        let docker = Docker::connect().await?;
        let (cluster, spec, site) = open(&docker, lab).await?;
        checked(cx, &docker, &cluster, &spec, &site).await
    })
    .await
}

/// What a lab's own records say of it.
///
/// # Errors
/// As [`standing::port`]; or the cluster does not answer.
pub(super) async fn open(docker: &Docker, lab: &LabName) -> Result<(Cluster, LabSpec, Site)> {
    let port = standing::port(docker, lab).await?;
    let cluster = standing::connect(lab).await?;
    let spec = cluster.lab_file().await?;
    let site = Site::new(&spec, port);
    Ok((cluster, spec, site))
}

/// The images of a lab, as it has written them down.
///
/// # Errors
/// It has not, or not so that they can be read.
pub(super) async fn images_of(cluster: &Cluster) -> Result<ImageSet> {
    let images = serde_json::from_str(&cluster.record(labels::IMAGES).await?);
    let lacks = "its record of its images cannot be read".to_owned();
    Ok(images.map_err(|error| Trouble::from(NotComplete { lab: cluster.lab.clone(), lacks }).because(error))?)
}

/// Every check against a lab whose record is read.
///
/// # Errors
/// The lab has not written down its images, or not so that they can be read.
pub(super) async fn checked(
    cx: StepCx,
    docker: &Docker,
    cluster: &Cluster,
    spec: &LabSpec,
    site: &Site,
) -> Result<Stepped<SmokeReport>> {
    let images = images_of(cluster).await?;
    let on_nodes = images::on_workers(docker, spec, &images);
    smoke::run(cx, cluster, spec, site, on_nodes).await
}
