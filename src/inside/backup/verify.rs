//! A backup is proven by using it: it is loaded into a server beside the lab, which is there for nothing else, and every row and every
//! file is compared with what the backup says. What came of it is written into the store. Nothing of the lab is touched.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    Runner, SCRATCH_FILES,
    make::Progress,
    reader::{Account, DATABASE, MYSQL_PORT},
    way::{Restored, STATEMENT, Way, fits},
};
use crate::{
    cluster::{Cluster, Refused, passing, ready},
    run::{
        advice::find,
        wait::{self, Look},
    },
    wire::{
        backup::{
            Unusable,
            manifest::Manifest,
            seal::Keys,
            shelf::{self, Shelf},
            verified::Verified,
        },
        dump,
        sql::Session,
    },
};

/// The Deployment of the server, whose pods carry its name.
pub const SCRATCH: &str = "db-scratch";
/// What its pods are found by.
const PODS: &str = "app.kubernetes.io/name=db-scratch";
/// How long the server may take until it answers, on a machine that has other things to do.
const COMES: Duration = Duration::from_mins(3);
/// How long it may take until it is gone.
const GOES: Duration = Duration::from_mins(1);
const EVERY: Duration = Duration::from_millis(250);
/// What a server says that has no room: it is not the backup's fault. `ER_DISK_FULL`, `ER_OUTOFMEMORY`, `ER_OUT_OF_RESOURCES`,
/// `ER_RECORD_FILE_FULL`.
const NO_ROOM: [u16; 4] = [1021, 1037, 1041, 1114];

/// Proves a backup, and writes down what came of that, unless it says nothing of the backup.
///
/// # Errors
/// The backup is damaged, or it takes another key ([`Unusable`]); there is no room for the server; or the store does not take what came
/// of it.
pub(super) async fn verify(runner: &Runner, shelf: &Shelf, manifest: &Manifest, keys: Keys) -> Result<Restored> {
    shelf::opens(manifest, &keys)?;
    let clock = Instant::now();
    let proven = prove(&Way { runner, shelf, manifest, keys: Arc::new(keys) }).await;
    let (wrong, seconds) = match &proven {
        Ok(done) => (None, done.seconds),
        Err(error) => match wrong(error) {
            Some(wrong) => (Some(wrong), clock.elapsed().as_secs_f64()),
            None => return proven,
        },
    };
    let seconds = (seconds * 10.0).round() / 10.0;
    let verified = Verified { at: Timestamp::now(), wrong, seconds, by: env!("CARGO_PKG_VERSION").to_owned() };
    match (shelf.mark(&manifest.id, &verified).await, proven) {
        (Ok(()), proven) => proven,
        (Err(unmarked), Ok(_)) => Err(unmarked.context("it is proven, but that cannot be written down")),
        (Err(unmarked), Err(error)) => {
            Err(error.context(format!("what follows could not be written down ({unmarked:#})")))
        }
    }
}

/// What an error says of the backup itself; `None` where it says something of the store, the server or the lab.
fn wrong(error: &anyhow::Error) -> Option<String> {
    match (find::<Unusable>(error), find::<dump::Refused>(error)) {
        (Some(Unusable::Damaged { how, .. }), _) => Some(how.clone()),
        (Some(_), _) => None,
        (None, Some(dump::Refused::Statement { code, .. })) if NO_ROOM.contains(code) => None,
        (None, Some(refused @ (dump::Refused::NoDump { .. } | dump::Refused::Statement { .. }))) => {
            Some(refused.to_string())
        }
        (None, _) => None,
    }
}

async fn prove(way: &Way<'_>) -> Result<Restored> {
    way.runner.tell(Progress::of("looking whether it is complete"));
    way.shelf.complete(way.manifest).await?;
    way.runner.tell(Progress::of("starting a server beside the lab"));
    let used = async {
        let mut session = begin(&way.runner.cluster).await?;
        fits(&mut session, way.manifest).await?;
        let clock = Instant::now();
        let rows = way.load(&mut session, DATABASE).await?;
        let files = way.unpack(None).await?;
        Ok(way.restored(rows, files, clock.elapsed().as_secs_f64()))
    };
    let used = used.await;
    // Whatever came of it.
    match (used, end(&way.runner.cluster).await) {
        (used, Ok(())) => used,
        (Ok(_), Err(left)) => Err(left),
        (Err(error), Err(left)) => Err(error.context(format!("the server beside the lab is still there ({left:#})"))),
    }
}

