//! From what was seen to what it means: pure functions, one per subject, each a finding with its cure.

use crate::{
    host::{
        docker::EngineInfo,
        machine::{
            action::{self, Action},
            building::{bases_are_made, building},
            finding::{Cure, Finding, Level, fine},
            needs::{self, INOTIFY_MIN, Inotify, inotify_target},
            observe::{EngineSeen, KIND_MIN, Observed, Privileged},
        },
        nodes::rules::{self, Leak},
        version::Version,
    },
    run::advice::Hint,
    spec::{ImageSource, LabSpec},
};

/// The oldest engine whose API and cgroup handling kind and we rely on.
const ENGINE_MIN: Version = Version(20, 10, 0);
/// The tool holds a handful of connections per node and image.
const OPEN_FILES_MIN: u64 = 1024;

/// Every finding, in a fixed order.
pub(crate) fn judge(spec: &LabSpec, seen: &Observed) -> Vec<Finding> {
    let fixable = action::plan(spec, seen);
    let can = |what: fn(&Action) -> bool| fixable.iter().any(what);
    let mut findings = vec![engine(seen, can(|a| matches!(a, Action::StartEngine { .. })))];
    if let EngineSeen::Answers(info) = &seen.engine {
        findings.push(version(info));
        findings.push(rootless(info));
        findings.push(privileged(seen));
        findings.push(cgroup(spec, info));
        findings.push(storage_driver(info));
    }
    findings.push(arch(seen));
    findings.push(memory(spec, seen));
    findings.push(disk(spec, seen));
    findings.extend(inotify(spec, seen, can(|a| matches!(a, Action::RaiseInotify { .. }))));
    findings.extend(open_files(seen));
    findings.push(kind(seen, can(|a| matches!(a, Action::Kind { .. }))));
    findings.push(docker_client(seen, can(|a| a.brings_docker_client())));
    findings.push(port(spec, seen));
    findings.push(nfs(spec, seen));
    findings.push(registry(spec, seen));
    findings.extend(mmdebstrap(spec, seen, can(|a| a.installs("mmdebstrap"))));
    findings.push(cluster_addresses(seen));
    findings
}

/// The same lab, with images from another source.
fn images(spec: &LabSpec, source: ImageSource) -> Hint {
    Hint::Images { lab: Some(spec.name.clone()), source }
}

fn engine(seen: &Observed, fixable: bool) -> Finding {
    const ID: &str = "docker-engine";
    match &seen.engine {
        EngineSeen::Answers(info) => fine(ID, "The Docker engine answers", info.os.clone()),
        EngineSeen::Denied => fine(ID, "The Docker engine does not let this user in", "its socket is closed to you")
            .at(Level::Blocking)
            .cured_by("sudo usermod -aG docker \"$USER\", then log in again", false),
        EngineSeen::Silent(why) => {
            let (title, command) = match (seen.elsewhere, seen.dockerd, seen.systemd) {
                (true, ..) => ("The Docker engine of DOCKER_HOST does not answer", "unset DOCKER_HOST"),
                (false, true, true) => ("The Docker engine does not run", "sudo systemctl start docker"),
                (false, true, false) => ("The Docker engine does not run", "sudo setsid --fork dockerd"),
                (false, false, _) => ("There is no Docker engine", "sudo apt-get install docker.io iptables"),
            };
            let command = if seen.apt || seen.dockerd || seen.elsewhere {
                command
            } else {
                "install Docker: https://docs.docker.com/engine/install/"
            };
            fine(ID, title, why.clone()).at(Level::Blocking).cured_by(command, fixable)
        }
    }
}

fn version(info: &EngineInfo) -> Finding {
    let title = format!("The Docker engine is version {}", info.version);
    match Version::find(&info.version) {
        Some(version) if version < ENGINE_MIN => {
            fine("docker-version", title, format!("{ENGINE_MIN} or newer is needed"))
                .at(Level::Blocking)
                .cured_by("upgrade Docker: https://docs.docker.com/engine/install/", false)
        }
        _ => fine("docker-version", title, format!("API {}", info.api_version)),
    }
}

