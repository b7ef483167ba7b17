//! The place of one lab's backups in a destination: streams are sent to it and fetched, manifests make them backups.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, Read, Write},
    sync::Arc,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    credentials::Credentials,
    manifest::{BackupId, FORMAT, Manifest, Part, Stream},
    parts::{Cutter, Joined},
    seal::{self, Keys, Recipients},
    store::Store,
    unusable::Unusable,
    verified::Verified,
};
use crate::{
    run::advice::Trouble,
    spec::{LabName, destination::Destination},
    wire::hex,
};

/// What makes a folder a backup.
const MANIFEST: &str = "manifest.json";
/// What came of proving it.
const VERIFIED: &str = "verified.json";
/// What is there before everything else.
const BEGUN: &str = "begun.txt";
/// Parts on their way at one moment. With the one that is being filled and the one that waits no more than four are in memory.
const UNDER_WAY: usize = 2;

/// Where the backups of one lab are.
#[derive(Clone)]
pub struct Shelf {
    store: Store,
    lab: LabName,
}

/// What there is of a lab.
#[derive(Debug, Default)]
pub struct Found {
    /// Its backups, the oldest first.
    pub backups: Vec<Manifest>,
    /// What was begun and is not finished, or was half removed.
    pub unfinished: Vec<BackupId>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.lab, self.store.destination)
    }
}

impl Shelf {
    /// Opens a destination. Nothing is asked yet; the folder of `file://` is made.
    ///
    /// # Errors
    /// A credential is missing ([`Unusable`]) or cannot be read, or the folder cannot be made.
    pub fn open(destination: &Destination, credentials: &Credentials, lab: &LabName) -> Result<Shelf> {
        Ok(Shelf { store: Store::open(destination, credentials)?, lab: lab.clone() })
    }

    /// The place of another lab in the same destination.
    #[must_use]
    pub fn of(&self, lab: &LabName) -> Shelf {
        Shelf { lab: lab.clone(), ..self.clone() }
    }

    /// Where it is.
    pub fn destination(&self) -> &Destination {
        &self.store.destination
    }

    /// Whose shelves there are; one may be empty.
    ///
    /// # Errors
    /// The destination cannot be asked.
    pub async fn labs(&self) -> Result<Vec<LabName>> {
        let names = self.store.folders(&[]).await?;
        Ok(names.iter().filter_map(|name| LabName::new(name).ok()).collect())
    }

    /// The names of everything that there is of this lab, unfinished or not, without reading any of it; the oldest first.
    ///
    /// # Errors
    /// The destination cannot be asked.
    pub async fn ids(&self) -> Result<Vec<BackupId>> {
        let names = self.store.folders(&[self.lab.as_str()]).await?;
        let mut ids: Vec<BackupId> = names.iter().filter_map(|name| BackupId::new(name).ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// What there is of this lab.
    ///
    /// # Errors
    /// The destination cannot be asked, or a manifest cannot be read.
    pub async fn list(&self) -> Result<Found> {
        let ids = self.ids().await?;
        let manifests = stream::iter(ids.clone()).map(|id| async move { self.try_manifest(&id).await }).buffered(8);
        let manifests: Vec<Option<Manifest>> = manifests.try_collect().await?;
        let mut all = Found::default();
        for (id, manifest) in ids.into_iter().zip(manifests) {
            match manifest {
                Some(manifest) => all.backups.push(manifest),
                // Where folders are more than a part of names, an empty one stays.
                None if self.objects(&id).await?.is_empty() => {}
                None => all.unfinished.push(id),
            }
        }
        Ok(all)
    }

    /// What a backup says of itself.
    ///
    /// # Errors
    /// There is no such backup, it is unfinished, or this version cannot read it ([`Unusable`]).
    pub async fn manifest(&self, id: &BackupId) -> Result<Manifest> {
        if let Some(manifest) = self.try_manifest(id).await? {
            return Ok(manifest);
        }
        let others = self.list().await?.backups.iter().map(|one| one.id.to_string()).collect();
        Err(trouble(Unusable::Missing { lab: self.lab.to_string(), id: id.to_string(), others }))
    }

    async fn try_manifest(&self, id: &BackupId) -> Result<Option<Manifest>> {
        let Some(text) = self.store.get(&self.named(id, MANIFEST)).await? else { return Ok(None) };
        let damaged = |how: String| trouble(Unusable::Damaged { id: id.to_string(), how });
        // Another format need not have the same fields.
        let any: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("its manifest cannot be read: {error}")))?;
        match any["format"].as_u64() {
            Some(format) if format > u64::from(FORMAT) => {
                let format = u32::try_from(format).unwrap_or(u32::MAX);
                return Err(trouble(Unusable::Newer { id: id.to_string(), format }));
            }
            Some(_) => {}
            None => return Err(damaged("its manifest says no format".to_owned())),
        }
        let manifest: Manifest =
            serde_json::from_value(any).map_err(|error| damaged(format!("its manifest is wrong: {error}")))?;
        if manifest.id != *id || manifest.lab.name != self.lab {
            let whose = format!("its manifest is that of {} of lab {}", manifest.id, manifest.lab.name);
            return Err(damaged(whose));
        }
        Ok(Some(manifest))
    }

