//! `wplab member mysql`, PID 1 of a pod of topology `replication`: initialises or copies, follows the source, supervises and
//! answers for one mysqld, and obeys the agent's orders ([`super::mandate`]).
//!
//! The loop is in `supervise`: look, let the pure function in [`decide`] choose one action, do it, again; an order comes
//! between two turns (`errand`, `obey`). What the image must bring is listed at `mysqld`; what the pod mounts is listed at `config`.

mod aside;
mod config;
mod datadir;
pub mod decide;
mod errand;
mod local;
mod mysqld;
mod obey;
mod peers;
mod supervise;

use anyhow::Result;
use config::Config;

/// Runs the member until SIGTERM or SIGINT.
///
/// # Errors
/// The pod is not set up as the manifests say. For anything that may pass the member waits.
pub(super) async fn run() -> Result<()> {
    supervise::run(Config::from_env()?).await
}
