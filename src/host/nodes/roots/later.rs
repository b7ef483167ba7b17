//! Clones for nodes that come to a lab that stands, or leave it; what is done is in `later.sh`.

use anyhow::{Result, bail};
use futures_util::stream;

use super::{Clones, Key, Roots, VOLUME, holder_of};
use crate::{host::docker::Docker, labels, spec::LabName};

const SCRIPT: &str = concat!(include_str!("volume.sh"), include_str!("later.sh"));
/// The script's answer when there is no such golden root, or the lab has no clones.
const NONE: i64 = 3;

impl<'a> Roots<'a> {
    /// The volume as it is held for a lab that stands; `None` for one whose nodes have no clones.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn of(docker: &'a Docker, lab: &LabName) -> Result<Option<Roots<'a>>> {
        let (container, labels) = (holder_of(lab), labels::of_lab(lab));
        if docker.running(&container).await? != Some(true) {
            return Ok(None);
        }
        let folder = docker.ensure_volume(VOLUME, &labels::ours()).await?;
        Ok(Some(Roots { docker, container, image: String::new(), labels, folder }))
    }

    /// A clone for each of these new nodes; `None` when there is no such golden root any more.
    ///
    /// # Errors
    /// The file system has no room for links or copies.
    pub async fn add(&self, key: &Key, lab: &LabName, nodes: &[String]) -> Result<Option<Clones>> {
        let args: Vec<&str> =
            [key.0.as_str(), lab.as_str()].into_iter().chain(nodes.iter().map(String::as_str)).collect();
        let ended = self.run_with(SCRIPT, "add", &args, stream::empty()).await?;
        match ended.code {
            0 => Ok(Some(nodes.iter().map(|node| format!("{}/clones/{lab}/{node}", self.folder)).collect())),
            NONE => Ok(None),
            _ => bail!("golden roots cannot add: {}", ended.stderr.trim()),
        }
    }

    /// Removes the clones of nodes that are gone.
    ///
    /// # Errors
    /// The container does not answer.
    pub async fn part(&self, lab: &LabName, nodes: &[String]) -> Result<()> {
        let args: Vec<&str> = std::iter::once(lab.as_str()).chain(nodes.iter().map(String::as_str)).collect();
        self.done(SCRIPT, "part", &args, stream::empty()).await.map(drop)
    }
}
