//! A member is given up with its volume, on a person's word, and made anew from the others: the only way in which data of a lab that
//! stands is thrown away. The agent never does that: what is on a node that does not answer may be the only copy of something.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::DeleteParams};
use serde::Serialize;

use crate::{
    actions::standing::{self, Impossible},
    cluster::{Cluster, gone},
    host::lock::LabLock,
    labels::WRITER,
    parts::{
        database::{self, Member},
        workers,
    },
    run::{
        Run, Stepped,
        advice::{Hint, Trouble},
        event::StepId,
        wait::Look,
    },
    spec::LabName,
};

/// How long a member may take to be made anew and to have a copy.
const LIMIT: Duration = Duration::from_secs(300);
const EVERY: Duration = Duration::from_millis(500);

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Replaced {
    /// Which member.
    pub member: String,
    /// Where it is now.
    pub node: String,
}

/// Says what is given up, before anything is done.
///
/// # Errors
/// [`standing::Impossible`]: it takes writes, or nobody else has the data; [`standing::NoSuchLab`]; the cluster does not answer.
pub async fn look(lab: &LabName, member: &str) -> Result<String> {
    let cluster = standing::open(lab).await?;
    let spec = cluster.lab_file().await?;
    let members = database::members(&cluster).await?;
    let names = database::names(spec.database.members);
    let writes = members.iter().any(|one| one.name == member && one.role.as_deref() == Some(WRITER));
    let given_up = given_up(member, &names, &members);
    let hints = hints(lab, writes, names.len());
    Ok(given_up.map_err(|why| Trouble::from(Impossible { lab: lab.clone(), why, hints }))?)
}

/// What can be done where a member is not given up; a single one has nobody who could take writes instead.
fn hints(lab: &LabName, writes: bool, members: usize) -> Vec<Hint> {
    let relieved = (writes && members > 1).then(|| Hint::Failover { lab: lab.clone() });
    relieved.into_iter().chain([Hint::Status { lab: lab.clone() }]).collect()
}

fn given_up(member: &str, names: &[String], members: &[Member]) -> Result<String, String> {
    if !names.iter().any(|name| name == member) {
        return Err(format!("there is no member {member}; there are {}", names.join(", ")));
    }
    let others = || members.iter().filter(|other| other.name != member);
    let writer = others().find(|other| other.role.as_deref() == Some(WRITER) && other.unready().is_none());
    let Some(writer) = writer else {
        let own = members.iter().find(|own| own.name == member).and_then(|own| own.role.as_deref()) == Some(WRITER);
        return Err(if own {
            format!("{member} takes writes; another one has to first")
        } else {
            "no other member takes writes, so there is nobody to copy from".to_owned()
        });
    };
    let serve = others().filter(|other| other.unready().is_none()).count();
    Ok(format!(
        "{member} and its volume are given up; what only it has is lost, and it is made anew from {}, which {serve} of {} other members \
         agree with",
        writer.name,
        names.len() - 1,
    ))
}

/// Gives the member up and waits until another one of that name serves.
///
/// # Errors
/// The API server refuses, or the new member does not serve in time: with the last reason.
pub async fn replace(run: &Run, lab: &LabName, member: &str) -> Result<Replaced> {
    run.step(StepId::Database, async |cx| {
        let cluster = standing::open(lab).await?;
        // Where it is made anew, no worker may be about to leave.
        let _lock = LabLock::take(&cx, lab).await?;
        let before: Option<Pod> = cluster.get(member).await?;
        let uid = before.as_ref().and_then(ResourceExt::uid);
        workers::release(&cluster, member).await?;
        if let Some(pod) = &before {
            let answer = workers::that_answer(&cluster).await?;
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
            let lost = !node.is_some_and(|node| answer.contains(node));
            let params = if lost { DeleteParams::default().grace_period(0) } else { DeleteParams::default() };
            let pods: Api<Pod> = cluster.api();
            gone(pods.delete(member, &params).await).context("cannot give up its pod")?;
        }
        let what = format!("{member} to serve again");
        let node = cx.until(&what, LIMIT, EVERY, || serves_anew(&cluster, member, uid.as_deref())).await?;
        let detail = format!("{member} serves, on {node}");
        Ok(Stepped::done(Replaced { member: member.to_owned(), node }, detail))
    })
    .await
}

async fn serves_anew(cluster: &Cluster, member: &str, before: Option<&str>) -> Result<Look<String>> {
    let pod: Option<Pod> = cluster.get(member).await?;
    if pod.as_ref().and_then(ResourceExt::uid).as_deref() == before {
        return Ok(Look::NotYet("the pod of before is still there".to_owned()));
    }
    let members = database::members(cluster).await?;
    let found = members.iter().find(|found| found.name == member);
    let Some(found) = found else { return Ok(Look::NotYet("it has no pod yet".to_owned())) };
    Ok(match found.unready() {
        None => Look::Ready(found.node.clone().unwrap_or_default()),
        Some(why) => Look::NotYet(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{labels::READER, parts::database::health::tests::serving as member};

    #[test]
    fn what_is_given_up_is_told_and_what_must_stay_is_refused() {
        let names: Vec<String> = (0..3).map(|number| format!("db-{number}")).collect();
        let whole = [member(0, WRITER, true), member(1, READER, true), member(2, READER, false)];
        let told = given_up("db-2", &names, &whole).expect("possible");
        assert!(told.starts_with("db-2 and its volume are given up") && told.contains("2 of 2 other"), "{told}");
        assert!(given_up("db-0", &names, &whole).expect_err("it takes writes").contains("takes writes"));
        assert_eq!(
            given_up("db-9", &names, &whole).expect_err("none"),
            "there is no member db-9; there are db-0, db-1, db-2"
        );
        let down = [member(0, WRITER, false), member(1, READER, true), member(2, READER, true)];
        assert!(given_up("db-1", &names, &down).expect_err("nobody").contains("nobody to copy from"));
        assert!(given_up("db-2", &names, &whole[..2]).is_ok(), "it has no pod any more");
    }

    #[test]
    fn another_one_is_offered_to_take_writes_only_where_there_is_one() {
        let lab = LabName::default();
        let (failover, status) = (Hint::Failover { lab: lab.clone() }, Hint::Status { lab: lab.clone() });
        assert_eq!(hints(&lab, true, 3), [failover, status.clone()]);
        assert_eq!(hints(&lab, true, 1), hints(&lab, false, 3));
        assert_eq!(hints(&lab, false, 3), [status]);
    }
}
