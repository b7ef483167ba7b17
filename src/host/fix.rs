//! `--fix`: what would cure this machine, as data to be shown and agreed to; and doing it. Touches only what is missing,
//! and never an engine that answers.

use std::{fmt, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::{
    host::{
        HostFacts,
        docker::Docker,
        engine,
        findings::{INOTIFY_MIN, bases_are_made, inotify_target},
        needs,
        observe::{self, EngineSeen, KIND_MIN, Observed},
        outlook::{ImagesAhead, Outlook},
        process::{self, Cmd},
    },
    run::StepCx,
    spec::LabSpec,
};

/// The version of `kind` that `go install` gets.
const KIND_MODULE: &str = "sigs.k8s.io/kind@v0.33.0";
/// Compiling kind with a cold cache on one slow core.
const BUILD_LIMIT: Duration = Duration::from_mins(15);

/// Who is asked before anything is changed.
pub trait Consent: Send + Sync {
    /// Shows what would be done, and what would follow as far as it is known, and says whether to go ahead. Without a
    /// terminal or with `--yes` that is always so.
    fn agree<'a>(&'a self, actions: &'a [Action], outlook: Option<&'a Outlook>) -> BoxFuture<'a, bool>;
}

/// Builds the image of the recipe `kind`, whose `/kind` is the executable, and returns its reference.
pub type KindRecipe<'a> = dyn Fn(Docker) -> BoxFuture<'a, Result<String>> + Send + Sync + 'a;

/// Says which images a lab would still need on a machine of these facts; what is in the engine is looked at if there is
/// one, and `true` adds the recipe `kind`.
pub type AheadOfLab<'a> =
    dyn Fn(Option<Docker>, HostFacts, bool) -> BoxFuture<'a, Result<ImagesAhead>> + Send + Sync + 'a;

/// What `--fix` needs from its caller.
pub struct Fixer<'a> {
    /// Who is asked.
    pub consent: &'a dyn Consent,
    /// The last resort for `kind`; the recipes belong to another room.
    pub kind_recipe: Box<KindRecipe<'a>>,
    /// What follows; images, too, belong to another room.
    pub images_ahead: Box<AheadOfLab<'a>>,
}

impl fmt::Debug for Fixer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixer").finish_non_exhaustive()
    }
}

/// Where `kind` can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KindSource {
    /// A Debian package.
    Package,
    /// The Go module, with the machine's own Go.
    Go,
    /// The recipe, built in a container.
    Recipe,
}

/// One thing that `--fix` would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// Tell a new engine to use our runtime, because processes here never have CAP_SYS_RESOURCE.
    ConfigureRuntime,
    /// Install Debian packages.
    Packages {
        /// These.
        names: Vec<&'static str>,
        /// And these where the suite has them.
        optional: Vec<&'static str>,
    },
    /// Start the engine.
    StartEngine {
        /// With systemd; else by hand.
        systemd: bool,
    },
    /// Raise the kernel's inotify limits until the next boot.
    RaiseInotify {
        /// Instances per user.
        instances: u64,
        /// Watches per user.
        watches: u64,
    },
    /// Put a docker client into our own folder.
    DockerClient,
    /// Get `kind`.
    Kind {
        /// From the first of these that works.
        sources: Vec<KindSource>,
    },
}

impl Action {
    /// Installs this Debian package.
    pub(crate) fn installs(&self, package: &str) -> bool {
        matches!(self, Action::Packages { names, .. } if names.contains(&package))
    }

