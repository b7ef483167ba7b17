//! Containers like others: what one was made with, and another like it under another name, with what it had in its own files.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use bollard::{
    models::{
        ContainerConfig, ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, NetworkingConfig,
        PortBinding, RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::CommitContainerOptionsBuilder,
};
use serde::{Deserialize, Serialize};

use super::Docker;

/// What a container was made with, as the engine tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mould {
    config: ContainerConfig,
    host: HostConfig,
}

/// What is another's own in a container that is made like one.
#[derive(Clone, Debug)]
pub struct Cast<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its image.
    pub image: &'a str,
    /// Labels beside those that the first one had, or instead of them.
    pub labels: &'a BTreeMap<String, String>,
    /// Its network, what it is called inside and there, too, and its address if it gets one for ever.
    pub network: (&'a str, &'a str, Option<String>),
    /// What it has at a path inside instead of what the first one had there: a folder of the machine, or a volume of its own.
    pub folder: (&'a str, Option<&'a str>),
    /// The ports of the machine by those inside.
    pub ports: &'a BTreeMap<u16, u16>,
}

impl Mould {
    /// What it is called inside, whatever the engine calls it.
    pub fn hostname(&self) -> &str {
        self.config.hostname.as_deref().unwrap_or_default()
    }

    /// Ports of the machine that it publishes: (inside, on the machine).
    pub fn ports(&self) -> BTreeMap<u16, u16> {
        let bindings = self.host.port_bindings.iter().flatten();
        let port = |(inside, to): (&String, &Option<Vec<PortBinding>>)| {
            let outside = to.as_ref()?.first()?.host_port.as_ref()?.parse().ok()?;
            Some((inside.split('/').next()?.parse().ok()?, outside))
        };
        bindings.filter_map(port).collect()
    }

    fn body(&self, cast: &Cast<'_>) -> Result<ContainerCreateBody> {
        let Mould { config, mut host } = self.clone();
        // What the engine tells of a container is what it takes for a new one.
        let mut body: ContainerCreateBody = serde_json::from_value(serde_json::to_value(config)?)?;
        let (inside, folder) = cast.folder;
        body.image = Some(cast.image.to_owned());
        body.labels.get_or_insert_default().extend(cast.labels.clone());
        let (volumes, binds) = (body.volumes.get_or_insert_default(), host.binds.get_or_insert_default());
        volumes.retain(|volume| volume != inside);
        binds.retain(|bind| bind.split(':').nth(1) != Some(inside));
        match folder {
            Some(folder) => binds.push(format!("{folder}:{inside}")),
            None => volumes.push(inside.to_owned()),
        }
        for (port, to) in host.port_bindings.iter_mut().flatten() {
            let wanted = port.split('/').next().and_then(|port| cast.ports.get(&port.parse().ok()?));
            if let (Some(wanted), Some(to)) = (wanted, to) {
                to.iter_mut().for_each(|binding| binding.host_port = Some(wanted.to_string()));
            }
        }
        let (network, alias, address) = &cast.network;
        body.hostname = Some((*alias).to_owned());
        host.network_mode = Some((*network).to_owned());
        host.restart_policy = Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None });
        body.host_config = Some(host);
        let address = address.clone();
        let endpoint = EndpointSettings {
            aliases: Some(vec![(*alias).to_owned()]),
            ipam_config: address.map(|ip| EndpointIpamConfig { ipv4_address: Some(ip), ..Default::default() }),
            ..Default::default()
        };
        let endpoints = HashMap::from([((*network).to_owned(), endpoint)]);
        body.networking_config = Some(NetworkingConfig { endpoints_config: Some(endpoints) });
        Ok(body)
    }
}

impl Docker {
    /// What a container was made with, and the folder of the engine's machine that it has mounted at a path inside.
    ///
    /// # Errors
    /// There is no such container, nothing is mounted there, or the engine does not answer.
    pub async fn mould(&self, container: &str, inside: &str) -> Result<(Mould, String)> {
        let found = self.api.inspect_container(container, None).await.map_err(|e| self.failed(&e));
        let found = found.with_context(|| format!("cannot look at container {container}"))?;
        let mounted = found.mounts.into_iter().flatten().find(|mount| mount.destination.as_deref() == Some(inside));
        let folder = mounted.and_then(|mount| mount.source).filter(|source| !source.is_empty());
        let folder = folder.with_context(|| format!("container {container} has nothing mounted at {inside}"))?;
        let told = "the engine does not tell what it was made with";
        Ok((Mould { config: found.config.context(told)?, host: found.host_config.context(told)? }, folder))
    }

