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
        http::get,
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
