//! Snapshots on the volume of golden roots: what is done there is in `snapshots.sh`. What one says of itself is `actions`' to
//! know; here it is a text.

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;

use super::{Key, Roots, VOLUME, holder};
use crate::{labels, spec::SnapshotName};

const SCRIPT: &str = concat!(include_str!("volume.sh"), include_str!("snapshots.sh"));
/// Who holds the volume as long as there is a snapshot on it. A lab's name has no dot.
const HOLDER: &str = "wplab-roots.of.snapshots";

/// A snapshot on the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How much disk it takes by itself, in bytes.
    pub bytes: u64,
    /// What it says of itself.
    pub about: String,
}

/// A folder of the engine's machine, as a holder's container sees it: (on the machine, inside).
pub type Lent = (String, String);

/// Where the /var of a node is lent to a holder.
pub fn lent(folder: String, node: &str) -> Lent {
    (folder, format!("/nodes/{node}"))
}

impl Roots<'_> {
    /// Copies what is their own of these nodes, whose /var were lent to this holder.
    ///
    /// # Errors
    /// The disk is full.
    pub async fn copy(&self, nodes: &[&str]) -> Result<()> {
        self.done(SCRIPT, "copy", nodes, stream::empty()).await.map(drop)
    }

    /// Makes a snapshot of what was copied, on this golden root, with what it says of itself.
    ///
    /// # Errors
    /// There is one of that name.
    pub async fn keep(&self, name: &SnapshotName, key: &Key, about: String) -> Result<()> {
        let about = stream::iter([Bytes::from(about)]);
        self.done(SCRIPT, "keep", &[name.as_str(), &key.0], about).await?;
        self.hold_snapshots().await
    }

    /// All snapshots.
    ///
    /// # Errors
    /// The container does not answer.
    pub async fn snapshots(&self) -> Result<Vec<Kept>> {
        let listed = self.done(SCRIPT, "list", &[], stream::empty()).await?;
        listed.stdout.lines().map(kept).collect()
    }

    /// Removes a snapshot; its golden root is one like any other then.
    ///
    /// # Errors
    /// The container does not answer.
    pub async fn delete(&self, name: &SnapshotName) -> Result<()> {
        self.done(SCRIPT, "delete", &[name.as_str()], stream::empty()).await?;
        self.hold_snapshots().await
    }

    /// Clones of a golden root with what a snapshot has, for containers by the names of their nodes: (node, container).
    ///
    /// # Errors
    /// It is not as it was made, or the disk is full.
    pub async fn unfold(&self, name: &SnapshotName, key: &Key, nodes: &[(&str, &str)]) -> Result<()> {
        let names = nodes.iter().flat_map(|(node, container)| [*node, *container]);
        let args: Vec<&str> = [name.as_str(), key.0.as_str()].into_iter().chain(names).collect();
        self.done(SCRIPT, "unfold", &args, stream::empty()).await.map(drop)
    }

    /// Has the accounts in what was unfolded get the passwords that the Secrets have when their servers start.
    ///
    /// # Errors
    /// The container does not answer.
    pub async fn renew_accounts(&self) -> Result<()> {
        self.done(SCRIPT, "accounts", &[], stream::empty()).await.map(drop)
    }

    /// Makes what was unfolded elsewhere the clones of the lab that this holds; where each container's is on the engine's
    /// machine.
    ///
    /// # Errors
    /// Nothing was unfolded there.
    pub async fn adopt(&self, from: &Roots<'_>, lab: &str, containers: &[String]) -> Result<Vec<String>> {
        self.done(SCRIPT, "adopt", &[&from.container, lab], stream::empty()).await?;
        Ok(containers.iter().map(|container| format!("{}/clones/{lab}/{container}", self.folder)).collect())
    }

    /// Somebody holds the volume as long as there are snapshots: an engine's `volume prune` would take them all.
    async fn hold_snapshots(&self) -> Result<()> {
        let (any, held) = (!self.snapshots().await?.is_empty(), self.docker.running(HOLDER).await?);
        match (any, held) {
            (true, Some(true)) => Ok(()),
            (true, _) => {
                let holder = holder(HOLDER, &self.image, labels::ours(), Vec::new(), None);
                self.docker.hold(&holder).await.with_context(|| format!("nobody holds the volume {VOLUME}"))
            }
            (false, _) => self.docker.remove_container(HOLDER).await,
        }
    }
}

fn kept(line: &str) -> Result<Kept> {
    let (size, about) = line.split_once(' ').context("a snapshot says nothing of itself")?;
    let kibibytes: u64 = size.parse().context("a snapshot has no size")?;
    Ok(Kept { bytes: kibibytes * 1024, about: about.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_is_a_size_and_what_it_says() {
        let one = kept(r#"12 {"a": 1}"#).expect("a snapshot");
        assert_eq!((one.bytes, one.about.as_str()), (12_288, r#"{"a": 1}"#));
        assert!(kept("12").is_err() && kept("x {}").is_err());
    }
}
