//! Checks of the database: its members, who gave them their roles, and that a row written at the writer is read at every
//! reader.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use kube::ResourceExt;

use crate::{
    actions::smoke::{check::Check, marker::Marker},
    cluster::Cluster,
    inside::kinds::{DATABASE, Database, DatabasePhase},
    labels::{COMPONENT, Component, READER, ROLE, WRITER},
    parts::database::{
        Member,
        agent::{self, Record},
        connect,
        health::{self, Wrong},
        members,
    },
    run::advice::Hint,
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
        let declared = "the members have what is declared of them";
        let read = "a row written at the writer is read at every reader";
        vec![
            Check::new("members", SUBJECT, healthy, Duration::from_secs(120), &hint, move || self.healthy(wanted)),
            Check::new("roles", SUBJECT, given, Duration::from_secs(60), logs("agent"), || self.given())
                .needs("members"),
            Check::new("declared", SUBJECT, declared, Duration::from_secs(60), logs("operator"), || self.declared())
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

    async fn declared(&self) -> Result<String> {
        let database = self.cluster.get::<Database>(DATABASE).await?.context("nothing is declared")?;
        let status = database.status.unwrap_or_default();
        ensure!(status.observed_generation == database.metadata.generation, "the operator has not taken it up yet");
        ensure!(status.phase == DatabasePhase::Settled, "{:?}: {}", status.phase, status.message);
        Ok(format!("generation {}", status.observed_generation.unwrap_or_default()))
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
        as_written(&agent::look(self.cluster).await?, &writer)
    }
}

/// What the members say, when together they are the database that is wanted.
fn judge(members: &[Member], wanted: usize) -> Result<String> {
    let writer = health::of_members(members, wanted).map_err(|wrong| anyhow!(sentence(&wrong)))?;
    let at = |member: &Member| Some(format!("{} at {}", member.name, member.galera()?.seqno));
    let cluster: Vec<String> = members.iter().filter_map(at).collect();
    if !cluster.is_empty() {
        return Ok(format!("one cluster of {}: {}", cluster.len(), cluster.join(", ")));
    }
    let behind = |lag: Option<u64>| lag.map_or_else(|| "lag unknown".to_owned(), |lag| format!("{lag} s behind"));
    let readers = members.iter().filter(|member| member.name != writer.name);
    let followers: Vec<String> = readers.map(|reader| format!("{} {}", reader.name, behind(reader.lag()))).collect();
    Ok(format!("source {}; {}", writer.name, followers.join(", ")))
}

fn sentence(wrong: &[Wrong]) -> String {
    wrong.iter().map(Wrong::to_string).collect::<Vec<_>>().join("; ")
}

/// What the agent has written down, if it says the same as the labels.
fn as_written(record: &Record, writer: &str) -> Result<String> {
    match health::of_roles(record, writer) {
        Ok(roles) => Ok(format!("{writer} since {} ({}); agent {} leads", roles.since, roles.why, roles.leader)),
        Err(Wrong::Refused(why)) => bail!("the agent refuses to choose: {why}"),
        Err(Wrong::Waits(why)) => bail!("the agent waits: {why}"),
        Err(wrong) => bail!(wrong.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::database::{
        agent::Roles,
        health::tests::{member, record, replica, source, synced},
    };

    #[test]
    fn a_healthy_database_tells_its_lags_and_another_all_that_is_wrong() {
        let members = [
            member("db-0", "writer", source()),
            member("db-1", "reader", replica(Some(0))),
            member("db-2", "reader", replica(None)),
        ];
        assert_eq!(judge(&members, 3).expect("healthy"), "source db-0; db-1 0 s behind, db-2 lag unknown");
        assert_eq!(judge(&members, 4).expect_err("too few").to_string(), "3 of 4 members exist");
        let silent = |name| Member { status: None, ..member(name, "reader", source()) };
        let error = judge(&[member("db-0", "writer", source()), silent("db-1"), silent("db-2")], 3);
        let why = "its supervisor does not answer";
        assert_eq!(error.expect_err("two are silent").to_string(), format!("db-1: {why}; db-2: {why}"));
    }

    #[test]
    fn a_galera_cluster_tells_how_far_each_member_is() {
        let (one, two) = (synced("db-0", "writer", 2, "u"), synced("db-1", "reader", 2, "u"));
        assert_eq!(judge(&[one.clone(), two], 2).expect("healthy"), "one cluster of 2: db-0 at 7, db-1 at 7");
        let error = judge(&[one, synced("db-1", "reader", 1, "u")], 2).expect_err("two clusters");
        assert_eq!(error.to_string(), "db-1 sees a cluster of 1");
    }

    #[test]
    fn the_agents_record_is_told_with_who_wrote_it_or_why_it_does_not_count() {
        let seen = as_written(&Record::Kept(record("db-1")), "db-1").expect("the same");
        assert_eq!(
            seen,
            "db-1 since 2026-01-01T00:00:00Z (db-0: does not answer; db-1 is synced); agent agent-x leads"
        );
        let sentence = |record, writer| as_written(&record, writer).expect_err("not so").to_string();
        assert!(sentence(Record::Kept(record("db-1")), "db-0").starts_with("db-0 is the writer, but"));
        let refused = Record::Kept(Roles { refused: "two clusters".into(), ..record("db-1") });
        assert_eq!(sentence(refused, "db-1"), "the agent refuses to choose: two clusters");
        let waits = Record::Kept(Roles { waits: "db-2: cloning".into(), ..record("db-1") });
        assert_eq!(sentence(waits, "db-1"), "the agent waits: db-2: cloning");
        let unkept = Record::Unkept { why: "no agent leads yet".into(), last: Some(record("db-1")) };
        assert_eq!(sentence(unkept, "db-1"), "no agent leads yet");
    }
}
