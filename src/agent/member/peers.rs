//! The other members, asked over HTTP. Names are looked up by hickory, because a static executable cannot use the C
//! library's lookup.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    config::{Config, HTTP_PORT},
    decide::Peer,
    status::MemberStatus,
};
use crate::net::resolver;

/// How long the cluster's name server may take.
const LOOKUP: Duration = Duration::from_secs(1);
/// How long one peer may take; a pod that is gone does not answer at all.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than any status has.
const MOST_BYTES: usize = 1 << 20;

/// The other members.
pub(super) struct Peers {
    hosts: Vec<String>,
    resolver: TokioResolver,
}

impl Peers {
    /// Those of this configuration, by the pod's own name servers.
    ///
    /// # Errors
    /// The pod has no usable `/etc/resolv.conf`.
    pub(super) fn new(config: &Config) -> Result<Peers> {
        let resolver = resolver(LOOKUP)?;
        Ok(Peers { hosts: config.others().collect(), resolver })
    }

    /// Asks all of them at once; who does not answer in time has no status.
    pub(super) async fn ask(&self) -> Vec<Peer> {
        join_all(self.hosts.iter().map(|host| async move {
            let status = tokio::time::timeout(PATIENCE, self.status(host)).await.ok().and_then(Result::ok);
            Peer { host: host.clone(), status }
        }))
        .await
    }

    async fn status(&self, host: &str) -> Result<MemberStatus> {
        let found = self.resolver.lookup_ip(host).await.with_context(|| format!("cannot look up {host}"))?;
        let address: IpAddr = found.iter().next().with_context(|| format!("{host} has no address"))?;
        let answer = get(SocketAddr::new(address, HTTP_PORT), host, "/status").await?;
        MemberStatus::parse(&answer).with_context(|| format!("{host} did not send a member's status"))
    }
}

/// One small GET, inside the cluster: no TLS, no proxy.
pub(super) async fn get(address: SocketAddr, host: &str, path: &str) -> Result<String> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {host}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new())?;
    // The connection lives as long as this future: whichever is done first, both are.
    tokio::select! {
        answer = async {
            let response = sender.send_request(request).await?;
            ensure!(response.status() == StatusCode::OK, "{host} answered {}", response.status());
            let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("the answer of {host} broke off: {error}"))?;
            Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
        } => answer,
        ended = connection => {
            ended.with_context(|| format!("the connection to {host} broke"))?;
            anyhow::bail!("{host} closed the connection without an answer")
        }
    }
}
