//! The database: members, roles, Services, credentials. What is applied is in `objects`, what is generated in
//! `credentials`; what happens inside a member's pod is [`crate::inside::member`], who gets which role is decided by the agent
//! ([`crate::inside::agent`]), and whether all of that is well is [`health`]'s one answer.

pub mod agent;
mod applied;
mod credentials;
mod declare;
mod declared;
mod dispute;
mod foresee;
mod grow;
pub mod health;
mod live;
mod members;
mod names;
mod object;
mod objects;
pub mod operator;
mod relieve;
mod roll;
mod stuck;
mod taken_back;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;

pub use crate::inside::member::CONTAINER;
pub use credentials::{brought, certificates, keys, renew as renew_passwords};
pub(super) use credentials::{names as certificate_names, subject as certificate_subject};
pub use declare::{NotTaken, OPERATOR, declare_again, declare_members, operator as operator_objects, resize};
pub use declared::{Change, Declared};
pub use dispute::{Theirs, disputed};
pub use foresee::{Foreseen, foresee};
pub use members::{Connection, Member, Undecided, connect, connect_within, members, pods};
pub use names::{CREDENTIALS, MEMBERS, MOST, TLS, WORDPRESS, in_words, names};
pub(super) use objects::Server;
pub use objects::objects;
pub use relieve::{Relieved, relieve};
pub use taken_back::{Alone, TakenBack};

use self::health::Wrong;
use crate::{
    cluster::{Cluster, ready},
    parts::{
        discovery::{self, EtcdSilent},
        images::ImageSet,
    },
    run::{
        StepCx, Stepped,
        advice::Trouble,
        gate::Gate,
        wait::{Look, TimedOut},
    },
    spec::{LabName, LabSpec, Topology},
};

/// A first start creates volumes, initialises, copies and restarts on every member, perhaps on one slow disk.
const LIMIT: Duration = Duration::from_secs(600);
/// How often the members are asked.
const EVERY: Duration = Duration::from_secs(1);

/// The host name of the one writer, inside the cluster: a Service.
pub const WRITE_HOST: &str = "db";
/// The host name of the members that may be read from: a Service.
pub const READ_HOST: &str = "db-read";

/// Makes sure that every member is there and healthy, one of them open for writes: makes the members of a new lab, declares what they are to
/// be, and waits until the operator has made them so and the agent has given the roles. A healthy database that is as it shall be is
/// not touched. `secrets` opens when what others mount is there; `take_over` says whether what others have declared is to be as the lab
/// file has it.
///
/// # Errors
/// [`TakenBack`]: a change that the first member did not do with; [`NotTaken`]; somebody else has declared something else; the members do
/// not become healthy in time (the error repeats what each waits for); or the agent cannot tell safely which one must take writes.
pub async fn ensure(
    cx: StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    secrets: &Gate<()>,
    take_over: bool,
) -> Result<Stepped<()>> {
    applied::class_exists(cluster, spec).await?;
    let mut changed = credentials::ensure(cluster, spec.database.topology).await?;
    secrets.open(());
    cx.say("applying the agent and the members");
    // All at once: the members wait for etcd, and the agent for the members, inside.
    let called = LabSpec { name: cluster.inside.clone(), ..spec.clone() };
    changed |= cluster.apply(&agent::objects(&called, images)?).await? > 0;
    changed |= cluster.apply(&discovery::objects(spec, images)?).await? > 0;
    changed |= applied::begin(cluster, spec, images).await?;
    let (generation, declared) = declare::declare(&cx, cluster, spec, images, take_over).await?;
    if spec.database.topology == Topology::Galera {
        let etcd = cx.until("etcd", discovery::LIMIT, EVERY, || discovery::look(cluster)).await;
        etcd.map_err(|error| Trouble::from(EtcdSilent { lab: cluster.lab.clone() }).because(error))?;
    }
    let done = match declare::followed(&cx, cluster, generation).await {
        Ok(done) if declared => done,
        Ok(_) => String::new(),
        Err(error) => return Err(with_a_way_out(cluster, error).await),
    };
    let acted = AtomicBool::new(changed | declared);
    let writer = healthy(&cx, cluster, spec, &acted).await?;
    declare::rooted(&cx, cluster).await?;
    let names = names(spec.database.members);
    let others: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != writer).collect();
    let follow = if spec.database.topology == Topology::Galera { "have the same" } else { "follow" };
    let mut detail = format!("{writer} takes writes, {} {follow}", others.join(", "));
    if !done.is_empty() {
        detail.push_str(&format!("; {done}"));
    }
    Ok(Stepped::changed(acted.into_inner(), (), detail))
}

