//! The images by themselves: listed, built, pulled, or saved into one file.

use std::path::Path;

use anyhow::Result;

use crate::{
    event::StepId,
    host::{docker::Docker, doctor},
    parts::images::{self, ImageRow, ImageSet, Role},
    run::Run,
    spec::Flavour,
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

/// Writes the images of both topologies into one file, from which `up` works without any network; returns its size in
/// bytes. What is not here yet is pulled or built first. Of the flavours of Galera it is the one that was asked for.
///
/// # Errors
/// As `up`'s images step; or the file cannot be written.
pub async fn save(run: &Run, flavour: Flavour, file: &Path) -> Result<u64> {
    let host = doctor::engine(None).await?;
    run.step(StepId::Images, |cx| images::save(cx, &host, flavour, None, file)).await
}
