//! The member's end: takes an order from the agent, and from nobody else, and answers it. Whoever is slow is cut off, and
//! whoever comes too many waits.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{client::verify_server_name, pki_types::ServerName, server::ParsedCertificate};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{AGENT, PATH, Papers, Refused};
use crate::inside::{
    http::{Body, text},
    listen::{self, Place},
};

/// More than any order has.
const MOST_BYTES: usize = 64 << 10;
/// As much of a request as is kept before it is understood.
const BUFFER: usize = 16 << 10;

/// How much is let in.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once, those of orders that are being carried out among them.
    pub(super) connections: usize,
    /// How long a handshake, the headers, and an order itself may take to come.
    pub(super) haste: Duration,
}

const LIMITS: Limits = Limits { connections: 16, haste: Duration::from_secs(5) };

/// Listens; the server itself runs beside the caller until the process ends.
///
/// An order that has come whole is carried out to its end, whoever still listens: half of one would be worse than one whose
/// answer nobody hears. What must not be done too late is for `answer` to refuse.
///
/// # Errors
/// The port is taken, or the papers are none.
pub async fn serve<Q, A, F>(
    port: u16,
    papers: &Papers,
    answer: impl Fn(Q) -> F + Clone + Send + Sync + 'static,
) -> Result<()>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
    F: Future<Output = Result<A, Refused>> + Send + 'static,
{
    attend(listen::at(port).await?, papers, LIMITS, answer).context("cannot take orders")
}

/// [`serve`] where somebody listens already.
pub(super) fn attend<Q, A, F>(
    listener: TcpListener,
    papers: &Papers,
    limits: Limits,
    answer: impl Fn(Q) -> F + Clone + Send + Sync + 'static,
) -> Result<()>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
    F: Future<Output = Result<A, Refused>> + Send + 'static,
{
    let tls = TlsAcceptor::from(Arc::new(papers.server()?));
    listen::attend(listener, limits.connections, move |stream, place| {
        let (tls, answer) = (tls.clone(), answer.clone());
        async move {
            // What goes wrong on one connection concerns only whoever is at its other end.
            let Ok(Ok(stream)) = timeout(limits.haste, tls.accept(stream)).await else { return };
            if !from_agent(&stream) {
                return;
            }
            place.keep();
            let service = service_fn(|request| {
                let taken = take(request, limits.haste, place.clone(), answer.clone());
                async { Ok::<_, Infallible>(taken.await) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(limits.haste).max_buf_size(BUFFER).keep_alive(false);
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        }
    });
    Ok(())
}

/// The authority is not enough: it signs for members too, and a certificate is for whom it names.
fn from_agent(stream: &TlsStream<TcpStream>) -> bool {
    let shown = stream.get_ref().1.peer_certificates().and_then(|shown| shown.first());
    let shown = shown.and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
    let agent = ServerName::try_from(AGENT).ok();
    shown.zip(agent).is_some_and(|(shown, agent)| verify_server_name(&shown, &agent).is_ok())
}

async fn take<Q, A, F>(
    request: Request<Incoming>,
    haste: Duration,
    place: Place,
    answer: impl Fn(Q) -> F + Send + 'static,
) -> Response<Body>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
    F: Future<Output = Result<A, Refused>> + Send + 'static,
{
    let plain = |code, said: String| text(code, "text/plain", said);
    if (request.method(), request.uri().path()) != (&Method::POST, PATH) {
        return plain(StatusCode::NOT_FOUND, format!("only POST {PATH} is answered"));
    }
    let body = timeout(haste, Limited::new(request.into_body(), MOST_BYTES).collect()).await;
    let Ok(Ok(body)) = body else {
        return plain(StatusCode::BAD_REQUEST, "the order is too long, or did not come whole".to_owned());
    };
    let question = match serde_json::from_slice::<Q>(&body.to_bytes()) {
        Ok(question) => question,
        Err(error) => return plain(StatusCode::BAD_REQUEST, format!("the order is not understood: {error}")),
    };
    let carried = tokio::spawn(async move {
        let carried = answer(question).await;
        drop(place);
        carried
    });
    match carried.await.map(|carried| carried.map(|answer| serde_json::to_string(&answer))) {
        Ok(Ok(Ok(json))) => text(StatusCode::OK, "application/json", json),
        Ok(Err(Refused { reason })) => plain(StatusCode::CONFLICT, reason),
        Ok(Ok(Err(_))) | Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the order broke".to_owned()),
    }
}
