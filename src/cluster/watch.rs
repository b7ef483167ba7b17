//! Tells a wait that what it waits for has changed, so that it looks at once.

use std::{convert::Infallible, time::Duration};

use anyhow::Result;
use futures_util::StreamExt;
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        watcher::{Config, watcher},
    },
};
use tokio::sync::Notify;

use super::{Cluster, Object};
use crate::run::{StepCx, wait::Look};

/// How often a wait looks that is told of changes: what troubles a workload is in its pods, and nobody tells of those.
const EVERY: Duration = Duration::from_secs(1);

impl Cluster {
    /// Waits with a look that depends on one object: looks at every change of it, and now and then.
    ///
    /// # Errors
    /// [`crate::run::wait::TimedOut`] with the last reason; whatever a look returned.
    pub(super) async fn until_changed<K: Object, T, F>(
        &self,
        cx: &StepCx,
        what: &str,
        limit: Duration,
        (api, name): (&Api<K>, &str),
        look: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<Look<T>>>,
    {
        let wake = Notify::new();
        tokio::select! {
            found = cx.until_woken(what, limit, EVERY, &wake, look) => found,
            never = tell(api, name, &wake) => match never {},
        }
    }
}

/// Notifies at every change of an object. A watch that breaks begins again by itself.
async fn tell<K: Object>(api: &Api<K>, name: &str, wake: &Notify) -> Infallible {
    let only = Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = Box::pin(watcher(api.clone(), only).default_backoff());
    while changes.next().await.is_some() {
        wake.notify_one();
    }
    std::future::pending().await
}
