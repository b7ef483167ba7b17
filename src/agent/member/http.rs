//! The supervisor's HTTP server: `/live` (this process runs), `/ready` (the member serves), `/status` (everything, as JSON).
//! Liveness says nothing about mysqld on purpose: killing a pod that copies, waits or is cut off would only make it worse.

use std::convert::Infallible;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, header::CONTENT_TYPE, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{config::HTTP_PORT, status::Board};

/// Listens; the server itself runs beside the caller until the process ends.
///
/// # Errors
/// The port is taken.
pub(super) async fn serve(board: Board) -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", HTTP_PORT)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {HTTP_PORT}"))?;
    tokio::spawn(async move {
        loop {
            // A connection that breaks while it is accepted concerns only its client.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let board = board.clone();
            tokio::spawn(async move {
                let answer = service_fn(|request| {
                    let answer = answer(&board, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    Ok(())
}

fn answer<B>(board: &Board, request: &Request<B>) -> Response<Full<Bytes>> {
    let (code, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/live") => (StatusCode::OK, "text/plain", "alive\n".to_owned()),
        (&Method::GET, "/ready") => match board.read().unready() {
            None => (StatusCode::OK, "text/plain", "ready\n".to_owned()),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{reason}\n")),
        },
        (&Method::GET, "/status") => match serde_json::to_string(&board.read()) {
            Ok(json) => (StatusCode::OK, "application/json", json),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{error}\n")),
        },
        _ => (StatusCode::NOT_FOUND, "text/plain", "try /live, /ready or /status\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::member::status::{ServerFacts, State};

    fn get(board: &Board, path: &str) -> StatusCode {
        let request = Request::builder().uri(path).body(()).expect("a request");
        answer(board, &request).status()
    }

    #[test]
    fn a_waiting_member_is_alive_but_not_ready() {
        let board = Board::new("db-0");
        board.enter(State::Waiting, "for its role");
        assert_eq!(get(&board, "/live"), StatusCode::OK);
        assert_eq!(get(&board, "/ready"), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get(&board, "/status"), StatusCode::OK);
        assert_eq!(get(&board, "/"), StatusCode::NOT_FOUND);
    }

    #[test]
    fn an_open_source_is_ready() {
        let board = Board::new("db-0");
        board.enter(State::Source, "");
        board.change(|status| status.server = Some(ServerFacts { semi_sync: true, ..ServerFacts::default() }));
        assert_eq!(get(&board, "/ready"), StatusCode::OK);
    }
}
