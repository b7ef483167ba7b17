//! The supervisor's HTTP server: `/live` (this process runs), `/ready` (the member serves), `/status` (everything, as JSON),
//! `/metrics` (what Prometheus asks for) and `/watch` (the same again and again: at every change, and every second as a sign of life).
//! Liveness says nothing about the server on purpose: killing a pod that copies, waits or is cut off would only make it worse.

use std::{convert::Infallible, future::ready, time::Duration};

use anyhow::Result;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Frame},
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    metrics::{self, Room},
    pod::VOLUME,
    status::{Board, MemberStatus},
};
use crate::inside::{
    figures,
    http::{Body, response, serve as listen, text},
};

/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(1);

/// Listens; the server itself runs beside the caller until the process ends.
///
/// # Errors
/// The port is taken.
pub(super) async fn serve(port: u16, board: Board) -> Result<()> {
    listen(port, move |request| ready(answer(&board, &request))).await
}

fn answer<B>(board: &Board, request: &Request<B>) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/live") => text(StatusCode::OK, "text/plain", "alive\n".to_owned()),
        (&Method::GET, "/ready") => {
            let status = board.read();
            match status.unready().filter(|_| !status.ready()) {
                None => text(StatusCode::OK, "text/plain", "ready\n".to_owned()),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{reason}\n")),
            }
        }
        (&Method::GET, "/status") => {
            match serde_json::to_string(&MemberStatus { free: room().map(|room| room.free), ..board.read() }) {
                Ok(json) => text(StatusCode::OK, "application/json", json),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{error}\n")),
            }
        }
        (&Method::GET, "/metrics") => text(StatusCode::OK, figures::KIND, metrics::text(&board.read(), room())),
        (&Method::GET, "/watch") => response(StatusCode::OK, "application/x-ndjson", lines(board)),
        _ => text(StatusCode::NOT_FOUND, "text/plain", "try /live, /ready, /status, /metrics or /watch\n".to_owned()),
    }
}

/// What the member's volume has.
fn room() -> Option<Room> {
    let about = rustix::fs::statvfs(VOLUME).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(about.f_frsize);
    Some(Room { free: bytes(about.f_bavail), size: bytes(about.f_blocks) })
}

/// The status now, at every change and at every beat, one line each. Ends with its reader.
fn lines(board: &Board) -> Body {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first beat comes at once: so does the first line.
    let stream = stream::unfold((board.clone(), board.watch(), beat), |(board, mut changes, mut beat)| async move {
        tokio::select! {
            changed = changes.changed() => changed.ok()?,
            _ = beat.tick() => {}
        }
        changes.mark_unchanged();
        let line = line(&board.read());
        Some((Ok::<_, Infallible>(Frame::data(line)), (board, changes, beat)))
    });
    StreamBody::new(stream).boxed()
}

fn line(status: &MemberStatus) -> Bytes {
    // A status is plain data and always fits; an empty line would be taken for no status, rightly.
    Bytes::from(serde_json::to_string(status).unwrap_or_default() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::member::status::{ServerFacts, State};

    fn get(board: &Board, path: &str) -> Response<Body> {
        let request = Request::builder().uri(path).body(()).expect("a request");
        answer(board, &request)
    }

    #[test]
    fn a_waiting_member_is_alive_but_not_ready() {
        let board = Board::new("db-0");
        board.enter(State::Waiting, "for its role");
        assert_eq!(get(&board, "/live").status(), StatusCode::OK);
        assert_eq!(get(&board, "/ready").status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get(&board, "/status").status(), StatusCode::OK);
        assert_eq!(get(&board, "/metrics").status(), StatusCode::OK);
        assert_eq!(get(&board, "/").status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn an_open_source_is_ready() {
        let board = Board::new("db-0");
        board.enter(State::Source, "");
        board.change(|status| status.server = Some(ServerFacts { semi_sync: true, ..ServerFacts::default() }));
        assert_eq!(get(&board, "/ready").status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_watcher_is_told_at_once_of_every_change_and_of_life_every_second() {
        let board = Board::new("db-0");
        let mut body = get(&board, "/watch").into_body();
        let mut next = async || {
            let frame = tokio::time::timeout(2 * BEAT, body.frame()).await.expect("in time").expect("a frame");
            let data = frame.expect("never fails").into_data().expect("data");
            MemberStatus::parse(&String::from_utf8_lossy(&data)).expect("one status").state
        };
        assert_eq!(next().await, State::Starting);
        board.enter(State::Stopping, "");
        let asked = std::time::Instant::now();
        assert_eq!(next().await, State::Stopping);
        assert!(asked.elapsed() < BEAT / 2, "changes do not wait for the beat");
        assert_eq!(next().await, State::Stopping, "a sign of life");
    }
}
