//! Brings a lab back that rests, and proves it: thaws it (`resume`) or starts its nodes (`start`). Nothing is applied: what
//! is in it comes back by itself, and what is lacking is for `up`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    actions::{
        backup, chaos, keep, prove,
        smoke::{self, SmokeReport},
        standing::{self, Stopped},
    },
    cluster::Cluster,
    host::{
        docker::{Container, Docker},
        lock::LabLock,
        machine::doctor,
        nodes::{self, freeze, halt},
    },
    parts::{
        autoscale, database,
        frontend::{self, Site},
        monitoring,
    },
    run::{Run, StepCx, StepTiming, Stepped, advice::Trouble, event::StepId, gate::Gate, wait::Look},
    spec::{LabName, LabSpec},
};

/// How long the first page may take once the nodes run.
const FIRST_PAGE: Duration = Duration::from_mins(5);
/// How long nodes that were just started may take to have an API server, and the kubelets to find it.
const API: Duration = Duration::from_mins(3);
const KUBELETS: Duration = Duration::from_mins(3);
/// How often they are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// What `resume` or `start` reached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AwakeReport {
    /// Which lab.
    pub name: LabName,
    /// Where the site answers.
    pub url: String,
    /// The lab's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Whether anything had to be done.
    pub changed: bool,
    /// How long each step took.
    pub timings: Vec<StepTiming>,
    /// Every check.
    pub smoke: SmokeReport,
}

/// Thaws every node of a lab at once, waits for the first page and proves the lab.
///
/// # Errors
/// [`standing::NoSuchLab`]; [`Stopped`]: it has to be started; the Docker engine does not answer or cannot; there is no page
/// in time. A failed check is no error: it is in the report.
pub async fn resume(run: &Run, lab: &LabName) -> Result<AwakeReport> {
    let docker = Docker::connect().await?;
    standing::find(&docker, lab).await?;
    let lock = LabLock::take(&StepCx::new(run, StepId::Resume), lab).await?;
    let (cluster, spec, site) = run
        .step(StepId::Resume, async |cx| {
            let thawed = freeze::thaw(&docker, &nodes::containers(&docker, lab).await?).await?;
            let found = standing::awake(&docker, lab).await?;
            if found.running < found.nodes {
                return Err(Trouble::from(Stopped { lab: lab.clone() }).into());
            }
            let url = standing::url(&docker, lab).await?;
            let page = smoke::first_page(&cx, &url, FIRST_PAGE).await?;
            let (cluster, spec, site) = prove::open(&docker, lab).await?;
            let detail = format!("{thawed} of {} nodes thawed, {page}", found.nodes);
            Ok(Stepped::changed(thawed > 0, (cluster, spec, site), detail))
        })
        .await?;
    proven(run, &docker, &lock, (cluster, spec, site)).await
}

/// Starts every node of a lab that is stopped, thaws those that are frozen, waits until the database has recovered by its
/// own rules and the first page comes, and proves the lab.
///
/// # Errors
/// [`standing::NoSuchLab`]; the Docker engine does not answer or cannot start a node; Kubernetes, the database or the site
/// do not come back in time. A failed check is no error: it is in the report.
pub async fn start(run: &Run, lab: &LabName) -> Result<AwakeReport> {
    let docker = Docker::connect().await?;
    standing::find(&docker, lab).await?;
    let lock = LabLock::take(&StepCx::new(run, StepId::Start), lab).await?;
    run.step(StepId::Start, |cx| begin(cx, &docker, lab)).await?;
    let opened = prove::open(&docker, lab).await?;
    chaos::finish(&StepCx::new(run, StepId::Start), &docker, &opened.0).await?;
    come_back(run, &docker, &lock, opened, false).await
}

/// Nodes that were made of a snapshot and have never run.
#[derive(Debug)]
pub(super) struct Made {
    /// The lab file.
    pub(super) spec: LabSpec,
    /// The lab or its site has another name than when the snapshot was taken, and has to be told.
    pub(super) moved: bool,
    /// Every password is to be a new one.
    pub(super) renew: bool,
}

/// The same for nodes that were made of a snapshot.
///
/// # Errors
/// As [`start`]; or the API server refuses what is told.
pub(super) async fn first_start(run: &Run, docker: &Docker, lock: &LabLock, made: Made) -> Result<AwakeReport> {
    let Made { spec, moved, renew } = made;
    run.step(StepId::Start, async |cx| {
        if renew {
            renew_passwords(&cx, docker, lock.lab(), &spec).await?;
        }
        begin(cx, docker, lock.lab()).await
    })
    .await?;
    let cluster = standing::connect(lock.lab()).await?;
    if moved {
        keep::record(&cluster, &spec, &prove::images_of(&cluster).await?).await?;
    }
    let site = Site::new(&spec, standing::port(docker, lock.lab()).await?);
    come_back(run, docker, lock, (cluster, spec, site), moved || renew).await
}