    /// An object of a backup, by its name beside the manifest.
    fn named<'a>(&'a self, id: &'a BackupId, name: &'a str) -> [&'a str; 3] {
        [self.lab.as_str(), id.as_str(), name]
    }

    /// Begins a backup: its folder exists, with a note of whose it is. Nothing of one name may be there yet.
    ///
    /// # Errors
    /// The destination does not take it: then nothing else need be tried.
    pub async fn begin(&self, id: &BackupId, by: &str) -> Result<()> {
        // Also because WebDAV's folders are made by whoever comes first, and two at one moment would be in each other's way.
        self.put(id, BEGUN.to_owned(), format!("begun by {by}\n").into()).await.map(drop)
    }

    /// Sends a stream of a backup that is being made: all that `source` gives, read on a thread of its own.
    ///
    /// # Errors
    /// The source fails, or the destination takes a part not. What has been sent stays until [`Shelf::remove`].
    pub async fn send<R>(&self, id: &BackupId, name: &str, source: R, to: &Recipients) -> Result<Stream>
    where
        R: Read + Send + 'static,
    {
        let (give, mut take) = mpsc::channel(1);
        let to = to.clone();
        let cut = spawn_blocking(move || -> io::Result<_> {
            let (cutter, through) = seal::seal(source, Cutter::new(give), &to)?;
            cutter.finish().map(|()| through)
        });
        let parts = stream::poll_fn(move |cx| take.poll_recv(cx)).enumerate();
        let sent = parts.map(|(number, part)| self.put(id, format!("{name}.{number:05}"), part)).buffered(UNDER_WAY);
        let sent: Result<Vec<Part>> = sent.try_collect().await;
        // Who could not send has closed the channel, on which the source ends, too.
        let cut = cut.await.context("the thread that reads broke")?;
        let parts = sent.with_context(|| format!("cannot send {name}"))?;
        let through = cut.with_context(|| format!("cannot read {name}"))?;
        Ok(Stream { bytes: through.bytes, sha256: through.sha256, parts })
    }

    pub(super) async fn put(&self, id: &BackupId, name: String, part: Bytes) -> Result<Part> {
        let (bytes, sha256) = (part.len() as u64, hex(&Sha256::digest(&part)));
        let put = self.store.put(&self.named(id, &name), part).await;
        put.with_context(|| format!("cannot write {name} of backup {id}"))?;
        Ok(Part { name, bytes, sha256 })
    }

    /// Makes what was sent a backup.
    ///
    /// # Errors
    /// The destination does not take the manifest: then it is none.
    pub async fn finish(&self, manifest: &Manifest) -> Result<()> {
        let text = serde_json::to_vec_pretty(manifest).context("cannot write the manifest")?;
        self.put(&manifest.id, MANIFEST.to_owned(), text.into()).await.map(drop)
    }

    /// Writes down what came of proving a backup, instead of what was written before.
    ///
    /// # Errors
    /// There is no such backup (any more), or the destination does not take it.
    pub async fn mark(&self, id: &BackupId, verified: &Verified) -> Result<()> {
        // Beside a backup that somebody has removed meanwhile it would be all that is left of it.
        self.manifest(id).await?;
        let text = serde_json::to_vec_pretty(verified).context("cannot write what came of it")?;
        self.put(id, VERIFIED.to_owned(), text.into()).await.map(drop)
    }

    /// What came of proving a backup the last time; `None` when nobody has, or what is there cannot be read: it proves nothing then.
    ///
    /// # Errors
    /// The destination cannot be asked.
    pub async fn verdict(&self, id: &BackupId) -> Result<Option<Verified>> {
        let text = self.store.get(&self.named(id, VERIFIED)).await?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Fetches a stream, and sends it into `sink` on a thread of its own. Returns the sink when every part was what the manifest
    /// says, and the whole too: what it was given before that proves nothing.
    ///
    /// # Errors
    /// A part is missing or another one, or the key does not fit ([`Unusable`]); or the sink fails.
    pub async fn fetch<W>(&self, manifest: &Manifest, name: &str, keys: Arc<Keys>, sink: W) -> Result<W>
    where
        W: Write + Send + 'static,
    {
        let lacks = || Unusable::Damaged { id: manifest.id.to_string(), how: format!("it has no {name}") };
        let stream = manifest.streams.get(name).ok_or_else(|| trouble(lacks()))?;
        self.fetch_stream(manifest, name, stream, keys, sink).await
    }

    /// The same of a stream beside a backup.
    pub(super) async fn fetch_stream<W>(
        &self,
        manifest: &Manifest,
        name: &str,
        stream: &Stream,
        keys: Arc<Keys>,
        sink: W,
    ) -> Result<W>
    where
        W: Write + Send + 'static,
    {
        let damaged = |how: String| trouble(Unusable::Damaged { id: manifest.id.to_string(), how });
        let secret = !manifest.recipients.is_empty();
        opens(manifest, &keys)?;
        let (give, take) = mpsc::channel(1);
        let opened = spawn_blocking(move || seal::open(Joined::new(take), sink, secret, &keys));
        let fetched = async {
            let parts = stream.parts.clone();
            let parts = stream::iter(parts).map(|part| async move { self.part(&manifest.id, &part).await });
            let parts = parts.buffered(UNDER_WAY);
            let mut parts = std::pin::pin!(parts);
            while let Some(part) = parts.try_next().await? {
                if give.send(part).await.is_err() {
                    // Whoever opens has given up, and says why.
                    return Ok(());
                }
            }
            drop(give);
            anyhow::Ok(())
        };
        let (fetched, opened) = tokio::join!(fetched, opened);
        fetched?;
        let (sink, through) =
            opened.context("the thread that writes broke")?.map_err(|error| opening(manifest, name, error))?;
        if (through.bytes, &through.sha256) != (stream.bytes, &stream.sha256) {
            return Err(damaged(format!(
                "{name} is not what was sent: {} bytes instead of {}",
                through.bytes, stream.bytes
            )));
        }
        Ok(sink)
    }

    async fn part(&self, id: &BackupId, part: &Part) -> Result<Bytes> {
        let damaged = |how: String| Err(trouble(Unusable::Damaged { id: id.to_string(), how }));
        let Some(bytes) = self.store.get(&self.named(id, &part.name)).await? else {
            return damaged(format!("{} is missing", part.name));
        };
        if bytes.len() as u64 != part.bytes {
            return damaged(format!("{} has {} bytes instead of {}", part.name, bytes.len(), part.bytes));
        }
        if hex(&Sha256::digest(&bytes)) != part.sha256 {
            return damaged(format!("{} has other bytes than were sent", part.name));
        }
        Ok(bytes)
    }

    /// Whether every part is there in its length, which costs no more than a list of names.
    ///
    /// # Errors
    /// One is not ([`Unusable`]), or the destination cannot be asked.
    pub async fn complete(&self, manifest: &Manifest) -> Result<()> {
        let there: BTreeMap<String, u64> = self.objects(&manifest.id).await?.into_iter().collect();
        let parts = manifest.streams.values().flat_map(|stream| &stream.parts);
        let wrong = |part: &Part| match there.get(&part.name) {
            None => Some(format!("{} is missing", part.name)),
            Some(bytes) if *bytes != part.bytes => {
                Some(format!("{} has {bytes} bytes instead of {}", part.name, part.bytes))
            }
            Some(_) => None,
        };
        let wrong: Vec<String> = parts.filter_map(wrong).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(trouble(Unusable::Damaged { id: manifest.id.to_string(), how: wrong.join("; ") }))
    }

    /// An object beside a backup, if there is one.
    pub(super) async fn object(&self, id: &BackupId, name: &str) -> Result<Option<Bytes>> {
        self.store.get(&self.named(id, name)).await
    }

    /// The objects of a backup, and their lengths.
    pub(super) async fn objects(&self, id: &BackupId) -> Result<Vec<(String, u64)>> {
        self.store.objects(&[self.lab.as_str(), id.as_str()]).await
    }

    /// Removes a backup, or what there is of an unfinished one. The manifest goes first: what is left of an interrupted removal is
    /// no backup. Returns how many bytes are free.
    ///
    /// # Errors
    /// The destination does not let it go.
    pub async fn remove(&self, id: &BackupId) -> Result<u64> {
        let objects = self.objects(id).await?;
        let freed = objects.iter().map(|(_, bytes)| bytes).sum();
        let names: BTreeSet<String> = objects.into_iter().map(|(name, _)| name).collect();
        let (manifest, parts): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name == MANIFEST);
        for names in [manifest, parts] {
            let gone = stream::iter(names).map(|name| async move {
                let gone = self.store.delete(&self.named(id, &name)).await;
                gone.with_context(|| format!("cannot remove {name} of backup {id}"))
            });
            gone.buffer_unordered(8).try_collect::<()>().await?;
        }
        Ok(freed)
    }
}