    /// An image of what a container has in its own files, volumes left out; it goes on meanwhile.
    ///
    /// # Errors
    /// There is no such container, or the engine cannot.
    pub async fn commit(&self, container: &str, tag: &str, labels: &BTreeMap<String, String>) -> Result<()> {
        let (repo, version) = tag.rsplit_once(':').unwrap_or((tag, "latest"));
        let options =
            CommitContainerOptionsBuilder::new().container(container).repo(repo).tag(version).pause(false).build();
        let config = ContainerConfig { labels: Some(labels.clone().into_iter().collect()), ..Default::default() };
        let made = self.api.commit_container(options, config).await.map_err(|e| self.failed(&e));
        made.map(drop).with_context(|| format!("cannot make an image of container {container}"))
    }

    /// A container like another that is not started yet.
    ///
    /// # Errors
    /// The engine refuses, in its own words.
    pub async fn cast(&self, mould: &Mould, cast: &Cast<'_>) -> Result<()> {
        let made = self.create_named(Some(cast.name), mould.body(cast)?).await;
        made.map(drop).with_context(|| format!("cannot make container {} of image {}", cast.name, cast.image))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn another_container_has_the_same_but_for_what_is_its_own() {
        let told = json!({
            "config": {
                "Hostname": "zoo-worker", "Image": "old", "Env": ["A=b"], "Tty": true,
                "Volumes": {"/var": {}}, "Labels": {"kept": "1", "lab": "zoo"},
            },
            "host": {
                "Binds": ["/lib/modules:/lib/modules:ro", "/x:/var"], "Privileged": true, "NetworkMode": "wplab-zoo",
                "PortBindings": {"6443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "40001"}]},
            },
        });
        let mould: Mould = serde_json::from_value(told).expect("as the engine tells it");
        assert_eq!((mould.hostname(), mould.ports()), ("zoo-worker", [(6443, 40001)].into()));
        let cast = Cast {
            name: "ark-worker",
            image: "new",
            labels: &[("lab".to_owned(), "ark".to_owned())].into(),
            network: ("wplab-ark", "zoo-worker", Some("172.20.0.3".to_owned())),
            folder: ("/var", Some("/y")),
            ports: &[(6443, 40002)].into(),
        };
        let body: Value = serde_json::to_value(mould.body(&cast).expect("a body")).expect("JSON");
        let host = &body["HostConfig"];
        assert_eq!(
            (&body["Hostname"], &body["Image"], &body["Tty"]),
            (&json!("zoo-worker"), &json!("new"), &json!(true))
        );
        assert_eq!(body["Labels"], json!({"kept": "1", "lab": "ark"}));
        assert_eq!(body["Volumes"], json!({}), "no volume hides the folder");
        assert_eq!(host["Binds"], json!(["/lib/modules:/lib/modules:ro", "/y:/var"]));
        assert_eq!(host["PortBindings"]["6443/tcp"], json!([{"HostIp": "127.0.0.1", "HostPort": "40002"}]));
        assert_eq!((&host["NetworkMode"], &host["RestartPolicy"]["Name"]), (&json!("wplab-ark"), &json!("no")));
        let endpoint = &body["NetworkingConfig"]["EndpointsConfig"]["wplab-ark"];
        assert_eq!(endpoint["Aliases"], json!(["zoo-worker"]));
        assert_eq!(endpoint["IPAMConfig"]["IPv4Address"], json!("172.20.0.3"));
        let own = Cast { network: ("wplab-zoo", "zoo-worker4", None), folder: ("/var", None), ..cast };
        let body: Value = serde_json::to_value(mould.body(&own).expect("a body")).expect("JSON");
        assert_eq!((&body["Hostname"], &body["Volumes"]), (&json!("zoo-worker4"), &json!({"/var": {}})));
        assert_eq!(body["HostConfig"]["Binds"], json!(["/lib/modules:/lib/modules:ro"]), "nobody shares a folder");
    }
}
