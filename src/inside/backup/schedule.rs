//! Asks for what is due: a backup by the lab's schedule, and its proof. What was missed while nobody was here is made up for once.
//! Names are those of the moments at which things were due, so that nothing is asked for twice, whoever asks.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    core::{NamespaceResourceScope, ObjectMeta},
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    MANAGER, Runner, lab,
    objects::{
        Backup, BackupSchedule, BackupScheduleSpec, BackupScheduleStatus, BackupSpec, DUE, Into, Phase, Restore,
        RestoreSpec, SCHEDULE,
    },
    shelf, told,
};
use crate::{
    cluster::{Object, Refused, gone},
    inside::log,
    labels::Component,
    spec::backup::{Keep, Schedule},
    wire::backup::{
        manifest::{BackupId, Manifest},
        shelf::Shelf,
    },
};

/// How often the clock is looked at; schedules know no seconds.
const EVERY: Duration = Duration::from_secs(5);
/// How many objects that are over are left for people to look at, of those that a schedule asked for.
const LEFT: usize = 10;

/// Asks for what is due; never ends.
pub(super) async fn run(runner: Arc<Runner>) {
    let begun = Timestamp::now();
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut read) = (String::new(), false);
    loop {
        beat.tick().await;
        if !read {
            let known = async { runner.figures.read(&shelf(&lab()?.name)?).await };
            read = known.await.is_ok();
        }
        let trouble = match turn(&runner, begun).await {
            Ok(()) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        if trouble != told && !trouble.is_empty() {
            log(&format!("cannot ask for what is due: {trouble}"));
        }
        told = trouble;
    }
}

async fn turn(runner: &Runner, begun: Timestamp) -> Result<()> {
    let now = Timestamp::now();
    let Some(object) = runner.cluster.get::<BackupSchedule>(SCHEDULE).await? else { return Ok(()) };
    let read = Rules::read(&object.spec);
    tell(runner, &object, &read, now).await?;
    let rules = read.map_err(anyhow::Error::msg)?;
    told::tell(runner, &rules.schedule, begun, now).await?;
    if rules.suspended {
        return Ok(());
    }
    let name = lab()?.name;
    if let Some(due) = due_of::<Backup>(runner, &rules.schedule, begun, now).await? {
        let wanted = Backup::new("", BackupSpec { scheduled: true });
        ask(runner, wanted, "scheduled", due).await?;
        // What was made goes with its backup.
        tidy(runner, |one: &Backup| one.status.as_ref().is_some_and(|status| status.common.phase == Phase::Failed))
            .await?;
    }
    if let Some(due) = due_of::<Restore>(runner, &rules.verify, begun, now).await? {
        // Nobody proves what is not there; the next time comes.
        let Some(newest) = shelf(&name)?.list().await?.backups.pop() else { return Ok(()) };
        let wanted = RestoreSpec {
            backup: newest.id.to_string(),
            lab: None,
            destination: None,
            into: Into::Scratch,
            until: None,
            key_secret: None,
        };
        ask(runner, Restore::new("", wanted), "verify", due).await?;
        // What was found out stands beside the backup.
        tidy(runner, |one: &Restore| one.status.as_ref().is_some_and(|status| status.common.phase.is_over())).await?;
    }
    Ok(())
}

/// What the lab's schedule says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    schedule: Schedule,
    verify: Schedule,
    /// Which of those that it made are kept.
    pub(super) keep: Keep,
    suspended: bool,
}

