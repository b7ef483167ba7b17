//! Volumes that outlive containers, and containers that do nothing but hold one.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use bollard::{
    errors::Error,
    models::{
        ContainerCreateBody, HostConfig, Mount, MountType, RestartPolicy, RestartPolicyNameEnum, VolumeCreateRequest,
    },
    query_parameters::RemoveVolumeOptions,
};

use super::{Docker, absent};

/// A privileged container of an image that has a volume, and waits for commands.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The container's name, which is also its host name.
    pub name: String,
    /// The image.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The volume.
    pub volume: String,
    /// Where the volume is inside.
    pub inside: String,
    /// Folders of the engine's machine that it has, too: (there, inside); among them the volume's own, as others would mount
    /// it.
    pub by_path: Vec<(String, String)>,
    /// How long it lives, in seconds; for ever, and after a restart of the engine again, when nothing is said.
    pub lives: Option<u32>,
}

impl Holder {
    fn body(&self) -> ContainerCreateBody {
        let mount = |typ, source: &str, target: &str| Mount {
            typ: Some(typ),
            source: Some(source.to_owned()),
            target: Some(target.to_owned()),
            ..Default::default()
        };
        let mut mounts = vec![mount(MountType::VOLUME, &self.volume, &self.inside)];
        // As a mount and not as a bind: of a path that is not there the engine makes none then.
        mounts.extend(self.by_path.iter().map(|(path, inside)| mount(MountType::BIND, path, inside)));
        let always = RestartPolicy { name: Some(RestartPolicyNameEnum::UNLESS_STOPPED), ..Default::default() };
        ContainerCreateBody {
            image: Some(self.image.clone()),
            hostname: Some(self.name.clone()),
            entrypoint: Some(vec!["sleep".to_owned()]),
            cmd: Some(vec![self.lives.map_or_else(|| "infinity".to_owned(), |seconds| seconds.to_string())]),
            labels: Some(self.labels.clone().into_iter().collect()),
            host_config: Some(HostConfig {
                privileged: Some(true),
                // Files keep their owners also where the engine gives containers others.
                userns_mode: Some("host".to_owned()),
                network_mode: Some("none".to_owned()),
                init: Some(true),
                mounts: Some(mounts),
                auto_remove: Some(self.lives.is_some()),
                restart_policy: self.lives.is_none().then_some(always),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

impl Docker {
    /// Makes sure of a volume; returns its folder on the engine's machine. One with the same name that lacks the labels is
    /// an error.
    ///
    /// # Errors
    /// The name belongs to somebody else, or the engine cannot make it.
    pub async fn ensure_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<String> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..Default::default()
        };
        let made = self.api.create_volume(request).await.map_err(|e| self.failed(&e));
        made.with_context(|| format!("cannot make the Docker volume {name}"))?;
        // Asked for, because an engine that was restarted hands back one that is there already without its labels.
        let volume = self.api.inspect_volume(name).await.map_err(|e| self.failed(&e));
        let volume = volume.with_context(|| format!("cannot look at the Docker volume {name}"))?;
        if labels.iter().any(|(key, value)| volume.labels.get(key) != Some(value)) {
            bail!("the Docker volume {name} exists and is not ours; remove or rename it");
        }
        Ok(volume.mountpoint)
    }

    /// Whether there is a volume of this name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn has_volume(&self, name: &str) -> Result<bool> {
        match self.api.inspect_volume(name).await {
            Ok(_) => Ok(true),
            Err(error) if absent(&error) => Ok(false),
            Err(error) => Err(self.failed(&error)).with_context(|| format!("cannot look at the Docker volume {name}")),
        }
    }

    /// Removes a volume; says whether it went. One that a container has, or that is gone already, is no error.
    ///
    /// # Errors
    /// The engine does not answer, or cannot remove it.
    pub async fn remove_volume(&self, name: &str) -> Result<bool> {
        match self.api.remove_volume(name, None::<RemoveVolumeOptions>).await {
            Ok(()) => Ok(true),
            Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(false),
            Err(error) => Err(self.failed(&error)).with_context(|| format!("cannot remove the Docker volume {name}")),
        }
    }

    /// Starts a container that holds a volume; one of the same name goes first.
    ///
    /// # Errors
    /// The engine refuses, in its own words.
    pub async fn hold(&self, holder: &Holder) -> Result<()> {
        let Holder { name, image, .. } = holder;
        self.remove_container(name).await?;
        let made = self.create_named(Some(name), holder.body()).await;
        made.with_context(|| format!("cannot make container {name} of image {image}"))?;
        self.start(name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_that_stays_comes_back_with_the_engine_and_one_that_does_not_goes_by_itself() {
        let stays = Holder {
            name: "x".into(),
            image: "node".into(),
            labels: BTreeMap::new(),
            volume: "v".into(),
            inside: "/roots".into(),
            by_path: vec![("/there/v".into(), "/seen".into())],
            lives: None,
        };
        let body = stays.body();
        let host = body.host_config.expect("a host configuration");
        let mounts = host.mounts.expect("mounts");
        let told: Vec<_> = mounts.iter().map(|m| (m.typ, m.source.as_deref(), m.target.as_deref())).collect();
        assert_eq!(
            told,
            [
                (Some(MountType::VOLUME), Some("v"), Some("/roots")),
                (Some(MountType::BIND), Some("/there/v"), Some("/seen"))
            ]
        );
        assert!(host.restart_policy.is_some() && host.auto_remove == Some(false));
        let goes = Holder { lives: Some(60), ..stays }.body();
        let host = goes.host_config.expect("a host configuration");
        assert!(host.restart_policy.is_none() && host.auto_remove == Some(true));
        assert_eq!(goes.cmd, Some(vec!["60".to_owned()]));
    }
}
