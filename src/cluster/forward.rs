//! A pod's port on this machine, for as long as the [`Forward`] lives: what `kubectl port-forward` does.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::{Cluster, Refused};

/// A local address behind which a pod's port is. Ends, with every connection, when dropped.
#[derive(Debug)]
pub struct Forward {
    /// Where to connect to: a free port of 127.0.0.1.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cluster {
    /// Opens a way to a port of a pod. Every connection is a stream of its own through the API server; whether the pod
    /// listens shows when one is made.
    ///
    /// # Errors
    /// There is no such pod, or no free local port.
    pub async fn forward(&self, pod: &str, port: u16) -> Result<Forward> {
        let api = self.api::<Pod>();
        api.get_metadata(pod).await.map_err(Refused).with_context(|| format!("cannot forward to pod {pod}"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on 127.0.0.1")?;
        let addr = listener.local_addr().context("cannot listen on 127.0.0.1")?;
        let task = tokio::spawn(serve(listener, api, pod.to_owned(), port));
        Ok(Forward { addr, task })
    }
}

/// Takes connections until aborted; the set aborts the open ones with it.
async fn serve(listener: TcpListener, api: Api<Pod>, pod: String, port: u16) {
    let mut open = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while open.try_join_next().is_some() {}
        let (api, pod) = (api.clone(), pod.clone());
        open.spawn(async move { carry(client, &api, &pod, port).await });
    }
}

/// Carries one connection. Nobody is told of a failure here but the client: its connection closes.
async fn carry(mut client: TcpStream, api: &Api<Pod>, pod: &str, port: u16) {
    let Ok(mut forwarder) = api.portforward(pod, &[port]).await else { return };
    if let Some(mut stream) = forwarder.take_stream(port) {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut stream).await;
    }
    forwarder.abort();
}
