//! Removes a lab: everything that carries its labels, with no need of a cluster that answers. Backups outlive it, unless somebody asks.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    host::{docker::Docker, lock::LabLock, nodes::labs},
    parts::store::{self, Found, Place},
    run::{Run, StepCx, Stepped, event::StepId},
    spec::LabName,
};

/// How long a store may take to say what it has of a lab that is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `down` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DownReport {
    /// Which lab.
    pub name: LabName,
    /// Everything that was removed; empty when nothing was there.
    pub removed: Vec<Removed>,
    /// What became of its backups in the store of this machine; `None` where there are none.
    pub backups: Option<Backups>,
}

/// Something that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Removed {
    /// What kind of thing: `container`, `network`, `image`, `folder`, `roots`, `rules`.
    pub kind: &'static str,
    /// Its name or path.
    pub name: String,
}

/// What became of a lab's backups in the store of this machine, unfinished ones included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Backups {
    /// They are kept.
    Kept {
        /// How many.
        count: usize,
    },
    /// They are removed.
    Removed {
        /// How many.
        count: usize,
        /// What they took, in bytes.
        bytes: u64,
        /// The store went, too, because nobody else's were in it.
        store: bool,
    },
    /// The store cannot say; they are as they were.
    Unknown {
        /// Why.
        why: String,
    },
}

/// Removes what carries the lab's labels. A lab that is half deleted or was never there is no error. With `purge`, its backups in the
/// store of this machine go, too, and the store when it has no others; those in a folder or at somebody else's stay in any case.
///
/// # Errors
/// The Docker engine does not answer; the cluster of that name is not ours ([`crate::host::nodes::NotOurs`]); something
/// of ours cannot be removed; or the backups were to go and cannot.
pub async fn down(run: &Run, lab: &LabName, purge: bool) -> Result<DownReport> {
    let (removed, backups) = run
        .step(StepId::Remove, async |cx| {
            let docker = Docker::connect().await?;
            let lock = LabLock::take(&cx, lab).await?;
            let mut removed = labs::remove(&docker, &lock).await?;
            removed.containers.extend(store::remove_forsaken(&cx, &docker).await?);
            let backups = match store::find(&docker).await?.into_iter().find(|it| it.place == Place::Embedded) {
                Some(found) if purge => remove_backups(&cx, &docker, lab, found).await?,
                Some(found) => kept(run, lab, &found).await,
                None => None,
            };
            let (what, gone) = (summary(lab, &removed), removed.is_empty());
            let changed = !gone || matches!(backups, Some(Backups::Removed { .. }));
            Ok(Stepped::changed(changed, (removed, backups), what))
        })
        .await?;
    Ok(DownReport { name: lab.clone(), removed: one_by_one(removed), backups })
}

/// What a store has of a lab; whatever is wrong with it is no error.
async fn kept(run: &Run, lab: &LabName, found: &Found) -> Option<Backups> {
    let count = async {
        let shelf = found.shelf(lab)?.context("the store does not run")?;
        anyhow::Ok(shelf.ids().await?.len())
    };
    match tokio::time::timeout(run.patience(PATIENCE), count).await {
        Ok(Ok(0)) => None,
        Ok(Ok(count)) => Some(Backups::Kept { count }),
        Ok(Err(error)) => Some(Backups::Unknown { why: format!("{error:#}") }),
        Err(_) => Some(Backups::Unknown { why: "the store does not answer".to_owned() }),
    }
}

/// Removes all that a store has of a lab, and the store itself when nobody's are left in it and no lab could be writing to it.
async fn remove_backups(cx: &StepCx, docker: &Docker, lab: &LabName, found: Found) -> Result<Option<Backups>> {
    let found = if found.running {
        found
    } else {
        store::start(cx, docker, &found.place).await?;
        let all = store::find(docker).await?;
        all.into_iter().find(|it| it.place == found.place).context("the store is gone")?
    };
    let shelf = found.shelf(lab)?.context("the store does not run")?;
    let ids = shelf.ids().await.context("cannot list the lab's backups")?;
    let mut bytes = 0;
    for id in &ids {
        cx.say(format!("removing backup {id}"));
        bytes += shelf.remove(id).await?;
    }
    let mut others = false;
    for other in shelf.labs().await.context("cannot list whose backups there are")? {
        others |= match found.shelf(&other)? {
            Some(shelf) => !shelf.ids().await?.is_empty(),
            None => true,
        };
    }
    let store = !others && store::remove_unused(cx, docker, &found.place).await.context("cannot remove the store")?;
    let something = store || !ids.is_empty();
    Ok(something.then_some(Backups::Removed { count: ids.len(), bytes, store }))
}

fn one_by_one(removed: labs::Removed) -> Vec<Removed> {
    let labs::Removed { containers, networks, images, folder, roots, rules } = removed;
    let of = |kind: &'static str, names: Vec<String>| names.into_iter().map(move |name| Removed { kind, name });
    let folder = folder.map(|folder| folder.display().to_string());
    let roots = roots.then(|| "the clones of a golden root".to_owned());
    let rules = rules.then(|| "that kept cluster addresses on this machine".to_owned());
    of("container", containers)
        .chain(of("network", networks))
        .chain(of("image", images))
        .chain(of("folder", folder.into_iter().collect()))
        .chain(of("roots", roots.into_iter().collect()))
        .chain(of("rules", rules.into_iter().collect()))
        .collect()
}

fn summary(lab: &LabName, removed: &labs::Removed) -> String {
    if removed.is_empty() {
        return format!("there was no lab {lab}");
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    [
        count(removed.containers.len(), "node container"),
        count(removed.networks.len(), "network"),
        count(removed.images.len(), "image"),
    ]
    .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_is_told_in_a_sentence() {
        let lab = LabName::default();
        let none = labs::Removed::default();
        assert_eq!(summary(&lab, &none), "there was no lab wplab");
        let some = labs::Removed { containers: vec!["a".into(), "b".into()], networks: vec!["n".into()], ..none };
        assert_eq!(summary(&lab, &some), "2 node containers, 1 network, 0 images");
    }
}
