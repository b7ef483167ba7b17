//! The steady state: what must hold before a lab is broken, and again afterwards.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use super::ground::{Ground, SYSTEM};
use crate::{
    actions::{
        prove,
        smoke::{
            self,
            browser::{Browser, Door},
        },
        status::{self, StatusReport},
    },
    cluster::{Refused, ready},
    run::{
        StepCx,
        wait::{Look, TimedOut},
    },
    spec::scenario::{Steady, Target},
};

/// What Kubernetes brings itself and drills take down.
const SYSTEM_PARTS: [Target; 2] = [Target::Coredns, Target::MetricsServer];

const EVERY: Duration = Duration::from_secs(1);
/// How long the front page may take.
const PAGE: Duration = Duration::from_secs(10);

/// Waits until a lab is steady: how long that took, or what is lacking, because a check fails or the time is over.
///
/// # Errors
/// The lab cannot be looked at.
pub(super) async fn reach(
    cx: &StepCx,
    ground: &Ground,
    wanted: Steady,
    limit: Duration,
) -> Result<Result<Duration, String>> {
    let begin = Instant::now();
    let (browser, door) = (Browser::new(&ground.site.url)?, smoke::front_door(&ground.site.url).await?);
    let steady = cx.until("the steady state", limit, EVERY, || async {
        Ok(match look(ground, &browser, &door).await {
            Ok(()) => Look::Ready(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    });
    if let Err(error) = steady.await {
        let late = error.downcast_ref::<TimedOut>().map(|late| format!("not all is well in time: {}", late.last));
        return late.map(Err).ok_or(error);
    }
    let took = begin.elapsed();
    if wanted == Steady::Checks {
        let proof = prove::checked(cx.clone(), &ground.docker, &ground.cluster, &ground.spec, &ground.site).await?;
        if let Some(failed) = proof.value().checks.iter().find(|check| !check.passed()) {
            return Ok(Err(format!("a check fails: {}", failed.sentence)));
        }
    }
    Ok(Ok(took))
}

async fn look(ground: &Ground, browser: &Browser, door: &Door) -> Result<()> {
    let seen = status::status(ground.lab()).await?;
    ensure!(seen.healthy(), lacks(&seen));
    for deployment in SYSTEM_PARTS {
        let api: Api<Deployment> = ground.cluster.api_in(SYSTEM);
        let there = api.get_opt(deployment.name()).await.map_err(Refused)?;
        if let Look::NotYet(why) = ready::deployment(there.as_ref()) {
            bail!("{deployment}: {why}");
        }
    }
    let page = tokio::time::timeout(PAGE, browser.get(door, "/")).await??;
    ensure!(page.status == 200, "the site answers {}", page.status);
    Ok(())
}

/// What a lab lacks, in a few words.
fn lacks(seen: &StatusReport) -> String {
    let node = seen.nodes.iter().find(|node| !node.ready).map(|node| format!("{}: {}", node.name, node.detail));
    let wrong = || seen.wrong.first().map(ToString::to_string);
    let unknown = || seen.unknown.first().map(|unknown| format!("{}: {}", unknown.what, unknown.why));
    let etcd =
        || seen.etcd.iter().find(|member| !member.healthy).map(|member| format!("{}: {}", member.name, member.state));
    let replicas = || {
        let (ready, wanted) = (seen.replicas.ready, seen.replicas.wanted);
        (ready < wanted || wanted == 0).then(|| format!("{ready} of {wanted} replicas of the site are ready"))
    };
    let volume = || match &seen.volume {
        Some(volume) if volume.phase != "Bound" => Some(format!("volume {} is {}", volume.claim, volume.phase)),
        Some(volume) => volume.unserved.as_ref().map(|why| format!("the file server: {why}")),
        None => Some("the shared volume is not there".to_owned()),
    };
    node.or_else(unknown)
        .or_else(wrong)
        .or_else(etcd)
        .or_else(replicas)
        .or_else(volume)
        .unwrap_or_else(|| "the autoscaler has no metric".to_owned())
}
