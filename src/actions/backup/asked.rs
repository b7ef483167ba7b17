//! Something is asked for by an object, and waited for until whoever does it says how it ended.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::{
    Resource, ResourceExt,
    api::PostParams,
    core::{NamespaceResourceScope, ObjectMeta},
};

use super::CameToNothing;
use crate::{
    cluster::{Cluster, Object, Refused},
    inside::backup::objects::{Backup, Common, Into, Phase, Restore},
    labels::Component,
    run::{StepCx, advice::Trouble, wait::Look},
};

/// How long it may take. Who wants to wait for less says so by `--timeout`; it goes on in the lab in any case.
const LIMIT: Duration = Duration::from_hours(6);
const EVERY: Duration = Duration::from_millis(250);

/// What can be asked for.
pub(super) trait Asked: Object + Resource<Scope = NamespaceResourceScope> {
    /// What its name begins with.
    const NAME: &'static str;

    /// As in "the backup".
    fn what(&self) -> &'static str;
    fn common(&self) -> Option<&Common>;
}

impl Asked for Backup {
    const NAME: &'static str = "backup-";

    fn what(&self) -> &'static str {
        "the backup"
    }

    fn common(&self) -> Option<&Common> {
        self.status.as_ref().map(|status| &status.common)
    }
}

impl Asked for Restore {
    const NAME: &'static str = "restore-";

    fn what(&self) -> &'static str {
        match self.spec.into {
            Into::Lab => "the restore",
            Into::Scratch => "the proof",
        }
    }

    fn common(&self) -> Option<&Common> {
        self.status.as_ref().map(|status| &status.common)
    }
}

/// Asks for it under a name of its own, and waits until it is done.
///
/// # Errors
/// The API server refuses; or [`CameToNothing`].
pub(super) async fn ask<K: Asked>(cx: &StepCx, cluster: &Cluster, mut wanted: K) -> Result<K> {
    let labels = cluster.labels_of(Component::Backup);
    *wanted.meta_mut() =
        ObjectMeta { generate_name: Some(K::NAME.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    let (api, kind, what) = (cluster.api::<K>(), K::kind(&()), wanted.what());
    let made = api.create(&PostParams::default(), &wanted).await.map_err(Refused);
    let name = made.with_context(|| format!("cannot ask for {what}"))?.name_any();
    let done = cx.until(what, LIMIT, EVERY, || async {
        let object = match api.get_opt(&name).await {
            Ok(object) => object.with_context(|| format!("{kind} {name} was removed"))?,
            Err(error) => return Ok(Look::NotYet(Refused(error).to_string())),
        };
        let Common { phase, message, .. } = object.common().cloned().unwrap_or_default();
        Ok(match phase.is_over() {
            true => Look::Ready(object),
            false if message.is_empty() => Look::NotYet("nobody has begun".to_owned()),
            false => Look::NotYet(message),
        })
    });
    let object = done.await?;
    let common = object.common().cloned().unwrap_or_default();
    if common.phase == Phase::Complete {
        return Ok(object);
    }
    Err(Trouble::from(CameToNothing { lab: cluster.lab.clone(), what, why: common.message }).into())
}
