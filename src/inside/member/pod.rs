//! What every member's pod has, whatever its topology (`manifests/database`).

use anyhow::{Context, Result};

/// The member's volume. Beside the data directory it holds markers.
pub(crate) const VOLUME: &str = "/var/lib/mysql";
/// The server's socket, and the init file while there is one: a directory of the pod's own.
pub(crate) const RUN: &str = "/var/run/mysqld";
/// The supervisor's HTTP port.
pub const HTTP_PORT: u16 = 8081;

/// A password of the Secret `db-credentials`: `root`, `wordpress` or `replication`.
///
/// # Errors
/// The file is not there.
pub(super) fn password(of: &str) -> Result<String> {
    let path = format!("/etc/wplab/credentials/{of}-password");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.trim_end_matches('\n').to_owned())
}
