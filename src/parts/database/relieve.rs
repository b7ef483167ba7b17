//! Asks the agent to let another member take writes: what is asked is written into its record, and the agent that leads does it, or says
//! why not. What happens when a source is lost the agent does by itself.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Refused},
    inside::agent::{
        record::{ROLES, Roles},
        requests::{ANSWER, Answered, Asked, PATIENCE, REQUEST},
    },
    run::{StepCx, wait::Look},
};

/// How much longer than the agent the tool waits: an agent that begins to lead meanwhile takes this long to do so.
const LEADING: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(200);

/// What the agent has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relieved {
    /// Who took writes before; empty where nobody did.
    pub from: String,
    /// Its record since.
    pub roles: Roles,
}

/// Asks for `to`, or whichever is best; `accept_loss` gives up a lost source also where acknowledged transactions may be lost with it.
/// The inner error is the agent's reason for not doing it.
///
/// # Errors
/// Nobody leads, or it takes too long: with the last reason; the API server refuses.
pub async fn relieve(
    cx: &StepCx,
    cluster: &Cluster,
    to: Option<&str>,
    accept_loss: bool,
) -> Result<Result<Relieved, String>> {
    let from = Roles::read(record(cluster).await?.data.as_ref()).writer;
    let id = format!("{:016x}", rand::random::<u64>());
    let asked = Asked {
        id: id.clone(),
        to: to.map(str::to_owned),
        from: Some(from.clone()).filter(|from| !from.is_empty()),
        accept_loss,
    };
    write(cluster, &json!(asked).to_string().into()).await?;
    let what = format!("{} to take writes", to.unwrap_or("another member"));
    let answered = cx.until(&what, PATIENCE + LEADING, EVERY, || look(cluster, &id)).await;
    if answered.is_err() {
        // Nobody is to do it later, when nobody expects it any more.
        write(cluster, &Value::Null).await?;
    }
    let (answer, roles) = answered?;
    Ok(answer.refused.map_or(Ok(Relieved { from, roles }), Err))
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
