//! A lab from a snapshot: the lab that it is of is put back to what it was, or another one is made beside it. Everything that
//! can fail for lack of something is done before anything of a lab that stands is removed.

use std::{fmt, path::Path};

use anyhow::{Context, Result};

use super::{About, find, open_for, root_of};
use crate::{
    actions::awake::{self, AwakeReport, Made},
    host::{
        docker::Docker,
        lock::LabLock,
        nodes::{self, NotOurs, again::Again, labs, roots::Roots, rules},
    },
    labels,
    run::{
        Run, StepCx, Stepped,
        advice::{Advise, Blame, Hint, Trouble},
        event::StepId,
    },
    spec::{
        LabName, SnapshotName,
        load::{self, Overrides},
    },
};

/// What `restore` is asked for.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// The lab that is made of it; the one that it is of, if nothing is said.
    pub lab: Option<LabName>,
    /// The wanted port of the site; what it was, if nothing is said.
    pub port: Option<u16>,
    /// Every password, key and salt is a new one.
    pub new_passwords: bool,
}

/// A lab of that name stands, and has nothing to do with the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTheWay {
    /// The lab.
    pub lab: LabName,
    /// The snapshot.
    pub snapshot: SnapshotName,
}

impl fmt::Display for InTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is a lab {} that was not made of snapshot {}", self.lab, self.snapshot)
    }
}

impl Advise for InTheWay {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Down { lab: self.lab.clone() }, Hint::List]
    }
}

/// Makes a lab of a snapshot and proves it. A lab of that name, if it is the one that the snapshot is of or was made of it, is
/// replaced: what is in it is lost.
///
/// # Errors
/// [`super::NoSuchSnapshot`]; [`InTheWay`]; [`NotOurs`]; the snapshot's images are gone; the disk is full; or what was made does
/// not come up. A failed check is no error: it is in the report.
pub async fn restore(run: &Run, options: &RestoreOptions) -> Result<AwakeReport> {
    let docker = Docker::connect().await?;
    let name = &options.snapshot;
    let roots = open_for(&docker, name).await?;
    let found = find(&roots, name).await;
    if found.is_err() {
        roots.close().await?;
    }
    let (about, _) = found?;
    let lab = options.lab.clone().unwrap_or_else(|| about.lab.clone());
    let lock = LabLock::take(&StepCx::new(run, StepId::Restore), &lab).await?;
    let made = run.step(StepId::Restore, |cx| make(cx, &docker, &roots, &about, &lab, options)).await;
    roots.close().await?;
    awake::first_start(run, &docker, &lock, made?).await
}

/// The nodes of the lab, which are not started yet.
async fn make(
    cx: StepCx,
    docker: &Docker,
    roots: &Roots<'_>,
    about: &About,
    lab: &LabName,
    options: &RestoreOptions,
) -> Result<Stepped<Made>> {
    let there = nodes::containers(docker, lab).await?;
    NotOurs::check(lab, &there)?;
    let of_it = |label: Option<&String>| label.is_some_and(|name| name == about.name.as_str());
    if !there.is_empty() && *lab != about.lab && !there.iter().all(|node| of_it(node.labels.get(labels::SNAPSHOT))) {
        return Err(Trouble::from(InTheWay { lab: lab.clone(), snapshot: about.name.clone() }).into());
    }
    let overrides = Overrides { name: Some(lab.clone()), port: options.port, ..Overrides::default() };
    let spec = load::parse("the snapshot's lab file", Path::new(""), &about.file, &overrides).map_err(Trouble::from)?;
    let key = root_of(&cx, docker, roots, &about.key, &about.images).await?;
    // As many as were there, whatever the lab had written down by then.
    let workers = u8::try_from(about.shots.len().saturating_sub(1)).context("these are too many nodes")?;
    let containers = nodes::node_names(lab, workers);
    let pairs: Vec<(&str, &str)> =
        about.shots.iter().map(|shot| shot.name.as_str()).zip(containers.iter().map(String::as_str)).collect();
    cx.say(format!("laying out {} nodes", pairs.len()));
    roots.unfold(&about.name, &key, &pairs).await?;
    if options.new_passwords {
        roots.renew_accounts().await?;
    }
    if let Err(error) = rules::ensure().await {
        cx.say(format!("cluster addresses may leave this machine: {error:#}"));
    }
    if !there.is_empty() {
        cx.say(format!("removing what there is of lab {lab}"));
    }
    // Whoever is killed from here on leaves a lab that was never finished.
    labs::begin_anew(docker, lab).await?;
    let own = Roots::open(docker, Some(lab), roots.image()).await?;
    let clones = own.adopt(roots, lab.as_str(), &containers).await?;
    cx.say("making the nodes");
    let wanted = options.port.unwrap_or(about.port);
    let again = Again { snapshot: &about.name, shots: &about.shots, lab, port: wanted, clones: &clones };
    let got = again.make(&cx, docker).await?;
    nodes::finished(lab)?;
    let moved = got != about.port || *lab != about.lab;
    let detail = format!("{} nodes as they were at {}", containers.len(), about.taken);
    Ok(Stepped::done(Made { spec, moved, renew: options.new_passwords }, detail))
}
