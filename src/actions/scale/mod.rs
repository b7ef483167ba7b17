//! A lab that stands is given more or fewer of something: replicas of the site, worker nodes. Whatever is asked for is held
//! against the rules of a lab file before anything is touched, and the file that the lab has written down follows.

pub mod db;
mod leave;
pub mod wordpress;
mod work;
pub mod workers;

use std::path::Path;

use anyhow::Result;

use crate::{
    actions::{keep, prove, standing},
    cluster::Cluster,
    host::{docker::Docker, lock::LabLock},
    parts::{images::ImageSet, monitoring},
    run::{StepCx, advice::Trouble},
    spec::{
        LabName, LabSpec,
        load::{self, Overrides, SpecError},
    },
};

/// A lab that is about to change, and that nobody else works on meanwhile.
pub(in crate::actions) struct Change {
    /// The engine.
    pub(in crate::actions) docker: Docker,
    /// Its cluster.
    pub(in crate::actions) cluster: Cluster,
    /// What it was made from.
    pub(in crate::actions) had: LabSpec,
    /// The same with what is to be different.
    pub(in crate::actions) wanted: LabSpec,
    /// Its images, which stay what they are.
    pub(in crate::actions) images: ImageSet,
    _lock: LabLock,
}

/// Opens a lab for a change of what it is made from. Nothing is touched, and nothing is written down yet.
///
/// # Errors
/// What is wanted is against the rules of a lab file: all of them at once, in its words; [`standing::NoSuchLab`],
/// [`standing::Paused`], [`standing::Stopped`]; or the cluster does not answer.
pub(in crate::actions) async fn change(cx: &StepCx, lab: &LabName, edit: impl FnOnce(&mut LabSpec)) -> Result<Change> {
    let docker = Docker::connect().await?;
    // Whoever asks for a lab that is not there makes no folder for it.
    standing::find(&docker, lab).await?;
    let lock = LabLock::take(cx, lab).await?;
    standing::port(&docker, lab).await?;
    let cluster = standing::connect(lab).await?;
    let had = cluster.lab_file().await?;
    let wanted = edited(&had, edit).map_err(Trouble::from)?;
    let images = prove::images_of(&cluster).await?;
    Ok(Change { docker, cluster, had, wanted, images, _lock: lock })
}

impl Change {
    /// Writes down what the lab is made from now, for who watches it, too.
    ///
    /// # Errors
    /// The API server refuses.
    pub(in crate::actions) async fn record(&self) -> Result<()> {
        keep::record(&self.cluster, &self.wanted, &self.images).await?;
        monitoring::told(&self.cluster, &self.wanted, &self.images).await
    }
}

/// A lab with something changed, if it may be so.
fn edited(had: &LabSpec, edit: impl FnOnce(&mut LabSpec)) -> Result<LabSpec, SpecError> {
    let mut wanted = had.clone();
    edit(&mut wanted);
    let read = load::parse("the lab as it would be", Path::new(""), &wanted.to_file(), &Overrides::default());
    read.map_err(SpecError::without_places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_held_against_the_rules_of_a_lab_file() {
        let had = LabSpec::default();
        let more = edited(&had, |spec| spec.cluster.workers = 4).expect("allowed");
        assert_eq!((more.cluster.workers, more.database.members), (4, 3));
        let told = |edit: fn(&mut LabSpec)| edited(&had, edit).expect_err("not allowed").to_string();
        let few = told(|spec| spec.cluster.workers = 2);
        assert!(few.contains("database.members: 3 members need 3 workers, and there are 2"), "{few}");
        assert!(!few.contains(":1:"), "there is no file to look into: {few}");
        let both = told(|spec| (spec.cluster.workers, spec.autoscale.min) = (1, 7));
        assert!(
            both.contains("cluster.workers: 1 is out of range") && both.contains("min 7 is more than max 6"),
            "{both}"
        );
    }
}
