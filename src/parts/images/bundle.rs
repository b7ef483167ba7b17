//! The bundle: one file with every image, from which `up` works without a network. It is an archive that `docker load`
//! takes as it is, with a first entry of ours that says which image is for what.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::{Image, ImageSet, Origin, Role, set::named, stream};
use crate::{
    host::docker::Docker,
    run::{
        StepCx,
        advice::{Advise, Blame, Hint, Trouble},
        event::Amount,
    },
};

/// The name of our entry; `index.json` is taken by OCI.
const INDEX: &str = "wplab.json";
/// The form of the index.
const VERSION: u32 = 1;
/// The largest index that is read.
const LARGEST: u64 = 1 << 20;

/// What is in a bundle.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    version: u32,
    /// Processor architecture, as Go names it.
    arch: String,
    /// The ids are those of containerd's image store, which differ from the other store's for the same image.
    containerd_store: bool,
    images: BTreeMap<Role, Entry>,
}

/// One image in a bundle.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    reference: String,
    id: String,
    size: u64,
    origin: Origin,
}

/// A file that is not a bundle, or not one for this machine.
#[derive(Clone, Debug)]
pub struct NotABundle {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for NotABundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a bundle of images for this machine: {}", self.path.display(), self.why)
    }
}

impl Advise for NotABundle {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::SaveBundle]
    }
}

/// Writes all images but the tool's own (every executable makes its own) into a file; returns its size. Beside it as
/// `FILE.partial` until it is whole.
pub(super) async fn save(cx: &StepCx, docker: &Docker, images: &ImageSet, path: &Path) -> Result<u64> {
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    let written = write(cx, docker, images, &partial).await.with_context(|| format!("cannot write {}", path.display()));
    match written {
        Ok(size) => {
            tokio::fs::rename(&partial, path)
                .await
                .with_context(|| format!("cannot rename {} to {}", partial.display(), path.display()))?;
            Ok(size)
        }
        Err(error) => {
            let _ = tokio::fs::remove_file(&partial).await;
            Err(error)
        }
    }
}

async fn write(cx: &StepCx, docker: &Docker, images: &ImageSet, partial: &Path) -> Result<u64> {
    let images: BTreeMap<Role, &Image> =
        images.0.iter().filter(|(role, _)| **role != Role::Tool).map(|(r, i)| (*r, i)).collect();
    let entry =
        |i: &Image| Entry { reference: i.reference.clone(), id: i.id.clone(), size: i.size, origin: i.origin.clone() };
    let index = Index {
        version: VERSION,
        arch: docker.arch().to_owned(),
        containerd_store: docker.info().await?.containerd_store,
        images: images.iter().map(|(role, image)| (*role, entry(image))).collect(),
    };
    let total: u64 = images.values().map(|i| i.size).sum();
    let references: Vec<String> = images.values().map(|i| i.reference.clone()).collect();
    let mut file = tokio::fs::File::create(partial).await?;
    let first = first_entry(&index)?;
    file.write_all(&first).await?;
    let mut size = first.len() as u64;
    let mut throttle = stream::Throttle::default();
    let mut archive = docker.save(&references);
    while let Some(piece) = archive.next().await {
        let piece = piece?;
        file.write_all(&piece).await?;
        size += piece.len() as u64;
        if throttle.due() {
            cx.task("bundle", "writing", Some(Amount::Bytes { done: size.min(total), total: Some(total) }));
        }
    }
    file.sync_all().await?;
    cx.task_done("bundle", "written");
    Ok(size)
}

/// Our entry as the beginning of an archive: header, content and filling, without the end that an archive has.
fn first_entry(index: &Index) -> Result<Vec<u8>> {
    let content = serde_json::to_vec_pretty(index)?;
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, INDEX, content.as_slice())?;
    let mut bytes = archive.into_inner()?;
    // What follows are Docker's own entries, and the end that Docker writes.
    bytes.truncate(512 + content.len().next_multiple_of(512));
    Ok(bytes)
}

/// Reads the index of a bundle that has to have an image for each of these roles (save for the tool's, which no bundle
/// has).
fn read_index(path: &Path, arch: &str, needed: &[Role]) -> Result<Index> {
    let wrong = |why: String| Trouble::from(NotABundle { path: path.to_owned(), why });
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut archive = tar::Archive::new(file);
    let first = archive.entries().ok().and_then(|mut entries| entries.next()).and_then(Result::ok);
    let entry = first.filter(|entry| entry.path().is_ok_and(|p| p.as_os_str() == INDEX) && entry.size() <= LARGEST);
    let entry = entry.ok_or_else(|| wrong("it does not begin with our index".to_owned()))?;
    let index: Index =
        serde_json::from_reader(entry).map_err(|error| wrong(format!("its index cannot be read: {error}")))?;
    if index.version != VERSION {
        return Err(wrong(format!("its form is {}, and this is form {VERSION}", index.version)).into());
    }
    if index.arch != arch {
        return Err(wrong(format!("its images are for {}, and Docker runs on {arch}", index.arch)).into());
    }
    if let Some(role) = needed.iter().find(|&role| *role != Role::Tool && !index.images.contains_key(role)) {
        return Err(wrong(format!("it has no image for {}", role.name())).into());
    }
    Ok(index)
}

