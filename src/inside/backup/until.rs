//! A backup and what was archived since, up to a moment: both are put together in the server beside the lab, and go from there into
//! the lab as a backup would. What is missing is known before anything is touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use tokio::task::spawn_blocking;

use super::{
    make::Progress,
    reader::DATABASE,
    verify,
    way::{Way, fits},
};
use crate::{
    inside::there,
    wire::{
        backup::{
            archive::{Piece, Until},
            manifest::Table,
        },
        dump::{self, Snapshot},
        gtid::GtidSet,
        sql::{Session, is_mariadb, logs},
    },
};

/// The tables up to a moment, in the server beside the lab.
pub(super) struct Rebuilt {
    session: Session,
}

/// Looks whether all of it is there.
///
/// # Errors
/// Something is missing: exactly what.
pub(super) async fn covered(way: &Way<'_>, until: &Until) -> Result<Vec<Piece>> {
    let id = &way.manifest.id;
    let (pieces, reached) = tokio::try_join!(way.shelf.pieces(id), way.shelf.reached(id))?;
    until.covered(way.manifest, &pieces, reached.as_ref())?;
    Ok(pieces)
}

/// Puts the backup and what was archived since together. Whoever calls this ends the server.
///
/// # Errors
/// The server does not come up, or is none that can repeat what was archived; or something cannot be fetched or repeated.
pub(super) async fn rebuild(way: &Way<'_>, until: &Until, pieces: &[Piece]) -> Result<Rebuilt> {
    way.runner.tell(Progress::of("starting a server beside the lab"));
    let mut session = verify::begin(&way.runner.cluster).await?;
    fits(&mut session, way.manifest).await?;
    let version = session.version().await?;
    let (had, mariadb) = (&way.manifest.database.version, is_mariadb(&version));
    if is_mariadb(had) != mariadb {
        bail!("what was archived of a server {had} can be repeated by its like only, and this lab has {version}");
    }
    way.load(&mut session, DATABASE).await?;
    way.runner.tell(Progress::of("repeating what was archived"));
    let had = GtidSet::parse(&way.manifest.database.position)?;
    let (mut repeated, mut repeater) = (had, logs::Repeater::new(&mut session, DATABASE, mariadb));
    for piece in pieces.iter().filter(|piece| !matches!(until, Until::Time(moment) if piece.first >= *moment)) {
        let file = way.shelf.piece(way.manifest, piece, way.keys.clone()).await?;
        let made = GtidSet::parse(&piece.gtids)?;
        let cluster = made.makers().next().unwrap_or_default();
        let kept =
            logs::transactions(&file, cluster).with_context(|| format!("piece {} of the archive", piece.number))?;
        for transaction in kept {
            let gtid = GtidSet::parse(&transaction.gtid)?;
            // Twice would be once too often, and what was read from two members may overlap.
            if repeated.contains(&gtid) || !until.wants(&transaction.gtid, transaction.committed)? {
                continue;
            }
            repeater.repeat(&transaction).await?;
            repeated = repeated.with(&gtid);
        }
    }
    Ok(Rebuilt { session })
}

impl Rebuilt {
    /// Loads the tables into another database, and says what they are.
    ///
    /// # Errors
    /// One of the two servers breaks off, or refuses.
    pub(super) async fn load(&mut self, into: &mut Session, database: &str) -> Result<BTreeMap<String, Table>> {
        let (feed, mut text) = dump::feed();
        let (mut sink, source) = dump::drain();
        // The text ends where the writer says so; what breaks off before is told by its last line, too.
        let passed = spawn_blocking(move || io::copy(&mut text, &mut sink).map(drop));
        let mut snapshot = Snapshot::begin(&mut self.session).await?;
        let (written, loaded) = tokio::join!(snapshot.write(DATABASE, feed), dump::load(into, database, source, None));
        let passed = passed.await.context("the thread between the servers broke")?;
        match (written, loaded, passed) {
            (Ok(tables), Ok(()), Ok(())) => Ok(tables),
            (_, Err(loaded), _) => Err(loaded),
            (Err(written), _, _) => Err(written),
            (_, _, Err(passed)) => Err(passed).context("between the servers"),
        }
    }
}

/// Copies uploads that the backup does not have, and that were there by that moment: `wp-content` has no history, but what is not gone
/// is still there. Returns how many.
///
/// # Errors
/// One cannot be copied.
pub(super) fn keep_uploads(content: &Path, into: &Path, until: &Until) -> io::Result<u64> {
    let by = match until {
        Until::Time(moment) => Some(SystemTime::from(*moment)),
        Until::Gtids(_) => None,
    };
    let mut copied = 0;
    let mut folders = vec![PathBuf::from("uploads")];
    while let Some(folder) = folders.pop() {
        let Some(entries) = there(fs::read_dir(content.join(&folder)))? else { continue };
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let about = entry.metadata()?;
            if about.is_dir() {
                folders.push(path);
            } else if about.is_file() && by.is_none_or(|by| about.modified().is_ok_and(|at| at <= by)) {
                let to = into.join(&path);
                if !to.try_exists()? {
                    fs::create_dir_all(to.parent().unwrap_or(into))?;
                    fs::copy(content.join(&path), to)?;
                    copied += 1;
                }
            }
        }
    }
    Ok(copied)
}

/// Attachments of a database whose file is not in a folder.
///
/// # Errors
/// The database does not say.
pub(super) async fn without_file(session: &mut Session, database: &str, folder: &Path) -> Result<Vec<String>> {
    let query = format!("SELECT meta_value AS path FROM {database}.wp_postmeta WHERE meta_key = '_wp_attached_file'");
    let rows = session.rows(&query).await.context("cannot list the attachments")?;
    let paths: BTreeSet<String> = rows.into_iter().filter_map(|mut row| row.remove("path")?).collect();
    Ok(paths.into_iter().filter(|path| !folder.join("uploads").join(path).exists()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_of_after_the_backup_are_kept_and_none_of_after_the_moment() {
        let (content, into) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let write = |root: &Path, path: &str, text: &str| {
            fs::create_dir_all(root.join(path).parent().expect("one")).expect("made");
            fs::write(root.join(path), text).expect("written");
        };
        for (path, text) in [
            ("uploads/2026/a.jpg", "now"),
            ("uploads/2026/b.jpg", "b"),
            ("uploads/late.jpg", "late"),
            ("themes/x", "x"),
        ] {
            write(content.path(), path, text);
        }
        write(into.path(), "uploads/2026/a.jpg", "then");
        let hour = std::time::Duration::from_secs(3600);
        let late = fs::File::options().write(true).open(content.path().join("uploads/late.jpg")).expect("opened");
        late.set_modified(SystemTime::now() + 2 * hour).expect("set");
        let until = Until::Time(jiff::Timestamp::try_from(SystemTime::now() + hour).expect("a time"));
        assert_eq!(keep_uploads(content.path(), into.path(), &until).expect("copied"), 1);
        let read = |path: &str| fs::read_to_string(into.path().join(path)).ok();
        assert_eq!(
            (read("uploads/2026/a.jpg").as_deref(), read("uploads/2026/b.jpg").as_deref()),
            (Some("then"), Some("b"))
        );
        assert_eq!((read("uploads/late.jpg"), read("themes/x")), (None, None));
    }
}
