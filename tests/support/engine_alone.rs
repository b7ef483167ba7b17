//! The Docker engine for tests of images: stand-ins built from a few lines, and what there is.

use std::{collections::BTreeSet, sync::LazyLock};

use bollard::query_parameters as query;
use futures_util::StreamExt;

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Runtime::new().expect("a runtime"));

/// The engine.
pub(crate) struct Docker {
    api: bollard::Docker,
}

/// An image that is removed with this.
pub(crate) struct StandIn {
    /// Its name.
    pub(crate) name: String,
    api: bollard::Docker,
}

impl Docker {
    pub(crate) fn new() -> Docker {
        // Connecting looks for a runtime.
        let _guard = RUNTIME.enter();
        Docker { api: bollard::Docker::connect_with_local_defaults().expect("a socket") }
    }

    /// Builds an image from a Dockerfile that copies nothing.
    pub(crate) fn build(&self, name: &str, dockerfile: &str) -> StandIn {
        let name = format!("wplab-test/{name}:1");
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(dockerfile.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, "Dockerfile", dockerfile.as_bytes()).expect("packed");
        let context = bollard::body_full(archive.into_inner().expect("packed").into());
        let options = query::BuildImageOptionsBuilder::default().t(&name).rm(true).forcerm(true).networkmode("none");
        RUNTIME.block_on(async {
            let mut told = std::pin::pin!(self.api.build_image(options.build(), None, Some(context)));
            while let Some(said) = told.next().await {
                let said = said.expect("it is built");
                assert!(said.error_detail.is_none(), "{:?}", said.error_detail);
            }
        });
        StandIn { name, api: self.api.clone() }
    }

    /// Names of all containers, networks and volumes.
    pub(crate) fn everything(&self) -> BTreeSet<String> {
        RUNTIME.block_on(async {
            let all = query::ListContainersOptionsBuilder::default().all(true).build();
            let containers = self.api.list_containers(Some(all)).await.expect("containers");
            let networks = self.api.list_networks(None::<query::ListNetworksOptions>).await.expect("networks");
            let volumes = self.api.list_volumes(None::<query::ListVolumesOptions>).await.expect("volumes");
            let containers = containers.into_iter().flat_map(|c| c.names.unwrap_or_default());
            let networks = networks.into_iter().filter_map(|n| n.name);
            let volumes = volumes.volumes.unwrap_or_default().into_iter().map(|v| v.name);
            containers.chain(networks).chain(volumes).collect()
        })
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let options = query::RemoveImageOptionsBuilder::default().force(true).build();
        let _ = RUNTIME.block_on(self.api.remove_image(&self.name, Some(options), None));
    }
}
