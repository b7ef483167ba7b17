//! Whether images keep their contracts, whatever they are called: each is run once, shut off from everything, with our own
//! executable as PID 1 that looks around in it (`inside::inspect`). What was seen is remembered by the image's id, under a
//! hash of all that decides, so that a second look costs nothing and a changed contract is looked at anew.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{Container, PodSpec},
};
use kube::core::DynamicObject;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Role, set::SHORT, tool};
use crate::{
    cluster::manifests::{self, typed},
    host::{
        docker::{Docker, Sandbox},
        folders,
    },
    inside::inspect::{self, Report},
    run::{
        StepCx,
        advice::{Advise, Blame, Hint},
        wait::Look,
    },
    spec::ImageSource,
    wire::hex,
};

/// How long one look may take. The inspection ends by itself long before.
const LIMIT: Duration = Duration::from_secs(180);
/// How long somebody else's looks may take.
const PATIENCE: Duration = Duration::from_secs(600);
const EVERY: Duration = Duration::from_millis(200);
/// Looks at once: they wait more than they work.
const AT_ONCE: usize = 2;
/// Where the executable is in the containers; the pods have it there too.
pub(in crate::parts) const TOOLS: &str = "/tools";
/// Users of the Galera flavours, where the manifest's is not theirs.
const PERCONA: i64 = 1001;

/// An image breaks the contract of its role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ContractBroken {
    /// The role.
    pub role: Role,
    /// The image, as people call it.
    pub image: String,
    /// The lines that do not hold, each with the reason.
    pub lines: Vec<(String, String)>,
}

impl fmt::Display for ContractBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ContractBroken { role, image, lines } = self;
        write!(f, "image {image} breaks what the lab relies on of {}: ", role.name())?;
        for (number, (line, why)) in lines.iter().enumerate() {
            write!(f, "{}{line}: {why}", if number == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl Advise for ContractBroken {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::CheckImage { role: self.role.name() }, Hint::Images { lab: None, source: ImageSource::Packages }]
    }
}

/// An image that has been looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checked {
    /// The role whose contract it was held against.
    pub role: Role,
    /// The image, as people call it.
    pub image: String,
    /// Its id in Docker.
    pub id: String,
    /// What was seen.
    pub report: Report,
}

impl Checked {
    /// What it breaks, if it breaks anything.
    pub fn broken(&self) -> Option<ContractBroken> {
        let lines: Vec<_> = self.report.broken().map(|(seen, why)| (seen.line.clone(), why.to_owned())).collect();
        let broken = ContractBroken { role: self.role, image: self.image.clone(), lines };
        (!broken.lines.is_empty()).then_some(broken)
    }
}

/// An image that is to be looked at.
#[derive(Clone, Debug)]
pub(in crate::parts) struct Candidate {
    /// The role whose contract it is held against.
    pub(in crate::parts) role: Role,
    /// As people call it.
    pub(in crate::parts) image: String,
    /// Its id in Docker.
    pub(in crate::parts) id: String,
}

/// Holds each image against its contract; images of roles without one are passed over. A line that breaks is no error.
///
/// # Errors
/// An image cannot be run at all, or the engine does not answer.
pub(in crate::parts) async fn check(cx: &StepCx, docker: &Docker, candidates: Vec<Candidate>) -> Result<Vec<Checked>> {
    let memory = Memory::open();
    let (mut checked, mut open) = (Vec::new(), Vec::new());
    for candidate in candidates.into_iter().filter(|candidate| inspect::contract::of(candidate.role.name()).is_some()) {
        match memory.recall(&candidate) {
            Some(report) => checked.push(candidate.with(report)),
            None => open.push(candidate),
        }
    }
    if !open.is_empty() {
        let _lock = alone(cx, docker).await?;
        let (tool, _) = tool::ensure(cx, docker).await?;
        let lender = docker.lender(&lender(&tool.id)).await.context("cannot hand out the executable")?;
        let looks = stream::iter(open).map(|candidate| one(cx, docker, &memory, &lender, candidate));
        let looked: Result<Vec<Checked>> = looks.buffer_unordered(AT_ONCE).try_collect().await;
        docker.remove_container(&lender).await?;
        checked.extend(looked?);
    }
    checked.sort_by_key(|checked| checked.role);
    Ok(checked)
}

/// What is remembered of an image, without looking.
pub(super) fn recall(candidate: &Candidate) -> Option<Checked> {
    let report = Memory::open().recall(candidate)?;
    Some(candidate.clone().with(report))
}

impl Candidate {
    fn with(self, report: Report) -> Checked {
        Checked { role: self.role, image: self.image, id: self.id, report }
    }
}

/// Makes this process the only one on this machine that uses throw-away containers, as long as the file is held, and
/// removes what others left behind.
///
/// # Errors
/// Somebody else goes on using them; or the engine does not answer.
pub(in crate::parts) async fn alone(cx: &StepCx, docker: &Docker) -> Result<File> {
    let lock = Memory::open().lock(cx).await?;
    docker.remove_left_behind().await?;
    Ok(lock)
}

