//! The agent's end: brings one order to one member, after the member has shown who it is, and comes back with the answer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{PATH, PORT, Papers, Refused, host};
use crate::inside::http::MOST_BYTES;

/// How long a member may take until it is there: a node that is gone does not answer at all.
const REACH: Duration = Duration::from_secs(2);

/// Brings orders; one connection each, so that nothing of an earlier one is in the way of the next.
#[derive(Clone)]
pub struct Courier {
    pub(super) tls: TlsConnector,
    pub(super) port: u16,
}

impl Courier {
    /// With these papers.
    ///
    /// # Errors
    /// They are none.
    pub fn new(papers: &Papers) -> Result<Courier> {
        let tls = papers.client().context("cannot give orders")?;
        Ok(Courier { tls: TlsConnector::from(Arc::new(tls)), port: PORT })
    }

    /// Brings an order to `member` (`db-0`), whose pod has this address, and returns with its answer within `patience`. The
    /// connection ends with this future; an order that has arrived whole is carried out all the same.
    ///
    /// # Errors
    /// [`Refused`]: the member does not carry it out, and says why. Everything else: it was not reached, or nobody can tell
    /// whether it has carried the order out.
    pub async fn send<Q: Serialize, A: DeserializeOwned>(
        &self,
        address: &str,
        member: &str,
        question: &Q,
        patience: Duration,
    ) -> Result<A> {
        let order = serde_json::to_vec(question).context("cannot write the order")?;
        let answer = timeout(patience, async {
            let stream = timeout(REACH, self.reach(address, member)).await;
            let stream = stream.with_context(|| format!("no connection within {} s", REACH.as_secs())).flatten();
            ask(stream.with_context(|| format!("{member} was not reached at {address}"))?, member, order).await
        });
        let answer = answer.await.with_context(|| format!("{member} gave no answer within {patience:?}"))??;
        serde_json::from_slice(&answer).with_context(|| format!("the answer of {member} is not understood"))
    }

    async fn reach(&self, address: &str, member: &str) -> Result<TlsStream<TcpStream>> {
        let address: IpAddr = address.parse().context("that is no address")?;
        let name = ServerName::try_from(host(member)).context("that is no name of a member")?;
        let stream = TcpStream::connect(SocketAddr::new(address, self.port)).await?;
        Ok(self.tls.connect(name, stream).await?)
    }
}

async fn ask(stream: TlsStream<TcpStream>, member: &str, order: Vec<u8>) -> Result<Bytes> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this future.
    let mut line = JoinSet::new();
    line.spawn(connection);
    let request = Request::post(PATH).header(HOST, host(member)).header(CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(Bytes::from(order)))?;
    let response = sender.send_request(request).await.with_context(|| format!("{member} gave no answer"))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer of {member} broke off: {error}"))?.to_bytes();
    match status {
        StatusCode::OK => Ok(body),
        StatusCode::CONFLICT => Err(Refused::because(String::from_utf8_lossy(&body)).into()),
        other => bail!("{member} answered {other}: {}", String::from_utf8_lossy(&body)),
    }
}
