//! `wplab member mysql|galera`, PID 1 of a database pod: initialises, copies, follows, supervises and answers for one server.
//! Topology `galera` is the room of that name; here is topology `replication`, and what both share.
//!
//! The loop is in `supervise`: look, let the pure function in [`decide`] choose one action, do it, again. What the image
//! must bring is listed at `mysqld`; what the pod mounts is listed at `config`; [`status`] is what `up` reads.

mod config;
mod datadir;
pub mod decide;
pub mod galera;
mod http;
mod local;
mod mysqld;
mod peers;
mod promote;
pub mod status;
mod supervise;
mod turns;

use anyhow::Result;
use config::Config;
pub use config::HTTP_PORT;

/// The container of a member's pod in which its supervisor runs.
pub const CONTAINER: &str = "mysql";

/// What to do as, or in, a database pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberCommand {
    /// PID 1: bring this member up and keep it up until SIGTERM.
    Mysql,
    /// Open this member for writes, now and after its restarts; the agent executes it in the source's pod.
    Promote,
    /// PID 1 of a member of topology `galera`.
    Galera,
    /// Start the cluster from this member; `wplab recover` executes it in the pod that the operator chose.
    Bootstrap,
}

/// Runs one of the member's commands.
///
/// # Errors
/// The pod is not set up as the manifests say; for [`MemberCommand::Promote`] also: the member must not or cannot be
/// opened, with the reason; for [`MemberCommand::Bootstrap`] likewise. [`MemberCommand::Mysql`] and
/// [`MemberCommand::Galera`] wait inside rather than fail for anything that may pass.
pub async fn main(command: MemberCommand) -> Result<()> {
    match command {
        MemberCommand::Mysql => supervise::run(Config::from_env()?).await,
        MemberCommand::Promote => promote::run(&Config::from_env()?).await,
        MemberCommand::Galera => galera::run().await,
        MemberCommand::Bootstrap => galera::force().await,
    }
}
