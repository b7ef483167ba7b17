//! The tool's own image: nothing but this executable, for what runs inside the cluster.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{StreamExt, stream as streams};
use sha2::{Digest, Sha256};

use super::{catalogue::labels_of, set::SHORT, stream};
use crate::{
    host::docker::{Docker, LocalImage},
    run::StepCx,
    wire::hex,
};

/// Makes sure of the image; says whether it was made now.
pub(in crate::parts) async fn ensure(cx: &StepCx, docker: &Docker) -> Result<(LocalImage, bool)> {
    let path = executable()?;
    let (tag, size) = tag(&path).await?;
    if let Some(image) = docker.image(&tag).await? {
        return Ok((image, false));
    }
    cx.task("tool", "making an image of wplab itself", None);
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o755);
    header.set_path("wplab")?;
    header.set_cksum();
    // An archive is a header, the content filled up to blocks of 512 bytes, and two empty blocks.
    let head = Bytes::copy_from_slice(header.as_bytes());
    let filling = usize::try_from(size.next_multiple_of(512) - size)? + 1024;
    let archive = streams::iter([Ok(head)])
        .chain(stream::of_file(&path).await?)
        .chain(streams::iter([Ok(Bytes::from(vec![0; filling]))]));
    let mut changes = vec![r#"ENTRYPOINT ["/wplab"]"#.to_owned()];
    changes.extend(labels_of("tool").into_iter().map(|(k, v)| format!("LABEL {k}={v}")));
    docker.import_rootfs(archive, &tag, &changes).await?;
    let image = docker.image(&tag).await?.context("Docker has made an image and does not find it")?;
    cx.task_done("tool", "");
    Ok((image, true))
}

/// The image, if it has been made.
pub(super) async fn present(docker: &Docker) -> Result<Option<LocalImage>> {
    docker.image(&tag(&executable()?).await?.0).await
}

/// Its name, which changes with the executable, and the executable's size.
async fn tag(path: &Path) -> Result<(String, u64)> {
    let path = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || hash(&path)).await;
    let (hash, size) = hashed.context("hashing was ended")??;
    Ok((format!("wplab/tool:{}", hash.get(..SHORT).unwrap_or_default()), size))
}

/// The running executable, also when its file has been replaced since.
fn executable() -> Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Ok(running) } else { std::env::current_exe().context("cannot tell which executable this is") }
}

fn hash(path: &PathBuf) -> Result<(String, u64)> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let (mut hash, mut size, mut piece) = (Sha256::new(), 0, vec![0; 64 * 1024]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((hex(&hash.finalize()), size));
        }
        hash.update(piece.get(..read).unwrap_or_default());
        size += read as u64;
    }
}
