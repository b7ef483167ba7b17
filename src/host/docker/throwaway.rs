//! Throw-away containers: made for one look or one command, and removed with everything that is theirs.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use bollard::{
    container::LogOutput,
    models::{ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, NetworkingConfig},
    query_parameters::{
        CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, LogsOptionsBuilder, WaitContainerOptions,
    },
};
use futures_util::{StreamExt, TryStreamExt};

use super::{Docker, Exec};
use crate::labels;

/// The label of a container that nobody but its maker knows. One that is found later was left behind.
pub(super) const THROWAWAY: &str = "wplab.dev/throw-away";

/// What one command in a container of an image gets. Everything that is not named here it does not get: no network, no
/// capability, nothing to write to.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    /// The image, by id or name.
    pub image: String,
    /// The program, which becomes PID 1, and its arguments; of the image's own entrypoint nothing is left.
    pub command: Vec<String>,
    /// `UID:GID`; the image's own when empty.
    pub user: String,
    /// Capabilities without `CAP_`.
    pub capabilities: Vec<String>,
    /// The image's own files may be changed, for as long as the container lives.
    pub writable_root: bool,
    /// Without the engine's filter of system calls: that of the nodes is another one.
    pub unfiltered: bool,
    /// Folders in memory that the user may write to.
    pub folders: Vec<String>,
    /// Folders on disk, as volumes that go with the container.
    pub volumes: Vec<String>,
    /// A container whose volumes this one sees, and may not change.
    pub sees: Option<String>,
    /// A container whose volumes this one writes to.
    pub keeps: Option<String>,
    /// Variables for the program, which anybody may read: nothing secret.
    pub env: Vec<(String, String)>,
    /// The most memory that it may use, in bytes.
    pub memory: Option<i64>,
    /// A network of [`Docker::closed_network`], and its name there.
    pub network: Option<(String, String)>,
}

impl Sandbox {
    pub(super) fn body(&self) -> Result<ContainerCreateBody> {
        let (program, args) = self.command.split_first().context("no command was given")?;
        // Where the image has such a folder, the runtime keeps its mode: it has to belong to the user.
        let owner = self.user.split_once(':').map(|(uid, gid)| format!(",uid={uid},gid={gid}")).unwrap_or_default();
        let memory = |folder: &String| (folder.clone(), format!("rw,nosuid,nodev,exec,mode=0777{owner}"));
        let mut security = vec!["no-new-privileges".to_owned()];
        security.extend(self.unfiltered.then(|| "seccomp=unconfined".to_owned()));
        let sees = self.sees.iter().map(|container| format!("{container}:ro"));
        let lent: Vec<String> = sees.chain(self.keeps.iter().map(|container| format!("{container}:rw"))).collect();
        let network = self.network.as_ref().map(|(network, name)| {
            let endpoint = EndpointSettings { aliases: Some(vec![name.clone()]), ..Default::default() };
            NetworkingConfig { endpoints_config: Some(HashMap::from([(network.clone(), endpoint)])) }
        });
        Ok(ContainerCreateBody {
            image: Some(self.image.clone()),
            entrypoint: Some(vec![program.clone()]),
            cmd: Some(args.to_vec()),
            user: Some(self.user.clone()).filter(|user| !user.is_empty()),
            labels: Some(throwaway()),
            volumes: Some(self.volumes.clone()),
            env: Some(self.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            networking_config: network,
            host_config: Some(HostConfig {
                network_mode: Some(self.network.as_ref().map_or("none", |(network, _)| network).to_owned()),
                memory: self.memory,
                // Whatever the engine does with logs by itself: these are read again.
                log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: None }),
                readonly_rootfs: Some(!self.writable_root),
                cap_drop: Some(vec!["ALL".to_owned()]),
                cap_add: Some(self.capabilities.clone()),
                security_opt: Some(security),
                tmpfs: Some(self.folders.iter().map(memory).collect()),
                volumes_from: Some(lent).filter(|lent| !lent.is_empty()),
                ..Default::default()
            }),
            ..Default::default()
        })
    }
}

impl Docker {
    /// Runs a command in a sandbox and waits for its end, which is forced after `limit`. A code other than 0 is no error
    /// here. Nothing is left of the container.
    ///
    /// # Errors
    /// The engine cannot create or start it, with its own words; or the limit has passed.
    pub async fn run_sandboxed(&self, sandbox: &Sandbox, limit: Duration) -> Result<Exec> {
        let id = self.create(sandbox.body()?).await.with_context(|| format!("cannot open image {}", sandbox.image))?;
        let ran = tokio::time::timeout(limit, self.run_to_end(&id)).await;
        self.remove_container(&id).await?;
        let what = || sandbox.command.join(" ");
        ran.with_context(|| format!("`{}` did not end within {} s", what(), limit.as_secs()))?
            .with_context(|| format!("cannot run `{}` in image {}", what(), sandbox.image))
    }

    /// A container that has run its command, which filled its volumes, and now only lends them. Returns its id; whoever
    /// asked for it removes it.
    ///
    /// # Errors
    /// The command fails, or the engine cannot run it.
    pub async fn lender(&self, sandbox: &Sandbox) -> Result<String> {
        let id = self.create(sandbox.body()?).await.with_context(|| format!("cannot open image {}", sandbox.image))?;
        let ran = self.run_to_end(&id).await;
        match ran {
            Ok(Exec { code: 0, .. }) => Ok(id),
            Ok(ended) => {
                self.remove_container(&id).await?;
                Err(anyhow!("`{}` ended with {}: {}", sandbox.command.join(" "), ended.code, ended.stderr.trim()))
            }
            Err(error) => {
                self.remove_container(&id).await?;
                Err(error)
            }
        }
    }

