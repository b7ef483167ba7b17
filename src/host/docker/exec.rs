//! Commands inside running containers.

use anyhow::{Context, Result, anyhow};
use bollard::{
    container::LogOutput,
    exec::{CreateExecOptions, StartExecResults},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::io::AsyncWriteExt;

use super::Docker;

/// Most bytes of output that are kept, at the end, of each of the two streams.
const KEPT: usize = 1 << 20;

/// How a command in a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// Exit code.
    pub code: i64,
    /// Standard output (its last MiB).
    pub stdout: String,
    /// Standard error (its last MiB).
    pub stderr: String,
}

impl Docker {
    /// Runs a command in a container, with empty standard input. A code other than 0 is no error here.
    ///
    /// # Errors
    /// There is no such running container, or the engine does not answer.
    pub async fn exec(&self, container: &str, command: &[&str]) -> Result<Exec> {
        self.exec_with_input(container, command, stream::empty()).await
    }

    /// Runs a command in a container with `input` on its standard input. No more of the input is read than the command takes.
    ///
    /// # Errors
    /// There is no such running container, or the engine does not answer.
    pub async fn exec_with_input(&self, container: &str, command: &[&str], input: impl Stream<Item = Bytes> + Send + 'static) -> Result<Exec> {
        let context = || format!("cannot run `{}` in container {container}", command.join(" "));
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..Default::default()
        };
        let exec = self.api.create_exec(container, options).await.map_err(|e| self.failed(&e)).with_context(context)?;
        let started = self.api.start_exec(&exec.id, None).await.map_err(|e| self.failed(&e)).with_context(context)?;
        let StartExecResults::Attached { mut output, input: mut stdin } = started else {
            return Err(anyhow!("the engine did not attach to the command")).with_context(context);
        };
        let feed = async move {
            let mut input = std::pin::pin!(input);
            while let Some(chunk) = input.next().await {
                // A command that ends early closes its input; its exit code tells why.
                if stdin.write_all(&chunk).await.is_err() {
                    break;
                }
            }
            let _ = stdin.shutdown().await;
            // The halves belong together: the output ends when this one is dropped too early.
            stdin
        };
        let listen = async {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            while let Some(item) = output.next().await {
                match item.map_err(|e| self.failed(&e)).with_context(context)? {
                    LogOutput::StdErr { message } => keep(&mut stderr, &message),
                    other => keep(&mut stdout, other.as_ref()),
                }
            }
            anyhow::Ok((stdout, stderr))
        };
        // The command decides when it is over: what is left of the input is not waited for.
        let mut feed = std::pin::pin!(feed);
        let mut listen = std::pin::pin!(listen);
        let (stdout, stderr) = tokio::select! {
            biased;
            heard = &mut listen => heard?,
            _stdin = &mut feed => listen.await?,
        };
        let ended = self.api.inspect_exec(&exec.id).await.map_err(|e| self.failed(&e)).with_context(context)?;
        let code = ended.exit_code.ok_or_else(|| anyhow!("the container went away meanwhile")).with_context(context)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Exec { code, stdout: text(stdout), stderr: text(stderr) })
    }
}

/// Keeps the end of what was heard.
fn keep(kept: &mut Vec<u8>, heard: &[u8]) {
    kept.extend_from_slice(heard);
    if kept.len() > KEPT {
        kept.drain(..kept.len() - KEPT);
    }
}
