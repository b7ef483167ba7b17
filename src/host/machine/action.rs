//! What would cure this machine, as data to be shown and agreed to. Touches only what is missing, and never an engine that
//! answers.

use std::fmt;

use serde::Serialize;

use crate::{
    host::{
        folders,
        machine::{
            building::bases_are_made,
            engine,
            needs::{self, INOTIFY_MIN, inotify_target},
            observe::{EngineSeen, Observed},
        },
    },
    spec::LabSpec,
};

/// The version of `kind` that `go install` gets.
pub(super) const KIND_MODULE: &str = "sigs.k8s.io/kind@v0.33.0";

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
                write!(f, "unpack the docker client from its Debian package into {}", folders::bin_home().display())
            }
            Action::Kind { sources } => {
                let source = |source: &KindSource| match source {
                    KindSource::Package => "its Debian package".to_owned(),
                    KindSource::Go => format!("the Go module {KIND_MODULE} (into {})", folders::bin_home().display()),
                    KindSource::Recipe => {
                        format!("the Go module, built in a container (into {})", folders::bin_home().display())
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

fn raised_inotify(spec: &LabSpec, seen: &Observed) -> Option<Action> {
    let now = seen.inotify.filter(|_| seen.root)?;
    let short = seen.lab.is_none() && seen.inotify_room.is_some_and(|room| room < needs::of(spec).inotify);
    let instances = inotify_target(now.instances, INOTIFY_MIN.instances, short);
    let watches = inotify_target(now.watches, INOTIFY_MIN.watches, false);
    ((instances, watches) != (now.instances, now.watches)).then_some(Action::RaiseInotify { instances, watches })
}

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
