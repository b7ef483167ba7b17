//! What became of the lab's schedules: when something was done last and is due next, and what was missed or came to nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{Timestamp, ToSpan};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{ResourceExt, api::ListParams};
use serde::Serialize;

use super::asked::Asked;
use crate::{
    actions::smoke::check::Check,
    cluster::{Cluster, Refused},
    inside::backup::{
        ArchiveStatus, HTTP_PORT,
        objects::{Backup, BackupSchedule, Common, DUE, Phase, Restore, SCHEDULE},
    },
    labels::{COMPONENT, Component},
    parts::backup,
    run::advice::Hint,
    spec::{
        LabSpec,
        backup::{BackupSpec, Keep, Schedule},
    },
};

/// How long after it was due something may be begun: the runner's node may have been lost.
const GRACE: i64 = 10;
/// How far behind an archive may be.
const LATE: Duration = Duration::from_mins(2);

/// Backups of a lab, as far as the lab itself knows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Runs {
    /// What the lab file asks for.
    #[serde(flatten)]
    pub asked: BackupSpec,
    /// Whether nothing of that is done at the moment.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// When the newest backup that the lab knows of was asked for, by a schedule or by hand, and its name in the store.
    pub last: Option<(Timestamp, String)>,
    /// When the next one is due.
    pub next: Option<Timestamp>,
    /// How far the archive of what is written after a backup is, where there is one.
    pub archive: Option<ArchiveStatus>,
    /// What was missed or came to nothing.
    pub wrong: Vec<String>,
}

/// Something that a schedule asked for.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    due: Timestamp,
    common: Common,
}

impl Run {
    fn all<K: Asked>(objects: &[K]) -> Vec<Run> {
        let run = |object: &K| {
            let due = object.annotations().get(DUE)?.parse().ok()?;
            Some(Run { due, common: object.common().cloned().unwrap_or_default() })
        };
        objects.iter().filter_map(run).collect()
    }
}

/// Looks at what the schedules of a lab have asked for; `None` in a lab without a runner.
///
/// # Errors
/// The API server does not answer.
pub(in crate::actions) async fn look(cluster: &Cluster, spec: &LabSpec) -> Result<Option<Runs>> {
    let Some(runner) = cluster.get::<Deployment>(backup::RUNNER).await? else { return Ok(None) };
    let since = runner.metadata.creation_timestamp.context("the runner has no age")?.0;
    let (backups, proofs) = (all::<Backup>(cluster).await?, all::<Restore>(cluster).await?);
    let (asked, suspended) = asked(cluster, spec).await?;
    let now = Timestamp::now();
    let mut wrong = Vec::new();
    if !suspended {
        wrong.extend(self::wrong("backup", &asked.schedule, &Run::all(&backups), since, now));
        wrong.extend(self::wrong("proof", &asked.verify, &Run::all(&proofs), since, now));
    }
    let archive = if asked.archive.is_on() { Some(archive(cluster).await?) } else { None };
    if let Some(archive) = &archive {
        wrong.extend(not_archived(archive, now));
    }
    let newest = backups.iter().filter_map(|object| {
        let status = object.status.as_ref().filter(|status| status.common.phase == Phase::Complete)?;
        Some((object.metadata.creation_timestamp.as_ref()?.0, status.id.clone()?))
    });
    let (last, next) = (newest.max(), asked.schedule.after(now).filter(|_| !suspended));
    Ok(Some(Runs { asked, suspended, last, next, archive, wrong }))
}

/// What is asked for at this moment, and whether that is suspended: object `BackupSchedule` goes before the lab file, which may have been
/// changed by others since.
///
/// # Errors
/// The API server does not answer; or nobody can read what is asked for there.
pub(super) async fn asked(cluster: &Cluster, spec: &LabSpec) -> Result<(BackupSpec, bool)> {
    let mut asked = spec.backup.clone();
    // A cluster that knows no such kind answers as if there were none.
    let Some(object) = cluster.get::<BackupSchedule>(SCHEDULE).await? else { return Ok((asked, false)) };
    let read = |text: &str| Schedule::new(text).map_err(anyhow::Error::msg).context("BackupSchedule lab");
    (asked.schedule, asked.verify) = (read(&object.spec.schedule)?, read(&object.spec.verify)?);
    asked.keep = Keep::new(&object.spec.keep).map_err(anyhow::Error::msg).context("BackupSchedule lab")?;
    Ok((asked, object.spec.suspend.unwrap_or_default()))
}