fn rootless(info: &EngineInfo) -> Finding {
    if info.rootless {
        return fine("rootless", "The Docker engine is rootless", "its containers cannot mount the lab's NFS volume")
            .at(Level::Blocking)
            .cured_by("docker context use default (with an engine that runs as root)", false);
    }
    fine("rootless", "The Docker engine runs as root", "nodes can mount the NFS volume")
}

fn privileged(seen: &Observed) -> Finding {
    const ID: &str = "privileged";
    match &seen.privileged {
        Privileged::Works => fine(ID, "Privileged containers run", "tried"),
        Privileged::Fails(why) if seen.sys_resource || seen.our_runtime => {
            fine(ID, "Privileged containers do not run", why.clone())
                .at(Level::Blocking)
                .cured_by("use an engine that allows `docker run --privileged`", false)
        }
        // We never reconfigure an engine that answers, so this is for the administrator.
        Privileged::Fails(why) => fine(
            ID,
            "Privileged containers do not run",
            format!("processes here never have CAP_SYS_RESOURCE, and the engine's runtime asks for it: {why}"),
        )
        .at(Level::Blocking)
        .cured_by("stop the engine, move /etc/docker/daemon.json away, and have an engine set up anew", false),
        Privileged::Untried if seen.sys_resource => {
            fine(ID, "Privileged containers should run", "no image is here to try it with")
        }
        // As after `--fix`: an engine that has no image yet, and whose configuration is known to work.
        Privileged::Untried if seen.our_runtime => fine(
            ID,
            "Privileged containers should run",
            "the engine's runtime is ours, which does without CAP_SYS_RESOURCE; no image is here to try it with",
        ),
        Privileged::Untried => {
            let detail = "processes here never have CAP_SYS_RESOURCE, the engine's runtime is not ours, which does without, and no image is here to try it with";
            fine(ID, "Privileged containers may not run", detail).at(Level::Warning)
        }
    }
}

fn cgroup(spec: &LabSpec, info: &EngineInfo) -> Finding {
    const ID: &str = "cgroup";
    if info.cgroup_version != 1 {
        return fine(ID, "The engine uses cgroup v2", "every Kubernetes version runs");
    }
    let means = "Kubernetes from 1.35 on needs `failCgroupV1: false`, which the lab sets";
    let finding = fine(ID, "The engine uses cgroup v1", means);
    if spec.images == ImageSource::Registry {
        let detail = format!(
            "{means}; the published node image's systemd may refuse to boot on it, the package-built one does not"
        );
        return Finding { detail, ..finding }.at(Level::Warning).cured(images(spec, ImageSource::Packages), false);
    }
    finding
}

fn storage_driver(info: &EngineInfo) -> Finding {
    let driver = info.storage_driver.as_str();
    let store = if info.containerd_store { ", images in containerd's store" } else { "" };
    let finding = fine("storage-driver", format!("The storage driver is {driver}{store}"), "");
    let detail = match driver {
        "overlay2" | "overlayfs" => return finding,
        "vfs" => "it copies every image layer as a whole: slow, and many times the disk space",
        _ => "labs are tried on overlay2 and containerd's overlayfs",
    };
    Finding { detail: detail.into(), ..finding }
        .at(Level::Warning)
        .cured_by("https://docs.docker.com/engine/storage/drivers/overlayfs-driver/", false)
}

fn arch(seen: &Observed) -> Finding {
    match seen.arch {
        "x86_64" => fine("architecture", "The processor is amd64", ""),
        "aarch64" => fine("architecture", "The processor is arm64", ""),
        other => {
            fine("architecture", format!("The processor is {other}"), "labs run on amd64 and arm64").at(Level::Blocking)
        }
    }
}

/// Enough, tight, or hopeless: less than half of an estimate that leaves some air.
fn enough(have: u64, need: u64) -> Level {
    match have {
        _ if have >= need => Level::Ok,
        _ if have >= need / 2 => Level::Warning,
        _ => Level::Blocking,
    }
}

