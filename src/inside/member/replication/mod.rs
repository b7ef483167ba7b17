//! `wplab member mysql`, PID 1 of a pod of topology `replication`: initialises or copies, follows the source, supervises and
//! answers for one mysqld. `wplab member promote` opens it for writes.
//!
//! The loop is in `supervise`: look, let the pure function in [`decide`] choose one action, do it, again. What the image
//! must bring is listed at `mysqld`; what the pod mounts is listed at `config`.

mod config;
mod datadir;
pub mod decide;
mod local;
mod mysqld;
mod peers;
mod promote;
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

/// Opens this member for writes, now and after its restarts.
///
/// # Errors
/// It must not or cannot be opened, with the reason.
pub(super) async fn promote() -> Result<()> {
    promote::run(&Config::from_env()?).await
}