    pub(crate) fn brings_docker_client(&self) -> bool {
        *self == Action::DockerClient || self.installs("docker.io")
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::ConfigureRuntime => write!(
                f,
                "write {} and copy this program to {}, because processes on this machine never have CAP_SYS_RESOURCE",
                engine::DAEMON_JSON,
                engine::SHIM
            ),
            Action::Packages { names, optional } if optional.is_empty() => {
                write!(f, "install the Debian packages {}", names.join(", "))
            }
            Action::Packages { names, optional } => {
                write!(
                    f,
                    "install the Debian packages {} (and {}, if there is such a package)",
                    names.join(", "),
                    optional.join(", ")
                )
            }
            Action::StartEngine { systemd: true } => {
                write!(f, "start the Docker engine now and at every boot (systemctl enable --now docker)")
            }
            Action::StartEngine { systemd: false } => {
                write!(f, "start the Docker engine (dockerd), which writes {}", engine::LOG)
            }
            Action::RaiseInotify { instances, watches } => {
                write!(f, "raise inotify's limits to {instances} instances and {watches} watches until the next boot")
            }
            Action::DockerClient => {
                write!(f, "unpack the docker client from its Debian package into {}", process::bin_home().display())
            }
            Action::Kind { sources } => {
                let source = |source: &KindSource| match source {
                    KindSource::Package => "its Debian package".to_owned(),
                    KindSource::Go => format!("the Go module {KIND_MODULE} (into {})", process::bin_home().display()),
                    KindSource::Recipe => {
                        format!("the Go module, built in a container (into {})", process::bin_home().display())
                    }
                };
                write!(f, "get kind from {}", sources.iter().map(source).collect::<Vec<_>>().join(", else "))
            }
        }
    }
}

/// What would cure this machine, in the order in which it has to be done.
pub(crate) fn plan(spec: &LabSpec, seen: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut packages = Vec::new();
    let silent = matches!(seen.engine, EngineSeen::Silent(_)) && !seen.elsewhere;
    let engine = silent && seen.root && (seen.dockerd || seen.apt);
    if engine {
        // Before the package: on some machines installing it starts the engine.
        if !seen.sys_resource && !seen.daemon_json {
            actions.push(Action::ConfigureRuntime);
        }
        if !seen.dockerd {
            packages.extend(["docker.io", "iptables"]);
        }
    }
    let optional = if packages.is_empty() { Vec::new() } else { vec!["docker-cli"] };
    if seen.apt && seen.root && bases_are_made(spec, seen) && !seen.mmdebstrap {
        packages.push("mmdebstrap");
    }
    let client_comes = packages.contains(&"docker.io");
    if !packages.is_empty() {
        actions.push(Action::Packages { names: packages, optional });
    }
    if engine {
        actions.push(Action::StartEngine { systemd: seen.systemd });
    }
    actions.extend(raised_inotify(spec, seen));
    if !seen.docker_client && !client_comes && seen.apt {
        actions.push(Action::DockerClient);
    }
    let engine_will_answer = engine || matches!(seen.engine, EngineSeen::Answers(_));
    if seen.usable_kind().is_none() {
        let package = (seen.apt && seen.root && seen.kind_package).then_some(KindSource::Package);
        let go = seen.go.then_some(KindSource::Go);
        let recipe = engine_will_answer.then_some(KindSource::Recipe);
        let sources: Vec<KindSource> = [package, go, recipe].into_iter().flatten().collect();
        if !sources.is_empty() {
            actions.push(Action::Kind { sources });
        }
    }
    actions
}

/// Does what was agreed to, one after another.
///
/// # Errors
/// The first action that failed, in its own words.
pub(crate) async fn carry_out(cx: &StepCx, fixer: &Fixer<'_>, actions: &[Action]) -> Result<()> {
    for action in actions {
        cx.say(action.to_string());
        let done = match action {
            Action::ConfigureRuntime => engine::configure_runtime(),
            Action::Packages { names, optional } => engine::install_packages(cx, names, optional).await,
            Action::StartEngine { systemd } => engine::start(cx, *systemd).await,
            Action::RaiseInotify { instances, watches } => {
                raise_inotify(Path::new("/proc/sys/fs/inotify"), *instances, *watches)
            }
            Action::DockerClient => docker_client().await,
            Action::Kind { sources } => kind(cx, fixer, sources).await,
        };
        done.with_context(|| format!("cannot {action}"))?;
    }
    Ok(())
}