/// The roles of a bundle, without reading more than its beginning.
pub(super) fn roles(path: &Path, arch: &str) -> Result<Vec<Role>> {
    Ok(read_index(path, arch, &[])?.images.into_keys().collect())
}

/// Looks whether a bundle has an image for each of these roles.
pub(super) fn demand(path: &Path, arch: &str, needed: &[Role]) -> Result<()> {
    read_index(path, arch, needed).map(drop)
}

/// Reads a bundle into Docker, unless what is needed of it is there; returns the images for these roles and whether
/// anything was read.
pub(super) async fn load(cx: &StepCx, docker: &Docker, path: &Path, needed: &[Role]) -> Result<(ImageSet, bool)> {
    let mut index = read_index(path, docker.arch(), needed)?;
    index.images.retain(|role, _| needed.contains(role));
    let same_store = docker.info().await?.containerd_store == index.containerd_store;
    if let Some(images) = present(docker, &index, same_store).await? {
        return Ok((images, false));
    }
    let total = tokio::fs::metadata(path).await?.len();
    let done = Arc::new(AtomicU64::new(0));
    let counted = done.clone();
    let pieces = stream::of_file(path).await?.inspect(move |piece| {
        counted.fetch_add(piece.as_ref().map_or(0, |p| p.len() as u64), Ordering::Relaxed);
    });
    let loading = docker.load(pieces);
    let mut loading = std::pin::pin!(loading);
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            loaded = &mut loading => {
                loaded.with_context(|| format!("cannot read {}", path.display()))?;
                break;
            }
            _ = tick.tick() => {
                let done = done.load(Ordering::Relaxed);
                let note = if done < total { "reading" } else { "unpacking" };
                cx.task("bundle", note, Some(Amount::Bytes { done, total: Some(total) }));
            }
        }
    }
    cx.task_done("bundle", "read");
    let images = present(docker, &index, same_store).await?;
    let why = "what Docker read from it is not what its index says".to_owned();
    let other = || Trouble::from(NotABundle { path: path.to_owned(), why });
    Ok((images.ok_or_else(other)?, true))
}

/// The images of an index, if Docker has them all with the ids that it says.
async fn present(docker: &Docker, index: &Index, same_store: bool) -> Result<Option<ImageSet>> {
    let mut images = ImageSet::default();
    for (&role, entry) in &index.images {
        let Some(found) = docker.image(&entry.reference).await? else { return Ok(None) };
        if same_store && found.id != entry.id {
            return Ok(None);
        }
        images.0.insert(role, named(docker, role, &found, entry.origin.clone()).await?);
    }
    Ok(Some(images))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::advice;

    fn index(arch: &str, roles: &[Role]) -> Index {
        let entry = || Entry { reference: "x".into(), id: "y".into(), size: 1, origin: Origin::Packages("z".into()) };
        Index {
            version: VERSION,
            arch: arch.into(),
            containerd_store: false,
            images: roles.iter().map(|&r| (r, entry())).collect(),
        }
    }

    fn why(bytes: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        let error = read_index(file.path(), "amd64", &Role::ALL).expect_err("refused");
        advice::find::<NotABundle>(&error).expect("typed").why.clone()
    }

    #[test]
    fn an_index_is_read_from_the_beginning_of_an_archive() {
        let roles: Vec<Role> = Role::ALL.into_iter().filter(|&r| r != Role::Tool).collect();
        let mut bytes = first_entry(&index("amd64", &roles)).expect("an entry");
        assert_eq!(bytes.len() % 512, 0);
        bytes.extend([0; 1024]);
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &bytes).expect("written");
        assert_eq!(read_index(file.path(), "amd64", &Role::ALL).expect("an index").images.len(), roles.len());
        assert!(why(&first_entry(&index("arm64", &roles)).expect("an entry")).contains("are for arm64"));
        assert!(why(&first_entry(&index("amd64", &[Role::Nfs])).expect("an entry")).contains("no image for node"));
    }

    #[test]
    fn a_bundle_need_not_have_more_than_the_lab_does() {
        let mut bytes = first_entry(&index("amd64", &[Role::Node, Role::Mysql])).expect("an entry");
        bytes.extend([0; 1024]);
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &bytes).expect("written");
        assert_eq!(roles(file.path(), "amd64").expect("an index"), [Role::Node, Role::Mysql]);
        assert!(demand(file.path(), "amd64", &[Role::Node, Role::Mysql, Role::Tool]).is_ok());
        let error = demand(file.path(), "amd64", &[Role::Mysql, Role::Etcd]).expect_err("refused").to_string();
        assert!(error.ends_with("for this machine: it has no image for etcd"), "{error}");
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        assert_eq!(why(b""), "it does not begin with our index");
        assert_eq!(why(&[0x7f; 4096]), "it does not begin with our index");
        let missing = read_index(Path::new("/nowhere.tar"), "amd64", &[]).expect_err("refused");
        assert!(missing.to_string().contains("No such file"), "{missing}");
        assert!(read_index(Path::new("/tmp"), "amd64", &[]).is_err());
    }
}
