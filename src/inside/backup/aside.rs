//! What is restored takes the place of what was there, and can be taken back: tables by one `RENAME`, the files by one each. What was
//! there is kept aside until the site has been seen with the new data. A mark in the shared folder says from before the first step to
//! after the last one that this is under way; whoever finds it puts everything back.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::reader::DATABASE;
use crate::{
    inside::{gone, there},
    wire::sql::{Session, literal, name},
};

/// The database with what is restored, before it takes its place.
pub(super) const NEW: &str = "wordpress_restored";
/// The database with what was there.
const OLD: &str = "wordpress_before";
/// Folders for the same, and the mark, in `wp-content`. Apache serves nothing whose name begins with a dot.
const NEW_FILES: &str = ".wplab-restored";
const OLD_FILES: &str = ".wplab-before";
/// The mark: visitors are told to come back while it is there.
const MARK: &str = ".wplab-restoring";
/// What the mark becomes when visitors are let in, and can still be sent away; and when what was there is not kept any more.
const KEPT: &str = ".wplab-restored.shown";
const DONE: &str = ".wplab-restored.done";
/// How long the tables may be in use by somebody else.
const LOCKED: Duration = Duration::from_secs(20);
/// The lab's own files at the top of `wp-content` are nobody's content.
const OWN: &str = ".wplab-";
/// The database drop-in is the lab's, too, where it is a link.
const DROP_IN: &str = "db.php";

/// What the mark says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The tables that were there.
    tables: BTreeSet<String>,
    /// What was at the top of `wp-content`.
    entries: BTreeSet<String>,
}

/// The site's shared folder and its database, in the hands of whoever restores.
pub(super) struct Place<'a> {
    pub(super) content: &'a Path,
    pub(super) session: &'a mut Session,
}

impl Place<'_> {
    /// An empty database and an empty folder for what is restored; what an earlier restore has left of them is gone.
    ///
    /// # Errors
    /// The server refuses, or the folder cannot be made.
    pub(super) async fn make_room(&mut self) -> Result<PathBuf> {
        self.clear().await?;
        let query = format!(
            "SELECT DEFAULT_CHARACTER_SET_NAME AS charset, DEFAULT_COLLATION_NAME AS collation \
             FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
            literal(DATABASE)
        );
        let like = self.session.row(&query).await?.context("there is no database of the site")?;
        let of = |what: &str| like.get(what).cloned().flatten().unwrap_or_default();
        let make = format!("CREATE DATABASE {NEW} CHARACTER SET {} COLLATE {}", of("charset"), of("collation"));
        self.session
            .run(&make)
            .await
            .context("cannot make a database beside the site's (was this lab made by an earlier version?)")?;
        let folder = self.content.join(NEW_FILES);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Removes what is beside the site.
    ///
    /// # Errors
    /// The server refuses, or something cannot be removed.
    pub(super) async fn clear(&mut self) -> Result<()> {
        for database in [NEW, OLD] {
            self.session.run(&format!("DROP DATABASE IF EXISTS {database}")).await?;
        }
        for folder in [NEW_FILES, OLD_FILES] {
            gone(fs::remove_dir_all(self.content.join(folder))).with_context(|| format!("cannot remove {folder}"))?;
        }
        gone(fs::remove_file(self.content.join(DONE))).with_context(|| format!("cannot remove {DONE}"))
    }

    /// Puts what is in [`NEW`] and its folder in the place of what is there.
    ///
    /// # Errors
    /// The server refuses, or a file cannot be moved: [`Place::back`] puts everything back.
    pub(super) async fn swap(&mut self) -> Result<()> {
        let (tables, new) = (tables(self.session, DATABASE).await?, tables(self.session, NEW).await?);
        let mark = Mark { entries: entries(self.content)?, tables };
        let text = serde_json::to_vec(&mark).context("cannot write the mark")?;
        // It appears whole.
        let part = self.content.join(".wplab-restoring.part");
        fs::write(&part, text)
            .and_then(|()| fs::rename(&part, self.content.join(MARK)))
            .context("cannot write the mark")?;
        // A visitor's transaction that does not end must not make everybody else wait behind this.
        self.session.run(&format!("SET SESSION lock_wait_timeout = {}", LOCKED.as_secs())).await?;
        self.session.run(&format!("CREATE DATABASE {OLD}")).await?;
        let (old_files, new_files) = (self.content.join(OLD_FILES), self.content.join(NEW_FILES));
        fs::create_dir(&old_files).context("cannot make a folder for what is there")?;
        let incoming = entries(&new_files)?;
        move_all(&mark.entries, self.content, &old_files)?;
        move_all(&incoming, &new_files, self.content)?;
        rename(self.session, &[(DATABASE, OLD, &mark.tables), (NEW, DATABASE, &new)]).await
    }

    /// Puts back what was there before [`Place::swap`], however far that went; says whether there was anything to put back.
    ///
    /// # Errors
    /// The server refuses, or a file cannot be moved. Nothing is lost: it can be tried again.
    async fn back(&mut self) -> Result<bool> {
        let Some(text) = there(fs::read(self.content.join(MARK)))? else { return Ok(false) };
        let mark: Mark = serde_json::from_slice(&text).context("cannot read the mark of a restore")?;
        let (old, now) = (tables(self.session, OLD).await?, tables(self.session, DATABASE).await?);
        if !old.is_empty() || now != mark.tables {
            // What is there and was not, or was and is kept aside, is the new data.
            let new: BTreeSet<String> =
                now.iter().filter(|table| old.contains(*table) || !mark.tables.contains(*table)).cloned().collect();
            self.session.run(&format!("CREATE DATABASE IF NOT EXISTS {NEW}")).await?;
            rename(self.session, &[(DATABASE, NEW, &new), (OLD, DATABASE, &old)]).await?;
        }
        let (old_files, new_files) = (self.content.join(OLD_FILES), self.content.join(NEW_FILES));
        if old_files.exists() {
            let old = entries(&old_files)?;
            let new: BTreeSet<String> = entries(self.content)?
                .into_iter()
                .filter(|entry| old.contains(entry) || !mark.entries.contains(entry))
                .collect();
            fs::create_dir_all(&new_files)?;
            move_all(&new, self.content, &new_files)?;
            move_all(&old, &old_files, self.content)?;
        }
        Ok(true)
    }

    /// Puts everything back and lets visitors in; says whether there was anything to put back.
    ///
    /// # Errors
    /// As [`Place::back`].
    pub(super) async fn take_back(&mut self) -> Result<bool> {
        self.reclaim()?;
        let back = self.back().await?;
        self.link_drop_in()?;
        self.open()?;
        Ok(back)
    }

    /// Makes the mark again, of what it became when visitors were let in.
    ///
    /// # Errors
    /// It cannot be written.
    fn reclaim(&self) -> Result<()> {
        let (mark, kept) = (self.content.join(MARK), self.content.join(KEPT));
        gone(fs::rename(kept, mark)).context("cannot write the mark of a restore again")
    }

    /// Lets visitors in, who see what was restored. It can still be taken back.
    ///
    /// # Errors
    /// The mark cannot be moved.
    pub(super) fn show(&self) -> Result<()> {
        let (mark, kept) = (self.content.join(MARK), self.content.join(KEPT));
        fs::rename(mark, kept).context("cannot move the mark of a restore")?;
        self.code_has_changed()
    }

    /// From now on what was restored is what there is.
    ///
    /// # Errors
    /// The mark cannot be moved.
    pub(super) fn keep(&self) -> Result<()> {
        fs::rename(self.content.join(KEPT), self.content.join(DONE)).context("cannot move the mark of a restore")
    }

    /// Whether it was said that what was restored is what there is.
    pub(super) fn is_kept(&self) -> bool {
        self.content.join(DONE).exists()
    }

    /// Lets visitors in, who see what there was before.
    ///
    /// # Errors
    /// The mark cannot be removed.
    fn open(&self) -> Result<()> {
        gone(fs::remove_file(self.content.join(MARK))).context("cannot remove the mark of a restore")?;
        self.code_has_changed()
    }

    /// Replicas copy the code again.
    fn code_has_changed(&self) -> Result<()> {
        fs::write(self.content.join(".wplab-changed"), "").context("cannot say that the code has changed")
    }

    /// The lab's own drop-in, where there is none.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn link_drop_in(&self) -> Result<()> {
        let link = self.content.join(DROP_IN);
        match fs::symlink_metadata(&link) {
            Ok(_) => Ok(()),
            Err(_) => symlink("/etc/wplab/wordpress/db.php", link).context("cannot link the database drop-in"),
        }
    }
}