fn memory(spec: &LabSpec, seen: &Observed) -> Finding {
    let need = needs::of(spec).memory;
    let detail = format!("this lab needs about {}", needs::shown(need));
    let engine = if let EngineSeen::Answers(info) = &seen.engine { Some(info.memory) } else { None };
    match seen.memory.or(engine) {
        None => fine("memory", "Free memory is not known", detail),
        Some(have) if seen.lab.is_some() => {
            fine("memory", format!("{} of memory are free", needs::shown(have)), "the lab runs already")
        }
        Some(have) => {
            let finding =
                fine("memory", format!("{} of memory are free", needs::shown(have)), detail).at(enough(have, need));
            if finding.level == Level::Ok {
                finding
            } else {
                finding
                    .cured_by("stop what else runs here, or ask for fewer workers and members in the lab file", false)
            }
        }
    }
}

fn disk(spec: &LabSpec, seen: &Observed) -> Finding {
    let need = needs::of(spec).disk + needs::images(building(spec, seen));
    let detail = format!("this lab needs about {} where Docker keeps its data", needs::shown(need));
    match seen.disk {
        None => fine("disk", "Free disk space is not known", detail),
        Some(have) if seen.lab.is_some() => {
            fine("disk", format!("{} of disk are free", needs::shown(have)), "the lab runs already")
        }
        Some(have) => {
            let finding =
                fine("disk", format!("{} of disk are free", needs::shown(have)), detail).at(enough(have, need));
            if finding.level == Level::Ok {
                finding
            } else {
                finding.cured_by("docker system df shows what takes the space", false)
            }
        }
    }
}

fn inotify(spec: &LabSpec, seen: &Observed, fixable: bool) -> Option<Finding> {
    let Inotify { instances, watches } = seen.inotify?;
    let finding = fine("inotify", format!("inotify allows {instances} instances and {watches} watches"), "");
    let need = needs::of(spec).inotify;
    let short = seen.lab.is_none() && seen.inotify_room.is_some_and(|room| room < need);
    if !short && instances >= INOTIFY_MIN.instances && watches >= INOTIFY_MIN.watches {
        return Some(finding);
    }
    let (i, w) = (inotify_target(instances, INOTIFY_MIN.instances, short), INOTIFY_MIN.watches.max(watches));
    let command = format!("sudo sysctl fs.inotify.max_user_instances={i} fs.inotify.max_user_watches={w}");
    let (level, detail) = if short {
        let left = seen.inotify_room.unwrap_or_default();
        (
            Level::Blocking,
            format!(
                "only {left} instances are left and this lab needs about {need}; without them its nodes hang while they boot"
            ),
        )
    } else {
        (Level::Warning, "all nodes of all labs share them; with too few a node does not boot".to_owned())
    };
    Some(Finding { detail, ..finding }.at(level).cured_by(command, fixable))
}

fn open_files(seen: &Observed) -> Option<Finding> {
    let limit = seen.open_files?;
    let shown = if limit == u64::MAX { "any number of".into() } else { limit.to_string() };
    let finding = fine("open-files", format!("A process may open {shown} files"), "");
    if limit >= OPEN_FILES_MIN {
        return Some(finding);
    }
    Some(finding.at(Level::Warning).cured_by(format!("ulimit -n {OPEN_FILES_MIN}"), false))
}

fn kind(seen: &Observed, fixable: bool) -> Finding {
    const CURE: &str = "go install sigs.k8s.io/kind@latest";
    match &seen.kind {
        None => fine("kind", "There is no kind", "it makes the nodes").at(Level::Blocking).cured_by(CURE, fixable),
        Some((path, Some(version))) if *version >= KIND_MIN => {
            fine("kind", format!("kind is version {version}"), path.display().to_string())
        }
        Some((path, version)) => {
            let version = version.map_or_else(|| "of an unknown version".into(), |v| format!("version {v}"));
            let detail = format!("{}; {KIND_MIN} or newer is needed", path.display());
            fine("kind", format!("kind is {version}"), detail).at(Level::Blocking).cured_by(CURE, fixable)
        }
    }
}

