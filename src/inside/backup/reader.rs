//! Where a backup's rows are read: at a reader, in one snapshot, at a position in the database's history that is known.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::{
    cluster::Cluster,
    inside::{
        http,
        member::{HELD_FOR, HOLD, HTTP_PORT, status::MemberStatus},
    },
    labels::{COMPONENT, Component, READS, ROLE, WRITER},
    run::wait::{self, Look},
    spec::Topology,
    wire::{
        dump::Snapshot,
        sql::{Session, Way, logs::History},
    },
};

pub(super) const MYSQL_PORT: u16 = 3306;
/// The site's database.
pub(super) const DATABASE: &str = "wordpress";
/// How long the server may take for a statement that is no part of the dump.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a reader may take until it stands still; it looks every second, and may have stood still for somebody a moment ago.
const HOLDING: Duration = Duration::from_secs(40);
/// How many moments are looked at for one in which nobody commits.
const MOMENTS: usize = 50;
/// How often it is looked at meanwhile.
const LOOKS: Duration = Duration::from_millis(50);

/// A member to read from.
pub(super) struct Chosen {
    /// Its name.
    pub(super) name: String,
    /// Its server.
    pub(super) address: SocketAddr,
    /// Whether it takes no writes.
    reads: bool,
}

/// The database at a moment whose position is known.
pub(super) struct At<'s> {
    /// All of it.
    pub(super) snapshot: Snapshot<'s>,
    /// What it contains: a GTID set, or `UUID:SEQNO` where a cluster's members keep no log.
    pub(super) position: String,
    /// Whether it contains nothing else.
    pub(super) exact: bool,
}

/// How members are reached with the site's own account.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) user: &'static str,
    pub(super) password: String,
    /// The lab's authority, PEM.
    pub(super) ca: String,
}

impl Account {
    /// A session at an address, in the site's database or in none.
    pub(super) async fn connect(&self, address: SocketAddr, database: Option<&str>) -> Result<Session> {
        let way = Way::Forward { addr: address, ca: self.ca.clone() };
        Session::connect(&way, self.user, &self.password, database, PATIENCE).await
    }
}

/// The members' pods, in their order.
pub(super) async fn members(cluster: &Cluster) -> Result<Vec<Pod>> {
    let pods = cluster.pods(&format!("{COMPONENT}={}", Component::Database.as_str())).await;
    pods.context("cannot list the database's members")
}

/// A reader, or the writer where there is no other member, but none of these; nothing where no other member serves.
///
/// # Errors
/// The API server does not answer.
pub(super) async fn choose(cluster: &Cluster, but: &BTreeSet<String>) -> Result<Option<Chosen>> {
    let mut pods = members(cluster).await?;
    pods.retain(|pod| !but.contains(&pod.name_any()));
    let label = |pod: &Pod, key: &str| pod.labels().get(key).cloned().unwrap_or_default();
    // The last one, which is the least likely to be made the writer next.
    let readers = pods.iter().rev().filter(|pod| label(pod, READS) == "true" && label(pod, ROLE) != WRITER);
    let writers = pods.iter().filter(|pod| label(pod, ROLE) == WRITER);
    for (pod, reads) in readers.map(|pod| (pod, true)).chain(writers.map(|pod| (pod, false))) {
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        let (Some(ip), name) = (address, pod.name_any()) else { continue };
        if look(&name, ip).await.is_ok_and(|status| status.serves()) {
            return Ok(Some(Chosen { name, address: SocketAddr::new(ip, MYSQL_PORT), reads }));
        }
    }
    Ok(None)
}

/// Begins a snapshot of that member in this session, which is one there.
///
/// # Errors
/// The server refuses; or the reader does not stand still.
pub(super) async fn at<'s>(
    session: &'s mut Session,
    chosen: &Chosen,
    topology: Topology,
    account: &Account,
) -> Result<At<'s>> {
    match topology {
        Topology::Replication if chosen.reads => held(session, chosen, account).await,
        Topology::Replication => between(session).await,
        Topology::Galera => counted(session).await,
    }
}

