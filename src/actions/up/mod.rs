//! The recipe: from whatever there is to a proven lab, on one screen. Each step is a call into the room that does it.

mod diagnostics;
mod look;
mod preflight;
mod turns;

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use serde::Serialize;

pub use self::diagnostics::Diagnosed;
pub use super::keep::{OtherClass, OtherData, OtherMembers, SmallerVolume};

use self::turns::Turns;
use crate::{
    actions::{
        backup, chaos,
        keep::{self, Standing},
        smoke::{self, SmokeReport},
    },
    host::{
        Host,
        lock::LabLock,
        machine::fix::Consent,
        nodes::{self, Access, guard},
    },
    parts::{
        autoscale,
        frontend::{self, Site},
        images::{self, ImageSet, Waves, golden},
        monitoring, storage, volumes, workers,
    },
    run::{Run, StepCx, StepTiming, event::StepId, gate::Gate},
    spec::{LabName, LabSpec},
};

/// What `up` is asked for.
pub struct UpOptions {
    /// The lab.
    pub spec: LabSpec,
    /// Who is asked before missing things are installed (`--fix`); with nobody to ask, nothing is installed.
    pub fix: Option<Box<dyn Consent>>,
    /// `HOST[:PORT]` of a registry to pull from instead of the references' own.
    pub registry_mirror: Option<String>,
    /// Images are streamed into every node, also where a golden root would spare that.
    pub stream: bool,
    /// The backup that a new lab begins with.
    pub from: Option<backup::restore::Wanted>,
    /// What others have declared is given the lab file's values.
    pub take_over: bool,
    /// The steps take turns, for comparison with what does not wait.
    pub sequential: bool,
}

/// What `up` reached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UpReport {
    /// Which lab.
    pub name: LabName,
    /// Where the site answers.
    pub url: String,
    /// The lab's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Whether anything had to be done.
    pub changed: bool,
    /// The images in use.
    pub images: ImageSet,
    /// How long each step took.
    pub timings: Vec<StepTiming>,
    /// Every check.
    pub smoke: SmokeReport,
}

/// Brings the lab up, or repairs and completes it; run again on a healthy lab it changes nothing.
///
/// # Errors
/// The first step that failed, with its name and the last reason; what is there is kept, and from the images step on the
/// error carries [`Diagnosed`] if there is a cluster to ask. A failed check is no error: it is in the report.
pub async fn up(run: &Run, options: &UpOptions) -> Result<UpReport> {
    let spec = &options.spec;
    let lock = LabLock::take(&StepCx::new(run, StepId::Preflight), &spec.name).await?;
    let (host, standing) = run.step(StepId::Preflight, |cx| preflight::preflight(cx, options)).await?;
    match recipe(run, options, &lock, &host, &standing).await {
        Ok(report) => Ok(report),
        Err(error) => Err(diagnostics::attach(run, &host, &spec.name, error).await),
    }
}

/// Everything that does not need something else begins at once: nodes boot as soon as their own image is there, the others are
/// loaded while kubeadm still works, the cluster is filled while workers still join, and from then on somebody keeps an eye on
/// the nodes.
async fn recipe(run: &Run, options: &UpOptions, lock: &LabLock, host: &Host, standing: &Standing) -> Result<UpReport> {
    let (spec, mirror) = (&options.spec, options.registry_mirror.as_deref());
    let (node_image, known, settled, api) = (Gate::closed(), Gate::closed(), Gate::closed(), Gate::closed());
    let (waves, turns) = (Waves::closed(), Turns::new(run, options.sequential));
    let images = async {
        let wanted = standing.settle(spec);
        let ensure = |cx| images::ensure(cx, host, &wanted, mirror, &standing.kept, &node_image);
        let images = turns.step(StepId::Images, ensure).await?;
        known.open(images.clone());
        settled.wait().await;
        turns.step(StepId::Load, |cx| images::load(cx, host, spec, &images, &waves)).await?;
        anyhow::Ok(images)
    };
    let (joined, whole) = (Gate::closed(), Gate::closed());
    let nodes = async {
        let image = node_image.wait().await;
        let look = |kubeconfig| look::look(spec, kubeconfig);
        let roots = async |cx: StepCx| golden::roots(&cx, host, spec, options.stream, image, &known).await;
        let ensure = |cx| nodes::ensure(cx, host, spec, lock, &image.reference, &settled, &api, look, roots);
        let nodes = turns.step(StepId::Cluster, ensure).await?;
        joined.open(());
        anyhow::Ok(nodes)
    };
    let outside = async {
        let (images, nodes) = tokio::try_join!(images, nodes)?;
        whole.open(());
        anyhow::Ok((images, nodes))
    };
    let inside = Box::pin(inside(&turns, options, host, &api, &known, &waves, [&joined, &whole]));
    let proven = async { tokio::try_join!(outside, inside) };
    let ((images, nodes), (site, smoke)) = tokio::select! {
        proven = proven => proven?,
        error = watched(run, spec, host, &api) => return Err(error),
    };
    Ok(UpReport {
        name: spec.name.clone(),
        url: site.url,
        kubeconfig: nodes.kubeconfig,
        changed: run.changed(),
        images,
        timings: run.timings(),
        smoke,
    })
}

