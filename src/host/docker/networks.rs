//! Networks, and the addresses that containers have in them.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, anyhow};
use bollard::{
    models::{
        EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
        NetworkDisconnectRequest,
    },
    query_parameters::{InspectNetworkOptions, ListNetworksOptionsBuilder},
};

use super::{Docker, absent, label_filter};

/// How often somebody else may be faster in taking a subnet that the engine proposed.
const SUBNET_TRIES: usize = 4;

impl Docker {
    /// Makes sure that a bridge network exists; says whether it was made now. One with the same name that lacks the labels
    /// is an error. Its subnet is one that the engine chose, which knows its pools and the machine's routes, and named: only
    /// in such a network may a container have an address of its own.
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
        let mut subnet = None;
        for _ in 0..SUBNET_TRIES {
            match self.create_network(name, labels, subnet.as_deref()).await {
                Ok(()) if subnet.is_some() => return Ok(true),
                Ok(()) => {}
                // Somebody else got the subnet in between.
                Err(_) if subnet.take().is_some() => continue,
                Err(error) => return Err(error),
            }
            subnet = self.subnet(name).await?;
            if subnet.is_none() {
                return Ok(true);
            }
            self.api.remove_network(name).await.map_err(|e| self.failed(&e)).context("cannot name its subnet")?;
        }
        self.create_network(name, labels, None).await.map(|()| true)
    }

    async fn create_network(&self, name: &str, labels: &BTreeMap<String, String>, subnet: Option<&str>) -> Result<()> {
        let ipam = subnet.map(|subnet| Ipam {
            config: Some(vec![IpamConfig { subnet: Some(subnet.to_owned()), ..Default::default() }]),
            ..Default::default()
        });
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            options: Some(HashMap::from([(
                "com.docker.network.bridge.enable_ip_masquerade".to_owned(),
                "true".to_owned(),
            )])),
            ipam,
            ..Default::default()
        };
        let made = self.api.create_network(request).await.map_err(|e| self.failed(&e));
        made.with_context(|| format!("cannot create the Docker network {name}")).map(drop)
    }

    /// Whether there is a network of this name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn has_network(&self, name: &str) -> Result<bool> {
        match self.api.inspect_network(name, None::<InspectNetworkOptions>).await {
            Ok(_) => Ok(true),
            Err(error) if absent(&error) => Ok(false),
            Err(error) => Err(self.failed(&error)).with_context(|| format!("cannot look at the Docker network {name}")),
        }
    }

    /// The IPv4 subnet of a network, as `172.18.0.0/16`.
    ///
    /// # Errors
    /// There is no such network, or the engine does not answer.
    pub async fn subnet(&self, name: &str) -> Result<Option<String>> {
        let found = self.api.inspect_network(name, None::<InspectNetworkOptions>).await.map_err(|e| self.failed(&e));
        let found = found.with_context(|| format!("cannot look at the Docker network {name}"))?;
        let configs = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        Ok(configs.into_iter().filter_map(|config| config.subnet).find(|subnet| !subnet.contains(':')))
    }

    /// The address that a container was told to have in a network; `None` when the engine gives it any.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn fixed_address(&self, container: &str, network: &str) -> Result<Option<String>> {
        let found = self.api.inspect_container(container, None).await.map_err(|e| self.failed(&e));
        let found = found.with_context(|| format!("cannot look at container {container}"))?;
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let config = networks.get(network).and_then(|endpoint| endpoint.ipam_config.clone());
        Ok(config.and_then(|config| config.ipv4_address).filter(|address| !address.is_empty()))
    }

    /// Gives a stopped container an address of its own in a network, for ever.
    ///
    /// # Errors
    /// The network's subnet was not named when it was made, the address is not in it or taken; the container is in the
    /// network in any case.
    pub async fn fix_address(&self, container: &str, network: &str, address: &str) -> Result<()> {
        let leave = NetworkDisconnectRequest { container: container.to_owned(), force: None };
        let left = self.api.disconnect_network(network, leave).await.map_err(|e| self.failed(&e));
        left.with_context(|| format!("cannot take container {container} out of {network}"))?;
        let with = |address: Option<&str>| NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: address.map(|address| EndpointSettings {
                ipam_config: Some(EndpointIpamConfig { ipv4_address: Some(address.to_owned()), ..Default::default() }),
                ..Default::default()
            }),
        };
        let joined = self.api.connect_network(network, with(Some(address))).await.map_err(|e| self.failed(&e));
        let context = || format!("cannot give container {container} the address {address}");
        if joined.is_err() {
            let back = self.api.connect_network(network, with(None)).await.map_err(|e| self.failed(&e));
            back.with_context(context)?;
        }
        joined.with_context(context)
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
}
