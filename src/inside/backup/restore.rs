//! A backup takes the place of what the lab has. Everything is loaded and compared beside the site first, which goes on meanwhile;
//! then, within a moment, it takes the place of what was there (`aside`); and when the site does not answer with it, everything is
//! put back. A lab that nobody uses yet is given the backup directly.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt, api::DeleteParams};
use tokio::task::spawn_blocking;

use super::{
    LOOKUP, Runner,
    aside::{self, NEW, Place},
    make::Progress,
    reader::{self, DATABASE},
    until, verify,
    way::{Restored, STATEMENT, Way, compare, fits},
};
use crate::{
    cluster::{Cluster, gone},
    inside::{http, log},
    run::wait::{self, Look},
    wire::{
        backup::{
            archive::Until,
            manifest::Manifest,
            seal::Keys,
            shelf::{self, Shelf},
        },
        dump::Snapshot,
        net,
        sql::{Session, literal},
    },
};

/// The administrator of a lab, whose password is in its Secret: that of a backup may be another one.
const ADMIN: &str = "admin";
/// How long whoever was cut off may take until it is gone.
const GONE: Duration = Duration::from_mins(1);
/// How long the site may take to answer with what was restored.
const ANSWER: Duration = Duration::from_mins(2);
/// In the shared folder: the installer's marks.
const INSTALLED: &str = ".wplab-installed";
const INSTALLING: &str = ".wplab-installing";
const SEEDED: &str = ".wplab-seeded";
const PASSWORDS: &str = ".wplab-passwords";

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
    alone(&mut session, Duration::ZERO).await?;
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

/// Ends a restore that somebody cut off, once whoever that was is gone: a pod that was deleted may work for a moment still.
///
/// # Errors
/// Somebody works still; the database does not answer, or something cannot be moved. It can be tried again.
pub(super) async fn end(runner: &Runner) -> Result<CutOff> {
    let mut session = runner.writer().await?.patient(STATEMENT);
    alone(&mut session, GONE).await?;
    undo(runner, &mut session).await
}

/// Holds what only one at a time has, for as long as this session lasts.
async fn alone(session: &mut Session, patience: Duration) -> Result<()> {
    let got = session.value(&format!("SELECT GET_LOCK('wplab-restore', {})", patience.as_secs())).await?;
    ensure!(got.as_deref() == Some("1"), "somebody else restores into this lab");
    Ok(())
}

/// Puts everything back, if anything was replaced, and removes what is beside the site.
async fn undo(runner: &Runner, session: &mut Session) -> Result<CutOff> {
    let mut place = Place { content: &runner.content, session };
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
                let mut other = self.runner.writer().await?.patient(STATEMENT);
                undo(self.runner, &mut other).await.context("what was loaded beside the site could not be removed")?;
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
            let back = async { undo(self.runner, &mut self.runner.writer().await?.patient(STATEMENT)).await };
            let back = back.await;
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
}

/// Whether every member, and the shared folder, have room for everything twice.
async fn has_room(cluster: &Cluster, content: &Path, manifest: &Manifest, files: u64) -> Result<()> {
    let database = manifest.streams.get("database").map_or(0, |stream| stream.bytes);
    let mut short = Vec::new();
    for pod in reader::members(cluster).await? {
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
