//! Keeps the register in etcd up to date beside the member's loop, which must not stand still when etcd is silent: a
//! server that runs goes on, and its readiness with it.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::{
    sync::{Mutex, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    decide::{Beginning, Record, Snapshot},
    registry::Registry,
};

/// Time between two signs of life offered to the registry, which knows how often it needs one.
const EVERY: Duration = Duration::from_secs(1);
/// How long leaving may take; the record ends by itself soon after.
const LEAVING: Duration = Duration::from_secs(4);

/// What the register should say of a running server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The member's record.
    pub(super) record: Record,
    /// The cluster that it is part of, once it has everything.
    pub(super) cluster: Option<String>,
}

/// The way to the register.
pub(super) struct Reporter {
    registry: Arc<Mutex<Registry>>,
    wanted: watch::Sender<Option<Wanted>>,
    trouble: watch::Receiver<String>,
}

impl Reporter {
    /// Begins to work; it does until the process ends.
    pub(super) fn start(registry: Registry) -> Reporter {
        let registry = Arc::new(Mutex::new(registry));
        let (wanted, orders) = watch::channel(None);
        let (said, trouble) = watch::channel(String::new());
        tokio::spawn(work(registry.clone(), orders, said));
        Reporter { registry, wanted, trouble }
    }

    /// What the register is to say from now on; returns at once.
    pub(super) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|before| {
            let new = before.as_ref() != Some(&wanted);
            *before = Some(wanted);
            new
        });
    }

    /// Why the register does not say it; empty when it does.
    pub(super) fn trouble(&self) -> String {
        self.trouble.borrow().clone()
    }

    /// Says now what this member does while no server runs, or before one is started.
    ///
    /// # Errors
    /// etcd does not answer.
    pub(super) async fn publish(&self, record: &Record) -> Result<()> {
        // First the order, then the lock: an older order is not carried out after this.
        self.wanted.send_replace(None);
        self.registry.lock().await.publish(record).await
    }

    /// All that etcd holds.
    ///
    /// # Errors
    /// etcd does not answer.
    pub(super) async fn snapshot(&self) -> Result<Snapshot> {
        self.registry.lock().await.snapshot().await
    }

    /// Takes the right to start the cluster; `false` when something has changed since `seen`.
    ///
    /// # Errors
    /// etcd does not answer.
    pub(super) async fn claim(&self, seen: &Snapshot, record: &Record, beginning: Option<&Beginning>) -> Result<bool> {
        self.registry.lock().await.claim(seen, record, beginning).await
    }

    /// Removes this member's record.
    pub(super) async fn leave(&self) {
        self.wanted.send_replace(None);
        let leave = async { self.registry.lock().await.leave().await };
        match timeout(LEAVING, leave).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => crate::inside::log(&format!("{error:#}; the record ends by itself")),
            Err(_) => crate::inside::log("etcd does not answer; the record ends by itself"),
        }
    }
}

async fn work(
    registry: Arc<Mutex<Registry>>,
    mut orders: watch::Receiver<Option<Wanted>>,
    said: watch::Sender<String>,
) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut to_do = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            changed = orders.changed() => match changed {
                // Told at once, because others decide by it.
                Ok(()) => to_do = true,
                Err(_) => return,
            },
        }
        let mut registry = registry.lock().await;
        let wanted = orders.borrow().clone();
        let done = match wanted {
            Some(wanted) if to_do => tell(&mut registry, &wanted).await,
            _ => registry.beat().await,
        };
        to_do = to_do && done.is_err();
        let text = done.err().map(|error| format!("{error:#}")).unwrap_or_default();
        said.send_if_modified(|before| {
            let new = *before != text;
            *before = text;
            new
        });
    }
}

async fn tell(registry: &mut Registry, wanted: &Wanted) -> Result<()> {
    registry.publish(&wanted.record).await?;
    match &wanted.cluster {
        Some(uuid) => registry.established(uuid).await,
        None => Ok(()),
    }
}
