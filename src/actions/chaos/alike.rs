//! Whether all members have the same: the same transactions, and the same checksum of every table of the site's database.
//! What the servers keep for themselves (`mysql`, `sys`) differs rightly: who follows whom, what was read when.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};

use super::report::Rows;
use crate::{
    cluster::Cluster,
    parts::database::{connect_within, members},
    run::{StepCx, wait::Look},
    spec::Topology,
    wire::gtid::GtidSet,
};

/// How long members may take until they have the same: a replica still applies what it has received, and the site itself
/// writes now and then.
const LIMIT: Duration = Duration::from_secs(90);
const EVERY: Duration = Duration::from_secs(2);
/// How long a checksum of all tables may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Compares all members until they are alike, and writes down how they differ if they never are.
pub(super) async fn compare(cx: &StepCx, cluster: &Cluster, topology: Topology, rows: &mut Rows) {
    let compared = cx.until("equal members", LIMIT, EVERY, || async {
        Ok(match differences(cluster, topology).await {
            Ok((differences, tables)) if differences.is_empty() => Look::Ready(tables),
            Ok((differences, _)) => Look::NotYet(differences.join("; ")),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    });
    match compared.await {
        Ok(tables) => rows.tables = tables,
        Err(error) => rows.differences.push(error.to_string()),
    }
}

/// How members differ now, and how many tables were compared.
async fn differences(cluster: &Cluster, topology: Topology) -> Result<(Vec<String>, usize)> {
    let before = positions(cluster, topology).await?;
    let mut found = Vec::new();
    if let Some((first, others)) = before.split_first() {
        for other in others.iter().filter(|other| other.1 != first.1) {
            found.push(format!("{} has other transactions than {}", other.0, first.0));
        }
    }
    if !found.is_empty() {
        return Ok((found, 0));
    }
    let sums =
        before.iter().map(|(member, _)| async move { Ok::<_, anyhow::Error>((member, sums(cluster, member).await?)) });
    let sums = futures_util::future::try_join_all(sums).await?;
    ensure!(positions(cluster, topology).await? == before, "somebody writes");
    let (first, others) = sums.split_first().context("there are no members")?;
    for other in others {
        let tables = first.1.keys().chain(other.1.keys()).collect::<std::collections::BTreeSet<_>>();
        let differ: Vec<&str> =
            tables.into_iter().filter(|table| first.1.get(*table) != other.1.get(*table)).map(String::as_str).collect();
        if !differ.is_empty() {
            found.push(format!("{} and {} differ in {}", first.0, other.0, differ.join(", ")));
        }
    }
    Ok((found, first.1.len()))
}

/// Where a member is in the history of all.
#[derive(Debug, PartialEq, Eq)]
enum Position {
    Transactions(GtidSet),
    Sequence { cluster: String, seqno: i64 },
}

async fn positions(cluster: &Cluster, topology: Topology) -> Result<Vec<(String, Position)>> {
    let all = members(cluster).await?;
    ensure!(!all.is_empty(), "there are no members");
    let position = |member: crate::parts::database::Member| {
        let silent = || format!("{} does not say how far it is", member.name);
        let position = match topology {
            Topology::Replication => {
                Position::Transactions(GtidSet::parse(&member.facts().with_context(silent)?.gtid_executed)?)
            }
            Topology::Galera => {
                let facts = member.galera().with_context(silent)?;
                Position::Sequence { cluster: facts.cluster_uuid.clone(), seqno: facts.seqno }
            }
        };
        Ok((member.name, position))
    };
    all.into_iter().map(position).collect()
}

/// The checksum of every table that the site's account sees.
async fn sums(cluster: &Cluster, member: &str) -> Result<BTreeMap<String, String>> {
    let mut at = connect_within(cluster, member, PATIENCE).await?;
    let tables =
        at.sql.rows("SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()").await?;
    let tables: Vec<String> = tables.into_iter().filter_map(|mut row| row.remove("name").flatten()).collect();
    ensure!(!tables.is_empty(), "{member} has no tables");
    let names: Vec<String> = tables.iter().map(|table| format!("`{}`", table.replace('`', "``"))).collect();
    let rows = at.sql.rows(&format!("CHECKSUM TABLE {}", names.join(", "))).await?;
    rows.into_iter()
        .map(|mut row| {
            let table = row.remove("Table").flatten().context("a checksum of no table")?;
            let sum =
                row.remove("Checksum").flatten().with_context(|| format!("{table} has no checksum at {member}"))?;
            Ok((table, sum))
        })
        .collect()
}
