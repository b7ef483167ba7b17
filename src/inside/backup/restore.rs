//! A backup takes the place of what the lab has. Everything is loaded and compared beside the site first, which goes on meanwhile;
//! then, within a moment, it takes the place of what was there (`aside`); and when the site does not answer with it, everything is
//! put back. A lab that nobody uses yet is given the backup directly.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use tokio::task::spawn_blocking;

use super::{
    Runner,
    aside::{self, NEW, Place},
    make::Progress,
    reader::{self, DATABASE},
    site, until, verify,
};
use crate::{
    cluster::{Cluster, Refused, gone},
    inside::{http, log},
    labels::{COMPONENT, Component},
    run::{
        advice::Trouble,
        wait::{self, Look},
    },
    wire::{
        backup::{
            Unusable,
            archive::Until,
            manifest::{Manifest, Table},
            seal::Keys,
            shelf::{self, Shelf},
        },
        dump::{self, Snapshot},
        net,
        sql::{Session, literal},
    },
};

/// The administrator of a lab, whose password is in its Secret: that of a backup may be another one.
const ADMIN: &str = "admin";
/// How long one statement of a dump may take.
pub(super) const STATEMENT: Duration = Duration::from_mins(10);
/// How long a name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long the site may take to answer with what was restored.
const ANSWER: Duration = Duration::from_mins(2);
/// In the shared folder: the installer's marks.
const INSTALLED: &str = ".wplab-installed";
const INSTALLING: &str = ".wplab-installing";
const SEEDED: &str = ".wplab-seeded";
const PASSWORDS: &str = ".wplab-passwords";

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

/// Restores a backup. Nothing was touched when what is wrong shows before that; later, everything is put back.
///
/// # Errors
/// The backup cannot be used here ([`crate::wire::backup::Unusable`]), there is no room for it, it cannot be loaded, or the site does not answer with it.
pub(super) async fn restore(
    runner: &Runner,
    shelf: &Shelf,
    manifest: &Manifest,
    keys: Keys,
    until: Option<Until>,
) -> Result<Restored> {
    shelf::opens(manifest, &keys)?;
    let way = Way { runner, shelf, manifest, keys: Arc::new(keys) };
    runner.tell(Progress::of("looking whether it can be restored"));
    shelf.complete(manifest).await?;
    let pieces = match &until {
        Some(until) => until::covered(&way, until).await?,
        None => Vec::new(),
    };
    let mut session = runner.writer().await?.patient(STATEMENT);
    fits(&mut session, manifest).await?;
    let room = manifest.streams.get("files").map_or(0, |files| files.bytes);
    has_room(&runner.cluster, &runner.content, manifest, room).await?;
    let restored = async {
        let mut tables = match &until {
            Some(until) => Tables::Until(until::rebuild(&way, until, &pieces).await?, until.clone()),
            None => Tables::Backup,
        };
        match there(&runner.content, INSTALLED)? {
            true => way.replace(&mut session, &mut tables).await,
            false => way.begin(&mut session, &mut tables).await,
        }
    };
    let restored = restored.await;
    if until.is_some() {
        let ended = verify::end(&runner.cluster).await;
        return restored.and_then(|restored| ended.map(|()| restored));
    }
    restored
}

/// Where the tables come from that are restored.
enum Tables {
    /// The dump of the backup.
    Backup,
    /// The server beside the lab, which has them as they were at some moment.
    Until(until::Rebuilt, Until),
}

/// How a restore ended that somebody cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutOff {
    /// Nothing of what was there had been touched.
    Before,
    /// What was there is put back.
    Back,
    /// It was done, but for what was kept aside.
    Done,
}

/// Ends a restore that somebody cut off.
///
/// # Errors
/// The database does not answer, or something cannot be moved. It can be tried again.
pub(super) async fn end(runner: &Runner) -> Result<CutOff> {
    let mut session = runner.writer().await?.patient(STATEMENT);
    let mut place = Place { content: &runner.content, session: &mut session };
    let ended = if place.is_kept() {
        CutOff::Done
    } else {
        match place.take_back().await? {
            true => CutOff::Back,
            false => CutOff::Before,
        }
    };
    place.clear().await?;
    Ok(ended)
}

