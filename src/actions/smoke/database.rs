//! Checks of the database: its members, who gave them their roles, and that a row written at the writer is read at every
//! reader.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use kube::ResourceExt;

use crate::{
    actions::smoke::{check::Check, marker::Marker},
    cluster::Cluster,
    inside::member::status::{GaleraFacts, ServerFacts},
    labels::{COMPONENT, Component, READER, ROLE, WRITER},
    parts::database::{
        Member,
        agent::{self, Roles},
        connect, members,
    },
    run::{advice::Hint, wait::Look},
    spec::{LabSpec, Topology},
    wire::sql::literal,
};

const SUBJECT: &str = "database";

/// The checks' own table, which exists only while somebody checks.
const TABLE: &str = "wplab_smoke";

/// The database as the checks use it.
pub(super) struct Rows<'a> {
    cluster: &'a Cluster,
    marker: &'a Marker,
    wrote: AtomicBool,
}

impl<'a> Rows<'a> {
    pub(super) fn new(cluster: &'a Cluster, marker: &'a Marker) -> Rows<'a> {
        Rows { cluster, marker, wrote: AtomicBool::new(false) }
    }

    pub(super) fn checks(&'a self, spec: &LabSpec) -> Vec<Check<'a>> {
        let (wanted, topology) = (usize::from(spec.database.members), spec.database.topology);
        let logs = |of| [Hint::Logs { lab: self.cluster.lab.clone(), of: Some(of) }];
        let hint = logs("database");
        let healthy = match topology {
            Topology::Replication => {
                format!("all {wanted} database members are healthy and the replicas follow the source")
            }
            Topology::Galera => format!("all {wanted} database members are synced and see one cluster of {wanted}"),
        };
        let given = "one writer, and it was the agent that made it that";
        let read = "a row written at the writer is read at every reader";
        vec![
            Check::new("members", SUBJECT, healthy, Duration::from_secs(120), &hint, move || self.healthy(wanted)),
            Check::new("roles", SUBJECT, given, Duration::from_secs(60), logs("agent"), || self.given())
                .needs("members"),
            Check::new("row", SUBJECT, read, Duration::from_secs(60), &hint, || self.read_everywhere())
                .needs("members"),
        ]
    }

    /// Removes what this run wrote and what long dead runs left; the table goes when it is empty.
    ///
    /// # Errors
    /// The writer does not answer.
    pub(super) async fn clean_up(&self) -> Result<usize> {
        if !self.wrote.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let (writer, _) = self.pods().await?;
        let mut at = connect(self.cluster, &writer).await?;
        let session = &mut at.sql;
        if session.value(&format!("SHOW TABLES LIKE {}", literal(TABLE))).await?.is_none() {
            return Ok(0);
        }
        let rows = session.rows(&format!("SELECT marker FROM {TABLE}")).await?;
        let markers: Vec<String> = rows.into_iter().filter_map(|mut row| row.remove("marker").flatten()).collect();
        let ours: Vec<String> = markers.iter().filter(|m| self.marker.may_remove(m)).map(|m| literal(m)).collect();
        if ours.len() == markers.len() {
            session.run(&format!("DROP TABLE {TABLE}")).await?;
        } else if !ours.is_empty() {
            session.run(&format!("DELETE FROM {TABLE} WHERE marker IN ({})", ours.join(", "))).await?;
        }
        Ok(ours.len())
    }

    async fn read_everywhere(&self) -> Result<String> {
        let (writer, readers) = self.pods().await?;
        self.write(&writer).await.with_context(|| format!("cannot write at {writer}"))?;
        for reader in &readers {
            let found = self.read(reader).await.with_context(|| format!("cannot read at {reader}"))?;
            ensure!(found, "the row written at {writer} has not come to {reader}");
        }
        Ok(format!("written at {writer}, read at {}", readers.join(", ")))
    }

    async fn write(&self, pod: &str) -> Result<()> {
        let mut at = connect(self.cluster, pod).await?;
        let session = &mut at.sql;
        self.wrote.store(true, Ordering::Relaxed);
        session.run(&format!("CREATE TABLE IF NOT EXISTS {TABLE} (marker VARCHAR(64) NOT NULL PRIMARY KEY)")).await?;
        session.run(&format!("INSERT IGNORE INTO {TABLE} VALUES ({})", literal(self.marker.as_str()))).await
    }

    async fn read(&self, pod: &str) -> Result<bool> {
        let mut at = connect(self.cluster, pod).await?;
        let session = &mut at.sql;
        let row = session
            .value(&format!("SELECT marker FROM {TABLE} WHERE marker = {}", literal(self.marker.as_str())))
            .await?;
        Ok(row.is_some())
    }

    /// The writer and the readers, by the roles that their pods carry.
    async fn pods(&self) -> Result<(String, Vec<String>)> {
        let with = async |role: &str| {
            let selector = format!("{COMPONENT}={},{ROLE}={role}", Component::Database.as_str());
            let pods = self.cluster.pods(&selector).await?;
            anyhow::Ok(pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>())
        };
        let (writers, readers) = (with(WRITER).await?, with(READER).await?);
        ensure!(writers.len() <= 1, "{} members have the role of the writer: {}", writers.len(), writers.join(", "));
        Ok((writers.into_iter().next().context("no member has the role of the writer")?, readers))
    }

    async fn healthy(&self, wanted: usize) -> Result<String> {
        judge(&members(self.cluster).await?, wanted)
    }

    async fn given(&self) -> Result<String> {
        let (writer, _) = self.pods().await?;
        match agent::look(self.cluster).await? {
            Look::Ready(roles) => as_written(&roles, &writer),
            Look::NotYet(reason) => bail!(reason),
        }
    }
}

