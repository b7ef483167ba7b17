//! Stub of the lead's room, with its signatures.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{host::docker::Docker, spec::LabName};

/// Diagnostics that were saved.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Saved {
    /// The folder.
    pub folder: PathBuf,
    /// The likely cause in one sentence, if one was seen.
    pub cause: Option<String>,
}

/// Saves diagnostics of a lab into `folder`, or into a new one below the lab's own; `None` when there is no lab.
///
/// # Errors
/// The folder cannot be written.
pub async fn save(_docker: &Docker, _lab: &LabName, _folder: Option<PathBuf>) -> Result<Option<Saved>> {
    bail!("not built yet")
}