impl Way<'_> {
    /// Into a lab that nobody uses yet. The installer finds a site then, and gives it this lab's address and passwords; if this is
    /// cut off it finds its own mark, and begins with nothing.
    async fn begin(&self, session: &mut Session, tables: &mut Tables) -> Result<Restored> {
        let content = &self.runner.content;
        let mark = |name: &str| fs::write(content.join(name), "").with_context(|| format!("cannot write {name}"));
        mark(INSTALLING)?;
        for table in aside::tables(session, DATABASE).await? {
            session.run(&format!("DROP TABLE {}", crate::wire::sql::name(&table))).await?;
        }
        let clock = Instant::now();
        let rows = self.fill(session, DATABASE, tables).await?;
        let files = self.unpack(Some(content.clone())).await?;
        let missing = self.missing(session, DATABASE, content, tables).await?;
        let seconds = clock.elapsed().as_secs_f64();
        mark(SEEDED)?;
        mark(PASSWORDS)?;
        fs::remove_file(content.join(INSTALLING)).context("cannot remove the installer's mark")?;
        Ok(Restored { missing, ..self.restored(rows, files, seconds) })
    }

    /// Into a lab that is used.
    async fn replace(&self, session: &mut Session, tables: &mut Tables) -> Result<Restored> {
        let mut place = Place { content: &self.runner.content, session };
        let clock = Instant::now();
        let beside = async {
            movable(place.session, DATABASE).await?;
            let folder = place.make_room().await?;
            let rows = self.fill(place.session, NEW, tables).await?;
            movable(place.session, NEW).await?;
            let files = self.unpack(Some(folder.clone())).await?;
            let missing = self.missing(place.session, NEW, &folder, tables).await?;
            settle(place.session).await?;
            anyhow::Ok((rows, files, missing, clock.elapsed().as_secs_f64()))
        };
        let (rows, files, missing, seconds) = match beside.await {
            Ok(done) => done,
            Err(error) => {
                // By a session of its own: this one may be what failed.
                end(self.runner).await.context("what was loaded beside the site could not be removed")?;
                return Err(error);
            }
        };
        self.runner.tell(Progress::of("taking the place of what was there"));
        let swapped = async {
            place.swap().await?;
            place.link_drop_in()?;
            place.show()?;
            answers().await?;
            place.keep()
        };
        if let Err(error) = swapped.await {
            log(&format!("puts everything back: {error:#}"));
            let back = end(self.runner).await;
            back.context("what was there could not be put back; it is tried again when this pod starts")?;
            return Err(error.context("everything is as it was before"));
        }
        place.clear().await?;
        Ok(Restored { missing, ..self.restored(rows, files, seconds) })
    }

    /// Fills a database with the tables, and compares every row. Returns how many there are.
    async fn fill(&self, session: &mut Session, database: &str, tables: &mut Tables) -> Result<u64> {
        let Tables::Until(rebuilt, _) = tables else { return self.load(session, database).await };
        self.runner.tell(Progress::of("loading the database"));
        let wanted = rebuilt.load(session, database).await?;
        self.runner.tell(Progress::of("comparing every row"));
        let found = Snapshot::begin(session).await?.hashes(database).await?;
        session.run("COMMIT").await?;
        compare(&wanted, &found).map_err(|how| anyhow!("what was loaded is not what was put together: {how}"))
    }

    /// Adds the uploads of after the backup that are still there, and names attachments whose file is nowhere.
    async fn missing(
        &self,
        session: &mut Session,
        database: &str,
        folder: &Path,
        tables: &Tables,
    ) -> Result<Vec<String>> {
        let Tables::Until(_, until) = tables else { return Ok(Vec::new()) };
        let (content, into, until) = (self.runner.content.clone(), folder.to_owned(), until.clone());
        if content != into {
            let copied = spawn_blocking(move || until::keep_uploads(&content, &into, &until)).await;
            copied.context("the thread that copies broke")?.context("cannot copy the uploads of after the backup")?;
        }
        until::without_file(session, database, folder).await
    }

    pub(super) fn restored(&self, rows: u64, files: u64, seconds: f64) -> Restored {
        Restored { tables: self.manifest.database.tables.len() as u64, rows, files, seconds, missing: Vec::new() }
    }

    /// Loads the dump into a database, and compares every row of it with what the manifest says. Returns how many there are.
    pub(super) async fn load(&self, session: &mut Session, database: &str) -> Result<u64> {
        self.runner.tell(Progress::of("loading the database"));
        let (sink, source) = dump::drain();
        let fetched = async { self.shelf.fetch(self.manifest, "database", self.keys.clone(), sink).await.map(drop) };
        let (fetched, loaded) = tokio::join!(fetched, dump::load(session, database, source, None));
        // Whoever loads ends when nothing comes any more, and says less; but who does not load does not fetch either.
        match (fetched, loaded) {
            (Ok(()), loaded) => loaded?,
            (Err(fetched), Ok(())) => return Err(fetched),
            (Err(fetched), Err(loaded)) => return Err(if nobody_loads(&fetched) { loaded } else { fetched }),
        }
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
        match (fetched, unpacked) {
            (Ok(()), unpacked) => unpacked,
            (Err(fetched), Ok(_)) => Err(fetched),
            (Err(fetched), Err(unpacked)) => Err(if nobody_loads(&fetched) { unpacked } else { fetched }),
        }
    }

    fn damaged(&self, how: String) -> anyhow::Error {
        Trouble::from(Unusable::Damaged { id: self.manifest.id.to_string(), how }).into()
    }
}

/// Whether a stream could not be fetched because its other end is gone.
fn nobody_loads(error: &anyhow::Error) -> bool {
    let gone = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(gone)
}