/// Removes what is left of throw-away containers, unless somebody is using some.
///
/// # Errors
/// The engine does not answer, or cannot remove one.
pub async fn clear(docker: &Docker) -> Result<()> {
    match Memory::open().try_lock()? {
        Some(_lock) => docker.remove_left_behind().await,
        None => Ok(()),
    }
}

async fn one(cx: &StepCx, docker: &Docker, memory: &Memory, lender: &str, candidate: Candidate) -> Result<Checked> {
    let role = candidate.role.name();
    cx.task(role, "holding the image against its contract", None);
    let mut sandbox = sandbox(candidate.role, &candidate.id)?;
    sandbox.sees = Some(lender.to_owned());
    let ran = docker.run_sandboxed(&sandbox, LIMIT).await;
    let ran = ran.with_context(|| format!("cannot look into image {} of role {role}", candidate.image))?;
    let report = ran.stdout.lines().rev().find_map(|line| serde_json::from_str::<Report>(line).ok());
    let Some(report) = report.filter(|_| ran.code == 0) else {
        bail!("the look into image {} of role {role} ended with {}: {}", candidate.image, ran.code, ran.stderr.trim());
    };
    for (seen, what) in report.different() {
        cx.warn(format!("image {} of role {role}, {}: {what}", candidate.image, seen.line));
    }
    memory.keep(&candidate, &report)?;
    cx.task_done(role, if report.broken().next().is_some() { "breaks its contract" } else { "keeps its contract" });
    Ok(candidate.with(report))
}

/// The container that holds a copy of the executable.
pub(in crate::parts) fn lender(tool: &str) -> Sandbox {
    Sandbox {
        image: tool.to_owned(),
        command: ["/wplab", "install", TOOLS].map(str::to_owned).into(),
        volumes: vec![TOOLS.to_owned()],
        ..Sandbox::default()
    }
}

/// The pod in which a role's image runs: the manifest's folder, the kind of workload, and the container.
fn place(role: Role) -> Option<(&'static str, &'static str)> {
    match role {
        Role::Mysql | Role::Percona | Role::Mariadb => Some(("database", "mysql")),
        Role::Etcd => Some(("discovery", "etcd")),
        Role::Wordpress => Some(("frontend", "wordpress")),
        Role::Nfs => Some(("storage", "ganesha")),
        Role::MetricsServer => Some(("autoscale", "metrics-server")),
        Role::Prometheus => Some(("monitoring/prometheus", "prometheus")),
        Role::MysqldExporter => Some(("monitoring/mysqld-exporter", "mysqld-exporter")),
        Role::Node | Role::Versitygw | Role::Tool => None,
    }
}

/// As little as the pod gets, read from its manifest: user, capabilities, and folders to write to. A claim becomes a folder
/// in memory, but for what is exported, which has to be a real file system.
pub(in crate::parts) fn sandbox(role: Role, image: &str) -> Result<Sandbox> {
    let mut sandbox = Sandbox {
        image: image.to_owned(),
        command: [&format!("{TOOLS}/wplab"), "inspect", role.name()].map(str::to_owned).into(),
        folders: vec!["/etc/wplab".to_owned()],
        ..Sandbox::default()
    };
    let Some((part, name)) = place(role) else { return Ok(sandbox) };
    let objects = manifests::part(part)?;
    let mut pods = objects.iter().filter_map(|object| pod(object).transpose());
    let found = pods.find_map(|pod| match pod {
        Ok(pod) => pod.containers.iter().find(|c| c.name == name).cloned().map(|container| Ok((pod, container))),
        Err(error) => Some(Err(error)),
    });
    let (pod, container) = found.with_context(|| format!("manifests/{part} have no container {name}"))??;
    let security = pod.security_context.clone().unwrap_or_default();
    let user = if role == Role::Percona { Some(PERCONA) } else { security.run_as_user };
    sandbox.user = user
        .map(|user| format!("{user}:{}", security.run_as_group.filter(|_| role != Role::Percona).unwrap_or(user)))
        .unwrap_or_default();
    let context = container.security_context.clone().unwrap_or_default();
    sandbox.capabilities = context.capabilities.and_then(|capabilities| capabilities.add).unwrap_or_default();
    sandbox.writable_root = context.read_only_root_filesystem != Some(true);
    sandbox.folders.extend(writable(&pod, &container));
    match role {
        Role::Nfs => {
            sandbox.volumes.push("/export".to_owned());
            // Docker's filter (20.10) forbids name_to_handle_at, by which ganesha knows files; containerd's does not.
            sandbox.unfiltered = true;
        }
        Role::Mysql | Role::Mariadb | Role::Percona => sandbox.folders.push("/var/lib/mysql".to_owned()),
        // Where the installer finds it.
        Role::Wordpress => sandbox.folders.push("/mnt/wp-content".to_owned()),
        _ => {}
    }
    Ok(sandbox)
}

fn pod(object: &DynamicObject) -> Result<Option<PodSpec>> {
    Ok(match object.types.as_ref().map(|types| types.kind.as_str()) {
        Some("Deployment") => typed::<Deployment>(object)?.spec.and_then(|spec| spec.template.spec),
        Some("StatefulSet") => typed::<StatefulSet>(object)?.spec.and_then(|spec| spec.template.spec),
        _ => None,
    })
}

