//! Stores of backups beside the labs: an S3 server per engine, which outlives every lab, and one in front of each folder that `file://`
//! names, because pods reach no folder of this machine. What lies in them is [`crate::wire::backup`]'s to know; [`Place`] says what
//! they are called and how they are reached.
//!
//! Containers and their labels are the record here as well, and so are the credentials in a server's environment: they are made up
//! once, and whoever may ask the engine can read them.

mod place;

use std::{collections::BTreeSet, fmt, time::Duration};

use anyhow::{Context, Result};

pub use place::{BUCKET, NAME, PORT, Place};
use place::{HEALTH, SCRATCH, credentials_in, new_credentials};

use crate::{
    host::{
        docker::{Docker, Serving},
        lock,
        nodes::network,
    },
    labels,
    parts::images::Image,
    run::{
        StepCx,
        advice::{Advise, Blame, Hint, Trouble},
        wait::Look,
    },
    spec::{LabName, destination::Destination},
    wire::{
        backup::{credentials::Credentials, shelf::Shelf},
        net,
    },
};

/// How long a store may take from its start to its first answer.
const PATIENCE: Duration = Duration::from_mins(1);
const EVERY: Duration = Duration::from_millis(100);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// The lock on all stores: two labs that come up side by side make one.
const LOCK: &str = "stores";

/// A store that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// As this machine reaches it. The port is another one after the store, or the engine, was started again.
    pub outside: Destination,
    /// As the pods of labs in whose network it is reach it; always the same.
    pub inside: Destination,
    /// What lets in, by either way; `file://` asks for none.
    pub credentials: Credentials,
}

/// A store that there is, running or not.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub place: Place,
    /// It runs.
    pub running: bool,
    /// As this machine reaches it; `None` while it would have to run for that.
    pub outside: Option<Destination>,
    /// What lets in.
    pub credentials: Credentials,
    networks: Vec<String>,
}

impl Found {
    /// A lab's place in it; `None` while nobody answers there. Nothing is asked yet.
    ///
    /// # Errors
    /// As [`Shelf::open`].
    pub fn shelf(&self, lab: &LabName) -> Result<Option<Shelf>> {
        let outside = self.outside.as_ref();
        outside.map(|outside| Shelf::open(outside, &self.credentials, lab)).transpose()
    }

    /// Whether a lab's network has it: pods there may be using it.
    pub fn in_use(&self) -> bool {
        self.networks.iter().any(|name| name != BRIDGE)
    }
}

/// The engine's own network, through which a port is published.
const BRIDGE: &str = "bridge";

/// A container has the name of a store, and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The name.
    pub container: String,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the container {} exists and is no store of backups of ours", self.container)
    }
}

impl Advise for Taken {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::words(format!("`docker rename {} NAME` gives it another name", self.container))]
    }
}

/// Makes sure that a store serves, and that pods of `lab`, whose network is there, reach it. One that runs stays as it is, whatever its
/// image: somebody may be writing to it. One that does not is made anew of `image` (role [`crate::parts::images::Role::Versitygw`]);
/// data, credentials and networks stay.
///
/// # Errors
/// [`Taken`]; the folder cannot be made or served; the store does not answer; or the engine's own.
pub async fn ensure(cx: &StepCx, docker: &Docker, image: &Image, lab: &LabName, place: &Place) -> Result<Store> {
    let _alone = lock::shared(cx, LOCK).await?;
    let name = place.container();
    let found = ours(docker, place).await?;
    let credentials = found.as_ref().map(|it| credentials_in(&it.env));
    let credentials = credentials.filter(|it| it.missing(&place.inside()).is_empty()).unwrap_or_else(new_credentials);
    let mut networks: BTreeSet<String> = found.iter().flat_map(|it| it.networks.clone()).collect();
    match found {
        Some(Serving { paused: true, .. }) => docker.unpause(&name).await?,
        Some(Serving { running: true, .. }) => {}
        stopped => {
            if stopped.is_some() {
                docker.remove_container(&name).await?;
            }
            cx.say(format!("starting the store {name}"));
            if *place == Place::Embedded {
                docker.ensure_volume(NAME, &labels::of_stores()).await?;
            }
            let rootless = docker.info().await?.rootless;
            docker.serve(&place.server(&image.id, &credentials, rootless)?).await?;
            // Networks that are gone meanwhile have no pods that would miss it.
            for network in std::mem::take(&mut networks).into_iter().filter(|name| name != BRIDGE) {
                if docker.has_network(&network).await? {
                    join(docker, place, &network).await?;
                    networks.insert(network);
                }
            }
        }
    }
    let network = network(lab);
    if !networks.contains(&network) {
        join(docker, place, &network).await?;
    }
    let port = answers(cx, docker, place).await?;
    let outside = place.outside(Some(port)).context("a store has no address")?;
    let store = Store { outside, inside: place.inside(), credentials };
    // That it answers says nothing of its bucket, nor of the credentials.
    let served = place::at(port);
    let asked = Shelf::open(&served, &store.credentials, lab)?.labs().await;
    asked.with_context(|| format!("the store {name} does not work"))?;
    Ok(store)
}

