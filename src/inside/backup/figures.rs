//! What this pod measures, for Prometheus: when something was last done, and how far the archive is. What was done before this life of
//! the pod is read from the store.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use jiff::Timestamp;

use super::archive::ArchiveStatus;
use crate::{
    inside::figures::{Page, number},
    wire::backup::shelf::Shelf,
};

/// What was done when.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Done {
    backup: Option<Timestamp>,
    proof: Option<Timestamp>,
    failures: u64,
}

/// What was done when, and how often something came to nothing.
#[derive(Default)]
pub(super) struct Figures(Mutex<Done>);

impl Figures {
    fn change(&self, change: impl FnOnce(&mut Done)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A backup is there.
    pub(super) fn backup(&self, at: Timestamp) {
        self.change(|done| done.backup = done.backup.max(Some(at)));
    }

    /// When the newest backup was finished.
    pub(super) fn last_backup(&self) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).backup
    }

    /// A backup was proven to be good.
    pub(super) fn proof(&self, at: Timestamp) {
        self.change(|done| done.proof = done.proof.max(Some(at)));
    }

    /// Something that was asked for came to nothing.
    pub(super) fn failure(&self) {
        self.change(|done| done.failures += 1);
    }

    /// What the store says of the time before.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(super) async fn read(&self, shelf: &Shelf) -> Result<()> {
        for backup in shelf.list().await?.backups {
            self.backup(backup.finished);
            if let Some(verdict) = shelf.verdict(&backup.id).await?.filter(|verdict| verdict.wrong.is_none()) {
                self.proof(verdict.at);
            }
        }
        Ok(())
    }

    /// The text of `/metrics`.
    pub(super) fn text(&self, archive: Option<&ArchiveStatus>, now: Timestamp) -> String {
        let Done { backup, proof, failures } = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = |at: Timestamp| at.as_second().to_string();
        let mut page = Page::default();
        let last = "When the newest backup was finished, in seconds since 1970.";
        page.gauge("wplab_backup_last_success_timestamp_seconds", last, backup.map(moment));
        let proven = "When a backup was last proven to be good, in seconds since 1970.";
        page.gauge("wplab_backup_verified_timestamp_seconds", proven, proof.map(moment));
        let failed = "Backups, proofs and restores that came to nothing in this life of the runner.";
        page.add("wplab_backup_failures_total", "counter", failed, vec![(String::new(), failures.to_string())]);
        let lag = archive.and_then(|archive| archive.lag(now)).map(|lag| format!("{lag:.1}"));
        page.gauge("wplab_archive_lag_seconds", "Seconds since the archive last had all that the writer had.", lag);
        let gap = archive.map(|archive| number(!archive.gap.is_empty()));
        page.gauge(
            "wplab_archive_gap",
            "Whether something was removed from the servers' logs before it was archived.",
            gap,
        );
        page.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_told() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let figures = Figures::default();
        let text = figures.text(None, at(100));
        assert!(
            text.contains("wplab_backup_failures_total 0\n")
                && !text.contains("timestamp")
                && !text.contains("archive")
        );
        figures.backup(at(50));
        figures.backup(at(40));
        figures.failure();
        let archive = ArchiveStatus { reached: Some(at(97)), gap: "x:1".to_owned(), ..ArchiveStatus::default() };
        let text = figures.text(Some(&archive), at(100));
        for line in [
            "wplab_backup_last_success_timestamp_seconds 50",
            "wplab_backup_failures_total 1",
            "wplab_archive_lag_seconds 3.0",
            "wplab_archive_gap 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }
}
