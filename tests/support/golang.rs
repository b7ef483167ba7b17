//! The compiler of the recipes in Go, so that no Go has to be on the machine. What is downloaded and compiled is kept in the cache of the
//! user.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    nfs::{cache, docker, text},
    ready,
};

/// The image of recipe `golang`; whoever builds a node has it.
pub(crate) fn golang() -> String {
    ready::images(&["node"]);
    let found = docker(&["images", "-q", "--filter", "label=wplab.dev/recipe=golang"]);
    let newest = text(&found.stdout).lines().next().map(str::to_owned);
    newest.expect("recipe golang's image is gone: without it no recipe in Go is built either")
}

/// Runs a script of the shell in `image`, with these sources, which may not be changed, at /src, the folder that is returned at /cache,
/// and the network of the machine, as when recipes are built. `label` is on the container.
pub(crate) fn compile(image: &str, sources: &str, label: &str, script: &str) -> PathBuf {
    let cache = cache().join("go");
    std::fs::create_dir_all(&cache).expect("a cache");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(sources);
    let (sources, cached) = (format!("{}:/src:ro", sources.display()), format!("{}:/cache", cache.display()));
    let owner = std::fs::metadata(&cache).map(|folder| format!("{}:{}", folder.uid(), folder.gid()));
    let owner = owner.expect("an owner");
    let mut args = vec!["run", "--rm", "--label", label, "--network", "host", "--user", &owner, "-w", "/src"];
    args.extend(["-v", &sources, "-v", &cached]);
    for variable in
        ["HOME=/cache", "GOCACHE=/cache/build", "GOMODCACHE=/cache/modules", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]
    {
        args.extend(["-e", variable]);
    }
    args.extend([image, "sh", "-c", script]);
    docker(&args);
    cache
}
