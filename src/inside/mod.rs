//! What runs inside the cluster, from the same static executable: PID 1 of a database member ([`member`]), the agent that
//! gives the members their roles ([`agent`]), the way of its orders to them ([`orders`]), the look at an image from inside
//! ([`inspect`]), a trial cluster's hands and eyes ([`trial`]), the kinds of objects by which a lab is told what to be ([`kinds`]), and how
//! the executable gets into a pod.

pub mod agent;
pub mod backup;
pub mod content;
pub(crate) mod figures;
pub(crate) mod http;
pub mod inspect;
pub mod kinds;
mod listen;
pub mod member;
pub mod nfs_ready;
pub mod orders;
pub mod trial;
pub(crate) mod wrong;

use std::{
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Copies this executable to `dir/wplab`, so that another container of the pod can run it; an init container does it.
///
/// # Errors
/// The executable cannot be read, or `dir` cannot be written.
pub fn install(dir: &Path) -> Result<()> {
    let own = std::env::current_exe().context("cannot find this executable")?;
    let (target, part) = (dir.join("wplab"), dir.join(".wplab.part"));
    // Renamed into place: an executable that is half there is never seen, and a running one is not written to.
    std::fs::copy(&own, &part).with_context(|| format!("cannot copy {} to {}", own.display(), part.display()))?;
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", part.display()))?;
    std::fs::rename(&part, &target).with_context(|| format!("cannot rename {} to {}", part.display(), target.display()))
}

/// Listens, from now on, for the signals that ask this process to end; the future is done when one has come.
///
/// # Errors
/// The operating system refuses.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// What was found; what is not there is nothing to fail for.
pub(crate) fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is not there need not be removed.
pub(crate) fn gone(removed: io::Result<()>) -> io::Result<()> {
    there(removed).map(drop)
}

/// One line for the container's log, which is standard error. There is no terminal and no renderer in a pod.
pub(crate) fn log(line: &str) {
    // A log that cannot be written is no reason to stop.
    let _ = writeln!(io::stderr().lock(), "wplab: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_copy_is_executable_and_replaces_an_older_one() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("wplab"), "older").expect("written");
        install(dir.path()).expect("installed");
        let installed = std::fs::metadata(dir.path().join("wplab")).expect("there");
        assert_eq!(installed.permissions().mode() & 0o777, 0o755);
        assert_eq!(installed.len(), std::fs::metadata(std::env::current_exe().expect("own")).expect("own").len());
    }
}
