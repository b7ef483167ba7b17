//! Rebuilds the etcd of a Galera lab whose volumes are lost: it is emptied, and every database member tells it again what it
//! knows, which is all that etcd ever knew. The database goes on meanwhile.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    actions::standing::{self, Impossible},
    cluster::Cluster,
    host::{docker::Docker, lock::LabLock},
    inside::member::galera::registry,
    parts::{
        database::{self, Member},
        discovery::{self, EtcdMember, Way},
    },
    run::{Run, Stepped, advice::Trouble, event::StepId, wait::Look},
    spec::{LabName, Topology},
};

/// How long members may take to tell a new etcd what they know: each tries again every few seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked whether they have.
const EVERY: Duration = Duration::from_secs(1);

/// What there is, and what rebuilding etcd means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// etcd's members as they are.
    pub etcd: Vec<EtcdMember>,
    /// The database members that tell a new etcd what they know.
    pub tell: Vec<String>,
    /// What is done, and what follows from it, in one sentence.
    pub consequence: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rebuilt {
    /// The database members that have told the new etcd what they know.
    pub registered: Vec<String>,
}

/// Looks whether there is something to rebuild.
///
/// # Errors
/// [`standing::Impossible`]: every member of etcd serves, or the lab has none; [`standing::NoSuchLab`]; the cluster does not answer.
pub async fn look(lab: &LabName) -> Result<Plan> {
    let impossible = |why| Trouble::from(Impossible { lab: lab.clone(), why, hints: Vec::new() });
    let cluster = standing::open(lab).await?;
    let spec = cluster.lab_file().await?;
    if spec.database.topology != Topology::Galera {
        let topology = spec.database.topology.name();
        return Err(impossible(format!("lab {lab} has topology {topology}, which needs no etcd")).into());
    }
    let (etcd, there) = tokio::try_join!(discovery::members(&cluster), database::members(&cluster))?;
    Ok(plan(etcd, &database::names(spec.database.members), &there).map_err(impossible)?)
}

fn plan(etcd: Vec<EtcdMember>, names: &[String], there: &[Member]) -> Result<Plan, String> {
    if etcd.iter().all(|member| member.healthy) {
        return Err("every member of etcd serves; there is nothing to rebuild".to_owned());
    }
    let answers = |name: &String| there.iter().any(|found| found.name == *name && found.status.is_some());
    let (tell, silent): (Vec<String>, Vec<String>) = names.iter().cloned().partition(answers);
    let who = match tell.as_slice() {
        [] => return Err("no database member answers, and who knows nothing of etcd tells it nothing".to_owned()),
        _ => tell.join(", "),
    };
    let later = match silent.as_slice() {
        [] => String::new(),
        _ => format!("; {} cannot be asked and will tell later, and until then no cluster begins", silent.join(", ")),
    };
    let consequence = format!(
        "the volumes of etcd are removed, and {who} tell a new one what they know{later}; servers that run go on"
    );
    Ok(Plan { etcd, tell, consequence })
}

/// Rebuilds etcd, and waits until those that are to have told it what they know. Begun and cut short, it is done again.
///
/// # Errors
/// A member of etcd does not end or does not serve in time, or a database member does not register: with the last reason.
pub async fn rebuild(run: &Run, lab: &LabName, tell: &[String]) -> Result<Rebuilt> {
    run.step(StepId::Database, async |cx| {
        standing::find(&Docker::connect().await?, lab).await?;
        let _lock = LabLock::take(&cx, lab).await?;
        let cluster = standing::open(lab).await?;
        cx.say("removing etcd's members and their volumes");
        discovery::clear(&cx, &cluster).await?;
        cx.say("starting etcd anew");
        discovery::begin(&cx, &cluster).await?;
        cx.until("the members to register", LIMIT, EVERY, || registered(&cluster, tell)).await?;
        let registered = tell.to_vec();
        let detail = format!("etcd serves again; {} are registered", registered.join(", "));
        Ok(Stepped::done(Rebuilt { registered }, detail))
    })
    .await
}

async fn registered(cluster: &Cluster, tell: &[String]) -> Result<Look<()>> {
    let identity = discovery::identity(cluster).await?;
    let asked = async { registry::read(&Way::to(cluster, &identity, 0).await?.etcd).await };
    let seen = match asked.await.context("the new etcd does not answer") {
        Ok(seen) => seen,
        Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
    };
    let missing: Vec<&str> = tell.iter().map(String::as_str).filter(|name| !seen.members.contains_key(*name)).collect();
    Ok(if missing.is_empty() { Look::Ready(()) } else { Look::NotYet(format!("{} not yet", missing.join(", "))) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::member::status::MemberStatus;

    fn etcd(healthy: [bool; 3]) -> Vec<EtcdMember> {
        let member = |(number, healthy): (usize, bool)| EtcdMember {
            name: format!("etcd-{number}"),
            node: "n".into(),
            leader: false,
            state: String::new(),
            healthy,
        };
        healthy.into_iter().enumerate().map(member).collect()
    }

    fn members(answer: [bool; 3]) -> (Vec<String>, Vec<Member>) {
        let names: Vec<String> = (0..3).map(|number| format!("db-{number}")).collect();
        let found = names.iter().zip(answer).map(|(name, answers)| Member {
            name: name.clone(),
            node: Some("n".into()),
            role: None,
            reads: false,
            pod_waits: None,
            status: answers.then(MemberStatus::default),
        });
        (names.clone(), found.collect())
    }

    #[test]
    fn what_serves_is_not_rebuilt_and_who_cannot_be_asked_is_named() {
        let (names, all) = members([true; 3]);
        plan(etcd([true; 3]), &names, &all).expect_err("it serves");
        plan(etcd([false; 3]), &names, &members([false; 3]).1).expect_err("nobody knows anything");
        let whole = plan(etcd([true, false, false]), &names, &all).expect("possible");
        assert_eq!(whole.tell, names);
        assert!(!whole.consequence.contains("later"), "{}", whole.consequence);
        let part = plan(etcd([true, false, false]), &names, &members([true, false, true]).1).expect("possible");
        assert_eq!(part.tell, ["db-0", "db-2"]);
        assert!(part.consequence.contains("db-1 cannot be asked"), "{}", part.consequence);
    }
}
