//! HTTP between what runs inside the cluster: a small server for probes, statuses and metrics, and the one request that is
//! sent to it. No TLS: it holds no secrets.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Empty, Full, Limited, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client,
    header::{CONTENT_TYPE, HOST, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// More than any status has.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// The body of an answer: a text, or a stream.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// Listens; the server itself runs beside the caller until the process ends.
///
/// # Errors
/// The port is taken.
pub(crate) async fn serve(
    port: u16,
    answer: impl Fn(&Request<Incoming>) -> Response<Body> + Clone + Send + Sync + 'static,
) -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {port}"))?;
    tokio::spawn(async move {
        loop {
            // A connection that breaks while it is accepted concerns only its client.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let answer = answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(())
}

/// An answer with a body of this type.
pub(crate) fn response(code: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer that is a whole text.
pub(crate) fn text(code: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    response(code, kind, Full::new(Bytes::from(text)).boxed())
}

/// One small GET, inside the cluster: no TLS, no proxy.
pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> Result<String> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {host}"))?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
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
