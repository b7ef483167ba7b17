//! Snapshots of whole labs (docs/decisions/0020-snapshots.md): taken while a lab stands still for a moment, listed and removed
//! here; a lab is made of one in [`restore`].

mod about;
pub mod restore;

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

pub use about::Snapshot;

use self::about::About;
use crate::{
    actions::{
        prove, smoke,
        standing::{self, Stopped},
    },
    host::{
        docker::{Container, Docker},
        lock::LabLock,
        nodes::{
            self, again, freeze,
            roots::{Key, Roots},
        },
    },
    parts::images::{ImageSet, Role, golden},
    run::{
        Run, StepCx, Stepped,
        advice::{Advise, Blame, Hint, Trouble},
        event::StepId,
    },
    spec::{LabName, SnapshotName},
};

/// How long the first page may take after a lab stood still.
const FIRST_PAGE: Duration = Duration::from_mins(2);

/// There is no snapshot of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchSnapshot {
    /// The name.
    pub name: SnapshotName,
    /// The snapshots that there are.
    pub others: Vec<String>,
}

impl fmt::Display for NoSuchSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no snapshot {}", self.name)?;
        if self.others.is_empty() { Ok(()) } else { write!(f, "; there is: {}", self.others.join(", ")) }
    }
}

impl Advise for NoSuchSnapshot {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Snapshots]
    }
}

/// There is a snapshot of this name already, and it is not replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotExists {
    /// The name.
    pub name: SnapshotName,
    /// The lab that it is of.
    pub of: LabName,
}

impl fmt::Display for SnapshotExists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is a snapshot {} of lab {} already", self.name, self.of)
    }
}

impl Advise for SnapshotExists {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::DeleteSnapshot { name: self.name.clone() }]
    }
}

/// What `save` did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Saved {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// How long nothing in the lab ran.
    #[serde(serialize_with = "crate::run::verdict::seconds")]
    pub stood_still: Duration,
}

/// Takes a snapshot of a lab that runs. Nothing in it runs while it is copied, and it goes on then; a session, an upload or
/// a query that was under way goes on, too.
///
/// # Errors
/// [`standing::NoSuchLab`]; [`SnapshotExists`]; [`Stopped`] or [`standing::Paused`]: whoever is to be copied must be well;
/// the lab's images are in Docker no more; the disk is full.
pub async fn save(run: &Run, name: &SnapshotName, lab: &LabName) -> Result<Saved> {
    run.step(StepId::Snapshot, async |cx| {
        let docker = Docker::connect().await?;
        standing::find(&docker, lab).await?;
        let _lock = LabLock::take(&cx, lab).await?;
        let found = standing::awake(&docker, lab).await?;
        if found.running < found.nodes {
            return Err(Trouble::from(Stopped { lab: lab.clone() }).into());
        }
        let (cluster, spec, site) = prove::open(&docker, lab).await?;
        let images = prove::images_of(&cluster).await?;
        let nodes = nodes::ours(&docker, lab).await?;
        let port = standing::port(&docker, lab).await?;
        let (shots, lent) = again::look(&docker, name, &nodes).await?;
        let about = About::new(name, lab, &spec, port, &images, shots);
        let roots = Roots::open_beside(&docker, None, images.reference(Role::Node)?, lent).await?;
        let taken = taken(&cx, &docker, &roots, &nodes, about).await;
        roots.close().await?;
        let (snapshot, stood_still) = taken?;
        smoke::first_page(&cx, &site.url, FIRST_PAGE).await?;
        let detail = format!("lab {lab} stood still for {:.1} s", stood_still.as_secs_f64());
        Ok(Stepped::done(Saved { snapshot, stood_still }, detail))
    })
    .await
}

