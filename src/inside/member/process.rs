//! A member's server as a process: started, watched, stopped. The only file that starts a child inside a pod: unlike
//! `host::process`, the child's log goes straight to ours, and it is told to end, never dropped.

use std::{io::ErrorKind, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::process::{Child, Command};

/// A server's exit status when it wants to be started again.
const RESTART: i32 = 16;

/// A running server.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

/// A program and its arguments, none of which is a secret: everybody on the node can read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// Found in PATH, or a path.
    pub(super) program: String,
    /// What follows it.
    pub(super) args: Vec<String>,
    /// What its environment has besides ours.
    pub(super) env: Vec<(&'static str, String)>,
}

impl CommandLine {
    /// A program and its arguments.
    pub(super) fn new(program: impl Into<String>, args: Vec<String>) -> CommandLine {
        CommandLine { program: program.into(), args, env: Vec::new() }
    }

    /// Runs it to its end, which is that of a dropped future too.
    ///
    /// # Errors
    /// It cannot be started, or ends with another status than 0; its log says why.
    pub(super) async fn run(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        let status = quiet(command.args(&self.args).envs(self.env.clone())).kill_on_drop(true).status().await;
        let status = status.with_context(|| format!("cannot start {}", self.program))?;
        ensure!(status.success(), "{} failed ({status}); the log says why", self.program);
        Ok(())
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It asked for a new start; a finished copy does.
    Restart,
    /// In any other way, with its exit status if it had one.
    Otherwise(Option<i32>),
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn spawn(line: &CommandLine) -> Result<Process> {
        let child = quiet(Command::new(&line.program).args(&line.args).envs(line.env.clone())).spawn();
        Ok(Process { child: child.with_context(|| format!("cannot start {}", line.program))? })
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub(super) fn ended(&mut self) -> Result<Option<Ended>> {
        Ok(self.child.try_wait().context("cannot ask for the server's status")?.map(|status| ended(status.code())))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub(super) async fn wait(&mut self) -> Result<Ended> {
        Ok(ended(self.child.wait().await.context("cannot wait for the server")?.code()))
    }

    /// Asks it to end, and ends it by force after `patience`: a source that waits for a replica's answer may not end.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub(super) async fn stop(&mut self, patience: Duration) -> Result<()> {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(pid, Signal::TERM).context("cannot signal the server")?;
        }
        if let Ok(ended) = tokio::time::timeout(patience, self.wait()).await {
            return ended.map(drop);
        }
        crate::inside::log("the server did not end in time and is ended by force");
        self.kill().await
    }

    /// Ends it by force, at once: whatever it is in the middle of is not acknowledged to anybody.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub(super) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("cannot end the server")
    }

    /// Its process id, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }
}

fn ended(code: Option<i32>) -> Ended {
    if code == Some(RESTART) { Ended::Restart } else { Ended::Otherwise(code) }
}

/// A group of its own, so that a terminal's Ctrl-C reaches only us; the log goes where ours goes.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(Stdio::inherit()).process_group(0)
}

/// As PID 1, collects processes that somebody else left behind. `ours` are awaited where they were started.
pub(super) fn reap_orphans(ours: Option<u32>) {
    for (pid, stat) in processes() {
        if orphaned_zombie(&stat) && ours != Some(pid.as_raw_pid().cast_unsigned()) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// As PID 1, ends what a server that has ended left behind, with all that belongs to it; none of our own runs now. Commands that
/// somebody else runs in the pod have a parent outside of it.
pub(super) fn end_orphans() {
    let mut left: Vec<(Pid, Option<i32>)> = processes().map(|(pid, stat)| (pid, parent(&stat))).collect();
    let mut parents = vec![1];
    while let Some(of) = parents.pop() {
        let (children, others) = left.into_iter().partition(|(_, parent)| *parent == Some(of));
        left = others;
        for (pid, _) in children {
            let _ = kill_process(pid, Signal::KILL);
            parents.push(pid.as_raw_pid());
        }
    }
}

/// The pod's processes, each with its `/proc/PID/stat`; nobody where this process is not the pod's first.
fn processes() -> impl Iterator<Item = (Pid, String)> {
    let first = std::process::id() == 1;
    let entries = first.then(|| std::fs::read_dir("/proc").ok()).flatten().into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        Some((Pid::from_raw(pid)?, std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
    })
}

/// The parent that a line of `/proc/PID/stat` tells. The command's name may hold anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Whether a line of `/proc/PID/stat` is that of an ended child of PID 1.
fn orphaned_zombie(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with("Z 1 "))
}

/// Whether starting failed because the image has no such program, which waiting does not cure.
pub(super) fn missing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == ErrorKind::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_restart_status_means_a_restart() {
        assert_eq!(ended(Some(16)), Ended::Restart);
        assert_eq!(ended(Some(0)), Ended::Otherwise(Some(0)));
        assert_eq!(ended(None), Ended::Otherwise(None));
    }

    #[test]
    fn an_orphan_is_a_zombie_of_pid_1_whatever_it_is_called() {
        assert!(orphaned_zombie("42 (a) Z 7 b) Z 1 42 42 0 -1"));
        assert!(!orphaned_zombie("42 (mysqld) Z 17 42 42 0 -1"));
        assert!(!orphaned_zombie("42 (mysqld) S 1 42 42 0 -1"));
        assert_eq!((parent("42 (a) Z 7 b) S 17 42 0"), parent("42 (a")), (Some(17), None));
    }
}
