//! The registry of `registry`, with images that the machine's own Docker has, under whatever names.

use std::{
    collections::HashMap,
    io::{Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::registry::{Blob, Faults, Registry, Store, listener, named};

impl Registry {
    /// Serves images that Docker has: each a name here (`library/mysql:9.7`) and one there (`wplab/mysql:0123456789ab`).
    /// Their configurations are what they are there, so a pulled image has the id of the one that it was made from.
    pub(crate) async fn serving(images: &[(&str, &str)]) -> Registry {
        let docker = bollard::Docker::connect_with_local_defaults().expect("a socket");
        let files = tempfile::tempdir().expect("a folder");
        let (mut store, mut first) = (Store::default(), String::new());
        for (n, (name, reference)) in images.iter().enumerate() {
            let file = files.path().join(format!("{n}.tar"));
            let mut written = tokio::fs::File::create(&file).await.expect("a file");
            let mut pieces = std::pin::pin!(docker.export_image(reference));
            while let Some(piece) = pieces.next().await {
                let piece = piece.unwrap_or_else(|error| panic!("{reference} cannot be read from Docker: {error}"));
                written.write_all(&piece).await.expect("written");
            }
            written.flush().await.expect("written");
            let (config, layers) = tokio::task::spawn_blocking(move || archived(&file)).await.expect("read");
            let digest = store.add(name, config, layers);
            if first.is_empty() {
                first = digest;
            }
        }
        let (listener, _) = listener().await;
        Registry::on(listener, first, store, Faults::default(), Some(files))
    }
}

/// Configuration and layers, with their digests, of the one image in an archive of `docker save`.
fn archived(file: &Path) -> (Bytes, Vec<(String, Blob)>) {
    let path: Arc<Path> = file.into();
    let open = || tar::Archive::new(std::io::BufReader::new(std::fs::File::open(file).expect("an archive")));
    // Some engines write a layer that another image has as well as a link to that.
    let (mut parts, mut links) = (HashMap::new(), HashMap::new());
    for entry in open().entries().expect("entries") {
        let entry = entry.expect("an entry");
        let name = entry.path().expect("a name").to_string_lossy().into_owned();
        match entry.link_name().expect("a target") {
            Some(target) => {
                let target = target.to_string_lossy().trim_start_matches("../").to_owned();
                links.insert(name, target);
            }
            None => {
                parts.insert(name, (entry.raw_file_position(), entry.size()));
            }
        }
    }
    let part = |name: &str| parts[links.get(name).map_or(name, String::as_str)];
    let content = |name: &str| {
        let (at, size) = part(name);
        let mut file = std::fs::File::open(file).expect("an archive");
        file.seek(SeekFrom::Start(at)).expect("a place in it");
        file.take(size)
    };
    let small = |name: &str| {
        let mut bytes = Vec::new();
        content(name).read_to_end(&mut bytes).expect("a whole entry");
        Bytes::from(bytes)
    };
    let index: serde_json::Value = serde_json::from_slice(&small("manifest.json")).expect("JSON");
    let config = small(index[0]["Config"].as_str().expect("a configuration"));
    let layers = index[0]["Layers"].as_array().expect("layers").iter().map(|name| {
        let name = name.as_str().expect("a name");
        let (at, size) = part(name);
        let (mut hash, mut piece, mut content) = (Sha256::new(), vec![0; 1 << 20], content(name));
        loop {
            match content.read(&mut piece).expect("a whole layer") {
                0 => break,
                read => hash.update(&piece[..read]),
            }
        }
        (named(&hash.finalize()), Blob::Part(path.clone(), at, size))
    });
    (config, layers.collect())
}
