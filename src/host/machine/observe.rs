//! Looks at the machine, all at once, and judges nothing: that is [`super::doctor`]'s.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    host::{
        HostFacts,
        docker::{Docker, EngineInfo},
        folders,
        machine::{
            apt, engine,
            needs::{self, Inotify},
            registry,
        },
        nodes::{
            self, Kind, labs,
            rules::{self, Leak},
        },
        ports, programs,
        version::Version,
    },
    labels,
    spec::LabSpec,
};

/// The oldest `kind` that is trusted with a lab.
pub(crate) const KIND_MIN: Version = Version(0, 31, 0);

/// Everything that findings are made from.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    /// As Rust names it: `x86_64`, `aarch64`.
    pub(crate) arch: &'static str,
    /// Cores of this machine.
    pub(crate) cores: u64,
    /// The machine has cgroup v2.
    pub(crate) cgroup_v2: bool,
    pub(crate) root: bool,
    pub(crate) apt: bool,
    pub(crate) systemd: bool,
    pub(crate) engine: EngineSeen,
    /// `DOCKER_HOST` points somewhere; what answers there is not ours to install.
    pub(crate) elsewhere: bool,
    pub(crate) dockerd: bool,
    /// The engine that we would start is configured.
    pub(crate) daemon_json: bool,
    /// Processes of the engine that we would start can have CAP_SYS_RESOURCE.
    pub(crate) sys_resource: bool,
    /// The engine's runtime, or that of the engine that we would start, is ours and does without.
    pub(crate) our_runtime: bool,
    pub(crate) privileged: Privileged,
    /// Free bytes where the engine keeps its data.
    pub(crate) disk: Option<u64>,
    /// Bytes of memory that programs could still take.
    pub(crate) memory: Option<u64>,
    pub(crate) inotify: Option<Inotify>,
    /// inotify instances that could be had now, counted up to what this lab needs; only root's are the nodes'.
    pub(crate) inotify_room: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) kind: Option<(PathBuf, Option<Version>)>,
    pub(crate) kind_package: bool,
    pub(crate) go: bool,
    pub(crate) docker_client: bool,
    pub(crate) mmdebstrap: bool,
    /// Images of ours are in the engine.
    pub(crate) images: bool,
    /// The lab's nodes run, on this port.
    pub(crate) lab: Option<Option<u16>>,
    pub(crate) free_port: Option<u16>,
    pub(crate) kernel_nfs: bool,
    pub(crate) fuse: bool,
    pub(crate) registry: Result<(), String>,
    pub(crate) leak: Leak,
}

/// The engine, as far as it can be seen.
#[derive(Clone, Debug)]
pub(crate) enum EngineSeen {
    Answers(EngineInfo),
    /// It runs, and we may not talk to it.
    Denied,
    /// Nothing answers, and why.
    Silent(String),
}

/// Whether the engine runs privileged containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Privileged {
    Works,
    Fails(String),
    /// No image is there to try it with.
    Untried,
}

