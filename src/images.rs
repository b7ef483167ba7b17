//! The images by themselves: listed, built, pulled, or saved into one file. (Bodies: the images owner or the lead.)

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::{parts::images::Role, run::Run};

/// An image of the catalogue as this machine has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageRow {
    /// What it is for.
    pub role: Role,
    /// The pinned public reference; the tool's own image has none.
    pub public: Option<String>,
    /// The name by which pods ask for it, if it is here.
    pub present: Option<String>,
    /// Where the present one came from: `registry` or `packages`.
    pub origin: Option<String>,
    /// Bytes of the present one.
    pub size: Option<u64>,
}

/// The catalogue, and what of it is here.
///
/// # Errors
/// The Docker engine does not answer.
pub async fn list() -> Result<Vec<ImageRow>> {
    bail!("not built yet")
}

/// Builds the images of these roles (all, when there are none) from packages.
///
/// # Errors
/// The first build that failed.
pub async fn build(_run: &Run, _roles: &[Role]) -> Result<Vec<ImageRow>> {
    bail!("not built yet")
}

/// Pulls every image from its registry, or from a mirror.
///
/// # Errors
/// The first pull that failed.
pub async fn pull(_run: &Run, _mirror: Option<&str>) -> Result<Vec<ImageRow>> {
    bail!("not built yet")
}

/// Writes every image that is here into one file, from which `up` works without any network; returns its size in bytes.
///
/// # Errors
/// An image is not here yet, or the file cannot be written.
pub async fn save(_run: &Run, _file: &Path) -> Result<u64> {
    bail!("not built yet")
}
