//! Commands in a container, and single HTTP requests to a pod through the API server.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::BodyExt;
use hyper::Request;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{api::AttachParams, client::Body};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{Cluster, Refused};
use crate::labels::NAMESPACE;

/// The longest that a command in a pod may take. A process on a dead hard mount never ends by itself.
const EXEC_LIMIT: Duration = Duration::from_secs(120);

/// The longest that a request to a pod may take.
const GET_LIMIT: Duration = Duration::from_secs(10);

impl Cluster {
    /// Runs a command in a container and returns its standard output. The command is visible in the process list of the
    /// pod, so it holds no secret.
    ///
    /// # Errors
    /// There is no such pod or container; the command takes more than two minutes, or fails: then with the end of its
    /// standard error.
    pub async fn exec(&self, pod: &str, container: &str, command: &[&str]) -> Result<String> {
        let shown = command.join(" ");
        let run = tokio::time::timeout(EXEC_LIMIT, self.exec_unbounded(pod, container, command, None)).await;
        run.with_context(|| format!("it did not end within {} s", EXEC_LIMIT.as_secs()))
            .flatten()
            .with_context(|| format!("cannot run `{shown}` in pod {pod}"))
    }

    /// The same with something on its standard input, which is seen in no list of processes.
    ///
    /// # Errors
    /// As [`Cluster::exec`].
    pub async fn exec_told(&self, pod: &str, container: &str, command: &[&str], input: &str) -> Result<String> {
        let shown = command.join(" ");
        let run = tokio::time::timeout(EXEC_LIMIT, self.exec_unbounded(pod, container, command, Some(input))).await;
        run.with_context(|| format!("it did not end within {} s", EXEC_LIMIT.as_secs()))
            .flatten()
            .with_context(|| format!("cannot run `{shown}` in pod {pod}"))
    }

    async fn exec_unbounded(
        &self,
        pod: &str,
        container: &str,
        command: &[&str],
        input: Option<&str>,
    ) -> Result<String> {
        let params = AttachParams::default().container(container).stdin(input.is_some()).stdout(true).stderr(true);
        let mut process = self.api::<Pod>().exec(pod, command.iter().copied(), &params).await.map_err(Refused)?;
        if let (Some(input), Some(mut stdin)) = (input, process.stdin()) {
            // With its end the command reads to the end.
            stdin.write_all(input.as_bytes()).await.context("the command does not read")?;
            stdin.shutdown().await.context("the command does not read")?;
        }
        let status = process.take_status();
        let (out, err) = (process.stdout(), process.stderr());
        // Both streams are drained side by side: a full one would stop the other and the status with it.
        let (out, err) = tokio::join!(all(out), all(err));
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        process.join().await.context("the connection to the pod broke")?;
        let status = status.context("the connection ended before the command did")?;
        if status.status.as_deref() == Some("Success") {
            return Ok(out);
        }
        let said = if err.trim().is_empty() { &out } else { &err };
        let last =
            said.trim().lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
        let ended = status.message.unwrap_or_else(|| "it failed".to_owned());
        let ended = ended.trim_start_matches("command terminated with non-zero exit code: ");
        Err(if last.is_empty() { anyhow!("{ended}") } else { anyhow!("{ended}: {last}") })
    }

    /// The body of `GET http://POD:PORT/PATH`, fetched by the API server, so that nothing of the pod is open on this machine.
    ///
    /// # Errors
    /// The pod does not answer within ten seconds, or not with a 2xx status.
    pub async fn pod_get(&self, pod: &str, port: u16, path: &str) -> Result<String> {
        self.proxied("pods", pod, port, path).await.with_context(|| format!("cannot get {path} from pod {pod}"))
    }

    /// The same from whichever pod is behind a Service. The path may have a query.
    ///
    /// # Errors
    /// As [`Cluster::pod_get`].
    pub async fn service_get(&self, service: &str, port: u16, path: &str) -> Result<String> {
        let got = self.proxied("services", service, port, path).await;
        got.with_context(|| format!("cannot get {path} from Service {service}"))
    }

    async fn proxied(&self, kind: &str, name: &str, port: u16, path: &str) -> Result<String> {
        let path = path.trim_start_matches('/');
        let uri = format!("/api/v1/namespaces/{NAMESPACE}/{kind}/{name}:{port}/proxy/{path}");
        let got = tokio::time::timeout(GET_LIMIT, self.get_uri(&uri)).await;
        got.with_context(|| format!("no answer within {} s", GET_LIMIT.as_secs())).flatten()
    }

    async fn get_uri(&self, uri: &str) -> Result<String> {
        let request = Request::get(uri).body(Body::empty()).context("cannot make the request")?;
        let answer = self.client.send(request).await.map_err(Refused)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(Refused)?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok(body);
        }
        // The API server's own refusals are Status objects; anything else is the pod's own answer.
        let message = serde_json::from_str::<Status>(&body).ok().and_then(|status| status.message);
        let message = message.unwrap_or_else(|| body.lines().next().unwrap_or_default().chars().take(200).collect());
        bail!("status {status}: {message}")
    }
}

async fn all(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What was read before an error is still worth showing; the error itself shows in the command's status.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