/// Where the pod's own empty folders are mounted.
fn writable(pod: &PodSpec, container: &Container) -> Vec<String> {
    let empty = |name: &str| pod.volumes.iter().flatten().any(|v| v.name == name && v.empty_dir.is_some());
    let mounts = container.volume_mounts.iter().flatten();
    mounts.filter(|mount| mount.read_only != Some(true) && empty(&mount.name)).map(|m| m.mount_path.clone()).collect()
}

/// The hash of all that decides; it is asked for once per role and image.
static KEY: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    hash.update(include_str!("check.rs"));
    hash.update(include_str!("../../host/docker/throwaway.rs"));
    hash.update(inspect::fingerprint());
    hash.update(manifests::fingerprint());
    hex(&hash.finalize())
});

/// What has been seen, on this machine.
struct Memory {
    folder: PathBuf,
}

impl Memory {
    fn open() -> Memory {
        Memory::at(&folders::cache_home().join("contracts"), &KEY)
    }

    fn at(home: &Path, key: &str) -> Memory {
        Memory { folder: home.join(key.get(..SHORT).unwrap_or(key)) }
    }

    fn file(&self, candidate: &Candidate) -> PathBuf {
        // Of an image's id all that matters: it has no folder in it.
        let id = candidate.id.rsplit(':').next().unwrap_or_default();
        self.folder.join(format!("{}-{id}.json", candidate.role.name()))
    }

    fn recall(&self, candidate: &Candidate) -> Option<Report> {
        let text = fs::read_to_string(self.file(candidate)).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn keep(&self, candidate: &Candidate, report: &Report) -> Result<()> {
        let path = self.file(candidate);
        let part = path.with_extension("part");
        let write = || {
            fs::create_dir_all(&self.folder)?;
            fs::write(&part, serde_json::to_string(report)?)?;
            fs::rename(&part, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// One at a time on this machine, so that whatever else carries the label was left behind.
    async fn lock(&self, cx: &StepCx) -> Result<File> {
        let look = || async {
            Ok(match self.try_lock()? {
                Some(file) => Look::Ready(file),
                None => Look::NotYet("another wplab is looking at images".to_owned()),
            })
        };
        cx.until("its turn to look at images", PATIENCE, EVERY, look).await
    }

    fn try_lock(&self) -> Result<Option<File>> {
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        // Beside the folders of all contracts: another version's looks use the same label.
        let path = self.folder.with_file_name("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => bail!("cannot lock {}: {error}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::inspect::{Judgement, Seen};

    #[test]
    fn an_image_gets_as_little_as_its_pod() {
        let mysql = sandbox(Role::Mysql, "x").expect("a sandbox");
        assert_eq!((mysql.user.as_str(), mysql.capabilities.len()), ("999:999", 0));
        for folder in ["/var/lib/mysql", "/var/run/mysqld", "/tmp", "/etc/wplab"] {
            assert!(mysql.folders.iter().any(|f| f == folder), "{folder}");
        }
        assert!(!mysql.folders.iter().any(|f| f == TOOLS), "what is lent is read-only");
        assert_eq!(sandbox(Role::Percona, "x").expect("a sandbox").user, "1001:1001");
        let nfs = sandbox(Role::Nfs, "x").expect("a sandbox");
        assert!(nfs.writable_root && !mysql.writable_root);
        assert!(nfs.capabilities.contains(&"DAC_READ_SEARCH".to_owned()) && nfs.user.is_empty());
        assert_eq!(nfs.volumes, ["/export"]);
        assert_eq!(sandbox(Role::Wordpress, "x").expect("a sandbox").user, "33:33");
        for role in Role::ALL {
            assert!(sandbox(role, "x").is_ok(), "{}", role.name());
        }
    }

    #[test]
    fn every_role_but_the_tools_has_a_contract() {
        for role in Role::ALL {
            assert_eq!(inspect::contract::of(role.name()).is_some(), role != Role::Tool, "{}", role.name());
        }
    }

    #[test]
    fn what_was_seen_is_remembered_by_id_and_contract() {
        let home = tempfile::tempdir().expect("a folder");
        let memory = Memory::at(home.path(), "0123456789abcdef");
        let candidate = |id: &str| Candidate { role: Role::Nfs, image: "x".into(), id: format!("sha256:{id}") };
        let verdict = Judgement::Breaks("no VFS".into());
        let report =
            Report { role: "nfs".into(), lines: vec![Seen { line: "export".into(), says: "y".into(), verdict }] };
        assert_eq!(memory.recall(&candidate("a")), None);
        memory.keep(&candidate("a"), &report).expect("kept");
        assert_eq!(memory.recall(&candidate("a")), Some(report.clone()));
        assert_eq!(memory.recall(&candidate("b")), None);
        assert_eq!(Memory::at(home.path(), "fedcba987654").recall(&candidate("a")), None);
        let broken = candidate("a").with(report).broken().expect("broken");
        assert_eq!(broken.to_string(), "image x breaks what the lab relies on of nfs: export: no VFS");
    }
}
