//! nfs-ganesha, started as the pod starts it, on a real volume.

use std::{fs, net::SocketAddr, path::Path, sync::Mutex, sync::PoisonError, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::ConfigMap};
use rustix::process::{Pid, Signal, kill_process};

use super::{CONFIG, Judgement};
use crate::{
    cluster::manifests::{self, name_of, typed},
    host::process::Cmd,
    inside::nfs_ready,
    run::wait::{self, Look},
};

/// How long ganesha may take to export, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(100);
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 2049);
const EXPORT: &str = "/export";
/// Where the pod's command has the process id written to.
const PID: &str = "/var/run/ganesha/ganesha.pid";
/// What older releases do not know, say so, and go on.
const OPTIONAL: [&str; 1] = ["allow_set_io_flusher_fail"];

/// Starts ganesha with the pod's command and configuration, asks for the export, and stops it.
///
/// # Errors
/// It does not start or export, does not know a parameter, leaves something in the volume, or does not end.
pub(super) async fn exports() -> Result<Judgement> {
    let command = furnish()?;
    let (program, args) = command.split_first().context("the pod has no command")?;
    let log = Mutex::new(Vec::<String>::new());
    let log_line = |line: &str| log.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    // Its log goes to standard output, of which only a shell can make standard error.
    let shell = format!("exec 1>&2; exec {} \"$@\"", program);
    let server = Cmd::new("sh").arg("-c").arg(shell).arg(program.as_str()).args(args.iter().cloned()).watch(log_line);
    tokio::pin!(server);
    let said = || last_words(&log.lock().unwrap_or_else(PoisonError::into_inner));
    let look = || async {
        Ok(match nfs_ready::check(SocketAddr::from(ADDRESS), EXPORT).await {
            Ok(()) => Look::Ready(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    };
    tokio::select! {
        ready = wait::until("the export", PATIENCE, EVERY, |_| {}, look) => ready.with_context(said)?,
        end = &mut server => return Err(anyhow!("ganesha ended by itself ({}): {}", end.map_or_else(|e| e.to_string(), |_| "well".to_owned()), said())),
    }
    let text = fs::read_to_string(PID).with_context(|| format!("cannot read {PID}"))?;
    let pid =
        text.trim().parse().ok().and_then(Pid::from_raw).with_context(|| format!("{PID} has no process in it"))?;
    kill_process(pid, Signal::TERM).context("cannot signal ganesha")?;
    if tokio::time::timeout(PATIENCE, server).await.is_err() {
        bail!("ganesha did not end within {} s after SIGTERM", PATIENCE.as_secs());
    }
    let left: Vec<String> = fs::read_dir(EXPORT)
        .with_context(|| format!("cannot read {EXPORT}"))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "lost+found")
        .collect();
    ensure!(left.is_empty(), "ganesha left {} in {EXPORT}, which is what users see", left.join(", "));
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    unknown(&log)
}

/// What a log says that ended badly. Of D-Bus, Kerberos and rpcbind, which nothing here has, it always complains.
fn last_words(log: &[String]) -> String {
    let bad = [":CONFIG :CRIT", ":EXPORT :CRIT", ":FSAL :CRIT", ":FATAL"];
    let sentence = |line: &String| {
        // `TIME : epoch N : HOST : PROGRAM-PID[THREAD] FUNCTION :ROOM :LEVEL :TEXT`
        line.split_once("] ").map_or(line.as_str(), |(_, rest)| rest).to_owned()
    };
    let worst: Vec<String> = log.iter().filter(|line| bad.iter().any(|b| line.contains(b))).map(sentence).collect();
    let words = if worst.is_empty() { log.iter().map(sentence).collect() } else { worst };
    words[words.len().saturating_sub(3)..].join("; ")
}

/// What the log says of parameters that this release does not know.
fn unknown(log: &[String]) -> Result<Judgement> {
    let unknown: Vec<&str> = log.iter().map(String::as_str).filter(|line| line.contains("Unknown parameter")).collect();
    let (tolerated, refused): (Vec<&str>, Vec<&str>) =
        unknown.into_iter().partition(|line| OPTIONAL.iter().any(|name| line.contains(name)));
    ensure!(refused.is_empty(), "{}", refused.join("; "));
    Ok(if tolerated.is_empty() {
        Judgement::Holds("exported over NFSv4".to_owned())
    } else {
        Judgement::Differs(format!("exported over NFSv4; does not know {}, which does no harm", OPTIONAL.join(", ")))
    })
}

/// Writes what the pod mounts, and returns the pod's command.
fn furnish() -> Result<Vec<String>> {
    let objects = manifests::part("storage")?;
    let find = |name: &str| {
        objects.iter().find(|object| name_of(object) == name).with_context(|| format!("there is no {name}"))
    };
    let config: ConfigMap = typed(find("ConfigMap/nfs-config")?)?;
    for (name, text) in config.data.unwrap_or_default() {
        let path = Path::new(CONFIG).join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let set: StatefulSet = typed(find("StatefulSet/nfs")?)?;
    let pod = set.spec.and_then(|spec| spec.template.spec).context("it has no pod")?;
    let server = pod.containers.into_iter().find(|container| container.name == "ganesha");
    server.and_then(|server| server.command).context("container ganesha has no command")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_it_does_not_know_break_but_for_those_that_do_no_harm() {
        let log = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert!(matches!(unknown(&log(&["all well"])).expect("fine"), Judgement::Holds(_)));
        let harmless = "config :CRIT :Config File (/x:8): Unknown parameter (allow_set_io_flusher_fail)";
        assert!(matches!(unknown(&log(&[harmless])).expect("fine"), Judgement::Differs(_)));
        let error = unknown(&log(&[harmless, "Unknown parameter (Graceless)"])).expect_err("refused").to_string();
        assert_eq!(error, "Unknown parameter (Graceless)");
    }
}