/// What the agent has written down, if it says the same as the labels.
fn as_written(roles: &Roles, writer: &str) -> Result<String> {
    let waits = [&roles.refused, &roles.waits].into_iter().find(|reason| !reason.is_empty());
    if let Some(reason) = waits {
        bail!("the agent {}: {reason}", if roles.refused.is_empty() { "waits" } else { "refuses to choose" });
    }
    ensure!(roles.writer == writer, "{writer} is the writer, but the agent has written down {:?}", roles.writer);
    Ok(format!("{writer} since {} ({}); agent {} leads", roles.since, roles.why, roles.leader))
}

/// Why a member does not serve its role; `None` when it does.
pub(crate) fn trouble(member: &Member) -> Option<String> {
    if let Some(reason) = member.unready() {
        // The name stands beside it in every table.
        return Some(reason.strip_prefix(&format!("{}: ", member.name)).unwrap_or(&reason).to_owned());
    }
    // Every synced member of a Galera cluster is open, so there the role is all that tells them apart.
    let open = facts(member).is_some_and(ServerFacts::serves_as_source);
    let fits = |role: &str| galera(member).is_some() || open == (role == WRITER);
    match member.role.as_deref() {
        Some(role @ (WRITER | READER)) if fits(role) => {
            (role == READER && !member.reads).then(|| "is not among those who may be read from".to_owned())
        }
        Some(WRITER) => Some("has the role of the writer but is not open for writes".to_owned()),
        _ if open => Some("is open for writes without the role of the writer".to_owned()),
        _ => Some("has no role yet".to_owned()),
    }
}

/// Seconds behind the source; `None` for the source itself, and while it is unknown.
pub(crate) fn lag(member: &Member) -> Option<u64> {
    facts(member).filter(|facts| !facts.serves_as_source())?.lag_seconds
}

/// What a member of a Galera cluster says about it; `None` in the other topology, and while its server does not answer.
pub(crate) fn galera(member: &Member) -> Option<&GaleraFacts> {
    member.status.as_ref()?.galera.as_ref()
}

fn facts(member: &Member) -> Option<&ServerFacts> {
    member.status.as_ref()?.server.as_ref()
}

fn judge(members: &[Member], wanted: usize) -> Result<String> {
    let troubled = members.iter().filter_map(|member| Some(format!("{}: {}", member.name, trouble(member)?)));
    let troubled: Vec<String> = troubled.collect();
    ensure!(troubled.is_empty(), "{}", troubled.join("; "));
    ensure!(members.len() >= wanted, "{} of {wanted} members exist", members.len());
    let (writers, readers): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| member.role.as_deref() == Some(WRITER));
    ensure!(writers.len() == 1, "{} members are writers", writers.len());
    if members.iter().any(|member| galera(member).is_some()) {
        return one_cluster(members);
    }
    let behind =
        |member: &Member| lag(member).map_or_else(|| "lag unknown".to_owned(), |lag| format!("{lag} s behind"));
    let followers = readers.iter().map(|reader| format!("{} {}", reader.name, behind(reader)));
    Ok(format!("source {}; {}", writers[0].name, followers.collect::<Vec<_>>().join(", ")))
}

