//! Removes a lab: everything that carries its labels, with no need of a cluster that answers. (Body: the lead.)

use anyhow::{Result, bail};
use serde::Serialize;

use crate::{run::Run, spec::LabName};

/// Something that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Removed {
    /// What kind of thing: `container`, `network`, `image`, `folder`, `rules`.
    pub kind: &'static str,
    /// Its name or path.
    pub name: String,
}

/// What `down` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DownReport {
    /// Which lab.
    pub name: LabName,
    /// Everything that was removed; empty when nothing was there.
    pub removed: Vec<Removed>,
}

/// Removes what carries the lab's labels. A lab that is half deleted or was never there is no error.
///
/// # Errors
/// The Docker engine does not answer, or something of ours cannot be removed.
pub async fn down(_run: &Run, _lab: &LabName) -> Result<DownReport> {
    bail!("not built yet")
}
