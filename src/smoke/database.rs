//! Checks of the database: its members, and that a row written at the writer is read at every reader.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;

use crate::{
    cluster::{Cluster, forward::Forward},
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
        let _ = (wanted, crate::parts::database::members(self.cluster).await?);
        Ok(String::new())
    }
}