fn docker_client(seen: &Observed, fixable: bool) -> Finding {
    if seen.docker_client {
        return fine("docker-client", "There is a docker client", "kind uses it");
    }
    fine("docker-client", "There is no docker client", "kind uses it")
        .at(Level::Blocking)
        .cured_by("sudo apt-get install docker-cli", fixable)
}

fn port(spec: &LabSpec, seen: &Observed) -> Finding {
    let wanted = spec.cluster.port;
    match (seen.lab, seen.free_port) {
        (Some(Some(port)), _) => fine("port", format!("The lab answers on port {port}"), ""),
        (_, Some(port)) if port == wanted => fine("port", format!("Port {wanted} is free"), ""),
        (_, Some(port)) => fine(
            "port",
            format!("Port {wanted} is taken: the site will be at 127.0.0.1:{port}"),
            "the next free port, unless the lab file says another",
        ),
        (_, None) => fine("port", format!("Port {wanted} and the next hundred are taken"), "")
            .at(Level::Blocking)
            .cured_by("choose another cluster.port in the lab file", false),
    }
}

fn nfs(spec: &LabSpec, seen: &Observed) -> Finding {
    const ID: &str = "nfs-client";
    if seen.kernel_nfs {
        return fine(ID, "The kernel can mount NFS", "");
    }
    let finding = fine(ID, "The kernel cannot mount NFS", "the package-built node image does it over FUSE");
    if !seen.fuse {
        let detail = "there is no /dev/fuse either, over which the package-built node image could".to_owned();
        return Finding { detail, ..finding }
            .at(Level::Blocking)
            .cured_by("sudo modprobe nfsv4 || sudo modprobe fuse", false);
    }
    if spec.images == ImageSource::Registry {
        let detail = "the published node image needs that; the package-built one mounts over FUSE".to_owned();
        return Finding { detail, ..finding }.at(Level::Blocking).cured(images(spec, ImageSource::Auto), false);
    }
    finding
}

fn registry(spec: &LabSpec, seen: &Observed) -> Finding {
    const ID: &str = "registry";
    match (&seen.registry, &spec.images) {
        (Ok(()), _) => fine(ID, "A container registry answers", ""),
        (Err(why), ImageSource::Registry) => {
            fine(ID, "No container registry answers", format!("{why}; only images that are here already can be used"))
                .at(Level::Warning)
                .cured(images(spec, ImageSource::Packages), false)
        }
        (Err(why), ImageSource::Auto) if seen.images => {
            fine(ID, "No container registry answers", format!("{why}; package-built images are here"))
        }
        (Err(why), ImageSource::Auto) => {
            fine(ID, "No container registry answers", format!("{why}; images are built from packages"))
        }
        (Err(why), _) => fine(ID, "No container registry answers", format!("{why}; none is needed")),
    }
}

fn mmdebstrap(spec: &LabSpec, seen: &Observed, fixable: bool) -> Option<Finding> {
    if !bases_are_made(spec, seen) {
        return None;
    }
    if seen.mmdebstrap {
        return Some(fine("mmdebstrap", "mmdebstrap is there", "the images are built with it"));
    }
    let finding =
        fine("mmdebstrap", "There is no mmdebstrap", "the images have to be built, and their base is made with it");
    Some(finding.at(Level::Blocking).cured_by("sudo apt-get install mmdebstrap", fixable))
}

fn cluster_addresses(seen: &Observed) -> Finding {
    const ID: &str = "cluster-addresses";
    match &seen.leak {
        Leak::Closed => fine(ID, "Cluster addresses stay on this machine", ""),
        Leak::Open => fine(
            ID,
            "Nothing keeps cluster addresses on this machine yet",
            "`up` adds rules to DOCKER-USER, `down` of the last lab removes them",
        ),
        // A laptop behind an ordinary router loses nothing by it; so this is no warning at every `up`.
        Leak::Unknown(why) => Finding {
            cure: Some(Cure { by: Hint::words(rules::by_hand()), fixable: false }),
            ..fine(
                ID,
                "Cluster addresses may leave this machine",
                format!("{why}; on some networks something out there answers them, and a Service may misbehave"),
            )
        },
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
pub(crate) mod tests;
