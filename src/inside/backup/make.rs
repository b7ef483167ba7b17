//! A backup, from the first object in the store to its manifest: the database first, in one snapshot; then `wp-content`. WordPress
//! writes a file before the row that names it, and removes the row before the file: what the rows name is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::{
    Runner, both,
    reader::{self, At, DATABASE},
    site,
};
use crate::{
    inside::http,
    spec::{LabSpec, Topology},
    wire::{
        backup::{
            manifest::{BackupId, DatabaseFacts, FORMAT, Manifest, Stream, WordpressFacts},
            seal::Recipients,
            shelf::Shelf,
        },
        dump, net,
        sql::{Session, is_mariadb},
    },
};

/// What is written into the pipe of an archive at once.
const BUFFER: usize = 64 << 10;
/// How long the site may take to tell its version, which nothing depends on.
const TELLING: Duration = Duration::from_secs(5);

/// How far a piece of work is, for whoever looks on.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// What is being done.
    pub(super) what: &'static str,
    /// Bytes that went through so far.
    pub(super) bytes: Arc<AtomicU64>,
}

impl Progress {
    pub(super) fn of(what: &'static str) -> Progress {
        Progress { what, bytes: Arc::default() }
    }
}

/// What is made, and for whom.
struct Made<'a> {
    runner: &'a Runner,
    shelf: &'a Shelf,
    id: &'a BackupId,
    to: Recipients,
}

/// Sends everything of a backup of this name, and returns what is to be said of it. It is none before that is written; what was sent
/// of one that fails is the caller's to remove.
///
/// # Errors
/// No member can be read from; something of the site cannot be read; or the store does not take it.
pub(super) async fn make(
    runner: &Runner,
    shelf: &Shelf,
    spec: &LabSpec,
    id: &BackupId,
    scheduled: bool,
) -> Result<Manifest> {
    let (begun, clock) = (Timestamp::now(), Instant::now());
    let to = Recipients::new(spec.backup.encrypt_for.keys()).map_err(anyhow::Error::msg)?;
    let recipients = to.keys();
    let made = Made { runner, shelf, id, to };
    shelf.begin(id, &format!("lab {} ({})", spec.name, runner.life)).await?;
    let (mut streams, mut seconds) = (BTreeMap::new(), BTreeMap::new());

    runner.tell(Progress::of("looking for a member to read from"));
    let chosen = reader::choose(&runner.cluster, &BTreeSet::new()).await?;
    let chosen = chosen.context("no member of the database serves")?;
    let session = runner.account.connect(chosen.address, Some(DATABASE)).await;
    let mut session = session.with_context(|| format!("at {}", chosen.name))?;
    let version = session.version().await?;
    let At { mut snapshot, position, exact } =
        reader::at(&mut session, &chosen, spec.database.topology, &runner.account).await?;
    seconds.insert("snapshot".to_owned(), clock.elapsed().as_secs_f64());
    let mut wordpress = facts(snapshot.session()).await?;

    let begun_dump = Instant::now();
    let (feed, text) = dump::feed();
    let text = made.counted("the database", text);
    let (sent, tables) = tokio::join!(made.send("database", text), snapshot.write(DATABASE, feed));
    let (stream, tables) = both(sent, tables, io::ErrorKind::UnexpectedEof)?;
    streams.insert("database".to_owned(), stream);
    drop(session);
    seconds.insert("database".to_owned(), begun_dump.elapsed().as_secs_f64());

    let begun_files = Instant::now();
    let (index, files) = made.files(&mut streams).await?;
    streams.insert("index".to_owned(), made.send("index", index).await?);
    seconds.insert("files".to_owned(), begun_files.elapsed().as_secs_f64());
    wordpress.files = files;
    wordpress.version = version_of_site(&wordpress.url).await.unwrap_or_else(|_| "unknown".to_owned());

    seconds.insert("all".to_owned(), clock.elapsed().as_secs_f64());
    let manifest = Manifest {
        format: FORMAT,
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        id: id.clone(),
        begun,
        finished: Timestamp::now(),
        lab: spec.clone(),
        database: DatabaseFacts {
            topology: spec.database.topology,
            server: server(spec.database.topology, &version).to_owned(),
            version,
            member: chosen.name,
            position,
            exact,
            tables,
        },
        wordpress,
        scheduled,
        recipients,
        streams,
        seconds,
    };
    Ok(manifest)
}

/// What a server is, by what it says it is.
fn server(topology: Topology, version: &str) -> &'static str {
    match topology {
        Topology::Replication => "mysql",
        Topology::Galera if is_mariadb(version) => "mariadb",
        Topology::Galera => "percona",
    }
}

impl Made<'_> {
    /// A source that says how far it is.
    fn counted<R: Read>(&self, what: &'static str, source: R) -> Counted<R> {
        let progress = Progress::of(what);
        let bytes = progress.bytes.clone();
        self.runner.tell(progress);
        Counted { source, bytes }
    }

    async fn send(&self, name: &str, source: impl Read + Send + 'static) -> Result<Stream> {
        self.shelf.send(self.id, name, source, &self.to).await
    }

    /// Sends `wp-content`; its index is on this pod's disk until it is sent, too.
    async fn files(&self, streams: &mut BTreeMap<String, Stream>) -> Result<(File, u64)> {
        let (tar, write) = io::pipe().context("cannot make a pipe")?;
        let mut index = tempfile::tempfile().context("cannot make a file for the index")?;
        let content = self.runner.content.clone();
        let packed = spawn_blocking(move || {
            let write = io::BufWriter::with_capacity(BUFFER, write);
            let files = site::pack(&content, write, io::BufWriter::new(&mut index))?;
            index.seek(SeekFrom::Start(0))?;
            io::Result::Ok((index, files))
        });
        let sent = self.send("files", self.counted("wp-content", BufReader::with_capacity(BUFFER, tar))).await;
        let packed = packed.await.context("the thread that reads wp-content broke")?;
        let (packed, sent) = both(packed.context("cannot read wp-content"), sent, io::ErrorKind::BrokenPipe)?;
        streams.insert("files".to_owned(), sent);
        Ok(packed)
    }
}

struct Counted<R> {
    source: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(into)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// What the snapshot says of the site.
async fn facts(session: &mut Session) -> Result<WordpressFacts> {
    let rows = session
        .rows("SELECT option_name, option_value FROM wp_options WHERE option_name IN ('siteurl', 'db_version')")
        .await;
    let rows = rows.context("cannot read the site's options")?;
    let option = |name: &str| {
        let row = rows.iter().find(|row| row.get("option_name").and_then(Option::as_deref) == Some(name));
        row.and_then(|row| row.get("option_value").cloned().flatten())
    };
    let url = option("siteurl").context("the site has no address")?;
    let db_version = option("db_version").and_then(|text| text.parse().ok());
    let db_version = db_version.context("the site's tables have no version")?;
    Ok(WordpressFacts { version: String::new(), db_version, url, files: 0 })
}

/// WordPress says its version to whoever reads its feed.
async fn version_of_site(url: &str) -> Result<String> {
    let address = net::look_up("wordpress", TELLING).await?.context("there is no Service wordpress")?;
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    let feed = tokio::time::timeout(TELLING, http::get(SocketAddr::new(address, 80), host, "/feed/")).await??;
    let (_, rest) = feed.split_once("<generator>https://wordpress.org/?v=").context("it does not say its version")?;
    Ok(rest.split('<').next().unwrap_or_default().to_owned())
}
