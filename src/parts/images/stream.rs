//! Streams of bytes for the rest of this room: files in pieces, and progress that is told a few times a second.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::io::AsyncReadExt;

/// Size of the pieces in which files are read.
const PIECE: usize = 256 * 1024;
/// The shortest time between two progress events of one task.
const BREATH: Duration = Duration::from_millis(200);

/// A file in pieces.
///
/// # Errors
/// It cannot be opened.
pub(super) async fn of_file(
    path: &Path,
) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + 'static + use<>> {
    let file = tokio::fs::File::open(path).await.with_context(|| format!("cannot open {}", path.display()))?;
    Ok(stream::try_unfold(file, |mut file| async move {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = file.read_buf(&mut piece).await?;
        Ok((read > 0).then(|| (piece.freeze(), file)))
    }))
}

/// Lets a progress event through a few times a second.
#[derive(Debug, Default)]
pub(super) struct Throttle(Option<Instant>);

impl Throttle {
    /// Whether it is time for the next one.
    pub(super) fn due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= BREATH);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}
