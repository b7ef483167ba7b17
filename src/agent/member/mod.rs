//! `wplab member mysql`, PID 1 of a database pod: initialises, clones, follows, supervises and answers for one mysqld.
//!
//! The loop is in `supervise`: look, let the pure function in [`decide`] choose one action, do it, again. What the image
//! must bring is listed at `mysqld`; what the pod mounts is listed at `config`; [`status`] is what `up` reads.

mod config;
mod datadir;
pub mod decide;
mod http;
mod local;
mod mysqld;
mod peers;
mod promote;
pub mod status;
mod supervise;

use anyhow::Result;
use config::Config;

/// What to do as, or in, a database pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberCommand {
    /// PID 1: bring this member up and keep it up until SIGTERM.
    Mysql,
    /// Open this member for writes, now and after its restarts; `up` executes it in the source's pod.
    Promote,
}

/// Runs one of the member's commands.
///
/// # Errors
/// The pod is not set up as the manifests say; for [`MemberCommand::Promote`] also: the member must not or cannot be
/// opened, with the reason. [`MemberCommand::Mysql`] waits inside rather than fail for anything that may pass.
pub async fn main(command: MemberCommand) -> Result<()> {
    let config = Config::from_env()?;
    match command {
        MemberCommand::Mysql => supervise::run(config).await,
        MemberCommand::Promote => promote::run(&config).await,
    }
}