/// Waits until every member is healthy and one of them open for writes, as its own recovery and the agent make it; nothing
/// is applied.
///
/// # Errors
/// As [`ensure`].
pub async fn settled(cx: StepCx, cluster: &Cluster, spec: &LabSpec) -> Result<Stepped<()>> {
    let acted = AtomicBool::new(false);
    let writer = healthy(&cx, cluster, spec, &acted).await?;
    Ok(Stepped::changed(acted.into_inner(), (), format!("{writer} takes writes")))
}

/// The same for whoever has just changed something; the writer's name.
///
/// # Errors
/// As [`ensure`].
pub async fn settle(cx: &StepCx, cluster: &Cluster, spec: &LabSpec) -> Result<String> {
    healthy(cx, cluster, spec, &AtomicBool::new(false)).await
}

/// Waits until all is well; the writer's name. `acted` hears that something was not.
async fn healthy(cx: &StepCx, cluster: &Cluster, spec: &LabSpec, acted: &AtomicBool) -> Result<String> {
    let wanted = usize::from(spec.database.members);
    match cx.until("the database", LIMIT, EVERY, || look(cluster, wanted, acted)).await {
        Ok(writer) => Ok(writer),
        Err(error) => Err(with_a_way_out(cluster, error).await),
    }
}

/// What nobody waits for any more, a person may decide: a member that waits for a silent one knows from whom to start.
async fn with_a_way_out(cluster: &Cluster, error: anyhow::Error) -> anyhow::Error {
    let members = if error.is::<TimedOut>() { members(cluster).await.unwrap_or_default() } else { Vec::new() };
    let Some(member) = members.iter().find(|member| !member.start_from().is_empty()) else { return error };
    let what = member.unready().map_or_else(|| member.name.clone(), |why| format!("{}: {why}", member.name));
    let start_from = member.start_from().to_vec();
    Trouble::from(Undecided { lab: cluster.lab.clone(), what, start_from }).because(error).into()
}

/// One look at all members and at the agent's record; the writer's name once all is well.
async fn look(cluster: &Cluster, wanted: usize, acted: &AtomicBool) -> Result<Look<String>> {
    // An API server or a pod that does not answer for a moment is a reason to look again.
    let (members, record) = match tokio::try_join!(members(cluster), agent::look(cluster)) {
        Ok(seen) => seen,
        Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
    };
    stuck::replace(cluster, &members).await?;
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    if let Some(undecided) = members.iter().find_map(|member| member.stuck(&cluster.lab, now)) {
        return Err(Trouble::from(undecided).into());
    }
    let writer = match health::health(&members, wanted, &record) {
        Ok(writer) => writer.to_owned(),
        Err(wrong) => {
            // What was not well when we came has been repaired by the time that we leave.
            acted.store(true, Ordering::Relaxed);
            return waits(&cluster.lab, &wrong);
        }
    };
    let set: Option<StatefulSet> = cluster.get(MEMBERS).await?;
    Ok(match ready::stateful_set(set.as_ref()) {
        Look::Ready(()) => Look::Ready(writer),
        Look::NotYet(reason) => Look::NotYet(reason),
    })
}

/// What is waited for: the first of what is wrong.
///
/// # Errors
/// It does not pass by itself.
fn waits<T>(lab: &LabName, wrong: &[Wrong]) -> Result<Look<T>> {
    match wrong.first() {
        Some(Wrong::Refused(what)) => {
            let (lab, what) = (lab.clone(), what.clone());
            Err(Trouble::from(Undecided { lab, what, start_from: Vec::new() }).into())
        }
        first => Ok(Look::NotYet(first.map(Wrong::to_string).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_person_has_to_decide_is_not_waited_for() {
        let lab = LabName::default();
        let member = Wrong::Member { name: "db-1".into(), why: "cloning".into() };
        let waited = waits::<()>(&lab, &[Wrong::Waits("db-1: being opened".into()), member.clone()]).expect("may pass");
        assert_eq!(waited, Look::NotYet("db-1: being opened".into()));
        assert_eq!(
            waits::<()>(&lab, std::slice::from_ref(&member)).expect("may pass"),
            Look::NotYet("db-1: cloning".into())
        );
        let refused = waits::<()>(&lab, &[Wrong::Refused("two are open".into()), member]).expect_err("a decision");
        assert!(refused.to_string().contains("two are open"), "{refused}");
    }
}
