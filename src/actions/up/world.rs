//! The real world of the recipe: each step is one call into a room below.

use std::{path::PathBuf, sync::OnceLock};

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::{core::v1::Node, storage::v1::StorageClass};
use kube::{ResourceExt, api::ListParams};
use tokio::sync::{Notify, SetOnce};

use super::{
    UpOptions, World,
    standing::{self, Standing},
};
use crate::{
    actions::{
        prepare,
        smoke::{self, SmokeReport},
    },
    cluster::Cluster,
    host::{
        Host,
        lock::LabLock,
        nodes::{self, ClusterLook, Nodes, NotOurs, guard},
    },
    labels,
    parts::{
        autoscale,
        database::{self, Database},
        frontend::{self, Site},
        images::{self, ImageSet},
        storage::{self, Storage},
    },
    run::{Run, StepCx, Stepped, event::StepId},
    spec::LabSpec,
};

/// The machine and the cluster, for one lab.
pub(super) struct Real<'a> {
    pub(super) options: &'a UpOptions,
    /// Held from the first step to the last.
    lock: &'a LabLock,
    /// Remembered for the diagnostics of a later step.
    host: OnceLock<Host>,
    /// What the lab is, if it stands; known once preflight has ended.
    standing: OnceLock<Standing>,
    /// No node container will be thrown away any more: images may be loaded into those that appear.
    settled: Notify,
}

impl<'a> Real<'a> {
    pub(super) fn new(options: &'a UpOptions, lock: &'a LabLock) -> Self {
        Real { options, lock, host: OnceLock::new(), standing: OnceLock::new(), settled: Notify::new() }
    }

    /// The machine, once preflight has ended well.
    pub(super) fn host(&self) -> Option<&Host> {
        self.host.get()
    }
}

impl World for Real<'_> {
    type Host = Host;
    type NodeImage = String;
    type Images = ImageSet;
    type Nodes = Nodes;
    type Cluster = Cluster;
    type Storage = Storage;
    type Database = Database;
    type Site = Site;
    type Report = SmokeReport;

    async fn preflight(&self, cx: StepCx) -> Result<Stepped<Host>> {
        let UpOptions { spec, fix, registry_mirror } = self.options;
        let host = prepare::preflight(cx, spec, registry_mirror.as_deref(), fix.as_deref()).await?;
        // Before anything is built or pulled for a name that belongs to somebody else, or for a lab of another kind.
        NotOurs::check(&spec.name, &nodes::containers(&host.value().docker, &spec.name).await?)?;
        let _ = self.standing.set(standing::foresee(spec).await?);
        let _ = self.host.set(host.value().clone());
        Ok(host)
    }

    async fn images(&self, cx: StepCx, host: &Host, node: &SetOnce<String>) -> Result<Stepped<ImageSet>> {
        let (spec, mirror) = (&self.options.spec, self.options.registry_mirror.as_deref());
        let nothing = Standing::default();
        let standing = self.standing.get().unwrap_or(&nothing);
        images::ensure(cx, host, &standing.settle(spec), mirror, &standing.kept, node).await
    }

    async fn nodes(&self, cx: StepCx, host: &Host, image: &String) -> Result<Stepped<Nodes>> {
        let spec = &self.options.spec;
        let look = |kubeconfig| look_at_cluster(spec, kubeconfig);
        nodes::ensure(cx, host, spec, self.lock, image, &self.settled, look).await
    }

    async fn load(&self, cx: StepCx, host: &Host, images: &ImageSet) -> Result<Stepped<()>> {
        self.settled.notified().await;
        images::load(cx, host, &self.options.spec, images).await
    }

    async fn guard(&self, run: &Run, host: &Host) -> anyhow::Error {
        let cx = StepCx::new(run, StepId::Cluster);
        let stopped = guard::first_to_stop_twice(&cx, &host.docker, &self.options.spec.name).await;
        stopped.map_or_else(|error| error, |node| anyhow!("node {node} stopped twice while the lab came up"))
    }

    async fn connect(&self, nodes: &Nodes, images: &ImageSet) -> Result<Cluster> {
        let spec = &self.options.spec;
        let cluster = Cluster::connect(&nodes.kubeconfig, &spec.name).await?;
        standing::check(&cluster, spec, images).await?;
        let images = serde_json::to_string(images).context("cannot write down the images")?;
        let records = [(labels::LAB_FILE.to_owned(), spec.to_file()), (labels::IMAGES.to_owned(), images)];
        cluster.ensure_namespace(records.into()).await?;
        Ok(cluster)
    }

    async fn storage(&self, cx: StepCx, cluster: &Cluster, images: &ImageSet) -> Result<Stepped<Storage>> {
        storage::ensure(cx, cluster, &self.options.spec, images).await
    }

    async fn database(&self, cx: StepCx, cluster: &Cluster, images: &ImageSet) -> Result<Stepped<Database>> {
        database::ensure(cx, cluster, &self.options.spec, images).await
    }

    async fn frontend(
        &self,
        cx: StepCx,
        (cluster, nodes, images): (&Cluster, &Nodes, &ImageSet),
        (database, storage): (&Database, &Storage),
    ) -> Result<Stepped<Site>> {
        frontend::ensure(cx, cluster, &self.options.spec, images, database, storage, nodes.port).await
    }

    async fn autoscale(&self, cx: StepCx, cluster: &Cluster, images: &ImageSet, site: &Site) -> Result<Stepped<()>> {
        autoscale::ensure(cx, cluster, &self.options.spec, images, site).await
    }

    async fn smoke(
        &self,
        cx: StepCx,
        (host, cluster, nodes, images): (&Host, &Cluster, &Nodes, &ImageSet),
        site: &Site,
    ) -> Result<Stepped<SmokeReport>> {
        smoke::run(cx, cluster, &self.options.spec, site, images::on_nodes(host, &nodes.all, images)).await
    }
}

/// One look at a cluster through its API: are all nodes of the lab file there, and what kind installs last?
async fn look_at_cluster(spec: &LabSpec, kubeconfig: PathBuf) -> ClusterLook {
    let look = async {
        let cluster = Cluster::connect(&kubeconfig, &spec.name).await?;
        let nodes = cluster.all::<Node>().list(&ListParams::default()).await.context("cannot list the nodes")?;
        let classes =
            cluster.all::<StorageClass>().list(&ListParams::default()).await.context("cannot list the classes")?;
        let mut lacking = nodes::node_names(&spec.name, spec.cluster.workers);
        lacking.retain(|name| !nodes.items.iter().any(|n| n.name_any() == *name));
        if !classes.items.iter().any(|c| c.name_any() == "standard") {
            lacking.push("StorageClass standard".to_owned());
        }
        if lacking.is_empty() {
            return Ok(ClusterLook::Whole);
        }
        let lacking = format!("{} missing", lacking.join(", "));
        let used = cluster.has_namespace().await?;
        Ok(if used { ClusterLook::InUse(lacking) } else { ClusterLook::Unfinished(lacking) })
    };
    look.await.unwrap_or_else(|error: anyhow::Error| ClusterLook::Silent(format!("{error:#}")))
}
