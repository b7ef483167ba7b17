//! A changed database reaches its members: each restart waits until all is well, the readers come first and the writer last, when another
//! one takes writes. The first one is the proof: if it does not become well, what was applied is taken back. Nothing is remembered
//! but what the objects say, so whoever is interrupted, the next one goes on. The operator does it ([`super::operator`]).

use std::{collections::BTreeSet, sync::atomic::AtomicBool, time::Duration};

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod, PodTemplateSpec},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, LogParams, Patch, PatchParams},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    EVERY, LIMIT,
    declared::{Change, DECLARED, Declared},
    grow,
    members::{members, pods},
    names::MEMBERS,
    objects::{CONFIG, image_in, image_of, objects},
    relieve::relieve,
    stuck::{broken, is_stale},
    taken_back::TakenBack,
};
use crate::{
    cluster::{Cluster, Refused, gone, ready},
    inside::member::CONTAINER,
    labels::{COMPONENT, Component},
    parts::{images::ImageSet, workers},
    run::{StepCx, advice::Trouble, wait::Look},
    spec::LabSpec,
};

/// On the StatefulSet, while members wait for a restart: what it was before ([`Former`]), to which it can go back.
pub(super) const FORMER: &str = "wplab.dev/former";
/// How long the first member may take to be well with what is new.
const PROOF: Duration = Duration::from_mins(5);
/// How long the agent may refuse to let another member take writes.
const RELIEVED: Duration = Duration::from_mins(1);

/// What a StatefulSet was whose members were well.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Former {
    pub(super) template: PodTemplateSpec,
    pub(super) declared: Option<Declared>,
}

/// Whether all members have what is declared, and there is nothing to go back to.
///
/// # Errors
/// The API server does not answer.
pub(super) async fn is_over(cluster: &Cluster, spec: &LabSpec) -> Result<bool> {
    let set = cluster.get::<StatefulSet>(MEMBERS).await?.context("there is no StatefulSet db")?;
    let small = grow::small(&grow::claims(cluster).await?, spec);
    let waits = |pod: &Pod| is_stale(pod, &set) || small.contains(&pod.name_any());
    Ok(!set.annotations().contains_key(FORMER) && !pods(cluster).await?.iter().any(waits))
}

