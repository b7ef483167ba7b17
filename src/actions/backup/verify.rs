//! A backup is proven by using it: loaded into a server beside the lab, and compared with what it says, row by row and file by file.
//! What came of that is beside it in its store from then on.

use anyhow::Result;
use serde::Serialize;

use super::restore::{Found, Wanted, find, into};
use crate::{
    actions::{prove, standing},
    host::{lock::LabLock, machine::doctor},
    inside::backup::objects::{Into, RestoreStatus},
    run::{Run, Stepped, advice::Trouble, event::StepId},
    spec::LabName,
    wire::backup::{Unusable, manifest::BackupId, verified::Verified},
};

/// A backup that was proven.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Proven {
    /// The backup.
    pub id: BackupId,
    /// The lab that it is of.
    pub of: LabName,
    /// Tables that were compared with what the backup says.
    pub tables: u64,
    /// Rows that were.
    pub rows: u64,
    /// Files that were.
    pub files: u64,
    /// How long loading and reading took, in seconds: a restore takes about as long.
    pub seconds: f64,
}

/// Proves a backup, beside a lab that runs. Nothing of the lab is touched.
///
/// # Errors
/// [`standing::NoSuchLab`], [`standing::Paused`], [`standing::Stopped`]; the backup is damaged, or cannot be used ([`Unusable`]); or
/// [`super::CameToNothing`], which says nothing of the backup.
pub async fn verify(run: &Run, lab: &LabName, wanted: &Wanted) -> Result<Proven> {
    run.step(StepId::Verify, async |cx| {
        let host = doctor::engine(None).await?;
        standing::find(&host.docker, lab).await?;
        let lock = LabLock::take(&cx, lab).await?;
        let cluster = standing::open(lab).await?;
        let (spec, images) = (cluster.lab_file().await?, prove::images_of(&cluster).await?);
        let found = find(&cx, &host, &spec, wanted).await?;
        let (shelf, id) = (found.shelf(), &found.manifest.id);
        let before = shelf.verdict(id).await?;
        let done = into(&cx, &host, &cluster, &spec, &images, &found, Into::Scratch).await;
        drop(lock);
        let done = match done {
            Ok(done) => done,
            Err(error) => return Err(told(id, error, before, shelf.verdict(id).await?)),
        };
        let proven = proven(&found, &done);
        let detail = format!("{id}: {} rows of {} tables, {} files", proven.rows, proven.tables, proven.files);
        Ok(Stepped::done(proven, detail))
    })
    .await
}

fn proven(found: &Found, done: &RestoreStatus) -> Proven {
    Proven {
        id: found.manifest.id.clone(),
        of: found.manifest.lab.name.clone(),
        tables: done.tables.unwrap_or_default(),
        rows: done.rows.unwrap_or_default(),
        files: done.files.unwrap_or_default(),
        seconds: done.seconds.unwrap_or_default(),
    }
}

/// Where the runner has written down meanwhile that the backup is damaged, that is what is wrong.
fn told(id: &BackupId, error: anyhow::Error, before: Option<Verified>, after: Option<Verified>) -> anyhow::Error {
    match after.filter(|after| before.as_ref() != Some(after)).and_then(|after| after.wrong) {
        Some(how) => Trouble::from(Unusable::Damaged { id: id.to_string(), how }).into(),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::advice::find;

    #[test]
    fn damage_is_told_only_when_this_proof_has_found_it() {
        let id = BackupId::new("20261130T113000Z-4f2a").expect("a name");
        let marked = |second: u32, wrong: Option<&str>| {
            let at = format!("2026-11-30T12:00:{second:02}Z").parse().expect("a time");
            Some(Verified { at, wrong: wrong.map(str::to_owned), seconds: 1.0, by: String::new() })
        };
        let said = |before, after| told(&id, anyhow::anyhow!("its pod ended"), before, after);
        let damaged = said(marked(1, None), marked(2, Some("wp_posts has other rows")));
        assert!(matches!(find(&damaged), Some(Unusable::Damaged { how, .. }) if how == "wp_posts has other rows"));
        for (before, after) in [
            (None, None),
            (marked(1, Some("index.00000 is missing")), marked(1, Some("index.00000 is missing"))),
            (marked(1, None), marked(2, None)),
        ] {
            assert_eq!(said(before, after).to_string(), "its pod ended");
        }
    }
}
