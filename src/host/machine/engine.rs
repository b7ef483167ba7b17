//! Installing and starting a Docker engine where none answers; also in sandboxes whose processes can never have
//! CAP_SYS_RESOURCE, with [`super::runc_shim`] as the engine's runtime.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};

use crate::{
    host::{
        docker::Docker,
        machine::files,
        process::{self, Cmd},
        programs,
    },
    run::{StepCx, wait::Look},
};

/// The engine's configuration.
pub(crate) const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// Our executable as the engine's runtime; `lab/host/daemon.json` names it too.
pub(crate) const SHIM: &str = "/usr/local/lib/wplab/wplab";
/// What an engine that we started by hand says.
pub(crate) const LOG: &str = "/var/log/wplab-dockerd.log";

const START_LIMIT: Duration = Duration::from_mins(2);
const EVERY: Duration = Duration::from_millis(500);

/// The configuration that makes us the engine's runtime.
const OURS: &str = include_str!("../../../lab/host/daemon.json");

/// Whether the engine that we would start has a configuration already: somebody's, or ours with the runtime that it names.
pub(crate) fn configured() -> bool {
    is_configured(Path::new(DAEMON_JSON), Path::new(SHIM))
}

/// Whether the engine that we would start, configured as it is or as `--fix` would configure it, has our runtime.
pub(crate) fn has_our_runtime() -> bool {
    std::fs::read_to_string(DAEMON_JSON).is_ok_and(|text| text == OURS)
}

fn is_configured(json: &Path, shim: &Path) -> bool {
    match std::fs::read_to_string(json) {
        Ok(text) => text != OURS || shim.exists(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Writes the engine's configuration that makes us its runtime, and puts us where it says. Never over somebody's.
///
/// # Errors
/// A file cannot be written; or there is a configuration after all.
pub(crate) fn configure_runtime() -> Result<()> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let content = std::fs::read(&own).with_context(|| format!("cannot read {}", own.display()))?;
    files::executable(Path::new(SHIM), &content)?;
    if std::fs::read_to_string(DAEMON_JSON).is_ok_and(|text| text == OURS) {
        return Ok(());
    }
    files::write_new(Path::new(DAEMON_JSON), OURS)
}

/// Starts the engine, unless one answers by now, and waits until it does.
///
/// # Errors
/// It does not start; with the last lines of what it said.
pub(crate) async fn start(cx: &StepCx, systemd: bool) -> Result<()> {
    if Docker::connect().await.is_ok() {
        return Ok(());
    }
    let log = Path::new(LOG);
    if systemd {
        Cmd::new("systemctl").args(["enable", "--now", "docker"]).run_within(START_LIMIT).await?;
    } else {
        let dockerd = programs::find("dockerd").context("the package brought no dockerd")?;
        // One that was just told to end takes its time, and its pid file keeps the next one from starting.
        cx.until("an engine that is ending", START_LIMIT, EVERY, || async {
            Ok(match programs::running("dockerd") {
                true => Look::NotYet("a dockerd runs but does not answer".to_owned()),
                false => Look::Ready(()),
            })
        })
        .await?;
        Cmd::new(dockerd).env("PATH", programs::child_path()).detached(log).await?;
    }
    let answers = cx.until("the Docker engine", START_LIMIT, EVERY, || async {
        Ok(match Docker::connect().await {
            Ok(_) => Look::Ready(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    });
    answers.await.with_context(|| {
        let said = if systemd {
            "`journalctl -u docker` says why".into()
        } else {
            process::tail(&std::fs::read_to_string(log).unwrap_or_default(), 8)
        };
        format!("the Docker engine was started but does not answer; {said}")
    })
}

/// Where an engine writes down which process it is.
const PID: &str = "/var/run/docker.pid";
/// There where systemd runs the machine.
const SYSTEMD: &str = "/run/systemd/system";

/// Why this engine cannot be restarted from here; `None` when it can.
pub fn stays(docker: &Docker) -> Option<String> {
    if docker.host() != "unix:///var/run/docker.sock" {
        return Some(format!("the engine at {} is not this machine's own", docker.host()));
    }
    if !rustix::process::geteuid().is_root() {
        return Some("only root restarts this machine's engine".to_owned());
    }
    let known = Path::new(SYSTEMD).exists() || pid().is_some();
    (!known).then(|| format!("nobody knows which process the engine is: {PID} does not say so"))
}

/// Whether this engine was started by us, by hand: then nobody else relies on it.
pub fn ours() -> bool {
    !Path::new(SYSTEMD).exists() && Path::new(LOG).exists()
}

/// Whether this machine's systemd starts and ends the engine.
#[must_use]
pub fn by_systemd() -> bool {
    Path::new(SYSTEMD).exists()
}

/// Ends the engine, with all that runs in it, and starts it again.
///
/// # Errors
/// It does not end, or does not come back.
pub async fn restart(cx: &StepCx) -> Result<()> {
    let systemd = by_systemd();
    if systemd {
        Cmd::new("systemctl").args(["restart", "docker"]).run_within(START_LIMIT).await?;
    } else {
        let pid = pid().with_context(|| format!("{PID} names no engine"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("cannot end the engine")?;
        cx.until("the engine's end", START_LIMIT, EVERY, || async {
            Ok(match programs::running("dockerd") {
                true => Look::NotYet("it is ending what runs in it".to_owned()),
                false => Look::Ready(()),
            })
        })
        .await?;
    }
    start(cx, systemd).await
}

/// The engine's process, if its file tells the truth.
fn pid() -> Option<rustix::process::Pid> {
    let number: i32 = std::fs::read_to_string(PID).ok()?.trim().parse().ok()?;
    let name = std::fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
    rustix::process::Pid::from_raw(number).filter(|_| name.trim() == "dockerd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_our_copy_and_its_hidden_command() {
        let config: serde_json::Value = serde_json::from_str(OURS).expect("JSON");
        let runtime = &config["runtimes"]["wplab"];
        assert_eq!((config["default-runtime"].as_str(), runtime["path"].as_str()), (Some("wplab"), Some(SHIM)));
        assert_eq!(runtime["runtimeArgs"][0], "runc-shim");
    }

    #[test]
    fn ours_without_the_runtime_that_it_names_is_no_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let (json, shim) = (folder.path().join("daemon.json"), folder.path().join("wplab"));
        assert!(!is_configured(&json, &shim));
        files::write_new(&json, OURS).expect("written");
        assert!(!is_configured(&json, &shim));
        std::fs::write(&shim, "").expect("written");
        assert!(is_configured(&json, &shim));
        std::fs::write(&json, "{}").expect("written");
        std::fs::remove_file(&shim).expect("removed");
        assert!(is_configured(&json, &shim), "somebody's own");
    }

    #[test]
    fn a_configuration_that_is_there_is_never_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("docker/daemon.json");
        files::write_new(&path, "{}").expect("written");
        assert!(files::write_new(&path, "other").is_err());
        assert_eq!(std::fs::read_to_string(path).expect("read"), "{}");
    }
}
