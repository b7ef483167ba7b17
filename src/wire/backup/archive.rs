//! What was written after a backup, beside it: pieces of the binary log (`log-0000000001`), each a file as servers have them, with a note
//! that says which transactions are in it; and how far all of them go. They are removed with the backup, which they are nothing without.

use std::{io::Cursor, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    manifest::{BackupId, Manifest, Stream},
    seal::{Keys, Recipients},
    shelf::Shelf,
};
use crate::wire::gtid::GtidSet;

/// What the names of pieces begin with.
const PIECE: &str = "log-";
const NOTE: &str = ".json";
/// How far the archive of a backup goes.
const REACHED: &str = "reached.json";

/// A piece of the binary log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Piece {
    /// Which one, counted from 1.
    pub number: u64,
    /// The transactions in it, as a GTID set.
    pub gtids: String,
    /// When the first of them was committed.
    pub first: Timestamp,
    /// When the last of them was.
    pub last: Timestamp,
    /// By what the last of them is known again at another member of a cluster; of MySQL's nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mark: String,
    /// What it lies in.
    pub stream: Stream,
}

/// What is in a file that becomes a piece.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// Its transactions.
    pub gtids: &'a GtidSet,
    /// When the first of them was committed.
    pub first: Timestamp,
    /// When the last of them was.
    pub last: Timestamp,
    /// As in [`Piece`].
    pub mark: String,
}

/// How far an archive goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reached {
    /// Everything that was acknowledged before this moment is in it.
    pub at: Timestamp,
    /// What it contains, with its backup, as a GTID set.
    pub gtids: String,
}

fn called(number: u64) -> String {
    format!("{PIECE}{number:010}")
}

impl Shelf {
    /// The pieces of a backup's archive, in order.
    ///
    /// # Errors
    /// The destination cannot be asked, or a note cannot be read.
    pub async fn pieces(&self, id: &BackupId) -> Result<Vec<Piece>> {
        let mut notes: Vec<String> = self.objects(id).await?.into_iter().map(|(name, _)| name).collect();
        notes.retain(|name| name.starts_with(PIECE) && name.ends_with(NOTE));
        notes.sort();
        let read = stream::iter(notes).map(|note| async move {
            let text = self.object(id, &note).await?.with_context(|| format!("{note} of backup {id} is gone"))?;
            serde_json::from_slice(&text).with_context(|| format!("{note} of backup {id} cannot be read"))
        });
        read.buffered(8).try_collect().await
    }

    /// Adds a piece: a file of a binary log, and what is in it.
    ///
    /// # Errors
    /// The destination does not take it.
    pub async fn add_piece(
        &self,
        id: &BackupId,
        number: u64,
        file: Vec<u8>,
        of: Contents<'_>,
        to: &Recipients,
    ) -> Result<Piece> {
        let stream = self.send(id, &called(number), Cursor::new(file), to).await?;
        let Contents { gtids, first, last, mark } = of;
        let piece = Piece { number, gtids: gtids.to_string(), first, last, mark, stream };
        let note = serde_json::to_vec(&piece).context("cannot write a note")?;
        self.put(id, format!("{}{NOTE}", called(number)), note.into()).await?;
        Ok(piece)
    }

    /// The file of a piece.
    ///
    /// # Errors
    /// It is not what was sent, or the key does not fit ([`super::Unusable`]).
    pub async fn piece(&self, manifest: &Manifest, piece: &Piece, keys: Arc<Keys>) -> Result<Vec<u8>> {
        self.fetch_stream(manifest, &called(piece.number), &piece.stream, keys, Vec::new()).await
    }

    /// How far a backup's archive goes; `None` where there is none.
    ///
    /// # Errors
    /// The destination cannot be asked, or it cannot be read.
    pub async fn reached(&self, id: &BackupId) -> Result<Option<Reached>> {
        let Some(text) = self.object(id, REACHED).await? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).with_context(|| format!("{REACHED} of backup {id} cannot be read"))
    }

    /// Says how far it goes.
    ///
    /// # Errors
    /// The destination does not take it.
    pub async fn reach(&self, id: &BackupId, reached: &Reached) -> Result<()> {
        let text = serde_json::to_vec(reached).context("cannot write how far the archive goes")?;
        self.put(id, REACHED.to_owned(), text.into()).await.map(drop)
    }
}

/// What an archive contains, with its backup.
///
/// # Errors
/// A GTID set is none.
pub fn contains(base: &Manifest, pieces: &[Piece]) -> Result<GtidSet> {
    let mut all = GtidSet::parse(&base.database.position)?;
    for piece in pieces {
        all = all.with(&GtidSet::parse(&piece.gtids)?);
    }
    Ok(all)
}

/// Up to where somebody wants a lab back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// Everything that was committed before this moment.
    Time(Timestamp),
    /// These transactions.
    Gtids(GtidSet),
}

