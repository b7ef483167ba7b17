//! Whether a member that has become silent can be reached by a fresh try: one connection that broke, or one agent that was slow,
//! is no sign of a dead member. Its supervisor and its server are tried side by side; one of them that says a word is enough.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

use super::known::Observations;
use crate::inside::member::HTTP_PORT;

/// Where a server says who it is before it is asked anything.
const MYSQL_PORT: u16 = 3306;
/// How long the first word may take. A frozen process takes connections, but says nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two tries.
const EVERY: Duration = Duration::from_millis(500);

/// Tries for ever, whenever the member of this pod is silent; the caller ends this when the pod is gone.
pub(super) async fn doubt(observed: Observations, name: String, uid: String, address: String) {
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if observed.is_silent(&name, &uid) {
            let (supervisor, server) =
                tokio::join!(speaks(&address, HTTP_PORT, ASK), speaks(&address, MYSQL_PORT, b""));
            observed.tried(&name, &uid, supervisor || server);
        }
    }
}

const ASK: &[u8] = b"GET /live HTTP/1.1\r\nHost: member\r\nConnection: close\r\n\r\n";

async fn speaks(address: &str, port: u16, ask: &[u8]) -> bool {
    let word = async {
        let mut stream = TcpStream::connect((address, port)).await?;
        stream.write_all(ask).await?;
        let mut first = [0];
        stream.read_exact(&mut first).await.context("nothing came")?;
        Result::<_>::Ok(())
    };
    matches!(timeout(PATIENCE, word).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_says_a_word_lives_and_who_only_takes_the_connection_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        assert!(!speaks("127.0.0.1", port, b"").await, "the kernel has taken it, nobody has said anything");
        drop(listener);
        assert!(!speaks("127.0.0.1", port, b"").await, "nobody listens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let greets = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let _ = stream.write_all(b"hello").await;
        };
        let (spoke, ()) = tokio::join!(speaks("127.0.0.1", port, b""), greets);
        assert!(spoke);
    }
}
