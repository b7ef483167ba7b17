//! The steady state: what must hold before a lab is broken, and again afterwards.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::ground::Ground;
use crate::{
    actions::{
        prove,
        smoke::{
            self,
            browser::{Browser, Door},
        },
        status::{self, StatusReport},
    },
    run::{StepCx, wait::Look},
    spec::scenario::Steady,
};

const EVERY: Duration = Duration::from_secs(1);
/// How long the front page may take.
const PAGE: Duration = Duration::from_secs(10);

/// Waits until a lab is steady; says how long that took.
///
/// # Errors
/// It is not in time, with the last reason; or a check fails.
pub(super) async fn reach(cx: &StepCx, ground: &Ground, wanted: Steady, limit: Duration) -> Result<Duration> {
    let begin = Instant::now();
    let (browser, door) = (Browser::new(&ground.site.url)?, smoke::front_door(&ground.site.url).await?);
    cx.until("the steady state", limit, EVERY, || async {
        Ok(match look(ground, &browser, &door).await {
            Ok(()) => Look::Ready(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await?;
    let took = begin.elapsed();
    if wanted == Steady::Checks {
        let proof = prove::checked(cx.clone(), &ground.docker, &ground.cluster, &ground.spec, &ground.site).await?;
        let failed = proof.value().checks.iter().find(|check| !check.passed());
        ensure!(failed.is_none(), "a check fails: {}", failed.map(|check| check.sentence.as_str()).unwrap_or_default());
    }
    Ok(took)
}

async fn look(ground: &Ground, browser: &Browser, door: &Door) -> Result<()> {
    let seen = status::status(ground.lab()).await?;
    ensure!(seen.healthy(), lacks(&seen));
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
    node.or_else(unknown)
        .or_else(wrong)
        .or_else(etcd)
        .or_else(replicas)
        .unwrap_or_else(|| "the autoscaler has no metric".to_owned())
}
