//! Whether an image of a Galera flavour makes a cluster, shown on a real one: two members and an etcd in plain containers, with
//! our own supervisor as their PID 1. What happens is listed in `live`, and how each step is done and seen is in `steps`;
//! what the containers are is in `containers`, what a server's log says of a copy in `traces`, and what somebody can attach
//! to an issue in `report`.

mod containers;
mod report;
mod steps;
mod traces;

use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Serialize;

pub use report::Machine;

use super::images::{
    Role, candidates,
    check::{self, Checked},
    tool,
};
use crate::{
    host::{Host, docker::Docker},
    run::{StepCx, Stepped, advice::Trouble},
};
use containers::{Containers, ETCD, Images, MEMBERS};
use steps::Course;

/// The most lines of a container's log that are told.
const LAST_LINES: usize = 60;

/// What an image was held against: its contract, and where that holds a cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Thorough {
    /// The contract.
    pub checked: Checked,
    /// The digests under which registries know the image.
    pub digests: Vec<String>,
    /// etcd's image.
    pub etcd: String,
    /// Where it was run.
    pub machine: Machine,
    /// The cluster's life, step by step; none where the contract does not hold.
    pub steps: Vec<Step>,
    /// The ends of the containers' logs, by container, when a step did not hold.
    pub logs: Vec<(String, String)>,
}

/// One step in the cluster's life.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// A short name that never changes.
    pub name: &'static str,
    /// What has to be so after it.
    pub says: &'static str,
    /// Seconds that it took.
    pub took: f64,
    /// What was seen.
    #[serde(flatten)]
    pub verdict: StepEnd,
}

/// Whether a step held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "seen")]
pub enum StepEnd {
    /// It did; by what that was seen.
    Holds(Vec<String>),
    /// It did not; why.
    Breaks(String),
    /// An earlier one did not.
    NotReached,
}

impl Thorough {
    /// Whether the contract and every step held.
    pub fn holds(&self) -> bool {
        let held = |step: &Step| matches!(step.verdict, StepEnd::Holds(_));
        self.checked.broken().is_none() && !self.steps.is_empty() && self.steps.iter().all(held)
    }

    /// The step that did not hold, and why.
    pub fn broken(&self) -> Option<(&'static str, &str)> {
        self.steps.iter().find_map(|step| match &step.verdict {
            StepEnd::Breaks(why) => Some((step.name, why.as_str())),
            StepEnd::Holds(_) | StepEnd::NotReached => None,
        })
    }
}

/// Whether images of this role can be checked thoroughly.
pub fn can(role: Role) -> bool {
    matches!(role, Role::Mariadb | Role::Percona)
}

/// Holds the image of a Galera flavour (that of the role, or `image`) against its contract; and where that holds, a cluster of
/// two lives through what a lab's members do. What does not hold is no error: it is in the report.
///
/// # Errors
/// There is no image to look at, or no sound one for etcd; one cannot be run at all; or the engine does not answer.
pub async fn run(cx: StepCx, host: &Host, role: Role, image: Option<&str>) -> Result<Stepped<Thorough>> {
    let mut wanted = candidates(host, &[Role::Etcd], None).await?;
    wanted.extend(candidates(host, &[role], image).await?);
    let mut checked = check::check(&cx, &host.docker, wanted).await?;
    let etcd = checked.iter().position(|checked| checked.role == Role::Etcd).map(|at| checked.remove(at));
    let (Some(etcd), Some(checked)) = (etcd, checked.pop()) else { bail!("there is no contract for {}", role.name()) };
    if let Some(broken) = etcd.broken() {
        return Err(Trouble::from(broken).into());
    }
    let thorough = cluster(&cx, host, checked, &etcd).await?;
    let detail = if thorough.holds() { "a cluster of two lived through every step" } else { "it does not hold" };
    Ok(Stepped::done(thorough, detail))
}

/// Runs the cluster of an image that keeps its contract.
async fn cluster(cx: &StepCx, host: &Host, checked: Checked, etcd: &Checked) -> Result<Thorough> {
    let docker = &host.docker;
    let image = docker.image(&checked.id).await?.context("the image under test is gone")?;
    let mut thorough = Thorough {
        checked,
        digests: image.repo_digests,
        etcd: etcd.image.clone(),
        machine: Machine::of(docker.info().await?),
        steps: Vec::new(),
        logs: Vec::new(),
    };
    if thorough.checked.broken().is_some() {
        return Ok(thorough);
    }
    let _alone = check::alone(cx, docker).await?;
    let (tool, _) = tool::ensure(cx, docker).await?;
    let (role, member) = (thorough.checked.role, thorough.checked.id.clone());
    let images = Images { role, member, etcd: etcd.id.clone(), tool: tool.id };
    let lived = live(cx, docker, &images, &mut thorough).await;
    // Also what a failure on the way has left half-made.
    let removed = docker.remove_left_behind().await;
    lived.and(removed)?;
    Ok(thorough)
}

async fn live(cx: &StepCx, docker: &Docker, images: &Images, thorough: &mut Thorough) -> Result<()> {
    cx.say("making the containers of a cluster of two");
    let containers = Containers::make(docker, images).await?;
    let course = Course { cx, containers: &containers };
    let mut life = Life { cx, steps: &mut thorough.steps, broken: false };
    life.step("etcd", "etcd answers under TLS, to a client with a certificate", course.etcd()).await;
    life.step("begin", "one member is elected and begins the cluster", course.begins()).await;
    life.step("join", "the other one joins by a whole copy", course.joins()).await;
    life.step(
        "encrypted",
        "members speak to each other under TLS, and no client without it is served",
        course.encrypted(),
    )
    .await;
    life.step("row", "a row written at one member is read at the other, under TLS", course.row()).await;
    life.step("rejoin", "a member that was stopped comes back by single changes", course.rejoins()).await;
    life.step("stop", "both members end well when they are told to", course.stops()).await;
    if thorough.broken().is_some() {
        for name in [ETCD, MEMBERS[0], MEMBERS[1]] {
            let log = containers.log(name).await.unwrap_or_else(|error| format!("{error:#}"));
            let log = if log.trim().is_empty() { "It has said nothing." } else { &log };
            thorough.logs.push((name.to_owned(), report::last(log, LAST_LINES)));
        }
    }
    thorough.hide(&containers.secrets);
    Ok(())
}

/// Where the steps are told while they happen.
struct Life<'a> {
    cx: &'a StepCx,
    steps: &'a mut Vec<Step>,
    broken: bool,
}

impl Life<'_> {
    /// One step; after one that did not hold the others are not tried.
    async fn step(&mut self, name: &'static str, says: &'static str, step: impl Future<Output = Result<Vec<String>>>) {
        if self.broken {
            self.steps.push(Step { name, says, took: 0.0, verdict: StepEnd::NotReached });
            return;
        }
        self.cx.task(name, says, None);
        let begin = Instant::now();
        let verdict = match step.await {
            Ok(seen) => StepEnd::Holds(seen),
            Err(error) => StepEnd::Breaks(format!("{error:#}")),
        };
        let took = begin.elapsed().as_secs_f64();
        self.broken = matches!(verdict, StepEnd::Breaks(_));
        self.cx.task_done(name, if self.broken { "does not hold" } else { "holds" });
        self.steps.push(Step { name, says, took, verdict });
    }
}