/// Whether tables are what they were. Returns how many rows there are.
///
/// # Errors
/// They are not: every table that differs is named.
fn compare(wanted: &BTreeMap<String, Table>, found: &BTreeMap<String, Table>) -> Result<u64, String> {
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
    let version = session.value("SELECT VERSION()").await?.context("the server does not say what it is")?;
    let (had, has) = (&manifest.database.version, &version);
    if had.contains("MariaDB") == has.contains("MariaDB") && release(has) < release(had) {
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

/// Whether every member, and the shared folder, have room for everything twice.
async fn has_room(cluster: &Cluster, content: &Path, manifest: &Manifest, files: u64) -> Result<()> {
    let database = manifest.streams.get("database").map_or(0, |stream| stream.bytes);
    let mut short = Vec::new();
    let list = ListParams::default().labels(&format!("{COMPONENT}={}", Component::Database.as_str()));
    let pods = cluster.api::<Pod>().list(&list).await.map_err(Refused).context("cannot list the database's members")?;
    for pod in pods {
        let ip: Option<IpAddr> = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        let (Some(ip), name) = (ip, pod.name_any()) else { continue };
        // Who does not answer now copies everything later.
        let Ok(status) = reader::look(&name, ip).await else { continue };
        if let Some(free) = status.free.filter(|free| *free < 2 * database) {
            short.push(format!(
                "{name} has {} MB left of {} that are needed",
                free / 1_000_000,
                2 * database / 1_000_000
            ));
        }
    }
    let about = rustix::fs::statvfs(content).context("cannot look how full wp-content is")?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    if free < files {
        short.push(format!("wp-content has {} MB left of {} that are needed", free / 1_000_000, files / 1_000_000));
    }
    ensure!(short.is_empty(), "there is too little room: {}", short.join("; "));
    Ok(())
}

/// Whether a `RENAME` moves all that is in a database.
async fn movable(session: &mut Session, database: &str) -> Result<()> {
    let Some(others) = aside::programs(session, database).await? else { return Ok(()) };
    let whose = if database == DATABASE { "the site's database" } else { "the backup" };
    bail!(
        "{whose} has {others}, which cannot be put in place while the site is used; a new lab that begins with the backup takes them"
    )
}

/// What is loaded beside the site becomes this lab's: its address, and the password that its Secret has.
async fn settle(session: &mut Session) -> Result<()> {
    let url = format!(
        "SELECT (SELECT option_value FROM {DATABASE}.wp_options WHERE option_name = 'siteurl') AS here, (SELECT option_value FROM {NEW}.wp_options WHERE option_name = 'siteurl') AS was"
    );
    let urls = session.row(&url).await?.context("the server gave no row")?;
    let of = |which: &str| {
        urls.get(which).cloned().flatten().with_context(|| format!("there is no address of the site ({which})"))
    };
    let (here, was) = (of("here")?, of("was")?);
    if here != was {
        let (from, to) = (literal(&format!("{was}/")), literal(&format!("{here}/")));
        session.run(&format!("UPDATE {NEW}.wp_posts SET post_content = REPLACE(post_content, {from}, {to}), guid = REPLACE(guid, {from}, {to})")).await?;
        session
            .run(&format!(
                "UPDATE {NEW}.wp_options SET option_value = {} WHERE option_name IN ('siteurl', 'home')",
                literal(&here)
            ))
            .await?;
    }
    session
        .run(&format!(
            "UPDATE {NEW}.wp_users AS new JOIN {DATABASE}.wp_users AS here ON here.user_login = new.user_login \
             SET new.user_pass = here.user_pass WHERE new.user_login = {}",
            literal(ADMIN)
        ))
        .await
        .context("cannot give the administrator this lab's password")
}

/// Waits until the site answers.
async fn answers() -> Result<()> {
    let look = || async {
        let Some(address) = net::look_up("wordpress", LOOKUP).await? else {
            return Ok(Look::NotYet("there is no Service wordpress".to_owned()));
        };
        let page =
            tokio::time::timeout(LOOKUP, http::get(SocketAddr::new(address, 80), "127.0.0.1", "/wp-login.php")).await;
        Ok(match page.map_err(|_| anyhow!("no answer within {} s", LOOKUP.as_secs())).flatten() {
            Ok(page) if page.contains("loginform") => Look::Ready(()),
            Ok(_) => Look::NotYet("it shows another page than that to log in at".to_owned()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    };
    wait::until("the site with what was restored", ANSWER, Duration::from_secs(1), |_| {}, look).await
}

/// What opens the backup: the key in a Secret, if one was named, which is removed at once: nobody need see to that later.
///
/// # Errors
/// There is no such Secret, or no key in it; or the API server refuses.
pub(super) async fn keys(cluster: &Cluster, secret: Option<&str>) -> Result<Keys> {
    let Some(name) = secret else { return Ok(Keys::default()) };
    let found: Option<Secret> = cluster.get(name).await?;
    gone(cluster.api::<Secret>().delete(name, &DeleteParams::default()).await)
        .with_context(|| format!("cannot remove Secret {name}"))?;
    let data = found.and_then(|secret| secret.data).unwrap_or_default();
    let key = data.get("key").with_context(|| format!("Secret {name} has no key `key`"))?;
    Keys::parse(&String::from_utf8_lossy(&key.0)).with_context(|| format!("Secret {name}"))
}

fn there(folder: &Path, name: &str) -> Result<bool> {
    folder.join(name).try_exists().with_context(|| format!("cannot look for {name}"))
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