/// A session at a server beside the lab that nobody has used before.
pub(super) async fn begin(cluster: &Cluster) -> Result<Session> {
    end(cluster).await?;
    scale(cluster, 1).await?;
    let account = Account {
        user: "wordpress",
        password: super::read(SCRATCH_FILES.as_ref(), "password")?,
        ca: super::read(SCRATCH_FILES.as_ref(), "ca.crt")?,
    };
    let look = || async {
        let pods = cluster.pods(PODS).await?;
        let Some(pod) = pods.first() else { return Ok(Look::NotYet("its pod does not exist yet".to_owned())) };
        // Its server answers before its kubelet has told; what it complains of says more than that nobody answers.
        let Some(ip) = running(pod) else {
            return Ok(Look::NotYet(ready::complaint(pod).unwrap_or_else(|| "its pod does not run yet".to_owned())));
        };
        Ok(match account.connect(SocketAddr::new(ip, MYSQL_PORT), Some(DATABASE)).await {
            Ok(session) => Look::Ready(session.patient(STATEMENT)),
            Err(error) => Look::NotYet(format!("{}: {error:#}", pod.name_any())),
        })
    };
    wait::until("the server beside the lab", COMES, EVERY, |_| {}, look).await
}

/// The address of a pod whose container runs.
fn running(pod: &Pod) -> Option<std::net::IpAddr> {
    let status = pod.status.as_ref()?;
    let runs = status.container_statuses.as_ref()?.iter().all(|one| one.started == Some(true));
    if runs && pod.metadata.deletion_timestamp.is_none() { status.pod_ip.as_ref()?.parse().ok() } else { None }
}

/// Ends the server beside the lab, if it is there, and waits until it is gone. An API server that is away for a moment is asked again:
/// nobody else ends it.
///
/// # Errors
/// The API server refuses, or it does not go.
pub(super) async fn end(cluster: &Cluster) -> Result<()> {
    let ask = || async {
        scale(cluster, 0).await?;
        cluster.pods(PODS).await
    };
    let look = || async {
        match ask().await {
            Ok(pods) => Ok(match pods.first() {
                None => Look::Ready(()),
                Some(pod) => Look::NotYet(format!("{} is still there", pod.name_any())),
            }),
            Err(error) if error.downcast_ref::<Refused>().is_some_and(|error| passing(&error.0)) => {
                Ok(Look::NotYet(format!("{error:#}")))
            }
            Err(error) => Err(error),
        }
    };
    wait::until("the server beside the lab to go", GOES, EVERY, |_| {}, look).await
}

async fn scale(cluster: &Cluster, replicas: i32) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let scaled = cluster.api::<Deployment>().patch_scale(SCRATCH, &PatchParams::default(), &patch).await;
    scaled.map(drop).map_err(Refused).with_context(|| format!("cannot scale {SCRATCH} to {replicas}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::advice::Trouble;

    #[test]
    fn only_what_says_something_of_the_backup_is_written_down() {
        let of = |error: anyhow::Error| wrong(&error.context("loading"));
        let damaged = Unusable::Damaged { id: "x".into(), how: "database.00000 is missing".into() };
        assert_eq!(of(Trouble::from(damaged).into()).as_deref(), Some("database.00000 is missing"));
        let refused = |code| dump::Refused::Statement { number: 7, about: "rows of `t`".into(), code, said: None };
        let said = of(Trouble::from(refused(1062)).into());
        assert_eq!(said.as_deref(), Some("statement 7 (rows of `t`) was refused with error 1062"));
        assert_eq!(of(Trouble::from(refused(1114)).into()), None, "the disk beside the lab is full");
        let unfit = dump::Refused::Unfit { why: vec!["table t is kept by Aria".into()] };
        assert_eq!(of(Trouble::from(unfit).into()), None, "another server could have it");
        assert_eq!(of(Trouble::from(Unusable::Locked { id: "x".into(), tried: true }).into()), None);
        assert_eq!(of(anyhow::anyhow!("the store does not answer")), None);
    }
}
