//! Containers and networks.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, anyhow};
use bollard::{
    container::LogOutput,
    models::{ContainerCreateBody, HostConfig, NetworkCreateRequest},
    query_parameters::{
        CreateContainerOptions, DownloadFromContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
        LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions,
    },
};
use futures_util::{StreamExt, TryStreamExt};

use super::{Docker, Exec, absent, label_filter};
use crate::labels;

/// A container, running or not.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name, without the slash.
    pub name: String,
    /// It runs now.
    pub running: bool,
    /// The image it was made from, as it was named then.
    pub image: String,
    /// Its labels, its image's included.
    pub labels: BTreeMap<String, String>,
    /// Published ports: (inside, on the machine).
    pub ports: Vec<(u16, u16)>,
}

impl Docker {
    /// Containers (also stopped ones) with all of these labels, by name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn containers(&self, labels: &BTreeMap<String, String>) -> Result<Vec<Container>> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&label_filter(labels)).build();
        let found = self.api.list_containers(Some(options)).await.map_err(|e| self.failed(&e)).context("cannot list containers")?;
        let mut containers: Vec<Container> = found
            .into_iter()
            .map(|c| Container {
                name: c.names.unwrap_or_default().first().map(|n| n.trim_start_matches('/').to_owned()).unwrap_or_default(),
                running: c.state.is_some_and(|s| s.to_string() == "running"),
                image: c.image.unwrap_or_default(),
                labels: c.labels.unwrap_or_default().into_iter().collect(),
                ports: c.ports.iter().flatten().filter_map(|p| Some((p.private_port, p.public_port?))).collect(),
            })
            .collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// Whether a container of this name runs; `None` when there is none.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn running(&self, container: &str) -> Result<Option<bool>> {
        match self.api.inspect_container(container, None).await {
            Ok(found) => Ok(Some(found.state.and_then(|s| s.running).unwrap_or_default())),
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

    /// One file out of an image, by way of a container that is never started. The whole file is held in memory.
    ///
    /// # Errors
    /// There is no such image, or no such file in it.
    pub async fn file_of_image(&self, image: &str, path: &str) -> Result<Vec<u8>> {
        // The command is never run; an image FROM scratch has none of its own, and the engine wants one.
        let body = ContainerCreateBody { image: Some(image.to_owned()), cmd: Some(vec![path.to_owned()]), labels: Some(ours()), ..Default::default() };
        let id = self.create(body).await.with_context(|| format!("cannot open image {image}"))?;
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let read = self.long().download_from_container(&id, Some(options)).map_err(|e| self.failed(&e)).try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        let read = read.await;
        self.remove_container(&id).await?;
        let archive = read.with_context(|| format!("cannot read {path} of image {image}"))?;
        first_file(&archive).with_context(|| format!("cannot read {path} of image {image}"))
    }

    /// Runs a throw-away privileged container of an image and waits for its end. A code other than 0 is no error here.
    ///
    /// # Errors
    /// The engine cannot create or start it; its own words say why.
    pub async fn try_privileged(&self, image: &str, command: &[&str]) -> Result<Exec> {
        let (first, rest) = command.split_first().context("no command was given")?;
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec![(*first).to_owned()]),
            cmd: Some(rest.iter().map(|&s| s.to_owned()).collect()),
            labels: Some(ours()),
            host_config: Some(HostConfig { privileged: Some(true), network_mode: Some("none".to_owned()), ..Default::default() }),
            ..Default::default()
        };
        let id = self.create(body).await.context("cannot create a privileged container")?;
        let ran = self.run_to_end(&id).await;
        self.remove_container(&id).await?;
        ran.context("cannot run a privileged container")
    }

    async fn create(&self, body: ContainerCreateBody) -> Result<String> {
        let made = self.api.create_container(None::<CreateContainerOptions>, body).await;
        made.map(|made| made.id).map_err(|e| self.failed(&e))
    }

    async fn run_to_end(&self, id: &str) -> Result<Exec> {
        self.start(id).await?;
        let code = match self.long().wait_container(id, None::<WaitContainerOptions>).next().await {
            Some(Ok(ended)) => ended.status_code,
            // bollard makes an error of every code but 0.
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(self.failed(&error)),
            None => return Err(anyhow!("the engine did not say how it ended")),
        };
        let mut exec = Exec { code, ..Exec::default() };
        let mut logs = self.api.logs(id, Some(LogsOptionsBuilder::new().stdout(true).stderr(true).build()));
        while let Some(line) = logs.next().await {
            match line.map_err(|e| self.failed(&e))? {
                LogOutput::StdErr { message } => exec.stderr.push_str(&String::from_utf8_lossy(&message)),
                other => exec.stdout.push_str(&other.to_string()),
            }
        }
        Ok(exec)
    }

    /// Makes sure that a bridge network exists; says whether it was made now. One with the same name that lacks the labels is an error.
    ///
    /// # Errors
    /// The name belongs to somebody else, or the engine cannot make it.
    pub async fn ensure_network(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<bool> {
        let filter = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
        let found = self.networks(&filter).await?;
        // The engine's filter matches parts of names.
        if let Some((_, theirs)) = found.into_iter().find(|(found, _)| found == name) {
            let same = labels.iter().all(|(key, value)| theirs.get(key) == Some(value));
            return if same { Ok(false) } else { Err(anyhow!("the Docker network {name} exists and is not ours; remove or rename it")) };
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            options: Some(HashMap::from([("com.docker.network.bridge.enable_ip_masquerade".to_owned(), "true".to_owned())])),
            ..Default::default()
        };
        self.api.create_network(request).await.map_err(|e| self.failed(&e)).with_context(|| format!("cannot create the Docker network {name}"))?;
        Ok(true)
    }

    /// Removes networks with all of these labels; returns their names.
    ///
    /// # Errors
    /// A network is still in use, or the engine does not answer.
    pub async fn remove_networks(&self, labels: &BTreeMap<String, String>) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for (name, _) in self.networks(&label_filter(labels)).await? {
            match self.api.remove_network(&name).await {
                Ok(()) => removed.push(name),
                Err(error) if absent(&error) => {}
                Err(error) => return Err(self.failed(&error)).with_context(|| format!("cannot remove the Docker network {name}")),
            }
        }
        Ok(removed)
    }

    async fn networks(&self, filter: &HashMap<String, Vec<String>>) -> Result<Vec<(String, HashMap<String, String>)>> {
        let options = ListNetworksOptionsBuilder::new().filters(filter).build();
        let found = self.api.list_networks(Some(options)).await.map_err(|e| self.failed(&e)).context("cannot list Docker networks")?;
        Ok(found.into_iter().map(|n| (n.name.unwrap_or_default(), n.labels.unwrap_or_default())).collect())
    }

    /// Ports of the machine that running containers publish.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn published_ports(&self) -> Result<Vec<u16>> {
        let found = self.containers(&BTreeMap::new()).await?;
        let mut ports: Vec<u16> = found.iter().filter(|c| c.running).flat_map(|c| c.ports.iter().map(|&(_, public)| public)).collect();
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }
}

/// The label of throw-away containers: whatever is left of them is recognised as ours.
fn ours() -> HashMap<String, String> {
    HashMap::from([(labels::PART_OF.to_owned(), labels::PART_OF_VALUE.to_owned())])
}

fn first_file(archive: &[u8]) -> Result<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive.entries()?.next().context("the archive is empty")??;
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut entry, &mut content)?;
    Ok(content)
}