/// Begins the snapshot of whoever takes writes, and does not stand still for this: in a moment in which nobody commits, which is soon found
/// where few write. Where none is found, it contains all that is in the position, and perhaps more.
async fn between(session: &mut Session) -> Result<At<'_>> {
    let mut snapshot = Snapshot::begin(session).await?;
    let mut position = String::new();
    for _ in 0..MOMENTS {
        position = executed(snapshot.session()).await?;
        snapshot.again().await?;
        // Who has a name already and is not among those that are done may be seen, or not.
        let owned = snapshot.session().value("SELECT @@global.gtid_owned").await?;
        if owned.is_some_and(|owned| owned.is_empty()) && executed(snapshot.session()).await? == position {
            return Ok(At { snapshot, position, exact: true });
        }
    }
    Ok(At { snapshot, position, exact: false })
}

/// Begins the snapshot of a member of a cluster, where the server itself says what is in it; or else after it was asked how far it is.
async fn counted(session: &mut Session) -> Result<At<'_>> {
    let before = sequence(session).await?;
    // A server that keeps no log has no other history.
    let history = History::of(session).await.ok();
    let mut snapshot = Snapshot::begin(session).await?;
    let within = match history {
        Some(history) => history.of_snapshot(snapshot.session()).await?,
        None => None,
    };
    let exact = within.is_some();
    Ok(At { snapshot, position: within.map_or(before, |set| set.to_string()), exact })
}

/// What a member says of itself.
pub(super) async fn look(member: &str, ip: IpAddr) -> Result<MemberStatus> {
    let text = tokio::time::timeout(PATIENCE, http::get(SocketAddr::new(ip, HTTP_PORT), member, "/status")).await;
    let text = text.with_context(|| format!("{member} says nothing within {} s", PATIENCE.as_secs()))??;
    Ok(MemberStatus::parse(&text)?)
}

/// Begins the snapshot of a replica while that applies nothing.
async fn held<'s>(session: &'s mut Session, chosen: &Chosen, account: &Account) -> Result<At<'s>> {
    let Chosen { name, address, .. } = chosen;
    let mut holder = account.connect(*address, Some(DATABASE)).await?;
    let got = holder.value(&format!("SELECT GET_LOCK('{HOLD}', 0)")).await?;
    ensure!(got.as_deref() == Some("1"), "somebody else makes {name} stand still");
    // It stood still later than at the last look that saw it move.
    let moved = Mutex::new(Instant::now());
    let stands = wait::until(
        "the reader to stand still",
        HOLDING,
        LOOKS,
        |_| {},
        || async {
            let asked = Instant::now();
            if look(name, address.ip()).await?.held {
                return Ok(Look::Ready(()));
            }
            *moved.lock().unwrap_or_else(PoisonError::into_inner) = asked;
            Ok(Look::NotYet(format!("{name} applies what it is sent")))
        },
    );
    stands.await?;
    let position = executed(session).await?;
    let snapshot = Snapshot::begin(session).await?;
    let stood = moved.into_inner().unwrap_or_else(PoisonError::into_inner).elapsed();
    ensure!(stood < HELD_FOR, "{name} went on before the snapshot stood");
    holder.run(&format!("DO RELEASE_LOCK('{HOLD}')")).await?;
    Ok(At { snapshot, position, exact: true })
}

async fn executed(session: &mut Session) -> Result<String> {
    let gtids = session.value("SELECT @@global.gtid_executed").await?;
    Ok(gtids.context("the server does not say what it has applied")?.replace('\n', ""))
}

/// What a Galera member has committed.
async fn sequence(session: &mut Session) -> Result<String> {
    let rows = session
        .rows("SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_state_uuid', 'wsrep_last_committed')")
        .await?;
    let value = |name: &str| {
        let row = rows.iter().find(|row| row.get("Variable_name").cloned().flatten().as_deref() == Some(name));
        row.and_then(|row| row.get("Value").cloned().flatten())
    };
    let both = value("wsrep_cluster_state_uuid").zip(value("wsrep_last_committed"));
    both.map(|(uuid, seqno)| format!("{uuid}:{seqno}")).context("the server does not say how far it is")
}
