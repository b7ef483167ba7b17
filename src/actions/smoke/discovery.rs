//! Checks of etcd: that its members have one leader, and that what is stored through one is read through each.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{
    actions::smoke::{check::Check, marker::Marker},
    cluster::Cluster,
    parts::discovery::{self, EtcdMember, MEMBERS, Way},
    run::advice::Hint,
    spec::{LabSpec, Topology},
};

const SUBJECT: &str = "discovery";

/// The checks' own key is below this one and exists only while somebody checks.
const PREFIX: &str = "/wplab/smoke/";

/// The checks of etcd; none where the topology has none.
pub(super) fn checks<'a>(cluster: &'a Cluster, marker: &'a Marker, spec: &LabSpec) -> Vec<Check<'a>> {
    if spec.database.topology != Topology::Galera {
        return Vec::new();
    }
    let hint = [Hint::Logs { lab: cluster.lab.clone(), of: Some("discovery") }];
    let healthy = format!("all {MEMBERS} members of etcd are healthy and have one leader");
    let read = "a value stored through one etcd member is read through each";
    vec![
        Check::new("etcd", SUBJECT, healthy, Duration::from_secs(60), &hint, move || leader(cluster)),
        Check::new("etcd-value", SUBJECT, read, Duration::from_secs(60), &hint, move || value(cluster, marker))
            .needs("etcd"),
    ]
}

async fn leader(cluster: &Cluster) -> Result<String> {
    judge(&discovery::members(cluster).await?)
}

fn judge(members: &[EtcdMember]) -> Result<String> {
    let troubled =
        members.iter().filter(|member| !member.healthy).map(|member| format!("{}: {}", member.name, member.state));
    let troubled: Vec<String> = troubled.collect();
    ensure!(troubled.is_empty(), "{}", troubled.join("; "));
    let leaders: Vec<&str> = members.iter().filter(|member| member.leader).map(|member| member.name.as_str()).collect();
    ensure!(leaders.len() == 1, "{} members lead: {}", leaders.len(), leaders.join(", "));
    Ok(format!("{} leads", leaders[0]))
}

async fn value(cluster: &Cluster, marker: &Marker) -> Result<String> {
    let identity = discovery::identity(cluster).await?;
    let key = format!("{PREFIX}{}", marker.as_str());
    let first = Way::to(cluster, &identity, 0).await?;
    // Below a lease: whatever becomes of this run, nothing of it stays.
    let lease = first.etcd.grant(Duration::from_secs(60)).await?;
    first.etcd.put(&key, marker.as_str(), Some(lease)).await.context("cannot store a value through etcd-0")?;
    for number in 0..MEMBERS {
        let way = Way::to(cluster, &identity, number).await?;
        let read = way.etcd.get(&key).await.with_context(|| format!("cannot read through etcd-{number}"))?;
        ensure!(
            read.as_deref() == Some(marker.as_str()),
            "what was stored through etcd-0 is not read through etcd-{number}"
        );
    }
    first.etcd.revoke(lease).await.context("cannot remove the value")?;
    Ok(format!("stored through etcd-0, read through all {MEMBERS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: usize, leader: bool, healthy: bool) -> EtcdMember {
        let state = if healthy { "v3.6.8" } else { "has no leader" };
        EtcdMember { name: format!("etcd-{number}"), node: String::new(), leader, state: state.into(), healthy }
    }

    #[test]
    fn exactly_one_leads_and_all_serve() {
        let of = |leaders: [bool; 3]| judge(&[0, 1, 2].map(|n| member(n, leaders[n], true)));
        assert_eq!(of([false, true, false]).expect("healthy"), "etcd-1 leads");
        assert_eq!(of([false; 3]).expect_err("none").to_string(), "0 members lead: ");
        assert_eq!(of([true, true, false]).expect_err("two").to_string(), "2 members lead: etcd-0, etcd-1");
        let cut = [member(0, true, true), member(1, false, true), member(2, false, false)];
        assert_eq!(judge(&cut).expect_err("one is cut off").to_string(), "etcd-2: has no leader");
    }
}