/// Looks at everything; what cannot be seen is left out. The engine comes along when it answers.
pub(crate) async fn observe(spec: &LabSpec, mirror: Option<&str>) -> (Observed, Option<Docker>) {
    let engine_side = async {
        let docker = Docker::connect().await;
        let seen = match &docker {
            Ok(docker) => match docker.info().await {
                Ok(info) => EngineSeen::Answers(info),
                Err(error) => EngineSeen::Silent(format!("{error:#}")),
            },
            Err(_) if denied() => EngineSeen::Denied,
            Err(error) => EngineSeen::Silent(format!("{error:#}")),
        };
        let docker = docker.ok();
        let (images, privileged, lab, published) = match &docker {
            Some(docker) => {
                let (images, labs, published) =
                    tokio::join!(images(docker), labs::labs(docker), docker.published_ports());
                let (images, labs) = (images.unwrap_or_default(), labs.unwrap_or_default());
                let running = || labs.iter().filter(|lab| lab.running > 0);
                // Every node of a lab is a privileged container.
                let privileged =
                    if running().next().is_some() { Privileged::Works } else { privileged(docker, &images).await };
                let lab = running().find(|lab| lab.name == spec.name.as_str()).map(|lab| lab.port);
                (!images.is_empty(), privileged, lab, published)
            }
            None => (false, Privileged::Untried, None, Ok(Vec::new())),
        };
        (docker, seen, images, privileged, lab, published.unwrap_or_default())
    };
    let apt = programs::find("apt-get").is_some();
    // apt reads its whole index for an answer, which nobody needs who has a `kind`.
    let kind = async {
        let kind = find_kind().await;
        let usable = kind.as_ref().is_some_and(|(_, version)| version.is_some_and(|v| v >= KIND_MIN));
        (kind, !usable && apt && kind_package().await)
    };
    let (engine_side, registry, (kind, kind_package), leak) =
        tokio::join!(engine_side, registry(mirror), kind, rules::look());
    let (docker, engine, images, privileged, lab, published) = engine_side;
    let root = rustix::process::geteuid().is_root();
    let systemd = Path::new("/run/systemd/system").is_dir();
    let root_dir = if let EngineSeen::Answers(info) = &engine { info.root_dir.clone() } else { "/var/lib".into() };
    let our_runtime = match &engine {
        EngineSeen::Answers(info) => info.runtime == engine::SHIM,
        EngineSeen::Denied | EngineSeen::Silent(_) => engine::has_our_runtime(),
    };
    let elsewhere = std::env::var("DOCKER_HOST").is_ok_and(|host| !host.is_empty() && !host.starts_with("unix://"));
    let observed = Observed {
        arch: std::env::consts::ARCH,
        cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
        cgroup_v2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        root,
        apt,
        systemd,
        engine,
        elsewhere,
        dockerd: programs::find("dockerd").is_some(),
        daemon_json: engine::configured(),
        sys_resource: sys_resource(&read(if systemd { "/proc/1/status" } else { "/proc/self/status" })),
        our_runtime,
        privileged,
        disk: if elsewhere { None } else { free_disk(Path::new(&root_dir)) },
        memory: if elsewhere { None } else { available_memory(&read("/proc/meminfo")) },
        inotify: inotify(),
        inotify_room: (root && !elsewhere).then(|| inotify_room(needs::of(spec).inotify)),
        open_files: open_files(&read("/proc/self/limits")),
        kind,
        kind_package,
        go: programs::find("go").is_some(),
        docker_client: programs::find("docker").is_some(),
        mmdebstrap: programs::find("mmdebstrap").is_some(),
        images,
        lab,
        free_port: ports::next_free(spec.cluster.port, &published).ok(),
        kernel_nfs: kernel_nfs(),
        fuse: Path::new("/dev/fuse").exists(),
        registry,
        leak,
    };
    (observed, docker)
}

async fn registry(mirror: Option<&str>) -> Result<(), String> {
    if registry::answers(mirror).await { Ok(()) } else { Err(format!("{} is silent", mirror.unwrap_or("Docker Hub"))) }
}

/// The usable `kind` among those that are there: the first that is new enough, else the first.
async fn find_kind() -> Option<(PathBuf, Option<Version>)> {
    let mut first = None;
    let own = folders::bin_home().join("kind");
    for path in programs::find("kind").into_iter().chain(own.is_file().then_some(own)) {
        let out = nodes::version_command(&path).run_within(Duration::from_secs(10)).await;
        let version = out.ok().and_then(|out| Version::find(&out.stdout));
        if version >= Some(KIND_MIN) {
            return Some((path, version));
        }
        first = first.or(Some((path, version)));
    }
    first
}

impl Observed {
    /// What other rooms decide on. While no engine answers, it is about the engine that `--fix` would start.
    pub(crate) fn facts(&self) -> HostFacts {
        let configurable = !matches!(self.engine, EngineSeen::Answers(_)) && !self.daemon_json;
        let facts = HostFacts {
            cgroup_version: if self.cgroup_v2 { 2 } else { 1 },
            kernel_nfs: self.kernel_nfs,
            sys_resource: self.sys_resource || self.our_runtime || configurable,
            registry: self.registry.is_ok(),
            cpus: self.cores,
            memory: 0,
        };
        match &self.engine {
            EngineSeen::Answers(info) => {
                HostFacts { cgroup_version: info.cgroup_version, cpus: info.cpus, memory: info.memory, ..facts }
            }
            EngineSeen::Denied | EngineSeen::Silent(_) => facts,
        }
    }

    /// The `kind` that a lab may use.
    pub(crate) fn usable_kind(&self) -> Option<Kind> {
        let (path, version) = self.kind.as_ref()?;
        let version = version.filter(|v| *v >= KIND_MIN)?;
        Some(Kind { path: path.clone(), version: version.to_string() })
    }
}