/// What happens inside the cluster: a part is applied when its pods' images are on the nodes and what they mount exists; what
/// their programs need they wait for themselves. Replicas of the site are spread over the workers that there are when they are
/// made: all have to have `joined`. The proof begins when everything stands, what the nodes are given (`whole`) too; only the
/// autoscaler's first value it has to wait for itself.
async fn inside(
    turns: &Turns<'_>,
    options: &UpOptions,
    host: &Host,
    api: &Gate<Access>,
    known: &Gate<ImageSet>,
    waves: &Waves,
    [joined, whole]: [&Gate<()>; 2],
) -> Result<(Site, SmokeReport)> {
    let (spec, docker) = (&options.spec, &host.docker);
    let (access, images, ()) = tokio::join!(api.wait(), known.wait(), turns.of(StepId::Storage));
    let cluster = keep::take_over(access, spec, images).await?;
    chaos::finish(&StepCx::new(turns.run, StepId::Storage), docker, &cluster).await?;
    workers::stay(&cluster).await?;
    let (secrets, content, serves) = (Gate::closed(), Gate::closed(), Gate::closed());
    let (stored, scales, filled, watched) = (Gate::closed(), Gate::closed(), Gate::closed(), Gate::closed());
    let data = async {
        waves.data.wait().await;
        volumes::ensure(&StepCx::new(turns.run, StepId::Storage), docker, &cluster, spec).await?;
        tokio::try_join!(
            turns.step(StepId::Storage, |cx| storage::ensure(cx, &cluster, spec, images, &content)),
            turns.step(StepId::Database, |cx| keep::declared(cx, &cluster, spec, images, &secrets, options.take_over)),
        )?;
        stored.open(());
        if let Some(wanted) = &options.from {
            turns.step(StepId::Restore, |cx| backup::restore::first(cx, host, &cluster, spec, images, wanted)).await?;
        }
        filled.open(());
        backup::follow(turns.run, host, &cluster, spec, images, Some(options.take_over)).await
    };
    let site = async {
        tokio::join!(waves.site.wait(), secrets.wait(), joined.wait());
        if options.from.is_some() {
            filled.wait().await;
        }
        let scale = |cx| autoscale::ensure(cx, &cluster, spec, images, &content, &serves, &scales);
        tokio::try_join!(
            turns.step(StepId::Frontend, |cx| frontend::ensure(cx, &cluster, spec, images, access.port, &serves)),
            turns.step(StepId::Autoscale, scale),
        )
    };
    // Nobody waits for what only watches, but the proof.
    let watch = async {
        tokio::join!(waves.watch.wait(), secrets.wait());
        monitoring::follow(turns.run, &cluster, spec, images, &stored).await?;
        watched.open(());
        anyhow::Ok(())
    };
    let proof = async {
        tokio::join!(whole.wait(), stored.wait(), serves.wait(), scales.wait(), watched.wait());
        let (site, on_nodes) = (Site::new(spec, access.port), images::on_workers(docker, spec, images));
        turns.step(StepId::Smoke, |cx| smoke::run(cx, &cluster, spec, &site, on_nodes)).await
    };
    let ((), (site, ()), (), smoke) = tokio::try_join!(data, site, watch, proof)?;
    Ok((site, smoke))
}

/// Starts a node again that stops while the lab comes up; ends only with an error.
async fn watched(run: &Run, spec: &LabSpec, host: &Host, api: &Gate<Access>) -> anyhow::Error {
    api.wait().await;
    let stopped = guard::first_to_stop_twice(&StepCx::new(run, StepId::Cluster), &host.docker, &spec.name).await;
    stopped.map_or_else(|error| error, |node| anyhow!("node {node} stopped twice while the lab came up"))
}