/// The tables of a database; a database that is not there has none.
pub(super) async fn tables(session: &mut Session, database: &str) -> Result<BTreeSet<String>> {
    let query = format!(
        "SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE = 'BASE TABLE'",
        literal(database)
    );
    let rows = session.rows(&query).await.with_context(|| format!("cannot list the tables of {database}"))?;
    Ok(rows.into_iter().filter_map(|mut row| row.remove("name")?).collect())
}

/// What else is in a database, which no `RENAME` moves, in words; `None` where there is nothing.
pub(super) async fn programs(session: &mut Session, database: &str) -> Result<Option<String>> {
    let database = literal(database);
    let query = format!(
        "SELECT (SELECT COUNT(*) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {database}) AS views, \
         (SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {database}) AS triggers, \
         (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {database}) AS routines, \
         (SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {database}) AS events"
    );
    let row = session.row(&query).await?.context("the server gave no row")?;
    let some = row.into_iter().filter(|(_, count)| count.as_deref() != Some("0")).map(|(what, _)| what);
    let some: Vec<String> = some.collect();
    Ok(Some(some.join(", ")).filter(|text| !text.is_empty()))
}

/// Moves tables between databases, all at once.
async fn rename(session: &mut Session, moves: &[(&str, &str, &BTreeSet<String>)]) -> Result<()> {
    let pairs: Vec<String> = moves
        .iter()
        .flat_map(|(from, to, tables)| tables.iter().map(move |table| format!("{from}.{0} TO {to}.{0}", name(table))))
        .collect();
    if pairs.is_empty() {
        return Ok(());
    }
    session.run(&format!("RENAME TABLE {}", pairs.join(", "))).await.context("cannot move the tables")
}

/// What is at the top of a folder, but for the lab's own.
fn entries(folder: &Path) -> Result<BTreeSet<String>> {
    let cannot = || format!("cannot list {}", folder.display());
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let drop_in = name == DROP_IN && entry.file_type().with_context(cannot)?.is_symlink();
        if !name.starts_with(OWN) && !drop_in {
            names.insert(name);
        }
    }
    Ok(names)
}

fn move_all(names: &BTreeSet<String>, from: &Path, to: &Path) -> Result<()> {
    for name in names {
        let (from, to) = (from.join(name), to.join(name));
        fs::rename(&from, &to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}
