//! Another member takes writes, because a person asks for it: what is asked is written into the agent's record, and the agent that
//! leads does it, or says why not. What happens when a source is lost the agent does by itself.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    actions::standing::{self, Impossible},
    cluster::{Cluster, Refused},
    inside::agent::{
        record::{ROLES, Roles},
        requests::{ANSWER, Answered, Asked, PATIENCE, REQUEST},
    },
    parts::database,
    run::{Run, StepCx, Stepped, advice::Trouble, event::StepId, wait::Look},
    spec::LabName,
};

/// How much longer than the agent the tool waits: an agent that begins to lead meanwhile takes this long to do so.
const LEADING: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(200);

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
    let from = Roles::read(record(cluster).await?.data.as_ref()).writer;
    let id = format!("{:016x}", rand::random::<u64>());
    let asked = Asked {
        id: id.clone(),
        to: to.map(str::to_owned),
        from: Some(from.clone()).filter(|from| !from.is_empty()),
        accept_loss,
    };
    let begun = std::time::Instant::now();
    write(cluster, &json!(asked).to_string().into()).await?;
    let what = format!("{} to take writes", to.unwrap_or("another member"));
    let answered = cx.until(&what, PATIENCE + LEADING, EVERY, || look(cluster, &id)).await;
    if answered.is_err() {
        // Nobody is to do it later, when nobody expects it any more.
        write(cluster, &Value::Null).await?;
    }
    let (answer, roles) = answered?;
    if let Some(why) = answer.refused {
        return Err(impossible(why).into());
    }
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let waits = if accept_loss { roles.waits } else { String::new() };
    Ok(Moved { from, to: roles.writer, took_ms, waits })
}

async fn record(cluster: &Cluster) -> Result<ConfigMap> {
    let record: Option<ConfigMap> = cluster.get(ROLES).await?;
    record.with_context(|| format!("the lab has no ConfigMap {ROLES}"))
}

async fn write(cluster: &Cluster, request: &Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "data": { REQUEST: request } }));
    let written = cluster.api::<ConfigMap>().patch(ROLES, &PatchParams::default(), &patch).await;
    written.map_err(Refused).context("cannot ask the agent")?;
    Ok(())
}

async fn look(cluster: &Cluster, id: &str) -> Result<Look<(Answered, Roles)>> {
    let record = record(cluster).await?;
    let roles = Roles::read(record.data.as_ref());
    let answer = record.data.as_ref().and_then(|data| data.get(ANSWER));
    let answer = answer.and_then(|text| serde_json::from_str::<Answered>(text).ok());
    Ok(match answer.filter(|answer| answer.id == id) {
        Some(answer) => Look::Ready((answer, roles)),
        None if !roles.refused.is_empty() => Look::NotYet(roles.refused),
        None if !roles.waits.is_empty() => Look::NotYet(roles.waits),
        None => Look::NotYet("the agent has not answered yet".to_owned()),
    })
}
