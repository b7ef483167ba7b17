//! Golden roots (docs/decisions/0016-golden-roots.md): on one volume of the engine, a node's whole /var with every image of a
//! lab unpacked in it, and clones of it by hard links, one for each node. What is done there is in `roots.sh`, and runs in a
//! container that holds the volume; who lives here knows when. What is in one is `parts::images`' to say.

use std::collections::BTreeMap;

pub mod kept;
mod later;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    host::docker::{Container, Docker, Exec, Holder},
    labels,
    spec::LabName,
    wire::hex,
};

/// The volume. Links do not lead from one mount to another, so that all roots are on it.
pub(crate) const VOLUME: &str = "wplab-roots";
/// On containers that hold it.
const HOLDER: &str = "wplab.dev/roots";
/// Where a holder has it.
const INSIDE: &str = "/roots";
/// How long somebody holds it who has no lab, in seconds.
const A_WHILE: u32 = 1800;
/// Golden roots that nobody has used for so many days go, but for the last one.
const DAYS: &str = "14";
/// More than so many never stay.
const MOST: &str = "5";
/// Beyond so many KiB only two stay.
const KIBIBYTES: &str = "16000000";
const SCRIPT: &str = concat!(include_str!("volume.sh"), include_str!("roots.sh"));

/// Where the nodes' /var are on the engine's machine, in the order of the nodes.
pub type Clones = Vec<String>;

/// Which golden root: what is before the dash is the same for every set of images on one node image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key(String);

impl Key {
    /// Of a node image and the images on it, by their ids. An image's id tells its architecture, and that of the node image
    /// which containerd it has and how that is set.
    pub fn new<'a>(node: &str, images: impl IntoIterator<Item = &'a str>) -> Key {
        let mut images: Vec<&str> = images.into_iter().collect();
        images.sort_unstable();
        Key(format!("{}-{}", short(&[SCRIPT, node]), short(&images)))
    }

    /// Whether it is for the same node image.
    pub fn is_near(&self, other: &Key) -> bool {
        self.prefix() == other.prefix()
    }

    fn prefix(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn short(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize()[..8])
}

/// Whether there may be any.
///
/// # Errors
/// The engine does not answer.
pub async fn any(docker: &Docker) -> Result<bool> {
    docker.has_volume(VOLUME).await
}

/// Removes the volume when nobody has it.
///
/// # Errors
/// The engine does not answer.
pub async fn remove_volume(docker: &Docker) -> Result<bool> {
    docker.remove_volume(VOLUME).await
}

/// Who holds the volume.
#[derive(Clone, Debug)]
pub struct Roots<'a> {
    docker: &'a Docker,
    /// The container.
    container: String,
    image: String,
    labels: BTreeMap<String, String>,
    folder: String,
}

/// The container that holds the volume as long as a lab has clones on it: a mount by its path is no use of a volume, and
/// the engine's own `volume prune` would take it from under the nodes. No lab and no node has a dot in its name.
fn holder_of(lab: &LabName) -> String {
    format!("{VOLUME}.{lab}")
}

/// Whether a container with a lab's labels holds its clones, and is none of its nodes.
pub fn is_holder(container: &Container) -> bool {
    container.labels.contains_key(HOLDER)
}

fn holder(
    name: &str,
    image: &str,
    mut labels: BTreeMap<String, String>,
    by_path: Vec<kept::Lent>,
    lives: Option<u32>,
) -> Holder {
    labels.insert(HOLDER.to_owned(), name.to_owned());
    Holder {
        name: name.to_owned(),
        image: image.to_owned(),
        labels,
        volume: VOLUME.to_owned(),
        inside: INSIDE.to_owned(),
        by_path,
        lives,
    }
}

impl<'a> Roots<'a> {
    /// Holds the volume for a lab, or for a while; what an earlier attempt has left goes.
    ///
    /// # Errors
    /// The engine cannot lend its volume to nodes in the way that they are given it.
    pub async fn open(docker: &'a Docker, lab: Option<&LabName>, node_image: &str) -> Result<Roots<'a>> {
        Self::open_beside(docker, lab, node_image, Vec::new()).await
    }

    /// As [`Roots::open`], with folders of the engine's machine beside the volume.
    ///
    /// # Errors
    /// As [`Roots::open`]; or there is no such folder.
    pub async fn open_beside(
        docker: &'a Docker,
        lab: Option<&LabName>,
        node_image: &str,
        lent: Vec<kept::Lent>,
    ) -> Result<Roots<'a>> {
        let folder = docker.ensure_volume(VOLUME, &labels::ours()).await?;
        let container = lab.map_or_else(|| format!("{VOLUME}.while.{}", std::process::id()), holder_of);
        let seen = std::iter::once((folder.clone(), "/seen".to_owned())).chain(lent).collect();
        let labels = lab.map_or_else(labels::ours, labels::of_lab);
        let holder = holder(&container, node_image, labels, seen, lab.is_none().then_some(A_WHILE));
        docker.hold(&holder).await?;
        let roots = Roots { docker, container, image: node_image.to_owned(), labels: holder.labels, folder };
        match roots.act("open", &[lab.map_or("-", LabName::as_str)]).await {
            Ok(_) => Ok(roots),
            Err(error) => {
                roots.close().await?;
                Err(error)
            }
        }
    }

