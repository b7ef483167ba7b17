//! The Docker engine as the tests see it, asked directly: what is there, harm done to containers, a way to it that can be cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bollard::query_parameters as query;

use super::RUNTIME;

/// A node container as the engine tells it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) labels: BTreeMap<String, String>,
}

/// The Docker engine, asked directly.
pub(crate) struct Engine;

impl Engine {
    fn docker() -> bollard::Docker {
        bollard::Docker::connect_with_local_defaults().expect("a socket")
    }

    /// Whether an engine answers; on a bare machine the first `up --fix` starts one.
    pub(crate) fn answers() -> bool {
        RUNTIME.block_on(async { bollard::Docker::connect_with_local_defaults().ok()?.ping().await.ok() }).is_some()
    }

    /// Names of all kind nodes, networks and volumes: what `down` must leave as it was. Other containers come and go on a
    /// machine where people work.
    pub(crate) fn snapshot() -> BTreeSet<String> {
        if !Self::answers() {
            return Self::bare();
        }
        RUNTIME.block_on(async {
            let docker = Self::docker();
            let nodes = [("label".to_owned(), vec!["io.x-k8s.kind.cluster".to_owned()])];
            let all = query::ListContainersOptionsBuilder::default().all(true).filters(&nodes.into()).build();
            let containers = docker.list_containers(Some(all)).await.expect("containers");
            let networks = docker.list_networks(None::<query::ListNetworksOptions>).await.expect("networks");
            let volumes = docker.list_volumes(None::<query::ListVolumesOptions>).await.expect("volumes");
            let containers = containers.into_iter().flat_map(|c| c.names.unwrap_or_default());
            let networks = networks.into_iter().filter_map(|n| n.name);
            // That of golden roots stays, as images do, and so do backups.
            let stays = |name: &String| ["wplab-roots", "wplab-backups"].contains(&name.as_str());
            let volumes = volumes.volumes.unwrap_or_default().into_iter().map(|v| v.name).filter(|v| !stays(v));
            containers.chain(networks).chain(volumes).collect()
        })
    }

    /// What a fresh engine has.
    fn bare() -> BTreeSet<String> {
        ["bridge", "host", "none"].map(str::to_owned).into()
    }

    pub(crate) fn containers_of(lab: &str) -> Vec<Node> {
        RUNTIME.block_on(async {
            let filter = [("label", vec![format!("io.x-k8s.kind.cluster={lab}")])].map(|(k, v)| (k.to_owned(), v));
            let all = query::ListContainersOptionsBuilder::default().all(true).filters(&filter.into()).build();
            let found = Self::docker().list_containers(Some(all)).await.expect("containers");
            found.into_iter().map(|c| Node { labels: c.labels.unwrap_or_default().into_iter().collect() }).collect()
        })
    }

    pub(crate) fn container_exists(name: &str) -> bool {
        RUNTIME.block_on(Self::docker().inspect_container(name, None::<query::InspectContainerOptions>)).is_ok()
    }

    pub(crate) fn kill_container(name: &str) {
        RUNTIME.block_on(Self::docker().kill_container(name, None::<query::KillContainerOptions>)).expect("killed");
    }

    pub(crate) fn remove_container(name: &str) {
        let options = query::RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        RUNTIME.block_on(Self::docker().remove_container(name, Some(options))).expect("removed");
    }

    /// Names of a lab's node containers.
    pub(crate) fn nodes_of(lab: &str) -> Vec<String> {
        RUNTIME.block_on(async {
            let filter = [("label".to_owned(), vec![format!("io.x-k8s.kind.cluster={lab}")])];
            let all = query::ListContainersOptionsBuilder::default().all(true).filters(&filter.into()).build();
            let found = Self::docker().list_containers(Some(all)).await.expect("containers");
            found
                .into_iter()
                .flat_map(|c| c.names.unwrap_or_default())
                .map(|n| n.trim_start_matches('/').to_owned())
                .collect()
        })
    }

    /// Runs a shell script in a container; what it has printed.
    pub(crate) async fn sh(container: &str, script: &str) -> String {
        use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
        let docker = Self::docker();
        let options = CreateExecOptions {
            cmd: Some(vec!["sh", "-c", script]),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let made = docker.create_exec(container, options).await.expect("an exec");
        let started = docker.start_exec(&made.id, None::<StartExecOptions>).await.expect("it starts");
        let mut printed = String::new();
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(Ok(text)) = futures_util::StreamExt::next(&mut output).await {
                printed.push_str(&text.to_string());
            }
        }
        printed
    }

    /// A container that looks like kind's node of a cluster called `lab`, and is not ours.
    pub(crate) fn stranger(lab: &str) -> Stranger {
        let name = format!("{lab}-control-plane");
        RUNTIME.block_on(async {
            let docker = Self::docker();
            let images = docker.list_images(None::<query::ListImagesOptions>).await.expect("images");
            let image = images.first().expect("an image in the engine").id.clone();
            let body = bollard::models::ContainerCreateBody {
                image: Some(image),
                cmd: Some(vec!["true".to_owned()]),
                labels: Some([("io.x-k8s.kind.cluster".to_owned(), lab.to_owned())].into()),
                ..Default::default()
            };
            let options = query::CreateContainerOptionsBuilder::default().name(&name).build();
            docker.create_container(Some(options), body).await.expect("created");
        });
        Stranger(name)
    }

    /// A socket that leads to the engine until it is cut.
    pub(crate) fn behind_a_wire() -> Wire {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("docker.sock");
        let whole = Arc::new(AtomicBool::new(true));
        let listener = {
            let _guard = RUNTIME.enter();
            tokio::net::UnixListener::bind(&socket).expect("a socket")
        };
        let (cut, _) = tokio::sync::watch::channel(());
        let (closing, is_whole) = (cut.clone(), whole.clone());
        RUNTIME.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if !is_whole.load(Ordering::Relaxed) {
                    continue;
                }
                let mut closed = closing.subscribe();
                tokio::spawn(async move {
                    let Ok(mut far) = tokio::net::UnixStream::connect("/var/run/docker.sock").await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = closed.changed() => {}
                    }
                });
            }
        });
        Wire { socket, whole, cut, _folder: folder }
    }
}

/// Removed when dropped.
pub(crate) struct Stranger(String);

impl Drop for Stranger {
    fn drop(&mut self) {
        Engine::remove_container(&self.0);
    }
}

/// A way to the engine that can be cut.
pub(crate) struct Wire {
    pub(crate) socket: PathBuf,
    whole: Arc<AtomicBool>,
    cut: tokio::sync::watch::Sender<()>,
    _folder: tempfile::TempDir,
}

impl Wire {
    /// From now on the engine is gone, in the middle of whatever is being said.
    pub(crate) fn cut(&self) {
        self.whole.store(false, Ordering::Relaxed);
        let _ = self.cut.send(());
    }
}
