//! Where a backup's rows are read: at a reader, in one snapshot, at a position in the database's history that is known.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
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
        sql::{Session, Way},
    },
};

pub(super) const MYSQL_PORT: u16 = 3306;
/// The site's database.
pub(super) const DATABASE: &str = "wordpress";
/// How long the server may take for a statement that is no part of the dump.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a reader may take until it stands still; it looks every second, and may have stood still for somebody a moment ago.
const HOLDING: Duration = Duration::from_secs(40);
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
    /// What it contains: a GTID set, or `UUID:SEQNO`.
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

/// A reader, or the writer where there is no other member.
///
/// # Errors
/// No member serves.
pub(super) async fn choose(cluster: &Cluster) -> Result<Chosen> {
    let pods = members(cluster).await?;
    let label = |pod: &Pod, key: &str| pod.labels().get(key).cloned().unwrap_or_default();
    // The last one, which is the least likely to be made the writer next.
    let readers = pods.iter().rev().filter(|pod| label(pod, READS) == "true" && label(pod, ROLE) != WRITER);
    let writers = pods.iter().filter(|pod| label(pod, ROLE) == WRITER);
    for (pod, reads) in readers.map(|pod| (pod, true)).chain(writers.map(|pod| (pod, false))) {
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        let (Some(ip), name) = (address, pod.name_any()) else { continue };
        if look(&name, ip).await.is_ok_and(|status| status.serves()) {
            return Ok(Chosen { name, address: SocketAddr::new(ip, MYSQL_PORT), reads });
        }
    }
    bail!("no member of the database serves")
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
        // Who takes writes does not stand still for this: the snapshot contains all that is in the position, and perhaps more.
        Topology::Replication => {
            let position = executed(session).await?;
            Ok(At { snapshot: Snapshot::begin(session).await?, position, exact: false })
        }
        Topology::Galera => {
            let position = sequence(session).await?;
            Ok(At { snapshot: Snapshot::begin(session).await?, position, exact: false })
        }
    }
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