fn raised_inotify(spec: &LabSpec, seen: &Observed) -> Option<Action> {
    let now = seen.inotify.filter(|_| seen.root)?;
    let short = seen.lab.is_none() && seen.inotify_room.is_some_and(|room| room < needs::of(spec).inotify);
    let instances = inotify_target(now.instances, INOTIFY_MIN.instances, short);
    let watches = inotify_target(now.watches, INOTIFY_MIN.watches, false);
    ((instances, watches) != (now.instances, now.watches)).then_some(Action::RaiseInotify { instances, watches })
}

fn raise_inotify(folder: &Path, instances: u64, watches: u64) -> Result<()> {
    for (name, least) in [("max_user_instances", instances), ("max_user_watches", watches)] {
        let path = folder.join(name);
        let shown = path.display();
        let now = std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
        if now.trim().parse::<u64>().is_ok_and(|now| now < least) {
            std::fs::write(&path, least.to_string()).with_context(|| format!("cannot write {shown}"))?;
        }
    }
    Ok(())
}

/// The client alone, out of whichever package has it: installing `docker.io` beside another engine would disturb that.
async fn docker_client() -> Result<()> {
    let package = if observe::candidate("docker-cli").await.is_some() { "docker-cli" } else { "docker.io" };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let path = folder.path().to_string_lossy().into_owned();
    Cmd::new("sh")
        .args(["-c", "cd \"$1\" && apt-get download -q \"$2\" && dpkg-deb -x ./*.deb tree", "sh", &path, package])
        .run_within(BUILD_LIMIT)
        .await?;
    let client = std::fs::read(folder.path().join("tree/usr/bin/docker"))
        .with_context(|| format!("the package {package} has no docker client"))?;
    keep_executable("docker", &client)
}

async fn kind(cx: &StepCx, fixer: &Fixer<'_>, sources: &[KindSource]) -> Result<()> {
    let mut failed = Vec::new();
    for source in sources {
        let got = match source {
            KindSource::Package => engine::install_packages(cx, &["kind"], &[]).await,
            KindSource::Go => kind_from_go().await,
            KindSource::Recipe => kind_from_recipe(fixer).await,
        };
        match got {
            Ok(()) => return Ok(()),
            Err(error) => failed.push(format!("{error:#}")),
        }
        if failed.len() < sources.len() {
            cx.say("that did not work; trying the next source of kind");
        }
    }
    bail!("no source had kind {KIND_MIN} or newer:\n{}", failed.join("\n"))
}

async fn kind_from_go() -> Result<()> {
    let go = process::find("go").context("there is no Go")?;
    // Go needs a home for its caches even where the user has none.
    let bin = process::bin_home();
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    Cmd::new(go)
        .args(["install", KIND_MODULE])
        .env("GOBIN", bin)
        .env("CGO_ENABLED", "0")
        .run_within(BUILD_LIMIT)
        .await?;
    Ok(())
}

async fn kind_from_recipe(fixer: &Fixer<'_>) -> Result<()> {
    let docker = Docker::connect().await?;
    let image = (fixer.kind_recipe)(docker.clone()).await?;
    keep_executable("kind", &docker.file_of_image(&image, "/kind").await?)
}

/// Puts an executable into our own folder, whole or not at all.
fn keep_executable(name: &str, content: &[u8]) -> Result<()> {
    let bin = process::bin_home();
    install(&bin.join(name), content)
}

/// Writes an executable beside its place and renames it: a program that runs can be replaced, but not written to.
pub(crate) fn install(path: &Path, content: &[u8]) -> Result<()> {
    let shown = path.display();
    let folder = path.parent().with_context(|| format!("{shown} is no file in a folder"))?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut file =
        tempfile::NamedTempFile::new_in(folder).with_context(|| format!("cannot write into {}", folder.display()))?;
    std::io::Write::write_all(&mut file, content).with_context(|| format!("cannot write {shown}"))?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(file.path(), mode).with_context(|| format!("cannot make {shown} executable"))?;
    file.persist(path).with_context(|| format!("cannot write {shown}"))?;
    Ok(())
}

#[cfg(test)]
#[path = "fix_tests.rs"]
mod tests;