/// Debian's package index, as this machine knows it, has a `kind` that is new enough.
async fn kind_package() -> bool {
    apt::candidate("kind").await.is_some_and(|version| version >= KIND_MIN)
}

/// A socket is there that we may not use.
fn denied() -> bool {
    let given = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
    let socket = given.as_deref().map_or(Some("/var/run/docker.sock"), |host| host.strip_prefix("unix://"));
    let error = socket.and_then(|socket| std::os::unix::net::UnixStream::connect(socket).err());
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// The names of our images in the engine.
async fn images(docker: &Docker) -> anyhow::Result<Vec<String>> {
    let ours = [(labels::PART_OF.to_owned(), labels::PART_OF_VALUE.to_owned())].into();
    let images = docker.images_labelled(&ours).await?;
    Ok(images.into_iter().flat_map(|(_, names)| names).collect())
}

/// Tries with the first image at hand that surely has a `true`: the base of those that we built, or a public one.
async fn privileged(docker: &Docker, ours: &[String]) -> Privileged {
    let base = ours.iter().map(String::as_str).find(|name| name.starts_with("wplab/debian-"));
    for image in base.into_iter().chain(["debian:stable-slim", "alpine:latest", "busybox:latest"]) {
        if !matches!(docker.image(image).await, Ok(Some(_))) {
            continue;
        }
        let tried = tokio::time::timeout(Duration::from_secs(30), docker.try_privileged(image, &["true"])).await;
        return match tried {
            Ok(Ok(exec)) if exec.code == 0 => Privileged::Works,
            Ok(Ok(exec)) => Privileged::Fails(exec.stderr),
            Ok(Err(error)) => Privileged::Fails(format!("{error:#}")),
            Err(_) => Privileged::Fails("it did not end within 30 s".into()),
        };
    }
    Privileged::Untried
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Bit 24 of the bounding set; where there is none to be read, nothing is known to be missing.
fn sys_resource(status: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_none_or(|set| set >> 24 & 1 == 1)
}

fn free_disk(folder: &Path) -> Option<u64> {
    // A folder that only root may enter still tells its file system; one that does not exist, its parent's.
    let stat = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some(stat.f_bavail * stat.f_frsize)
}

fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn inotify() -> Option<Inotify> {
    let number = |name: &str| read(&format!("/proc/sys/fs/inotify/{name}")).trim().parse().ok();
    Some(Inotify { instances: number("max_user_instances")?, watches: number("max_user_watches")? })
}

/// Tries how many instances there are left, up to `most`, and gives them back at once.
fn inotify_room(most: u64) -> u64 {
    let open = || rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).ok();
    let held: Vec<_> = (0..most).map_while(|_| open()).collect();
    held.len() as u64
}

fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let hard = line.split_whitespace().nth(1)?;
    if hard == "unlimited" { Some(u64::MAX) } else { hard.parse().ok() }
}

/// The kernel mounts NFSv4 already, or has a module for it that mounting would load.
fn kernel_nfs() -> bool {
    if read("/proc/filesystems").lines().any(|line| line.split_whitespace().last() == Some("nfs4")) {
        return true;
    }
    let modules = PathBuf::from("/lib/modules").join(rustix::system::uname().release().to_string_lossy().as_ref());
    let lists =
        ["modules.dep", "modules.builtin"].map(|name| std::fs::read_to_string(modules.join(name)).unwrap_or_default());
    lists.iter().any(|list| list.contains("/nfsv4.ko"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_words() {
        assert!(!sys_resource("Name:\tsh\nCapBnd:\t000001fffeffffff\n"));
        assert!(sys_resource("CapBnd:\t000001ffffffffff\n"));
        assert!(sys_resource(""));
        assert_eq!(available_memory("MemTotal: 100 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(
            open_files("Max open files            1024                 20000                files\n"),
            Some(20_000)
        );
        assert_eq!(
            open_files("Max open files            1024                 unlimited            files\n"),
            Some(u64::MAX)
        );
    }

    #[test]
    fn inotify_instances_are_given_back() {
        let first = inotify_room(5);
        assert_eq!(inotify_room(5), first);
    }

    #[test]
    fn a_folder_that_is_not_there_has_its_parents_disk() {
        assert!(free_disk(Path::new("/var/lib/no/such/folder")).is_some_and(|bytes| bytes > 0));
    }
}
