//! `wplab backups`: makes and restores backups, one thing after the other, in a pod of its own that mounts `wp-content`. What it is to
//! do stands in objects ([`objects`]), which `controller` takes up; `schedule` makes some of them itself, and `told` says how that stands. `make` sends a backup, from
//! what `reader` and `site` read; `restore` puts one in the place of what the lab has, `verify` proves one; what is in a store is [`crate::wire::backup`].
//! `archive` keeps what is written after a backup, from a member that `source` finds, and `until` puts both together.

mod archive;
mod aside;
mod controller;
mod figures;
mod make;
pub mod objects;
mod reader;
mod restore;
mod schedule;
mod site;
mod source;
mod told;
mod until;
pub mod verify;
mod way;

use std::{
    future::ready,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use kube::{Client, Config};
use tokio::sync::{Mutex, watch};

pub use self::archive::ArchiveStatus;
use self::{archive::Archive, figures::Figures, make::Progress, objects::RestoreSpec, reader::Account};
use super::{
    figures::KIND,
    http::{self, Body},
    stop_signal,
};
use crate::{
    cluster::Cluster,
    run::advice::Trouble,
    spec::{
        LabName, LabSpec,
        destination::Destination,
        load::{self, Overrides},
    },
    wire::{
        backup::{credentials::Credentials, shelf::Shelf},
        net,
        sql::Session,
    },
};

/// The runner's HTTP port: `/live`, `/archive`, `/metrics`.
pub const HTTP_PORT: u16 = 8085;
/// Under which name the API server remembers what it says of a schedule and of the database.
const MANAGER: &str = "wplab-backup";
/// What `up` or `backup` has written for it: [`LAB_FILE`] and [`DESTINATION`].
const CONFIG: &str = "/etc/wplab/backup";
/// The lab file, as JSON.
pub const LAB_FILE: &str = "lab.json";
/// Where backups go, as it is reached from inside the cluster.
pub const DESTINATION: &str = "destination";
/// What lets it in there, a file for each name.
const CREDENTIALS: &str = "/etc/wplab/backup-credentials";
/// The same for where a backup lies that is restored, if that is another place.
const SOURCE_CREDENTIALS: &str = "/etc/wplab/restore-credentials";
/// How long a name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);
/// The database's passwords.
const PASSWORDS: &str = "/etc/wplab/db-credentials";
/// What lets in at the server beside the lab.
const SCRATCH_FILES: &str = "/etc/wplab/scratch";
/// The site's shared folder.
const CONTENT: &str = "/mnt/wp-content";

/// What every piece of work has to do with.
pub(super) struct Runner {
    cluster: Cluster,
    /// This life of this pod.
    life: String,
    account: Account,
    /// Whoever is sent the members' logs.
    follower: Account,
    content: PathBuf,
    progress: watch::Sender<Progress>,
    /// Whoever works has it.
    busy: Mutex<()>,
    archive: Archive,
    figures: Figures,
}

impl Runner {
    fn tell(&self, progress: Progress) {
        self.progress.send_replace(progress);
    }

    /// A session at the member that takes writes.
    async fn writer(&self) -> Result<Session> {
        let address = net::look_up("db", LOOKUP).await?.context("there is no Service db")?;
        let session = self.account.connect(SocketAddr::new(address, reader::MYSQL_PORT), Some(reader::DATABASE)).await;
        session.context("the member that takes writes")
    }
}

/// The lab, as it is written down at this moment.
fn lab() -> Result<LabSpec> {
    let text = read(CONFIG.as_ref(), LAB_FILE)?;
    let spec = load::parse("the lab's record", Path::new(""), &text, &Overrides::default());
    spec.map_err(Trouble::from).context("cannot read what the lab is")
}

/// A lab's place in this lab's store, as that is written down at this moment.
fn shelf(lab: &LabName) -> Result<Shelf> {
    let destination = Destination::new(&read(CONFIG.as_ref(), DESTINATION)?).map_err(anyhow::Error::msg)?;
    Shelf::open(&destination, &credentials(CREDENTIALS)?, lab)
}

/// Where the backup lies that is to be restored.
fn shelf_of(wanted: &RestoreSpec) -> Result<Shelf> {
    let name = match &wanted.lab {
        Some(name) => LabName::new(name).map_err(anyhow::Error::msg)?,
        None => lab()?.name,
    };
    let Some(destination) = &wanted.destination else { return shelf(&name) };
    let destination = Destination::new(destination).map_err(anyhow::Error::msg)?;
    Shelf::open(&destination, &credentials(SOURCE_CREDENTIALS)?, &name)
}

/// What two ends of a pipe came to. Where both failed, one may have failed only because the other end was gone (`when_gone`), and
/// says less then.
fn both<S, T>(one: Result<S>, other: Result<T>, when_gone: io::ErrorKind) -> Result<(S, T)> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => {
            let was_gone = |cause: &(dyn std::error::Error + 'static)| {
                cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == when_gone)
            };
            Err(if one.chain().any(was_gone) { other } else { one })
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

fn read(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// What the pod's Secret has.
fn credentials(folder: &str) -> Result<Credentials> {
    let folder: &Path = folder.as_ref();
    let mut values = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let name = entry.context("cannot list the credentials")?.file_name().to_string_lossy().into_owned();
        // A Secret's own links begin with dots.
        if !name.starts_with('.') {
            values.push((name.clone(), read(folder, &name)?));
        }
    }
    Ok(Credentials::among(values))
}

/// Runs until SIGTERM or SIGINT. What is cut off by that is told by the next life.
///
/// # Errors
/// The pod is not set up as the manifests say, or the port is taken.
pub async fn main() -> Result<()> {
    let var = |name: &str| std::env::var(name).with_context(|| format!("the environment variable {name} is missing"));
    let (pod, lab) = (var("POD_NAME")?, LabName::new(&var("WPLAB_LAB")?).map_err(anyhow::Error::msg)?);
    let stop = stop_signal()?;
    let mut config = Config::incluster().context("cannot tell where the API server is")?;
    config.connect_timeout = Some(Duration::from_secs(3));
    let ca = read("/etc/wplab/db-tls".as_ref(), "ca.crt")?;
    let of = |user, key| anyhow::Ok(Account { user, password: read(PASSWORDS.as_ref(), key)?, ca: ca.clone() });
    let runner = Runner {
        cluster: Cluster::new(Client::try_from(config).context("cannot use the pod's own account")?, lab),
        life: format!("{pod}/{:08x}", rand::random::<u32>()),
        account: of("wordpress", "wordpress-password")?,
        follower: of("replication", "replication-password")?,
        content: CONTENT.into(),
        progress: watch::Sender::default(),
        busy: Mutex::default(),
        archive: Archive::default(),
        figures: Figures::default(),
    };
    let runner = Arc::new(runner);
    let seen = runner.clone();
    http::serve(HTTP_PORT, move |request| ready(answer(&seen, &request))).await?;
    tokio::select! {
        () = controller::run(runner.clone()) => {}
        () = schedule::run(runner.clone()) => {}
        () = archive::run(runner) => {}
        () = stop => {}
    }
    Ok(())
}

fn answer<B>(runner: &Runner, request: &Request<B>) -> Response<Body> {
    let (code, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/live") => (StatusCode::OK, "alive\n".to_owned()),
        (&Method::GET, "/archive") => {
            // Plain data, which always fits.
            let status = serde_json::to_string(&runner.archive.status()).unwrap_or_default();
            return http::text(StatusCode::OK, "application/json", status);
        }
        (&Method::GET, "/metrics") => {
            let text = runner.figures.text(runner.archive.status().as_ref(), Timestamp::now());
            return http::text(StatusCode::OK, KIND, text);
        }
        _ => (StatusCode::NOT_FOUND, "try /live, /archive or /metrics\n".to_owned()),
    };
    http::text(code, "text/plain", text)
}
