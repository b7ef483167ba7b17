//! The real world of the recipe: each step is one call into a room below.

use std::sync::OnceLock;

use anyhow::Result;

use super::{UpOptions, World};
use crate::{
    cluster::Cluster,
    host::{
        Host, doctor,
        kind::{self, Nodes},
    },
    parts::{
        autoscale,
        database::{self, Database},
        frontend::{self, Site},
        images::{self, ImageSet, Role},
        storage::{self, Storage},
    },
    run::{StepCx, Stepped},
    smoke::{self, SmokeReport},
};

/// The machine and the cluster, for one lab.
pub(super) struct Real<'a> {
    pub(super) options: &'a UpOptions,
    /// Remembered for the diagnostics of a later step.
    host: OnceLock<Host>,
}

impl<'a> Real<'a> {
    pub(super) fn new(options: &'a UpOptions) -> Self {
        Real { options, host: OnceLock::new() }
    }

    /// The machine, once preflight has ended well.
    pub(super) fn host(&self) -> Option<&Host> {
        self.host.get()
    }
}

impl World for Real<'_> {
    type Host = Host;
    type Images = ImageSet;
    type Nodes = Nodes;
    type Cluster = Cluster;
    type Storage = Storage;
    type Database = Database;
    type Site = Site;
    type Report = SmokeReport;

    async fn preflight(&self, cx: StepCx) -> Result<Stepped<Host>> {
        let host = doctor::preflight(cx, &self.options.spec, &self.options.fix).await?;
        let _ = self.host.set(host.value().clone());
        Ok(host)
    }

    async fn images(&self, cx: StepCx, host: &Host) -> Result<Stepped<ImageSet>> {
        images::ensure(cx, host, &self.options.spec.images, self.options.registry_mirror.as_deref()).await
    }

    async fn nodes(&self, cx: StepCx, host: &Host, images: &ImageSet) -> Result<Stepped<Nodes>> {
        kind::ensure(cx, host, &self.options.spec, &images.get(Role::Node)?.reference).await
    }

    async fn load(&self, cx: StepCx, host: &Host, images: &ImageSet) -> Result<Stepped<()>> {
        images::load(cx, host, &self.options.spec, images).await
    }

    async fn connect(&self, nodes: &Nodes) -> Result<Cluster> {
        Cluster::connect(&nodes.kubeconfig, &self.options.spec.name).await
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
