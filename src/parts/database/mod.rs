//! The database: members, roles, Services, credentials. What is applied is in `objects`, what is generated in
//! `credentials`; what happens inside a member's pod is [`crate::inside::member`], who gets which role is decided by the agent
//! ([`crate::inside::agent`]), and whether all of that is well is [`health`]'s one answer.

pub mod agent;
mod credentials;
pub mod health;
mod members;
mod names;
mod objects;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;

pub use crate::inside::member::CONTAINER;
pub use credentials::keys;
pub(super) use credentials::names as certificate_names;
pub use members::{Connection, Member, connect, members};
pub use names::{CREDENTIALS, MEMBERS, TLS, WORDPRESS, names};
pub use objects::objects;

use self::health::Wrong;
use crate::{
    cluster::{Cluster, ready},
    parts::{discovery, images::ImageSet},
    run::{StepCx, Stepped, wait::Look},
    spec::{LabSpec, Topology},
};

/// A first start creates volumes, initialises, copies and restarts on every member, perhaps on one slow disk.
const LIMIT: Duration = Duration::from_secs(600);
/// How often the members are asked.
const EVERY: Duration = Duration::from_secs(1);

/// A healthy database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The host name of the one writer, inside the cluster.
    pub write_host: String,
    /// The host name of the readers, inside the cluster.
    pub read_host: String,
    /// The members' pods.
    pub members: Vec<String>,
}

/// Makes sure that every member is there and healthy, one of them open for writes: applies what is needed and waits until
/// the agent has given the roles. A healthy database is not touched.
///
/// # Errors
/// The members do not become healthy in time (the error repeats what each waits for); or the agent cannot tell safely which
/// one must take writes.
pub async fn ensure(cx: StepCx, cluster: &Cluster, spec: &LabSpec, images: &ImageSet) -> Result<Stepped<Database>> {
    let mut changed = credentials::ensure(cluster, spec.database.topology).await?;
    cx.say("applying the agent and the members");
    // All at once: the members wait for etcd, and the agent for the members, inside.
    changed |= cluster.apply(&agent::objects(spec, images)?).await? > 0;
    changed |= cluster.apply(&discovery::objects(spec, images)?).await? > 0;
    changed |= cluster.apply(&objects(spec, images)?).await? > 0;
    if spec.database.topology == Topology::Galera {
        cx.until("etcd", discovery::LIMIT, EVERY, || discovery::look(cluster)).await?;
    }
    let acted = AtomicBool::new(changed);
    let wanted = usize::from(spec.database.members);
    let writer = cx.until("the database", LIMIT, EVERY, || settle(cluster, wanted, &acted)).await?;
    let names = names(spec.database.members);
    let others: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != writer).collect();
    let follow = if spec.database.topology == Topology::Galera { "have the same" } else { "follow" };
    let detail = format!("{writer} takes writes, {} {follow}", others.join(", "));
    let database = Database { write_host: "db".to_owned(), read_host: "db-read".to_owned(), members: names };
    Ok(Stepped::changed(acted.into_inner(), database, detail))
}

/// One look at all members and at the agent's record; the writer's name once all is well.
async fn settle(cluster: &Cluster, wanted: usize, acted: &AtomicBool) -> Result<Look<String>> {
    cluster.replace_stuck(MEMBERS).await?;
    // An API server or a pod that does not answer for a moment is a reason to look again.
    let (members, record) = match tokio::try_join!(members(cluster), agent::look(cluster)) {
        Ok(seen) => seen,
        Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
    };
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    if let Some(decision) = members.iter().find_map(|member| member.stuck(now)) {
        bail!("a person has to decide: {decision}");
    }
    let writer = match health::health(&members, wanted, &record) {
        Ok(writer) => writer.to_owned(),
        Err(wrong) => {
            // What was not well when we came has been repaired by the time that we leave.
            acted.store(true, Ordering::Relaxed);
            return waits(&wrong);
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
fn waits<T>(wrong: &[Wrong]) -> Result<Look<T>> {
    match wrong.first() {
        Some(Wrong::Refused(why)) => bail!(why.clone()),
        first => Ok(Look::NotYet(first.map(Wrong::to_string).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_person_has_to_decide_is_not_waited_for() {
        let member = Wrong::Member { name: "db-1".into(), why: "cloning".into() };
        let waited = waits::<()>(&[Wrong::Waits("db-1: being opened".into()), member.clone()]).expect("may pass");
        assert_eq!(waited, Look::NotYet("db-1: being opened".into()));
        assert_eq!(waits::<()>(std::slice::from_ref(&member)).expect("may pass"), Look::NotYet("db-1: cloning".into()));
        let refused = waits::<()>(&[Wrong::Refused("two are open".into()), member]).expect_err("a decision");
        assert_eq!(refused.to_string(), "two are open");
    }
}
