//! The labs on this machine, by their labels. (Body: the lead.)

use std::fmt;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::spec::LabName;

/// A lab in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LabSummary {
    /// Its name.
    pub name: String,
    /// Node containers that run.
    pub running: usize,
    /// Node containers in all.
    pub nodes: usize,
    /// Where its site answers, if that is known.
    pub url: Option<String>,
}

/// There is no lab of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchLab {
    /// The name.
    pub name: LabName,
    /// The labs that there are.
    pub others: Vec<String>,
}

impl fmt::Display for NoSuchLab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no lab {}", self.name)?;
        if self.others.is_empty() { Ok(()) } else { write!(f, "; there is: {}", self.others.join(", ")) }
    }
}

impl std::error::Error for NoSuchLab {}

/// All labs on this machine, by name.
///
/// # Errors
/// The Docker engine does not answer.
pub async fn list() -> Result<Vec<LabSummary>> {
    bail!("not built yet")
}