/// Restarts whoever has to be, and waits until all is well; who takes writes then, and how many were restarted.
///
/// # Errors
/// [`TakenBack`]; the database does not become well in time; the agent does not let another one take writes: with the reason.
pub(super) async fn roll(
    cx: &StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    acted: &AtomicBool,
) -> Result<(String, usize)> {
    let wanted = usize::from(spec.database.members);
    let mut restarted = 0;
    loop {
        let set = cluster.get::<StatefulSet>(MEMBERS).await?.context("there is no StatefulSet db")?;
        let set = &set;
        let limit = if proving(set, &pods(cluster).await?) { PROOF } else { LIMIT };
        let look = || async move {
            if let Some(why) = hopeless(cluster, set).await {
                return Err(anyhow!(why));
            }
            super::look(cluster, wanted, acted).await
        };
        let well = match cx.until("the database", limit, EVERY, look).await {
            Ok(writer) => writer,
            Err(error) => {
                let all = members(cluster).await?;
                let sick = |name: &String| all.iter().any(|member| member.name == *name && member.unready().is_some());
                return Err(match canary(set, &pods(cluster).await?).filter(sick) {
                    Some(name) => take_back(cx, cluster, spec, images, set, &name, error).await?,
                    None => super::with_a_way_out(cluster, error).await,
                });
            }
        };
        let there = pods(cluster).await?;
        let small = grow::small(&grow::claims(cluster).await?, spec);
        let waits = |pod: &&Pod| is_stale(pod, set) || small.contains(&pod.name_any());
        let stale: Vec<String> = there.iter().filter(waits).map(ResourceExt::name_any).collect();
        match next(&stale, &well, there.len()) {
            None => {
                clean(cluster, set, &there).await?;
                return Ok((well, restarted));
            }
            Some(Next::Relieve) => {
                cx.say(format!("{well} is the last to be restarted; another one takes writes first"));
                // Whoever has just come back is near enough for the agent a moment after it is well.
                let ask = || async {
                    Ok(match relieve(cx, cluster, None, false).await? {
                        Ok(_) => Look::Ready(()),
                        Err(why) => Look::NotYet(why),
                    })
                };
                let what = format!("another member than {well} to take writes");
                cx.until(&what, RELIEVED, EVERY, ask).await?;
            }
            Some(Next::Restart(name)) => {
                if small.contains(&name) {
                    cx.say(format!("making {name} anew with a larger volume ({} to go)", stale.len()));
                    workers::release(cluster, &name).await?;
                } else {
                    cx.say(format!("restarting {name} ({} to go)", stale.len()));
                }
                gone(cluster.api::<Pod>().delete(&name, &DeleteParams::default()).await)
                    .with_context(|| format!("cannot restart {name}"))?;
                restarted += 1;
            }
        }
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// Let another member take writes.
    Relieve,
    /// Restart this one.
    Restart(String),
}

/// Of those that wait, the last reader; the writer when nobody else waits, and as a reader where there is another one to write.
fn next(stale: &[String], writer: &str, members: usize) -> Option<Next> {
    match stale.iter().rfind(|name| *name != writer) {
        Some(reader) => Some(Next::Restart(reader.clone())),
        None if stale.is_empty() => None,
        None if members > 1 => Some(Next::Relieve),
        None => Some(Next::Restart(writer.to_owned())),
    }
}

/// The member with which what is new stands or falls: the only one that has it, while there is something to go back to.
fn canary(set: &StatefulSet, pods: &[Pod]) -> Option<String> {
    let fresh: Vec<&Pod> = pods.iter().filter(|pod| !is_stale(pod, set)).collect();
    match fresh.as_slice() {
        [only] if set.annotations().contains_key(FORMER) => Some(only.name_any()),
        _ => None,
    }
}

/// Whether no more than one member has what is new, and there is something to go back to.
fn proving(set: &StatefulSet, pods: &[Pod]) -> bool {
    set.annotations().contains_key(FORMER) && pods.iter().filter(|pod| !is_stale(pod, set)).count() <= 1
}

/// Why there is no use in waiting for the one that is the proof, if there is none.
async fn hopeless(cluster: &Cluster, set: &StatefulSet) -> Option<String> {
    // Whoever does not answer is asked again.
    let all = pods(cluster).await.ok()?;
    let name = canary(set, &all)?;
    let seen = members(cluster).await.ok()?;
    let (pod, member) = (all.iter().find(|pod| pod.name_any() == name)?, seen.iter().find(|one| one.name == name)?);
    broken(member, pod, Timestamp::now()).map(|why| format!("{name}: {why}"))
}

/// Puts back what the members had, restarts the one that does not do with what is new, and says what came of that.
///
/// # Errors
/// The API server refuses.
async fn take_back(
    cx: &StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    set: &StatefulSet,
    name: &str,
    error: anyhow::Error,
) -> Result<anyhow::Error> {
    let mut former: Former = set
        .annotations()
        .get(FORMER)
        .and_then(|text| serde_json::from_str(text).ok())
        .context("there is nothing to go back to")?;
    let said = last_words(cluster, name).await;
    cx.say(format!("{name} does not do with what is new; it is taken back"));
    let asked = Declared::read(set).unwrap_or_else(|| Declared::of(spec));
    // A volume that has grown does not shrink again.
    if let Some(had) = &mut former.declared {
        had.volume = asked.volume.clone();
    }
    let mut changes = former.declared.as_ref().map(|had| had.differs(&asked)).unwrap_or_default();
    if let (Some(had), Some(wanted)) = (image_in(&former.template, CONTAINER), image_of(set, CONTAINER))
        && had != wanted
    {
        changes.insert(0, Change { what: "image".to_owned(), had, wanted });
    }
    let stands = former.declared.clone().map_or_else(|| spec.clone(), |declared| declared.over(spec));
    let mut back = objects(&stands, images)?;
    back.retain(|object| {
        object.name_any() == MEMBERS && object.types.as_ref().is_some_and(|types| types.kind == "StatefulSet")
    });
    for object in &mut back {
        object.data["spec"]["template"] = json!(former.template);
        if former.declared.is_none() {
            object.annotations_mut().remove(DECLARED);
        }
    }
    cluster.apply(&back).await?;
    gone(cluster.api::<Pod>().delete(name, &DeleteParams::default()).await)
        .with_context(|| format!("cannot restart {name}"))?;
    let wanted = usize::from(spec.database.members);
    let acted = AtomicBool::new(true);
    let well = cx.until("the database", LIMIT, EVERY, || super::look(cluster, wanted, &acted)).await;
    if well.is_ok() {
        let set = cluster.get::<StatefulSet>(MEMBERS).await?.context("there is no StatefulSet db")?;
        clean(cluster, &set, &pods(cluster).await?).await?;
    }
    let what = TakenBack {
        lab: cluster.lab.clone(),
        member: name.to_owned(),
        said,
        changes: changes.iter().map(ToString::to_string).collect(),
        well: well.is_ok(),
        stands: former.declared,
    };
    Ok(Trouble::from(what).because(error).into())
}

/// What a member's server complained about last; empty where it did not.
async fn last_words(cluster: &Cluster, name: &str) -> String {
    let params = LogParams { container: Some(CONTAINER.to_owned()), tail_lines: Some(2000), ..LogParams::default() };
    let log = cluster.api::<Pod>().logs(name, &params).await.unwrap_or_default();
    let words = complaints(&log);
    if !words.is_empty() {
        return words;
    }
    let pod = cluster.get::<Pod>(name).await.ok().flatten();
    pod.as_ref().and_then(ready::complaint).unwrap_or_default()
}

/// The last three different errors of a server's log. What ends every failed start says nothing, and what Galera says of a server that goes
/// away is told only where there is nothing else.
fn complaints(log: &str) -> String {
    let mut errors: Vec<&str> = Vec::new();
    for line in log.lines().rev() {
        let Some((_, error)) = line.split_once("[ERROR]") else { continue };
        let error = error.trim();
        // MySQL's own numbers and subsystems, in brackets.
        let error = error.rsplit_once("] ").filter(|(tags, _)| tags.starts_with('[')).map_or(error, |(_, error)| error);
        let error = error.trim_end_matches('.');
        if error != "Aborting" && !errors.contains(&error) {
            errors.push(error);
        }
    }
    let of_galera = |error: &&str| error.starts_with("WSREP:");
    let own: Vec<&str> = errors.iter().copied().filter(|error| !of_galera(error)).collect();
    let mut told = if own.is_empty() { errors } else { own };
    told.truncate(3);
    told.reverse();
    told.join(" / ")
}

/// Whether what a StatefulSet makes has been seen to work: a member of it is ready.
pub(super) fn proven(set: &StatefulSet, pods: &[Pod]) -> bool {
    pods.iter().any(|pod| !is_stale(pod, set) && ready::pod(Some(pod)) == Look::Ready(()))
}

/// Removes what nobody goes back to any more.
async fn clean(cluster: &Cluster, set: &StatefulSet, pods: &[Pod]) -> Result<()> {
    if set.annotations().contains_key(FORMER) {
        annotate(cluster, None).await?;
    }
    let of_pod = |pod: &Pod| pod.spec.as_ref().and_then(|spec| mounted(spec.volumes.as_deref()?));
    let needed: BTreeSet<String> = pods.iter().filter_map(of_pod).chain(config_name(set)).collect();
    let api = cluster.api::<ConfigMap>();
    let ours = ListParams::default().labels(&format!("{COMPONENT}={}", Component::Database.as_str()));
    let maps = api.list(&ours).await.map_err(Refused).context("cannot list the members' settings")?;
    let settings = |name: &String| name == CONFIG || name.starts_with(&format!("{CONFIG}-"));
    for name in maps.items.iter().map(ResourceExt::name_any).filter(|name| settings(name) && !needed.contains(name)) {
        gone(api.delete(&name, &DeleteParams::default()).await)
            .with_context(|| format!("cannot remove ConfigMap {name}"))?;
    }
    Ok(())
}

/// The ConfigMap that the pods of a StatefulSet have their settings from.
pub(super) fn config_name(set: &StatefulSet) -> Option<String> {
    mounted(set.spec.as_ref()?.template.spec.as_ref()?.volumes.as_deref()?)
}

fn mounted(volumes: &[k8s_openapi::api::core::v1::Volume]) -> Option<String> {
    let names = volumes.iter().filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone()));
    names.into_iter().find(|name| name == CONFIG || name.starts_with(&format!("{CONFIG}-")))
}

pub(super) async fn annotate(cluster: &Cluster, former: Option<&str>) -> Result<()> {
    patch(cluster, json!({ "metadata": { "annotations": { FORMER: former } } })).await
}

pub(super) async fn patch(cluster: &Cluster, patch: serde_json::Value) -> Result<()> {
    let patched = cluster.api::<StatefulSet>().patch(MEMBERS, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(Refused).context("cannot change the members' StatefulSet").map(drop)
}

#[cfg(test)]
#[path = "roll_tests.rs"]
mod tests;
