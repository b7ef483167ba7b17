//! The other members, asked over HTTP. Names are looked up by hickory, because a static executable cannot use the C
//! library's lookup.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;

use super::{config::Config, decide::Peer};
use crate::{
    inside::{
        http::Line,
        member::{pod::HTTP_PORT, status::MemberStatus},
    },
    wire::net::resolver,
};

/// How long the cluster's name server may take.
const LOOKUP: Duration = Duration::from_secs(1);
/// How long one peer may take; a pod that is gone does not answer at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// The other members.
pub(super) struct Peers {
    /// Each one's name, and the connection to it: a name is looked up only when that has ended.
    lines: Vec<(String, Line)>,
    resolver: TokioResolver,
}

impl Peers {
    /// Those of this configuration, by the pod's own name servers.
    ///
    /// # Errors
    /// The pod has no usable `/etc/resolv.conf`.
    pub(super) fn new(config: &Config) -> Result<Peers> {
        let resolver = resolver(LOOKUP)?;
        let lines = config.others().map(|host| (host.clone(), Line::to(&host))).collect();
        Ok(Peers { lines, resolver })
    }

    /// Asks all of them at once; who does not answer in time has no status.
    pub(super) async fn ask(&mut self) -> Vec<Peer> {
        let resolver = &self.resolver;
        join_all(self.lines.iter_mut().map(|(host, line)| async move {
            let status = tokio::time::timeout(PATIENCE, status(line, host, resolver)).await.ok().and_then(Result::ok);
            Peer { host: host.clone(), status }
        }))
        .await
    }
}

async fn status(line: &mut Line, host: &str, resolver: &TokioResolver) -> Result<MemberStatus> {
    let find = async {
        let found = resolver.lookup_ip(host).await.with_context(|| format!("cannot look up {host}"))?;
        let address: IpAddr = found.iter().next().with_context(|| format!("{host} has no address"))?;
        Ok(SocketAddr::new(address, HTTP_PORT))
    };
    let answer = line.get("/status", find).await?;
    MemberStatus::parse(&answer).with_context(|| format!("{host} did not send a member's status"))
}
