//! Checks of the database: its members, and that a row written at the writer is read at every reader.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use kube::ResourceExt;

use crate::{
    agent::member::status::{MemberStatus, ServerFacts},
    cluster::{Cluster, forward::Forward, ready},
    labels::{COMPONENT, Component, ROLE},
    smoke::{
        check::{Check, Hopeless},
        marker::Marker,
    },
    spec::LabSpec,
    sql::{Session, Way, literal},
};

const SUBJECT: &str = "database";
const PORT: u16 = 3306;
/// Where a member's supervisor answers.
const STATUS_PORT: u16 = 8081;
const PATIENCE: Duration = Duration::from_secs(10);

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
        let (_forward, mut session) = self.connect(&writer).await?;
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
        let (_forward, mut session) = self.connect(pod).await?;
        self.wrote.store(true, Ordering::Relaxed);
        session.run(&format!("CREATE TABLE IF NOT EXISTS {TABLE} (marker VARCHAR(64) NOT NULL PRIMARY KEY)")).await?;
        session.run(&format!("INSERT IGNORE INTO {TABLE} VALUES ({})", literal(self.marker.as_str()))).await
    }

    async fn read(&self, pod: &str) -> Result<bool> {
        let (_forward, mut session) = self.connect(pod).await?;
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
        let (writers, readers) = (with("writer").await?, with("reader").await?);
        ensure!(writers.len() <= 1, "{} members have the role of the writer: {}", writers.len(), writers.join(", "));
        Ok((writers.into_iter().next().context("no member has the role of the writer")?, readers))
    }

    /// Logs in at a member as the site does; the forward must live as long as the session.
    async fn connect(&self, pod: &str) -> Result<(Forward, Session)> {
        let absent = |what: &str| Hopeless(format!("there is no {what}"));
        let mut credentials =
            self.cluster.secret("db-credentials").await?.ok_or_else(|| absent("Secret db-credentials"))?;
        let password = credentials
            .remove("wordpress-password")
            .ok_or_else(|| absent("wordpress-password in Secret db-credentials"))?;
        let mut tls = self.cluster.secret("db-tls").await?.ok_or_else(|| absent("Secret db-tls"))?;
        let ca = tls.remove("ca.crt").ok_or_else(|| absent("ca.crt in Secret db-tls"))?;
        let forward = self.cluster.forward(pod, PORT).await?;
        let way = Way::Forward { addr: forward.addr, ca };
        let session = Session::connect(&way, "wordpress", &password, Some("wordpress"), PATIENCE).await?;
        Ok((forward, session))
    }

    async fn healthy(&self, wanted: usize) -> Result<String> {
        judge(&members(self.cluster).await?, wanted)
    }
}

/// A member as its pod and its supervisor tell it.
pub(crate) struct Member {
    /// Its pod's name.
    pub(crate) pod: String,
    /// The node that it runs on; empty while there is none.
    pub(crate) node: String,
    /// `writer`, `reader`, or empty while it has no role.
    pub(crate) role: String,
    /// What its supervisor says, or why that is unknown.
    pub(crate) status: Result<MemberStatus>,
}

/// Every member whose pod exists, by name. Members that do not answer are among them, with the reason.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn members(cluster: &Cluster) -> Result<Vec<Member>> {
    let pods = cluster.pods(&format!("{COMPONENT}={}", Component::Database.as_str())).await?;
    let asked = pods.into_iter().filter(|pod| pod.name_any().starts_with("db-")).map(|pod| async move {
        let name = pod.name_any();
        let answer = cluster.pod_get(&name, STATUS_PORT, "/status").await;
        let status =
            answer.and_then(|json| MemberStatus::parse(&json).context("its supervisor answers with no status"));
        let role = pod.labels().get(ROLE).cloned().unwrap_or_default();
        // A pod that cannot be asked mostly has a complaint of its own, which says more than a refused connection.
        let status = status.map_err(|error| ready::complaint(&pod).map_or(error, anyhow::Error::msg));
        Member { pod: name, node: pod.spec.and_then(|spec| spec.node_name).unwrap_or_default(), role, status }
    });
    Ok(join_all(asked).await)
}

impl Member {
    /// Why it does not serve its role; `None` when it does.
    pub(crate) fn trouble(&self) -> Option<String> {
        let status = match &self.status {
            Ok(status) => status,
            Err(error) => return Some(format!("{error:#}")),
        };
        status.unready().or_else(|| {
            let source = status.server.as_ref().is_some_and(ServerFacts::serves_as_source);
            match (self.role.as_str(), source) {
                ("writer", true) | ("reader", false) => None,
                ("writer", false) => Some("has the role of the writer but is not open for writes".to_owned()),
                (_, true) => Some("is open for writes without the role of the writer".to_owned()),
                _ => Some("has no role yet".to_owned()),
            }
        })
    }

    /// Seconds behind the source; `None` for the source itself, and while it is unknown.
    pub(crate) fn lag(&self) -> Option<u64> {
        let facts = self.status.as_ref().ok()?.server.as_ref()?;
        if facts.serves_as_source() { None } else { facts.lag_seconds }
    }
}

fn judge(members: &[Member], wanted: usize) -> Result<String> {
    let troubled = members.iter().filter_map(|member| Some(format!("{}: {}", member.pod, member.trouble()?)));
    let troubled: Vec<String> = troubled.collect();
    ensure!(troubled.is_empty(), "{}", troubled.join("; "));
    ensure!(members.len() >= wanted, "{} of {wanted} members exist", members.len());
    let (writers, readers): (Vec<&Member>, Vec<&Member>) = members.iter().partition(|member| member.role == "writer");
    ensure!(writers.len() == 1, "{} members are writers", writers.len());
    let lag = |member: &Member| member.lag().map_or_else(|| "lag unknown".to_owned(), |lag| format!("{lag} s behind"));
    let followers = readers.iter().map(|reader| format!("{} {}", reader.pod, lag(reader)));
    Ok(format!("source {}; {}", writers[0].pod, followers.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(pod: &str, role: &str, server: ServerFacts) -> Member {
        let status = MemberStatus { name: pod.into(), server: Some(server), ..MemberStatus::default() };
        Member { pod: pod.into(), node: "n".into(), role: role.into(), status: Ok(status) }
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
        assert_eq!((members[0].lag(), members[1].lag()), (None, Some(0)));
    }

    #[test]
    fn roles_that_do_not_fit_what_the_server_does_are_told() {
        let reason = |role, server| member("db-0", role, server).trouble().unwrap_or_default();
        assert_eq!(reason("writer", replica(None)), "has the role of the writer but is not open for writes");
        assert_eq!(reason("reader", source()), "is open for writes without the role of the writer");
        assert_eq!(reason("", replica(None)), "has no role yet");
        assert_eq!(reason("reader", replica(None)), "");
        let two = [member("db-0", "writer", source()), member("db-1", "writer", source())];
        assert_eq!(judge(&two, 2).expect_err("two").to_string(), "2 members are writers");
    }

    #[test]
    fn a_member_that_does_not_answer_is_named_with_the_reason() {
        let status = Err(anyhow::anyhow!("container mysql keeps ending"));
        let silent = Member { pod: "db-1".into(), node: String::new(), role: "reader".into(), status };
        let error = judge(&[member("db-0", "writer", source()), silent], 2).expect_err("one is silent");
        assert_eq!(error.to_string(), "db-1: container mysql keeps ending");
    }
}
