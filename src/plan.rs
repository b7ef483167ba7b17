//! Says what `up` would do, without doing it. (Body: the lead.)

use anyhow::{Result, bail};
use serde::Serialize;

use crate::{
    event::StepId,
    parts::images::Role,
    spec::{LabName, LabSpec},
};

/// What `up` would do, and what it would use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlanReport {
    /// Which lab.
    pub name: LabName,
    /// The steps in their order.
    pub steps: Vec<PlannedStep>,
    /// The images.
    pub images: Vec<PlannedImage>,
    /// What the lab would take of the machine.
    pub uses: Uses,
}

/// One step of `up`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedStep {
    /// Which.
    pub step: StepId,
    /// Whether it would change anything.
    pub changes: bool,
    /// What it would do, as a sentence fragment.
    pub what: String,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedImage {
    /// What it is for.
    pub role: Role,
    /// `present`, `pull REFERENCE`, `build RECIPE` or `bundle FILE`.
    pub action: String,
    /// Bytes, as far as they are known.
    pub size: Option<u64>,
}

/// What a lab takes of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Uses {
    /// Memory in bytes, about.
    pub memory: u64,
    /// Disk in bytes, about.
    pub disk: u64,
    /// Ports of 127.0.0.1.
    pub ports: Vec<u16>,
}

/// Looks at the machine and says what `up` would do.
///
/// # Errors
/// The Docker engine does not answer.
pub async fn plan(_spec: &LabSpec) -> Result<PlanReport> {
    bail!("not built yet")
}
