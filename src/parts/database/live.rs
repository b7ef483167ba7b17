//! Settings that a server takes while it runs: every member is asked whether it would, and if all would they are given them through
//! their own sockets, the readers first. What one of them does not take is left to [`super::roll`], and all are as they were.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::members::pods;
use crate::{
    cluster::Cluster,
    inside::member::{CONTAINER, options, set::Outcome},
    labels::{ROLE, WRITER},
};

/// On a member's pod: a change of it makes the kubelet look after the pod, and bring it its files, at once and not within a minute.
const NUDGE: &str = "wplab.dev/settings";

/// An option that is to be different, as it was and as it is to be; `None` is the server's own value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Differs {
    pub(super) name: String,
    had: Option<String>,
    wanted: Option<String>,
}

/// Which options differ between two sets of option files, our defaults counted in.
pub(super) fn differing(had: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Vec<Differs> {
    let (had, wanted) = (options::effective(had), options::effective(wanted));
    let names: BTreeSet<&String> = had.keys().chain(wanted.keys()).collect();
    let both = names.into_iter().map(|name| Differs {
        name: name.clone(),
        had: had.get(name).cloned(),
        wanted: wanted.get(name).cloned(),
    });
    both.filter(|option| option.had != option.wanted).collect()
}

/// Why members have to be restarted to have these options; `None` when all of them would take all of them as they run.
///
/// # Errors
/// The API server does not answer. A member that cannot be asked is a reason.
pub(super) async fn probe(cluster: &Cluster, names: &[String]) -> Result<Option<String>> {
    let options: Vec<(String, Option<String>)> = names.iter().map(|name| (name.clone(), None)).collect();
    for pod in pods(cluster).await? {
        if let Err(why) = give(cluster, &pod.name_any(), &options, true).await {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// Gives all members these options, or none of them any; the inner error is why they have to be restarted for that.
///
/// # Errors
/// The API server does not answer; or a member that has been given them cannot be given what it had.
pub(super) async fn set(cluster: &Cluster, options: &[Differs]) -> Result<Result<(), String>> {
    let names: Vec<String> = options.iter().map(|option| option.name.clone()).collect();
    if let Some(why) = probe(cluster, &names).await? {
        return Ok(Err(why));
    }
    let each = |of: fn(&Differs) -> &Option<String>| -> Vec<_> {
        options.iter().map(|option| (option.name.clone(), of(option).clone())).collect()
    };
    let mut members = pods(cluster).await?;
    members.sort_by_key(writes);
    for (nth, pod) in members.iter().enumerate() {
        let Err(why) = give(cluster, &pod.name_any(), &each(|option| &option.wanted), false).await else { continue };
        for before in &members[..nth] {
            let back = give(cluster, &before.name_any(), &each(|option| &option.had), false).await;
            back.map_err(anyhow::Error::msg).context("cannot take back what some members have been given")?;
        }
        return Ok(Err(why));
    }
    Ok(Ok(()))
}

/// Has the kubelets bring the members their option files at once: one that ends now begins with what it has been given.
///
/// # Errors
/// The API server refuses.
pub(super) async fn hurry(cluster: &Cluster, what: &str) -> Result<()> {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { NUDGE: what } } }));
    for pod in pods(cluster).await? {
        let patched = cluster.api::<Pod>().patch(&pod.name_any(), &PatchParams::default(), &patch).await;
        crate::cluster::gone(patched).with_context(|| format!("cannot mark pod {}", pod.name_any()))?;
    }
    Ok(())
}

fn writes(pod: &Pod) -> bool {
    pod.labels().get(ROLE).is_some_and(|role| role == WRITER)
}

/// Gives one member options, or asks whether it would take them; why it does not.
async fn give(
    cluster: &Cluster,
    member: &str,
    options: &[(String, Option<String>)],
    probe: bool,
) -> Result<(), String> {
    let given = options.iter().map(|(name, to)| match to {
        Some(to) => format!("--option={name}={to}"),
        None => format!("--option={name}"),
    });
    let mut command: Vec<String> = ["/tools/wplab", "member", "set"].map(str::to_owned).into();
    command.extend(given);
    command.extend(probe.then(|| "--probe".to_owned()));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let answer = cluster.exec(member, CONTAINER, &command).await.map_err(|error| format!("{error:#}"))?;
    let outcome: Outcome = serde_json::from_str(answer.trim())
        .map_err(|_| format!("{member} runs another version, which cannot be given options"))?;
    match outcome.refused.into_iter().next() {
        Some((option, why)) => Err(format!("{option} at {member}: {why}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_ours_again_or_else_the_servers() {
        let files = |pairs: &[(&str, &str)]| {
            let settings = pairs.iter().map(|(name, to)| ((*name).to_owned(), (*to).to_owned())).collect();
            options::files("mysql", &settings).expect("files")
        };
        let differs =
            differing(&files(&[("sync_binlog", "7"), ("long_query_time", "2"), ("a", "1")]), &files(&[("a", "1")]));
        let told: Vec<_> =
            differs.iter().map(|one| (one.name.as_str(), one.had.as_deref(), one.wanted.as_deref())).collect();
        assert_eq!(told, [("long_query_time", Some("2"), None), ("sync_binlog", Some("7"), Some("1"))]);
        assert_eq!(differing(&files(&[]), &files(&[])), []);
    }

    #[test]
    fn the_writer_is_given_options_last() {
        let pod = |name: &str, role: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {ROLE: role}}})).expect("a pod")
        };
        let mut pods = [pod("db-0", WRITER), pod("db-1", "reader"), pod("db-2", "reader")];
        pods.sort_by_key(writes);
        assert_eq!(pods.map(|pod| pod.name_any()), ["db-1", "db-2", "db-0"]);
    }
}
