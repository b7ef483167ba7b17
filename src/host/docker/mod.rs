//! The Docker engine, over its HTTP API. The only folder that names bollard; images, containers, throw-away
//! containers and commands inside containers are its rooms. Works with engines from 20.10 (API 1.41) on.

mod containers;
mod detached;
mod exec;
mod images;
mod moulds;
mod networks;
mod servers;
mod throwaway;
mod volumes;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use bollard::errors::Error;

pub use containers::Container;
pub(crate) use containers::archive_of;
pub use exec::Exec;
pub use images::{BuildFailed, LocalImage, PullProgress};
pub use moulds::{Cast, Mould};
pub use servers::{Server, Serving, Source};
pub use throwaway::Sandbox;
pub use volumes::Holder;

use crate::run::advice::{Advise, Blame, Hint, Trouble};

/// How long the first answer may take.
const HELLO: Duration = Duration::from_secs(10);
/// How long an ordinary request may take to answer.
const SHORT: Duration = Duration::from_secs(120);
/// How long until the first byte of a request that reads or writes whole images.
const LONG: Duration = Duration::from_secs(1800);
/// From this version of the API on, one platform of an image can be asked for.
const PLATFORM_SAVE: (usize, usize) = (1, 48);

/// A connection to an engine that has answered.
#[derive(Clone)]
pub struct Docker {
    api: bollard::Docker,
    host: String,
    arch: String,
}

/// What an engine says of itself.
#[derive(Clone, Debug)]
pub struct EngineInfo {
    /// The engine's version (`20.10.24`).
    pub version: String,
    /// The version of its API (`1.41`).
    pub api_version: String,
    /// Processor architecture as Go names it (`amd64`, `arm64`).
    pub arch: String,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// `overlay2`, `overlayfs`, `vfs`, …
    pub storage_driver: String,
    /// Images are kept by containerd; an image's id is then that of its manifest or index.
    pub containerd_store: bool,
    /// The engine's folder, on its own machine.
    pub root_dir: String,
    /// The engine runs without root.
    pub rootless: bool,
    /// The program that starts its containers, as it is configured (`runc`, `/usr/local/bin/other`).
    pub runtime: String,
    /// Cores.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Operating system, as the engine names it.
    pub os: String,
    /// Release of the kernel.
    pub kernel: String,
}

/// No engine answers where one was looked for.
#[derive(Clone, Debug)]
pub struct NoEngine {
    /// Each address that was tried, and what happened there.
    pub tried: Vec<(String, String)>,
}

impl fmt::Display for NoEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (host, why)) in self.tried.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}Docker does not answer at {host}: {why}")?;
        }
        Ok(())
    }
}

impl Advise for NoEngine {
    fn blame(&self) -> Blame {
        Blame::Machine
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Fix, Hint::Doctor]
    }
}

/// An engine that has answered does not any more.
#[derive(Clone, Debug)]
pub struct EngineGone {
    /// Its address.
    pub host: String,
    /// What happened instead of an answer.
    pub why: String,
}

impl fmt::Display for EngineGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Docker at {} does not answer any more: {}", self.host, self.why)
    }
}

