//! Containers and networks.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, anyhow};
use bollard::{
    models::{ContainerStateStatusEnum, NetworkCreateRequest},
    query_parameters::{
        ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    },
};

use super::{Docker, absent, label_filter};

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
                running: c.state.is_some_and(|s| s.to_string() == "running"),
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
            return if same {
                Ok(false)
            } else {
                Err(anyhow!("the Docker network {name} exists and is not ours; remove or rename it"))
            };
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            options: Some(HashMap::from([(
                "com.docker.network.bridge.enable_ip_masquerade".to_owned(),
                "true".to_owned(),
            )])),
            ..Default::default()
        };
        self.api
            .create_network(request)
            .await
            .map_err(|e| self.failed(&e))
            .with_context(|| format!("cannot create the Docker network {name}"))?;
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
                Err(error) => {
                    return Err(self.failed(&error))
                        .with_context(|| format!("cannot remove the Docker network {name}"));
                }
            }
        }
        Ok(removed)
    }

    async fn networks(&self, filter: &HashMap<String, Vec<String>>) -> Result<Vec<(String, HashMap<String, String>)>> {
        let options = ListNetworksOptionsBuilder::new().filters(filter).build();
        let found = self
            .api
            .list_networks(Some(options))
            .await
            .map_err(|e| self.failed(&e))
            .context("cannot list Docker networks")?;
        Ok(found.into_iter().map(|n| (n.name.unwrap_or_default(), n.labels.unwrap_or_default())).collect())
    }

    /// Ports of the machine that running containers publish.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn published_ports(&self) -> Result<Vec<u16>> {
        let found = self.containers(&BTreeMap::new()).await?;
        let mut ports: Vec<u16> =
            found.iter().filter(|c| c.running).flat_map(|c| c.ports.iter().map(|&(_, public)| public)).collect();
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }
}
