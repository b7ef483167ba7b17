//! A backup on its way into a server, whichever that is: loaded, unpacked, and compared with what it says of itself, row by row and
//! file by file.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::task::spawn_blocking;

use super::{Runner, both, make::Progress, site};
use crate::{
    run::advice::Trouble,
    wire::{
        backup::{
            Unusable,
            manifest::{Manifest, Table},
            seal::Keys,
            shelf::Shelf,
        },
        dump::{self, Snapshot},
        sql::{Session, is_mariadb},
    },
};

/// How long one statement of a dump may take.
pub(super) const STATEMENT: Duration = Duration::from_mins(10);
/// What was restored.
pub(super) struct Restored {
    pub(super) tables: u64,
    pub(super) rows: u64,
    pub(super) files: u64,
    pub(super) seconds: f64,
    /// Attachments whose file was in no backup and is there no more, where what was written after the backup was restored, too.
    pub(super) missing: Vec<String>,
}

/// A backup on its way into this lab, or into a server beside it.
pub(super) struct Way<'a> {
    pub(super) runner: &'a Runner,
    pub(super) shelf: &'a Shelf,
    pub(super) manifest: &'a Manifest,
    pub(super) keys: Arc<Keys>,
}

impl Way<'_> {
    pub(super) fn restored(&self, rows: u64, files: u64, seconds: f64) -> Restored {
        Restored { tables: self.manifest.database.tables.len() as u64, rows, files, seconds, missing: Vec::new() }
    }

    /// Loads the dump into a database, and compares every row of it with what the manifest says. Returns how many there are.
    pub(super) async fn load(&self, session: &mut Session, database: &str) -> Result<u64> {
        self.runner.tell(Progress::of("loading the database"));
        let (sink, source) = dump::drain();
        let fetched = async { self.shelf.fetch(self.manifest, "database", self.keys.clone(), sink).await.map(drop) };
        let (fetched, loaded) = tokio::join!(fetched, dump::load(session, database, source, None));
        both(fetched, loaded, io::ErrorKind::BrokenPipe)?;
        self.runner.tell(Progress::of("comparing every row"));
        let found = Snapshot::begin(session).await?.hashes(database).await?;
        session.run("COMMIT").await?;
        compare(&self.manifest.database.tables, &found).map_err(|how| self.damaged(how))
    }

    /// Compares every file with the index and, with a folder to put them into, unpacks them there. Returns how many there are.
    pub(super) async fn unpack(&self, into: Option<PathBuf>) -> Result<u64> {
        self.runner.tell(Progress::of(if into.is_some() { "unpacking wp-content" } else { "reading wp-content" }));
        let text = self.shelf.fetch(self.manifest, "index", self.keys.clone(), Vec::new()).await?;
        let index = site::index(&text).map_err(|error| self.damaged(format!("the index cannot be read: {error}")))?;
        let (tar, write) = io::pipe().context("cannot make a pipe")?;
        let unpacked = spawn_blocking(move || {
            let mut tar = io::BufReader::new(tar);
            let unpacked = site::unpack(&mut tar, &index, into.as_deref());
            // What is behind the end of a tar is nothing, and has to come all the same.
            unpacked.and_then(|files| io::copy(&mut tar, &mut io::sink()).map(|_| files))
        });
        let fetched = async { self.shelf.fetch(self.manifest, "files", self.keys.clone(), write).await.map(drop) };
        let (fetched, unpacked) = tokio::join!(fetched, unpacked);
        let unpacked = unpacked.context("the thread that unpacks broke")?.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => self.damaged(format!("wp-content: {error}")),
            _ => anyhow::Error::from(error).context("cannot unpack wp-content"),
        });
        both(fetched, unpacked, io::ErrorKind::BrokenPipe).map(|((), files)| files)
    }

    fn damaged(&self, how: String) -> anyhow::Error {
        Trouble::from(Unusable::Damaged { id: self.manifest.id.to_string(), how }).into()
    }
}

/// Whether tables are what they were. Returns how many rows there are.
///
/// # Errors
/// They are not: every table that differs is named.
pub(super) fn compare(wanted: &BTreeMap<String, Table>, found: &BTreeMap<String, Table>) -> Result<u64, String> {
    let mut wrong = Vec::new();
    for (name, table) in wanted {
        match found.get(name) {
            None => wrong.push(format!("{name} is missing")),
            Some(other) if other.rows != table.rows => {
                wrong.push(format!("{name} has {} rows instead of {}", other.rows, table.rows));
            }
            Some(other) if other != table => wrong.push(format!("{name} has other rows")),
            Some(_) => {}
        }
    }
    wrong.extend(found.keys().filter(|name| !wanted.contains_key(*name)).map(|name| format!("{name} is too much")));
    if !wrong.is_empty() {
        return Err(format!("what was loaded is not what was backed up: {}", wrong.join("; ")));
    }
    Ok(found.values().map(|table| table.rows).sum())
}

/// Whether a server can have a backup, as far as that shows before it is loaded.
pub(super) async fn fits(session: &mut Session, manifest: &Manifest) -> Result<()> {
    let version = session.version().await?;
    let (had, has) = (&manifest.database.version, &version);
    if is_mariadb(had) == is_mariadb(has) && release(has) < release(had) {
        bail!("it is of server {had}, and this lab has {has}: a server may be newer than its backup, not older");
    }
    let found = session.row("SELECT option_value AS version FROM wp_options WHERE option_name = 'db_version'").await;
    // Without tables there is no site yet, and the installer sees to it.
    let here = found.ok().flatten().and_then(|row| row.get("version").cloned().flatten()?.parse::<u64>().ok());
    let needs = manifest.wordpress.db_version;
    if let Some(here) = here.filter(|here| *here < needs) {
        bail!(
            "it is of a WordPress whose tables have version {needs}, and this lab's expects {here}: a WordPress may be newer than its backup, not older"
        );
    }
    Ok(())
}

/// The first two numbers of a version.
fn release(version: &str) -> (u32, u32) {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let table = |rows, hash: &str| Table { rows, hash: hash.to_owned() };
        let of = |tables: &[(&str, Table)]| -> BTreeMap<String, Table> {
            tables.iter().map(|(name, table)| ((*name).to_owned(), table.clone())).collect()
        };
        let wanted = of(&[("a", table(1, "x")), ("b", table(2, "y")), ("c", table(3, "z"))]);
        assert_eq!(compare(&wanted, &wanted).expect("the same"), 6);
        let found = of(&[("a", table(2, "x")), ("b", table(2, "other")), ("d", table(0, ""))]);
        let error = compare(&wanted, &found).expect_err("three");
        assert!(error.ends_with("a has 2 rows instead of 1; b has other rows; c is missing; d is too much"), "{error}");
    }

    #[test]
    fn releases_are_compared_by_numbers() {
        assert!(release("9.7.4-0debian") > release("8.4.10-10.1"));
        assert!(release("11.8.6-MariaDB-0+deb13u1 from Debian") > release("11.4.1-MariaDB"));
        assert_eq!(release("9.7.4"), release("9.7.1-log"));
    }
}