impl Advise for EngineGone {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Doctor]
    }
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Docker").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Docker {
    /// Connects as the `docker` command would: `DOCKER_HOST`, else the usual socket, else the one of a rootless engine.
    ///
    /// # Errors
    /// [`NoEngine`] when nothing answers.
    pub async fn connect() -> Result<Docker> {
        let given = std::env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty());
        let runtime_dir = std::env::var("XDG_RUNTIME_DIR").ok().filter(|d| !d.is_empty());
        let mut tried = Vec::new();
        for host in candidates(given.as_deref(), runtime_dir.as_deref()) {
            match Self::connect_to(&host).await {
                Ok(docker) => return Ok(docker),
                Err(why) => tried.push((host, format!("{why:#}"))),
            }
        }
        Err(Trouble::from(NoEngine { tried }).into())
    }

    /// Connects to the engine at one address (`unix:///…`, `tcp://HOST:PORT`).
    ///
    /// # Errors
    /// A phrase that says why not.
    pub async fn connect_to(host: &str) -> Result<Docker> {
        let api = match host.split_once("://") {
            Some(("unix", path)) if !Path::new(path).exists() => return Err(anyhow!("there is no such socket")),
            Some(("unix", path)) => {
                bollard::Docker::connect_with_unix(path, SHORT.as_secs(), bollard::API_DEFAULT_VERSION)
            }
            Some(("tcp" | "http", _)) if std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|v| !v.is_empty()) => {
                return Err(anyhow!(
                    "DOCKER_TLS_VERIFY is set, and TLS to an engine is not supported; use a socket or an SSH tunnel"
                ));
            }
            Some(("tcp" | "http", _)) => {
                bollard::Docker::connect_with_http(host, SHORT.as_secs(), bollard::API_DEFAULT_VERSION)
            }
            _ => return Err(anyhow!("only unix:// and tcp:// are supported")),
        };
        let hello = async {
            let api = api?.negotiate_version().await?;
            let version = api.version().await?;
            Ok((api, version.arch.unwrap_or_default()))
        };
        let hello = tokio::time::timeout(HELLO, hello).await;
        let (api, arch) =
            hello.map_err(|_| anyhow!("no answer within {} s", HELLO.as_secs()))?.map_err(|e| anyhow!(plain(&e)))?;
        Ok(Docker { api, host: host.to_owned(), arch })
    }

    /// The engine's address, for children that need it in `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Processor architecture of the engine as Go names it (`amd64`, `arm64`).
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn info(&self) -> Result<EngineInfo> {
        let info = self.api.info().await.map_err(|e| self.failed(&e)).context("cannot ask Docker what it is")?;
        let status = info.driver_status.unwrap_or_default();
        let runtime = info.default_runtime.as_ref().and_then(|name| info.runtimes.as_ref()?.get(name)?.path.clone());
        let has =
            |option: &str| info.security_options.iter().flatten().any(|o| o.split(',').any(|part| part == option));
        Ok(EngineInfo {
            version: info.server_version.unwrap_or_default(),
            api_version: self.api.client_version().to_string(),
            arch: self.arch.clone(),
            cgroup_version: info.cgroup_version.map_or(1, |v| if v.to_string() == "2" { 2 } else { 1 }),
            storage_driver: info.driver.unwrap_or_default(),
            containerd_store: status.iter().flatten().any(|word| word.starts_with("io.containerd.snapshotter")),
            root_dir: info.docker_root_dir.unwrap_or_default(),
            rootless: has("name=rootless"),
            runtime: runtime.unwrap_or_default(),
            cpus: info.ncpu.unwrap_or_default().try_into().unwrap_or_default(),
            memory: info.mem_total.unwrap_or_default().try_into().unwrap_or_default(),
            os: info.operating_system.unwrap_or_default(),
            kernel: info.kernel_version.unwrap_or_default(),
        })
    }

    /// The same connection, with patience for requests that move whole images.
    fn long(&self) -> bollard::Docker {
        self.api.clone().with_timeout(LONG)
    }

    /// An error of the engine in words that users understand.
    fn failed(&self, error: &Error) -> anyhow::Error {
        let said = plain(error);
        match error {
            Error::DockerResponseServerError { .. } | Error::DockerStreamError { .. } => anyhow!(said),
            _ => Trouble::from(EngineGone { host: self.host.clone(), why: said }).into(),
        }
    }
}

/// Where to look for an engine, in this order.
fn candidates(given: Option<&str>, runtime_dir: Option<&str>) -> Vec<String> {
    if let Some(given) = given {
        return vec![given.to_owned()];
    }
    let rootless = runtime_dir.map(|dir| format!("{dir}/docker.sock")).filter(|socket| Path::new(socket).exists());
    let sockets = std::iter::once("/var/run/docker.sock".to_owned()).chain(rootless);
    sockets.map(|socket| format!("unix://{socket}")).collect()
}

/// What an error says, without the client library's own words around it.
fn plain(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        Error::RequestTimeoutError => "no answer in time".to_owned(),
        Error::SocketNotFoundError(_) => "there is no such socket".to_owned(),
        other => {
            let mut innermost: &dyn std::error::Error = other;
            while let Some(source) = innermost.source() {
                innermost = source;
            }
            match innermost.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(std::io::ErrorKind::PermissionDenied) => {
                    "permission denied; join the group `docker` (`sudo usermod -aG docker $USER`, then log in again) or run as root".to_owned()
                }
                Some(std::io::ErrorKind::ConnectionRefused) => "nothing listens there; is the engine running?".to_owned(),
                _ => innermost.to_string(),
            }
        }
    }
}

/// True when the engine says that there is no such thing.
fn absent(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

/// A filter for all of these labels, as the engine wants it.
fn label_filter(labels: &BTreeMap<String, String>) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), labels.iter().map(|(name, value)| format!("{name}={value}")).collect())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_wins_and_the_rootless_socket_comes_last() {
        assert_eq!(candidates(Some("tcp://10.0.0.1:2375"), Some("/run/user/1")), ["tcp://10.0.0.1:2375"]);
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().to_str().expect("a name");
        assert_eq!(candidates(None, Some(path)), ["unix:///var/run/docker.sock"]);
        std::fs::write(dir.path().join("docker.sock"), "").expect("written");
        assert_eq!(
            candidates(None, Some(path)),
            ["unix:///var/run/docker.sock".to_owned(), format!("unix://{path}/docker.sock")]
        );
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_named_with_the_reason() {
        let why = |host| async move { format!("{:#}", Docker::connect_to(host).await.expect_err("no engine")) };
        assert_eq!(why("unix:///nowhere/docker.sock").await, "there is no such socket");
        assert_eq!(why("ssh://somewhere").await, "only unix:// and tcp:// are supported");
        assert_eq!(why("tcp://127.0.0.1:1").await, "nothing listens there; is the engine running?");
        let error = NoEngine { tried: vec![("unix:///x".into(), "there is no such socket".into())] };
        assert_eq!(error.to_string(), "Docker does not answer at unix:///x: there is no such socket");
    }
}
