//! Stub of the lead's room, with its signatures.

use std::{fmt, path::PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::{
    host::fix::Consent,
    parts::images::ImageSet,
    run::{Run, StepTiming},
    smoke::SmokeReport,
    spec::{LabName, LabSpec},
};

/// What `up` is asked for.
pub struct UpOptions {
    /// The lab.
    pub spec: LabSpec,
    /// Who is asked before missing things are installed; `None` installs nothing (no `--fix`).
    pub fix: Option<Box<dyn Consent>>,
    /// `HOST[:PORT]` of a registry to pull from instead of the references' own.
    pub registry_mirror: Option<String>,
}

/// What `up` reached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UpReport {
    /// Which lab.
    pub name: LabName,
    /// Where the site answers.
    pub url: String,
    /// The lab's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Whether anything had to be done.
    pub changed: bool,
    /// The images in use.
    pub images: ImageSet,
    /// How long each step took.
    pub timings: Vec<StepTiming>,
    /// Every check.
    pub smoke: SmokeReport,
}

/// Part of the error of a failed step.
#[derive(Clone, Debug)]
pub struct Diagnosed {
    /// The folder.
    pub folder: PathBuf,
    /// The likely cause in one sentence.
    pub cause: Option<String>,
}

impl fmt::Display for Diagnosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{cause} (diagnostics: {})", self.folder.display()),
            None => write!(f, "diagnostics were saved to {}", self.folder.display()),
        }
    }
}

impl std::error::Error for Diagnosed {}

/// Brings the lab up.
///
/// # Errors
/// The first step that failed.
pub async fn up(_run: &Run, _options: &UpOptions) -> Result<UpReport> {
    bail!("not built yet")
}