    /// The container: its containerd takes images in between [`Roots::begin`] and [`Roots::finish`].
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The image that it is of.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// What the container carries.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Whether there is such a golden root, and it is as it was made; one that is not goes.
    ///
    /// # Errors
    /// The container does not answer.
    pub async fn holds(&self, key: &Key) -> Result<bool> {
        Ok(self.run("holds", &[&key.0]).await?.code == 0)
    }

    /// The keys of those that there are, the last used first.
    ///
    /// # Errors
    /// The container does not answer.
    pub async fn list(&self) -> Result<Vec<Key>> {
        Ok(self.act("list", &[]).await?.stdout.lines().map(|key| Key(key.to_owned())).collect())
    }

    /// Begins one, on the nearest that there is of the same node image.
    ///
    /// # Errors
    /// The nodes would not use it.
    pub async fn begin(&self, key: &Key) -> Result<()> {
        self.act("begin", &[key.prefix()]).await.map(drop)
    }

    /// Ends what was begun, which has these images now.
    ///
    /// # Errors
    /// It is not whole, or somebody is still at work in it; it is not kept then.
    pub async fn finish(&self, key: &Key, names: &[&str]) -> Result<()> {
        let args: Vec<&str> = std::iter::once(key.0.as_str()).chain(names.iter().copied()).collect();
        self.act("finish", &args).await.map(drop)
    }

    /// A clone for each of a lab's nodes.
    ///
    /// # Errors
    /// There is no such golden root, or the file system has no room for links or copies.
    pub async fn clone_for(&self, key: &Key, lab: &LabName, nodes: &[String]) -> Result<Clones> {
        let args: Vec<&str> =
            [key.0.as_str(), lab.as_str()].into_iter().chain(nodes.iter().map(String::as_str)).collect();
        self.act("clone", &args).await?;
        Ok(nodes.iter().map(|node| format!("{}/clones/{lab}/{node}", self.folder)).collect())
    }

    /// Removes golden roots that are old or too many, and what was left of labs and makers that are gone; returns the keys
    /// of the former.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn prune(&self, all: bool) -> Result<Vec<String>> {
        let there = self.docker.containers(&labels::ours()).await.context("cannot list the labs' containers")?;
        // A lab's name for its nodes, should somebody have removed its holder.
        let labs = there.iter().filter_map(|c| c.labels.get(labels::LAB)).map(String::as_str);
        let mut args = vec![DAYS, if all { "0" } else { MOST }, KIBIBYTES];
        args.extend(there.iter().map(|c| c.name.as_str()).chain(labs));
        let pruned = self.act("prune", &args).await?;
        Ok(pruned.stdout.lines().map(str::to_owned).collect())
    }

    /// Lets go of the volume; the clones of a lab are not protected any more, and are removed with it.
    ///
    /// # Errors
    /// The engine cannot remove the container.
    pub async fn close(&self) -> Result<()> {
        if let Some(lab) = self.labels.get(labels::LAB) {
            // What cannot be removed now is removed by whoever prunes.
            let _ = self.run("drop", &[lab]).await;
        }
        self.docker.remove_container(&self.container).await
    }

    async fn act(&self, verb: &str, args: &[&str]) -> Result<Exec> {
        self.done(SCRIPT, verb, args, stream::empty()).await
    }

    /// A verb of a script, with this on its standard input; an error if it fails.
    async fn done(
        &self,
        script: &str,
        verb: &str,
        args: &[&str],
        input: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Exec> {
        let ended = self.run_with(script, verb, args, input).await?;
        if ended.code != 0 {
            let said = ended.stderr.trim().lines().rev().take(3).collect::<Vec<_>>();
            let said = said.into_iter().rev().collect::<Vec<_>>().join("; ");
            bail!("golden roots cannot {verb}: {said}");
        }
        Ok(ended)
    }

    async fn run(&self, verb: &str, args: &[&str]) -> Result<Exec> {
        self.run_with(SCRIPT, verb, args, stream::empty()).await
    }

    async fn run_with(
        &self,
        script: &str,
        verb: &str,
        args: &[&str],
        input: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Exec> {
        let command: Vec<&str> = ["sh", "-c", script, "roots", verb].into_iter().chain(args.iter().copied()).collect();
        self.docker.exec_with_input(&self.container, &command, input).await.map_err(|error| {
            // The whole script is no help to anybody.
            anyhow!("cannot {verb} golden roots in container {}: {}", self.container, error.root_cause())
        })
    }
}

/// Removes a lab's clones and lets go of the volume. Who has removed the nodes calls it.
///
/// # Errors
/// The engine does not answer.
pub(crate) async fn remove(docker: &Docker, lab: &LabName) -> Result<()> {
    let container = holder_of(lab);
    match docker.running(&container).await? {
        Some(true) => {}
        Some(false) => {
            // After a restart of the machine, perhaps.
            let _ = docker.start(&container).await;
        }
        None => return docker.remove_container(&container).await,
    }
    let labels = labels::of_lab(lab);
    let roots = Roots { docker, container, image: String::new(), labels, folder: String::new() };
    roots.close().await
}

#[cfg(test)]
mod tests;
