//! `wplab member scratch`, PID 1 of a pod beside the lab: a server of the members' image, alone, on a directory that is made for it and
//! goes with the pod. A backup is loaded into it to prove that it can be ([`crate::inside::backup`]); it is no member.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{galera, pod::VOLUME, replication};
use crate::inside::{gone, stop_signal};

/// Runs the server (`mysql`, `mariadb` or `percona`) until SIGTERM or SIGINT, which end it by force: what it has is worth nothing.
///
/// # Errors
/// The pod is not set up as the manifests say; or the server ends, and its log says why.
pub(super) async fn run(server: &str) -> Result<()> {
    let stop = stop_signal()?;
    tokio::select! {
        ended = serve(server) => ended,
        () = stop => Ok(()),
    }
}

async fn serve(server: &str) -> Result<()> {
    // What a server of before has had, in a pod whose container was started again.
    for name in ["data", "data.new"] {
        let path = Path::new(VOLUME).join(name);
        gone(fs::remove_dir_all(&path)).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let (mut process, _init) = match server {
        "mysql" => {
            let (process, init) = replication::alone().await?;
            (process, Some(init))
        }
        flavour => (galera::alone(flavour).await?, None),
    };
    let ended = process.wait().await?;
    bail!("the server ended by itself ({ended:?}); its log says why")
}