    /// Removes throw-away containers that somebody left behind, with their volumes and networks. Who calls it makes sure that
    /// nobody is using one.
    ///
    /// # Errors
    /// The engine does not answer, or cannot remove one.
    pub async fn remove_left_behind(&self) -> Result<()> {
        let theirs = BTreeMap::from([(THROWAWAY.to_owned(), "true".to_owned())]);
        for container in self.containers(&theirs).await? {
            self.remove_container(&container.name).await?;
        }
        self.remove_networks(&theirs).await?;
        Ok(())
    }

    /// One file out of an image, by way of a container that is never started. The whole file is held in memory.
    ///
    /// # Errors
    /// There is no such image, or no such file in it.
    pub async fn file_of_image(&self, image: &str, path: &str) -> Result<Vec<u8>> {
        // The command is never run; an image FROM scratch has none of its own, and the engine wants one.
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec![path.to_owned()]),
            labels: Some(ours()),
            ..Default::default()
        };
        let id = self.create(body).await.with_context(|| format!("cannot open image {image}"))?;
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let read = self.long().download_from_container(&id, Some(options)).map_err(|e| self.failed(&e)).try_fold(
            Vec::new(),
            |mut all, chunk| async move {
                all.extend_from_slice(&chunk);
                Ok(all)
            },
        );
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
            host_config: Some(HostConfig {
                privileged: Some(true),
                network_mode: Some("none".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let id = self.create(body).await.context("cannot create a privileged container")?;
        let ran = self.run_to_end(&id).await;
        self.remove_container(&id).await?;
        ran.context("cannot run a privileged container")
    }

    async fn create(&self, body: ContainerCreateBody) -> Result<String> {
        self.create_named(None, body).await
    }

    pub(super) async fn create_named(&self, name: Option<&str>, body: ContainerCreateBody) -> Result<String> {
        let options = name.map(|name| CreateContainerOptionsBuilder::new().name(name).build());
        let made = self.api.create_container(options, body).await;
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
        Ok(Exec { code, ..self.log(id).await? })
    }

    /// What a container has printed so far; the code means nothing.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn log(&self, id: &str) -> Result<Exec> {
        let mut exec = Exec::default();
        let mut logs = self.api.logs(id, Some(LogsOptionsBuilder::new().stdout(true).stderr(true).build()));
        while let Some(line) = logs.next().await {
            match line.map_err(|e| self.failed(&e))? {
                LogOutput::StdErr { message } => exec.stderr.push_str(&String::from_utf8_lossy(&message)),
                other => exec.stdout.push_str(&other.to_string()),
            }
        }
        Ok(exec)
    }
}

/// The labels of sandboxes, and of what is theirs. Only who has the machine's lock on them (`parts::images::check`) makes or
/// removes one.
pub(super) fn throwaway() -> HashMap<String, String> {
    let mut labels = ours();
    labels.insert(THROWAWAY.to_owned(), "true".to_owned());
    labels
}

/// The label of other containers that are made for a moment: whatever is left of them is recognised as ours.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_gets_nothing_that_is_not_named() {
        let sandbox = Sandbox {
            image: "x".into(),
            command: vec!["/a".into(), "b".into()],
            user: "999:999".into(),
            folders: vec!["/tmp".into()],
            sees: Some("lender".into()),
            ..Sandbox::default()
        };
        let body = sandbox.body().expect("a body");
        let host = body.host_config.expect("a host configuration");
        assert_eq!(
            (body.user.as_deref(), body.entrypoint, body.cmd),
            (Some("999:999"), Some(vec!["/a".into()]), Some(vec!["b".into()]))
        );
        assert_eq!((host.readonly_rootfs, host.network_mode.as_deref()), (Some(true), Some("none")));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".into()]));
        assert_eq!((host.cap_drop, host.cap_add), (Some(vec!["ALL".into()]), Some(Vec::new())));
        assert_eq!(host.volumes_from, Some(vec!["lender:ro".into()]));
        assert_eq!(host.tmpfs.expect("folders")["/tmp"], "rw,nosuid,nodev,exec,mode=0777,uid=999,gid=999");
        assert!(host.privileged.is_none() && host.binds.is_none());
        assert!(Sandbox::default().body().is_err(), "nothing to run");
    }

    #[test]
    fn a_sandbox_on_a_network_has_a_name_there_and_may_write_to_what_it_keeps() {
        let sandbox = Sandbox {
            command: vec!["/a".into()],
            sees: Some("files".into()),
            keeps: Some("data".into()),
            env: vec![("POD_NAME".into(), "db-0".into())],
            network: Some(("closed".into(), "db-0".into())),
            ..Sandbox::default()
        };
        let body = sandbox.body().expect("a body");
        let host = body.host_config.expect("a host configuration");
        assert_eq!(host.volumes_from, Some(vec!["files:ro".into(), "data:rw".into()]));
        assert_eq!((host.network_mode.as_deref(), body.network_disabled), (Some("closed"), None));
        assert_eq!(body.env, Some(vec!["POD_NAME=db-0".into()]));
        let endpoints = body.networking_config.and_then(|network| network.endpoints_config).expect("a network");
        assert_eq!(endpoints["closed"].aliases, Some(vec!["db-0".into()]));
        assert!(host.port_bindings.is_none(), "nothing is published");
    }
}
