//! The images by themselves: listed, built, pulled, checked, or saved into one file.

use std::path::Path;

use anyhow::Result;

use crate::{
    host::{docker::Docker, machine::doctor},
    parts::{
        images::{self, Checked, ImageRow, ImageSet, Kept, Role, golden},
        trial,
        trial::Thorough,
    },
    run::{Run, event::StepId, gate::Gate},
    spec::{Flavour, ImageSource, LabSpec},
};

/// The catalogue, and what of it is here.
///
/// # Errors
/// The Docker engine does not answer.
pub async fn list() -> Result<Vec<ImageRow>> {
    images::list(&Docker::connect().await?).await
}

/// Builds the images of these roles (all that have a recipe, when there are none) from packages.
///
/// # Errors
/// The first build that failed.
pub async fn build(run: &Run, roles: &[Role]) -> Result<ImageSet> {
    let host = doctor::engine(None).await?;
    run.step(StepId::Images, |cx| images::build(cx, &host, roles, None)).await
}

/// Pulls every image from its registry, or from a mirror.
///
/// # Errors
/// The first pull that failed.
pub async fn pull(run: &Run, mirror: Option<&str>) -> Result<ImageSet> {
    let host = doctor::engine(mirror).await?;
    run.step(StepId::Images, |cx| images::pull(cx, &host, &[], mirror)).await
}

/// Makes sure of the images of these roles (all, when there are none), as `up` with this source would.
///
/// # Errors
/// The first that cannot be had, or that breaks its contract and was asked for.
pub async fn get(run: &Run, source: &ImageSource, roles: &[Role], mirror: Option<&str>) -> Result<ImageSet> {
    let host = doctor::engine(mirror).await?;
    run.step(StepId::Images, |cx| images::get(cx, &host, source, roles, mirror)).await
}

/// Holds the images that are here for these roles (all, when there are none) against what the lab relies on; with
/// `image`, that one against the contract of the first role.
///
/// # Errors
/// There is no image to look at, or one cannot be run at all.
pub async fn check(run: &Run, roles: &[Role], image: Option<&str>) -> Result<Vec<Checked>> {
    let host = doctor::engine(None).await?;
    run.step(StepId::Images, |cx| images::check(cx, &host, roles, image)).await
}

/// Holds the image of a Galera flavour against its contract, and then has a cluster of two live through what a lab's members
/// do. When this is dropped on the way, [`clear`] removes what is left.
///
/// # Errors
/// There is no such image here, or none for etcd; or it could not be run.
pub async fn check_thoroughly(run: &Run, role: Role, image: Option<&str>) -> Result<Thorough> {
    let host = doctor::engine(None).await?;
    run.step(StepId::Images, |cx| async move { trial::run(cx, &host, role, image).await }).await
}

/// Removes what was left of a check that was ended in the middle, unless another one is at work.
///
/// # Errors
/// The engine does not answer.
pub async fn clear() -> Result<()> {
    images::check::clear(&Docker::connect().await?).await
}

/// Writes the images of both topologies into one file, from which `up` works without any network; returns its size in
/// bytes. What is not here yet is pulled or built first. Of the flavours of Galera it is the one that was asked for.
///
/// # Errors
/// As `up`'s images step; or the file cannot be written.
pub async fn save(run: &Run, flavour: Flavour, file: &Path) -> Result<u64> {
    let host = doctor::engine(None).await?;
    run.step(StepId::Images, |cx| images::save(cx, &host, flavour, None, file)).await
}

/// Makes sure of a lab's images and of the golden root from which its nodes begin.
///
/// # Errors
/// An image cannot be had; or the golden root cannot be made on this machine, and labs have to do without.
pub async fn warm(run: &Run, spec: &LabSpec, mirror: Option<&str>) -> Result<()> {
    let host = doctor::engine(mirror).await?;
    let node = Gate::closed();
    let ensure = |cx| async { images::ensure(cx, &host, spec, mirror, &Kept::new(), &node).await };
    let images = run.step(StepId::Images, ensure).await?;
    run.step(StepId::Load, |cx| async { golden::warm(cx, &host, &images).await }).await
}

/// Removes golden roots, all or those that are old or too many; returns their keys. Labs keep their clones.
///
/// # Errors
/// The engine does not answer, or has no image of a node to look at them with.
pub async fn prune(all: bool) -> Result<Vec<String>> {
    golden::prune(&Docker::connect().await?, all).await
}
