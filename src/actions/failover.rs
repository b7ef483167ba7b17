//! Another member takes writes, because a person asks for it, and the agent does it, or says why not. What happens when a source is lost the agent does by itself.

use anyhow::Result;
use serde::Serialize;

use crate::{
    actions::standing::{self, Impossible},
    cluster::Cluster,
    parts::database,
    run::{Run, StepCx, Stepped, advice::Trouble, event::StepId},
    spec::LabName,
};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Moved {
    /// Who took writes before; empty where nobody did.
    pub from: String,
    /// Who does now.
    pub to: String,
    /// How long it took from the request to the agent's answer, in milliseconds.
    pub took_ms: u64,
    /// What still keeps writes waiting, where a loss was accepted and nobody is there to acknowledge them; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub waits: String,
}

/// Asks the agent to make `to` the one that takes writes, or whichever is best; `accept_loss` says that a lost source is to be given
/// up also where fewer members can be asked than would know everything that it has acknowledged.
///
/// # Errors
/// [`standing::Impossible`] with the agent's reason; [`standing::NoSuchLab`]; nobody leads, or it takes too long: with the last reason.
pub async fn failover(run: &Run, lab: &LabName, to: Option<&str>, accept_loss: bool) -> Result<Moved> {
    run.step(StepId::Database, async |cx| {
        let cluster = standing::open(lab).await?;
        let moved = moved(&cx, &cluster, lab, to, accept_loss).await?;
        let detail = format!("{} takes writes", moved.to);
        Ok(Stepped::done(moved, detail))
    })
    .await
}

/// The same within somebody's step.
///
/// # Errors
/// As [`failover`].
pub(super) async fn moved(
    cx: &StepCx,
    cluster: &Cluster,
    lab: &LabName,
    to: Option<&str>,
    accept_loss: bool,
) -> Result<Moved> {
    let impossible = |why: String| Trouble::from(Impossible { lab: lab.clone(), why, hints: Vec::new() });
    let spec = cluster.lab_file().await?;
    let names = database::names(spec.database.members);
    if let Some(to) = to.filter(|to| !names.iter().any(|name| name == to)) {
        return Err(impossible(format!("there is no member {to}; there are {}", names.join(", "))).into());
    }
    let begun = std::time::Instant::now();
    let relieved = database::relieve(cx, cluster, to, accept_loss).await?.map_err(impossible)?;
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let waits = if accept_loss { relieved.roles.waits } else { String::new() };
    Ok(Moved { from: relieved.from, to: relieved.roles.writer, took_ms, waits })
}