impl Rules {
    /// The inner error names each field that cannot be read.
    fn read(spec: &BackupScheduleSpec) -> Result<Rules, String> {
        let (schedule, verify) = (Schedule::new(&spec.schedule), Schedule::new(&spec.verify));
        match (schedule, verify, Keep::new(&spec.keep)) {
            (Ok(schedule), Ok(verify), Ok(keep)) => {
                Ok(Rules { schedule, verify, keep, suspended: spec.suspend.unwrap_or_default() })
            }
            (schedule, verify, keep) => {
                let wrong = [("schedule", schedule.err()), ("verify", verify.err()), ("keep", keep.err())];
                let wrong = wrong.into_iter().filter_map(|(field, why)| Some(format!("{field}: {}", why?)));
                Err(wrong.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// Which of the backups that a schedule made are kept; all of them where nobody says it.
///
/// # Errors
/// The API server does not answer, or the rule cannot be read.
pub(super) async fn kept(runner: &Runner) -> Result<Keep> {
    let Some(object) = runner.cluster.get::<BackupSchedule>(SCHEDULE).await? else { return Ok(Keep::default()) };
    Ok(Rules::read(&object.spec).map_err(anyhow::Error::msg)?.keep)
}

/// Says in the schedule's status when the next backup is due, or what is wrong with it.
async fn tell(runner: &Runner, object: &BackupSchedule, read: &Result<Rules, String>, now: Timestamp) -> Result<()> {
    let next = read.as_ref().ok().filter(|rules| !rules.suspended).and_then(|rules| rules.schedule.after(now));
    let status = BackupScheduleStatus {
        observed_generation: object.metadata.generation,
        next: next.map(|next| next.to_string()),
        message: read.as_ref().err().cloned().unwrap_or_default(),
    };
    if object.status.as_ref() == Some(&status) {
        return Ok(());
    }
    runner.cluster.tell::<BackupSchedule>(SCHEDULE, MANAGER, &status).await
}

/// The moment at which something was due last and that nobody has asked for yet.
async fn due_of<K>(runner: &Runner, schedule: &Schedule, begun: Timestamp, now: Timestamp) -> Result<Option<Timestamp>>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    if schedule.is_never() {
        return Ok(None);
    }
    let asked = all::<K>(runner).await?.iter().filter_map(due).max();
    Ok(schedule.due(asked.unwrap_or(begun), now))
}

/// All objects of a kind.
async fn all<K>(runner: &Runner) -> Result<Vec<K>>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    let all = runner.cluster.api::<K>().list(&ListParams::default()).await;
    Ok(all.map_err(Refused).with_context(|| format!("cannot list the {}s", K::kind(&())))?.items)
}

/// When something was due that a schedule asked for.
fn due<K: Resource>(one: &K) -> Option<Timestamp> {
    one.annotations().get(DUE)?.parse().ok()
}

/// Asks for a backup of what a restore has left: what follows is archived from there on.
///
/// # Errors
/// The API server refuses.
pub(super) async fn ask_after(runner: &Runner, restore: &str) -> Result<()> {
    create(runner, Backup::new("", BackupSpec::default()), &format!("after-{restore}"), None).await
}

/// Asks for something that was due at a moment, unless somebody has.
async fn ask<K>(runner: &Runner, wanted: K, what: &str, due: Timestamp) -> Result<()>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    create(runner, wanted, &format!("{what}-{}", due.strftime("%Y%m%dt%H%Mz")), Some(due)).await
}

async fn create<K>(runner: &Runner, mut wanted: K, name: &str, due: Option<Timestamp>) -> Result<()>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    *wanted.meta_mut() = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(runner.cluster.labels_of(Component::Backup)),
        annotations: due.map(|due| [(DUE.to_owned(), due.to_string())].into()),
        ..ObjectMeta::default()
    };
    match runner.cluster.api::<K>().create(&PostParams::default(), &wanted).await {
        Ok(_) => log(&format!("{name} is asked for")),
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(Refused(error)).with_context(|| format!("cannot ask for {name}")),
    }
    Ok(())
}

/// Removes objects that a schedule asked for and that nobody needs any more, but for the newest.
async fn tidy<K>(runner: &Runner, is_over: impl Fn(&K) -> bool) -> Result<()>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    let all = all::<K>(runner).await?;
    for name in old(all.iter().filter(|one| is_over(one))) {
        let removed = runner.cluster.api::<K>().delete(&name, &DeleteParams::default()).await;
        gone(removed).with_context(|| format!("cannot remove {} {name}", K::kind(&())))?;
    }
    Ok(())
}

/// Those that a schedule asked for, by when they were due, without the newest.
fn old<'a, K: Resource + 'a>(over: impl Iterator<Item = &'a K>) -> Vec<String> {
    let mut names: Vec<_> = over.filter_map(|one| Some((due(one)?, one.name_any()))).collect();
    names.sort_unstable_by(|one, other| other.cmp(one));
    names.into_iter().skip(LEFT).map(|(_, name)| name).collect()
}

