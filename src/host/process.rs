//! The one way to start a child process: quoted for pasting, exit status always checked, output kept, and its whole
//! process group ended when the future is dropped.

use std::{
    ffi::OsString,
    fmt,
    fs::{File, OpenOptions},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
};

use crate::run::advice::{Advise, Blame, Hint, Trouble};

/// A command to run. Its standard input is empty unless [`Cmd::stdin`] says otherwise.
#[derive(Debug)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    stdin: Option<File>,
    with_us: bool,
}

/// What a command printed; it ended with status 0.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A command ended with another status than 0, or by a signal.
#[derive(Clone, Debug)]
pub struct CommandFailed {
    /// The command, quoted for pasting into a shell.
    pub command: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The last lines of its standard error (or output, when that is empty).
    pub said: String,
}

impl fmt::Display for CommandFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "`{}` ended with status {code}", self.command)?,
            None => write!(f, "`{}` was ended by a signal", self.command)?,
        }
        if self.said.is_empty() { Ok(()) } else { write!(f, ":\n{}", self.said) }
    }
}

impl Advise for CommandFailed {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Paste]
    }
}

impl Cmd {
    /// A command by name (looked up in PATH) or path.
    pub fn new(program: impl Into<OsString>) -> Cmd {
        Cmd { program: program.into(), args: Vec::new(), envs: Vec::new(), stdin: None, with_us: false }
    }

    /// One more argument. Never a secret: arguments can be read by every user of the machine.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Cmd {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Cmd {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// One environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Cmd {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// An open file as standard input. A lock held on it lives as long as the child does.
    #[must_use]
    pub fn stdin(mut self, file: File) -> Cmd {
        self.stdin = Some(file);
        self
    }

    /// The command is ended even when we are killed outright (where `setpriv` can do that); otherwise it would go on
    /// alone, and might hang for ever with a lock in its hands.
    #[must_use]
    pub fn ends_with_us(mut self) -> Cmd {
        self.with_us = true;
        self
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The program cannot be started, or [`CommandFailed`].
    pub async fn run(self) -> Result<Output> {
        self.watch(|_| {}).await
    }

    /// Runs to the end and tells each line of standard error as it comes.
    ///
    /// # Errors
    /// The program cannot be started, or [`CommandFailed`].
    pub async fn watch(self, on_line: impl FnMut(&str)) -> Result<Output> {
        let shown = self.to_string();
        let mut command = if self.with_us && can_end_with_us().await {
            let mut bound = Command::new("setpriv");
            bound.args(ENDS_WITH_US).arg(&self.program);
            bound
        } else {
            Command::new(&self.program)
        };
        command.args(&self.args).envs(self.envs).process_group(0).kill_on_drop(true);
        command.stdin(self.stdin.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
        let _group = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).map(Group);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr, status) = tokio::join!(lines(out, |_| {}), lines(err, on_line), child.wait());
        let output = Output { stdout, stderr };
        let status = status.with_context(|| format!("cannot wait for `{shown}`"))?;
        if status.success() {
            return Ok(output);
        }
        let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
        Err(Trouble::from(CommandFailed { command: shown, code: status.code(), said: tail(said, 12) }).into())
    }

    /// [`Cmd::run`] that ends the command after `limit`.
    ///
    /// # Errors
    /// As [`Cmd::run`]; or the limit has passed.
    pub async fn run_within(self, limit: Duration) -> Result<Output> {
        let shown = self.to_string();
        tokio::time::timeout(limit, self.run())
            .await
            .with_context(|| format!("`{shown}` did not end within {} s", limit.as_secs()))?
    }

