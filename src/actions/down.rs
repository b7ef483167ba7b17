//! Removes a lab: everything that carries its labels, with no need of a cluster that answers.

use anyhow::Result;
use serde::Serialize;

use crate::{
    host::{docker::Docker, lock::LabLock, nodes::labs},
    run::{Run, Stepped, event::StepId},
    spec::LabName,
};

/// What `down` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DownReport {
    /// Which lab.
    pub name: LabName,
    /// Everything that was removed; empty when nothing was there.
    pub removed: Vec<Removed>,
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

/// Removes what carries the lab's labels. A lab that is half deleted or was never there is no error.
///
/// # Errors
/// The Docker engine does not answer; the cluster of that name is not ours ([`crate::host::nodes::NotOurs`]); or something
/// of ours cannot be removed.
pub async fn down(run: &Run, lab: &LabName) -> Result<DownReport> {
    let removed = run
        .step(StepId::Remove, async |cx| {
            let docker = Docker::connect().await?;
            let lock = LabLock::take(&cx, lab).await?;
            let removed = labs::remove(&docker, &lock).await?;
            let (what, gone) = (summary(lab, &removed), removed.is_empty());
            Ok(Stepped::changed(!gone, removed, what))
        })
        .await?;
    Ok(DownReport { name: lab.clone(), removed: one_by_one(removed) })
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