/// Puts a store into a network.
async fn join(docker: &Docker, place: &Place, network: &str) -> Result<()> {
    let subnet = docker.subnet(network).await?;
    let address = subnet.and_then(|subnet| place.address(&subnet));
    docker.join(&place.container(), network, address.as_deref()).await
}

/// The container of a place, which nobody else's is.
async fn ours(docker: &Docker, place: &Place) -> Result<Option<Serving>> {
    let container = place.container();
    let found = docker.serving(&container).await?;
    let fits = |it: &Serving| place.labels().iter().all(|(name, value)| it.labels.get(name) == Some(value));
    match found {
        Some(it) if !fits(&it) => Err(Trouble::from(Taken { container }).into()),
        found => Ok(found),
    }
}

/// Waits until a store answers; returns its port on 127.0.0.1.
async fn answers(cx: &StepCx, docker: &Docker, place: &Place) -> Result<u16> {
    let client = net::client(ANSWER).no_proxy().timeout(ANSWER).build().context("cannot make an HTTP client")?;
    let (client, name) = (&client, &place.container());
    cx.until(&format!("the store {name}"), PATIENCE, EVERY, || async move {
        let now = docker.serving(name).await?.with_context(|| format!("the container {name} is gone"))?;
        let Some(port) = now.ports.get(&PORT).copied().filter(|_| now.running) else {
            let log = docker.log(name).await?;
            let last = [log.stderr.trim(), log.stdout.trim()].into_iter().find_map(|text| text.lines().last());
            return Ok(Look::NotYet(last.unwrap_or("it does not run").to_owned()));
        };
        Ok(match client.get(format!("http://127.0.0.1:{port}{HEALTH}")).send().await {
            Ok(answer) if answer.status().is_success() => Look::Ready(port),
            Ok(answer) => Look::NotYet(format!("it answers {}", answer.status())),
            Err(error) => Look::NotYet(net::innermost(&error)),
        })
    })
    .await
}

/// The stores that there are on this machine, without making or starting any.
///
/// # Errors
/// The engine does not answer.
pub async fn find(docker: &Docker) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for container in docker.containers(&labels::of_stores()).await.context("cannot list the stores of backups")? {
        let Some(it) = docker.serving(&container.name).await? else { continue };
        let place = Place::labelled(&it.labels);
        let port = it.ports.get(&PORT).copied().filter(|_| it.running);
        let outside = place.outside(port);
        let credentials = credentials_in(&it.env);
        all.push(Found { place, running: it.running, outside, credentials, networks: it.networks });
    }
    Ok(all)
}

/// Starts a store that is there and does not run; it has the networks that it had.
///
/// # Errors
/// There is none, it does not start or answer, or the engine's own.
pub async fn start(cx: &StepCx, docker: &Docker, place: &Place) -> Result<()> {
    let _alone = lock::shared(cx, LOCK).await?;
    let name = place.container();
    docker.unpause(&name).await?;
    docker.start(&name).await?;
    answers(cx, docker, place).await.map(drop)
}

/// Removes a store: the one of all labs with everything in it, the one of a folder without what lies there. One that is gone is no error.
///
/// # Errors
/// [`Taken`], or the engine's own.
pub async fn remove(cx: &StepCx, docker: &Docker, place: &Place) -> Result<()> {
    let _alone = lock::shared(cx, LOCK).await?;
    remove_locked(docker, place).await
}

/// Removes a store as [`remove`] does, unless a lab's network has it by now; says whether it went.
///
/// # Errors
/// As [`remove`].
pub async fn remove_unused(cx: &StepCx, docker: &Docker, place: &Place) -> Result<bool> {
    let _alone = lock::shared(cx, LOCK).await?;
    let used = find(docker).await?.iter().any(|it| it.place == *place && it.in_use());
    if !used {
        remove_locked(docker, place).await?;
    }
    Ok(!used)
}

async fn remove_locked(docker: &Docker, place: &Place) -> Result<()> {
    if ours(docker, place).await?.is_some() {
        docker.remove_container(&place.container()).await?;
    }
    match place {
        Place::Embedded => docker.remove_volume(NAME).await.map(drop),
        // Empty, and the server's; whose folder it is, and who may remove something there, is not ours to say.
        Place::Folder(folder) => {
            let _ = std::fs::remove_dir(folder.join(SCRATCH));
            Ok(())
        }
    }
}

/// Removes the servers of folders that no lab's network has any more: nothing is in them. Returns their containers' names.
///
/// # Errors
/// The engine's own.
pub async fn remove_forsaken(cx: &StepCx, docker: &Docker) -> Result<Vec<String>> {
    let forsaken = |it: &Found| matches!(it.place, Place::Folder(_)) && !it.in_use();
    if !find(docker).await?.iter().any(forsaken) {
        return Ok(Vec::new());
    }
    // Whoever makes one joins it to a network before letting go of the lock.
    let _alone = lock::shared(cx, LOCK).await?;
    let mut gone = Vec::new();
    for it in find(docker).await?.into_iter().filter(forsaken) {
        remove_locked(docker, &it.place).await?;
        gone.push(it.place.container());
    }
    Ok(gone)
}