/// The snapshot, and how long the lab stood still.
async fn taken(
    cx: &StepCx,
    docker: &Docker,
    roots: &Roots<'_>,
    nodes: &[Container],
    mut about: About,
) -> Result<(Snapshot, Duration)> {
    let name = about.name.clone();
    if let Some((there, _)) = about::all(roots).await?.into_iter().find(|(there, _)| there.name == name) {
        return Err(Trouble::from(SnapshotExists { name, of: there.lab }).into());
    }
    about.key = golden::ensure(cx, docker, roots, &about.images).await?;
    let kept = async {
        again::commit(docker, &name, &about.shots).await?;
        cx.say("copying while nothing in the lab runs");
        let inside: Vec<&str> = about.shots.iter().map(|shot| shot.name.as_str()).collect();
        let began = Instant::now();
        let copied = async {
            freeze::freeze(docker, nodes).await?;
            roots.copy(&inside).await
        };
        let copied = copied.await;
        // Whatever came of it, the lab goes on.
        let there = nodes::containers(docker, &about.lab).await?;
        freeze::thaw(docker, &there).await?;
        let stood_still = began.elapsed();
        copied?;
        about.taken = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        roots.keep(&name, &about.key, about.text()?).await?;
        anyhow::Ok(stood_still)
    };
    match kept.await {
        Ok(stood_still) => Ok((find(roots, &name).await?.1, stood_still)),
        Err(error) => {
            again::forget(docker, &name).await?;
            Err(error)
        }
    }
}

/// All snapshots on this machine, by name.
///
/// # Errors
/// The engine does not answer, or has no image of a node to look at them with.
pub async fn list() -> Result<Vec<Snapshot>> {
    let docker = Docker::connect().await?;
    let Some(roots) = open(&docker).await? else { return Ok(Vec::new()) };
    let all = about::all(&roots).await;
    roots.close().await?;
    Ok(all?.into_iter().map(|(_, snapshot)| snapshot).collect())
}

/// Removes a snapshot. Labs that were made of it go on.
///
/// # Errors
/// [`NoSuchSnapshot`]; or the engine does not answer.
pub async fn delete(run: &Run, name: &SnapshotName) -> Result<Snapshot> {
    run.step(StepId::Remove, async |_cx| {
        let docker = Docker::connect().await?;
        let roots = open_for(&docker, name).await?;
        let deleted = async {
            let (_, snapshot) = find(&roots, name).await?;
            roots.delete(name).await?;
            again::forget(&docker, name).await?;
            anyhow::Ok(snapshot)
        };
        let deleted = deleted.await;
        roots.close().await?;
        let snapshot = deleted?;
        let detail = format!("snapshot {name} of lab {}", snapshot.lab);
        Ok(Stepped::done(snapshot, detail))
    })
    .await
}

/// The volume, if there is one.
async fn open(docker: &Docker) -> Result<Option<Roots<'_>>> {
    if !nodes::roots::any(docker).await? {
        return Ok(None);
    }
    let image = golden::a_node(docker).await?.context("there is no image of a node to look at snapshots with")?;
    Roots::open(docker, None, &image).await.map(Some)
}

/// The volume for whoever needs this snapshot on it.
async fn open_for<'a>(docker: &'a Docker, name: &SnapshotName) -> Result<Roots<'a>> {
    let none = || Trouble::from(NoSuchSnapshot { name: name.clone(), others: Vec::new() });
    open(docker).await?.ok_or_else(|| none().into())
}

async fn find(roots: &Roots<'_>, name: &SnapshotName) -> Result<(About, Snapshot)> {
    let mut all = about::all(roots).await?;
    match all.iter().position(|(about, _)| about.name == *name) {
        Some(at) => Ok(all.swap_remove(at)),
        None => {
            let others = all.into_iter().map(|(about, _)| about.name.to_string()).collect();
            Err(Trouble::from(NoSuchSnapshot { name: name.clone(), others }).into())
        }
    }
}

/// The golden root of a snapshot; made again if somebody has removed it and its images are still in Docker.
async fn root_of(cx: &StepCx, docker: &Docker, roots: &Roots<'_>, key: &Key, images: &ImageSet) -> Result<Key> {
    if roots.holds(key).await? {
        return Ok(key.clone());
    }
    golden::ensure(cx, docker, roots, images)
        .await
        .context("the golden root of the snapshot is gone, and cannot be made again")
}
