//! The database: members, roles, Services, credentials. What is applied is in `objects`, who gets which role in [`roles`],
//! what is generated in `credentials`; what happens inside a member's pod is [`crate::agent::member`].

mod credentials;
mod members;
mod objects;
pub mod roles;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    api::{ObjectMeta, Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::json;

pub use members::{Connection, Member, connect, members};
pub use objects::objects;

use crate::{
    cluster::{Cluster, manifests, ready},
    labels::{COMPONENT, Component, NAMESPACE, ROLE},
    parts::images::ImageSet,
    run::{StepCx, Stepped},
    spec::LabSpec,
    wait::Look,
};
use roles::{Choice, READER, WRITER};

/// The StatefulSet; its pods are `db-0`, `db-1`, ….
pub const MEMBERS: &str = "db";
/// The Secret with `root-password`, `wordpress-password` and `replication-password`.
pub const CREDENTIALS: &str = "db-credentials";
/// The Secret with the members' certificate, its key and the authority's certificate (`tls.crt`, `tls.key`, `ca.crt`).
pub const TLS: &str = "db-tls";
/// The site's database, and the account that owns it.
pub const WORDPRESS: &str = "wordpress";
/// The container of a member's pod in which its supervisor runs.
pub const CONTAINER: &str = "mysql";

/// The ConfigMap that says whether the lab's data exists.
const STATE: &str = "db-state";
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

/// Makes sure that every member is there and healthy, one of them open for writes. Looks before it acts: a healthy database
/// is not touched. Roles that a re-created pod has lost are given again.
///
/// # Errors
/// The members do not become healthy in time (the error repeats what each waits for); or it cannot be told safely which
/// one must take writes.
pub async fn ensure(cx: StepCx, cluster: &Cluster, spec: &LabSpec, images: &ImageSet) -> Result<Stepped<Database>> {
    let objects = objects(spec, images)?;
    let mut changed = credentials::ensure(cluster).await?;
    cx.say("applying the members");
    changed |= cluster.apply(&objects).await? > 0;
    let acted = AtomicBool::new(changed);
    let wanted = usize::from(spec.database.members);
    let writer = cx.until("the database", LIMIT, EVERY, || settle(cluster, wanted, &acted)).await?;
    let names: Vec<String> = (0..wanted).map(|ordinal| format!("{MEMBERS}-{ordinal}")).collect();
    let others: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != writer).collect();
    let detail = format!("{writer} takes writes, {} follow", others.join(", "));
    let database = Database { write_host: "db".to_owned(), read_host: "db-read".to_owned(), members: names };
    Ok(Stepped::changed(acted.into_inner(), database, detail))
}

/// One look at all members, with whatever can be done about what is seen; the writer's name once all is well.
async fn settle(cluster: &Cluster, wanted: usize, acted: &AtomicBool) -> Result<Look<String>> {
    cluster.replace_stuck(MEMBERS).await?;
    // An API server or a pod that does not answer for a moment is a reason to look again.
    let members = match members(cluster).await {
        Ok(members) => members,
        Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
    };
    let initialised = initialised(cluster).await.unwrap_or(true);
    let (writer, opened) = match roles::choose(&members, wanted, initialised) {
        Choice::Wait(reason) => return Ok(Look::NotYet(reason)),
        Choice::Refuse(reason) => bail!(reason),
        Choice::Open(name) => {
            give_roles(cluster, &members, &name, acted).await?;
            let command = ["/tools/wplab", "member", "promote"];
            return Ok(Look::NotYet(match cluster.exec(&name, CONTAINER, &command).await {
                Ok(_) => {
                    acted.store(true, Ordering::Relaxed);
                    format!("{name} is opened for writes")
                }
                Err(error) => format!("{error:#}"),
            }));
        }
        Choice::Reopens(name) => (name, false),
        Choice::Writer(name) => (name, true),
    };
    give_roles(cluster, &members, &writer, acted).await?;
    if opened && !initialised {
        record(cluster).await?;
        acted.store(true, Ordering::Relaxed);
    }
    if let Some(reason) = members.iter().find_map(Member::unready) {
        return Ok(Look::NotYet(reason));
    }
    let set: Option<StatefulSet> = cluster.get(MEMBERS).await?;
    Ok(match ready::stateful_set(set.as_ref()) {
        Look::Ready(()) => Look::Ready(writer),
        Look::NotYet(reason) => Look::NotYet(reason),
    })
}

/// Labels the members. Readers first, so that there are never two writers.
async fn give_roles(cluster: &Cluster, members: &[Member], writer: &str, acted: &AtomicBool) -> Result<()> {
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by_key(|member| member.name == writer);
    for member in order {
        let role = if member.name == writer { WRITER } else { READER };
        if member.role.as_deref() != Some(role) {
            let patch = json!({ "metadata": { "labels": { ROLE: role } } });
            let patched =
                cluster.api::<Pod>().patch(&member.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            patched.with_context(|| format!("cannot give pod {} its role", member.name))?;
            acted.store(true, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Whether the lab's data exists, as recorded.
async fn initialised(cluster: &Cluster) -> Result<bool> {
    let state: Option<ConfigMap> = cluster.get(STATE).await?;
    Ok(state.and_then(|state| state.data?.get("initialized").cloned()).is_some_and(|value| value == "true"))
}

/// Records that the lab's data exists: from now on an empty member copies, whatever its number.
async fn record(cluster: &Cluster) -> Result<()> {
    let labels = BTreeMap::from([(COMPONENT.to_owned(), Component::Database.as_str().to_owned())]);
    let metadata = ObjectMeta {
        name: Some(STATE.to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    let data = Some(BTreeMap::from([("initialized".to_owned(), "true".to_owned())]));
    let state: DynamicObject = manifests::untyped(&ConfigMap { metadata, data, ..ConfigMap::default() })?;
    cluster.apply(&[state]).await.map(drop)
}
