//! `wplab member galera`, PID 1 of a pod of topology `galera`: finds its peers, takes part in the election, joins or
//! bootstraps, supervises and answers for one server. `wplab member bootstrap` is the operator's word in that election.
//!
//! The loop is in `supervise`; who may do what is decided by the pure function in [`decide`], from what [`registry`] reads
//! in etcd. What differs between MariaDB and Percona XtraDB Cluster is data, in `flavour`; what the pod mounts is in
//! `config`; what the volume holds is told by `volume`.

mod config;
pub mod decide;
mod flavour;
mod footprint;
mod force;
mod look;
mod peers;
pub mod registry;
mod reporter;
mod server;
mod supervise;
mod volume;
mod watch;

use std::path::Path;

use anyhow::{Context, Result};
use config::{Config, Paths};
use flavour::Flavour;

use super::process::Process;

/// Runs the member until SIGTERM or SIGINT.
///
/// # Errors
/// The pod is not set up as the manifests say. For anything that may pass the member waits.
pub(super) async fn run() -> Result<()> {
    supervise::run(Config::from_env()?).await
}

/// Lets this member start the cluster from its own data, whatever the others may have; `dead` are those that have ended for
/// good, by a person's word.
///
/// # Errors
/// The cluster runs, or may run at a member that cannot be asked; this one has nothing to start from; or etcd does not answer.
pub(super) async fn force(dead: &[String]) -> Result<()> {
    force::run(&Config::from_env()?, dead).await
}

/// Makes a data directory and starts a server of this flavour on it that is of no cluster.
///
/// # Errors
/// There is no such flavour; the volume holds data; the pod is not set up as the manifests say; or the server refuses, and its log says
/// why.
pub(super) async fn alone(flavour: &str) -> Result<Process> {
    let flavour = Flavour::named(flavour).with_context(|| format!("there is no server {flavour:?}"))?;
    let paths = Paths::of_the_pod(Path::new("/"));
    let volume = volume::Volume::new(&paths.volume, "alone");
    volume.clear(false)?;
    let more = flavour.replay_privileges.map(|of| format!("GRANT {of} ON *.* TO wordpress@'%';\n")).unwrap_or_default();
    server::initialise(flavour, &paths, &volume.draft(), &more).await?;
    volume.adopt()?;
    server::start_alone(flavour, &paths, &volume.datadir())
}
