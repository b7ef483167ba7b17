//! Containers that serve something to this machine and to labs' networks, and outlive both labs and restarts of the engine.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use anyhow::{Context, Result};
use bollard::models::{
    ContainerCreateBody, ContainerStateStatusEnum, EndpointIpamConfig, EndpointSettings, HostConfig, Mount, MountType,
    NetworkConnectRequest, NetworkDisconnectRequest, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};

use super::{Docker, absent};

/// What a server's data lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The volume of this name.
    Volume(String),
    /// This folder of the engine's machine, which has to be there.
    Folder(String),
}

/// A container that serves one port, with no right that it is not given here.
pub struct Server {
    /// The container's name, which is also its name on networks.
    pub name: String,
    /// The image.
    pub image: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment variables. They may be secret: nothing here shows them.
    pub env: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `UID:GID` of its process; the image's user when empty.
    pub user: String,
    /// Its data, and where that is inside.
    pub data: (Source, String),
    /// The port inside; on 127.0.0.1 of this machine it gets any that is free.
    pub port: u16,
}

/// A server as the engine tells it.
#[derive(Clone)]
pub struct Serving {
    /// Its labels, its image's included.
    pub labels: BTreeMap<String, String>,
    /// Its environment variables, which may be secret.
    pub env: BTreeMap<String, String>,
    /// It runs, and is not frozen.
    pub running: bool,
    /// It is frozen.
    pub paused: bool,
    /// The networks that it is in, also while it does not run.
    pub networks: Vec<String>,
    /// Published ports while it runs: inside, on the machine.
    pub ports: BTreeMap<u16, u16>,
}

/// Without what may be secret.
impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Serving { labels, env: _, running, paused, networks, ports } = self;
        f.debug_struct("Serving")
            .field("labels", labels)
            .field("running", running)
            .field("paused", paused)
            .field("networks", networks)
            .field("ports", ports)
            .finish_non_exhaustive()
    }
}

