//! A small HTTP server for what runs inside the cluster: probes, statuses, metrics. No TLS: it holds no secrets.

use std::convert::Infallible;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

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