/// All members synced, in one cluster that consists of just them.
fn one_cluster(members: &[Member]) -> Result<String> {
    let mut known = Vec::new();
    for member in members {
        let facts = galera(member).with_context(|| format!("{} says nothing about its cluster", member.name))?;
        ensure!(facts.synced(), "{} is {}", member.name, facts.state.to_lowercase());
        ensure!(facts.size as usize == members.len(), "{} sees a cluster of {}", member.name, facts.size);
        known.push((member, facts));
    }
    let (first, facts) = known.first().context("there are no members")?;
    if let Some((other, _)) = known.iter().find(|(_, theirs)| theirs.cluster_uuid != facts.cluster_uuid) {
        bail!("{} and {} are of two different clusters", first.name, other.name);
    }
    let each = known.iter().map(|(member, facts)| format!("{} at {}", member.name, facts.seqno));
    Ok(format!("one cluster of {}: {}", known.len(), each.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::member::status::MemberStatus;

    fn member(name: &str, role: &str, server: ServerFacts) -> Member {
        let status = MemberStatus { name: name.into(), server: Some(server), ..MemberStatus::default() };
        let role = (!role.is_empty()).then(|| role.to_owned());
        Member { name: name.into(), node: None, role, reads: true, pod_waits: None, status: Some(status) }
    }

    fn source() -> ServerFacts {
        ServerFacts { semi_sync: true, ..ServerFacts::default() }
    }

    fn replica(lag: Option<u64>) -> ServerFacts {
        let source_host = Some("db-0".to_owned());
        ServerFacts {
            super_read_only: true,
            source_host,
            io_running: true,
            sql_running: true,
            lag_seconds: lag,
            ..source()
        }
    }

    #[test]
    fn one_writer_and_readers_that_follow_it_are_healthy() {
        let members = [
            member("db-0", "writer", source()),
            member("db-1", "reader", replica(Some(0))),
            member("db-2", "reader", replica(None)),
        ];
        assert_eq!(judge(&members, 3).expect("healthy"), "source db-0; db-1 0 s behind, db-2 lag unknown");
        assert_eq!(judge(&members, 4).expect_err("too few").to_string(), "3 of 4 members exist");
        assert_eq!((lag(&members[0]), lag(&members[1])), (None, Some(0)));
    }

    #[test]
    fn roles_that_do_not_fit_what_the_server_does_are_told() {
        let reason = |role, server| trouble(&member("db-0", role, server)).unwrap_or_default();
        assert_eq!(reason("writer", replica(None)), "has the role of the writer but is not open for writes");
        assert_eq!(reason("reader", source()), "is open for writes without the role of the writer");
        assert_eq!(reason("", replica(None)), "has no role yet");
        assert_eq!(reason("reader", replica(None)), "");
        let two = [member("db-0", "writer", source()), member("db-1", "writer", source())];
        assert_eq!(judge(&two, 2).expect_err("two").to_string(), "2 members are writers");
    }

    #[test]
    fn a_member_that_does_not_answer_is_named_with_the_reason() {
        let pod_waits = Some("container mysql keeps ending".to_owned());
        let silent = Member { pod_waits, status: None, ..member("db-1", "reader", replica(None)) };
        let error = judge(&[member("db-0", "writer", source()), silent], 2).expect_err("one is silent");
        assert_eq!(error.to_string(), "db-1: container mysql keeps ending");
    }

    fn synced(name: &str, role: &str, size: u32, uuid: &str) -> Member {
        let facts = GaleraFacts {
            cluster_uuid: uuid.into(),
            seqno: 7,
            size,
            component: "Primary".into(),
            state: "Synced".into(),
            ready: true,
        };
        let status = MemberStatus { name: name.into(), galera: Some(facts), ..MemberStatus::default() };
        Member { status: Some(status), ..member(name, role, source()) }
    }

    #[test]
    fn a_galera_cluster_is_one_and_consists_of_all_members() {
        let told = |members: &[Member]| judge(members, 2).map_err(|error| error.to_string());
        let (one, two) = (synced("db-0", "writer", 2, "u"), synced("db-1", "reader", 2, "u"));
        assert_eq!(told(&[one.clone(), two.clone()]), Ok("one cluster of 2: db-0 at 7, db-1 at 7".into()));
        let small = synced("db-1", "reader", 1, "u");
        assert_eq!(told(&[one.clone(), small]), Err("db-1 sees a cluster of 1".into()));
        let stranger = synced("db-1", "reader", 2, "v");
        assert_eq!(told(&[one.clone(), stranger]), Err("db-0 and db-1 are of two different clusters".into()));
        let unread = Member { reads: false, ..two };
        assert_eq!(told(&[one, unread]), Err("db-1: is not among those who may be read from".into()));
    }

    #[test]
    fn the_agents_record_and_the_labels_must_say_the_same() {
        let roles = Roles {
            writer: "db-1".into(),
            since: "2026-01-01T00:00:00Z".into(),
            why: "db-0: does not answer; db-1 is synced".into(),
            leader: "agent-x".into(),
            ..Roles::default()
        };
        let seen = as_written(&roles, "db-1").expect("the same");
        assert_eq!(
            seen,
            "db-1 since 2026-01-01T00:00:00Z (db-0: does not answer; db-1 is synced); agent agent-x leads"
        );
        assert!(as_written(&roles, "db-0").is_err());
        let refused = Roles { refused: "two clusters".into(), ..roles };
        let error = as_written(&refused, "db-1").expect_err("refused");
        assert_eq!(error.to_string(), "the agent refuses to choose: two clusters");
    }
}
