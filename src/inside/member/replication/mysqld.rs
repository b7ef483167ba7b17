//! How mysqld is initialised and started.
//!
//! What topology `replication` relies on, of the public image `mysql:9.7` and of the package-built one alike:
//! - `mysqld` in PATH, version 9.7, which accepts `--initialize-insecure --init-file` and exits with status 16 on RESTART
//!   when `MYSQLD_PARENT_PID` is its parent's;
//! - user and group 999 may run it with nothing but `/var/lib/mysql`, `/var/run/mysqld` and `/tmp` writable;
//! - its plugin directory has `mysql_clone.so`, `semisync_source.so` and `semisync_replica.so`;
//! - nothing of the image's own entrypoint, configuration, shell or client programs is used.
//!
//! The package-built one brings a data directory along as well ([`unpack`]), which saves every member two seconds of a core.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::config::{Config, MY_CNF};
use crate::inside::member::process::{CommandLine, Process};

/// A data directory as `--initialize-insecure` makes it, packed: without accounts, server identity or keys, so that two labs
/// share nothing secret. Made with the image (`lab/images/mysql/Dockerfile`).
const PACKED: &str = "/usr/share/wplab/mysql-data.tar.gz";
/// The lab file's own settings.
const LAB_CNF: &str = "/etc/wplab/mysql/lab.cnf";
/// Settings that a data directory is made with and keeps; where one is set, ours does not fit.
const MADE_WITH: [&str; 5] =
    ["lower_case_table_names", "innodb_page_size", "innodb_data_", "innodb_undo_", "innodb_log_group_home_dir"];

/// Unpacks the data directory that the image brings; `false` when it brings none, or one that does not fit the settings.
/// Accounts are made by the first start ([`start`]'s init file).
///
/// # Errors
/// It cannot be unpacked.
pub(super) async fn unpack(datadir: &Path) -> Result<bool> {
    let settings = fs::read_to_string(LAB_CNF).unwrap_or_default();
    if !Path::new(PACKED).is_file() || !fits(&settings) {
        return Ok(false);
    }
    let args = ["-xzf", PACKED, "-C"].map(str::to_owned).into_iter().chain([datadir.display().to_string()]).collect();
    CommandLine::new("tar", args).run().await.context("cannot unpack the image's data directory")?;
    Ok(true)
}

fn fits(settings: &str) -> bool {
    // The server takes a dash for an underscore.
    let settings = settings.replace('-', "_");
    !settings.lines().any(|line| MADE_WITH.iter().any(|name| line.trim_start().starts_with(name)))
}

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

/// Starts the server on an existing data directory: read-only, following nobody, whatever it was before. With an init file
/// it is read-only as soon as that has been run, which is before anybody can connect.
///
/// # Errors
/// mysqld cannot be started.
pub(super) fn start(config: &Config, datadir: &Path, init_file: Option<&Path>) -> Result<Process> {
    let mut args = vec![
        format!("--defaults-file={MY_CNF}"),
        format!("--datadir={}", datadir.display()),
        format!("--server-id={}", config.ordinal + 1),
        format!("--report-host={}", config.host(config.ordinal)),
    ];
    args.push("--skip-replica-start=ON".to_owned());
    match init_file {
        None => args.push("--super-read-only=ON".to_owned()),
        Some(file) => {
            args.extend(["--super-read-only=OFF", "--read-only=OFF"].map(str::to_owned));
            args.push(format!("--init-file={}", file.display()));
        }
    }
    // With it mysqld believes that somebody starts it again, and ends with a status of its own when it wants that.
    let env = vec![("MYSQLD_PARENT_PID", std::process::id().to_string())];
    Process::spawn(&CommandLine { env, ..CommandLine::new("mysqld", args) })
}

/// Starts the server on a directory that nobody else has anything to do with: it follows nobody, takes writes and keeps no log of
/// them, and its events stay asleep.
///
/// # Errors
/// mysqld cannot be started.
pub(super) fn start_alone(datadir: &Path, init_file: &Path) -> Result<Process> {
    let mut args = vec![format!("--defaults-file={MY_CNF}"), format!("--datadir={}", datadir.display())];
    args.extend(["--skip-replica-start=ON", "--super-read-only=OFF", "--read-only=OFF"].map(str::to_owned));
    args.extend(["--skip-log-bin", "--event-scheduler=OFF"].map(str::to_owned));
    args.push(format!("--init-file={}", init_file.display()));
    Process::spawn(&CommandLine::new("mysqld", args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_directory_fits_unless_a_setting_is_of_those_that_it_keeps() {
        assert!(fits("[mysqld]\nmax_connections=5\ninnodb_buffer_pool_size=64M\n"));
        assert!(!fits("[mysqld]\n lower-case-table-names=1\n"));
        assert!(!fits("[mysqld]\ninnodb_page_size=8k\n"));
    }
}
