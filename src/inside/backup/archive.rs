//! What is written after a backup is archived beside it, as a replica would be sent it: so that a lab can be put back to any moment since.
//! Whoever is read from may change; what is archived already is never asked for again. The newest backup that stands at an exact
//! position is the one that is gone on from; what a restore has replaced is none.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use kube::api::ListParams;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Runner, lab,
    objects::{Into, Phase, Restore},
    shelf,
    source::{self, Source},
};
use crate::{
    cluster::Refused,
    inside::log,
    wire::{
        backup::{
            archive::{Contents, Reached, contains},
            manifest::Manifest,
            seal::Recipients,
            shelf::Shelf,
        },
        gtid::GtidSet,
        sql::logs::{History, Logs, Transaction},
    },
};

/// How often it is looked what there is to do.
const EVERY: Duration = Duration::from_secs(1);
/// How long something is in memory only, and how much.
const OPEN: Duration = Duration::from_secs(10);
const MOST: usize = 16 << 20;
/// How often it is asked what the writer has.
const ASKS: Duration = Duration::from_secs(5);
/// How soon it begins anew after something failed.
const AGAIN: Duration = Duration::from_secs(3);

/// How far the archive is, for people and for monitoring.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ArchiveStatus {
    /// The backup that it goes on from.
    pub base: Option<String>,
    /// Everything that was acknowledged before this moment is archived.
    pub reached: Option<Timestamp>,
    /// What the servers had removed before it was archived: what is missing from here on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gap: String,
    /// What it waits for, or what failed last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waits: String,
}

impl ArchiveStatus {
    /// Seconds since the archive last had all that the writer had.
    pub fn lag(&self, now: Timestamp) -> Option<f64> {
        self.reached.map(|reached| now.duration_since(reached).as_secs_f64().max(0.0))
    }
}

/// What the archive and the others of this pod know of each other.
#[derive(Default)]
pub(super) struct Archive {
    /// Nothing before it has looked for the first time in this life; then a status, if there is to be an archive.
    status: Mutex<Option<Option<ArchiveStatus>>>,
    /// Somebody restores.
    pub(super) rests: AtomicBool,
}

impl Archive {
    pub(super) fn status(&self) -> Option<ArchiveStatus> {
        self.said().clone().flatten()
    }

    /// Whether what it says is of this life already.
    pub(super) fn has_looked(&self) -> bool {
        self.said().is_some()
    }

    fn said(&self) -> MutexGuard<'_, Option<Option<ArchiveStatus>>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut ArchiveStatus)) {
        change(self.said().get_or_insert_default().get_or_insert_default());
    }

    fn off(&self) {
        *self.said() = Some(None);
    }
}

/// Archives for as long as the lab file asks for it; never ends.
pub(super) async fn run(runner: Arc<Runner>) {
    let mut told = String::new();
    let mut beat = interval(AGAIN);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let trouble = match turn(&runner).await {
            Ok(()) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        if !trouble.is_empty() {
            runner.archive.tell(|status| status.waits.clone_from(&trouble));
            if trouble != told {
                log(&format!("the archive: {trouble}"));
            }
        }
        told = trouble;
    }
}

/// From the backup that is to be gone on from to whatever ends this.
async fn turn(runner: &Runner) -> Result<()> {
    let spec = lab()?;
    if !spec.backup.archive.is_on() {
        runner.archive.off();
        return Ok(());
    }
    if runner.archive.rests.load(Ordering::Relaxed) {
        bail!("a backup is being restored");
    }
    let shelf = shelf(&spec.name)?;
    let base = base(runner, &shelf).await?.context("there is no backup yet to go on from")?;
    let to = Recipients::new(spec.backup.encrypt_for.keys()).map_err(anyhow::Error::msg)?;
    let pieces = shelf.pieces(&base.id).await?;
    let archived = contains(&base, &pieces)?;
    let Source { member, history, logs, gap } = source::find(runner, &archived, pieces.last()).await?;
    if !gap.is_empty() {
        log(&format!("{member} has removed from its logs what is not archived: {gap}"));
    }
    let reached = shelf.reached(&base.id).await?.map_or(base.begun, |reached| reached.at);
    runner.archive.tell(|status| {
        *status = ArchiveStatus {
            base: Some(base.id.to_string()),
            reached: Some(reached),
            gap: gap.to_string(),
            waits: String::new(),
        };
    });
    log(&format!("archives what follows backup {}, from {member}", base.id));
    let next = pieces.last().map_or(1, |piece| piece.number + 1);
    let whole = gap.is_empty();
    Archiving { runner, shelf, base, to, history, archived, whole, next, open: Open::default() }.go_on(logs).await
}

/// The backup that is gone on from: the newest that stands at an exact position, of what the lab has now.
async fn base(runner: &Runner, shelf: &Shelf) -> Result<Option<Manifest>> {
    let since = restored(runner).await?;
    let mut backups = shelf.list().await?.backups;
    backups.retain(|backup| backup.database.exact && follows(backup, since));
    Ok(backups.pop())
}

