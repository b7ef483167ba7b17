//! Between what is asynchronous here (a session) and what reads and writes on threads of its own (a shelf of backups): bounded, so that
//! whoever is faster waits, and a text that broke off does not look like one that ended.

use std::io::{self, Read, Write};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces that may wait for the other side; a piece is a statement (1 MiB) or what a writer gives at once.
const WAITING: usize = 2;

enum Piece {
    Bytes(Bytes),
    End,
}

/// The end of a pipe that a dump is written into.
pub struct Feed(mpsc::Sender<Piece>);

/// The end that is read, on a thread where waiting is allowed. A [`Feed`] that was dropped in the middle is an error.
pub struct Reader {
    pieces: mpsc::Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

/// A pipe from a dump to a reader.
pub fn feed() -> (Feed, Reader) {
    let (give, take) = mpsc::channel(WAITING);
    (Feed(give), Reader { pieces: take, piece: Bytes::new(), ended: false })
}

impl Feed {
    pub(super) async fn give(&mut self, text: Vec<u8>) -> Result<()> {
        self.0.send(Piece::Bytes(text.into())).await.map_err(|_| gone())
    }

    pub(super) async fn end(self) -> Result<()> {
        self.0.send(Piece::End).await.map_err(|_| gone())
    }
}

fn gone() -> anyhow::Error {
    anyhow!("nobody reads the dump any more")
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.piece = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the dump broke off")),
            }
        }
        let given = self.piece.split_to(into.len().min(self.piece.len()));
        into[..given.len()].copy_from_slice(&given);
        Ok(given.len())
    }
}

/// The end of a pipe that is written on a thread where waiting is allowed. Dropping it is the end of the text, whole or not: that is
/// told by its last line.
pub struct Sink(mpsc::Sender<Bytes>);

/// The end that a dump is loaded from.
pub struct Source(mpsc::Receiver<Bytes>);

/// A pipe from a writer to [`load`](super::load()).
pub fn drain() -> (Sink, Source) {
    let (give, take) = mpsc::channel(WAITING);
    (Sink(give), Source(take))
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(piece).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody loads any more"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source {
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ends_is_told_from_what_breaks_off() {
        for whole in [true, false] {
            let (mut feed, mut reader) = feed();
            let read = tokio::task::spawn_blocking(move || {
                let mut text = Vec::new();
                reader.read_to_end(&mut text).map(|_| text)
            });
            for _ in 0..5 {
                feed.give(b"ab".to_vec()).await.expect("taken");
                feed.give(Vec::new()).await.expect("taken");
            }
            if whole {
                feed.end().await.expect("taken");
            } else {
                drop(feed);
            }
            match read.await.expect("an end") {
                Ok(text) => assert!(whole && text == b"ababababab", "{whole} {text:?}"),
                Err(error) => assert!(!whole && error.kind() == io::ErrorKind::UnexpectedEof, "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn whoever_goes_is_missed() {
        let (mut feed, reader) = feed();
        drop(reader);
        assert!(feed.give(vec![1]).await.is_err());
        let (mut sink, source) = drain();
        drop(source);
        let written = tokio::task::spawn_blocking(move || sink.write(b"x")).await.expect("an end");
        assert_eq!(written.expect_err("nobody").kind(), io::ErrorKind::BrokenPipe);
    }
}
