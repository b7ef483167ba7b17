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

use std::path::Path;

use anyhow::Result;
use config::Config;

use super::{
    files::InitFile,
    pod::{RUN, VOLUME},
    process::Process,
};

/// Runs the member until SIGTERM or SIGINT.
///
/// # Errors
/// The pod is not set up as the manifests say. For anything that may pass the member waits.
pub(super) async fn run() -> Result<()> {
    supervise::run(Config::from_env()?).await
}

/// Makes a data directory and starts a server on it that is no member of anything and takes writes. The file is the server's while it
/// starts.
///
/// # Errors
/// The volume holds data; the pod is not set up as the manifests say; or the server refuses, and its log says why.
pub(super) async fn alone() -> Result<(Process, InitFile)> {
    let volume = datadir::Volume::new(VOLUME);
    volume.clear()?;
    // Run twice it makes the same, so nobody need know where the accounts come from.
    let mut sql = datadir::init_sql(&datadir::Passwords::read()?);
    // Whoever loads a backup into it may repeat what was archived since.
    sql += "GRANT REPLICATION_APPLIER, SESSION_VARIABLES_ADMIN ON *.* TO wordpress@'%';\n";
    let init = InitFile::write(Path::new(RUN), &sql)?;
    if !mysqld::unpack(&volume.draft()).await? {
        mysqld::initialise(&volume.draft(), init.path()).await?;
    }
    volume.adopt(false)?;
    Ok((mysqld::start_alone(&volume.datadir(), init.path())?, init))
}
