//! The way from Docker into the nodes: one archive, read once and handed to every node's containerd piece by piece, as
//! fast as the slowest takes it. The only function that knows how images travel is [`stream()`].

use std::{future::Future, sync::Mutex, sync::PoisonError, time::Duration};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream, stream::BoxStream};
use tokio::sync::mpsc;

use crate::{
    host::docker::{Docker, Exec},
    run::advice::{Advise, Blame, Hint, Trouble},
};

/// Pieces that wait for a node at most. Docker sends at most 64 KiB at once, so a node holds half a MiB.
const WAITING: usize = 8;
/// A node that takes nothing for so long has failed; the others go on.
const STALLED: Duration = Duration::from_secs(120);

/// What this room needs of an engine; the tests have another one.
pub(super) trait Engine: Sync {
    /// The images as one archive.
    fn save(&self, references: &[String]) -> BoxStream<'static, Result<Bytes>>;
    /// Whether a container of the lab runs; `None` when there is none.
    fn running(&self, container: &str) -> impl Future<Output = Result<Option<bool>>> + Send;
    /// Starts a container.
    fn start(&self, container: &str) -> impl Future<Output = Result<()>> + Send;
    /// Runs a command in a container with this on its standard input.
    fn exec(
        &self,
        container: &str,
        command: &[&str],
        input: BoxStream<'static, Bytes>,
    ) -> impl Future<Output = Result<Exec>> + Send;
}

/// The containers of one lab in Docker.
#[derive(Debug)]
pub(super) struct Lab<'a> {
    /// The engine.
    pub(super) docker: &'a Docker,
    /// What the lab's containers carry.
    pub(super) labels: std::collections::BTreeMap<String, String>,
}

impl Engine for Lab<'_> {
    fn save(&self, references: &[String]) -> BoxStream<'static, Result<Bytes>> {
        self.docker.save(references)
    }

    async fn running(&self, container: &str) -> Result<Option<bool>> {
        let ours = self.docker.containers(&self.labels).await?;
        if ours.iter().any(|c| c.name == container) { self.docker.running(container).await } else { Ok(None) }
    }

    async fn start(&self, container: &str) -> Result<()> {
        self.docker.start(container).await
    }

    async fn exec(&self, container: &str, command: &[&str], input: BoxStream<'static, Bytes>) -> Result<Exec> {
        self.docker.exec_with_input(container, command, input).await
    }
}

/// A node that an archive goes to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its container.
    pub(super) node: String,
    /// Its containerd's snapshotter.
    pub(super) snapshotter: String,
}

/// Streams the images into every target at once; what came of it, by node, in order. `on_bytes` hears how many bytes a node
/// has taken, and whether that is all. One node's failure does not keep the archive from the others.
pub(super) async fn stream<E: Engine>(
    engine: &E,
    references: &[String],
    targets: &[Target],
    on_bytes: impl Fn(&str, u64, bool) + Send + Sync,
) -> Vec<(String, Result<()>)> {
    let (mut senders, receivers): (Vec<_>, Vec<_>) =
        targets.iter().map(|_| mpsc::channel::<Bytes>(WAITING)).map(|(s, r)| (Some(s), r)).unzip();
    let broken: Mutex<Vec<Option<String>>> = Mutex::new(vec![None; targets.len()]);
    let note = |n: usize, why: String| {
        if let Some(slot) = broken.lock().unwrap_or_else(PoisonError::into_inner).get_mut(n) {
            slot.get_or_insert(why);
        }
    };
    let imports = join_all(targets.iter().zip(receivers).map(|(target, receiver)| import(engine, target, receiver)));
    let pump = async {
        let mut archive = engine.save(references);
        let mut sent = 0;
        while let Some(piece) = archive.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                // The nodes see their input end too early and take nothing of it.
                Err(error) => {
                    (0..targets.len()).for_each(|n| note(n, format!("{error:#}")));
                    break;
                }
            };
            sent += piece.len() as u64;
            for (n, (sender, target)) in senders.iter_mut().zip(targets).enumerate() {
                let Some(open) = sender else { continue };
                match tokio::time::timeout(STALLED, open.send(piece.clone())).await {
                    Ok(Ok(())) => on_bytes(&target.node, sent, false),
                    // Its import has ended early and says itself why.
                    Ok(Err(_)) => *sender = None,
                    Err(_) => {
                        note(n, format!("it took nothing for {} s", STALLED.as_secs()));
                        *sender = None;
                    }
                }
            }
            if senders.iter().all(Option::is_none) {
                break;
            }
        }
        // What is left is the nodes' own work.
        for (sender, target) in senders.drain(..).zip(targets) {
            if sender.is_some() {
                on_bytes(&target.node, sent, true);
            }
        }
    };
    let (imported, ()) = tokio::join!(imports, pump);
    let mut broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
    let named = targets.iter().zip(imported).map(|(target, imported)| {
        let result = match broken.next().flatten() {
            Some(why) => Err(anyhow!(why)),
            None => imported,
        };
        (target.node.clone(), result.with_context(|| format!("cannot load images into node {}", target.node)))
    });
    named.collect()
}

/// Runs containerd's import in one node. No `--all-platforms`: the archive has one platform, and its index may name more.
async fn import<E: Engine>(engine: &E, target: &Target, receiver: mpsc::Receiver<Bytes>) -> Result<()> {
    let input =
        stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|piece| (piece, receiver)) });
    let snapshotter = format!("--snapshotter={}", target.snapshotter);
    let ended = engine
        .exec(
            &target.node,
            &["ctr", "--namespace=k8s.io", "images", "import", "--local", &snapshotter, "-"],
            input.boxed(),
        )
        .await?;
    if ended.code == 0 {
        return Ok(());
    }
    let said = if ended.stderr.trim().is_empty() { ended.stdout } else { ended.stderr };
    let last: Vec<&str> = said.trim().lines().rev().take(3).collect();
    let last = last.into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(if disk_full(&last) {
        Trouble::from(DiskFull { said: last }).into()
    } else {
        anyhow!("`ctr images import` ended with status {}: {last}", ended.code)
    })
}

/// The disk behind Docker is full: trying again is pointless.
#[derive(Clone, Debug)]
pub struct DiskFull {
    /// What containerd said.
    pub said: String,
}

impl std::fmt::Display for DiskFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the disk behind Docker is full ({})", self.said)
    }
}

impl Advise for DiskFull {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::words("make room, and run the command again; `docker system df` shows what uses it")]
    }
}

fn disk_full(said: &str) -> bool {
    said.to_lowercase().contains("no space left on device")
}