/// Whether a backup is of what the lab has since a restore.
fn follows(backup: &Manifest, restored: Option<Timestamp>) -> bool {
    restored.is_none_or(|restored| backup.begun > restored)
}

/// When a backup last took the place of what the lab had.
async fn restored(runner: &Runner) -> Result<Option<Timestamp>> {
    let restores = runner.cluster.api::<Restore>().list(&ListParams::default()).await;
    let restores = restores.map_err(Refused).context("cannot list the Restores")?;
    let ended = restores.items.iter().filter(|restore| restore.spec.into == Into::Lab).filter_map(|restore| {
        let common = &restore.status.as_ref()?.common;
        (common.phase == Phase::Complete).then(|| common.conditions.first())?.map(|one| one.last_transition_time.0)
    });
    Ok(ended.max())
}

/// What is in memory only.
#[derive(Default)]
struct Open {
    file: Vec<u8>,
    gtids: GtidSet,
    /// By what the last transaction is known again.
    mark: String,
    times: Option<(Timestamp, Timestamp)>,
    since: Option<Instant>,
}

impl Open {
    fn is_due(&self) -> bool {
        self.file.len() >= MOST || self.since.is_some_and(|since| since.elapsed() >= OPEN)
    }
}

struct Archiving<'a> {
    runner: &'a Runner,
    shelf: Shelf,
    base: Manifest,
    to: Recipients,
    history: History,
    archived: GtidSet,
    /// Nothing is missing between the backup and now.
    whole: bool,
    next: u64,
    open: Open,
}

impl Archiving<'_> {
    async fn go_on(mut self, mut logs: Logs) -> Result<()> {
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = Instant::now() - ASKS;
        loop {
            tokio::select! {
                transaction = logs.next() => self.take(&logs, transaction?),
                _ = beat.tick() => {}
            }
            if self.runner.archive.rests.load(Ordering::Relaxed) {
                // What is being restored is not what follows this backup.
                bail!("a backup is being restored");
            }
            if self.open.is_due() {
                self.close().await?;
            }
            if asked.elapsed() >= ASKS {
                asked = Instant::now();
                self.look().await?;
                if self.is_over().await? {
                    self.close().await?;
                    return Ok(());
                }
            }
        }
    }

    fn take(&mut self, logs: &Logs, transaction: Transaction) {
        let Transaction { covers, committed, events, mark, .. } = transaction;
        let open = &mut self.open;
        if open.file.is_empty() {
            open.file = logs.head();
            open.since = Some(Instant::now());
        }
        open.file.extend(events);
        open.gtids = open.gtids.with(&covers);
        open.mark = mark;
        let (first, last) = open.times.unwrap_or((committed, committed));
        open.times = Some((first.min(committed), last.max(committed)));
    }

    /// Sends what is in memory only.
    async fn close(&mut self) -> Result<()> {
        let Open { file, gtids, mark, times, .. } = std::mem::take(&mut self.open);
        let Some((first, last)) = times else { return Ok(()) };
        let of = Contents { gtids: &gtids, first, last, mark };
        self.shelf.add_piece(&self.base.id, self.next, file, of, &self.to).await?;
        self.next += 1;
        self.archived = self.archived.with(&gtids);
        Ok(())
    }

    /// Asks the writer what it has: all of that was acknowledged before now.
    async fn look(&mut self) -> Result<()> {
        let now = Timestamp::now();
        let mut session = self.runner.writer().await?;
        let executed = self.history.executed(&mut session).await?;
        let lost = self.archived.without(&executed);
        if !lost.is_empty() {
            bail!("the writer lacks what was archived ({lost}); the next backup begins anew");
        }
        let missing = executed.without(&self.archived.with(&self.open.gtids));
        if !missing.is_empty() {
            let waits = format!("the writer has {missing}, which the member that is read from has not sent yet");
            self.runner.archive.tell(|status| status.waits = waits);
            return Ok(());
        }
        // Idle or not, it is known to be whole only when it is in the store.
        self.close().await?;
        if self.archived.contains(&executed) && self.whole {
            let reached = Reached { at: now, gtids: self.archived.to_string() };
            self.shelf.reach(&self.base.id, &reached).await?;
            self.runner.archive.tell(|status| {
                status.reached = Some(now);
                status.waits.clear();
            });
        }
        Ok(())
    }

    /// Whether there is another backup to go on from. No manifest is read for as long as nothing has come after this one.
    async fn is_over(&self) -> Result<bool> {
        let newest = self.shelf.ids().await?.pop();
        if newest.as_ref() == Some(&self.base.id) && follows(&self.base, restored(self.runner).await?) {
            return Ok(false);
        }
        Ok(base(self.runner, &self.shelf).await?.is_none_or(|base| base.id != self.base.id))
    }
}
