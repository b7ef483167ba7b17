//! What every client of this executable needs that is static: names looked up without the C library, which a static
//! executable cannot use; and the reason at the bottom of a failed request.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use hickory_resolver::{TokioResolver, config::LookupIpStrategy};
use reqwest::{
    Client, ClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// A resolver by the machine's, or pod's, own `/etc/resolv.conf`; each name server has `patience` to answer. Nothing is
/// remembered, because a restarted pod has another address.
///
/// # Errors
/// There is no usable `/etc/resolv.conf`.
pub fn resolver(patience: Duration) -> Result<TokioResolver> {
    let mut builder = TokioResolver::builder_tokio().context("cannot read /etc/resolv.conf")?;
    let options = builder.options_mut();
    options.cache_size = 0;
    options.timeout = patience;
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    builder.build().context("cannot make a resolver")
}

/// The address of a host; `None` where there is no such host.
///
/// # Errors
/// No name server says so, or otherwise.
pub async fn look_up(host: &str, patience: Duration) -> Result<Option<IpAddr>> {
    match resolver(patience)?.lookup_ip(host).await {
        Ok(found) => Ok(found.iter().next()),
        Err(error) if error.is_nx_domain() || error.is_no_records_found() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look up {host}")),
    }
}

/// [`resolver`] for reqwest's clients.
#[derive(Clone, Copy, Debug)]
struct Names(Duration);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let patience = self.0;
        Box::pin(async move {
            // The resolver's own error tells the query; people want to know that there is no such host.
            let found = resolver(patience)?.lookup_ip(name.as_str()).await;
            let found = found.map_err(|_| format!("{} has no address", name.as_str()))?;
            let addresses: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// What every HTTP client of ours begins with: names as above, each name server with `patience`; and no HTTP/2, which a library turns on
/// for all, and in which a refused certificate is told as a broken pipe.
pub fn client(patience: Duration) -> ClientBuilder {
    Client::builder().dns_resolver(Arc::new(Names(patience))).http1_only()
}

/// The reason at the bottom of an error; those above it only say that a request failed.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
