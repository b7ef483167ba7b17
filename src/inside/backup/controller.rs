//! Takes up what is asked for by objects, one after the other, and writes into their status what comes of it.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    api::PostParams,
    core::NamespaceResourceScope,
    runtime::{
        Controller,
        controller::{self, Action},
        watcher,
    },
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Runner, lab,
    make::{self, Progress},
    objects::{Backup, BackupStatus, Common, Into, Phase, Restore, RestoreStatus},
    restore::{self, CutOff},
    schedule, shelf, shelf_of, verify,
    way::Restored,
};
use crate::{
    cluster::{Object, Refused},
    inside::{log, wrong::Wrong},
    wire::backup::{archive::Until, manifest::BackupId, shelf::Shelf},
};

/// How many of what is missing are named.
const MISSING: usize = 20;
/// How often an object says how far its work is.
const TELLS: Duration = Duration::from_secs(1);
/// How soon something is looked at again that the API server refused.
const AGAIN: Duration = Duration::from_secs(5);

/// Works; never ends.
pub(super) async fn run(runner: Arc<Runner>) {
    tokio::join!(all::<Backup>(runner.clone()), all::<Restore>(runner));
}

async fn all<K: Job>(runner: Arc<Runner>) {
    let works = Controller::new(runner.cluster.api::<K>(), watcher::Config::default())
        .with_config(controller::Config::default().concurrency(1))
        .run(reconcile::<K>, |_, _, _| Action::requeue(AGAIN), runner);
    works
        .for_each(|done| async {
            if let Err(error) = done {
                log(&error.to_string());
            }
        })
        .await;
}

/// Something that is asked for by an object.
trait Job: Object + Resource<Scope = NamespaceResourceScope> {
    type Status: Clone + Default + Send + Sync;

    fn status(&self) -> Option<&Self::Status>;
    fn with(self, status: Self::Status) -> Self;
    fn common(status: &mut Self::Status) -> &mut Common;

    /// What is written down when it is taken up.
    fn taken() -> Self::Status;

    /// Does it, and says what is to be written down.
    fn work(&self, runner: &Runner, taken: Self::Status) -> impl Future<Output = Result<Self::Status>> + Send;

    /// Ends what an earlier life of the runner has begun, and says how that ended.
    fn cut_off(&self, runner: &Runner, status: &Self::Status) -> impl Future<Output = Result<(Phase, String)>> + Send;
}

/// Takes up what nobody works on.
async fn reconcile<K: Job>(object: Arc<K>, runner: Arc<Runner>) -> Result<Action, Wrong> {
    let mut status = object.status().cloned().unwrap_or_default();
    let Common { phase, runner: by, .. } = K::common(&mut status).clone();
    if phase.is_over() || by.as_deref() == Some(&runner.life) {
        return Ok(Action::await_change());
    }
    // One thing after the other, whatever its kind.
    let _alone = runner.busy.lock().await;
    let done = match phase {
        Phase::Running => cut_off(&runner, &*object, status).await,
        _ => take_up(&runner, &*object).await,
    };
    done.map_err(Wrong)?;
    Ok(Action::await_change())
}

/// Whoever worked on it is gone.
async fn cut_off<K: Job>(runner: &Runner, object: &K, mut status: K::Status) -> Result<()> {
    let (phase, message) = object.cut_off(runner, &status).await?;
    (K::common(&mut status).phase, K::common(&mut status).message) = (phase, message);
    write(runner, object, status).await.map(drop)
}