/// Whether these keys open a backup, as far as its manifest says. It may be asked before anything is touched.
///
/// # Errors
/// It is encrypted, and none of them does ([`Unusable::Locked`]).
pub fn opens(manifest: &Manifest, keys: &Keys) -> Result<()> {
    let Manifest { id, recipients, .. } = manifest;
    if recipients.is_empty() || keys.open_for(recipients) {
        return Ok(());
    }
    Err(trouble(Unusable::Locked { id: id.to_string(), tried: !keys.is_empty() }))
}

fn trouble(what: Unusable) -> anyhow::Error {
    Trouble::from(what).into()
}

/// Why a stream could not be opened.
fn opening(manifest: &Manifest, name: &str, error: io::Error) -> anyhow::Error {
    let no_key = error.get_ref().and_then(|inner| inner.downcast_ref::<age::DecryptError>());
    match no_key {
        Some(age::DecryptError::NoMatchingKeys) => {
            trouble(Unusable::Locked { id: manifest.id.to_string(), tried: true })
        }
        // Every part was there, and they are not all.
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            trouble(Unusable::Damaged { id: manifest.id.to_string(), how: format!("{name} breaks off") })
        }
        _ => anyhow::Error::from(error).context(format!("cannot open {name} of backup {}", manifest.id)),
    }
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
pub(super) mod tests;