impl Server {
    fn body(&self) -> ContainerCreateBody {
        let (source, inside) = &self.data;
        let (typ, source) = match source {
            Source::Volume(name) => (MountType::VOLUME, name),
            // As a mount and not as a bind: of a path that is not there the engine makes none then.
            Source::Folder(path) => (MountType::BIND, path),
        };
        let data =
            Mount { typ: Some(typ), source: Some(source.clone()), target: Some(inside.clone()), ..Default::default() };
        let port = format!("{}/tcp", self.port);
        let here = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(String::new()) };
        let (program, args) = self.command.split_at(self.command.len().min(1));
        ContainerCreateBody {
            image: Some(self.image.clone()),
            hostname: Some(self.name.clone()),
            entrypoint: Some(program.to_vec()),
            cmd: Some(args.to_vec()),
            env: Some(self.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            user: Some(self.user.clone()).filter(|user| !user.is_empty()),
            labels: Some(self.labels.clone().into_iter().collect()),
            exposed_ports: Some(vec![port.clone()]),
            host_config: Some(HostConfig {
                mounts: Some(vec![data]),
                port_bindings: Some(HashMap::from([(port, Some(vec![here]))])),
                readonly_rootfs: Some(true),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                // An engine that was restarted starts it again, with or without labs.
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

impl Docker {
    /// Makes a server's container and starts it. Its name must be free.
    ///
    /// # Errors
    /// The name is taken, or the engine refuses, in its own words.
    pub async fn serve(&self, server: &Server) -> Result<()> {
        let Server { name, image, .. } = server;
        let made = self.create_named(Some(name), server.body()).await;
        made.with_context(|| format!("cannot make container {name} of image {image}"))?;
        self.start(name).await
    }

    /// What there is of a server, if there is a container of this name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn serving(&self, name: &str) -> Result<Option<Serving>> {
        let found = match self.api.inspect_container(name, None).await {
            Ok(found) => found,
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(self.failed(&error)).with_context(|| format!("cannot look at container {name}")),
        };
        let config = found.config.unwrap_or_default();
        let status = found.state.and_then(|state| state.status);
        let settings = found.network_settings.unwrap_or_default();
        let pair = |variable: String| variable.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let port = |(inside, to): (String, Option<Vec<PortBinding>>)| {
            let outside = to?.into_iter().find_map(|binding| binding.host_port?.parse().ok())?;
            Some((inside.split('/').next()?.parse().ok()?, outside))
        };
        let mut networks: Vec<String> = settings.networks.unwrap_or_default().into_keys().collect();
        networks.sort();
        Ok(Some(Serving {
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            env: config.env.unwrap_or_default().into_iter().filter_map(pair).collect(),
            running: status == Some(ContainerStateStatusEnum::RUNNING),
            paused: status == Some(ContainerStateStatusEnum::PAUSED),
            networks,
            ports: settings.ports.unwrap_or_default().into_iter().filter_map(port).collect(),
        }))
    }

    /// Puts a container into a network, too; with an address of its own there when one is given, and the network has it.
    ///
    /// # Errors
    /// There is no such container or network, or the container is in it.
    pub async fn join(&self, container: &str, network: &str, address: Option<&str>) -> Result<()> {
        let request = |address: Option<&str>| NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: address.map(|address| EndpointSettings {
                ipam_config: Some(EndpointIpamConfig { ipv4_address: Some(address.to_owned()), ..Default::default() }),
                ..Default::default()
            }),
        };
        let mut joined = self.api.connect_network(network, request(address)).await;
        if joined.is_err() && address.is_some() {
            // A network of a version that did not name the subnet, or somebody has the address: any will do then.
            joined = self.api.connect_network(network, request(None)).await;
        }
        let joined = joined.map_err(|e| self.failed(&e));
        joined.with_context(|| format!("cannot put container {container} into the Docker network {network}"))
    }

    /// Takes a container, running or not, out of a network. One that is gone, or not in it, is no error.
    ///
    /// # Errors
    /// The engine does not answer, or refuses.
    pub async fn leave(&self, container: &str, network: &str) -> Result<()> {
        let within = self.serving(container).await?.is_some_and(|it| it.networks.iter().any(|name| name == network));
        if !within {
            return Ok(());
        }
        let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        match self.api.disconnect_network(network, request).await {
            Err(error) if absent(&error) => Ok(()),
            left => left
                .map_err(|e| self.failed(&e))
                .with_context(|| format!("cannot take container {container} out of the Docker network {network}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_no_right_that_it_needs_not_and_is_published_on_this_machine_only() {
        let mut server = Server {
            name: "x".into(),
            image: "y".into(),
            command: vec!["/serve".into(), "--all".into()],
            env: [("KEY".to_owned(), "geheim".to_owned())].into(),
            labels: BTreeMap::new(),
            user: String::new(),
            data: (Source::Volume("v".into()), "/data".into()),
            port: 7070,
        };
        let body = server.body();
        assert_eq!((body.entrypoint, body.cmd), (Some(vec!["/serve".into()]), Some(vec!["--all".into()])));
        assert_eq!((body.user, body.env), (None, Some(vec!["KEY=geheim".into()])));
        let host = body.host_config.expect("a host configuration");
        let here = &host.port_bindings.expect("ports")["7070/tcp"];
        assert_eq!(here.as_ref().and_then(|to| to[0].host_ip.as_deref()), Some("127.0.0.1"));
        assert_eq!((host.readonly_rootfs, host.cap_drop), (Some(true), Some(vec!["ALL".into()])));
        assert!(host.privileged.is_none() && host.cap_add.is_none() && host.binds.is_none());
        (server.data.0, server.user) = (Source::Folder("/srv".into()), "1000:1000".into());
        let body = server.body();
        assert_eq!(body.user.as_deref(), Some("1000:1000"));
        let mounts = body.host_config.and_then(|host| host.mounts).expect("mounts");
        assert_eq!((mounts[0].typ, mounts[0].source.as_deref()), (Some(MountType::BIND), Some("/srv")));
    }

    #[test]
    fn what_a_server_was_told_is_not_shown() {
        let env = [("ROOT_SECRET_KEY".to_owned(), "geheim".to_owned())].into();
        let (labels, ports) = (BTreeMap::new(), BTreeMap::new());
        let serving = Serving { labels, env, running: true, paused: false, networks: Vec::new(), ports };
        assert!(!format!("{serving:?}").contains("geheim"));
    }
}