async fn take_up<K: Job>(runner: &Runner, object: &K) -> Result<()> {
    let name = object.name_any();
    let mut taken = K::taken();
    let common = K::common(&mut taken);
    (common.phase, common.runner, common.message) = (Phase::Running, Some(runner.life.clone()), "begins".to_owned());
    runner.tell(Progress::default());
    // Whoever is first has it.
    let mut object = write(runner, object, taken.clone()).await?;
    log(&format!("takes up {} {name}", K::kind(&())));
    let ended = {
        let mut work = std::pin::pin!(object.work(runner, taken.clone()));
        let mut beat = interval(TELLS);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = taken.clone();
        loop {
            tokio::select! {
                ended = &mut work => break ended,
                _ = beat.tick() => {}
            }
            let message = shown(&runner.progress.borrow());
            if K::common(&mut told).message != message && !message.is_empty() {
                K::common(&mut told).message = message;
                // Only for people; what counts is written at the end.
                if let Ok(now) = latest(runner, &object).await {
                    let _ = write(runner, &now, told.clone()).await;
                }
            }
        }
    };
    let status = match ended {
        Ok(mut status) => {
            (K::common(&mut status).phase, K::common(&mut status).message) = (Phase::Complete, String::new());
            status
        }
        Err(error) => {
            let message = format!("{error:#}");
            log(&format!("{} {name} came to nothing: {message}", K::kind(&())));
            runner.figures.failure();
            (K::common(&mut taken).phase, K::common(&mut taken).message) = (Phase::Failed, message);
            taken
        }
    };
    object = latest(runner, &object).await?;
    write(runner, &object, status).await.map(drop)
}

impl Job for Backup {
    type Status = BackupStatus;

    fn status(&self) -> Option<&BackupStatus> {
        self.status.as_ref()
    }

    fn with(self, status: BackupStatus) -> Backup {
        Backup { status: Some(status), ..self }
    }

    fn common(status: &mut BackupStatus) -> &mut Common {
        &mut status.common
    }

    fn taken() -> BackupStatus {
        let id = BackupId::at(Timestamp::now(), rand::random());
        BackupStatus { id: Some(id.to_string()), ..BackupStatus::default() }
    }

    /// Makes it, or leaves nothing of it.
    async fn work(&self, runner: &Runner, taken: BackupStatus) -> Result<BackupStatus> {
        let id = id_of(&taken)?;
        let spec = lab()?;
        let shelf = shelf(&spec.name)?;
        let made = async {
            let manifest = make::make(runner, &shelf, &spec, &id, self.spec.scheduled).await?;
            // Whoever was taken for dead meanwhile has lost what it sent.
            let now = latest(runner, self).await?.status.unwrap_or_default();
            ensure!(now.common.runner.as_deref() == Some(&runner.life), "somebody else has given this backup up");
            shelf.finish(&manifest).await?;
            Ok(manifest)
        };
        let manifest = match made.await {
            Ok(manifest) => manifest,
            Err(error) => return Err(without(&shelf, &id, error).await),
        };
        if self.spec.scheduled
            && let Err(error) = pruned(runner, &shelf).await
        {
            // The backup is one all the same, and the next one tries again.
            log(&format!("what is not kept any longer could not be removed: {error:#}"));
        }
        runner.figures.backup(manifest.finished);
        let (stored, position) = (manifest.stored(), manifest.database.position);
        Ok(BackupStatus { stored_bytes: Some(stored), position: Some(position), ..taken })
    }

    async fn cut_off(&self, _: &Runner, status: &BackupStatus) -> Result<(Phase, String)> {
        let shelf = shelf(&lab()?.name)?;
        let id = id_of(status)?;
        // The manifest comes last, and what is whole is whole.
        if shelf.list().await?.backups.iter().any(|one| one.id == id) {
            return Ok((Phase::Complete, String::new()));
        }
        shelf.remove(&id).await?;
        Ok((Phase::Failed, "its pod ended while it was made; what it had sent is removed".to_owned()))
    }
}

impl Job for Restore {
    type Status = RestoreStatus;

    fn status(&self) -> Option<&RestoreStatus> {
        self.status.as_ref()
    }

    fn with(self, status: RestoreStatus) -> Restore {
        Restore { status: Some(status), ..self }
    }

    fn common(status: &mut RestoreStatus) -> &mut Common {
        &mut status.common
    }

    fn taken() -> RestoreStatus {
        RestoreStatus::default()
    }

