//! One member's supervisor, listened to: `GET /watch` sends a line at every change and one every second. A connection that
//! breaks, or is silent for longer, says little by itself: it is made again at once, and only a member that is reached twice in a
//! row no more does not answer.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{decide::Answer, known::Observations, log};
use crate::inside::{
    http::MOST_BYTES,
    member::{HTTP_PORT, status::MemberStatus},
};

/// How long a connection may be silent, or take to be made.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Time between two tries.
const EVERY: Duration = Duration::from_millis(500);
/// How many tries in a row have to fail.
const TRIES: u32 = 2;

/// The pieces in which silence is measured, and how much longer one may take: then it was not the member who was silent, but
/// this process that stood still, and what has come meanwhile may be as old as that.
const PIECE: Duration = Duration::from_millis(500);
const GAP: Duration = Duration::from_secs(1);

/// This process stood still (its node was frozen), so that nothing is known of the member.
#[derive(Debug)]
struct StoodStill;

impl std::fmt::Display for StoodStill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the agent stood still")
    }
}

impl std::error::Error for StoodStill {}

/// What comes within [`PATIENCE`] of this process's own time; `None` when nothing does.
///
/// # Errors
/// [`StoodStill`].
async fn in_time<T>(work: impl Future<Output = T>) -> Result<Option<T>> {
    let mut work = std::pin::pin!(work);
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let begun = Instant::now();
        let came = timeout(PIECE, &mut work).await;
        ensure!(begun.elapsed() < PIECE + GAP, StoodStill);
        if let Ok(came) = came {
            return Ok(Some(came));
        }
    }
    Ok(None)
}

/// Listens to the member of one pod for ever; the caller ends this when the pod is gone.
pub(super) async fn follow(observed: Observations, name: String, uid: String, address: String) {
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut failed) = (String::new(), 0);
    loop {
        beat.tick().await;
        let begun = Instant::now();
        let mut reached = false;
        let heard = |status: MemberStatus| {
            reached = true;
            observed.answer(&name, &uid, Answer::Says(Box::new(status)));
        };
        let ended = match listen(&address, HTTP_PORT, heard).await {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) if error.is::<StoodStill>() => {
                observed.answer(&name, &uid, Answer::Unknown);
                beat.reset_immediately();
                continue;
            }
            Err(error) => format!("{error:#}"),
        };
        failed = if reached { 0 } else { failed + 1 };
        observed.answer(&name, &uid, if failed < TRIES { Answer::Faint } else { Answer::Silent });
        if reached && begun.elapsed() > EVERY {
            beat.reset_immediately();
        }
        if ended != last {
            log::info("a member does not answer", &[("member", name.clone().into()), ("why", ended.clone().into())]);
            last = ended;
        }
    }
}

/// One connection, until it ends.
async fn listen(address: &str, port: u16, mut heard: impl FnMut(MemberStatus)) -> Result<()> {
    let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let connect = TcpStream::connect(format!("{address}:{port}"));
    let stream = in_time(connect).await?.context("no connection in time")?.context("cannot connect")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/watch").header(HOST, address).body(Empty::<Bytes>::new())?;
    let listening = async {
        let response = in_time(sender.send_request(request)).await?.context("no answer in time")??;
        ensure!(response.status() == StatusCode::OK, "it answered {}", response.status());
        let mut body = response.into_body();
        let mut line = Vec::new();
        loop {
            let frame = in_time(body.frame()).await?;
            let Some(frame) = frame.context("nothing came over the connection for too long")? else { return Ok(()) };
            let Ok(data) = frame.context("the connection broke")?.into_data() else { continue };
            line.extend_from_slice(&data);
            ensure!(line.len() <= MOST_BYTES, "what it sends is no status");
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let rest = line.split_off(end + 1);
                let text = String::from_utf8_lossy(&line).into_owned();
                heard(MemberStatus::parse(&text).context("what it sends is no status")?);
                line = rest;
            }
        }
    };
    // The connection lives as long as this future: whichever is done first, both are.
    tokio::select! {
        listened = listening => listened,
        ended = connection => {
            ended.context("the connection broke")?;
            bail!("the connection was closed")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A supervisor that sends these pieces, and then stays silent or closes the connection.
    async fn hear(pieces: Vec<&'static str>, silent: bool) -> (Vec<String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for piece in pieces {
                let _ = stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await;
            }
            if silent {
                std::future::pending::<()>().await;
            }
        });
        let heard = Mutex::new(Vec::new());
        let ended = listen("127.0.0.1", port, |status| heard.lock().expect("not poisoned").push(status.name)).await;
        task.abort();
        (heard.into_inner().expect("not poisoned"), ended.map_or_else(|error| format!("{error:#}"), |()| String::new()))
    }

    #[tokio::test]
    async fn every_line_is_heard_however_it_is_cut_and_a_closed_connection_is_an_end() {
        let pieces = vec!["{\"name\":\"a\",\"state\":\"starting\"}\n{\"name\":", "\"b\",\"state\":\"synced\"}\n"];
        let (heard, ended) = hear(pieces, false).await;
        assert_eq!(heard, ["a", "b"]);
        assert!(!ended.is_empty());
    }

    #[tokio::test]
    async fn what_has_come_while_the_agent_stood_still_is_not_heard() {
        let late = async {
            // The whole thread stands still, as in a frozen node.
            std::thread::sleep(PIECE + GAP);
            "old news"
        };
        let error = in_time(late).await.expect_err("too old");
        assert!(error.is::<StoodStill>(), "{error}");
    }

    #[tokio::test]
    async fn silence_is_an_end_too() {
        let (heard, ended) = hear(vec!["{\"name\":\"a\",\"state\":\"starting\"}\n"], true).await;
        assert_eq!(heard, ["a"]);
        assert!(ended.starts_with("nothing came over the connection"), "{ended}");
    }
}
