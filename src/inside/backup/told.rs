//! What the runner says in object `Database`: when the newest backup was made, and whether what was asked for is done. What the members are
//! is the operator's to say there.

use anyhow::Result;
use jiff::{Timestamp, ToSpan};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

use super::{ArchiveStatus, MANAGER, Runner};
use crate::{
    inside::kinds::{ARCHIVE_CONTINUOUS, BACKUPS_CURRENT, DATABASE, Database, condition, since},
    spec::backup::Schedule,
};

/// How long after it was due a backup may take to be there.
const GRACE: i64 = 10;
/// How far behind an archive may be, in seconds.
const LATE: f64 = 120.0;

/// Says it, unless it stands there already. A lab of a version that declared nothing has no such object.
///
/// # Errors
/// The API server refuses or does not answer.
pub(super) async fn tell(runner: &Runner, schedule: &Schedule, begun: Timestamp, now: Timestamp) -> Result<()> {
    let Some(database) = runner.cluster.get::<Database>(DATABASE).await? else { return Ok(()) };
    let (before, last) = (database.status.unwrap_or_default(), runner.figures.last_backup());
    let mut seen = conditions(schedule, last, runner.archive.status().as_ref(), begun, now);
    if !runner.archive.has_looked() {
        // What the last life said holds until this one knows better.
        seen.extend(before.conditions.iter().find(|one| one.type_ == ARCHIVE_CONTINUOUS).cloned());
    }
    let conditions: Vec<Condition> = seen.into_iter().map(|one| since(one, &before.conditions)).collect();
    let last = last.map(|last| last.strftime("%FT%TZ").to_string());
    let stands =
        before.conditions.iter().filter(|one| [BACKUPS_CURRENT, ARCHIVE_CONTINUOUS].contains(&one.type_.as_str()));
    if before.last_backup == last && stands.cloned().collect::<Vec<_>>() == conditions {
        return Ok(());
    }
    let status: Value = json!({ "lastBackup": last, "conditions": conditions });
    runner.cluster.tell::<Database>(DATABASE, MANAGER, &status).await
}

/// One for each thing that is asked for at all.
fn conditions(
    schedule: &Schedule,
    last: Option<Timestamp>,
    archive: Option<&ArchiveStatus>,
    begun: Timestamp,
    now: Timestamp,
) -> Vec<Condition> {
    let backups = (!schedule.is_never()).then(|| match schedule.due(last.unwrap_or(begun), now - GRACE.minutes()) {
        None => condition(BACKUPS_CURRENT, true, "AsScheduled", "", None),
        Some(due) => condition(BACKUPS_CURRENT, false, "Missed", &format!("none was made since {due}"), None),
    });
    let archive = archive.map(|archive| match (archive.gap.as_str(), archive.lag(now)) {
        ("", Some(lag)) if lag <= LATE => condition(ARCHIVE_CONTINUOUS, true, "Continuous", "", None),
        ("", _) => condition(ARCHIVE_CONTINUOUS, false, "Behind", &archive.waits, None),
        (gap, _) => {
            let why = format!("the servers had removed {gap} before it was archived");
            condition(ARCHIVE_CONTINUOUS, false, "Gap", &why, None)
        }
    });
    backups.into_iter().chain(archive).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_held_against_what_was_done() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let nightly = Schedule::new("30 3 * * *").expect("a schedule");
        let of = |schedule: &Schedule, last: Option<&str>, archive: Option<ArchiveStatus>, now: &str| {
            let seen = conditions(schedule, last.map(at), archive.as_ref(), at("2026-11-29T12:00:00Z"), at(now));
            seen.into_iter().map(|one| (one.type_, one.status, one.reason)).collect::<Vec<_>>()
        };
        let is = |kind: &str, yes: &str, reason: &str| (kind.to_owned(), yes.to_owned(), reason.to_owned());
        assert_eq!(of(&Schedule::default(), None, None, "2026-11-30T12:00:00Z"), []);
        let (current, missed) = (is(BACKUPS_CURRENT, "True", "AsScheduled"), is(BACKUPS_CURRENT, "False", "Missed"));
        assert_eq!(of(&nightly, None, None, "2026-11-30T03:39:00Z"), std::slice::from_ref(&current));
        assert_eq!(of(&nightly, None, None, "2026-11-30T03:41:00Z"), [missed]);
        assert_eq!(of(&nightly, Some("2026-11-30T03:31:00Z"), None, "2026-11-30T12:00:00Z"), [current]);
        let archive = |gap: &str, reached: &str| ArchiveStatus {
            gap: gap.to_owned(),
            reached: Some(at(reached)),
            ..ArchiveStatus::default()
        };
        for (gap, reached, yes, reason) in [
            ("", "2026-11-30T11:59:00Z", "True", "Continuous"),
            ("", "2026-11-30T11:50:00Z", "False", "Behind"),
            ("x:1-3", "2026-11-30T11:59:00Z", "False", "Gap"),
        ] {
            let seen = of(&Schedule::default(), None, Some(archive(gap, reached)), "2026-11-30T12:00:00Z");
            assert_eq!(seen, [is(ARCHIVE_CONTINUOUS, yes, reason)]);
        }
    }
}
