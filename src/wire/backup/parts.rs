//! Streams cut into parts and joined again, each on a thread of its own beside what sends or fetches: nobody holds more than a few parts
//! in memory, however long a stream is. Parts are bounded, because not every store takes an object in pieces.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

/// The length of all parts but the last.
pub(super) const PART: usize = 4 << 20;

/// Takes a stream, and gives whole parts on.
pub(super) struct Cutter {
    full: Vec<u8>,
    parts: mpsc::Sender<Bytes>,
}

impl Cutter {
    pub(super) fn new(parts: mpsc::Sender<Bytes>) -> Cutter {
        Cutter { full: Vec::new(), parts }
    }

    fn give(&mut self) -> io::Result<()> {
        let part = Bytes::from(std::mem::take(&mut self.full));
        self.parts.blocking_send(part).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    /// Gives the last one on.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.full.is_empty() { Ok(()) } else { self.give() }
    }
}

impl Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART - self.full.len());
        // Grown as it fills: most streams of a small lab are far shorter than a part.
        self.full.extend_from_slice(&bytes[..taken]);
        if self.full.len() == PART {
            self.give()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes parts one after the other, and gives their bytes.
pub(super) struct Joined {
    part: Bytes,
    parts: mpsc::Receiver<Bytes>,
}

impl Joined {
    pub(super) fn new(parts: mpsc::Receiver<Bytes>) -> Joined {
        Joined { part: Bytes::new(), parts }
    }
}

impl Read for Joined {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() {
            self.part = self.parts.blocking_recv().unwrap_or_default();
        }
        let given = self.part.split_to(bytes.len().min(self.part.len()));
        bytes[..given.len()].copy_from_slice(&given);
        Ok(given.len())
    }
}
