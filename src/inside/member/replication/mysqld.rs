//! How mysqld is initialised and started.
//!
//! What topology `replication` relies on, of the public image `mysql:9.7` and of the package-built one alike:
//! - `mysqld` in PATH, version 9.7, which accepts `--initialize-insecure --init-file` and exits with status 16 on RESTART
//!   when `MYSQLD_PARENT_PID` is its parent's;
//! - user and group 999 may run it with nothing but `/var/lib/mysql`, `/var/run/mysqld` and `/tmp` writable;
//! - its plugin directory has `mysql_clone.so`, `semisync_source.so` and `semisync_replica.so`;
//! - nothing of the image's own entrypoint, configuration, shell or client programs is used.

use std::path::Path;

use anyhow::Result;

use super::config::{Config, MY_CNF};
use crate::inside::member::process::{CommandLine, Process};

/// Creates a data directory offline: no port, no socket, no binary log.
///
/// # Errors
/// mysqld cannot be started or refuses; its log says why.
pub(super) async fn initialise(datadir: &Path, init_file: &Path) -> Result<()> {
    let mut args = vec![
        format!("--defaults-file={MY_CNF}"),
        "--initialize-insecure".to_owned(),
        format!("--datadir={}", datadir.display()),
        format!("--init-file={}", init_file.display()),
    ];
    args.extend(["--skip-log-bin", "--super-read-only=OFF", "--read-only=OFF"].map(str::to_owned));
    CommandLine::new("mysqld", args).run().await
}

/// Starts the server on an existing data directory: read-only, following nobody, whatever it was before.
///
/// # Errors
/// mysqld cannot be started.
pub(super) fn start(config: &Config, datadir: &Path) -> Result<Process> {
    let mut args = vec![
        format!("--defaults-file={MY_CNF}"),
        format!("--datadir={}", datadir.display()),
        format!("--server-id={}", config.ordinal + 1),
        format!("--report-host={}", config.host(config.ordinal)),
    ];
    args.extend(["--super-read-only=ON", "--skip-replica-start=ON"].map(str::to_owned));
    // With it mysqld believes that somebody starts it again, and ends with a status of its own when it wants that.
    let env = vec![("MYSQLD_PARENT_PID", std::process::id().to_string())];
    Process::spawn(&CommandLine { env, ..CommandLine::new("mysqld", args) })
}