    async fn work(&self, runner: &Runner, taken: RestoreStatus) -> Result<RestoreStatus> {
        let id = BackupId::new(&self.spec.backup).map_err(anyhow::Error::msg)?;
        let shelf = shelf_of(&self.spec)?;
        let manifest = shelf.manifest(&id).await?;
        let until = self.spec.until.as_deref().map(Until::new).transpose().map_err(anyhow::Error::msg)?;
        let keys = restore::keys(&runner.cluster, self.spec.key_secret.as_deref()).await?;
        let done = match self.spec.into {
            Into::Lab => {
                runner.archive.rests.store(true, Ordering::Relaxed);
                let done = async {
                    let done = restore::restore(runner, &shelf, &manifest, keys, until).await?;
                    if lab()?.backup.archive.is_on() {
                        schedule::ask_after(runner, &self.name_any()).await?;
                    }
                    anyhow::Ok(done)
                };
                let done = done.await;
                runner.archive.rests.store(false, Ordering::Relaxed);
                done?
            }
            Into::Scratch => {
                let done = verify::verify(runner, &shelf, &manifest, keys).await?;
                runner.figures.proof(Timestamp::now());
                done
            }
        };
        let Restored { tables, rows, files, seconds, mut missing } = done;
        missing.truncate(MISSING);
        let seconds = Some((seconds * 10.0).round() / 10.0);
        Ok(RestoreStatus { tables: Some(tables), rows: Some(rows), files: Some(files), seconds, missing, ..taken })
    }

    async fn cut_off(&self, runner: &Runner, _: &RestoreStatus) -> Result<(Phase, String)> {
        if self.spec.into == Into::Scratch {
            verify::end(&runner.cluster).await?;
            return Ok((Phase::Failed, "its pod ended meanwhile; nothing is known of the backup".to_owned()));
        }
        Ok(match restore::end(runner).await? {
            CutOff::Done => (Phase::Complete, String::new()),
            CutOff::Back => (Phase::Failed, "its pod ended meanwhile; everything is as it was before".to_owned()),
            CutOff::Before => (Phase::Failed, "its pod ended meanwhile; nothing of the site was touched".to_owned()),
        })
    }
}

/// Removes what the schedule of this moment does not keep.
async fn pruned(runner: &Runner, shelf: &Shelf) -> Result<()> {
    schedule::prune(runner, shelf, schedule::kept(runner).await?).await
}

fn id_of(status: &BackupStatus) -> Result<BackupId> {
    BackupId::new(status.id.as_deref().unwrap_or_default()).map_err(anyhow::Error::msg)
}

/// An unfinished backup is none; where it cannot be removed, that is told, too.
async fn without(shelf: &Shelf, id: &BackupId, error: anyhow::Error) -> anyhow::Error {
    match shelf.remove(id).await {
        Ok(_) => error,
        Err(left) => error.context(format!("what was sent could not be removed ({left:#})")),
    }
}

/// How far the work is, for people.
fn shown(progress: &Progress) -> String {
    match progress.bytes.load(Ordering::Relaxed) {
        0 => progress.what.to_owned(),
        bytes => format!("{}: {} MB", progress.what, bytes / 1_000_000),
    }
}

/// The object as it is now.
async fn latest<K: Job>(runner: &Runner, object: &K) -> Result<K> {
    let (kind, name) = (K::kind(&()), object.name_any());
    runner.cluster.api::<K>().get(&name).await.map_err(Refused).with_context(|| format!("cannot read {kind} {name}"))
}

/// Writes a status over the one that was read, unless somebody else has written meanwhile.
async fn write<K: Job>(runner: &Runner, object: &K, mut status: K::Status) -> Result<K> {
    let (kind, name) = (K::kind(&()), object.name_any());
    let common = K::common(&mut status);
    common.conditions = vec![common.phase.condition(&common.message, object.meta().generation)];
    let written = object.clone().with(status);
    let replaced = runner.cluster.api::<K>().replace_status(&name, &PostParams::default(), &written).await;
    replaced.map_err(Refused).with_context(|| format!("cannot write the status of {kind} {name}"))
}
