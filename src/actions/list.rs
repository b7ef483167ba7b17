//! The labs on this machine, by their labels.

use anyhow::Result;
use serde::Serialize;

use crate::host::{
    docker::Docker,
    nodes::labs::{self, Doing, LabOnHost},
};

/// A lab in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LabSummary {
    /// Its name.
    pub name: String,
    /// What it does: `running`, `paused` or `stopped`.
    pub state: Doing,
    /// Node containers that run.
    pub running: usize,
    /// Node containers in all.
    pub nodes: usize,
    /// Where its site answers, if that is known.
    pub url: Option<String>,
}

impl From<LabOnHost> for LabSummary {
    fn from(lab: LabOnHost) -> LabSummary {
        let (url, state) = (lab.url(), lab.doing());
        let LabOnHost { name, running, nodes, paused: _, port: _ } = lab;
        LabSummary { name, state, running, nodes, url }
    }
}

/// All labs on this machine, by name.
///
/// # Errors
/// The Docker engine does not answer.
pub async fn list() -> Result<Vec<LabSummary>> {
    let docker = Docker::connect().await?;
    Ok(labs::labs(&docker).await?.into_iter().map(LabSummary::from).collect())
}
