//! Checks of the database: its members, and that a row written at the writer is read at every reader.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;

use crate::{
    agent::member::status::ServerFacts,
    cluster::Cluster,
    labels::{COMPONENT, Component, ROLE},
    parts::database::{
        Member, connect, members,
        roles::{READER, WRITER},
    },
    smoke::{check::Check, marker::Marker},
    spec::LabSpec,
    sql::literal,
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
        let wanted = usize::from(spec.database.members);
        let hint = format!("wplab logs {} --of database", self.cluster.lab);
        let healthy = format!("all {wanted} database members are healthy and the replicas follow the source");
        let read = "a row written at the writer is read at every reader";
        vec![
            Check::new("members", SUBJECT, healthy, Duration::from_secs(120), &hint, move || self.healthy(wanted)),
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
}

/// Why a member does not serve its role; `None` when it does.
pub(crate) fn trouble(member: &Member) -> Option<String> {
    if let Some(reason) = member.unready() {
        // The name stands beside it in every table.
        return Some(reason.strip_prefix(&format!("{}: ", member.name)).unwrap_or(&reason).to_owned());
    }
    let source = facts(member).is_some_and(ServerFacts::serves_as_source);
    match (member.role.as_deref(), source) {
        (Some(WRITER), true) | (Some(READER), false) => None,
        (Some(WRITER), false) => Some("has the role of the writer but is not open for writes".to_owned()),
        (_, true) => Some("is open for writes without the role of the writer".to_owned()),
        _ => Some("has no role yet".to_owned()),
    }
}

/// Seconds behind the source; `None` for the source itself, and while it is unknown.
pub(crate) fn lag(member: &Member) -> Option<u64> {
    facts(member).filter(|facts| !facts.serves_as_source())?.lag_seconds
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
    let behind =
        |member: &Member| lag(member).map_or_else(|| "lag unknown".to_owned(), |lag| format!("{lag} s behind"));
    let followers = readers.iter().map(|reader| format!("{} {}", reader.name, behind(reader)));
    Ok(format!("source {}; {}", writers[0].name, followers.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::member::status::MemberStatus;

    fn member(name: &str, role: &str, server: ServerFacts) -> Member {
        let status = MemberStatus { name: name.into(), server: Some(server), ..MemberStatus::default() };
        let role = (!role.is_empty()).then(|| role.to_owned());
        Member { name: name.into(), node: None, role, pod_waits: None, status: Some(status) }
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
        let silent = Member { name: "db-1".into(), node: None, role: Some("reader".into()), pod_waits, status: None };
        let error = judge(&[member("db-0", "writer", source()), silent], 2).expect_err("one is silent");
        assert_eq!(error.to_string(), "db-1: container mysql keeps ending");
    }
}