/// Replaces all passwords while only the control plane runs, so that no pod is given an old one.
async fn renew_passwords(cx: &StepCx, docker: &Docker, lab: &LabName, spec: &LabSpec) -> Result<()> {
    let there = nodes::containers(docker, lab).await?;
    halt::start(cx, docker, lab, &nodes::control_plane_first(&there).0).await;
    let cluster = standing::connect(lab).await?;
    answers(cx, &cluster).await?;
    database::renew_passwords(&cluster, spec.database.topology).await?;
    if spec.monitoring {
        monitoring::renew_passwords(&cluster).await?;
    }
    frontend::renew_passwords(cx, &cluster).await
}

/// From a Kubernetes that answers to a lab that is proven.
async fn come_back(
    run: &Run,
    docker: &Docker,
    lock: &LabLock,
    (cluster, spec, site): (Cluster, LabSpec, Site),
    moved: bool,
) -> Result<AwakeReport> {
    run.step(StepId::Database, |cx| database::settled(cx, &cluster, &spec)).await?;
    if moved && spec.monitoring {
        run.step(StepId::Monitoring, async |cx| {
            monitoring::told(&cluster, &spec, &prove::images_of(&cluster).await?).await?;
            monitoring::admit(&cx, &cluster).await?;
            Ok(Stepped::done((), "it knows the lab's name, and the database its password"))
        })
        .await?;
    }
    run.step(StepId::Frontend, async |cx| {
        if moved {
            let (images, port) = (prove::images_of(&cluster).await?, standing::port(docker, lock.lab()).await?);
            let ensured = frontend::ensure(cx, &cluster, &spec, &images, port, &Gate::closed()).await?;
            return Ok(ensured.map(drop));
        }
        let page = smoke::first_page(&cx, &site.url, FIRST_PAGE).await?;
        Ok(Stepped::already((), page))
    })
    .await?;
    if moved {
        // Its backups are its own from now on, and its network is another one.
        let host = doctor::engine(None).await?;
        backup::follow(run, &host, &cluster, &spec, &prove::images_of(&cluster).await?, None).await?;
    }
    proven(run, docker, lock, (cluster, spec, site)).await
}

/// Nodes and Kubernetes: from whatever stands still to kubelets that have spoken since.
async fn begin(cx: StepCx, docker: &Docker, lab: &LabName) -> Result<Stepped<()>> {
    let began = Timestamp::now();
    let there = nodes::containers(docker, lab).await?;
    let thawed = freeze::thaw(docker, &there).await?;
    let stopped: Vec<&Container> = there.iter().filter(|node| !node.running && !node.paused).collect();
    halt::start(&cx, docker, lab, &stopped).await;
    let found = standing::awake(docker, lab).await?;
    ensure!(found.running == found.nodes, "{} of {} nodes run", found.running, found.nodes);
    let cluster = standing::connect(lab).await?;
    answers(&cx, &cluster).await?;
    if !stopped.is_empty() {
        autoscale::forget(&cluster).await?;
        cx.until("the nodes", KUBELETS, EVERY, || cluster.reported_since(found.nodes, began)).await?;
    }
    let detail = format!("{} of {} nodes started", stopped.len(), found.nodes);
    Ok(Stepped::changed(thawed + stopped.len() > 0, (), detail))
}

/// Waits until the API server answers as one that knows its lab.
async fn answers(cx: &StepCx, cluster: &Cluster) -> Result<()> {
    cx.until("the API server", API, EVERY, || async {
        Ok(match cluster.has_namespace().await {
            Ok(_) => Look::Ready(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await
}

async fn proven(
    run: &Run,
    docker: &Docker,
    lock: &LabLock,
    (cluster, spec, site): (Cluster, LabSpec, Site),
) -> Result<AwakeReport> {
    let smoke = run.step(StepId::Smoke, |cx| prove::checked(cx, docker, &cluster, &spec, &site)).await?;
    let (name, kubeconfig) = (lock.lab().clone(), nodes::kubeconfig_path(lock.lab()));
    Ok(AwakeReport { name, url: site.url, kubeconfig, changed: run.changed(), timings: run.timings(), smoke })
}