/// What the runner says of its archive.
async fn archive(cluster: &Cluster) -> Result<ArchiveStatus> {
    let pods = cluster.pods(&format!("{COMPONENT}={},!app.kubernetes.io/name", Component::Backup.as_str())).await?;
    let runner = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).context("the runner has no pod")?;
    let text = cluster.pod_get(&runner.name_any(), HTTP_PORT, "/archive").await?;
    let status: Option<ArchiveStatus> = serde_json::from_str(&text).context("the runner is not understood")?;
    Ok(status.unwrap_or_default())
}

/// What is wrong with an archive: it has holes, or is behind.
fn not_archived(archive: &ArchiveStatus, now: Timestamp) -> Vec<String> {
    let gap = &archive.gap;
    let hole = (!gap.is_empty())
        .then(|| format!("the servers had removed {gap} before it was archived; the next backup begins anew"));
    let behind = match archive.lag(now) {
        Some(lag) if lag <= LATE.as_secs_f64() => None,
        Some(lag) => Some(format!("the archive is {lag:.0} s behind: {}", archive.waits)),
        None if archive.waits.is_empty() => None,
        None => Some(format!("nothing is archived: {}", archive.waits)),
    };
    hole.into_iter().chain(behind).collect()
}

async fn all<K: Asked>(cluster: &Cluster) -> Result<Vec<K>> {
    let found = cluster.api::<K>().list(&ListParams::default()).await.map_err(Refused);
    Ok(found.with_context(|| format!("cannot list the {}s", K::kind(&())))?.items)
}

/// What is wrong with what a schedule asked for: the last of it came to nothing, or something later was missed.
fn wrong(what: &str, schedule: &Schedule, runs: &[Run], since: Timestamp, now: Timestamp) -> Vec<String> {
    if schedule.is_never() {
        return Vec::new();
    }
    let last = runs.iter().max_by_key(|run| run.due);
    let failed = last.filter(|run| run.common.phase == Phase::Failed);
    let failed =
        failed.map(|run| format!("the {what} that was due at {} came to nothing: {}", run.due, run.common.message));
    let next = schedule.after(last.map_or(since, |run| run.due));
    let missed = next.filter(|next| *next + GRACE.minutes() < now);
    let missed = missed.map(|due| format!("the {what} that was due at {due} was not begun"));
    failed.into_iter().chain(missed).collect()
}

/// Whether the schedules keep their word, where there are any.
pub(in crate::actions) fn checks<'a>(cluster: &'a Cluster, spec: &'a LabSpec) -> Vec<Check<'a>> {
    if spec.backup.schedule.is_never() && spec.backup.verify.is_never() {
        return Vec::new();
    }
    let hints = [Hint::Logs { lab: cluster.lab.clone(), of: Some("backup") }];
    let look = move || async move {
        let runs = look(cluster, spec).await?.context("there is no runner of backups")?;
        ensure!(runs.wrong.is_empty(), "{}", runs.wrong.join("; "));
        Ok(match (&runs.last, runs.next) {
            (Some((at, id)), _) => format!("the newest one is {id} of {at}"),
            (None, Some(next)) => format!("the first one is due at {next}"),
            (None, None) => "none is due".to_owned(),
        })
    };
    vec![Check::new("backups", "backups", "what the schedule asked for was done", Duration::from_secs(15), hints, look)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_or_failed_is_told_and_what_is_late_is_given_its_time() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let nightly = Schedule::new("30 3 * * *").expect("a schedule");
        let run = |due: &str, phase: Phase| Run {
            due: at(due),
            common: Common { phase, message: "the store is full".to_owned(), ..Common::default() },
        };
        let told = |runs: &[Run], now| wrong("backup", &nightly, runs, at("2026-11-29T12:00:00Z"), at(now));
        assert!(told(&[], "2026-11-30T03:39:00Z").is_empty());
        assert_eq!(
            told(&[], "2026-11-30T03:41:00Z"),
            ["the backup that was due at 2026-11-30T03:30:00Z was not begun"]
        );
        let good = run("2026-11-30T03:30:00Z", Phase::Complete);
        assert!(told(std::slice::from_ref(&good), "2026-11-30T23:00:00Z").is_empty());
        let bad = run("2026-12-01T03:30:00Z", Phase::Failed);
        let both = told(&[good, bad], "2026-12-02T12:00:00Z");
        assert_eq!(both.len(), 2, "{both:?}");
        assert!(both[0].ends_with("came to nothing: the store is full"), "{both:?}");
        assert!(
            wrong("backup", &Schedule::default(), &[], at("2026-11-29T12:00:00Z"), at("2027-11-29T12:00:00Z"))
                .is_empty()
        );
    }
}
