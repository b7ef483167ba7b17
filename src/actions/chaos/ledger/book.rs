//! What was tried and what was acknowledged, in memory and, line by line as it comes, in a file of the lab's folder: whoever
//! is killed in the middle of a drill leaves behind what the database had promised by then.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::wire::hex;

/// A row that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actions::chaos) struct Entry {
    /// The sum of its payload.
    pub(in crate::actions::chaos) sum: String,
    /// Which row of the same session had been acknowledged last when it was sent.
    pub(in crate::actions::chaos) told: u64,
    /// Whether it was acknowledged.
    pub(in crate::actions::chaos) acknowledged: bool,
}

/// Rows by session and number.
pub(in crate::actions::chaos) type Entries = BTreeMap<(u32, u64), Entry>;

/// The book of one round.
#[derive(Debug)]
pub(in crate::actions::chaos) struct Book {
    entries: Mutex<Entries>,
    file: Mutex<File>,
    path: PathBuf,
}

impl Book {
    /// An empty book in a file that replaces the one before.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(in crate::actions::chaos) fn open(path: &Path) -> Result<Book> {
        let make = || {
            path.parent().map(std::fs::create_dir_all).transpose()?;
            File::create(path)
        };
        let file = make().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Book { entries: Mutex::default(), file: Mutex::new(file), path: path.to_owned() })
    }

    /// A row is about to be sent.
    pub(super) fn tried(&self, session: u32, seq: u64, payload: &str, told: u64) {
        let entry = Entry { sum: sum(session, seq, payload), told, acknowledged: false };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).insert((session, seq), entry);
    }

    /// A row was acknowledged. It counts once it is in the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn acknowledged(&self, session: u32, seq: u64, at: f64) -> Result<()> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get_mut(&(session, seq)).context("a row that nobody sent was acknowledged")?;
        let line = format!("{session} {seq} {} {at:.3}\n", entry.sum);
        let written = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        entry.acknowledged = true;
        Ok(())
    }

    /// All that was tried.
    pub(in crate::actions::chaos) fn entries(&self) -> Entries {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The sum of a row: whoever changes one of its values cannot keep it.
pub(super) fn sum(session: u32, seq: u64, payload: &str) -> String {
    let digest = Sha256::digest(format!("{session}/{seq}/{payload}").as_bytes());
    hex(&digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_is_in_the_file_and_what_was_only_tried_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("chaos/ledger");
        let book = Book::open(&path).expect("opened");
        book.tried(0, 1, "a", 0);
        book.tried(0, 2, "b", 0);
        book.acknowledged(0, 2, 1.5).expect("written");
        assert!(book.acknowledged(0, 3, 1.5).is_err());
        let entries = book.entries();
        assert_eq!([(0, 1), (0, 2)].map(|at| entries[&at].acknowledged), [false, true]);
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, format!("0 2 {} 1.500\n", sum(0, 2, "b")));
    }
}
