//! `wplab smoke`: finds a lab that runs already and proves it.

use anyhow::Result;

use crate::{
    actions::{
        list,
        smoke::{self, SmokeReport},
    },
    cluster::NotComplete,
    host::{Host, HostFacts, docker::Docker, nodes},
    labels,
    parts::{
        frontend::Site,
        images::{self, ImageSet},
    },
    run::{Run, advice::Trouble, event::StepId},
    spec::LabName,
};

/// Runs every smoke check against a lab.
///
/// # Errors
/// [`crate::actions::list::NoSuchLab`], or the cluster does not answer. A failed check is no error: it is in the report.
pub async fn prove(run: &Run, lab: &LabName) -> Result<SmokeReport> {
    run.step(StepId::Smoke, async |cx| {
        // Looking at images needs none of the facts that choosing them does.
        let host = Host { docker: Docker::connect().await?, kind: None, facts: HostFacts::default() };
        let port = list::port(&host.docker, lab).await?;
        let cluster = list::connect(lab).await?;
        let spec = cluster.lab_file().await?;
        let images = serde_json::from_str::<ImageSet>(&cluster.record(labels::IMAGES).await?);
        let lacks = || NotComplete { lab: lab.clone(), lacks: "its record of its images cannot be read".to_owned() };
        let images = images.map_err(|error| Trouble::from(lacks()).because(error))?;
        let nodes = nodes::node_names(lab, spec.cluster.workers);
        let on_nodes = images::on_nodes(&host, &nodes, &images);
        smoke::run(cx, &cluster, &spec, &Site::new(&spec, port), on_nodes).await
    })
    .await
}