/// Removes the scheduled backups that the lab's rule does not keep, and the objects that asked for them. The newest one that was
/// proven stays whatever the rule says.
///
/// # Errors
/// The store does not let one go, or the API server an object.
pub(super) async fn prune(runner: &Runner, shelf: &Shelf, keep: Keep) -> Result<()> {
    let found = shelf.list().await?;
    let proven = newest_proven(shelf, &found.backups).await?;
    for id in superfluous(&found.backups, keep, proven.as_ref()) {
        shelf.remove(&id).await?;
        log(&format!("removed backup {id}, which is not kept any longer"));
        let api = runner.cluster.api::<Backup>();
        let of_it =
            |object: &&Backup| object.status.as_ref().and_then(|status| status.id.as_deref()) == Some(id.as_str());
        for object in all::<Backup>(runner).await?.iter().filter(of_it) {
            gone(api.delete(&object.name_any(), &DeleteParams::default()).await).context("cannot remove a Backup")?;
        }
    }
    Ok(())
}

/// The newest backup that was proven to be good.
async fn newest_proven(shelf: &Shelf, backups: &[Manifest]) -> Result<Option<BackupId>> {
    for backup in backups.iter().rev() {
        if shelf.verdict(&backup.id).await?.is_some_and(|verdict| verdict.wrong.is_none()) {
            return Ok(Some(backup.id.clone()));
        }
    }
    Ok(None)
}

/// Which of a lab's backups are not kept.
fn superfluous(backups: &[Manifest], keep: Keep, proven: Option<&BackupId>) -> Vec<BackupId> {
    let scheduled: Vec<&Manifest> = backups.iter().filter(|backup| backup.scheduled).collect();
    let begun: Vec<Timestamp> = scheduled.iter().map(|backup| backup.begun).collect();
    let gone = keep.superfluous(&begun);
    let go = scheduled.into_iter().filter(|backup| gone.contains(&backup.begun) && Some(&backup.id) != proven);
    go.map(|backup| backup.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn everything_that_is_wrong_with_a_schedule_is_told_at_once() {
        let spec = |schedule: &str, keep: &str, verify: &str| BackupScheduleSpec {
            schedule: schedule.to_owned(),
            keep: keep.to_owned(),
            verify: verify.to_owned(),
            suspend: Some(true),
        };
        let rules = Rules::read(&spec("30 3 * * *", "7 daily", "never")).expect("rules");
        assert!(rules.suspended && !rules.schedule.is_never() && rules.verify.is_never());
        let told = Rules::read(&spec("nightly", "some", "never")).expect_err("wrong");
        assert!(
            told.starts_with("schedule: \"nightly\" is no schedule") && told.contains("; keep: \"some\""),
            "{told}"
        );
    }

    #[test]
    fn the_newest_of_what_a_schedule_asked_for_are_left() {
        let asked = |minute: usize| {
            let mut object = Backup::new(&format!("scheduled-{minute:02}"), BackupSpec { scheduled: true });
            object.annotations_mut().insert(DUE.to_owned(), format!("2026-11-30T12:{minute:02}:00Z"));
            object
        };
        let mut all: Vec<Backup> = (0..LEFT + 2).rev().map(asked).collect();
        all.push(Backup::new("by-hand", BackupSpec::default()));
        assert_eq!(old(all.iter()), ["scheduled-01", "scheduled-00"]);
        assert_eq!(old(all.iter().take(LEFT)), Vec::<String>::new());
    }

    /// A year of nights, with the rule applied after each: what is there at its end.
    #[test]
    fn a_year_of_nights_leaves_what_the_rule_says() {
        let nightly = Schedule::new("30 3 * * *").expect("a schedule");
        let keep = Keep::new("7 daily, 4 weekly, 12 monthly").expect("a rule");
        let (mut there, mut now) = (Vec::<Timestamp>::new(), at("2026-01-01T00:00:00Z"));
        for _ in 0..365 {
            now = nightly.after(now).expect("another night");
            there.push(now);
            let gone = keep.superfluous(&there);
            there.retain(|moment| !gone.contains(moment));
        }
        let days: Vec<String> = there.iter().map(|moment| moment.strftime("%m-%d").to_string()).collect();
        assert_eq!(
            days,
            [
                "01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30",
                "12-13", "12-20", "12-25", "12-26", "12-27", "12-28", "12-29", "12-30", "12-31"
            ]
        );
    }
}