impl Until {
    /// Reads a moment with an offset from UTC (`2026-11-30T16:00:00Z`), or a GTID set.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<Until, String> {
        if let Ok(moment) = text.parse() {
            return Ok(Until::Time(moment));
        }
        match GtidSet::parse(text) {
            Ok(set) if !set.is_empty() => Ok(Until::Gtids(set)),
            _ => Err(format!(
                "'{}' is neither a moment nor a GTID set: write one such as 2026-11-30T16:00:00Z or 2026-11-30T17:00:00+01:00, or UUID:1-77",
                text.escape_debug()
            )),
        }
    }

    /// Looks whether everything that is wanted is there, by the notes of the pieces, before anything is fetched.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub fn covered(&self, base: &Manifest, pieces: &[Piece], reached: Option<&Reached>) -> Result<()> {
        let had = GtidSet::parse(&base.database.position)?;
        let has = contains(base, pieces)?;
        match self {
            Until::Time(moment) => {
                ensure!(*moment > base.begun, "backup {} is of {}, and {moment} is before that", base.id, base.begun);
                let Some(reached) = reached.filter(|reached| *moment <= reached.at) else {
                    let at = reached.map_or(base.begun, |reached| reached.at);
                    bail!("the archive of backup {} goes to {at}, and {moment} is after that", base.id);
                };
                // What was archived once and is gone, unless something that is later than the moment came before it.
                let mut later = GtidSet::default();
                for piece in pieces.iter().filter(|piece| piece.first >= *moment) {
                    later = later.with(&GtidSet::parse(&piece.gtids)?);
                }
                let missing = GtidSet::parse(&reached.gtids)?.without(&has).before(&later);
                ensure!(missing.is_empty(), "the archive of backup {} lacks {missing}", base.id);
            }
            Until::Gtids(wanted) => {
                ensure!(wanted.contains(&had), "backup {} has more than that: {}", base.id, had.without(wanted));
                let missing = wanted.without(&has);
                ensure!(missing.is_empty(), "the archive of backup {} lacks {missing}", base.id);
            }
        }
        Ok(())
    }

    /// Whether a transaction is wanted.
    ///
    /// # Errors
    /// Its name is none.
    pub fn wants(&self, gtid: &str, committed: Timestamp) -> Result<bool> {
        Ok(match self {
            Until::Time(moment) => committed < *moment,
            Until::Gtids(wanted) => wanted.contains(&GtidSet::parse(gtid)?),
        })
    }
}

impl std::fmt::Display for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Until::Time(moment) => moment.fmt(f),
            Until::Gtids(set) => set.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::backup::shelf::tests::manifest;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn base() -> Manifest {
        let id = BackupId::new("20261130T113000Z-4f2a").expect("a name");
        let mut base = manifest(&id, &[], &Recipients::default());
        base.database.position = format!("{UUID}:1-10");
        base
    }

    fn piece(number: u64, gtids: &str, first: &str, last: &str) -> Piece {
        let at = |text: &str| text.parse().expect("a time");
        let stream = Stream { bytes: 0, sha256: String::new(), parts: Vec::new() };
        Piece {
            number,
            gtids: format!("{UUID}:{gtids}"),
            first: at(first),
            last: at(last),
            mark: String::new(),
            stream,
        }
    }

    #[test]
    fn a_moment_or_a_set_is_read_and_nothing_else() {
        for text in ["2026-11-30T16:00:00Z", &format!("{UUID}:1-77")] {
            assert_eq!(Until::new(text).expect(text).to_string(), text);
        }
        assert_eq!(Until::new("2026-11-30T17:00:00+01:00"), Until::new("2026-11-30T16:00:00Z"));
        for text in ["", "yesterday", "2026-11-30", "2026-11-30T16:00:00", "1-77"] {
            assert!(Until::new(text).expect_err(text).contains("2026-11-30T16:00:00Z"), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_told_exactly() {
        let base = base();
        let begun = base.begun;
        let later = |minutes: i64| (begun + jiff::ToSpan::minutes(minutes)).to_string();
        let reached = Reached { at: later(30).parse().expect("a time"), gtids: format!("{UUID}:1-30") };
        let whole = [piece(1, "11-20", &later(1), &later(2)), piece(2, "21-30", &later(10), &later(11))];
        let holes = [whole[0].clone(), piece(2, "24-30", &later(10), &later(11))];
        let told = |until: &str, pieces: &[Piece]| {
            let until = Until::new(until).expect("one");
            until.covered(&base, pieces, Some(&reached)).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(told(&later(20), &whole), "");
        assert!(told(&later(5), &holes).ends_with(&format!("lacks {UUID}:21-23")), "nobody knows when they were");
        assert!(told(&later(20), &whole[..1]).ends_with(&format!("lacks {UUID}:21-30")), "the last one is gone");
        let late = [whole[0].clone(), piece(2, "21-25", &later(10), &later(11))];
        assert_eq!(told(&later(5), &late), "", "what is gone came after the moment");
        assert!(told(&later(20), &holes).ends_with(&format!("lacks {UUID}:21-23")), "{}", told(&later(20), &holes));
        assert!(told(&later(31), &whole).contains("is after that"));
        assert!(told(&later(-1), &whole).contains("is before that"));
        assert_eq!(told(&format!("{UUID}:1-25"), &whole), "");
        assert!(told(&format!("{UUID}:1-35"), &whole).ends_with(&format!("lacks {UUID}:31-35")));
        assert!(told(&format!("{UUID}:1-22"), &holes).ends_with(&format!("lacks {UUID}:21-22")));
        assert!(told(&format!("{UUID}:1-5"), &whole).ends_with(&format!("has more than that: {UUID}:6-10")));
    }

    #[test]
    fn a_moment_is_exclusive() {
        let at: Timestamp = "2026-11-30T16:00:00Z".parse().expect("a time");
        let until = Until::Time(at);
        let gtid = format!("{UUID}:1");
        assert!(!until.wants(&gtid, at).expect("read"));
        assert!(until.wants(&gtid, at - jiff::ToSpan::microseconds(1)).expect("read"));
    }
}
