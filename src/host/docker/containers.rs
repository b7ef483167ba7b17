//! Containers and networks.

use std::{collections::BTreeMap, io::Read};

use anyhow::{Context, Result};
use bollard::{
    errors::Error,
    models::{
        ContainerStateStatusEnum, ContainerSummaryStateEnum, ContainerUpdateBody, RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{
        DownloadFromContainerOptionsBuilder, KillContainerOptions, ListContainersOptionsBuilder,
        RemoveContainerOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use futures_util::TryStreamExt;

use super::{Docker, absent, label_filter};

/// A container, running or not.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name, without the slash.
    pub name: String,
    /// It runs now, and is not frozen.
    pub running: bool,
    /// It is frozen: its processes are there and do not run.
    pub paused: bool,
    /// The image it was made from, as it was named then.
    pub image: String,
    /// Its labels, its image's included.
    pub labels: BTreeMap<String, String>,
    /// Published ports: (inside, on the machine).
    pub ports: Vec<(u16, u16)>,
}

/// One text file that everybody may read, as the tar archive in which the engine takes it.
///
/// # Errors
/// The name is too long for an archive.
pub(crate) fn archive_of(name: &str, text: &str) -> Result<Bytes> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, text.as_bytes())?;
    Ok(archive.into_inner()?.into())
}

impl Docker {
    /// Containers (also stopped ones) with all of these labels, by name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn containers(&self, labels: &BTreeMap<String, String>) -> Result<Vec<Container>> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&label_filter(labels)).build();
        let found = self
            .api
            .list_containers(Some(options))
            .await
            .map_err(|e| self.failed(&e))
            .context("cannot list containers")?;
        let mut containers: Vec<Container> = found
            .into_iter()
            .map(|c| Container {
                name: c
                    .names
                    .unwrap_or_default()
                    .first()
                    .map(|n| n.trim_start_matches('/').to_owned())
                    .unwrap_or_default(),
                running: c.state == Some(ContainerSummaryStateEnum::RUNNING),
                paused: c.state == Some(ContainerSummaryStateEnum::PAUSED),
                image: c.image.unwrap_or_default(),
                labels: c.labels.unwrap_or_default().into_iter().collect(),
                ports: c.ports.iter().flatten().filter_map(|p| Some((p.private_port, p.public_port?))).collect(),
            })
            .collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// Whether a container of this name runs; `None` when there is none, or none that was ever started: whoever made it is
    /// about to start it, and must not be forestalled.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn running(&self, container: &str) -> Result<Option<bool>> {
        match self.api.inspect_container(container, None).await {
            Ok(found) => {
                let state = found.state.unwrap_or_default();
                let begun = state.status != Some(ContainerStateStatusEnum::CREATED);
                Ok(begun.then(|| state.running.unwrap_or_default()))
            }
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(self.failed(&error)).with_context(|| format!("cannot look at container {container}")),
        }
    }

    /// Starts a stopped container; one that runs already stays as it is.
    ///
    /// # Errors
    /// There is no such container, or it cannot start.
    pub async fn start(&self, container: &str) -> Result<()> {
        let started = self.api.start_container(container, None::<StartContainerOptions>).await;
        started.map_err(|e| self.failed(&e)).with_context(|| format!("cannot start container {container}"))
    }

    /// Freezes a running container; one that is frozen already stays as it is.
    ///
    /// # Errors
    /// There is no such container, or it does not run.
    pub async fn pause(&self, container: &str) -> Result<()> {
        match self.api.pause_container(container).await {
            Err(Error::DockerResponseServerError { ref message, .. }) if message.contains("already paused") => Ok(()),
            paused => {
                paused.map_err(|e| self.failed(&e)).with_context(|| format!("cannot freeze container {container}"))
            }
        }
    }

    /// Thaws a frozen container; one that is not frozen stays as it is.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn unpause(&self, container: &str) -> Result<()> {
        match self.api.unpause_container(container).await {
            Err(Error::DockerResponseServerError { ref message, .. }) if message.contains("not paused") => Ok(()),
            thawed => thawed.map_err(|e| self.failed(&e)).with_context(|| format!("cannot thaw container {container}")),
        }
    }

    /// Ends everything in a container at once; one that does not run stays as it is.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn kill(&self, container: &str) -> Result<()> {
        match self.api.kill_container(container, None::<KillContainerOptions>).await {
            Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
            killed => killed.map_err(|e| self.failed(&e)).with_context(|| format!("cannot stop container {container}")),
        }
    }

    /// The engine starts a container no more by itself, be it after the machine was started.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn never_restart(&self, container: &str) -> Result<()> {
        let policy = RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None };
        let update = ContainerUpdateBody { restart_policy: Some(policy), ..Default::default() };
        let updated = self.api.update_container(container, update).await.map_err(|e| self.failed(&e));
        updated.with_context(|| format!("cannot change when container {container} is started")).map(drop)
    }

    /// Reads a small file in a container, running or not; `None` when there is none.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn read_file(&self, container: &str, path: &str) -> Result<Option<String>> {
        let context = || format!("cannot read {path} in container {container}");
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let pieces = self.api.download_from_container(container, Some(options)).try_collect::<Vec<_>>().await;
        let archive = match pieces {
            Ok(pieces) => pieces.concat(),
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(self.failed(&error)).with_context(context),
        };
        let mut archive = tar::Archive::new(archive.as_slice());
        let Some(entry) = archive.entries().with_context(context)?.next() else { return Ok(None) };
        let mut text = String::new();
        entry.and_then(|mut entry| entry.read_to_string(&mut text)).with_context(context)?;
        Ok(Some(text))
    }

    /// Writes a small file in a container, running or not; its folder must be there.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn write_file(&self, container: &str, folder: &str, name: &str, text: &str) -> Result<()> {
        let options = UploadToContainerOptionsBuilder::new().path(folder).build();
        let body = bollard::body_full(archive_of(name, text)?);
        let written = self.api.upload_to_container(container, Some(options), body).await.map_err(|e| self.failed(&e));
        written.with_context(|| format!("cannot write {folder}/{name} in container {container}"))
    }

    /// Removes a container, running or not, and its anonymous volumes. One that is gone already is no error.
    ///
    /// # Errors
    /// The engine cannot remove it.
    pub async fn remove_container(&self, container: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.api.remove_container(container, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if absent(&error) => Ok(()),
            Err(error) => Err(self.failed(&error)).with_context(|| format!("cannot remove container {container}")),
        }
    }

    /// Ports of the machine that running containers publish.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn published_ports(&self) -> Result<Vec<u16>> {
        let found = self.containers(&BTreeMap::new()).await?;
        let mut ports: Vec<u16> = found
            .iter()
            .filter(|c| c.running || c.paused)
            .flat_map(|c| c.ports.iter().map(|&(_, public)| public))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }
}