    /// Starts a daemon that outlives us: in a session of its own (`setsid --fork`), with its output appended to `log`.
    /// Whether it works is the caller's to find out.
    ///
    /// # Errors
    /// The log cannot be opened, or `setsid` (util-linux) cannot be started.
    pub async fn detached(self, log: &Path) -> Result<()> {
        let shown = self.to_string();
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let (out, err) = (open(), open());
        let (out, err) =
            out.and_then(|out| Ok((out, err?))).with_context(|| format!("cannot write {}", log.display()))?;
        let mut setsid = Command::new("setsid");
        setsid.arg("--fork").arg(&self.program).args(&self.args).envs(self.envs);
        setsid.stdin(self.stdin.map_or_else(Stdio::null, Stdio::from)).stdout(out).stderr(err);
        let status = setsid.status().await.with_context(|| format!("cannot start `setsid --fork {shown}`"))?;
        if status.success() {
            return Ok(());
        }
        let command = format!("setsid --fork {shown}");
        Err(Trouble::from(CommandFailed { command, code: status.code(), said: String::new() }).into())
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// `setpriv` with these arguments has the kernel end a program when the thread that started it is gone. Ours are the
/// runtime's own and live as long as the process.
const ENDS_WITH_US: [&str; 3] = ["--pdeathsig", "TERM", "--"];

/// There is a `setpriv` that knows how; not every one does.
async fn can_end_with_us() -> bool {
    let mut probe = Command::new("setpriv");
    probe.args(ENDS_WITH_US).arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().await.is_ok_and(|status| status.success())
}

/// Ends the whole process group when dropped; a group that has ended already is no error.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::TERM);
    }
}

fn quoted(word: &OsString) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

async fn lines(stream: Option<impl AsyncRead + Unpin>, mut on_line: impl FnMut(&str)) -> String {
    let mut text = String::new();
    let Some(stream) = stream else { return text };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line).await, Ok(n) if n > 0) {
        let shown = String::from_utf8_lossy(&line);
        on_line(shown.trim_end());
        text.push_str(&shown);
        line.clear();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::advice;

    #[test]
    fn a_command_is_shown_so_that_it_can_be_pasted() {
        let cmd = Cmd::new("kind").args(["create", "cluster", "it's", ""]);
        assert_eq!(cmd.to_string(), r"kind create cluster 'it'\''s' ''");
    }

    #[tokio::test]
    async fn a_failure_carries_the_command_its_code_and_its_last_words() {
        let error =
            Cmd::new("sh").args(["-c", "echo out; echo no such thing >&2; exit 3"]).run().await.expect_err("fails");
        let failed = advice::find::<CommandFailed>(&error).expect("typed");
        assert_eq!((failed.code, failed.said.as_str()), (Some(3), "no such thing"));
    }

    #[tokio::test]
    async fn what_ends_with_us_is_the_same_command_otherwise() {
        let cmd = Cmd::new("sh").args(["-c", "echo $0 $1", "a", "b c"]).ends_with_us();
        assert_eq!(cmd.to_string(), "sh -c 'echo $0 $1' a 'b c'");
        assert_eq!(cmd.run().await.expect("runs").stdout, "a b c\n");
        let error = Cmd::new("sh").args(["-c", "exit 3"]).ends_with_us().run().await.expect_err("fails");
        let failed = advice::find::<CommandFailed>(&error).expect("typed");
        assert_eq!((failed.command.as_str(), failed.code), ("sh -c 'exit 3'", Some(3)));
    }

    #[tokio::test]
    async fn a_daemon_outlives_its_starter_and_writes_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        Cmd::new("sh").args(["-c", "echo up; echo worse >&2"]).detached(&log).await.expect("starts");
        let written = crate::run::wait::until(
            "the log",
            Duration::from_secs(5),
            Duration::from_millis(20),
            |_| {},
            || {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let look = if text == "up\nworse\n" {
                    crate::run::wait::Look::Ready(())
                } else {
                    crate::run::wait::Look::NotYet(text)
                };
                async move { Ok(look) }
            },
        );
        written.await.expect("both lines");
    }

    #[tokio::test]
    async fn dropping_the_future_ends_the_whole_group() {
        let run = Cmd::new("sh").args(["-c", "sleep 60 & echo $! >&2; wait"]);
        let (send, receive) = std::sync::mpsc::channel();
        let task = tokio::spawn(run.watch(move |line| drop(send.send(line.to_owned()))));
        let pid = tokio::task::spawn_blocking(move || receive.recv()).await.expect("joined").expect("a pid");
        task.abort();
        let gone = crate::run::wait::until(
            "the child",
            Duration::from_secs(5),
            Duration::from_millis(20),
            |_| {},
            || {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                let gone = stat.is_empty() || stat.contains(") Z ");
                async move {
                    Ok(if gone {
                        crate::run::wait::Look::Ready(())
                    } else {
                        crate::run::wait::Look::NotYet("alive".into())
                    })
                }
            },
        );
        gone.await.expect("the sleep ends");
    }
}
